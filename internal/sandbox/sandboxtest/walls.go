package sandboxtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"she/internal/sandbox"
)

// catcher listens wherever a function might send to, and remembers whether anything came.
type catcher struct {
	targets map[string]string
	mu      sync.Mutex
	caught  []string
}

func newCatcher(t *testing.T) *catcher {
	c := &catcher{targets: map[string]string{}}
	hosts := []string{"127.0.0.1", "[::1]"}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		if n, ok := a.(*net.IPNet); ok && !n.IP.IsLoopback() && !n.IP.IsLinkLocalUnicast() {
			hosts = append(hosts, strings.TrimSuffix(net.JoinHostPort(n.IP.String(), ""), ":"))
		}
	}
	for i, host := range hosts {
		if l, err := net.Listen("tcp", host+":0"); err == nil {
			c.accept(t, l)
			c.targets[fmt.Sprint("tcp#", i)] = l.Addr().String()
		}
		if p, err := net.ListenPacket("udp", host+":0"); err == nil {
			t.Cleanup(func() { p.Close() })
			c.targets[fmt.Sprint("udp#", i)] = p.LocalAddr().String()
			go func() {
				b := make([]byte, 2000)
				for {
					n, from, err := p.ReadFrom(b)
					if err != nil {
						return
					}
					c.note(fmt.Sprintf("%d bytes from %s", n, from))
				}
			}()
		}
	}
	path := filepath.Join(t.TempDir(), "s")
	for network, address := range map[string]string{"unix#path": path, "unix#abstract": "@she-test-" + uuid.NewString()} {
		l, err := net.Listen("unix", address)
		if err != nil {
			t.Fatal(err)
		}
		c.accept(t, l)
		c.targets[network] = address
	}
	if len(c.targets) < 4 {
		t.Fatalf("only %d catchers: %v", len(c.targets), c.targets)
	}
	return c
}

func (c *catcher) accept(t *testing.T, l net.Listener) {
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			c.note("a connection to " + l.Addr().String())
			conn.Close()
		}
	}()
}

func (c *catcher) note(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.caught = append(c.caught, what)
}

func nothingGetsOut(t *testing.T, s *suite) {
	c := newCatcher(t)
	nothing(t, s, event{Do: "dial", Targets: c.targets, Mark: "canary"})
	nothing(t, s, event{Do: "sockets"})
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.caught) > 0 {
		t.Errorf("outside was seen: %v", c.caught)
	}
}

func nothingIsLeft(t *testing.T, s *suite) {
	mark := uuid.NewString()
	left := answer[[]string](t, s, event{Do: "leave", Mark: mark})
	if len(left) == 0 {
		t.Error("not even /tmp could be written: the test proves nothing")
	}
	t.Logf("left: %s", strings.Join(left, ", "))
	nothing(t, s, event{Do: "find"})

	// What a run could count on to find its successor must be the same for all.
	one, two := answer[map[string]string](t, s, event{Do: "self"}), answer[map[string]string](t, s, event{Do: "self"})
	for _, own := range []string{"time", "/proc/self/status"} { // the latter has its own memory use
		delete(one, own)
	}
	for name, value := range one {
		if two[name] != value {
			t.Errorf("two runs differ in %s:\n%s\n%s", name, value, two[name])
		}
	}
}

// dontMeet runs two instances of one package at once: locks and notices on the shared files must not pass.
func dontMeet(t *testing.T, s *suite) {
	file := "/var/task/bootstrap"
	before := accessTime(t, filepath.Join(s.dir, "bootstrap"))
	kept, _, err := s.m.Start(t.Context(), s.program())
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		body, _ := json.Marshal(event{Do: "lock", Paths: []string{file}, Mark: "keep"})
		_, _ = kept.Run(t.Context(), sandbox.Call{ID: uuid.NewString(), Deadline: time.Now().Add(5 * time.Second), Event: body})
	}()
	// The first holds its lock until its deadline; the second, all the while, must not notice.
	if got := answer[string](t, s, event{Do: "lock", Paths: []string{file}}); got != "locked" {
		t.Errorf("a lock in one sandbox is felt in another: %s", got)
	}
	<-done
	if got := answer[int](t, s, event{Do: "stat", Paths: []string{file}}); got == 0 {
		t.Error("the file could not be read: the test proves nothing")
	}
	if after := accessTime(t, filepath.Join(s.dir, "bootstrap")); after != before {
		t.Errorf("reading a shared file moved its access time from %v to %v", before, after)
	}
}

