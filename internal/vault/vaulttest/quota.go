package vaulttest

import (
	"errors"
	"testing"
	"time"

	"she/internal/hat"
	"she/internal/plan"
	"she/internal/vault"
)

// testQuota tests that the use of a day's runs is counted in the transaction of the claim, and that refused
// work stays pending.
func testQuota(t *testing.T, fresh func(testing.TB) Opener) {
	p := newPerson(t, fresh)
	state := p.enable(p.grant("busy", hat.Trigger{Kind: hat.Individual}, "she/busy", "a/x"))
	p.enable(p.grant("other", hat.Trigger{Kind: hat.Individual}, "she/other", "a/x"))
	f := state.Grant.Function
	quota := plan.Quota{Runs: 2, Compute: time.Minute}
	claim := func(cause plan.Cause) (plan.Plan, error) {
		return p.v.Claim(p.ctx(), vault.Claim{
			Function: f, Run: hat.NewRunID(), Cause: cause, Now: p.clock.now(), Expires: p.clock.now().Add(5 * time.Minute), Quota: quota,
		})
	}
	refused := func(cause plan.Cause, code string) {
		t.Helper()
		var over *vault.QuotaError
		_, until := plan.Day(p.clock.now())
		if _, err := claim(cause); !errors.As(err, &over) || over.Fault.Code != code || !over.Until.Equal(until) {
			t.Errorf("a claim over quota: %v, want %s until %s", err, code, until)
		}
	}
	begin := func() plan.Plan {
		t.Helper()
		p.write("a/x", `"`+p.clock.now().String()+`"`)
		p.clock.move(time.Second)
		pl, err := claim(plan.ByData)
		p.must(err)
		return pl
	}
	used := func(want plan.Used) {
		t.Helper()
		from, _ := plan.Day(p.clock.now())
		if got, err := p.v.Used(p.ctx(), p.owner, f, from); err != nil || got != want {
			t.Errorf("used %+v %v, want %+v", got, err, want)
		}
	}

	used(plan.Used{})
	first := begin()
	used(plan.Used{Runs: 1}) // a run in flight counts
	p.must(p.v.Abandon(p.ctx(), first))
	used(plan.Used{}) // a stopping server uses no quota
	pl, err := claim(plan.ByData)
	p.must(err)
	out := output(t, pl.Grant)
	out.Stats.Timing.Bundle, out.Stats.Timing.Process, out.Stats.Timing.Query = time.Second, 2*time.Second, 4*time.Second
	_, err = p.v.Commit(p.ctx(), pl, out)
	p.must(err)
	used(plan.Used{Runs: 1, Compute: 7 * time.Second})
	second := begin()
	p.must(p.v.Fail(p.ctx(), second, vault.Output{}, hat.NewFault(hat.Author, "Test", "a failure")))
	used(plan.Used{Runs: 2, Compute: 7 * time.Second})

	// Over the quota the work stays pending as it was, no failure is counted, and other functions go on.
	p.write("a/x", `"late"`)
	p.clock.move(time.Hour)
	before := p.state(f)
	refused(plan.ByData, plan.CodeRuns)
	refused(plan.ByRequest, plan.CodeRuns)
	if after := p.state(f); after.Cursor != before.Cursor || after.Front.Attempt != before.Front.Attempt ||
		after.Front.Upto != before.Front.Upto || !after.Front.NotBefore.Equal(before.Front.NotBefore) {
		t.Errorf("a refusal changed the work from %+v to %+v", before.Front, after.Front)
	}
	p.isDue("other", "busy")
	p.restart()
	refused(plan.ByData, plan.CodeRuns)

	// The next day it continues with all of the work, until it has computed for too long.
	_, until := plan.Day(p.clock.now())
	p.clock.move(until.Sub(p.clock.now()))
	used(plan.Used{})
	pl, err = claim(plan.ByData)
	p.must(err)
	if _, texts := p.shown(pl); len(texts) != 2 {
		t.Errorf("the run of the next day is shown %v", texts)
	}
	out.Stats.Timing.Process = time.Hour
	_, err = p.v.Commit(p.ctx(), pl, out)
	p.must(err)
	p.write("a/x", `"later"`)
	refused(plan.ByData, plan.CodeCompute)

	// Use on a day that is in the future after the clock was set back is not counted on any other day.
	p.clock.move(-30 * day)
	used(plan.Used{})
	pl, err = claim(plan.ByRequest)
	p.must(err)
	p.must(p.v.Abandon(p.ctx(), pl))
	p.clock.move(30 * day)
	refused(plan.ByData, plan.CodeCompute)
	CheckHAT(t, p.v)
}
