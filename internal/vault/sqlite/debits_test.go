package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"she/internal/bundle"
	"she/internal/debit"
	"she/internal/hat"
	"she/internal/vault"
	"she/internal/vault/vaulttest"
)

// The migration counts the debits that were stored before they were counted, even those that can't be read.
func TestDebitsOfBeforeTheyWereCounted(t *testing.T) {
	file := filepath.Join(t.TempDir(), "old.vault")
	named := func(names ...string) string {
		var all []string
		for _, name := range names {
			text := fmt.Sprintf(`{"bundle":{"name":%q,"bundle":{}}`, name)
			if condition, found := strings.CutPrefix(name, "if-"); found {
				text += fmt.Sprintf(`,"conditions":{"name":%q,"bundle":{}}`, condition)
			}
			all = append(all, text+"}")
		}
		return `{"permissions":[` + strings.Join(all, ",") + `]}`
	}
	bodies := map[string]string{
		"a": named("one", "two", "one"), "b": named("if-three"), "broken": `{"permissions":[{"bundle":`, "empty": `{}`,
		"odd": `{"permissions":[{"bundle":{"name":5}},7,{"bundle":null}]}`, "late": named("one", "four"),
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err := withFile(t.Context(), file, func(ctx context.Context, c *conn) error {
		if _, err := c.Exec(ctx, `CREATE TABLE documents (n INTEGER PRIMARY KEY, kind TEXT NOT NULL, id TEXT NOT NULL, body TEXT NOT NULL)`); err != nil {
			return err
		}
		for _, id := range []string{"a", "b", "broken", "empty", "odd", "late"} {
			if _, err := c.Exec(ctx, "INSERT INTO documents (kind, id, body) VALUES ('debit', ?, ?)", id, bodies[id]); err != nil {
				return err
			}
		}
		if _, err := c.Exec(ctx, "INSERT INTO documents (kind, id, body) VALUES ('bundle', 'x', ?)", named("elsewhere")); err != nil {
			return err
		}
		if _, err := c.c.ExecContext(ctx, debitSchema); err != nil {
			return err
		}
		var text string
		if err := c.Get(ctx, "SELECT group_concat(name || '=' || debit, ' ') FROM (SELECT * FROM debit_bundles ORDER BY name)", nil, &text); err != nil {
			return err
		}
		if want := "four=late if-three=b one=a three=b two=a"; text != want {
			t.Errorf("names %s, want %s", text, want)
		}
		for id, body := range bodies {
			var bytes int
			if err := c.Get(ctx, "SELECT bytes FROM debits WHERE id = ? AND partner = ''", []any{id}, &bytes); err != nil || bytes != len(body) {
				t.Errorf("%s has %d bytes, want %d; %v", id, bytes, len(body), err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// If the terms were withdrawn or replaced after the debit was read, nothing is disclosed under them.
func TestNothingIsShownUnderFormerTerms(t *testing.T) {
	s := newStore(t, t.TempDir(), Options{})
	alice := vaulttest.Create(t, s, "alice")
	v, _ := vaulttest.Open(t, s, "alice")
	at := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
	week := vaulttest.Parsed(hat.ParsePeriod("P7D"))
	terms := func(purpose string) debit.Permissions {
		return debit.Permissions{Purpose: purpose, Start: at, Period: week, Bundle: bundle.Bundle{Name: "b"}}
	}
	accepted := debit.Debit{Key: "d", Created: at}.Propose(terms("one"), at).Accept()
	store := func(d debit.Debit) { vaulttest.Put(t, v, alice, vault.Debits, "d", vaulttest.Parsed(d.Store())) }
	disclose := func(want error) {
		t.Helper()
		err := v.Disclose(t.Context(), alice, vault.Disclosure{Debit: "d", Terms: accepted.Terms(accepted.Permissions[0]).Digest})
		if !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
	}
	disclose(vault.ErrNotFound)
	store(accepted)
	disclose(nil)
	store(accepted.Propose(terms("two"), at))
	disclose(nil)
	store(accepted.Propose(terms("two"), at).Accept())
	disclose(vault.ErrStale)
	store(accepted.Cancel(true, at.Add(1)))
	disclose(vault.ErrStale) // that period ended long ago
	store(accepted.Cancel(false, time.Now()))
	disclose(vault.ErrStale)
	store(accepted)
	disclose(nil)
}
