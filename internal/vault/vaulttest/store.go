package vaulttest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"she/internal/access"
	"she/internal/hat"
	"she/internal/plan"
	"she/internal/vault"
)

func testStore(t *testing.T, fresh func(testing.TB) Opener) {
	p := newPerson(t, fresh)
	p.wants(p.store.Create(p.ctx(), hatID, p.user), vault.ErrExists)
	_, _, err := p.store.Open(p.ctx(), "nobody")
	p.wants(err, vault.ErrNotFound)
	for _, hostile := range []hat.ID{"", "../alice", "a/b", ".", "a\x00b"} {
		if _, _, err := p.store.Open(p.ctx(), hostile); err == nil {
			t.Errorf("opened %q", hostile)
		}
		if p.store.Create(p.ctx(), hostile, p.user) == nil {
			t.Errorf("created %q", hostile)
		}
	}
	nobody := p.user
	nobody.Roles = nil
	if p.store.Create(p.ctx(), "bob", nobody) == nil {
		t.Error("created a HAT without an Owner")
	}
	p.must(p.store.Create(p.ctx(), "bob", p.user))

	// Two HATs see nothing of each other.
	p.write("a/x", `1`)
	bob, release, err := p.store.Open(p.ctx(), "bob")
	p.must(err)
	defer release()
	if all, err := endpointsOf(p.ctx(), bob, p.owner); err != nil || len(all) != 0 {
		t.Errorf("bob has %v, %v", all, err)
	}
	p.restart()
	p.has("a/x", `1`)
}

