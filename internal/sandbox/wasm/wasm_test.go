package wasm_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"she/internal/sandbox"
	"she/internal/sandbox/sandboxtest"
	"she/internal/sandbox/wasm"
)

// worker is she-wasm, built from what is checked out.
var worker string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "she-wasm-")
	if err == nil {
		err = build(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

func build(dir string) error {
	worker = filepath.Join(dir, "she-wasm")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", worker, "she/cmd/she-wasm")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build she-wasm: %w\n%s", err, out)
	}
	return nil
}

func openIn(t testing.TB, state string) *wasm.Mechanism {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("sandboxes need root")
	}
	m, err := wasm.New(wasm.Config{Worker: worker, State: state})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestModules(t *testing.T) {
	if testing.Short() {
		t.Skip("compiling takes seconds")
	}
	state := t.TempDir()
	sandboxtest.Modules(t, func(t *testing.T) sandbox.Mechanism { return openIn(t, state) })
}
