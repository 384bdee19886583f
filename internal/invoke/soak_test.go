package invoke_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"she/internal/invoke"
	"she/internal/sandbox/gvisor"
)

var soakFor = flag.Duration("soak", 20*time.Second, "how long TestSoak keeps many tenants' functions running; 10m is the whole of it")

// TestSoak lets a hundred tenants call five functions each, those that fail among them, and then looks for what is
// left: processes, mounts, cgroups, descriptors, memory, files.
func TestSoak(t *testing.T) {
	slow(t)
	needRoot(t)
	dir := t.TempDir()
	state := filepath.Join(dir, "state")
	open := func() *invoke.Invoker {
		m, err := gvisor.New(gvisor.Config{Runsc: helpers.runsc, Init: helpers.init, State: state})
		if err != nil {
			t.Fatal(err)
		}
		v, err := invoke.New(invoke.Config{Sandbox: m, Runtimes: filepath.Join(dir, "runtimes"), Images: filepath.Join(dir, "images"), WaitingBytes: 1 << 30})
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	v := open()
	code := func(text string) invoke.Code {
		c := function(t, "python3.11", "app.handler", map[string]string{"app.py": text})
		c.Package = "sha256:" + filepath.Base(c.Dir)
		c.MemoryMB = 128
		return c
	}
	node := function(t, "nodejs20.x", "app.handler", map[string]string{"app.js": "exports.handler = async e => e"})
	node.Package, node.MemoryMB = "sha256:node", 128
	short := code("import time\ndef handler(e, c):\n    time.sleep(60)\n")
	short.Timeout = 500 * time.Millisecond
	functions := []struct {
		invoke.Code
		fault string // empty: it answers
	}{
		{code("def handler(e, c):\n    return e\n"), ""},
		{node, ""},
		{code("import subprocess\ndef handler(e, c):\n    subprocess.Popen(['sleep', '1000'], start_new_session=True)\n    open('/tmp/left', 'w').write('x' * (1 << 20))\n    return e\n"), ""},
		{code("import os\ndef handler(e, c):\n    os._exit(3)\n"), "Runtime.ExitError"},
		{short, "Sandbox.Timedout"},
	}

	var calls, wrong atomic.Int64
	ctx, cancel := context.WithTimeout(t.Context(), *soakFor)
	defer cancel()
	halfway, stop := context.WithTimeout(ctx, *soakFor/2)
	defer stop()
	var tenants sync.WaitGroup
	// Each tenant has at most one call under way; the gate decides whose turn it is.
	for n := range 100 {
		tenants.Go(func() {
			for k := rand.IntN(len(functions)); ctx.Err() == nil; k++ {
				f := functions[k%len(functions)]
				event := fmt.Sprintf(`{"tenant":%d,"n":%d}`, n, k)
				a, err := v.Invoke(t.Context(), invoke.Request{Code: f.Code, Tenant: invoke.Tenant(fmt.Sprint(n)), ID: uuid.NewString(), Event: []byte(event)})
				calls.Add(1)
				var failure *invoke.Failure
				answer := strings.ReplaceAll(string(a.Payload), " ", "")
				if f.fault == "" && (err != nil || answer != event) || f.fault != "" && (!errors.As(err, &failure) || failure.Code != f.fault) {
					if wrong.Add(1) < 10 {
						t.Errorf("tenant %d, function %d: %s %v", n, k%len(functions), a.Payload, err)
					}
				}
			}
		})
	}
	<-halfway.Done()
	middle := look(t, state)
	tenants.Wait()
	v.Settle()
	end := look(t, state)
	t.Logf("%d calls in %s, %d wrong; half-way %+v, at the end %+v", calls.Load(), *soakFor, wrong.Load(), middle, end)
	if err := v.Close(); err != nil {
		t.Error(err)
	}
	// What is left of it all, when nothing runs any more.
	if after := look(t, state); after.Processes+after.Mounts+after.Groups+after.Files > 0 {
		t.Errorf("left: %+v", after)
	}
	if end.Descriptors > middle.Descriptors+64 {
		t.Errorf("descriptors grew from %d to %d", middle.Descriptors, end.Descriptors)
	}
	if end.HeapMB > 2*middle.HeapMB+32 {
		t.Errorf("memory grew from %d to %d MB", middle.HeapMB, end.HeapMB)
	}
	if after := look(t, state); after.Goroutines > 32 {
		t.Errorf("%d goroutines are left", after.Goroutines)
	}
	if calls.Load() < int64(*soakFor/time.Second) {
		t.Errorf("only %d calls: this proves little", calls.Load())
	}
}

// sample is what this process and its sandboxes hold at a moment.
type sample struct{ Processes, Mounts, Groups, Files, Descriptors, Goroutines, HeapMB int }

func look(t *testing.T, state string) (s sample) {
	t.Helper()
	groups, err := os.ReadFile(filepath.Join(state, "cgroups"))
	if err != nil {
		t.Fatal(err)
	}
	var name string
	for _, parent := range strings.Fields(string(groups)) {
		name = filepath.Base(parent)
		entries, _ := os.ReadDir(parent)
		for _, e := range entries {
			if e.IsDir() {
				s.Groups++
			}
		}
	}
	commands, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range commands {
		if line, err := os.ReadFile(file); err == nil && strings.Contains(string(line), "/run/"+name) {
			s.Processes++
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, state) || strings.Contains(line, "/run/"+name+"/box") {
			s.Mounts++
		}
	}
	for _, dir := range []string{filepath.Join(state, "tmp"), "/run/" + name + "/box"} {
		_ = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if err == nil && path != dir {
				s.Files++
			}
			return nil
		})
	}
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	s.Descriptors, s.Goroutines = len(open), runtime.NumGoroutine()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	s.HeapMB = int(m.HeapAlloc >> 20)
	return s
}
