package wasm_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"she/internal/sandbox"
	"she/internal/sandbox/wasm"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestWasm shares one compiled module: compiling is what takes the time here.
func TestWasm(t *testing.T) {
	m, p := open(t), program(build(t))
	t.Run("Bounds", func(t *testing.T) { bounds(t, m, p) })
	t.Run("ReachesNothing", func(t *testing.T) { reachesNothing(t, m, p) })
	t.Run("ManyAtOnceAndCancel", func(t *testing.T) { manyAtOnce(t, m, p) })
}

func build(t testing.TB) string {
	t.Helper()
	if testing.Short() {
		t.Skip("compiling takes seconds")
	}
	dir := t.TempDir()
	cmd := exec.Command("go", "build", "-o", filepath.Join(dir, "handler.wasm"), "./testdata/hostile")
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return dir
}

func open(t testing.TB) *wasm.Mechanism {
	m := wasm.New()
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

func program(dir string) sandbox.Program {
	return sandbox.Program{Dir: dir, Command: []string{"/var/task/handler.wasm"}, Env: []string{"OWN=mine"}, Limits: sandbox.Limits{Memory: 128 << 20, Init: time.Minute}}
}

func run(ctx context.Context, t testing.TB, m *wasm.Mechanism, p sandbox.Program, event string, limit time.Duration) (sandbox.Result, error) {
	t.Helper()
	i, r, err := m.Start(ctx, p)
	if err != nil {
		return r, err
	}
	defer i.Close()
	return i.Run(ctx, sandbox.Call{ID: "id", Deadline: time.Now().Add(limit), Event: []byte(event)})
}

func bounds(t *testing.T, m *wasm.Mechanism, p sandbox.Program) {
	ask := func(event string) (sandbox.Result, error) { return run(t.Context(), t, m, p, event, time.Minute) }
	fails := func(event string, limit time.Duration, code, text string) sandbox.Result {
		t.Helper()
		began := time.Now()
		r, err := run(t.Context(), t, m, p, event, limit)
		var f *sandbox.Failure
		if !errors.As(err, &f) || f.Blame != sandbox.Author || f.Code != code || !strings.Contains(f.Text, text) {
			t.Errorf("%s: got %v, want %s", event, err, code)
		}
		if took := time.Since(began); took > limit+10*time.Second {
			t.Errorf("%s: a limit of %s was enforced after %s", event, limit, took)
		}
		return r
	}

	if r, err := ask(`{"do":"echo","mark":"Grüße"}`); err != nil || string(r.Payload) != `{"do":"echo","mark":"Grüße"}` || r.Usage.MaxMemory == 0 {
		t.Errorf("%s %v %+v", r.Payload, err, r.Usage)
	}
	fails(`{"do":"exit"}`, time.Minute, sandbox.ExitError, "status 3")
	fails(`{"do":"trap"}`, time.Minute, sandbox.ExitError, "")
	fails(`{"do":"eat"}`, time.Minute, sandbox.ExitError, "")
	fails(`{"do":"sleep"}`, 200*time.Millisecond, sandbox.Timedout, "")
	fails(`{"do":"spin"}`, 200*time.Millisecond, sandbox.Timedout, "")
	if r, err := ask(fmt.Sprintf(`{"do":"size","bytes":%d}`, sandbox.MaxAnswer)); err != nil || len(r.Payload) != sandbox.MaxAnswer {
		t.Errorf("the largest answer: %d bytes, %v", len(r.Payload), err)
	}
	if r := fails(fmt.Sprintf(`{"do":"size","bytes":%d}`, sandbox.MaxAnswer+1), time.Minute, sandbox.ResponseSizeTooLarge, ""); r.Payload != nil {
		t.Error("part of an answer that is too large came through")
	}
	r, err := ask(`{"do":"flood","bytes":4194304}`)
	if err != nil || len(r.Log) > sandbox.MaxLog+100 || !bytes.HasPrefix(r.Log, []byte("the head\n")) || !bytes.HasSuffix(r.Log, []byte("the tail\n")) {
		t.Errorf("%d bytes of log, %v", len(r.Log), err)
	}
}

func reachesNothing(t *testing.T, m *wasm.Mechanism, p sandbox.Program) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := os.Symlink("/etc", filepath.Join(p.Dir, "out")); err != nil {
		t.Fatal(err)
	}
	event, err := json.Marshal(map[string]any{"do": "reach", "mark": l.Addr().String(), "paths": []string{
		"/", "/etc/passwd", "/var/task", "/var/task/out/passwd", "/tmp", "/tmp/mark", ".", "mark", "/proc/self/environ", filepath.Join(p.Dir, "handler.wasm"),
	}})
	if err != nil {
		t.Fatal(err)
	}
	r, err := run(t.Context(), t, m, p, string(event), time.Minute)
	if err != nil || strings.TrimSpace(string(r.Payload)) != "[]" {
		t.Errorf("reached %s, %v", r.Payload, err)
	}
	t.Setenv("SHE_SECRET", "canary")
	r, err = run(t.Context(), t, m, p, `{"do":"self"}`, time.Minute)
	var self struct {
		Env   []string
		Time  time.Time
		Eaten int
	}
	if err != nil || json.Unmarshal(r.Payload, &self) != nil || len(self.Env) != 3 || self.Eaten != 0 || time.Since(self.Time).Abs() > time.Minute {
		t.Errorf("%s %v", r.Payload, err)
	}
}

func manyAtOnce(t *testing.T, m *wasm.Mechanism, p sandbox.Program) {
	reason := errors.New("enough")
	ctx, stop := context.WithCancelCause(t.Context())
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if r, err := run(t.Context(), t, m, p, `{"do":"echo"}`, time.Minute); err != nil || string(r.Payload) != `{"do":"echo"}` {
				t.Errorf("%s %v", r.Payload, err)
			}
		})
		wg.Go(func() {
			if _, err := run(ctx, t, m, p, `{"do":"sleep"}`, time.Minute); !errors.Is(err, reason) {
				t.Errorf("got %v", err)
			}
		})
	}
	time.AfterFunc(300*time.Millisecond, func() { stop(reason) })
	wg.Wait()
}

func TestWasmThatCannotRun(t *testing.T) {
	m := open(t)
	for name, content := range map[string]string{"missing": "", "garbage": "\x00asm\x01\x00\x00\x00garbage", "empty": "\x00asm\x01\x00\x00\x00"} {
		dir := t.TempDir()
		if content != "" {
			if err := os.WriteFile(filepath.Join(dir, "handler.wasm"), []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		_, err := run(t.Context(), t, m, program(dir), `{}`, time.Minute)
		var f *sandbox.Failure
		if !errors.As(err, &f) || f.Code != sandbox.InvalidEntrypoint {
			t.Errorf("%s: %v", name, err)
		}
	}
	p := program(t.TempDir())
	p.Command = []string{"/var/task/../../etc/passwd"}
	if _, err := run(t.Context(), t, m, p, `{}`, time.Minute); err == nil {
		t.Error("a module outside of the package was taken")
	}
}

func BenchmarkWasm(b *testing.B) {
	m, p := open(b), program(build(b))
	if _, err := run(b.Context(), b, m, p, `{"do":"echo"}`, time.Minute); err != nil { // compiles
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := run(b.Context(), b, m, p, `{"do":"echo"}`, time.Minute); err != nil {
			b.Fatal(err)
		}
	}
}
