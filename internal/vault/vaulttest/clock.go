package vaulttest

import (
	"slices"
	"testing"
	"time"

	"she/internal/hat"
	"she/internal/plan"
	"she/internal/vault"
)

const day = 24 * time.Hour

func beginWork(t *testing.T, fresh func(testing.TB) Opener, trigger hat.Trigger) (*person, hat.FunctionID) {
	p := newPerson(t, fresh)
	p.enable(p.grant("f", trigger, "she/f", "a/x"))
	p.write("a/x", `1`)
	return p, p.grant("f", trigger, "she/f", "a/x").Function
}

// soonest returns the time from now until f is due.
func soonest(p *person) time.Duration {
	p.Helper()
	all, err := p.v.Due(p.ctx())
	p.must(err)
	if len(all) != 1 {
		p.Fatalf("due: %+v", all)
	}
	if !all[0].Since.Before(p.clock.now().Add(time.Second)) {
		p.Errorf("it has waited since %s, which is ahead", all[0].Since)
	}
	return all[0].At.Sub(p.clock.now())
}

// testClock tests a clock that was set back. Nothing waits longer than it would from then on. A worker
// whose lease has lapsed saves nothing if somebody has decided about its work meanwhile.
func testClock(t *testing.T, fresh func(testing.TB) Opener) {
	testZombies(t, fresh)
	for _, story := range []struct {
		name string
		do   func(*testing.T, func(testing.TB) Opener)
	}{
		{"back, for what is due", testClockBackForWhatIsDue},
		{"back, for a retry", testClockBackForARetry},
		{"back, for a period", testClockBackForAPeriod},
		{"back, for a replay", testClockBackForAReplay},
		{"back, for a lease that nobody ended", testClockBackForALeaseThatNobodyEnded},
		{"back, after an agreement to what is new", testClockBackAfterAnAgreementToWhatIsNew},
		{"back, for output that replaces: its newest run is not the one of the latest time", testClockBackForOutputThatReplacesItsNewestRunIsNotTheOneOfTheLatestTime},
	} {
		t.Run(story.name, func(t *testing.T) { story.do(t, fresh) })
	}
}

func testClockBackForWhatIsDue(t *testing.T, fresh func(testing.TB) Opener) {
	p, f := beginWork(t, fresh, individual)
	p.clock.move(-day)
	if at := soonest(p); at > 0 {
		t.Errorf("due in %s", at)
	}
	p.runOnce(f, `"done"`)
	CheckHAT(t, p.v)
}

func testClockBackForARetry(t *testing.T, fresh func(testing.TB) Opener) {
	p, f := beginWork(t, fresh, individual)
	p.must(p.v.Fail(p.ctx(), p.claim(f), vault.Output{}, brokenCode))
	p.must(p.v.Fail(p.ctx(), mustClaim(p, f), vault.Output{}, brokenCode))
	p.clock.move(-day)
	at := soonest(p)
	if at < 48*time.Second || at > 72*time.Second {
		t.Errorf("due in %s", at)
	}
	p.clock.move(10 * time.Second) // the stored time does not move with the clock
	p.restart()
	if later := soonest(p); later != at-10*time.Second {
		t.Errorf("10 s later it is due in %s", later)
	}
	p.clock.move(at)
	if pl := p.claim(f); pl.Attempt != 3 {
		t.Errorf("attempt %d", pl.Attempt)
	}
}

func testClockBackForAPeriod(t *testing.T, fresh func(testing.TB) Opener) {
	p, f := beginWork(t, fresh, daily(t))
	p.runOnce(f)
	p.clock.move(time.Hour)
	p.write("a/x", `2`)
	p.clock.move(-day)
	if at := soonest(p); at != day {
		t.Errorf("due in %s", at)
	}
	p.clock.move(time.Hour)
	if at := soonest(p); at != 23*time.Hour {
		t.Errorf("an hour later it is due in %s", at)
	}
	p.clock.move(23 * time.Hour)
	pl := p.claim(f)
	if pl.Window.From.After(pl.Claimed) || pl.LastExecution.After(pl.Claimed) {
		t.Errorf("it is told of times to come: %+v", pl)
	}
	p.commit(pl)
	p.isDue()
}

func testClockBackForAReplay(t *testing.T, fresh func(testing.TB) Opener) {
	p, f := beginWork(t, fresh, individual)
	pl := p.claim(f)
	p.commit(pl, `"first"`)
	p.must(p.v.Replay(p.ctx(), p.owner, pl.Run))
	p.clock.move(-day)
	p.isDue("f")
	p.runOnce(f, `"second"`)
	p.has("she/f", `"second"`)
	p.isDue()
	CheckHAT(t, p.v)
}

func testClockBackForALeaseThatNobodyEnded(t *testing.T, fresh func(testing.TB) Opener) {
	p, f := beginWork(t, fresh, individual)
	zombie := p.claim(f)
	p.clock.move(-time.Second) // small corrections happen all the time
	p.isDue()
	_, err := p.tryClaim(f, plan.ByData, false)
	p.wants(err, vault.ErrBusy)
	p.clock.move(-day)
	p.isDue("f")
	pl := p.claim(f)
	_, err = p.v.Commit(p.ctx(), zombie, output(t, zombie.Grant, `"zombie"`))
	p.wants(err, vault.ErrStale)
	p.commit(pl, `"done"`)
	p.has("she/f", `"done"`)
	CheckHAT(t, p.v)
}

