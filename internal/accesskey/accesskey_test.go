package accesskey

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"she/internal/hat"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// A key survives a restart, reaches the functions it names, and is gone after it is deleted.
func TestKeysAreKept(t *testing.T) {
	dir := t.TempDir()
	keys := must(Open(dir))
	counter, other := must(hat.ParseFunctionID("counter")), must(hat.ParseFunctionID("other"))
	one := must(keys.Create([]hat.FunctionID{counter}, "a note", time.Now()))
	all := must(keys.Create(nil, "", time.Now().Add(time.Second)))
	if !one.Reaches(counter) || one.Reaches(other) || !all.Reaches(other) || one.ID == all.ID || len(one.ID) != 20 || len(one.Secret) != 40 {
		t.Errorf("%+v, %+v", one, all)
	}
	if info := must(os.Stat(filepath.Join(dir, "access-keys.json"))); info.Mode().Perm() != 0o600 {
		t.Errorf("the secrets lie in a file of mode %v", info.Mode())
	}
	keys = must(Open(dir))
	if again, found := keys.Find(one.ID); !found || again.Secret != one.Secret || !again.Reaches(counter) || again.Reaches(other) {
		t.Errorf("after a restart: %+v, %v", again, found)
	}
	if again, found := keys.Find(all.ID); !found || !again.Reaches(other) {
		t.Errorf("after a restart: %+v, %v", again, found)
	}
	list := keys.List()
	if len(list) != 2 || list[0].ID != one.ID || list[0].Secret+list[1].Secret != "" {
		t.Errorf("listed as %+v", list)
	}
	if err := keys.Delete(one.ID); err != nil {
		t.Fatal(err)
	}
	if err := keys.Delete(one.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("deleted twice: %v", err)
	}
	if _, found := must(Open(dir)).Find(one.ID); found {
		t.Error("a deleted key is back after a restart")
	}
}

// A server that died while it stored a change leaves a file with secrets. The next change removes it, and nothing else.
func TestWhatACrashLeaves(t *testing.T) {
	dir := t.TempDir()
	keys := must(Open(dir))
	key := must(keys.Create(nil, "", time.Now()))
	half, other := filepath.Join(dir, "access-keys.json.unfinished-123"), filepath.Join(dir, "node.db")
	for _, path := range []string{half, other} {
		if err := os.WriteFile(path, []byte(key.Secret), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := must(Open(dir)).Delete(key.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(half); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the secret of a deleted key is still there: %v", err)
	}
	if _, err := os.Stat(other); err != nil {
		t.Error(err)
	}
}

// A change that can't be stored is not made.
func TestAKeyThatCantBeStored(t *testing.T) {
	dir := t.TempDir()
	keys := must(Open(dir))
	key := must(keys.Create(nil, "", time.Now()))
	keys.path = filepath.Join(dir, "no such folder", "keys")
	if _, err := keys.Create(nil, "", time.Now()); err == nil {
		t.Error("created and not stored")
	}
	if err := keys.Delete(key.ID); err == nil {
		t.Error("deleted and still there after a restart")
	}
	if _, found := keys.Find(key.ID); !found || len(keys.List()) != 1 {
		t.Error("a change that failed was made")
	}
}

func TestFilesThatAreNoKeys(t *testing.T) {
	for _, text := range []string{"", "{", `[{"id":"short","secret":"x"}]`, `[{"id":"SHEAAAAAAAAAAAAAAAAA"}]`} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "access-keys.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "access-keys.json") {
			t.Errorf("%q: %v", text, err)
		}
	}
}
