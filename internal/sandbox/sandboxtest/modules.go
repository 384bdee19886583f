package sandboxtest

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"she/internal/sandbox"
)

// module is the hostile function as a WASI command.
const module = "module.wasm"

func buildModule(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if err := GoBuild("", filepath.Join(dir, module), "she/internal/sandbox/sandboxtest/testdata/module", "GOOS=wasip1", "GOARCH=wasm"); err != nil {
		t.Fatal(err)
	}
	return dir
}

func surroundingsOfModule(t *testing.T, s *suite) {
	t.Setenv("SHE_TEST_SECRET", "the server's")
	one, two := answer[map[string]string](t, s, event{Do: "self"}), answer[map[string]string](t, s, event{Do: "self"})
	for name, value := range one {
		if two[name] != value && name != "time" && name != "random" {
			t.Errorf("two runs differ in %s:\n%s\n%s", name, value, two[name])
		}
	}
	if one["random"] == two["random"] {
		t.Error("two runs draw the same random numbers")
	}
	if one["env"] != strings.Join(s.program().Env, "\n") {
		t.Errorf("its environment is %q", one["env"])
	}
	if one["args"] != module {
		t.Errorf("its arguments are %q", one["args"])
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	got := answer[[]string](t, s, event{Do: "reach", Mark: l.Addr().String(), Paths: []string{
		"/", ".", "mark", "/etc/passwd", "/etc", "/tmp", "/tmp/mark", "/var/task", "/var/task/" + module, "/proc/self/environ", "/scratch", "/dev/null",
		filepath.Join(s.dir, module), "../../../../etc/passwd",
	}})
	if len(got) != 0 {
		t.Errorf("it reached %v", got)
	}
}

func moduleEndings(t *testing.T, s *suite) {
	endings(t, s)
	_, err := s.run(t, s.program(), event{Do: "trap"}, ample)
	wantFailure(t, err, sandbox.Author, sandbox.ExitError)
	// Not even the engine can stop it: the deadline can.
	began := time.Now()
	_, err = s.run(t, s.program(), event{Do: "loop"}, time.Second)
	wantFailure(t, err, sandbox.Author, sandbox.Timedout)
	if took := time.Since(began); took > ample {
		t.Errorf("a loop without end was ended after %s", took)
	}
	// A flood of answer is cut off when there is too much of it, not at the end.
	_, err = s.run(t, s.program(), event{Do: "floodanswer"}, ample)
	wantFailure(t, err, sandbox.Author, sandbox.ResponseSizeTooLarge)
}

// calls: what the host's side of a module leaves over is collected, by threads that are there already.
func calls(t *testing.T, s *suite) {
	r, err := s.run(t, s.program(), event{Do: "calls", Bytes: 100_000}, 3*ample)
	if err != nil || string(r.Payload) != `"called"` {
		t.Errorf("%.40q %v", r.Payload, err)
	}
	if r.Usage.MaxMemory > 192<<20 {
		t.Errorf("it had %d MB", r.Usage.MaxMemory>>20)
	}
}

// ahead: what a module does before it reads its event happens before there is one, and nothing it says before is an
// answer.
func ahead(t *testing.T, s *suite) {
	for _, when := range []string{"", "INIT=says", "INIT=leaves"} {
		i, _, err := s.m.Start(t.Context(), s.program("TELL=1", when))
		if err != nil {
			t.Fatal(err)
		}
		if i.Memory() < 1<<20 {
			t.Errorf("an instance that waits takes %d bytes", i.Memory())
		}
		asked := time.Now()
		r, err := i.Run(t.Context(), sandbox.Call{ID: "00000000-0000-4000-8000-000000000000", Deadline: asked.Add(ample), Event: []byte(`{"do":"echo"}`)})
		if err != nil {
			t.Errorf("%s: %v", when, err)
		}
		began, err := time.Parse(time.RFC3339Nano, strings.TrimSpace(string(r.Log)))
		if err != nil || !began.Before(asked) {
			t.Errorf("%s: it began at %s (%v), the event came at %s", when, began, err, asked)
		}
		want := map[string]string{"": `{"do":"echo"}`, "INIT=says": `"early"`, "INIT=leaves": ``}[when]
		if string(r.Payload) != want {
			t.Errorf("%s: it answered %q, want %q", when, r.Payload, want)
		}
		if _, err := i.Run(t.Context(), sandbox.Call{ID: "x", Deadline: time.Now().Add(ample)}); err == nil {
			t.Error("an instance took a second event")
		}
		if err := i.Close(); err != nil {
			t.Error(err)
		}
	}
}

// unfit are files that are no module, or none that can run here.
func unfit(t *testing.T, s *suite) {
	whole, err := os.ReadFile(filepath.Join(s.dir, module))
	if err != nil {
		t.Fatal(err)
	}
	const head = "\x00asm\x01\x00\x00\x00"
	signature := "\x01\x04\x01\x60\x00\x00" // one type: a function of nothing
	for name, c := range map[string]struct{ content, text string }{
		"empty file":      {"", "no WASI command"},
		"text":            {"#!/bin/sh\nexit 0\n", "no WASI command"},
		"cut short":       {string(whole[:len(whole)/2]), "no WASI command"},
		"garbage":         {head + "garbage", "no WASI command"},
		"no start":        {head, "no WASI command"},
		"unknown import":  {head + signature + "\x02\x0b\x01\x03env\x03own\x00\x00" + "\x03\x02\x01\x00" + "\x07\x0a\x01\x06_start\x00\x01" + "\x0a\x04\x01\x02\x00\x0b", "imports what is not there"},
		"another of WASI": {head + signature + "\x02\x23\x01\x16wasi_snapshot_preview1\x08sock_own\x00\x00" + "\x03\x02\x01\x00" + "\x07\x0a\x01\x06_start\x00\x01" + "\x0a\x04\x01\x02\x00\x0b", "imports what is not there"},
	} {
		own := *s
		own.dir = t.TempDir()
		if err := os.WriteFile(filepath.Join(own.dir, module), []byte(c.content), 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := own.run(t, own.program(), event{}, ample)
		if f := wantFailure(t, err, sandbox.Author, sandbox.InvalidEntrypoint); !strings.Contains(f.Text, c.text) {
			t.Errorf("%s: %v", name, f)
		}
	}
	// One that wants more memory at once than it may have.
	p := s.program()
	p.Limits.Memory = 1 << 20
	_, err = s.run(t, p, event{}, ample)
	wantFailure(t, err, sandbox.Author, sandbox.OutOfMemory)
	for _, command := range []string{"/var/task/../../etc/passwd", "/etc/passwd", "/var/task/out/passwd"} {
		if err := os.RemoveAll(filepath.Join(s.dir, "out")); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("/etc", filepath.Join(s.dir, "out")); err != nil {
			t.Fatal(err)
		}
		p := s.program()
		p.Command = []string{command}
		_, err := s.run(t, p, event{}, ample)
		wantFailure(t, err, sandbox.Author, sandbox.InvalidEntrypoint)
	}
}
