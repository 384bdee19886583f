package invoke_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"she/internal/invoke"
	"she/internal/sandbox"
	"she/internal/sandbox/sandboxtest"
)

// wasmCode is a Go program as a module: bootstrap.wasm, whatever the handler.
func wasmCode(t testing.TB) invoke.Code {
	t.Helper()
	c := function(t, "wasm", "count", nil)
	if err := sandboxtest.GoBuild("testdata/wasm/go", filepath.Join(c.Dir, "bootstrap.wasm"), ".", "GOOS=wasip1", "GOARCH=wasm"); err != nil {
		t.Fatal(err)
	}
	return c
}

// clangCode is a C program as a module.
func clangCode(t testing.TB) invoke.Code {
	t.Helper()
	c := function(t, "wasm", "edges.wasm", nil)
	out, err := exec.Command("clang", "--target=wasm32-wasi", "-O2", "-o", filepath.Join(c.Dir, "edges.wasm"), "testdata/wasm/edges.c").CombinedOutput()
	if err != nil {
		t.Fatalf("compile C for WebAssembly (make deps): %v\n%s", err, out)
	}
	return c
}

func TestWasm(t *testing.T) {
	slow(t)
	t.Parallel()
	v := openInvoker(t, invoke.Config{WaitingBytes: -1})
	c := wasmCode(t)
	for range 2 {
		if a := wantAnswer(t, v, c, `"12345"`, `7`); string(a.Log) != "counted by count of test-dev-fn\n" || a.Start != invoke.Cold {
			t.Errorf("log %q, started %s", a.Log, a.Start)
		}
	}
	if resolved, _, err := v.Supports("wasm"); resolved != "wasm" || err != nil {
		t.Errorf("%s %v", resolved, err)
	}
	c.Handler = "../count.wasm" // then it is bootstrap.wasm, and that is all it can be
	wantAnswer(t, v, c, `1`, `1`)
	if err := os.Remove(filepath.Join(c.Dir, "bootstrap.wasm")); err != nil {
		t.Fatal(err)
	}
	wantFailure(t, v, c, `1`, invoke.Author, sandbox.InvalidEntrypoint, "")
}

// TestWasmEdges holds the limits at their exact edge, from C.
func TestWasmEdges(t *testing.T) {
	slow(t)
	t.Parallel()
	v := openInvoker(t, invoke.Config{WaitingBytes: -1})
	c := clangCode(t)
	c.Timeout = time.Minute
	for name, test := range map[string]func(*testing.T, *invoke.Invoker, invoke.Code){
		"answer": edgeOfAnswer, "request": edgeOfRequest, "memory": edgeOfMemory, "log": edgeOfLog,
	} {
		t.Run(name, func(t *testing.T) { test(t, v, c) })
	}
	t.Run("memory to the byte", func(t *testing.T) {
		c := c
		c.MemoryMB = 128
		a, err := ask(t, v, c, `{"do":"grow"}`)
		if err != nil || string(a.Payload) != fmt.Sprint(128<<20) {
			t.Errorf("memory grew to %s bytes, %v", a.Payload, err)
		}
	})
	t.Run("time", func(t *testing.T) {
		c := c
		c.Timeout = time.Second
		a, err := ask(t, v, c, `{"do":"sleep"}`)
		var f *invoke.Failure
		if !errors.As(err, &f) || f.Code != sandbox.Timedout || a.Timing.Run < c.Timeout {
			t.Errorf("after %s: %v", a.Timing.Run, err)
		}
	})
	t.Run("error document", func(t *testing.T) {
		a, err := ask(t, v, c, `{"do":"fail"}`)
		var f *invoke.Failure
		if !errors.As(err, &f) || f.Code != sandbox.Unhandled || string(a.Payload) != `{"errorType":"Own","errorMessage":"words"}` {
			t.Errorf("%s %v", a.Payload, err)
		}
		a, err = ask(t, v, c, `{"do":"exit"}`)
		var d struct{ ErrorType, ErrorMessage string }
		if !errors.As(err, &f) || f.Code != sandbox.ExitError || json.Unmarshal(a.Payload, &d) != nil || d.ErrorType != sandbox.ExitError {
			t.Errorf("%s %v", a.Payload, err)
		}
	})
}

// TestWasmInstances: they wait ahead, are used once, and nothing is the same in two of them but the code.
func TestWasmInstances(t *testing.T) {
	slow(t)
	t.Parallel()
	v := openInvoker(t, invoke.Config{MaxInstances: 3})
	c := clangCode(t)
	ids := map[string]bool{}
	var mu sync.Mutex
	var running sync.WaitGroup
	var warm int
	for range 200 {
		running.Go(func() {
			a, err := ask(t, v, c, `{"do":"draw"}`)
			var got struct {
				Random string
				Runs   int
				Clock  int64 // ms
			}
			if err == nil {
				err = json.Unmarshal(a.Payload, &got)
			}
			if err != nil {
				t.Errorf("%v %s", err, a.Payload)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if ids[got.Random] || len(got.Random) != 32 {
				t.Errorf("%q was drawn before", got.Random)
			}
			ids[got.Random] = true
			if got.Runs != 1 {
				t.Errorf("its memory says that it runs for the %d. time", got.Runs)
			}
			if off := time.Since(time.UnixMilli(got.Clock)); off.Abs() > 30*time.Second {
				t.Errorf("its clock is off by %s", off)
			}
			if a.Start == invoke.Warm {
				warm++
			}
		})
	}
	running.Wait()
	v.Settle()
	if warm == 0 {
		t.Error("none of 200 events found an instance that waited")
	}
	s := onlyStats(t, v)
	if s.Waiting == 0 || s.NoCopies == "" {
		t.Errorf("stats %+v", s)
	}
	if bytes := v.Stats().WaitingBytes; bytes <= 0 {
		t.Errorf("%d instances wait and take %d bytes", s.Waiting, bytes)
	}
	wantStart(t, v, c, `1`, invoke.Warm)
}
