package main

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"she/internal/client"
	"she/internal/ownapi"
	"she/internal/server"
	"she/internal/shetest"
)

// The stories run the real binaries, as root, with real sandboxes. Each story may write the word in $CANARY as owner
// data; at its end the harness looks for it everywhere but in the vaults.
//
// Conditions of ours: [built:PATH] if that is below functions/; [unprivileged] if somebody without root may make namespaces.
//
// Commands of ours, beside testscript's own:
//
//	hat NAME              create HAT NAME.test with the password "secret-of-NAME"
//	serve [FLAG...]       start she serve on $DATA with she.yaml, wait until it is ready
//	sigterm               SIGTERM, and it must end with 0 (stop is testscript's own: it ends the script)
//	kill9                 SIGKILL
//	login NAME [as USER]  later calls are NAME's, or that user's of the HAT of NAME
//	call METHOD PATH [FILE]        print status and body
//	until METHOD PATH REGEXP       the same, again and again until the body matches (60 s)
//	measured REGEXP       wait until the management socket's /metrics has such a line (2 min)
//	logged REGEXP         wait until the server's log, since the story began, has such a text (2 min)
//	expand FILE           replace $VARIABLES in it
//	nothing-left          no sandbox, process, mount or cgroup of this data directory
//	fails FUNCTION        enable it, trigger it, see it fail as the API says, disable it
//	catcher               listen for TCP and UDP; sets $CATCHER_HOST and $CATCHER_PORT
//	nobody-called         nothing reached the catcher
//	wrong-usage ARG...    she ARG... must end with 2
//	as-nobody CMD ARG...  run a program without root; it must end with 1
//	unprivileged CMD ARG...      run a program without root, with a cache directory of its own
//	no-namespaces CMD ARG...     the same where nobody may make user namespaces; it must end with 1
//	killed-in-flight CMD ARG...  SIGKILL it when its sandbox runs, and see that nothing of it is left
//	large-event FILE SIZE        write JSON of so many bytes
//	newer-data            make $DATA look as if a later version had written it
//	setenv-from NAME FILE the variable NAME is what FILE says
//	for-package PATH...   call each; no answer has a word of the package of packages.txtar
//	tamper SQL            change the only vault of $DATA with another program
func TestStories(t *testing.T) {
	if testing.Short() {
		t.Skip("real sandboxes: make test")
	}
	bin, err := shetest.Bin()
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", bin+":"+os.Getenv("PATH"))
			env.Setenv("FUNCTIONS", filepath.Join(bin, "../functions"))
			env.Setenv("SHE", filepath.Join(bin, "she"))
			env.Setenv("DATA", filepath.Join(env.WorkDir, "data"))
			env.Setenv("CANARY", shetest.Canary())
			free, err := net.Listen("tcp", "127.0.0.1:0") // an address that she.yaml names
			if err != nil {
				return err
			}
			env.Setenv("CALLS", free.Addr().String())
			free.Close()
			temp := filepath.Join(env.WorkDir, "temp-of-she")
			if err := os.Mkdir(temp, 0o700); err != nil {
				return err
			}
			s := &story{env: env, began: time.Now(), server: shetest.Server{Data: env.Getenv("DATA"), Temp: temp}}
			s.client = s.server.Client("")
			env.Values[storyKey{}] = s
			env.Defer(s.end)
			return nil
		},
		Condition: func(cond string) (bool, error) {
			if cond == "unprivileged" {
				return peopleMakeNamespaces(filepath.Join(bin, "she")), nil
			}
			path, ok := strings.CutPrefix(cond, "built:")
			if !ok {
				return false, fmt.Errorf("unknown condition %q", cond)
			}
			_, err := os.Stat(filepath.Join(bin, "../functions", path))
			return err == nil, nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"hat":           command((*story).hat),
			"serve":         command((*story).serve),
			"sigterm":       command((*story).stop),
			"kill9":         command((*story).kill9),
			"sighup":        command((*story).hangUp),
			"login":         command((*story).login),
			"call":          command((*story).call),
			"until":         command((*story).until),
			"measured":      command((*story).measured),
			"logged":        command((*story).logged),
			"expand":        command((*story).expand),
			"nothing-left":  command((*story).nothingLeft),
			"fails":         command((*story).fails),
			"catcher":       command((*story).catcher),
			"nobody-called": command((*story).nobodyCalled),
			"wrong-usage":   command((*story).wrongUsage),
			"as-nobody":     command((*story).asNobody),
			"newer-data":    command((*story).newerData),
			"tamper":        command((*story).tamper),
			"for-package":   command((*story).forPackage),
			"setenv-from":   command((*story).setenvFrom),

			"unprivileged":     command((*story).unprivileged),
			"no-namespaces":    command((*story).noNamespaces),
			"killed-in-flight": command((*story).killedInFlight),
			"large-event":      command((*story).largeEvent),
		},
	})
}

