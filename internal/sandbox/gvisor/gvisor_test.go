package gvisor_test

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"she/internal/sandbox"
	"she/internal/sandbox/gvisor"
	"she/internal/sandbox/sandboxtest"
)

var helpers struct{ runsc, init string }

func TestMain(m *testing.M) { sandboxtest.Main(m, build) }

func build(dir string) (err error) {
	helpers.init = filepath.Join(dir, "she-init")
	if helpers.runsc, err = sandboxtest.Runsc(); err != nil {
		return err
	}
	return sandboxtest.GoBuild("", helpers.init, "she/cmd/she-init")
}

func open(t *testing.T) *gvisor.Mechanism {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("sandboxes need root")
	}
	return openIn(t, t.TempDir(), gvisor.Files)
}

// openIn opens a mechanism with its state in a directory; without a directory for images, files come from a server.
func openIn(t testing.TB, state, files string) *gvisor.Mechanism {
	t.Helper()
	m, err := gvisor.New(gvisor.Config{Runsc: helpers.runsc, Init: helpers.init, State: state, Files: files})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// closes closes it when the test is over.
func closes(t testing.TB, m *gvisor.Mechanism) *gvisor.Mechanism {
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// running starts a program, or restores it from the image if there is one, and closes it when the test is over.
func running(t *testing.T, m *gvisor.Mechanism, p sandbox.Program, image string) (i sandbox.Instance) {
	t.Helper()
	var err error
	if image != "" {
		i, err = m.Restore(t.Context(), p, image)
	} else {
		i, _, err = m.Start(t.Context(), p)
	}
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

// commandOf is the command line of a process, or nothing if it has ended.
func commandOf(pid int) string {
	line, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	return string(line)
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
	m := closes(t, openIn(t, state, gvisor.Files))
	sandboxtest.Seal(t, m, state, "/run")
}

// BenchmarkResidual measures what docs/threat-model.md says of channels that stay open.
func BenchmarkResidual(b *testing.B) {
	if os.Geteuid() != 0 || os.Getenv("SHE_TEST_ALL") == "" {
		b.Skip("a minute of sandboxes, as root")
	}
	m := openIn(b, b.TempDir(), gvisor.Files)
	b.Cleanup(func() { _ = m.Close() })
	sandboxtest.Residual(b, m, 40)
}
