package wasm_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"she/internal/sandbox"
	"she/internal/sandbox/wasm"
)

// echo is the smallest module there is with an event and an answer: it copies at most 64 KB. In text:
//
//	(module
//	  (import "wasi_snapshot_preview1" "fd_read" (func (param i32 i32 i32 i32) (result i32)))
//	  (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))
//	  (memory (export "memory") 2)
//	  (data (i32.const 0) "\10\00\00\00\00\00\01\00")    ;; where to read to, and how much
//	  (func (export "_start")
//	    (drop (call 0 (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 4)))
//	    (drop (call 1 (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))
const echo = "\x00asm\x01\x00\x00\x00" +
	"\x01\x0c\x02\x60\x04\x7f\x7f\x7f\x7f\x01\x7f\x60\x00\x00" +
	"\x02\x44\x02\x16wasi_snapshot_preview1\x07fd_read\x00\x00\x16wasi_snapshot_preview1\x08fd_write\x00\x00" +
	"\x03\x02\x01\x01" +
	"\x05\x03\x01\x00\x02" +
	"\x07\x13\x02\x06memory\x02\x00\x06_start\x00\x02" +
	"\x0a\x1a\x01\x18\x00" + "\x41\x00\x41\x00\x41\x01\x41\x04\x10\x00\x1a" + "\x41\x01\x41\x00\x41\x01\x41\x08\x10\x01\x1a" + "\x0b" +
	"\x0b\x0e\x01\x00\x41\x00\x0b\x08\x10\x00\x00\x00\x00\x00\x01\x00"

// program is a package with one module.
func program(t testing.TB, module string) sandbox.Program {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "m.wasm"), []byte(module), 0o644); err != nil {
		t.Fatal(err)
	}
	return sandbox.Program{Dir: dir, Command: []string{"/var/task/m.wasm"}, Limits: sandbox.Limits{Memory: 128 << 20, CPU: 1, Init: 30 * time.Second}}
}

func start(t testing.TB, m *wasm.Mechanism, p sandbox.Program) sandbox.Instance {
	t.Helper()
	i, _, err := m.Start(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := i.Close(); err != nil {
			t.Error(err)
		}
	})
	return i
}

func run(t testing.TB, i sandbox.Instance, event string) (sandbox.Result, error) {
	t.Helper()
	return i.Run(t.Context(), sandbox.Call{ID: "id", Deadline: time.Now().Add(30 * time.Second), Event: []byte(event)})
}

// opened makes a mechanism that is closed at the end of a test, and finds nothing left of it.
func opened(t testing.TB) (*wasm.Mechanism, string) {
	t.Helper()
	state := t.TempDir()
	m := openIn(t, state)
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
		for _, dir := range groups(t, state) {
			if _, err := os.Stat(dir); err == nil {
				t.Errorf("the cgroup %s is left", dir)
			}
		}
	})
	return m, state
}

func groups(t testing.TB, state string) []string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(state, "cgroups"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(b))
}

// processes are those of all instances: first outer halves, then inner ones.
func processes(t testing.TB, state string) (outer, inner []int) {
	t.Helper()
	lists, err := filepath.Glob(filepath.Join(groups(t, state)[0], "*", "cgroup.procs"))
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range lists {
		b, err := os.ReadFile(list)
		if err != nil {
			continue // gone meanwhile
		}
		for _, field := range strings.Fields(string(b)) {
			pid, err := strconv.Atoi(field)
			if err != nil {
				t.Fatal(err)
			}
			line, _ := os.ReadFile("/proc/" + field + "/cmdline")
			if bytes.Contains(line, []byte("inner-")) {
				inner = append(inner, pid)
			} else {
				outer = append(outer, pid)
			}
		}
	}
	return outer, inner
}

