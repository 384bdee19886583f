package sqlite

import (
	"context"
	"testing"

	"go.uber.org/goleak"

	"she/internal/access"
	"she/internal/bundle"
	"she/internal/hat"
	"she/internal/plan"
	"she/internal/vault"
	"she/internal/vault/ledger"
	"she/internal/vault/vaulttest"
)

func leaksOrRun(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	vaulttest.Run(t, func(t testing.TB) vaulttest.Opener {
		dir := t.TempDir()
		return func(s vaulttest.Setup) (vaulttest.Store, error) {
			return NewStore(dir, Options{Now: s.Now, AtCommit: s.AtCommit, Storage: func(string) plan.Storage {
				if s.Storage == nil {
					return plan.Storage{}
				}
				return s.Storage()
			}})
		}
	})
}

// fileOf is the open file of a vault.
func (s *Store) fileOf(id string) *file {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.slots[id].f
}

// settle returns when there are no chores left.
func settle(t testing.TB, f *file) {
	t.Helper()
	for busy := true; busy; {
		must(t, 0, f.Write(context.Background(), "wait", func(ledger.Tx) error { busy = f.chores; return nil }))
	}
}

// texts are the rows of a query of one column.
func texts(t testing.TB, f *file, query string) (all []string) {
	t.Helper()
	err := f.Read(context.Background(), func(c ledger.Reader) (err error) {
		all, err = column[string](c, query)
		return err
	})
	return must(t, all, err)
}

// paths are the fields that have an index, as "endpoint path".
func paths(t testing.TB, f *file) []string {
	t.Helper()
	return texts(t, f, `SELECT e.name || ' ' || f.path FROM fields f JOIN endpoints e ON e.n = f.endpoint
		WHERE NOT gone ORDER BY 1`)
}

func put(t testing.TB, v vault.Vault, c access.Caller, k vault.DocumentKind, id string, body []byte) {
	t.Helper()
	err := v.EditDocuments(context.Background(), c, func(e vault.Edit) error { return e.Put(k, id, body) })
	if err != nil {
		t.Fatal(err)
	}
}

// sortBy stores a bundle that sorts by the paths at rumpel/notes.
func sortBy(t testing.TB, v vault.Vault, c access.Caller, id string, paths ...string) {
	t.Helper()
	put(t, v, c, vault.Bundles, id, bundle.MarshalProperties(vaulttest.AskingFor([]hat.Endpoint{placeOf(t, "rumpel/notes")}, paths...)))
}

func appendAll(t testing.TB, v vault.Vault, c access.Caller, drafts []hat.Draft) {
	t.Helper()
	if _, err := v.Append(context.Background(), c, drafts, false); err != nil {
		t.Fatal(err)
	}
}

func column[T any](c ledger.Reader, query string, args ...any) (all []T, err error) {
	err = c.Each(context.Background(), query, args, func(scan func(...any) error) error {
		var one T
		err := scan(&one)
		all = append(all, one)
		return err
	})
	return all, err
}

func must[T any](t testing.TB, v T, err error) T {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func dataOf(t testing.TB, text string) hat.Data {
	t.Helper()
	d, err := hat.ParseData([]byte(text))
	return must(t, d, err)
}

func placeOf(t testing.TB, name string) hat.Endpoint {
	t.Helper()
	e, err := hat.ParseEndpoint(name)
	return must(t, e, err)
}

func must2[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
