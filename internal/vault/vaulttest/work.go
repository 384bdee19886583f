package vaulttest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"she/internal/access"
	"she/internal/hat"
	"she/internal/plan"
	"she/internal/vault"
)

func testWork(t *testing.T, fresh func(testing.TB) Opener) {
	run := grantedStories(t, fresh)
	run("is there for nobody where no function is enabled", testWorkIsThereForNobodyWhereNoFunctionIsEnabled)
	run("goes from data to output", testWorkGoesFromDataToOutput)
	run("is claimed once", testWorkIsClaimedOnce)
	run("covers all when asked to, and keeps its place", testWorkCoversAllWhenAskedToAndKeepsItsPlace)
	run("that comes during a run is next", testWorkThatComesDuringARunIsNext)
	run("may be done in part", testWorkMayBeDoneInPart)
	run("counts changed records as new", testWorkCountsChangedRecordsAsNew)
	run("equal to what is stored is dropped and counted", testWorkEqualToWhatIsStoredIsDroppedAndCounted)
	run("off the granted address is refused whole", testWorkOffTheGrantedAddressIsRefusedWhole)
	run("of a run is committed once", testWorkOfARunIsCommittedOnce)
	run("of a zombie is stale", testWorkOfAZombieIsStale)
	run("late but not replaced is taken", testWorkLateButNotReplacedIsTaken)
	run("interrupted by the end of the server is due at once", testWorkInterruptedByTheEndOfTheServerIsDueAtOnce)
	run("given back is as if untouched", testWorkGivenBackIsAsIfUntouched)
	run("that fails waits longer each time, then for somebody", testWorkThatFailsWaitsLongerEachTimeThenForSomebody)
	run("that fails for a reason of the operator's is tried again until it is mended", testWorkThatFailsForAReasonOfTheOperatorsIsTriedAgainUntilItIsMended)
	run("of a periodic function waits for its time, not for more data", testWorkOfAPeriodicFunctionWaitsForItsTimeNotForMoreData)
	run("of a manual function waits for somebody", testWorkOfAManualFunctionWaitsForSomebody)
	run("may link what was erased meanwhile", testWorkMayLinkWhatWasErasedMeanwhile)
}

func testWorkIsThereForNobodyWhereNoFunctionIsEnabled(t *testing.T, p *person, g access.Grant) {
	idle := func(what string, want bool) {
		t.Helper()
		if got := p.v.Idle(); got != want {
			t.Errorf("%s: idle is %v", what, got)
		}
	}
	p.write("a/x", `0`)
	idle("no function", true)
	p.enable(g)
	idle("a consent makes work", false)
	p.write("a/x", `1`)
	idle("a function reads it", false)
	p.write("b/x", `1`)
	idle("one might", false)
	_, err := p.v.Disable(p.ctx(), p.owner, g.Function)
	p.must(err)
	in := p.write("a/x", `2`)
	idle("it is disabled", true)
	p.must(p.v.Erase(p.ctx(), p.owner, []hat.RecordID{in[0].ID}))
	idle("erasing ends pauses", false)
	p.enable(g)
	p.write("a/x", `3`)
	idle("it is enabled again", false)
}