// TestWorkersLeaveNoCore: neither half leaves an image of its memory when it crashes.
func TestWorkersLeaveNoCore(t *testing.T) {
	m, state := opened(t)
	start(t, m, program(t, echo))
	outer, inner := processes(t, state)
	if len(outer) != 1 || len(inner) != 1 {
		t.Fatalf("one instance has the processes %v and %v", outer, inner)
	}
	for _, pid := range append(outer, inner...) {
		dir := filepath.Join("/proc", strconv.Itoa(pid))
		limits, err := os.ReadFile(filepath.Join(dir, "limits"))
		filter, err2 := os.ReadFile(filepath.Join(dir, "coredump_filter"))
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		if !regexp.MustCompile(`Max core file size +0 +0 `).Match(limits) || strings.Trim(string(filter), "0\n") != "" {
			t.Errorf("process %d may leave its memory: filter %s%s", pid, filter, limits)
		}
	}
}

// TestKilledWhileItWaits: the event was not handed out, so another instance may have it.
func TestKilledWhileItWaits(t *testing.T) {
	m, state := opened(t)
	p := program(t, echo)
	for _, half := range []string{"outer", "inner"} {
		i := start(t, m, p)
		pids, other := processes(t, state)
		if half == "inner" {
			pids = other
		}
		if len(pids) != 1 || len(other) != 1 {
			t.Fatalf("one instance has the processes %v and %v", pids, other)
		}
		if err := unix.Kill(pids[0], unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(10 * time.Second); ; { // both halves go together
			if outer, inner := processes(t, state); len(outer)+len(inner) == 0 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("killing the %s half leaves the other", half)
			}
		}
		_, err := run(t, i, "event")
		var f *sandbox.Failure
		if !errors.As(err, &f) || f.Blame != sandbox.Operator || f.Code != sandbox.Killed {
			t.Errorf("the %s half was killed: %v", half, err)
		}
		if err := i.Close(); err != nil {
			t.Error(err)
		}
	}
	if r, err := run(t, start(t, m, p), "event"); err != nil || string(r.Payload) != "event" {
		t.Errorf("the next one: %q %v", r.Payload, err)
	}
}

// TestDamagedImages: what is missing, cut short, foreign or another module's is made again or fails; it never answers
// wrongly.
func TestDamagedImages(t *testing.T) {
	m, state := opened(t)
	p := program(t, echo)
	if r, err := run(t, start(t, m, p), "event"); err != nil || string(r.Payload) != "event" {
		t.Fatalf("%q %v", r.Payload, err)
	}
	images, err := filepath.Glob(filepath.Join(state, "images", "*"))
	if err != nil || len(images) != 1 {
		t.Fatalf("%v %v", images, err)
	}
	whole, err := os.ReadFile(images[0])
	if err != nil {
		t.Fatal(err)
	}
	native := bytes.LastIndex(whole, []byte("WAZEVO"))
	if native < 0 {
		t.Fatal("no native code in the image")
	}
	for name, content := range map[string][]byte{
		"empty": {}, "cut short": whole[:len(whole)-10], "outline alone": whole[:native], "text": []byte("not an image\n"),
		"another name":             bytes.Replace(whole, []byte("wazero-"), []byte("wazera-"), 1),
		"another version":          bytes.Replace(whole, []byte("WAZEVO"), []byte("WAZEVX"), 1),
		"a bit of its code turned": append(append(bytes.Clone(whole[:native+100]), whole[native+100]^1), whole[native+101:]...),
	} {
		if err := os.WriteFile(images[0], content, 0o600); err != nil {
			t.Fatal(err)
		}
		if r, err := run(t, start(t, m, p), "event"); err != nil || string(r.Payload) != "event" {
			t.Errorf("%s: %q %v", name, r.Payload, err)
		}
		if again, err := os.ReadFile(images[0]); err != nil || !bytes.Equal(again, whole) {
			t.Errorf("%s: the image was not made again, %v", name, err)
		}
	}
	if err := os.Remove(images[0]); err != nil {
		t.Fatal(err)
	}
	if r, err := run(t, start(t, m, p), "event"); err != nil || string(r.Payload) != "event" {
		t.Errorf("missing: %q %v", r.Payload, err)
	}
}

