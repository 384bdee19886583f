package vaulttest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"she/internal/access"
	"she/internal/bundle"
	"she/internal/hat"
	"she/internal/plan"
	"she/internal/trigger"
	"she/internal/vault"
)

func testFunctions(t *testing.T, fresh func(testing.TB) Opener) {
	run := func(name string, f func(t *testing.T, p *person)) {
		t.Run(name, func(t *testing.T) {
			p := newPerson(t, fresh)
			f(t, p)
			CheckHAT(t, p.v)
		})
	}

	run("are switched on and off by the Owner alone", func(t *testing.T, p *person) {
		g := p.grant("mood", individual, "she/mood", "a/x")
		for _, c := range []access.Caller{{}, access.Operator(), app(p, writes("a")),
			access.User(hat.NewUserID(), []access.Role{{Title: access.TitlePlatform}}, "")} {
			_, err := p.v.Enable(p.ctx(), c, g)
			p.wants(err, access.ErrDenied)
			_, err = p.v.Disable(p.ctx(), c, g.Function)
			p.wants(err, access.ErrDenied)
		}
		_, err := p.v.Function(p.ctx(), p.owner, g.Function)
		p.wants(err, vault.ErrNotFound)
		_, err = p.v.Disable(p.ctx(), p.owner, g.Function)
		p.wants(err, vault.ErrNotFound)

		if s := p.enable(g); !s.Enabled || s.Grant.Output != g.Output || s.Pending != nil {
			t.Errorf("got %+v", s)
		}
		s := p.state(g.Function)
		if !s.Enabled || s.Grant.Bundle.Digest() != g.Bundle.Digest() || s.Grant.Trigger != g.Trigger || s.Grant.Digest != g.Digest ||
			!s.Grant.Given.Equal(p.clock.now()) {
			t.Errorf("read back %+v", s)
		}
		s, err = p.v.Disable(p.ctx(), p.owner, g.Function)
		if err != nil || s.Enabled {
			t.Errorf("got %+v, %v", s, err)
		}
		p.write("a/x", `1`)
		p.isDue()
		all, err := p.v.FunctionStates(p.ctx(), access.Operator())
		if err != nil || len(all) != 1 || all[0].Enabled {
			t.Errorf("the operator sees %d functions, %v", len(all), err)
		}
	})

	run("with an unusable grant are not switched on", func(t *testing.T, p *person) {
		good := p.grant("f", individual, "she/f", "a/x")
		for says, spoil := range map[string]func(*access.Grant){
			"no function": func(g *access.Grant) { g.Function = hat.FunctionID{} },
			"no output":   func(g *access.Grant) { g.Output = hat.Endpoint{} },
			"no version":  func(g *access.Grant) { g.Version = hat.Version{} },
			"no trigger":  func(g *access.Grant) { g.Trigger = hat.Trigger{} },
			"no period":   func(g *access.Grant) { g.Trigger = hat.Trigger{Kind: hat.Periodic} },
		} {
			g := good
			spoil(&g)
			if _, err := p.v.Enable(p.ctx(), p.owner, g); err == nil {
				t.Errorf("%s: enabled", says)
			}
		}
	})

	run("find what is there already, within their grant", func(t *testing.T, p *person) {
		p.write("a/x", `1`)
		p.clock.move(time.Hour)
		late := p.grant("late", individual, "she/late", "a/x")
		late.Since = p.clock.now()
		p.enable(late)
		p.enable(p.grant("elsewhere", individual, "she/elsewhere", "b/x"))
		p.enable(p.grant("asked", manual, "she/asked", "a/x"))
		p.enable(p.grant("daily", daily(t), "she/daily", "a/x"))
		s := p.enable(p.grant("all", individual, "she/all", "a/x"))
		p.isDue("all", "daily")
		if s.Pending == nil || s.Pending.Upto != 1 || !s.Pending.Since.Equal(p.clock.now().Add(-time.Hour)) {
			t.Errorf("pending is %+v", s.Pending)
		}
		if s := p.state(parsed(t, hat.ParseFunctionID, "asked")); s.Pending == nil || !s.Pending.NotBefore.IsZero() {
			t.Errorf("of a manual function pending is %+v", s.Pending)
		}
	})

	run("keep their place while they are off", func(t *testing.T, p *person) {
		g := p.grant("f", individual, "she/f", "a/x")
		p.enable(g)
		p.write("a/x", `1`)
		p.runOnce(g.Function)
		_, err := p.v.Disable(p.ctx(), p.owner, g.Function)
		p.must(err)
		p.write("a/x", `2`)
		p.isDue()
		if s := p.enable(g); s.Cursor != 1 || s.Pending == nil {
			t.Errorf("got %+v", s)
		}
		pl := p.claim(g.Function)
		if _, texts := p.shown(pl); !slices.Equal(texts, []string{`2`}) {
			t.Errorf("it is shown %v", texts)
		}
		p.must(p.v.Abandon(p.ctx(), pl))
	})

	run("that are switched on twice go on running", func(t *testing.T, p *person) {
		g := p.grant("f", individual, "she/f", "a/x")
		p.write("a/x", `1`)
		p.enable(g)
		pl := p.claim(g.Function)
		p.enable(g)
		p.commit(pl, `"done"`)
	})

	run("switched off or granted otherwise during a run save nothing", func(t *testing.T, p *person) {
		g := p.grant("f", individual, "she/f", "a/x")
		wider := p.grant("f", individual, "she/f", "a/x", "b/x")
		p.write("a/x", `1`)
		for says, act := range map[string]func(){
			"off": func() {
				_, err := p.v.Disable(p.ctx(), p.owner, g.Function)
				p.must(err)
			},
			"off and on": func() {
				_, err := p.v.Disable(p.ctx(), p.owner, g.Function)
				p.must(err)
				p.enable(g)
			},
			"granted otherwise": func() { p.enable(wider) },
		} {
			p.enable(g)
			pl := p.claim(g.Function)
			if s := p.state(g.Function); !s.Started.Equal(pl.Claimed) {
				t.Errorf("%s: started at %v", says, s.Started)
			}
			act()
			_, err := p.v.Commit(p.ctx(), pl, output(t, g, `"`+says+`"`))
			p.wants(err, vault.ErrStale)
			p.wants(p.v.Fail(p.ctx(), pl, vault.Output{}, hat.NewFault(hat.Engine, "X", "x")), vault.ErrStale)
			r, err := p.v.Run(p.ctx(), p.owner, pl.Run)
			p.must(err)
			if r.State != vault.RunRefused || r.Fault == nil || r.Fault.Who != hat.Owner {
				t.Errorf("%s: the run is %s, %v", says, r.State, r.Fault)
			}
			if s := p.state(g.Function); !s.Started.IsZero() || s.Cursor != 0 {
				t.Errorf("%s: got %+v", says, s)
			}
		}
		p.has("she/f")
	})
}