func accessTime(t *testing.T, file string) syscall.Timespec {
	t.Helper()
	var st syscall.Stat_t
	if err := syscall.Stat(file, &st); err != nil {
		t.Fatal(err)
	}
	return st.Atim
}

func nothingOfTheHost(t *testing.T, s *suite) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("canary"), 0o644); err != nil {
		t.Fatal(err)
	}
	got := answer[map[string]string](t, s, event{Do: "read", Paths: []string{
		secret, "/etc/shadow", "/etc/ssh", "/root", "/home", "/srv", "/mnt", "/work", "/var/lib", "/var/log", "/run", "/proc/1/environ", "/proc/kcore",
		"/proc/kallsyms", "/sys/class/net", "/sys/block", "/proc/1/root/etc/shadow", "/var/task/../../../etc/shadow",
	}})
	for path, content := range got {
		if content != "" && content != "0 entries" && !strings.HasPrefix(path, "/sys/") {
			t.Errorf("%s can be read: %q", path, content)
		}
	}
	if out := got["/sys/class/net"]; out != "" && out != "0 entries" && out != "1 entries" {
		t.Errorf("the host's network devices show: %s", out)
	}
	nothing(t, s, event{Do: "write", Paths: []string{"/var/task", "/var/task/bootstrap", "/etc", "/etc/passwd", "/usr", "/she-init", "/", "/sys/fs/cgroup", "/sys/fs/cgroup/pids/pids.max", "/proc/sys/kernel/hostname", "/dev/null2"}})

	self := answer[map[string]string](t, s, event{Do: "self"})
	if self["ids"] != "993 990 993 990" {
		t.Errorf("it runs as %s", self["ids"])
	}
	for name, to := range self {
		// The first three are given; the others Go's own runtime opens.
		if fd, ok := strings.CutPrefix(name, "fd "); ok && fd > "2" && to != "" && !ofGo.MatchString(to) {
			t.Errorf("it inherited descriptor %s: %s", fd, to)
		}
	}
	for _, line := range strings.Split(self["/proc/self/status"], "\n") {
		if name, value, _ := strings.Cut(line, ":"); strings.HasPrefix(name, "Cap") && name != "CapBnd" && strings.Trim(value, "\t 0") != "" {
			t.Errorf("it has capabilities: %s", line)
		}
	}
	if !strings.Contains(self["/proc/self/status"], "NoNewPrivs:\t1") {
		t.Error("it may gain privileges")
	}
}

var ofGo = regexp.MustCompile(`^(socket:|anon_inode:|/proc/self/fd$|/sys/fs/cgroup/cpu/)`)

func kernel(t *testing.T, s *suite) { nothing(t, s, event{Do: "kernel"}) }

func processOne(t *testing.T, s *suite) { nothing(t, s, event{Do: "process1"}) }

func runtimeAPI(t *testing.T, s *suite) {
	r, err := s.run(t, s.program(), event{Do: "garbage"}, ample)
	if err != nil || !bytes.Equal(r.Payload, []byte("\x00\xff{not json")) {
		t.Errorf("an answer that is no JSON is bytes all the same; got %q, %v", r.Payload, err)
	}
	r, err = s.run(t, s.program(), event{Do: "twice"}, ample)
	if err != nil || string(r.Payload) != `"first"` {
		t.Errorf("of two answers the first counts; got %s, %v", r.Payload, err)
	}
	for what, status := range answer[map[string]string](t, s, event{Do: "foreign"}) {
		if !strings.HasPrefix(status, "4") {
			t.Errorf("an answer to %s was met with %s", what, status)
		}
	}
	if status := answer[string](t, s, event{Do: "headers"}); !strings.HasPrefix(status, "431") && !strings.Contains(status, "connection reset") && !strings.Contains(status, "broken pipe") {
		t.Errorf("8 MiB of headers were met with %s", status)
	}
}
