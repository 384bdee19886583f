package catalog

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestStoreMendsItself(t *testing.T) {
	dir := t.TempDir()
	t.Cleanup(func() { _ = removeTree(dir) })
	reopen := func() *Catalog {
		c, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	source := tree(t, python(map[string]string{"lib/x.py": "original"}))
	c := reopen()
	f := mustPublish(t, c, source, "f")
	x := filepath.Join(f.Package.Dir, "lib/x.py")
	for name, damage := range map[string]func() error{
		"one bit": func() error {
			return errors.Join(os.Chmod(x, 0o600), os.WriteFile(x, []byte("originaL"), 0o600), os.Chmod(x, 0o444))
		},
		"one mode": func() error { return os.Chmod(x, 0o555) },
		"one file": func() error { return errors.Join(os.Chmod(filepath.Dir(x), 0o700), os.Remove(x)) },
		"one more": func() error {
			return errors.Join(os.Chmod(f.Package.Dir, 0o700), os.WriteFile(filepath.Join(f.Package.Dir, "y"), nil, 0o444), os.Chmod(f.Package.Dir, 0o555))
		},
		"the list": func() error {
			return errors.Join(os.Chmod(filepath.Join(f.Package.Dir, "../list"), 0o600), os.Truncate(filepath.Join(f.Package.Dir, "../list"), 20))
		},
		"no list": func() error { return os.Remove(filepath.Join(f.Package.Dir, "../list")) },
		"a link": func() error {
			return errors.Join(os.Chmod(filepath.Dir(x), 0o700), os.Remove(x), os.Symlink("/etc/passwd", x), os.Chmod(filepath.Dir(x), 0o555))
		},
		"all of it": func() error { return removeTree(filepath.Dir(f.Package.Dir)) },
	} {
		if err := damage(); err != nil {
			t.Fatal(err)
		}
		c = reopen() // a new process looks at every byte
		again := mustPublish(t, c, source, "f")
		text, err := os.ReadFile(x)
		if again.Package != f.Package || err != nil || string(text) != "original" {
			t.Errorf("%s: not mended: %v", name, err)
		}
		if err := c.store.verify(t.Context(), f.Package.Digest); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	// In one process the quick check is enough to notice what is missing.
	if err := errors.Join(os.Chmod(filepath.Dir(x), 0o700), os.Remove(x)); err != nil {
		t.Fatal(err)
	}
	mustPublish(t, c, source, "f")
	if _, err := os.Stat(x); err != nil {
		t.Error("a missing file was not noticed")
	}
}

func TestGarbageAndPrune(t *testing.T) {
	dir := t.TempDir()
	t.Cleanup(func() { _ = removeTree(dir) })
	left := filepath.Join(dir, "packages", "new-LEFT", "files", "sub")
	if err := os.MkdirAll(left, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(left, 0o555); err != nil {
		t.Fatal(err)
	}
	c, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "packages", "new-LEFT")); !errors.Is(err, fs.ErrNotExist) {
		t.Error("garbage of an interrupted publish is still there")
	}
	old := mustPublish(t, c, tree(t, python(nil)), "f")
	kept := mustPublish(t, c, tree(t, python(map[string]string{"more": "x"})), "f")
	var told []string
	c.Gone = func(digest string) {
		told = append(told, digest)
		if _, err := os.Stat(old.Package.Dir); err != nil {
			t.Error("told of too late")
		}
	}
	removed, err := c.Prune([]Function{kept})
	if !slices.Equal(told, removed) {
		t.Errorf("told of %v, removed %v", told, removed)
	}
	if err != nil || !slices.Equal(removed, []string{old.Package.Digest}) {
		t.Errorf("removed %v, %v", removed, err)
	}
	if _, err := os.Stat(old.Package.Dir); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the old package is still there")
	}
	if err := c.store.verify(t.Context(), kept.Package.Digest); err != nil {
		t.Error(err)
	}
	// While somebody publishes, another process leaves the unfinished alone.
	unlock, err := c.store.lock(0x1) // shared
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(left, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(left); err != nil {
		t.Error("the work of another process was removed")
	}
	unlock()
}

func TestManyAtOnce(t *testing.T) {
	c := open(t)
	dir := tree(t, python(map[string]string{"a": "1", "b/c": "2"}))
	done := make(chan Package)
	for range 8 {
		go func() {
			f, err := c.Publish(t.Context(), registered(t, dir, "f"))
			if err != nil {
				t.Error(err)
			}
			done <- f.Package
		}()
	}
	first := <-done
	for range 7 {
		if p := <-done; p != first {
			t.Errorf("%v and %v", p, first)
		}
	}
	names, err := os.ReadDir(c.store.dir)
	if err != nil || len(names) != 2 {
		t.Errorf("%v, %v", names, err)
	}
}

func TestListRoundTrip(t *testing.T) {
	all := []listed{
		{kind: 'f', sum: sha256.Sum256([]byte("x")), size: 1, name: `with "quotes" and spaces`},
		{kind: 'l', link: "../ü x", name: "link"}, {kind: 'x', name: "ü/run"},
	}
	got, err := parseList(formatList(all))
	if err != nil || !slices.Equal(got, all) {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"", "she package 2\n", listHead + "f", listHead + "f \n", listHead + "f 00 1 \"a\"\n", listHead + "q x\n",
		listHead + "l \"a\n", listHead + "f " + hex.EncodeToString(make([]byte, 32)) + " 1 \"../a\"\n"} {
		if _, err := parseList([]byte(bad)); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

// A source that changes between being weighed and being copied is refused, and nothing of it stays.
func TestSourceThatChanges(t *testing.T) {
	c := open(t)
	reads := 0
	content, err := check([]file{{name: "a", mode: 0o644, size: 3, open: func() (io.ReadCloser, error) {
		reads++
		return io.NopCloser(strings.NewReader("one two"[4*(reads-1):][:3])), nil
	}}}, false)
	if err != nil {
		t.Fatal(err)
	}
	var unsafe *unsafeError
	if _, err := c.store.put(t.Context(), content); !errors.As(err, &unsafe) || !strings.Contains(err.Error(), "changed while it was read") {
		t.Errorf("got %v", err)
	}
	if names, err := os.ReadDir(c.store.dir); err != nil || len(names) != 1 {
		t.Errorf("%v, %v", names, err)
	}
}
