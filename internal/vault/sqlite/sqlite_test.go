package sqlite

import (
	"context"
	"testing"

	"go.uber.org/goleak"

	"she/internal/hat"
	"she/internal/plan"
	"she/internal/vault/ledger"
	"she/internal/vault/vaulttest"
)

func leaksOrRun(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	vaulttest.Run(t, func(t testing.TB) vaulttest.Opener {
		dir := t.TempDir()
		return func(s vaulttest.Setup) (vaulttest.Store, error) {
			return NewStore(dir, Options{Now: s.Now, AtCommit: s.AtCommit, Storage: func(hat.ID) plan.Storage {
				if s.Storage == nil {
					return plan.Storage{}
				}
				return s.Storage()
			}})
		}
	})
}

// fileOf returns the open file of a vault.
func (s *Store) fileOf(id string) *file {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.slots[hat.ID(id)].f
}

// settle waits until no upkeep is left.
func settle(t testing.TB, f *file) {
	t.Helper()
	for busy := true; busy; {
		vaulttest.Must(t, 0, f.Write(context.Background(), "wait", func(ledger.Tx) error { busy = f.hasUpkeep; return nil }))
	}
}

// texts returns the rows of a query of one column.
func texts(t testing.TB, f *file, query string) (all []string) {
	t.Helper()
	err := f.Read(context.Background(), func(c ledger.Reader) (err error) {
		all, err = vaulttest.Column[string](c, query)
		return err
	})
	return vaulttest.Must(t, all, err)
}

// paths returns the fields that have an index, as "endpoint path".
func paths(t testing.TB, f *file) []string {
	t.Helper()
	return texts(t, f, `SELECT e.name || ' ' || f.path FROM fields f JOIN endpoints e ON e.n = f.endpoint
		WHERE NOT gone ORDER BY 1`)
}