func testWork(t *testing.T, fresh func(testing.TB) Opener) {
	run := func(name string, f func(t *testing.T, p *person, g access.Grant)) {
		t.Run(name, func(t *testing.T) {
			p := newPerson(t, fresh)
			f(t, p, p.grant("f", individual, "she/f", "a/x"))
			CheckHAT(t, p.v)
		})
	}

	run("goes from data to output", func(t *testing.T, p *person, g access.Grant) {
		p.enable(g)
		p.isDue()
		p.write("b/x", `0`)
		p.isDue()
		in := p.write("a/x", `1`, `2`)
		p.clock.move(time.Second)
		p.isDue("f")
		pl := p.claim(g.Function)
		if pl.After != 0 || pl.Upto != 3 || pl.Attempt != 1 || pl.Epoch != 1 || !pl.Due.Equal(p.clock.now().Add(-time.Second)) ||
			!pl.LastExecution.IsZero() || pl.Depth != 0 {
			t.Errorf("planned %+v", pl)
		}
		p.isDue()
		ids, texts := p.shown(pl)
		if !slices.Equal(texts, []string{`1`, `2`}) {
			t.Fatalf("it is shown %v", texts)
		}
		out := output(t, g, `"sum"`, `"more"`)
		out.Responses[0].Linked = ids[:1]
		out.Log = []byte("printed")
		out.Stats = vault.Stats{Read: 2, Start: "cold", Bundle: &g.Bundle, Timing: vault.Timing{Process: time.Second}}
		p.clock.move(time.Second)
		done, err := p.v.Commit(p.ctx(), pl, out)
		p.must(err)
		if len(done.Written) != 2 || done.Duplicates != 0 {
			t.Fatalf("committed %+v", done)
		}
		w := done.Written[0]
		if w.Function != g.Function || w.Run != pl.Run || w.Depth != 1 || !slices.Equal(w.Chain, []hat.FunctionID{g.Function}) ||
			w.User != p.user.ID || w.Endpoint != g.Output {
			t.Errorf("wrote %+v", w)
		}
		p.has("she/f", `"sum"`, `"more"`)
		p.linked(in[0].ID, "she/f", `"sum"`, `"more"`)
		p.linked(in[1].ID, "she/f")
		if s := p.state(g.Function); s.Pending != nil || s.Cursor != 3 || !s.LastExecution.Equal(pl.Claimed) || !s.Started.IsZero() {
			t.Errorf("afterwards %+v", s)
		}
		p.isDue()
		r, err := p.v.Run(p.ctx(), p.owner, pl.Run)
		p.must(err)
		if r.State != vault.RunCommitted || string(r.Log) != "printed" || r.Stats.Timing.Process != time.Second || r.Stats.Start != "cold" ||
			r.Stats.Bundle == nil || r.Stats.Bundle.Digest() != g.Bundle.Digest() || len(r.Written) != 2 || r.Written[0] != w.ID ||
			!r.Ended.Equal(p.clock.now()) || r.Plan.Upto != 3 || r.Plan.Grant.Bundle.Digest() != g.Bundle.Digest() {
			t.Errorf("the run reads %+v", r)
		}
		blind, err := p.v.Run(p.ctx(), access.Operator(), pl.Run)
		if err != nil || blind.Log != nil {
			t.Errorf("the operator reads a log of %d bytes, %v", len(blind.Log), err)
		}
		_, err = p.v.Run(p.ctx(), app(p, reads("she")), pl.Run)
		p.wants(err, access.ErrDenied)
		_, err = p.v.Run(p.ctx(), p.owner, hat.NewRunID())
		p.wants(err, vault.ErrNotFound)
	})

	run("is claimed once", func(t *testing.T, p *person, g access.Grant) {
		_, err := p.tryClaim(g.Function, plan.ByRequest, false)
		p.wants(err, vault.ErrNotEnabled)
		p.enable(g)
		_, err = p.tryClaim(g.Function, plan.ByData, false)
		p.wants(err, vault.ErrNothingDue)
		p.write("a/x", `1`)
		pl := p.claim(g.Function)
		for _, cause := range []plan.Cause{plan.ByData, plan.ByRequest} {
			_, err = p.tryClaim(g.Function, cause, false)
			p.wants(err, vault.ErrBusy)
		}
		p.commit(pl)
		again, err := p.tryClaim(g.Function, plan.ByRequest, false)
		p.must(err)
		if _, texts := p.shown(again); len(texts) != 0 || again.After != 1 {
			t.Errorf("asked for again it is shown %v", texts)
		}
		p.commit(again)
	})

	run("covers all when asked to, and keeps its place", func(t *testing.T, p *person, g access.Grant) {
		p.enable(g)
		p.write("a/x", `1`)
		p.runOnce(g.Function)
		pl, err := p.tryClaim(g.Function, plan.ByRequest, true)
		p.must(err)
		if _, texts := p.shown(pl); !slices.Equal(texts, []string{`1`}) || !pl.Window.From.Equal(pl.Claimed.AddDate(0, -6, 0)) {
			t.Errorf("it is shown %v from %v", texts, pl.Window.From)
		}
		pl.Upto = 0 // as if split; the place stays
		p.commit(pl)
		if s := p.state(g.Function); s.Cursor != 1 {
			t.Errorf("the cursor is at %d", s.Cursor)
		}
	})

	run("that comes during a run is next", func(t *testing.T, p *person, g access.Grant) {
		p.enable(g)
		p.write("a/x", `1`)
		pl := p.claim(g.Function)
		p.clock.move(time.Second)
		p.write("a/x", `2`)
		arrived := p.clock.now()
		if _, texts := p.shown(pl); !slices.Equal(texts, []string{`1`}) {
			t.Errorf("it is shown %v", texts)
		}
		p.clock.move(time.Second)
		p.commit(pl)
		s := p.state(g.Function)
		if s.Pending == nil || s.Pending.Upto != 2 || !s.Pending.Since.Equal(arrived) {
			t.Fatalf("pending is %+v", s.Pending)
		}
		pl = p.claim(g.Function)
		if _, texts := p.shown(pl); !slices.Equal(texts, []string{`2`}) {
			t.Errorf("then it is shown %v", texts)
		}
		p.commit(pl)
		p.isDue()
	})

	run("may be done in part", func(t *testing.T, p *person, g access.Grant) {
		p.enable(g)
		p.write("a/x", `1`, `2`, `3`)
		pl := p.claim(g.Function)
		beyond := pl
		beyond.Upto = 4
		if _, err := p.v.Commit(p.ctx(), beyond, vault.Output{}); err == nil {
			t.Error("committed beyond the plan")
		}
		pl.Upto = 2
		if _, texts := p.shown(pl); !slices.Equal(texts, []string{`1`, `2`}) {
			t.Errorf("it is shown %v", texts)
		}
		p.commit(pl)
		p.isDue("f")
		if _, texts := p.shown(p.claim(g.Function)); !slices.Equal(texts, []string{`3`}) {
			t.Errorf("then it is shown %v", texts)
		}
	})

	run("counts changed records as new", func(t *testing.T, p *person, g access.Grant) {
		p.enable(g)
		r := p.write("a/x", `1`, `2`)
		p.runOnce(g.Function)
		_, err := p.v.Update(p.ctx(), p.owner, []vault.Change{{ID: r[0].ID, Data: data(t, `10`)}})
		p.must(err)
		if _, texts := p.shown(p.claim(g.Function)); !slices.Equal(texts, []string{`10`}) {
			t.Errorf("it is shown %v", texts)
		}
	})

	run("equal to what is stored is dropped and counted", func(t *testing.T, p *person, g access.Grant) {
		p.enable(g)
		p.write("she/f", `"there"`)
		p.write("a/x", `1`)
		pl := p.claim(g.Function)
		out := output(t, g, `{"a":1,"b":1}`, `{"a":1,"b":2}`, `"there"`)
		out.Responses = append(out.Responses, output(t, g, `{"b":1.0,"a":1}`, `"last"`).Responses...)
		done, err := p.v.Commit(p.ctx(), pl, out)
		p.must(err)
		if len(done.Written) != 3 || done.Duplicates != 2 {
			t.Errorf("wrote %d, dropped %d", len(done.Written), done.Duplicates)
		}
		p.has("she/f", `"there"`, `{"a":1,"b":1}`, `{"a":1,"b":2}`, `"last"`)
		r, err := p.v.Run(p.ctx(), p.owner, pl.Run)
		if err != nil || r.Duplicates != 2 {
			t.Errorf("the run says %d, %v", r.Duplicates, err)
		}
	})

	run("off the granted address is refused whole", func(t *testing.T, p *person, g access.Grant) {
		p.enable(g)
		secret := p.write("b/x", `"secret"`)
		p.write("a/x", `1`)
		pl := p.claim(g.Function)
		astray := output(t, g, `"good"`)
		astray.Responses[0].Drafts = append(astray.Responses[0].Drafts, draft(t, "she/other", `"`+canary+`"`))
		_, err := p.v.Commit(p.ctx(), pl, astray)
		p.wants(err, access.ErrDenied)
		if strings.Contains(fmt.Sprint(err), canary) {
			t.Error("the error shows the data")
		}
		foreign := output(t, g, `"good"`)
		foreign.Responses[0].Linked = []hat.RecordID{secret[0].ID}
		_, err = p.v.Commit(p.ctx(), pl, foreign)
		p.wants(err, access.ErrDenied)
		widened := pl
		widened.Grant.Output = endpoint(t, "she/other")
		_, err = p.v.Commit(p.ctx(), widened, output(t, widened.Grant, `1`))
		p.wants(err, access.ErrDenied)
		p.has("she/f")
		p.has("she/other")
		p.must(p.v.Fail(p.ctx(), pl, vault.Output{}, hat.NewFault(hat.Author, "Response.WrongAddress", "x")))
		if r, err := p.v.Run(p.ctx(), p.owner, pl.Run); err != nil || r.State != vault.RunRefused {
			t.Errorf("the run is %s, %v", r.State, err)
		}
	})

	run("of a run is committed once", func(t *testing.T, p *person, g access.Grant) {
		p.enable(g)
		p.write("a/x", `1`)
		pl := p.claim(g.Function)
		p.commit(pl, `"once"`)
		_, err := p.v.Commit(p.ctx(), pl, output(t, g, `"twice"`))
		p.wants(err, vault.ErrStale)
		p.wants(p.v.Abandon(p.ctx(), pl), vault.ErrStale)
		p.has("she/f", `"once"`)
	})

	run("of a zombie is stale", func(t *testing.T, p *person, g access.Grant) {
		p.enable(g)
		p.write("a/x", `1`)
		zombie := p.claim(g.Function)
		p.clock.move(10 * time.Minute)
		p.isDue("f")
		next := p.claim(g.Function)
		if next.Epoch <= zombie.Epoch || next.Attempt != 2 {
			t.Errorf("the next claim is %+v", next)
		}
		_, err := p.v.Commit(p.ctx(), zombie, output(t, g, `"zombie"`))
		p.wants(err, vault.ErrStale)
		p.commit(next, `"alive"`)
		_, err = p.v.Commit(p.ctx(), zombie, output(t, g, `"zombie"`))
		p.wants(err, vault.ErrStale)
		p.has("she/f", `"alive"`)
		if r, err := p.v.Run(p.ctx(), p.owner, zombie.Run); err != nil || r.State != vault.RunAbandoned {
			t.Errorf("the zombie's run is %s, %v", r.State, err)
		}
	})

	run("late but not replaced is taken", func(t *testing.T, p *person, g access.Grant) {
		p.enable(g)
		p.write("a/x", `1`)
		pl := p.claim(g.Function)
		p.clock.move(10 * time.Minute)
		p.commit(pl, `"late"`)
		p.has("she/f", `"late"`)
	})

	run("interrupted by the end of the server is due at once", func(t *testing.T, p *person, g access.Grant) {
		p.enable(g)
		p.write("a/x", `1`)
		lost := p.claim(g.Function)
		p.reopen()
		p.isDue() // same life: somebody may still be at it
		p.restart()
		p.isDue("f")
		if r, err := p.v.Run(p.ctx(), p.owner, lost.Run); err != nil || r.State != vault.RunAbandoned {
			t.Errorf("the run is %s, %v", r.State, err)
		}
		if s := p.state(g.Function); s.Pending == nil || s.Pending.Attempt != 1 || s.Pending.Fault == nil || !s.Started.IsZero() {
			t.Errorf("got %+v", s.Pending)
		}
		_, err := p.v.Commit(p.ctx(), lost, output(t, g, `"lost"`))
		p.wants(err, vault.ErrStale)
		for range 100 { // a function that takes the server down each time
			if len(p.due()) == 0 {
				break
			}
			p.claim(g.Function)
			p.restart()
		}
		if s := p.state(g.Function); !s.Pending.Parked {
			t.Error("it goes on for ever")
		}
	})

	run("given back is as if untouched", func(t *testing.T, p *person, g access.Grant) {
		p.enable(g)
		p.write("a/x", `1`)
		p.must(p.v.Abandon(p.ctx(), p.claim(g.Function)))
		if s := p.state(g.Function); s.Pending.Attempt != 0 || s.Pending.Fault != nil {
			t.Errorf("got %+v", s.Pending)
		}
		if pl := p.claim(g.Function); pl.Attempt != 1 {
			t.Errorf("the next attempt is number %d", pl.Attempt)
		}
	})

	run("that fails waits longer each time, then for somebody or something new", func(t *testing.T, p *person, g access.Grant) {
		p.enable(g)
		p.write("a/x", `1`)
		fault := hat.NewFault(hat.Author, "Runtime.ExitError", "it exited")
		var last time.Duration
		attempts := 0
		for ; attempts < 100; attempts++ {
			pl := p.claim(g.Function)
			if pl.Attempt != attempts+1 || pl.After != 0 {
				t.Fatalf("attempt %d is number %d after %d", attempts+1, pl.Attempt, pl.After)
			}
			p.must(p.v.Fail(p.ctx(), pl, vault.Output{Log: []byte("x")}, fault))
			s := p.state(g.Function)
			if s.Pending == nil || s.Pending.Fault == nil || *s.Pending.Fault != *fault || !s.LastExecution.IsZero() {
				t.Fatalf("pending is %+v", s.Pending)
			}
			pause := s.Pending.NotBefore.Sub(p.clock.now())
			if pause <= last/2 {
				t.Errorf("after attempt %d the pause is %v, before it was %v", attempts+1, pause, last)
			}
			last = pause
			if s.Pending.Parked {
				break
			}
			p.isDue()
			p.write("a/x", fmt.Sprintf(`"during pause %d"`, attempts))
			p.isDue() // new data does not shorten the pause
			p.clock.move(pause)
			p.isDue("f")
		}
		p.clock.move(365 * 24 * time.Hour)
		p.isDue()
		_, err := p.tryClaim(g.Function, plan.ByData, false)
		p.wants(err, vault.ErrNothingDue)

		asked, err := p.tryClaim(g.Function, plan.ByRequest, false)
		p.must(err)
		p.must(p.v.Fail(p.ctx(), asked, vault.Output{}, fault))
		p.isDue()
		p.write("a/x", `"something new"`)
		p.isDue() // not at once
		p.clock.move(24 * time.Hour)
		p.isDue("f")
		pl := p.claim(g.Function)
		if _, texts := p.shown(pl); len(texts) != attempts+2 || texts[0] != `1` {
			t.Errorf("it is shown %v", texts)
		}
		p.commit(pl, `"at last"`)
		if s := p.state(g.Function); s.Pending != nil {
			t.Errorf("pending is %+v", s.Pending)
		}
		runs, err := p.v.Runs(p.ctx(), p.owner, g.Function, hat.RunID{}, 2)
		p.must(err)
		if len(runs) != 2 || runs[0].State != vault.RunCommitted || runs[1].State != vault.RunFailed || runs[1].Log != nil {
			t.Fatalf("the newest runs are %+v", runs)
		}
		older, err := p.v.Runs(p.ctx(), p.owner, hat.FunctionID{}, runs[1].Plan.Run, 100)
		if err != nil || len(older) != attempts+1 {
			t.Errorf("%d older runs, %v", len(older), err)
		}
	})

	run("of a periodic function waits for its time, not for more data", func(t *testing.T, p *person, _ access.Grant) {
		g := p.grant("daily", daily(t), "she/daily", "a/x")
		p.enable(g)
		p.clock.move(48 * time.Hour)
		p.isDue() // never without data
		p.write("a/x", `1`)
		p.isDue("daily")
		p.runOnce(g.Function)
		p.clock.move(time.Hour)
		p.write("a/x", `2`)
		p.isDue()
		p.clock.move(22 * time.Hour)
		p.write("a/x", `3`)
		p.isDue()
		p.clock.move(time.Hour)
		p.isDue("daily")
		pl := p.claim(g.Function)
		p.write("a/x", `4`)
		p.commit(pl)
		p.isDue()
		p.clock.move(24 * time.Hour)
		p.isDue("daily")
	})

	run("of a manual function waits for somebody", func(t *testing.T, p *person, _ access.Grant) {
		g := p.grant("asked", manual, "she/asked", "a/x")
		p.enable(g)
		p.write("a/x", `1`)
		p.clock.move(1000 * time.Hour)
		p.isDue()
		if all, err := p.v.Due(p.ctx()); err != nil || len(all) != 0 {
			t.Errorf("due at some time are %v, %v", all, err)
		}
		pl, err := p.tryClaim(g.Function, plan.ByRequest, false)
		p.must(err)
		p.must(p.v.Fail(p.ctx(), pl, vault.Output{}, hat.NewFault(hat.Engine, "X", "x")))
		p.clock.move(1000 * time.Hour)
		p.isDue()
		pl, err = p.tryClaim(g.Function, plan.ByRequest, false)
		p.must(err)
		if _, texts := p.shown(pl); !slices.Equal(texts, []string{`1`}) {
			t.Errorf("it is shown %v", texts)
		}
		p.commit(pl)
		if s := p.state(g.Function); s.Pending != nil {
			t.Errorf("pending is %+v", s.Pending)
		}
	})

	run("may link what was erased meanwhile", func(t *testing.T, p *person, g access.Grant) {
		p.enable(g)
		in := p.write("a/x", `1`)
		pl := p.claim(g.Function)
		p.must(p.v.Erase(p.ctx(), p.owner, []hat.RecordID{in[0].ID}))
		out := output(t, g, `"late"`)
		out.Responses[0].Linked = []hat.RecordID{in[0].ID}
		if _, err := p.v.Commit(p.ctx(), pl, out); err != nil {
			t.Error(err)
		}
	})
}