func testPutUser(t *testing.T, fresh func(testing.TB) Opener) {
	p := newPerson(t, fresh)
	role := access.Role{Title: access.TitlePlatform}
	made, err := p.v.PutUser(p.ctx(), "hpp", func(u *vault.User, found bool) error {
		if found || u.Username != "hpp" {
			t.Errorf("new is %+v, found %t", u, found)
		}
		u.Roles, u.Enabled = []access.Role{role}, true
		return nil
	})
	p.must(err)
	// Two concurrent calls: one creates the user, the other finds it. Neither returns vault.ErrExists.
	var wg sync.WaitGroup
	var times atomic.Int64
	for range 8 {
		wg.Go(func() {
			if _, err := p.v.PutUser(p.ctx(), "twice", func(u *vault.User, found bool) error {
				if !found {
					times.Add(1)
				}
				u.PasswordHash = append(u.PasswordHash, 'x')
				return nil
			}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	u, err := p.v.UserByName(p.ctx(), "twice")
	if err != nil || times.Load() != 1 || len(u.PasswordHash) != 8 {
		t.Errorf("made %d times, then %d changes: %v", times.Load(), len(u.PasswordHash), err)
	}
	// A failed change stores nothing, and no change can replace the id.
	no := errors.New("no")
	_, err = p.v.PutUser(p.ctx(), "hpp", func(u *vault.User, found bool) error {
		u.Enabled = false
		return no
	})
	p.wants(err, no)
	if _, err = p.v.PutUser(p.ctx(), "hpp", func(u *vault.User, _ bool) error {
		u.ID = hat.NewUserID()
		return nil
	}); err == nil {
		t.Error("a user got another id")
	}
	_, err = p.v.PutUser(p.ctx(), "hpp", func(u *vault.User, _ bool) error {
		u.Username = "alice"
		return nil
	})
	p.wants(err, vault.ErrExists)
	if u, err := p.v.UserByID(p.ctx(), made.ID); err != nil || !u.Enabled || u.Username != "hpp" {
		t.Errorf("there is %+v %v", u, err)
	}
	// The number of users of a HAT who are not deleted is bounded, whoever creates them. Existing users can
	// still be changed.
	for i := 3; i < plan.MaxUsers; i++ {
		p.must(p.v.CreateUser(p.ctx(), vault.User{ID: hat.NewUserID(), Username: fmt.Sprint("user ", i)}))
	}
	p.must(p.v.CreateUser(p.ctx(), vault.User{ID: hat.NewUserID(), Username: vault.DeletedUser + "x"}))
	put := func(name string) error {
		_, err := p.v.PutUser(p.ctx(), name, func(u *vault.User, _ bool) error { u.Enabled = true; return nil })
		return err
	}
	var over *vault.QuotaError
	if err := put("one more"); !errors.As(err, &over) || over.Fault.Code != plan.CodeUsers {
		t.Errorf("one more user than there may be: %v", err)
	}
	p.must(put("hpp"))
}

func testUsers(t *testing.T, fresh func(testing.TB) Opener) {
	p := newPerson(t, fresh)
	bob := vault.User{
		ID: hat.NewUserID(), Username: "bob", PasswordHash: []byte("x"), Enabled: true,
		Roles: []access.Role{{Title: access.TitleNamespaceWrite, Detail: "b"}}, TokensFrom: p.clock.now(),
	}
	p.must(p.v.CreateUser(p.ctx(), bob))
	same := func(got vault.User, err error) {
		t.Helper()
		if err != nil || got.ID != bob.ID || got.Username != bob.Username || string(got.PasswordHash) != string(bob.PasswordHash) ||
			got.Enabled != bob.Enabled || !slices.Equal(got.Roles, bob.Roles) || !got.TokensFrom.Equal(bob.TokensFrom) {
			t.Errorf("got %+v, %v", got, err)
		}
	}
	same(p.v.UserByName(p.ctx(), "bob"))
	same(p.v.UserByID(p.ctx(), bob.ID))
	bob.Enabled, bob.TokensFrom = false, p.clock.now().Add(time.Hour)
	p.must(p.v.UpdateUser(p.ctx(), bob))
	p.restart()
	same(p.v.UserByName(p.ctx(), "bob"))

	other := bob
	other.ID = hat.NewUserID()
	p.wants(p.v.CreateUser(p.ctx(), other), vault.ErrExists)
	p.wants(p.v.UpdateUser(p.ctx(), other), vault.ErrNotFound)
	other.Username = "second owner"
	other.Roles = p.user.Roles
	p.wants(p.v.CreateUser(p.ctx(), other), vault.ErrExists)
	taken := bob
	taken.Username = "alice"
	p.wants(p.v.UpdateUser(p.ctx(), taken), vault.ErrExists)
	_, err := p.v.UserByName(p.ctx(), "carol")
	p.wants(err, vault.ErrNotFound)
	if owner, err := p.v.Owner(p.ctx()); err != nil || owner.ID != p.user.ID {
		t.Errorf("the owner is %s, %v", owner.ID, err)
	}
	var all []vault.User
	asked := 0
	p.must(p.v.EachUser(p.ctx(), func(bytes int) error { asked += bytes; return nil }, func(u vault.User) error {
		all = append(all, u)
		if least := len(u.Username); asked < least {
			t.Errorf("%s was read when room was asked for %d bytes", u.Username, asked)
		}
		return nil
	}))
	if len(all) != 2 || all[0].ID != p.user.ID || all[1].ID != bob.ID {
		t.Errorf("users are %v", all)
	}
	// A user for whom room is refused is not read. An error ends the loop.
	none := errors.New("no room")
	p.wants(p.v.EachUser(p.ctx(), func(int) error { return none }, func(u vault.User) error {
		t.Errorf("%s was read without room", u.Username)
		return nil
	}), none)
	p.wants(p.v.EachUser(p.ctx(), func(int) error { return nil }, func(vault.User) error { return none }), none)
	p.must(p.v.EditDocuments(p.ctx(), p.owner, func(e vault.Edit) error {
		for prefix, want := range map[string]int{"none ": 2, bob.Username: 1} {
			if n, err := e.CountUsers(prefix); err != nil || n != want {
				t.Errorf("%d users but those named %q…, %v; want %d", n, prefix, err, want)
			}
		}
		return nil
	}))

	cost := func(want int) {
		t.Helper()
		if got, err := p.v.PasswordCost(p.ctx()); err != nil || got != want {
			t.Errorf("the highest cost of a password is %d, %v; want %d", got, err, want)
		}
	}
	cost(0) // a text that is not a bcrypt hash has no cost
	const rest = "$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01234"
	for _, c := range []string{"10", "13", "09"} {
		bob.PasswordHash = []byte("$2a$" + c + rest)
		p.must(p.v.UpdateUser(p.ctx(), bob))
		cost(map[string]int{"10": 10, "13": 13, "09": 9}[c])
	}
	carol := vault.User{ID: hat.NewUserID(), Username: "carol", PasswordHash: []byte("$2b$11" + rest), Roles: bob.Roles}
	p.must(p.v.CreateUser(p.ctx(), carol))
	cost(11)
	p.must(p.v.CreateUser(p.ctx(), vault.User{ID: hat.NewUserID(), Username: "dave", Roles: bob.Roles}))
	cost(11)
}

func testDocuments(t *testing.T, fresh func(testing.TB) Opener) {
	p := newPerson(t, fresh)
	put := func(k vault.DocumentKind, id, body string) error {
		return p.v.EditDocuments(p.ctx(), p.owner, func(e vault.Edit) error { return e.Put(k, id, []byte(body)) })
	}
	p.must(put(vault.Bundles, "b", `{"v":1}`))
	made := p.clock.now()
	p.clock.move(time.Hour)
	p.must(put(vault.Bundles, "a", `{}`))
	p.must(put(vault.Bundles, "b", `{"v":2}`))
	p.must(put(vault.Combinators, "b", `[]`))
	d, err := p.v.Document(p.ctx(), p.owner, vault.Bundles, "b")
	p.must(err)
	if string(d.Body) != `{"v":2}` || !d.Created.Equal(made) || !d.Updated.Equal(p.clock.now()) || d.ID != "b" || d.Kind != vault.Bundles {
		t.Errorf("got %+v", d)
	}
	_, err = p.v.Document(p.ctx(), p.owner, vault.Debits, "b")
	p.wants(err, vault.ErrNotFound)
	_, err = p.v.Document(p.ctx(), app(p, reads("a")), vault.Bundles, "b")
	p.wants(err, access.ErrDenied)
	p.wants(p.v.EditDocuments(p.ctx(), app(p, reads("a")), func(e vault.Edit) error {
		return e.Put(vault.Bundles, "b", []byte(`{}`))
	}), access.ErrDenied)
	all, err := p.v.Documents(p.ctx(), p.owner, vault.Bundles)
	if err != nil || len(all) != 2 || all[0].ID != "a" {
		t.Errorf("got %v, %v", all, err)
	}

	// An edit is all or nothing, users included.
	bob := vault.User{ID: hat.NewUserID(), Username: "bob", Enabled: true}
	p.must(p.v.CreateUser(p.ctx(), bob))
	role := access.Role{Title: access.TitleDataDebit, Detail: "d"}
	edit := func(then error) error {
		return p.v.EditDocuments(p.ctx(), p.owner, func(e vault.Edit) error {
			if err := e.Put(vault.Debits, "d", []byte(`{}`)); err != nil {
				return err
			}
			if _, err := e.Find(vault.Debits, "d"); err != nil {
				return err
			}
			if err := e.ChangeUser(bob.ID, func(u *vault.User) error { u.Roles = append(u.Roles, role); return nil }); err != nil {
				return err
			}
			return then
		})
	}
	p.wants(edit(vault.ErrExists), vault.ErrExists)
	_, err = p.v.Document(p.ctx(), p.owner, vault.Debits, "d")
	p.wants(err, vault.ErrNotFound)
	if u, err := p.v.UserByID(p.ctx(), bob.ID); err != nil || len(u.Roles) != 0 {
		t.Errorf("bob has %v, %v", u.Roles, err)
	}
	p.must(edit(nil))
	if u, err := p.v.UserByID(p.ctx(), bob.ID); err != nil || !slices.Equal(u.Roles, []access.Role{role}) {
		t.Errorf("bob has %v, %v", u.Roles, err)
	}
}