type storyKey struct{}

// A story is one script's server and who is logged in at it.
type story struct {
	env    *testscript.Env
	began  time.Time
	server shetest.Server
	name   string
	client *shetest.Client
	caught *catcher
}

func command(f func(*story, *testscript.TestScript, []string) error) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		s, _ := ts.Value(storyKey{}).(*story)
		err := f(s, ts, args)
		switch {
		case neg && err == nil:
			ts.Fatalf("succeeded, and should not have")
		case !neg && err != nil:
			ts.Fatalf("%v\nserver's log:\n%s", err, s.server.Log.String())
		}
	}
}

func (s *story) hat(ts *testscript.TestScript, args []string) error {
	out, err := s.server.CreateHAT(args[0])
	_, _ = io.WriteString(ts.Stdout(), out)
	return err
}

func (s *story) serve(ts *testscript.TestScript, args []string) error {
	s.server.Config = ts.MkAbs("she.yaml")
	if err := s.server.Start(args...); err != nil {
		return err
	}
	ts.Setenv("ADDRESS", s.server.Address)
	return leavesNoCore(s.server.PID())
}

// leavesNoCore looks at what a server would leave of its memory, which holds vaults, if it crashed.
func leavesNoCore(pid int) error {
	dir := fmt.Sprintf("/proc/%d/", pid)
	limits, err := os.ReadFile(dir + "limits")
	filter, err2 := os.ReadFile(dir + "coredump_filter")
	if err := errors.Join(err, err2); err != nil {
		return err
	}
	if !regexp.MustCompile(`Max core file size +0 +0 `).Match(limits) || strings.Trim(string(filter), "0\n") != "" {
		return fmt.Errorf("the server would leave its memory in a core dump: filter %s%s", filter, limits)
	}
	return nil
}

func (s *story) stop(*testscript.TestScript, []string) error { return s.server.Stop() }

// hangUp sends SIGHUP, and waits until the server has taken notice.
func (s *story) hangUp(*testscript.TestScript, []string) error {
	if err := syscall.Kill(s.server.PID(), syscall.SIGHUP); err != nil {
		return err
	}
	return s.server.UntilLog(regexp.MustCompile("SIGHUP is ignored"))
}

func (s *story) kill9(*testscript.TestScript, []string) error { return s.server.Kill() }

func (s *story) login(_ *testscript.TestScript, args []string) error {
	name, user := args[0], args[0]
	if len(args) == 3 && args[1] == "as" {
		user = args[2]
	}
	client := s.server.Client(name)
	if err := client.LoginAs(user); err != nil {
		return err
	}
	s.name, s.client = name, client
	return nil
}

func (s *story) call(ts *testscript.TestScript, args []string) error {
	var body []byte
	if len(args) == 3 {
		body = []byte(ts.ReadFile(args[2]))
	}
	status, answer, err := s.client.Do(args[0], args[1], body)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(ts.Stdout(), "%d\n%s\n", status, answer)
	return err
}

func (s *story) forPackage(ts *testscript.TestScript, args []string) error {
	word := strings.TrimSpace(ts.ReadFile("keeper/word.txt"))
	for _, path := range args {
		status, answer, err := s.client.Do("GET", path, nil)
		if err != nil {
			return err
		}
		_, _ = fmt.Fprintln(ts.Stdout(), status, path)
		if bytes.Contains(answer, []byte(word)) {
			return fmt.Errorf("%s shows what is in a package", path)
		}
	}
	return nil
}