func testWorkGoesFromDataToOutput(t *testing.T, p *person, g access.Grant) {
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
	if s := p.state(g.Function); s.Front != nil || s.Cursor != 3 || !s.LastExecution.Equal(pl.Claimed) || !s.Started.IsZero() {
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
}

func testWorkIsClaimedOnce(t *testing.T, p *person, g access.Grant) {
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
}

func testWorkCoversAllWhenAskedToAndKeepsItsPlace(t *testing.T, p *person, g access.Grant) {
	p.enable(g)
	p.write("a/x", `1`)
	p.runOnce(g.Function)
	pl, err := p.tryClaim(g.Function, plan.ByRequest, true)
	p.must(err)
	if _, texts := p.shown(pl); !slices.Equal(texts, []string{`1`}) || !pl.Window.From.Equal(pl.Claimed.AddDate(0, -6, 0)) {
		t.Errorf("it is shown %v from %v", texts, pl.Window.From)
	}
	pl.Upto = 0 // as if split; the cursor does not move
	p.commit(pl)
	if s := p.state(g.Function); s.Cursor != 1 {
		t.Errorf("the cursor is at %d", s.Cursor)
	}
}

func testWorkThatComesDuringARunIsNext(t *testing.T, p *person, g access.Grant) {
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
	if s.Front == nil || s.Front.Upto != 2 || !s.Front.Oldest.Equal(arrived) {
		t.Fatalf("pending is %+v", s.Front)
	}
	pl = p.claim(g.Function)
	if _, texts := p.shown(pl); !slices.Equal(texts, []string{`2`}) {
		t.Errorf("then it is shown %v", texts)
	}
	p.commit(pl)
	p.isDue()
}

func testWorkMayBeDoneInPart(t *testing.T, p *person, g access.Grant) {
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
}

func testWorkCountsChangedRecordsAsNew(t *testing.T, p *person, g access.Grant) {
	p.enable(g)
	r := p.write("a/x", `1`, `2`)
	p.runOnce(g.Function)
	_, err := p.v.Update(p.ctx(), p.owner, []vault.Change{{ID: r[0].ID, Data: Data(t, `10`)}})
	p.must(err)
	if _, texts := p.shown(p.claim(g.Function)); !slices.Equal(texts, []string{`10`}) {
		t.Errorf("it is shown %v", texts)
	}
}

func testWorkEqualToWhatIsStoredIsDroppedAndCounted(t *testing.T, p *person, g access.Grant) {
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
}

func testWorkOffTheGrantedAddressIsRefusedWhole(t *testing.T, p *person, g access.Grant) {
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
	widened.Grant.Output = Endpoint(t, "she/other")
	_, err = p.v.Commit(p.ctx(), widened, output(t, widened.Grant, `1`))
	p.wants(err, access.ErrDenied)
	p.has("she/f")
	p.has("she/other")
	p.must(p.v.Fail(p.ctx(), pl, vault.Output{}, hat.NewFault(hat.Author, "Response.WrongAddress", "x")))
	if r, err := p.v.Run(p.ctx(), p.owner, pl.Run); err != nil || r.State != vault.RunRefused {
		t.Errorf("the run is %s, %v", r.State, err)
	}
}

func testWorkOfARunIsCommittedOnce(t *testing.T, p *person, g access.Grant) {
	p.enable(g)
	p.write("a/x", `1`)
	pl := p.claim(g.Function)
	p.commit(pl, `"once"`)
	_, err := p.v.Commit(p.ctx(), pl, output(t, g, `"twice"`))
	p.wants(err, vault.ErrStale)
	p.wants(p.v.Abandon(p.ctx(), pl), vault.ErrStale)
	p.has("she/f", `"once"`)
}

func testWorkOfAZombieIsStale(t *testing.T, p *person, g access.Grant) {
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
}

func testWorkLateButNotReplacedIsTaken(t *testing.T, p *person, g access.Grant) {
	p.enable(g)
	p.write("a/x", `1`)
	pl := p.claim(g.Function)
	p.clock.move(10 * time.Minute)
	p.commit(pl, `"late"`)
	p.has("she/f", `"late"`)
}

func testWorkInterruptedByTheEndOfTheServerIsDueAtOnce(t *testing.T, p *person, g access.Grant) {
	p.enable(g)
	p.write("a/x", `1`)
	lost := p.claim(g.Function)
	p.reopen()
	p.isDue() // same start of the server: the run may still be in progress
	p.restart()
	p.isDue("f")
	if r, err := p.v.Run(p.ctx(), p.owner, lost.Run); err != nil || r.State != vault.RunAbandoned {
		t.Errorf("the run is %s, %v", r.State, err)
	}
	if s := p.state(g.Function); s.Front == nil || s.Front.Attempt != 1 || s.Front.Fault == nil || !s.Started.IsZero() {
		t.Errorf("got %+v", s.Front)
	}
	_, err := p.v.Commit(p.ctx(), lost, output(t, g, `"lost"`))
	p.wants(err, vault.ErrStale)
	for range 100 { // the server goes down during each run
		if len(p.due()) == 0 {
			break
		}
		p.claim(g.Function)
		p.restart()
	}
	if s := p.state(g.Function); s.Front != nil || len(s.Ranges) != 1 || !s.Ranges[0].Parked {
		t.Errorf("it goes on for ever: %+v", s)
	}
}

func testWorkGivenBackIsAsIfUntouched(t *testing.T, p *person, g access.Grant) {
	p.enable(g)
	p.write("a/x", `1`)
	p.must(p.v.Abandon(p.ctx(), p.claim(g.Function)))
	if s := p.state(g.Function); s.Front.Attempt != 0 || s.Front.Fault != nil {
		t.Errorf("got %+v", s.Front)
	}
	if pl := p.claim(g.Function); pl.Attempt != 1 {
		t.Errorf("the next attempt is number %d", pl.Attempt)
	}
}

func testWorkThatFailsWaitsLongerEachTimeThenForSomebody(t *testing.T, p *person, g access.Grant) {
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
		if len(s.Ranges) > 0 {
			break
		}
		if s.Front == nil || s.Front.Fault == nil || *s.Front.Fault != *fault || s.Front.Run != pl.Run || !s.LastExecution.IsZero() {
			t.Fatalf("pending is %+v", s.Front)
		}
		pause := s.Front.NotBefore.Sub(p.clock.now())
		if pause <= last/2 {
			t.Errorf("after attempt %d the pause is %v, before it was %v", attempts+1, pause, last)
		}
		last = pause
		p.isDue()
		p.write("a/x", fmt.Sprintf(`"during pause %d"`, attempts))
		p.isDue() // new data does not shorten the pause
		p.clock.move(pause)
		p.isDue("f")
	}
	// Data that came during the pauses has not failed since the first attempt, so it has a run of its own
	// now.
	s := p.state(g.Function)
	if len(s.Ranges) != 1 || s.Ranges[0].After != 0 || s.Ranges[0].Upto != 1 || !s.Ranges[0].Parked || s.Cursor != 1 || s.Front == nil || s.Front.Attempt != 0 {
		t.Fatalf("parked are %+v, behind them %+v", s.Ranges, s.Front)
	}
	pl := p.claim(g.Function)
	if _, texts := p.shown(pl); len(texts) != attempts || texts[0] != `"during pause 0"` || pl.Attempt != 1 {
		t.Errorf("attempt %d is shown %v", pl.Attempt, texts)
	}
	p.commit(pl, `"newer"`)
	p.clock.move(365 * 24 * time.Hour)
	p.isDue()
	_, err := p.tryClaim(g.Function, plan.ByData, false)
	p.wants(err, vault.ErrNothingDue)
	p.write("a/x", `"newest"`)
	p.isDue("f")
	if _, texts := p.shown(p.runOnceAfter(g.Function, `"newest"`)); !slices.Equal(texts, []string{`"newest"`}) {
		t.Errorf("then it is shown %v", texts)
	}
	p.must(p.v.Replay(p.ctx(), p.owner, s.Ranges[0].Run))
	p.isDue("f")
	again := p.runOnceAfter(g.Function, `"at last"`)
	if _, texts := p.shown(again); !slices.Equal(texts, []string{`1`}) || again.Cause != plan.ByReplay {
		t.Errorf("by %s it is shown %v", again.Cause, texts)
	}
	if after := p.state(g.Function); after.Front != nil || after.Ranges != nil || after.Cursor != p.last() {
		t.Errorf("at the end %+v", after)
	}
	runs, err := p.v.Runs(p.ctx(), p.owner, g.Function, hat.RunID{}, 4)
	p.must(err)
	if len(runs) != 4 || runs[0].State != vault.RunCommitted || runs[3].State != vault.RunFailed || runs[3].Log != nil {
		t.Fatalf("the newest runs are %+v", runs)
	}
	older, err := p.v.Runs(p.ctx(), p.owner, hat.FunctionID{}, runs[3].Plan.Run, 100)
	if err != nil || len(older) != attempts {
		t.Errorf("%d older runs, %v", len(older), err)
	}
}

