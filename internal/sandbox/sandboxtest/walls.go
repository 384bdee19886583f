package sandboxtest

import (
	"bytes"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"she/internal/sandbox"
)

// The channels that lead out of a sandbox or to another one are package seal's. Here is what a function finds around
// itself, and how the Runtime API meets one that does not keep to it.

func surroundings(t *testing.T, s *suite) {
	// What a run could count on to find its successor must be the same for all.
	one, two := answer[map[string]string](t, s, event{Do: "self"}), answer[map[string]string](t, s, event{Do: "self"})
	differs := map[string]bool{"time": true, "/proc/self/status": true} // the latter has its memory use
	if _, copies := s.m.(copier); !copies {
		// Process 1 starts the function when its Go runtime has started four threads or five, as the machine lets it. That
		// is before any data, no run moves it (the probe pid-numbers), and a copy has its original's.
		differs["pid"] = true
		for _, self := range []map[string]string{one, two} {
			if pid, err := strconv.Atoi(self["pid"]); err != nil || pid > 16 {
				t.Errorf("a fresh function is process %s", self["pid"])
			}
		}
	}
	for name, value := range one {
		if two[name] != value && !differs[name] {
			t.Errorf("two runs differ in %s:\n%s\n%s", name, value, two[name])
		}
	}
	if one["cwd"] != "/var/task" {
		t.Errorf("it runs in %s", one["cwd"])
	}
	if one["ids"] != "993 990 993 990" {
		t.Errorf("it runs as %s", one["ids"])
	}
	for name, to := range one {
		// The first three are given; the others Go's own runtime opens.
		if fd, ok := strings.CutPrefix(name, "fd "); ok && fd > "2" && to != "" && !ofGo.MatchString(to) {
			t.Errorf("it inherited descriptor %s: %s", fd, to)
		}
	}
	if !strings.Contains(one["/proc/self/status"], "NoNewPrivs:\t1") {
		t.Error("it may gain privileges")
	}
	for path, content := range answer[map[string]string](t, s, event{Do: "read", Paths: []string{"/root", "/home", "/srv", "/mnt", "/work", "/var/lib", "/var/log", "/run", "/etc/ssh", "/sys/class/net", "/sys/block"}}) {
		if content != "0 entries" && !(path == "/sys/class/net" && content == "1 entries") {
			t.Errorf("in %s there is %q", path, content)
		}
	}
}

var ofGo = regexp.MustCompile(`^(socket:|anon_inode:|/proc/self/fd$|/sys/fs/cgroup/cpu/)`)

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
	for what, reply := range answer[map[string]string](t, s, event{Do: "broken"}) {
		if reply != "" && !strings.HasPrefix(reply, "HTTP/1.1 4") && !strings.HasPrefix(reply, "HTTP/1.1 5") {
			t.Errorf("HTTP with %s was met with %q", what, reply)
		}
	}
	_, err = s.run(t, s.program(), event{Do: "again"}, time.Second)
	wantFailure(t, err, sandbox.Author, sandbox.Timedout)
	if r, err := s.run(t, s.program(), event{Do: "late"}, time.Second); r.Payload != nil {
		t.Errorf("an answer after the deadline came through: %s", r.Payload)
	} else {
		wantFailure(t, err, sandbox.Author, sandbox.Timedout)
	}
}

// between: a program that ends after INIT, before it has its event or just as it gets it.
func between(t *testing.T, s *suite) {
	r, err := s.run(t, s.program("INIT=dies"), event{Do: "sleep", Millis: 10_000}, ample)
	if err == nil || r.Payload != nil {
		t.Errorf("a program that is gone answered %s", r.Payload)
	}
	if f := wantFailure(t, err, sandbox.Author, sandbox.ExitError); !strings.Contains(f.Text, "status 5") {
		t.Errorf("the text does not name the status: %s", f.Text)
	}
}
