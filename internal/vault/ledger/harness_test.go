package ledger_test

import (
	"context"
	"testing"

	"she/internal/access"
	"she/internal/hat"
	"she/internal/vault"
	"she/internal/vault/sqlite"
)

func newStore(t testing.TB, dir string, o sqlite.Options) *sqlite.Store {
	t.Helper()
	s, err := sqlite.NewStore(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func create(t testing.TB, s *sqlite.Store, id string) access.Caller {
	t.Helper()
	u := vault.User{ID: hat.NewUserID(), Username: "alice", Enabled: true, Roles: []access.Role{{Title: access.TitleOwner}}}
	if err := s.Create(context.Background(), id, u); err != nil {
		t.Fatal(err)
	}
	return access.User(u.ID, u.Roles, access.TitleOwner)
}

func openVault(t testing.TB, s *sqlite.Store, id string) (vault.Vault, func()) {
	t.Helper()
	v, release, err := s.Open(context.Background(), id)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	return v, release
}

func note(t testing.TB, text string) hat.Draft {
	t.Helper()
	return hat.Draft{Endpoint: placeOf(t, "rumpel/notes"), Data: dataOf(t, text)}
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