func testClockBackAfterAnAgreementToWhatIsNew(t *testing.T, fresh func(testing.TB) Opener) {
	p := newPerson(t, fresh)
	p.write("a/x", `"old"`)
	p.clock.move(time.Hour)
	g := p.grant("f", individual, "she/f", "a/x")
	g.Since = p.clock.now()
	p.enable(g)
	p.write("a/x", `1`)
	p.gives(g.Function, `1`)
	p.clock.move(-day)
	second := p.write("a/x", `2`) // by its time it is older than the grant and the old record
	p.gives(g.Function, `2`)
	_, err := p.v.Update(p.ctx(), p.owner, []vault.Change{{ID: second[0].ID, Data: Data(t, `22`)}})
	p.must(err)
	p.gives(g.Function, `22`)

	// Data that it was shown is not shown again after a longer window, and parked work is not forgotten.
	p.write("a/x", `3`)
	p.fail(p.claim(g.Function), hat.NewFault(hat.Author, plan.CodeRequestTooLarge, "x"))
	_, err = p.v.Disable(p.ctx(), p.owner, g.Function)
	p.must(err)
	p.write("a/x", `4`)
	p.enable(g)
	p.restart()
	p.gives(g.Function, `3`)
	p.gives(g.Function, `4`)
	p.isDue()
	p.write("a/x", `5`)
	p.fail(p.claim(g.Function), hat.NewFault(hat.Author, plan.CodeRequestTooLarge, "x"))
	g.Since = time.Time{}
	p.enable(g)
	p.gives(g.Function, `"old"`)
	p.gives(g.Function, `5`)
	p.grounds(g.Function)
	p.isDue()
	CheckHAT(t, p.v)
}

func testClockBackForOutputThatReplacesItsNewestRunIsNotTheOneOfTheLatestTime(t *testing.T, fresh func(testing.TB) Opener) {
	p := newPerson(t, fresh)
	g := p.grant("f", individual, "she/f", "a/x")
	g.Mode = hat.ReplaceOutput
	p.enable(g)
	p.write("a/x", `1`)
	p.runOnce(g.Function, `"first"`)
	p.clock.move(-day)
	p.write("a/x", `2`)
	second := p.claim(g.Function)
	p.commit(second, `"second"`)
	p.must(p.v.Replay(p.ctx(), p.owner, second.Run))
	if pl := p.claim(g.Function); pl.Replaces != second.Run || pl.After != second.After {
		t.Errorf("replayed is %+v", pl)
	}
}

// testZombies tests workers that wake after their lease lapsed and somebody has decided about their work.
func testZombies(t *testing.T, fresh func(testing.TB) Opener) {
	for name, c := range map[string]struct {
		decide func(p *person, zombie plan.Plan) error
		left   []string // data that is pending afterwards
	}{
		"skipped it":  {func(p *person, z plan.Plan) error { return p.v.Skip(p.ctx(), p.owner, z.Run) }, nil},
		"replayed it": {func(p *person, z plan.Plan) error { return p.v.Replay(p.ctx(), p.owner, z.Run) }, []string{`1`}},
		"replayed all": {func(p *person, z plan.Plan) error {
			_, err := p.v.ReplayMany(p.ctx(), p.owner, z.Grant.Function, vault.ReplayFilter{Failed: true})
			return err
		}, []string{`1`}},
		"claimed it": {func(p *person, z plan.Plan) error { return p.v.Abandon(p.ctx(), p.claim(z.Grant.Function)) }, []string{`1`}},
		"switched it off and on": {func(p *person, z plan.Plan) error {
			_, err := p.v.Disable(p.ctx(), p.owner, z.Grant.Function)
			p.enable(p.grant("f", individual, "she/f", "a/x"))
			return err
		}, []string{`1`}},
	} {
		t.Run("a zombie wakes after somebody "+name, func(t *testing.T) {
			p, f := beginWork(t, fresh, individual)
			zombie := p.claim(f)
			p.clock.move(time.Hour)
			p.must(c.decide(p, zombie))
			_, err := p.v.Commit(p.ctx(), zombie, output(t, zombie.Grant, `"zombie"`))
			p.wants(err, vault.ErrStale)
			p.wants(p.v.Fail(p.ctx(), zombie, vault.Output{}, brokenCode), vault.ErrStale)
			p.wants(p.v.Abandon(p.ctx(), zombie), vault.ErrStale)
			p.has("she/f")
			p.clock.move(time.Hour)
			var left []string
			if s := p.state(f); s.Front != nil || s.Ranges != nil {
				pl := p.claim(f)
				_, left = p.shown(pl)
				p.commit(pl, `"done"`)
				p.has("she/f", `"done"`)
			}
			if !slices.Equal(left, c.left) {
				t.Errorf("left is %v, want %v", left, c.left)
			}
			CheckHAT(t, p.v)
		})
	}
}

// mustClaim claims after any pause.
func mustClaim(p *person, f hat.FunctionID) plan.Plan {
	p.Helper()
	p.clock.move(3 * time.Hour)
	return p.claim(f)
}
