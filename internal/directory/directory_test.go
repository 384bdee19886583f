package directory

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"she/internal/hat"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func domain(t testing.TB, s string) hat.Domain {
	t.Helper()
	d, err := hat.ParseDomain(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func open(t testing.TB, dir string) *Directory {
	t.Helper()
	d, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func TestAHATIsThereAfterReopening(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "some where?#100%")
	d := open(t, dir)
	alice, err := d.Create(t.Context(), domain(t, "alice.localhost:7777"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Create(t.Context(), domain(t, "alice.localhost:7777")); !errors.Is(err, ErrExists) {
		t.Errorf("a second alice: got %v", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}

	d = open(t, dir)
	for says, find := range map[string]func() (HAT, error){
		"by domain": func() (HAT, error) { return d.ByDomain(domain(t, "Alice.localhost:7777")) },
		"by id":     func() (HAT, error) { return d.ByID(alice.ID) },
	} {
		got, err := find()
		if err != nil {
			t.Fatalf("%s: %v", says, err)
		}
		if got.ID != alice.ID || got.Domain != alice.Domain || !got.Created.Equal(alice.Created) || !got.Key.Equal(alice.Key) {
			t.Errorf("%s: got another HAT", says)
		}
	}
	if _, err := d.ByDomain(domain(t, "alice.localhost")); !errors.Is(err, ErrNotFound) {
		t.Errorf("without its port: got %v", err)
	}
}

func TestListIsSortedAndReadsNoKeys(t *testing.T) {
	d := open(t, t.TempDir())
	for _, s := range []string{"carol.localhost", "alice.localhost", "bob.localhost"} {
		if _, err := d.Create(t.Context(), domain(t, s)); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for _, h := range d.List() {
		got = append(got, h.Domain.Name().String())
		if h.Key != nil {
			t.Errorf("%s comes with a key", h.Domain)
		}
	}
	if len(got) != 3 || got[0] != "alice" || got[1] != "bob" || got[2] != "carol" {
		t.Errorf("got %v", got)
	}
}

func TestOneProcessAtATime(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir)
	if _, err := Open(dir); !errors.Is(err, ErrInUse) {
		t.Fatalf("opened twice: got %v", err)
	}
	d.Close()
	open(t, dir)
}

func TestANewerFormatIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	open(t, dir).Close()
	db, err := sql.Open("sqlite", filepath.Join(dir, "node.db"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("PRAGMA user_version = 99"); err != nil {
		t.Fatal(err)
	}
	db.Close()
	if _, err := Open(dir); !errors.Is(err, ErrNewer) {
		t.Errorf("got %v", err)
	}
}

func TestOthersCanReadNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	d := open(t, dir)
	if _, err := d.Create(context.Background(), domain(t, "alice.localhost")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{".", "lock", "node.db", "node.db-wal", "vaults"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s is %s", name, info.Mode())
		}
	}
}

// The directory remembers for good whether terms were ever different.
func TestPropose(t *testing.T) {
	dir := t.TempDir()
	one, two := hat.DigestTerms([]byte("one")), hat.DigestTerms([]byte("two"))
	propose := func(d *Directory, kind, id string, terms hat.TermsDigest, want bool) {
		t.Helper()
		if changed, err := d.Propose(kind, id, terms); err != nil || changed != want {
			t.Errorf("%s %s: changed %v, %v", kind, id, changed, err)
		}
	}
	reopened := func(d *Directory) *Directory {
		t.Helper()
		if d != nil {
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
		}
		d, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	d := reopened(nil)
	propose(d, "function", "f", one, false)
	propose(d, "function", "f", one, false)
	propose(d, "application", "f", two, false)
	d = reopened(d)
	propose(d, "function", "f", one, false)
	d = reopened(d)
	propose(d, "function", "f", two, true)
	propose(d, "function", "f", two, true)
	propose(d, "application", "f", two, false)
	d = reopened(d)
	propose(d, "function", "f", two, true)
	propose(d, "function", "f", one, true) // the terms were different in between
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if changed, err := d.Propose("function", "g", one); err == nil || !changed {
		t.Error("what could not be noted counts as never changed")
	}
}
