package vaulttest

import (
	"fmt"
	"strings"
	"testing"

	"she/internal/access"
	"she/internal/hat"
	"she/internal/vault"
)

// changes returns the states of the runs that changed after a number, and the newest number.
func (p *person) changes(after int64, limit int) (states string, last int64) {
	p.Helper()
	all, last, err := p.v.RunChanges(p.ctx(), p.owner, after, limit)
	p.must(err)
	var words []string
	previous := after
	for _, c := range all {
		if c.Number <= previous || len(c.Run.Log) > 0 {
			p.Errorf("number %d follows %d, log of %d bytes", c.Number, previous, len(c.Run.Log))
		}
		previous = c.Number
		words = append(words, fmt.Sprint(c.Run.Plan.Grant.Function, " ", c.Run.State))
	}
	return strings.Join(words, ", "), last
}

func testRunChanges(t *testing.T, fresh func(testing.TB) Opener) {
	p := newPerson(t, fresh)
	wants := func(after int64, limit int, want string) (last int64) {
		t.Helper()
		got, last := p.changes(after, limit)
		if got != want {
			t.Errorf("behind %d: %q, want %q", after, got, want)
		}
		return last
	}
	f, g := p.grant("f", individual, "she/f", "a/x"), p.grant("g", individual, "she/g", "a/x")
	p.enable(f)
	p.enable(g)
	p.write("a/x", `1`)
	if last := wants(0, 10, ""); last != 0 {
		t.Errorf("before any run the last change is %d", last)
	}
	first := p.claim(f.Function)
	second := p.claim(g.Function)
	seen := wants(0, 10, "f planned, g planned")
	p.commit(first, `1`)
	wants(seen, 10, "f committed")
	wants(0, 10, "g planned, f committed")
	wants(0, 1, "g planned")
	wants(0, 0, "")
	seen = wants(seen+1, 10, "")
	p.restart() // the other lease is from an earlier start
	wants(seen, 10, "g abandoned")
	wants(0, 10, "f committed, g abandoned")
	_ = second

	// A run that a person cancels changes too.
	third := p.claim(g.Function)
	_, last := p.changes(0, 0)
	_, err := p.v.Disable(p.ctx(), p.owner, g.Function)
	p.must(err)
	wants(last, 10, "g refused")
	p.wants(p.v.Abandon(p.ctx(), third), vault.ErrStale)
	wants(last+1, 10, "")

	_, _, err = p.v.RunChanges(p.ctx(), access.AsFunction(hat.NewUserID(), f), 0, 10)
	p.wants(err, access.ErrDenied)
	CheckHAT(t, p.v)
}
