package vaulttest

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"she/internal/access"
	"she/internal/hat"
	"she/internal/vault"
	"she/internal/vault/ledger"
)

// testTheNextSees tests a store that caches what it read: the next call sees what a call has changed,
// whoever makes either, and however often the former state was read before.
func testTheNextSees(t *testing.T, fresh func(testing.TB) Opener) {
	t.Run("users", func(t *testing.T) { testTheNextSeesUsers(t, fresh) })
	t.Run("users, beside others who ask", func(t *testing.T) { testTheNextSeesUsersBesideOthers(t, fresh) })
	t.Run("users, after a commit in doubt", func(t *testing.T) { testTheNextSeesAfterDoubt(t, fresh) })
	t.Run("work", func(t *testing.T) { testTheNextSeesWork(t, fresh) })
}

func testTheNextSeesUsers(t *testing.T, fresh func(testing.TB) Opener) {
	p := newPerson(t, fresh)
	bob := vault.User{ID: hat.NewUserID(), Username: "bob", PasswordHash: []byte("old"), Enabled: true}
	other, release, err := p.store.Open(p.ctx(), hatID) // a second user of the same vault
	p.must(err)
	defer release()
	find := func(v *ledger.Vault) string {
		u, err := v.UserByID(p.ctx(), bob.ID)
		if errors.Is(err, vault.ErrNotFound) {
			return "nobody"
		}
		p.must(err)
		// Changing a returned copy must not change what others get.
		text := fmt.Sprint(u.Username, " ", string(u.PasswordHash), " ", u.Enabled, " ", u.Roles, " ", u.TokensFrom.Unix())
		for i := range u.PasswordHash {
			u.PasswordHash[i] = 'x'
		}
		for i := range u.Roles {
			u.Roles[i].Title = "spoilt"
		}
		return text
	}
	from := p.clock.now()
	for _, c := range []struct {
		says   string
		change func() error
		want   string
	}{
		{"nobody yet", func() error { return nil }, "nobody"},
		{"created", func() error { return other.CreateUser(p.ctx(), bob) }, "bob old true [] -62135596800"},
		{"with another password", func() error {
			bob.PasswordHash, bob.TokensFrom = []byte("new"), from
			return other.UpdateUser(p.ctx(), bob)
		}, fmt.Sprint("bob new true [] ", from.Unix())},
		{"given a role", func() error {
			return other.EditDocuments(p.ctx(), p.owner, func(e vault.Edit) error {
				return e.ChangeUser(bob.ID, func(u *vault.User) error {
					u.Roles = append(u.Roles, access.Role{Title: access.TitleDataDebit, Detail: "d"})
					return nil
				})
			})
		}, fmt.Sprint("bob new true [{datadebit d}] ", from.Unix())},
		{"disabled, after somebody wrote", func() error {
			p.write("a/x", `1`)
			bob.Enabled = false
			return other.UpdateUser(p.ctx(), bob)
		}, fmt.Sprint("bob new false [] ", from.Unix())},
		{"in another life of the server", func() error {
			release()
			p.restart()
			bob.Username = "robert"
			if err := p.v.UpdateUser(p.ctx(), bob); err != nil {
				return err
			}
			p.reopen()
			other, release, err = p.store.Open(p.ctx(), hatID)
			return err
		}, fmt.Sprint("robert new false [] ", from.Unix())},
	} {
		p.must(c.change())
		for range 2 {
			if got := find(p.v); got != c.want {
				t.Errorf("%s: got %q, want %q", c.says, got, c.want)
			}
		}
	}
}

// A reader that began before a change must not put the former state back into the cache.
func testTheNextSeesUsersBesideOthers(t *testing.T, fresh func(testing.TB) Opener) {
	p := newPerson(t, fresh)
	bob := vault.User{ID: hat.NewUserID(), Username: "bob", Enabled: true}
	p.must(p.v.CreateUser(p.ctx(), bob))
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if _, err := p.v.UserByID(p.ctx(), bob.ID); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 100 {
		bob.Enabled = !bob.Enabled
		p.must(p.v.UpdateUser(p.ctx(), bob))
		if u, err := p.v.UserByID(p.ctx(), bob.ID); err != nil || u.Enabled != bob.Enabled {
			t.Errorf("enabled is %t, %v, want %t", u.Enabled, err, bob.Enabled)
			break
		}
	}
	close(done)
	readers.Wait()
}

// A commit in doubt closes the vault, and its former handle answers nothing from the cache.
func testTheNextSeesAfterDoubt(t *testing.T, fresh func(testing.TB) Opener) {
	for _, persisted := range []bool{false, true} {
		p := newPerson(t, fresh)
		before, err := p.v.UserByID(p.ctx(), p.user.ID)
		p.must(err)
		p.isDue()
		p.atCommit = func(_ []string, at bool) error {
			if at == persisted {
				p.atCommit = nil
				return errors.New("the disk has gone away")
			}
			return nil
		}
		after := before
		after.Enabled = false
		if p.v.UpdateUser(p.ctx(), after) == nil {
			t.Fatal("answered without error")
		}
		_, err = p.v.UserByID(p.ctx(), p.user.ID)
		p.wants(err, vault.ErrClosed)
		_, err = p.v.Due(p.ctx())
		p.wants(err, vault.ErrClosed)
		p.reopen()
		if u, err := p.v.UserByID(p.ctx(), p.user.ID); err != nil || u.Enabled == persisted {
			t.Errorf("persisted %t: enabled is %t, %v", persisted, u.Enabled, err)
		}
	}
}

func testTheNextSeesWork(t *testing.T, fresh func(testing.TB) Opener) {
	p := newPerson(t, fresh)
	f, g := p.grant("f", individual, "she/f", "a/x"), p.grant("g", individual, "she/g", "she/f")
	p.isDue()
	p.write("a/x", `1`)
	p.isDue()
	p.enable(f)
	p.isDue("f")
	p.enable(g)
	p.runOnce(f.Function, `"one"`)
	p.isDue("g")
	p.runOnce(g.Function)
	p.isDue()
	records := p.write("a/x", `2`)
	p.isDue("f")
	p.runOnce(f.Function)
	p.isDue()
	_, err := p.v.Update(p.ctx(), p.owner, []vault.Change{{ID: records[0].ID, Data: Data(t, `3`)}})
	p.must(err)
	p.isDue("f")
	claimed := p.claim(f.Function)
	p.isDue()
	p.must(p.v.Abandon(p.ctx(), claimed))
	p.isDue("f")
	claimed = p.claim(f.Function)
	p.must(p.v.Fail(p.ctx(), claimed, vault.Output{}, hat.NewFault(hat.Author, "Runtime.ExitError", "x")))
	p.isDue()
	p.must(p.v.Replay(p.ctx(), p.owner, claimed.Run))
	p.isDue("f")
	claimed = p.claim(f.Function)
	p.isDue()
	p.clock.move(time.Hour) // its lease lapses
	p.isDue("f")
	_, err = p.v.Disable(p.ctx(), p.owner, f.Function)
	p.must(err)
	p.isDue()
	p.write("a/x", `4`)
	p.isDue()
	p.enable(f)
	p.isDue("f")
	p.runOnce(f.Function)
	p.isDue()
	p.restart()
	p.isDue()
	p.write("a/x", `5`)
	p.isDue("f")
	CheckHAT(t, p.v)
}
