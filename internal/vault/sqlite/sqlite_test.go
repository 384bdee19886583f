package sqlite

import (
	"testing"

	"go.uber.org/goleak"

	"she/internal/plan"
	"she/internal/vault"
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

func fileOf(v vault.Vault) *file { return v.(*Vault).rows.(*file) }
