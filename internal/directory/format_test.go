package directory

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The file format is written to a new directory and to one from before the file existed. A newer directory
// is refused before anything is changed.
func TestFormatFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, formatFile)
	open := func() error {
		d, err := Open(dir)
		if err == nil {
			err = d.Close()
		}
		return err
	}
	for _, state := range []string{"a new directory", "one that was opened before", "one from before the file"} {
		if state == "one from before the file" {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
		}
		if err := open(); err != nil {
			t.Fatal(state, err)
		}
		if text, err := os.ReadFile(file); err != nil || string(text) != "1\n" {
			t.Errorf("%s: the file says %q, %v", state, text, err)
		}
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", state, info, err)
		}
	}
	if left, _ := filepath.Glob(file + ".*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}

	before := content(t, filepath.Join(dir, "node.db"))
	for text, newer := range map[string]bool{"2\n": true, "17": true, "": false, "x\n": false, "-1\n": false, strings.Repeat("9", 100): false} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := open(); err == nil || errors.Is(err, ErrNewer) != newer {
			t.Errorf("%.20q: %v", text, err)
		}
		if got := content(t, file); got != text {
			t.Errorf("%.20q was replaced by %.20q", text, got)
		}
	}
	if content(t, filepath.Join(dir, "node.db")) != before {
		t.Error("node.db was changed")
	}

	// A newer directory without node.db does not get one.
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, formatFile), []byte("2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := open(); !errors.Is(err, ErrNewer) {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "node.db")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("node.db was made: %v", err)
	}
}

func content(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
