package invoke_test

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"she/internal/invoke"
	"she/internal/sandbox/gvisor"
	"she/internal/sandbox/sandboxtest"
	"she/internal/sandbox/wasm"
)

// helpers are programs the sandboxes need.
var helpers struct{ runsc, init, wasm string }

// compiled are programs in the languages that have a compiler, made once for all tests; nobody writes there.
var compiled struct {
	dir string
	mu  sync.Mutex
}

// compileOnce gives the directory that compile has filled, for the first that asks.
func compileOnce(t testing.TB, what string, compile func(dir string)) string {
	t.Helper()
	compiled.mu.Lock()
	defer compiled.mu.Unlock()
	dir := filepath.Join(compiled.dir, what)
	if _, err := os.Stat(dir); err == nil {
		return dir
	}
	work := dir + ".work"
	if err := errors.Join(os.RemoveAll(work), os.Mkdir(work, 0o755)); err != nil {
		t.Fatal(err)
	}
	compile(work)
	if err := errors.Join(os.Chmod(work, 0o755), os.Rename(work, dir)); err != nil { // compilers may have made it anew
		t.Fatal(err)
	}
	return dir
}

func TestMain(m *testing.M) {
	sandboxtest.Main(m, func(dir string) error {
		compiled.dir = dir
		return build(dir)
	})
}

func build(dir string) (err error) {
	helpers.init, helpers.wasm = filepath.Join(dir, "she-init"), filepath.Join(dir, "she-wasm")
	if helpers.runsc, err = sandboxtest.Runsc(); err != nil {
		return err
	}
	return errors.Join(sandboxtest.GoBuild("", helpers.init, "she/cmd/she-init"), sandboxtest.GoBuild("", helpers.wasm, "she/cmd/she-wasm"))
}

// needRoot skips on a developer's own account; the suite as root skips nothing.
func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("sandboxes need root")
	}
}

// slow leaves a test of many sandboxes out of the quick check before a commit.
func slow(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("many sandboxes")
	}
}

// newInvoker makes one that starts every instance cold.
func newInvoker(t testing.TB) *invoke.Invoker {
	t.Helper()
	return openInvoker(t, invoke.Config{WaitingBytes: -1})
}

func openInvoker(t testing.TB, c invoke.Config) *invoke.Invoker {
	t.Helper()
	return openIn(t, t.TempDir(), c)
}

// openIn keeps the state of its sandboxes in a directory "state" of dir.
func openIn(t testing.TB, dir string, c invoke.Config) *invoke.Invoker {
	t.Helper()
	needRoot(t)
	m, err := gvisor.New(gvisor.Config{Runsc: helpers.runsc, Init: helpers.init, State: filepath.Join(dir, "state"), Files: gvisor.Files})
	if err != nil {
		t.Fatal(err)
	}
	if c.Wasm, err = wasm.New(wasm.Config{Worker: helpers.wasm, State: filepath.Join(dir, "wasm")}); err != nil {
		t.Fatal(err)
	}
	c.Sandbox, c.Runtimes = m, filepath.Join(dir, "runtimes")
	v, err := invoke.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	})
	return v
}

// function makes a package of the given files.
func function(t testing.TB, runtime, handler string, files map[string]string) invoke.Code {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return invoke.Code{
		Name: "test-dev-fn", Version: "1.0.0", Package: "sha256:" + t.Name(), Dir: dir,
		Runtime: runtime, Handler: handler, MemoryMB: 256, Timeout: 20 * time.Second,
	}
}
