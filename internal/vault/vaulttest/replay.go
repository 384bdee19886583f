package vaulttest

import (
	"testing"
	"time"

	"she/internal/access"
	"she/internal/hat"
	"she/internal/plan"
	"she/internal/vault"
)

var brokenCode = hat.NewFault(hat.Author, "Runtime.Exit", "it ended")

// park lets the function fail until its work is parked, and returns the plan of the last run.
func (p *person) park(f hat.FunctionID) plan.Plan {
	p.Helper()
	for {
		pl := p.claim(f)
		p.must(p.v.Fail(p.ctx(), pl, vault.Output{}, brokenCode))
		s := p.state(f)
		again := s.Front != nil && s.Front.Run == pl.Run && !s.Front.Parked
		for _, r := range s.Ranges {
			again = again || r.Run == pl.Run && !r.Parked
		}
		if !again {
			return pl
		}
		p.clock.move(3 * time.Hour)
	}
}

func testSteering(t *testing.T, fresh func(testing.TB) Opener) {
	t.Run("parked work is due at once when somebody asks", func(t *testing.T) {
		p := newPerson(t, fresh)
		g := p.grant("f", individual, "she/f", "a/x")
		p.enable(g)
		p.write("a/x", `1`, `2`)
		last := p.park(g.Function)
		p.isDue()
		p.must(p.v.Replay(p.ctx(), p.owner, last.Run))
		p.isDue("f")
		p.restart()
		again := p.claim(g.Function)
		if again.Cause != plan.ByReplay || again.Attempt != 1 || again.After != last.After || again.Upto != last.Upto {
			t.Errorf("the replay is %+v", again)
		}
		if _, texts := p.shown(again); len(texts) != 2 {
			t.Errorf("it is shown %v", texts)
		}
		p.commit(again, `"done"`)
		p.has("she/f", `"done"`)
		p.wants(p.v.Replay(p.ctx(), p.owner, last.Run), vault.ErrNothingDue)
		p.write("a/x", `3`)
		p.wants(p.v.Replay(p.ctx(), p.owner, last.Run), vault.ErrNothingDue)
		if next := p.claim(g.Function); next.Cause != plan.ByData {
			t.Errorf("what comes later has the cause %s", next.Cause)
		}
		CheckHAT(t, p.v)
	})
	t.Run("a failed replay of a manual function waits for a person again", func(t *testing.T) {
		p := newPerson(t, fresh)
		g := p.grant("f", manual, "she/f", "a/x")
		p.enable(g)
		p.write("a/x", `1`)
		pl, err := p.tryClaim(g.Function, plan.ByRequest, false)
		p.must(err)
		p.must(p.v.Fail(p.ctx(), pl, vault.Output{}, brokenCode))
		p.isDue()
		p.must(p.v.Replay(p.ctx(), access.Operator(), pl.Run))
		p.isDue("f")
		p.must(p.v.Fail(p.ctx(), p.claim(g.Function), vault.Output{}, brokenCode))
		p.clock.move(24 * time.Hour)
		p.isDue()
		CheckHAT(t, p.v)
	})
	t.Run("a run that is cancelled saves nothing, and its work waits", func(t *testing.T) {
		p := newPerson(t, fresh)
		g := p.grant("f", individual, "she/f", "a/x")
		p.enable(g)
		p.write("a/x", `1`)
		pl := p.claim(g.Function)
		p.wants(p.v.Replay(p.ctx(), p.owner, pl.Run), vault.ErrBusy)
		p.must(p.v.Cancel(p.ctx(), p.owner, pl.Run))
		_, err := p.v.Commit(p.ctx(), pl, output(t, g, `"late"`))
		p.wants(err, vault.ErrStale)
		p.wants(p.v.Cancel(p.ctx(), p.owner, pl.Run), vault.ErrEnded)
		p.has("she/f")
		r, err := p.v.Run(p.ctx(), p.owner, pl.Run)
		p.must(err)
		if r.State != vault.RunRefused || r.Fault == nil || r.Fault.Code != vault.CodeCancelled {
			t.Errorf("it ended as %s %v", r.State, r.Fault)
		}
		p.restart()
		p.clock.move(24 * time.Hour)
		p.isDue()
		if s := p.state(g.Function); s.Front != nil || len(s.Ranges) != 1 || !s.Ranges[0].Parked {
			t.Errorf("its work is %+v", s)
		}
		p.must(p.v.Replay(p.ctx(), p.owner, pl.Run))
		p.runOnce(g.Function, `"done"`)
		p.has("she/f", `"done"`)
		CheckHAT(t, p.v)
	})
	t.Run("who may not, or what is not there", func(t *testing.T) {
		p := newPerson(t, fresh)
		g := p.grant("f", individual, "she/f", "a/x")
		p.enable(g)
		p.write("a/x", `1`)
		pl := p.claim(g.Function)
		for _, c := range []access.Caller{app(p, reads("a")), access.AsFunction(p.user.ID, g), {}} {
			p.wants(p.v.Cancel(p.ctx(), c, pl.Run), access.ErrDenied)
			p.wants(p.v.Replay(p.ctx(), c, pl.Run), access.ErrDenied)
		}
		p.wants(p.v.Cancel(p.ctx(), p.owner, hat.NewRunID()), vault.ErrNotFound)
		p.wants(p.v.Replay(p.ctx(), p.owner, hat.NewRunID()), vault.ErrNotFound)
		_, err := p.v.Disable(p.ctx(), p.owner, g.Function)
		p.must(err)
		p.wants(p.v.Replay(p.ctx(), p.owner, pl.Run), vault.ErrNotEnabled)
		p.wants(p.v.Cancel(p.ctx(), p.owner, pl.Run), vault.ErrEnded)
		CheckHAT(t, p.v)
	})
}
