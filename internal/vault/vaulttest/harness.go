package vaulttest

import (
	"context"
	"testing"

	"she/internal/access"
	"she/internal/bundle"
	"she/internal/hat"
	"she/internal/vault"
	"she/internal/vault/ledger"
)

// Create makes a HAT whose owner is called alice.
func Create(t testing.TB, s Store, id hat.ID) access.Caller {
	t.Helper()
	u := vault.User{ID: hat.NewUserID(), Username: "alice", Enabled: true, Roles: []access.Role{{Title: access.TitleOwner}}}
	Must(t, 0, s.Create(context.Background(), id, u))
	return access.User(u.ID, u.Roles, access.TitleOwner)
}

// Open opens a vault until it is released, or the test ends.
func Open(t testing.TB, s Store, id hat.ID) (*ledger.Vault, func()) {
	t.Helper()
	v, release, err := s.Open(context.Background(), id)
	Must(t, 0, err)
	t.Cleanup(release)
	return v, release
}

// Note is a draft at rumpel/notes.
func Note(t testing.TB, text string) hat.Draft {
	t.Helper()
	return draft(t, "rumpel/notes", text)
}

func Append(t testing.TB, v *ledger.Vault, c access.Caller, drafts []hat.Draft) {
	t.Helper()
	_, err := v.Append(context.Background(), c, drafts, false)
	Must(t, 0, err)
}

func Put(t testing.TB, v *ledger.Vault, c access.Caller, k vault.DocumentKind, id string, body []byte) {
	t.Helper()
	Must(t, 0, v.EditDocuments(context.Background(), c, func(e vault.Edit) error { return e.Put(k, id, body) }))
}

// SortBy stores a bundle that sorts by the paths at rumpel/notes.
func SortBy(t testing.TB, v *ledger.Vault, c access.Caller, id string, paths ...string) {
	t.Helper()
	Put(t, v, c, vault.Bundles, id, bundle.MarshalProperties(AskingFor([]hat.Endpoint{Endpoint(t, "rumpel/notes")}, paths...)))
}

// Rows are a connection to the rows of one HAT.
type Rows interface {
	Each(ctx context.Context, query string, args []any, f func(scan func(...any) error) error) error
}

// Column returns the rows of a query of one column.
func Column[T any](r Rows, query string, args ...any) (all []T, err error) {
	err = r.Each(context.Background(), query, args, func(scan func(...any) error) error {
		var one T
		err := scan(&one)
		all = append(all, one)
		return err
	})
	return all, err
}

// Must returns v if there is no error.
func Must[T any](t testing.TB, v T, err error) T {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// Parsed returns what a parser made of a constant.
func Parsed[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func Data(t testing.TB, text string) hat.Data {
	t.Helper()
	d, err := hat.ParseData([]byte(text))
	return Must(t, d, err)
}

func Endpoint(t testing.TB, name string) hat.Endpoint {
	t.Helper()
	return parsed(t, hat.ParseEndpoint, name)
}
