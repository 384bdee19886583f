package durable

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

func TestAFileIsReplacedWholeOrNotAtAll(t *testing.T) {
	for name, put := range map[string]func(string, func(io.Writer) error) error{"write": Write, "replace": Replace} {
		dir := t.TempDir()
		path := filepath.Join(dir, "file")
		text := func(s string) func(io.Writer) error {
			return func(w io.Writer) error { _, err := io.WriteString(w, s); return err }
		}
		holds := func(want string) {
			t.Helper()
			got, err := os.ReadFile(path)
			if string(got) != want || err != nil {
				t.Errorf("%s: %q, %v, want %q", name, got, err, want)
			}
			if all, err := os.ReadDir(dir); len(all) != 1 || err != nil {
				t.Errorf("%s: beside it are %v, %v", name, all, err)
			}
		}
		for _, s := range []string{"one", "", "two"} {
			if err := put(path, text(s)); err != nil {
				t.Fatal(err)
			}
			holds(s)
		}
		if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
		gone := errors.New("no more")
		err := put(path, func(w io.Writer) error { return errors.Join(text("half")(w), gone) })
		if !errors.Is(err, gone) {
			t.Errorf("%s: %v", name, err)
		}
		holds("two")
		if err := put(filepath.Join(dir, "missing", "file"), text("x")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
