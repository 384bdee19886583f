package catalog

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"she/internal/hat"
)

// A published function stays usable until it is forgotten, even if another one has the same version: its
// digest counts.
func TestFormerFunctions(t *testing.T) {
	dir := t.TempDir()
	reopened := func() *Catalog {
		t.Helper()
		c, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	load := func(c *Catalog, registered ...Registered) (loaded, former []Function) {
		t.Helper()
		loaded = c.Load(t.Context(), registered)
		former, err := c.Former(t.Context(), loaded)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range loaded {
			if f.Problem != nil {
				t.Fatal(f.Problem)
			}
		}
		if _, err := c.Prune(append(loaded, former...)); err != nil {
			t.Fatal(err)
		}
		return loaded, former
	}

	version, err := hat.ParseVersion("1.0.0")
	if err != nil {
		t.Fatal(err)
	}
	registered := func(path string) Registered {
		r := registered(t, path, "f")
		r.Version = version
		return r
	}
	source := tree(t, python(map[string]string{"word.txt": "one"}))
	first, former := load(reopened(), registered(source))
	if len(former) != 0 {
		t.Fatalf("before anything was replaced: %v", former)
	}
	if err := os.WriteFile(filepath.Join(source, "word.txt"), []byte("two"), 0o600); err != nil {
		t.Fatal(err)
	}
	second, former := load(reopened(), registered(source))
	if len(former) != 1 || former[0].Digest() != first[0].Digest() || former[0].Process.Handler != first[0].Process.Handler {
		t.Fatalf("replaced: %+v, %q", former, second[0].Warnings)
	}
	if second[0].Digest() == first[0].Digest() {
		t.Fatal("the package did not change")
	}
	word, err := os.ReadFile(filepath.Join(former[0].Package.Dir, "word.txt"))
	if err != nil || string(word) != "one" {
		t.Fatalf("the former package has %q, %v", word, err)
	}

	// A damaged package is not run.
	c := reopened()
	if err := os.Chmod(filepath.Join(former[0].Package.Dir, "word.txt"), 0o644); err != nil {
		t.Fatal(err)
	}
	loaded := c.Load(t.Context(), []Registered{registered(source)})
	if all, err := c.Former(t.Context(), loaded); err != nil || len(all) != 0 {
		t.Fatalf("with a damaged package: %v, %v", all, err)
	}
	if err := os.Chmod(filepath.Join(former[0].Package.Dir, "word.txt"), 0o444); err != nil {
		t.Fatal(err)
	}

	// An incomplete file or a foreign file does no harm.
	for name, text := range map[string]string{"new-abc": "{", strings.Repeat("0", 64) + ".json": "{"} {
		if err := os.WriteFile(filepath.Join(dir, "releases", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, former = load(reopened(), registered(source)); len(former) != 1 {
		t.Fatalf("beside damaged files: %v", former)
	}

	// After a release is forgotten, the next start removes its package.
	if err := reopened().Forget(former[0]); err != nil {
		t.Fatal(err)
	}
	if err := reopened().Forget(former[0]); err != nil {
		t.Fatalf("twice: %v", err)
	}
	if _, again := load(reopened(), registered(source)); len(again) != 0 {
		t.Fatalf("forgotten: %v", again)
	}
	if _, err := os.Stat(former[0].Package.Dir); !os.IsNotExist(err) {
		t.Fatalf("its package: %v", err)
	}

	// If the operator removes a function, all its releases are forgotten.
	c = reopened()
	if former, err := c.Former(context.Background(), nil); err != nil || len(former) != 0 {
		t.Fatalf("nothing is registered: %v, %v", former, err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "releases", "*")); len(left) != 1 { // the foreign file
		t.Errorf("left: %v", left)
	}
}
