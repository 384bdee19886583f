package vaulttest

import (
	"errors"
	"testing"
	"time"

	"she/internal/access"
	"she/internal/bundle"
	"she/internal/hat"
	"she/internal/plan"
	"she/internal/vault"
)

// testRights tests that a transaction checks rights again: a right that was revoked since the caller was
// recognised is gone.
func testRights(t *testing.T, fresh func(testing.TB) Opener) {
	p := newPerson(t, fresh)
	p.must(p.v.CreateUser(p.ctx(), vault.User{ID: hat.NewUserID(), Username: "nobody", Enabled: true}))
	bob := vault.User{
		ID: hat.NewUserID(), Username: "bob", Enabled: true, TokensFrom: p.clock.now(),
		Roles: []access.Role{{Title: access.TitleNamespaceWrite, Detail: "b"}, {Title: access.TitleDataCredit}},
	}
	p.must(p.v.EditDocuments(p.ctx(), p.owner, func(e vault.Edit) error { return e.CreateUser(bob) }))
	batches := access.UseBatches()
	recognise := func() access.Caller {
		t.Helper()
		c, u, err := p.v.Recognise(p.ctx(), access.Credential{User: bob.ID, Used: p.clock.now()})
		p.must(err)
		if u.ID != bob.ID || !c.May(access.WriteRecords(Endpoint(p, "b/x"))) {
			t.Errorf("recognised %+v %+v", c, u)
		}
		return c.LetIn(&batches)
	}
	n := 0
	writes := func(c access.Caller, want error) {
		t.Helper()
		n++
		_, err := p.v.Append(p.ctx(), c, []hat.Draft{draft(p, "b/x", `{"n":`+string(rune('0'+n%10))+`,"m":"`+time.Duration(n).String()+`"}`)}, false)
		p.wants(err, want)
	}
	change := func(f func(*vault.User)) {
		t.Helper()
		_, err := p.v.PutUser(p.ctx(), "bob", func(u *vault.User, _ bool) error { f(u); return nil })
		p.must(err)
	}
	all := func(u *vault.User) { *u = bob }

	c := recognise()
	writes(c, nil)
	for _, revoked := range []struct {
		says string
		do   func(*vault.User)
		want error
	}{
		{"disabled", func(u *vault.User) { u.Enabled = false }, access.ErrWithdrawn},
		{"another password", func(u *vault.User) { u.TokensFrom = p.clock.now().Add(time.Second) }, access.ErrWithdrawn},
		{"not let in any more", func(u *vault.User) { u.Roles = u.Roles[:1] }, access.ErrRevoked},
		{"may not write there any more", func(u *vault.User) { u.Roles = u.Roles[1:] }, access.ErrDenied},
		{"somebody else changes", func(u *vault.User) { u.PasswordHash = []byte("x") }, nil},
	} {
		t.Log(revoked.says)
		c := recognise()
		change(revoked.do)
		writes(c, revoked.want)
		fresh, moved, err := p.v.Renew(p.ctx(), c)
		if want := revoked.want; want != access.ErrDenied {
			p.wants(err, want)
		} else if err != nil || fresh.May(access.WriteRecords(Endpoint(p, "b/x"))) {
			t.Errorf("renewed: %v", err)
		}
		if !moved {
			t.Error("nothing has changed, it says")
		}
		if err == nil {
			if _, moved, err := p.v.Renew(p.ctx(), fresh); err != nil || moved {
				t.Errorf("renewed twice: moved %t, %v", moved, err)
			}
		}
		change(all)
	}

	// The caller is recognised during the change: before it is on disk, and right after.
	for _, persisted := range []bool{false, true} {
		var between access.Caller
		var err error
		p.atCommit = func(ops []string, done bool) error {
			if done == persisted && ops[0] == "user" {
				between, _, err = p.v.Recognise(p.ctx(), access.Credential{User: bob.ID, Used: p.clock.now()})
			}
			return nil
		}
		change(func(u *vault.User) { u.Enabled = false })
		p.atCommit = nil
		if persisted {
			p.wants(err, access.ErrWithdrawn)
		} else {
			p.must(err)
			writes(between, access.ErrWithdrawn)
		}
		change(all)
	}

	// An application, and what its caller knew from an earlier opening of the vault.
	setUp := func(body string) {
		t.Helper()
		p.must(p.v.EditDocuments(p.ctx(), p.owner, func(e vault.Edit) error { return e.Put(vault.Setups, "app", []byte(body)) }))
	}
	asApp := func() access.Caller {
		t.Helper()
		c, _, err := p.v.Recognise(p.ctx(), access.Credential{User: p.user.ID, Used: p.clock.now(), Application: "app", Granted: bob.Roles})
		p.must(err)
		return c
	}
	writes(asApp(), access.ErrDenied)
	setUp(`{"enabled":true}`)
	app := asApp()
	writes(app, nil)
	p.restart()
	writes(app, nil)
	app = asApp()
	setUp(`{"enabled":false}`)
	writes(app, access.ErrDenied)
	p.restart()
	writes(app, access.ErrDenied)
	if _, moved, err := p.v.Renew(p.ctx(), app); err != nil || !moved {
		t.Errorf("of another opening: moved %t, %v", moved, err)
	}
}

// testFunctionRights tests rights that are revoked while a run waits or is in flight.
func testFunctionRights(t *testing.T, fresh func(testing.TB) Opener) {
	p := newPerson(t, fresh)
	platform := vault.User{ID: hat.NewUserID(), Username: "hpp", Enabled: true, Roles: []access.Role{{Title: access.TitlePlatform}}}
	p.must(p.v.CreateUser(p.ctx(), platform))
	p.write("in/a", "1")
	g := p.grant("f", manual, "out/a", "in/a")
	p.enable(g)
	asks, _, err := p.v.Recognise(p.ctx(), access.Credential{User: platform.ID, Used: p.clock.now()})
	p.must(err)
	claim := func(by access.Caller) (plan.Plan, error) {
		return p.v.Claim(p.ctx(), vault.Claim{
			Function: g.Function,
			Run:      hat.NewRunID(),
			Cause:    plan.ByRequest,
			Now:      p.clock.now(),
			Expires:  p.clock.now().Add(time.Minute),
			By:       by,
		})
	}
	_, err = p.v.PutUser(p.ctx(), "hpp", func(u *vault.User, _ bool) error { u.Roles = nil; return nil })
	p.must(err)
	_, err = claim(asks)
	p.wants(err, access.ErrDenied)

	run, err := claim(access.Caller{})
	p.must(err)
	reads := func() error {
		return p.v.Read(p.ctx(), access.AsFunction(p.user.ID, run.Grant).During(run.Run), func(src bundle.Source, _ hat.Seq) error {
			for _, err := range src.Scan(p.ctx(), Endpoint(p, "in/a"), bundle.Want{}).Records {
				return err
			}
			return errors.New("nothing to be seen")
		})
	}
	p.must(reads())
	_, err = p.v.Disable(p.ctx(), p.owner, g.Function)
	p.must(err)
	p.wants(reads(), vault.ErrStale)
	p.enable(g)
	p.wants(reads(), vault.ErrStale)
}