// TestSweep: what a server that was killed left is gone, and so is half an image.
func TestSweep(t *testing.T) {
	m, state := opened(t)
	i := start(t, m, program(t, echo))
	half := filepath.Join(state, "images", ".making-1")
	if err := os.WriteFile(half, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := wasm.New(wasm.Config{Worker: worker, State: state}); err == nil {
		t.Error("two mechanisms share a directory")
	}
	if err := m.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if outer, inner := processes(t, state); len(outer)+len(inner) != 0 {
		t.Errorf("%v and %v are left", outer, inner)
	}
	if _, err := os.Stat(half); err == nil {
		t.Error("half an image is left")
	}
	if _, err := run(t, i, "event"); err == nil {
		t.Error("a swept instance answered")
	}
}

// TestWorkerHasNothing looks at a worker that waits, from outside.
func TestWorkerHasNothing(t *testing.T) {
	t.Setenv("SHE_TEST_SECRET", "the server's")
	m, state := opened(t)
	start(t, m, program(t, echo))
	outer, inner := processes(t, state)
	if len(outer) != 1 || len(inner) != 1 {
		t.Fatalf("processes %v and %v", outer, inner)
	}
	proc := func(pid int, name string) string { return filepath.Join("/proc", strconv.Itoa(pid), name) }
	threads, err := filepath.Glob(proc(inner[0], "task/*/status"))
	if err != nil || len(threads) == 0 {
		t.Fatalf("%v %v", threads, err)
	}
	for _, thread := range threads {
		status, err := os.ReadFile(thread)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{
			`Uid:\t(\d{10})\t\d{10}\t\d{10}\t\d{10}\n`, `Groups:\t *\n`, `NoNewPrivs:\t1\n`, `Seccomp:\t2\n`,
			`CapInh:\t0+\n`, `CapPrm:\t0+\n`, `CapEff:\t0+\n`, `CapBnd:\t0+\n`, `CapAmb:\t0+\n`,
		} {
			if !regexp.MustCompile(want).Match(status) {
				t.Errorf("a thread's status has no %s:\n%s", want, status)
			}
		}
	}
	for _, pid := range append(outer, inner...) {
		if env, err := os.ReadFile(proc(pid, "environ")); err != nil || bytes.Contains(env, []byte("SHE_TEST_SECRET")) {
			t.Errorf("its environment is %q, %v", env, err)
		}
		if score, err := os.ReadFile(proc(pid, "oom_score_adj")); err != nil || string(score) != strconv.Itoa(sandbox.Expendable)+"\n" {
			t.Errorf("when the machine is out of memory its score is %s, %v", score, err)
		}
	}
	for _, space := range []string{"user", "pid", "mnt", "net", "ipc", "uts"} {
		ours, err := os.Readlink("/proc/self/ns/" + space)
		theirs, err2 := os.Readlink(proc(inner[0], "ns/"+space))
		if err != nil || err2 != nil || ours == theirs {
			t.Errorf("its %s namespace is %s, ours %s, %v %v", space, theirs, ours, err, err2)
		}
	}
	if entries, err := os.ReadDir(proc(inner[0], "root")); err != nil || len(entries) != 0 {
		t.Errorf("its root has %v, %v", entries, err)
	}
	if mounts, err := os.ReadFile(proc(inner[0], "mountinfo")); err != nil || bytes.Count(mounts, []byte("\n")) != 1 || !bytes.Contains(mounts, []byte(" / ro,")) {
		t.Errorf("its mounts are %s, %v", mounts, err)
	}
	links, err := filepath.Glob(proc(inner[0], "fd/*"))
	if err != nil {
		t.Fatal(err)
	}
	var pipes []string
	for _, link := range links {
		to, err := os.Readlink(link)
		pipes = append(pipes, to)
		n := filepath.Base(link)
		if err != nil || !(strings.HasPrefix(to, "pipe:") && (n == "0" || n == "1")) && to != "anon_inode:[eventpoll]" && to != "anon_inode:[eventfd]" {
			t.Errorf("descriptor %s is %s, %v", n, to, err)
		}
	}
	for _, pid := range outer { // or the end of the inner half would not be seen
		theirs, err := filepath.Glob(proc(pid, "fd/*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, link := range theirs {
			to, err := os.Readlink(link)
			if err != nil || strings.HasPrefix(to, "pipe:") && slices.Contains(pipes, to) {
				t.Errorf("the outer half keeps %s, %v", to, err)
			}
		}
	}
}
