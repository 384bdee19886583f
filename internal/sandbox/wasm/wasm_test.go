package wasm_test

import (
	"os"
	"path/filepath"
	"testing"

	"she/internal/sandbox"
	"she/internal/sandbox/sandboxtest"
	"she/internal/sandbox/wasm"
)

// worker is she-wasm, built from what is checked out.
var worker string

func TestMain(m *testing.M) {
	sandboxtest.Main(m, func(dir string) error {
		worker = filepath.Join(dir, "she-wasm")
		return sandboxtest.GoBuild("", worker, "she/cmd/she-wasm")
	})
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