func testChains(t *testing.T, fresh func(testing.TB) Opener) {
	// settle runs whatever is due until nothing is, each function writing what is new; it returns how often each ran.
	settle := func(t *testing.T, p *person) map[string]int {
		ran := map[string]int{}
		for n := 0; len(p.due()) > 0; n++ {
			if n > 1000 {
				t.Fatal("it never ends")
			}
			f := parsed(t, hat.ParseFunctionID, p.due()[0])
			ran[f.String()]++
			p.runOnce(f, fmt.Sprintf(`"%s %d"`, f, n))
			p.clock.move(time.Second)
		}
		return ran
	}
	refused := func(p *person, f hat.FunctionID) (codes []string) {
		runs, err := p.v.Runs(p.ctx(), p.owner, f, hat.RunID{}, 100)
		p.must(err)
		for _, r := range runs {
			if r.State == vault.RunRefused {
				codes = append(codes, r.Fault.Code)
			}
		}
		return codes
	}

	t.Run("lead from function to function", func(t *testing.T) {
		p := newPerson(t, fresh)
		p.enable(p.grant("mood", individual, "she/mood", "a/x"))
		history := p.grant("history", individual, "she/history", "she/mood")
		p.enable(history)
		p.write("a/x", `1`)
		if ran := settle(t, p); ran["mood"] != 1 || ran["history"] != 1 {
			t.Errorf("ran %v", ran)
		}
		records, err := p.scan(p.owner, "she/history", bundle.Want{})
		p.must(err)
		if len(records) != 1 || records[0].Depth != 2 || records[0].Chain[0].String() != "mood" {
			t.Errorf("got %+v", records)
		}
		CheckHAT(t, p.v)
	})

	t.Run("never feed a function its own output", func(t *testing.T) {
		p := newPerson(t, fresh)
		g := p.grant("mood", individual, "she/mood", "a/x", "she/mood")
		p.enable(g)
		p.write("a/x", `1`)
		if ran := settle(t, p); ran["mood"] != 1 {
			t.Errorf("ran %v", ran)
		}
		p.write("a/x", `2`)
		pl := p.claim(g.Function)
		if _, texts := p.shown(pl); !slices.Equal(texts, []string{`2`}) {
			t.Errorf("it is shown %v", texts)
		}
		p.commit(pl)
		if codes := refused(p, g.Function); codes != nil {
			t.Errorf("its own output is no chain: %v", codes)
		}
		CheckHAT(t, p.v)
	})

	t.Run("end where they would go in circles, visibly", func(t *testing.T) {
		p := newPerson(t, fresh)
		one, two := p.grant("one", individual, "she/one", "a/x", "she/two"), p.grant("two", individual, "she/two", "she/one")
		p.enable(one)
		p.enable(two)
		p.write("a/x", `1`)
		if ran := settle(t, p); ran["one"] != 1 || ran["two"] != 1 {
			t.Errorf("ran %v", ran)
		}
		if codes := refused(p, one.Function); !slices.Equal(codes, []string{"Chain.Visited"}) {
			t.Errorf("recorded %v", codes)
		}
		p.write("a/x", `2`)
		settle(t, p)
		CheckHAT(t, p.v)
	})

	t.Run("end after so many functions, visibly", func(t *testing.T) {
		p := newPerson(t, fresh)
		const more = trigger.MaxDepth + 2
		for i := range more {
			from := "a/x"
			if i > 0 {
				from = fmt.Sprintf("she/f%d", i-1)
			}
			p.enable(p.grant(fmt.Sprintf("f%d", i), individual, fmt.Sprintf("she/f%d", i), from))
		}
		p.write("a/x", `1`)
		if ran := settle(t, p); len(ran) != trigger.MaxDepth {
			t.Errorf("%d functions ran", len(ran))
		}
		if codes := refused(p, parsed(t, hat.ParseFunctionID, fmt.Sprintf("f%d", trigger.MaxDepth))); !slices.Equal(codes, []string{"Chain.TooLong"}) {
			t.Errorf("recorded %v", codes)
		}
		CheckHAT(t, p.v)
	})

	t.Run("begin anew where a person changed the record", func(t *testing.T) {
		p := newPerson(t, fresh)
		g := p.grant("mood", individual, "she/mood", "a/x", "she/mood")
		p.enable(g)
		p.write("a/x", `1`)
		written := p.runOnce(g.Function, `"good"`)
		got, err := p.v.Update(p.ctx(), p.owner, []vault.Change{{ID: written.Written[0].ID, Data: data(t, `"bad"`)}})
		p.must(err)
		if got[0].Depth != 0 || !got[0].Function.IsZero() {
			t.Errorf("still says %+v", got[0].Provenance)
		}
		p.isDue("mood")
		CheckHAT(t, p.v)
	})
}

