package gvisor_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"she/internal/sandbox"
	"she/internal/sandbox/gvisor"
)

// holder is a sleeper that holds some MB, which it never writes again.
func holder(t *testing.T) sandbox.Program {
	t.Helper()
	p := sleeper(t)
	file := filepath.Join(p.Dir, "bootstrap")
	script := strings.Replace(string(content(t, file)), "#!/bin/bash\n", "#!/bin/bash\nheld=$(head -c 8000000 /dev/zero | tr '\\0' x)\n", 1)
	if err := os.WriteFile(file, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return p
}

// TestSharedMemoryIsNotSaved: a copy that shares memory with others can't be saved, and says so; its snapshot goes
// on to be used.
func TestSharedMemoryIsNotSaved(t *testing.T) {
	p := holder(t)
	m, snapshot := onImages(t, t.TempDir(), p)
	i, err := m.Restore(t.Context(), p, snapshot)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "again")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := gvisor.Save(t.Context(), i, dir); err == nil || !strings.Contains(err.Error(), "shares its memory with others") {
		t.Errorf("a copy was saved: %v", err)
	}
	if err := i.Close(); err != nil {
		t.Error(err)
	}
	if i, err = m.Restore(t.Context(), p, snapshot); err != nil {
		t.Fatal(err)
	}
	if err := i.Close(); err != nil {
		t.Error(err)
	}
}

// TestSharedMemoryIsChargedOnce: what copies share is the launcher's to pay for, once.
func TestSharedMemoryIsChargedOnce(t *testing.T) {
	p, state := holder(t), t.TempDir()
	m, snapshot := onImages(t, state, p)
	fresh, _, err := m.Start(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	whole := fresh.Memory()
	if err := fresh.Close(); err != nil {
		t.Error(err)
	}
	const held, copies = 7 << 20, 4
	before := launcherMemory(t, state)
	for range copies {
		i, err := m.Restore(t.Context(), p, snapshot)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := i.Close(); err != nil {
				t.Error(err)
			}
		}()
		if own := i.Memory(); own > whole-held {
			t.Errorf("a copy is charged for %d bytes, a sandbox that was started for %d", own, whole)
		}
	}
	if more := launcherMemory(t, state) - before; more < held || more > copies*held {
		t.Errorf("the launcher is charged for %d bytes that %d copies share", more, copies)
	}
}
