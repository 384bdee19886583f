package gvisor_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"she/internal/sandbox/gvisor"
)

// TestHelpersInAClosedDirectory has gVisor's programs where only root may go, as in a checkout below /root.
func TestHelpersInAClosedDirectory(t *testing.T) {
	if os.Geteuid() != 0 || testing.Short() {
		t.Skip("needs root, and time for a sandbox")
	}
	closed := filepath.Join(t.TempDir(), "closed")
	runsc := filepath.Join(closed, "bin", "runsc")
	if err := os.MkdirAll(filepath.Dir(gvisor.Companion(runsc)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{helpers.runsc: runsc, gvisor.Companion(helpers.runsc): gvisor.Companion(runsc)} {
		if err := os.WriteFile(to, content(t, from), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	mounts := func() (ours int) {
		for line := range strings.Lines(string(content(t, "/proc/self/mountinfo"))) {
			if strings.Contains(line, closed) || strings.Contains(line, "gvisor-sentry-prewarmer") {
				ours++
			}
		}
		return ours
	}
	before := mounts()
	m, err := gvisor.New(gvisor.Config{Runsc: runsc, Init: helpers.init, State: t.TempDir(), Files: gvisor.Files})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Sweep(t.Context()); err != nil { // it leaves what the coming sandboxes need
		t.Error(err)
	}
	if mounts() == before {
		t.Error("nothing is bound: the test proves nothing")
	}
	i, _, err := m.Start(t.Context(), sleeper(t))
	if err != nil {
		t.Error(err)
	} else if err := i.Close(); err != nil {
		t.Error(err)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	if mounts() != before {
		t.Error("a mount stays")
	}
}
