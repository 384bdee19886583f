package gvisor_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"she/internal/sandbox"
	"she/internal/sandbox/gvisor"
	"she/internal/sandbox/sandboxtest"
)

var helpers struct{ runsc, init string }

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "she-gvisor-")
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

// build finds runsc in SHE_BIN or in bin/ of the module, and builds she-init from what is checked out.
func build(dir string) error {
	bin := os.Getenv("SHE_BIN")
	if bin == "" {
		bin = filepath.Join("..", "..", "..", "bin")
	}
	runsc, err := filepath.Abs(filepath.Join(bin, "runsc"))
	if err == nil {
		_, err = os.Stat(runsc)
	}
	if err != nil {
		return errors.Join(errors.New("runsc is missing; build it with: make build (or set SHE_BIN)"), err)
	}
	helpers.runsc, helpers.init = runsc, filepath.Join(dir, "she-init")
	cmd := exec.Command("go", "build", "-trimpath", "-o", helpers.init, "she/cmd/she-init")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build she-init: %w\n%s", err, out)
	}
	return nil
}

func open(t *testing.T) *gvisor.Mechanism {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("sandboxes need root")
	}
	m, err := gvisor.New(gvisor.Config{Runsc: helpers.runsc, Init: helpers.init, State: t.TempDir(), Files: gvisor.Files})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestMechanism(t *testing.T) {
	if testing.Short() {
		t.Skip("half a minute of sandboxes")
	}
	sandboxtest.Mechanism(t, func(t *testing.T) sandbox.Mechanism { return open(t) })
}

func TestCopies(t *testing.T) {
	if testing.Short() {
		t.Skip("half a minute of sandboxes")
	}
	sandboxtest.Copies(t, func(t *testing.T) sandbox.Copier { return open(t) })
}

func TestSeal(t *testing.T) {
	if testing.Short() {
		t.Skip("minutes of sandboxes")
	}
	state := t.TempDir()
	m, err := gvisor.New(gvisor.Config{Runsc: helpers.runsc, Init: helpers.init, State: state, Files: gvisor.Files})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}()
	sandboxtest.Seal(t, m, state, "/run")
}

// BenchmarkResidual measures what docs/threat-model.md says of channels that stay open.
func BenchmarkResidual(b *testing.B) {
	if os.Geteuid() != 0 || os.Getenv("SHE_TEST_ALL") == "" {
		b.Skip("a minute of sandboxes, as root")
	}
	m, err := gvisor.New(gvisor.Config{Runsc: helpers.runsc, Init: helpers.init, State: b.TempDir(), Files: gvisor.Files})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = m.Close() })
	sandboxtest.Residual(b, m, 40)
}