func testReceipts(t *testing.T, fresh func(testing.TB) Opener) {
	p := newPerson(t, fresh)
	g := p.grant("f", individual, "she/f", "a/x")
	p.enable(g)
	r := p.write("a/x", `"`+canary+`"`)
	p.runOnce(g.Function, `"`+canary+`"`)
	p.must(p.v.Disclose(p.ctx(), p.owner, vault.Disclosure{Debit: "d1", Records: []hat.RecordID{r[0].ID}, Endpoints: []hat.Endpoint{endpoint(t, "a/x")}}))
	p.must(p.v.Erase(p.ctx(), p.owner, []hat.RecordID{r[0].ID}))
	entries := p.receipts()
	var kinds []string
	for _, e := range entries {
		kinds = append(kinds, string(e.Kind))
	}
	if want := []string{"grant", "write", "run", "disclosure", "erase"}; !slices.Equal(kinds, want) {
		t.Errorf("receipts are %v, want %v", kinds, want)
	}
	if e := entries[2]; e.Function != g.Function || e.Package != g.Digest || e.Written.Count != 1 || e.First != 2 || e.Last != 2 {
		t.Errorf("the run's receipt is %+v", e)
	}
	if text := p.receiptTexts(); strings.Contains(text, canary) {
		t.Error("receipts hold data")
	}
	if err := p.v.Receipts(p.ctx(), app(p, reads("a")), 0, nil); !errors.Is(err, access.ErrDenied) {
		t.Errorf("an application reads receipts: %v", err)
	}
	CheckHAT(t, p.v)
}
