package gvisor_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"she/internal/runtimes"
	"she/internal/sandbox"
	"she/internal/sandbox/gvisor"
)

// lifeEnv makes this test program a server that starts sandboxes and waits to be killed.
const lifeEnv = "SHE_TEST_LIFE"

func TestSweepAfterSIGKILL(t *testing.T) {
	state := os.Getenv(lifeEnv)
	if state != "" {
		live(t, state)
		return
	}
	if os.Geteuid() != 0 || testing.Short() {
		t.Skip("needs root, and time for some sandboxes")
	}
	state = t.TempDir()
	for _, when := range []string{"waiting", "starting", "running"} {
		t.Run(when, func(t *testing.T) {
			life := exec.Command(os.Args[0], "-test.run=^TestSweepAfterSIGKILL$", "-test.v")
			life.Env = append(os.Environ(), lifeEnv+"="+state, "SHE_TEST_WHEN="+when, "TMPDIR="+t.TempDir())
			out, err := life.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			life.Stderr = os.Stderr
			if err := life.Start(); err != nil {
				t.Fatal(err)
			}
			for lines := bufio.NewScanner(out); lines.Scan() && !strings.Contains(lines.Text(), "now"); {
			}
			if err := life.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = life.Wait()
			if before := leftovers(t, state); len(before) == 0 {
				t.Error("the killed server left nothing: the test proves nothing")
			}
			m := openIn(t, state, "")
			if err := m.Sweep(t.Context()); err != nil {
				t.Error(err)
			}
			if left := beyondOpen(leftovers(t, state)); len(left) > 0 {
				t.Errorf("after Sweep: %s", strings.Join(left, "\n"))
			}
			// It works as before.
			i, _, err := m.Start(t.Context(), sleeper(t))
			if err != nil {
				t.Fatal(err)
			}
			if err := i.Close(); err != nil {
				t.Error(err)
			}
			if left := beyondOpen(leftovers(t, state)); len(left) > 0 {
				t.Errorf("after Close of an instance: %s", strings.Join(left, "\n"))
			}
			if err := m.Close(); err != nil {
				t.Error(err)
			}
			if left := leftovers(t, state); len(left) > 0 {
				t.Errorf("after Close: %s", strings.Join(left, "\n"))
			}
		})
	}
}

// keptOpen is what stays until a mechanism is closed: what brings sandboxes up and, where the directory of gVisor's
// program is closed to others, the program where they can reach it.
var keptOpen = regexp.MustCompile(`/launcher-|runsc she-launch|^\d+ \d+ \S+ \S+ /run/she-[0-9a-f]+/bin/`)

func beyondOpen(left []string) []string {
	return slices.DeleteFunc(left, func(l string) bool { return strings.TrimSpace(l) == "" || keptOpen.MatchString(l) })
}

func TestOneServerForOneState(t *testing.T) {
	m := open(t)
	defer m.Close()
	state := t.TempDir()
	one := openIn(t, state, "")
	if _, err := gvisor.New(gvisor.Config{Runsc: helpers.runsc, Init: helpers.init, State: state}); err == nil {
		t.Error("two servers share one state directory")
	}
	if err := one.Close(); err != nil {
		t.Fatal(err)
	}
	two := openIn(t, state, "")
	if err := two.Close(); err != nil {
		t.Fatal(err)
	}
}

func live(t *testing.T, state string) {
	m := openIn(t, state, "")
	p := sleeper(t)
	if os.Getenv("SHE_TEST_WHEN") == "starting" {
		go func() {
			for {
				if _, _, err := m.Start(context.Background(), p); err != nil {
					return
				}
			}
		}()
		for len(leftovers(t, state)) == 0 {
			time.Sleep(time.Millisecond) // a process of its own, waiting for another
		}
	} else {
		i, _, err := m.Start(context.Background(), p)
		if err != nil {
			t.Fatal(err)
		}
		if os.Getenv("SHE_TEST_WHEN") == "running" {
			go func() {
				_, _ = i.Run(context.Background(), sandbox.Call{ID: "x", Deadline: time.Now().Add(time.Hour), Event: []byte(`{}`)})
			}()
		}
	}
	fmt.Println("now")
	select {}
}

// sleeper asks for its event and then does nothing but read on. It is one process from then on, so that whoever looks at its
// sandbox sees the same at any time.
func sleeper(t *testing.T) sandbox.Program {
	dir := t.TempDir()
	script := "#!/bin/bash\nexec 3<>/dev/tcp/127.0.0.1/9001\nprintf 'GET /2018-06-01/runtime/invocation/next HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n' >&3\nwhile read -r -u 3; do :; done\nsleep 1000\n"
	if err := os.WriteFile(filepath.Join(dir, "bootstrap"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	p := sandbox.Program{
		Dir: dir, Command: []string{"/var/task/bootstrap"}, Env: []string{"PATH=/bin:/usr/bin"},
		Limits: sandbox.Limits{Memory: 128 << 20, CPU: 1, Tmp: 1 << 20, Processes: 64, Files: 64, Init: 30 * time.Second},
	}
	system, _, err := runtimes.Finder{}.Find("provided.al2023")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range system.Paths {
		p.Binds = append(p.Binds, sandbox.Bind{Source: path[0], Target: path[1]})
	}
	return p
}

// leftovers is everything on this host that belongs to sandboxes of a state directory.
func leftovers(t *testing.T, state string) (left []string) {
	t.Helper()
	groups, err := os.ReadFile(filepath.Join(state, "cgroups"))
	if err != nil {
		return nil
	}
	parents := strings.Fields(string(groups))
	if len(parents) == 0 {
		t.Fatal("no cgroups known")
	}
	name := filepath.Base(parents[0])
	for _, dir := range append(parents, filepath.Join("/run", name, "box"), filepath.Join(state, "tmp")) {
		entries, err := os.ReadDir(dir)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.IsDir() {
				left = append(left, filepath.Join(dir, e.Name()))
			}
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if (strings.Contains(line, name) && !strings.Contains(line, "null-netns")) || strings.Contains(line, state) {
			left = append(left, line)
		}
	}
	processes, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range processes {
		line, err := os.ReadFile(file)
		if err == nil && bytes.Contains(line, []byte("/run/"+name)) && filepath.Dir(file) != fmt.Sprint("/proc/", os.Getpid()) {
			left = append(left, strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return left
}
