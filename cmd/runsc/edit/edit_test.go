package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

const original = "package p\n\n// One is 1.\nconst One = 1\n\nconst Two = 2\n"

// list writes a list of edits to the original as a person would.
func list(edits ...string) string {
	return fmt.Sprintf("Numbers change.\nOften.\nsha256 %x\n\n%s\n", sha256.Sum256([]byte(original)), strings.Join(edits, "\n"))
}

// hash is that of the original's lines.
func hash(first, last int) string {
	return sumOf(slices.Collect(strings.Lines(original))[first-1 : last])
}

// write makes a directory of edits.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func edited(t *testing.T, files map[string]string, gvisor fs.FS) (map[string][]byte, error) {
	t.Helper()
	all, err := read(write(t, files))
	if err != nil {
		return nil, err
	}
	return all.apply(gvisor)
}

func TestEdits(t *testing.T) {
	gvisor := fstest.MapFS{"pkg/p/p.go": {Data: []byte(original)}}
	replace := "replace 4-4 " + hash(4, 4) + ": one is more\n+const One = 11"
	after := "after 6 " + hash(6, 6) + ": there are three\n+\n+const Three = 3"
	remove := "replace 3-4 " + hash(3, 4) + ": nobody counts"
	for name, c := range map[string]struct {
		edits []string
		want  string
	}{
		"a line replaced":      {[]string{replace}, "package p\n\n// One is 1.\nconst One = 11\n\nconst Two = 2\n"},
		"lines added":          {[]string{after}, original + "\nconst Three = 3\n"},
		"lines removed":        {[]string{remove}, "package p\n\nconst Two = 2\n"},
		"several":              {[]string{replace, "", after}, "package p\n\n// One is 1.\nconst One = 11\n\nconst Two = 2\n\nconst Three = 3\n"},
		"added above the next": {[]string{"after 5 " + hash(5, 5) + ": x\n+const Half = .5", "replace 6-6 " + hash(6, 6) + ": y\n+const Two = 22"}, "package p\n\n// One is 1.\nconst One = 1\n\nconst Half = .5\nconst Two = 22\n"},
	} {
		made, err := edited(t, map[string]string{"pkg/p/p.go.edit": list(c.edits...), "pkg/p/new.go": "package p\n"}, gvisor)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := string(made["pkg/p/p.go"]); got != notice+c.want {
			t.Errorf("%s: %q", name, got)
		}
		if string(made["pkg/p/new.go"]) != "package p\n" || len(made) != 2 {
			t.Errorf("%s: made %v", name, slices.Collect(maps.Keys(made)))
		}
	}
}

// TestEditsThatDoNotFit: a new version of gVisor, or a slip of a person, fails the build in words that name the list and the edit.
func TestEditsThatDoNotFit(t *testing.T) {
	good := "replace 4-4 " + hash(4, 4) + ": one is more\n+const One = 11"
	newer := strings.Replace(original, "One = 1", "One = 1.0", 1)
	at := func(text string) fs.FS { return fstest.MapFS{"pkg/p/p.go": {Data: []byte(text)}} }
	for name, c := range map[string]struct {
		list   string
		gvisor fs.FS
		want   []string
	}{
		"gVisor changed these lines": {list(good), at(newer), []string{"pkg/p/p.go.edit", "lines 4-4 (one is more)", "these lines are others", "gVisor's pkg/p/p.go is not the file that was edited"}},
		"gVisor changed others":      {list(good), at(original + "\n"), []string{"pkg/p/p.go.edit", "gVisor's pkg/p/p.go is not the file that was edited"}},
		"gVisor's file is shorter":   {list(good), at("package p\n"), []string{"lines 4-4 (one is more)", "has 1 lines"}},
		"gVisor's file is gone":      {list(good), fstest.MapFS{}, []string{"pkg/p/p.go.edit", "pkg/p/p.go"}},
		"other lines were meant":     {list("after 6 " + hash(4, 4) + ": x\n+// y"), at(original), []string{"after line 6 (x)", "these lines are others"}},
		"lines that overlap":         {list(good, "replace 3-4 "+hash(3, 4)+": again"), at(original), []string{"pkg/p/p.go.edit", "don't overlap"}},
		"lines backwards":            {list("replace 4-3 " + hash(3, 4) + ": x"), at(original), []string{"no such lines"}},
		"line nought":                {list("after 0 " + hash(3, 4) + ": x\n+y"), at(original), []string{"no such lines"}},
		"no reason":                  {list("replace 4-4 " + hash(4, 4) + ":\n+const One = 11"), at(original), []string{"it is no edit"}},
		"no reason for the file":     {strings.SplitAfterN(list(good), "\n", 3)[2], at(original), []string{"nothing says why"}},
		"no sum":                     {"Numbers change.\n" + good, at(original), []string{"sha256 is missing"}},
		"no edit":                    {list(), at(original), []string{"no edit in it"}},
		"nothing added":              {list("after 6 " + hash(6, 6) + ": x"), at(original), []string{"adds nothing"}},
		"new lines that are none":    {list(good, "const Three = 3"), at(original), []string{"it is no edit: const Three = 3"}},
		"what comes out is no Go":    {list("replace 4-4 " + hash(4, 4) + ": x\n+const One = {"), at(original), []string{"pkg/p/p.go.edit", "is not Go"}},
	} {
		made, err := edited(t, map[string]string{"pkg/p/p.go.edit": c.list}, c.gvisor)
		if err == nil {
			t.Errorf("%s: made %q", name, made)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: the error does not say %q: %v", name, want, err)
			}
		}
	}
	if _, err := edited(t, map[string]string{"pkg/p/p.go": "package p\n"}, at(original)); err == nil || !strings.Contains(err.Error(), "can't be added") {
		t.Errorf("a file of gVisor's was replaced by one of ours: %v", err)
	}
}

// TestEditsFitThePin makes the copy that bin/runsc is built from, of the version go.mod names.
func TestEditsFitThePin(t *testing.T) {
	t.Chdir("..")
	to := filepath.Join(t.TempDir(), "gvisor")
	if err := run("_gvisor", to); err != nil {
		t.Fatal(err)
	}
	if err := run("_gvisor", to); err != nil {
		t.Fatalf("a second time: %v", err)
	}
	pinned, err := pinnedModule()
	if err != nil {
		t.Fatal(err)
	}
	all, err := read("_gvisor")
	if err != nil {
		t.Fatal(err)
	}
	same := 0
	err = filepath.WalkDir(to, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, _ := filepath.Rel(to, path)
		got, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		want, _ := os.ReadFile(filepath.Join(pinned, name))
		isOurs := all.added[name] != nil
		isChanged := slices.ContainsFunc(all.changed, func(c changed) bool { return c.file == name })
		switch {
		case isChanged && (bytes.Equal(got, want) || !bytes.HasPrefix(got, []byte(notice))):
			t.Errorf("%s is not changed, or does not say so", name)
		case !isChanged && !isOurs && !bytes.Equal(got, want):
			t.Errorf("%s differs, and no edit is for it", name)
		case bytes.Equal(got, want):
			same++
		}
		return nil
	})
	if err != nil || same < 1000 {
		t.Errorf("%d files are gVisor's: %v", same, err)
	}
	mod, err := os.ReadFile(to + ".mod")
	if err != nil || !strings.Contains(string(mod), "replace gvisor.dev/gvisor => ") || !strings.Contains(string(mod), to) {
		t.Errorf("%s %v", mod, err)
	}
	if own, err := os.ReadFile("go.mod"); err != nil || strings.Contains(string(own), "replace gvisor") {
		t.Errorf("go.mod itself was changed: %v", err)
	}
}