func testWorkThatFailsForAReasonOfTheOperatorsIsTriedAgainUntilItIsMended(t *testing.T, p *person, g access.Grant) {
	p.enable(g)
	in := p.write("a/x", `1`)
	full := hat.NewFault(hat.Operator, "Vault.Full", "no room left on the disk")
	exited := hat.NewFault(hat.Author, "Runtime.ExitError", "it exited")
	held := func(parked, stalled int) {
		t.Helper()
		if gotParked, gotStalled, err := p.v.Parked(p.ctx()); err != nil || gotParked != parked || gotStalled != stalled {
			t.Errorf("%d parked, %d stalled, %v; want %d and %d", gotParked, gotStalled, err, parked, stalled)
		}
	}
	held(0, 0)
	attempts := 0
	again := func(f *hat.Fault) {
		t.Helper()
		attempts++
		pl := p.claim(g.Function)
		if pl.Attempt != attempts || pl.After != 0 {
			t.Fatalf("attempt %d is number %d after %d", attempts, pl.Attempt, pl.After)
		}
		p.must(p.v.Fail(p.ctx(), pl, vault.Output{}, f))
		s := p.state(g.Function)
		if s.Front == nil || s.Front.Parked || s.Ranges != nil {
			t.Fatalf("after attempt %d it waits for a person: %+v", attempts, s)
		}
		pause := s.Front.NotBefore.Sub(p.clock.now())
		if pause <= 0 || f == full && pause > 10*time.Minute {
			t.Errorf("after attempt %d the pause is %v", attempts, pause)
		}
		p.clock.move(pause)
	}
	for range 100 {
		again(full)
	}
	held(0, 1)
	p.restart()
	held(0, 1)
	for range 4 { // faults of the function itself; the next one is the last
		again(exited)
		held(0, 0)
		again(full)
		held(0, 1)
	}
	p.must(p.v.Fail(p.ctx(), p.claim(g.Function), vault.Output{}, exited))
	held(1, 0)
	p.grounds(g.Function, fmt.Sprintf("0-%d parked", in[0].Seq))
	p.write("a/x", `2`)
	p.clock.move(time.Hour)
	p.runOnceAfter(g.Function, `"newer"`)
	p.must(p.v.Replay(p.ctx(), p.owner, p.state(g.Function).Ranges[0].Run))
	p.runOnceAfter(g.Function, `"mended"`)
	held(0, 0)
}

func testWorkOfAPeriodicFunctionWaitsForItsTimeNotForMoreData(t *testing.T, p *person, _ access.Grant) {
	g := p.grant("daily", daily(t), "she/daily", "a/x")
	p.enable(g)
	p.clock.move(48 * time.Hour)
	p.isDue() // it does not run without data
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
}

func testWorkOfAManualFunctionWaitsForSomebody(t *testing.T, p *person, _ access.Grant) {
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
	if s := p.state(g.Function); s.Front != nil {
		t.Errorf("pending is %+v", s.Front)
	}
}

func testWorkMayLinkWhatWasErasedMeanwhile(t *testing.T, p *person, g access.Grant) {
	p.enable(g)
	in := p.write("a/x", `1`)
	pl := p.claim(g.Function)
	p.must(p.v.Erase(p.ctx(), p.owner, []hat.RecordID{in[0].ID}))
	out := output(t, g, `"late"`)
	out.Responses[0].Linked = []hat.RecordID{in[0].ID}
	if _, err := p.v.Commit(p.ctx(), pl, out); err != nil {
		t.Error(err)
	}
}