func (s *story) until(ts *testscript.TestScript, args []string) error {
	want, err := regexp.Compile(args[2])
	if err != nil {
		return err
	}
	answer, err := s.client.Until(args[0], args[1], want)
	_, _ = fmt.Fprintf(ts.Stdout(), "%s\n", answer)
	return err
}

// measured waits for what no answer to an owner tells.
func (s *story) logged(_ *testscript.TestScript, args []string) error {
	want, err := regexp.Compile(args[0])
	if err != nil {
		return err
	}
	return s.server.Log.Await(want)
}

func (s *story) measured(_ *testscript.TestScript, args []string) error {
	want, err := regexp.Compile("(?m)^" + args[0])
	if err != nil {
		return err
	}
	m, err := manage(context.Background(), s.env.Getenv("DATA"), "", server.Creates)
	if err != nil {
		return err
	}
	defer m.Close()
	deadline := time.After(2 * time.Minute)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		resp, err := m.Client.Get("http://she/metrics")
		if err != nil {
			return err
		}
		text, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || want.Match(text) {
			return err
		}
		select {
		case <-tick.C:
		case <-deadline:
			return fmt.Errorf("no figure has become %s:\n%s", args[0], text)
		}
	}
}

func (s *story) expand(ts *testscript.TestScript, args []string) error {
	for _, name := range args {
		text := os.Expand(ts.ReadFile(name), func(v string) string { return ts.Getenv(v) })
		if err := os.WriteFile(ts.MkAbs(name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (s *story) nothingLeft(*testscript.TestScript, []string) error { return s.server.NothingLeft() }

func (s *story) fails(ts *testscript.TestScript, args []string) error {
	function := "/api/v2.6/she/function/" + args[0]
	if _, err := s.client.Until("GET", function, regexp.MustCompile(`"available":true`)); err != nil {
		return err
	}
	if status, answer, err := s.client.Do("GET", function+"/enable", nil); err != nil || status != http.StatusOK {
		return fmt.Errorf("enable: %d %s %w", status, answer, err)
	}
	// There is data, so the engine has begun a run already; triggered beside it, the function may be busy, which the
	// API answers with the same body.
	status, answer, err := s.client.Do("GET", function+"/trigger", nil)
	want := `"cause":"Function ` + args[0] + ` execution errored with `
	if err != nil || status != http.StatusInternalServerError || !bytes.Contains(answer, []byte(want)) {
		return fmt.Errorf("trigger: %d %s %v; want 500 and %s", status, answer, err, want)
	}
	if err := s.untilRun(args[0]); err != nil {
		return err
	}
	if status, answer, err = s.client.Do("GET", function+"/disable", nil); err != nil || status != http.StatusOK {
		return fmt.Errorf("disable: %d %s %w", status, answer, err)
	}
	_, answer, err = s.client.Do("GET", function, nil)
	if err != nil || bytes.Contains(answer, []byte("lastExecution")) {
		return fmt.Errorf("a failed run must not count as an execution: %s %w", answer, err)
	}
	return nil
}

// untilRun waits until a run of the function has ended with a fault.
func (s *story) untilRun(function string) error {
	m, err := manage(context.Background(), s.env.Getenv("DATA"), "", server.Creates)
	if err != nil {
		return err
	}
	defer m.Close()
	deadline := time.After(2 * time.Minute)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		var runs []ownapi.Run
		if err := m.Call(context.Background(), "GET", client.OwnPath(s.name)+"/runs?limit=10&function="+function, nil, &runs); err != nil {
			return err
		}
		for _, r := range runs {
			if r.Fault != nil {
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-deadline:
			return fmt.Errorf("no run of %s has ended with a fault: %+v", function, runs)
		}
	}
}

// A catcher listens where a function might call.
type catcher struct {
	tcp   net.Listener
	udp   net.PacketConn
	calls shetest.Buffer
	done  sync.WaitGroup
}

func (s *story) catcher(ts *testscript.TestScript, _ []string) error {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	udp, err := net.ListenPacket("udp", tcp.Addr().String())
	if err != nil {
		return err
	}
	c := &catcher{tcp: tcp, udp: udp}
	c.done.Go(func() {
		for {
			conn, err := tcp.Accept()
			if err != nil {
				return
			}
			fmt.Fprintf(&c.calls, "TCP from %s\n", conn.RemoteAddr())
			_ = conn.Close()
		}
	})
	c.done.Go(func() {
		for buf := make([]byte, 100); ; {
			_, from, err := udp.ReadFrom(buf)
			if err != nil {
				return
			}
			fmt.Fprintf(&c.calls, "UDP from %s\n", from)
		}
	})
	s.caught = c
	s.env.Defer(func() {
		_ = tcp.Close()
		_ = udp.Close()
		c.done.Wait()
	})
	host, port, err := net.SplitHostPort(tcp.Addr().String())
	ts.Setenv("CATCHER_HOST", host)
	ts.Setenv("CATCHER_PORT", port)
	return err
}

// nobodyCalled first calls itself, so that a deaf catcher can't pass.
func (s *story) nobodyCalled(_ *testscript.TestScript, _ []string) error {
	if calls := s.caught.calls.String(); calls != "" {
		return errors.New("the catcher was reached: " + calls)
	}
	conn, err := net.Dial("udp", s.caught.udp.LocalAddr().String())
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("hello")); err != nil {
		return err
	}
	for deadline, tick := time.After(10*time.Second), time.NewTicker(5*time.Millisecond); s.caught.calls.String() == ""; {
		select {
		case <-tick.C:
		case <-deadline:
			return errors.New("the catcher hears nothing, not even us")
		}
	}
	return nil
}

func (s *story) wrongUsage(ts *testscript.TestScript, args []string) error {
	return s.exits(ts, exitUsage, exec.Command(ts.Getenv("SHE"), args...))
}

func (s *story) asNobody(ts *testscript.TestScript, args []string) error {
	// The work directory is root's alone, so the program is reached by an open descriptor.
	program, err := os.Open(ts.MkAbs(args[0]))
	if err != nil {
		return err
	}
	defer program.Close()
	if err := opened(filepath.Dir(program.Name())); err != nil {
		return err
	}
	cmd := exec.Command(program.Name(), args[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	return s.exits(ts, exitFailed, cmd)
}

// exits runs the command and keeps its stderr for the script's own check.
func (s *story) exits(ts *testscript.TestScript, want int, cmd *exec.Cmd) error {
	cmd.Dir = s.env.WorkDir
	cmd.Stdout, cmd.Stderr = ts.Stdout(), ts.Stderr()
	err := cmd.Run()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != want {
		return fmt.Errorf("%v: want exit code %d", err, want)
	}
	return nil
}

// newerData raises the version of the directory's own database.
func (s *story) newerData(_ *testscript.TestScript, _ []string) error {
	db, err := sql.Open("sqlite", filepath.Join(s.env.Getenv("DATA"), "node.db"))
	if err != nil {
		return err
	}
	defer db.Close()
	_, err = db.Exec("PRAGMA user_version = 999")
	return err
}

func (s *story) setenvFrom(ts *testscript.TestScript, args []string) error {
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile(args[1])))
	return nil
}

func (s *story) tamper(_ *testscript.TestScript, args []string) error {
	vaults, err := filepath.Glob(filepath.Join(s.env.Getenv("DATA"), "vaults", "*.vault"))
	if err != nil || len(vaults) != 1 {
		return fmt.Errorf("vaults %v %w", vaults, err)
	}
	db, err := sql.Open("sqlite", vaults[0])
	if err != nil {
		return err
	}
	defer db.Close()
	_, err = db.Exec(strings.Join(args, " "))
	return err
}

// end stops the server and looks for the canary.
func (s *story) end() {
	t := s.env.T()
	if s.server.Running() {
		if err := s.server.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	// The script and the files it was given hold the word, of course.
	entries, err := os.ReadDir(s.env.WorkDir)
	if err != nil {
		t.Fatal(err)
	}
	var except []string
	for _, e := range entries {
		if path := filepath.Join(s.env.WorkDir, e.Name()); path != s.server.Data && path != s.server.Temp {
			except = append(except, path)
		}
	}
	if err := s.server.FindOutsideVaults(s.env.Getenv("CANARY"), s.began, except...); err != nil {
		t.Fatal(err)
	}
}
