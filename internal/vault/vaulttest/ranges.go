package vaulttest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"she/internal/access"
	"she/internal/bundle"
	"she/internal/hat"
	"she/internal/plan"
	"she/internal/vault"
)

// ground prints ranges as "after-upto", with their restrictions.
func ground(s vault.FunctionState) (all []string) {
	for _, r := range s.Ranges {
		text := fmt.Sprintf("%d-%d", r.After, r.Upto)
		for _, e := range r.Part.Only {
			text += " " + e.String()
		}
		if r.Parked {
			text += " parked"
		}
		if !r.Replaces.IsZero() {
			text += " again"
		}
		all = append(all, text)
	}
	return all
}

func (p *person) grounds(f hat.FunctionID, want ...string) {
	p.Helper()
	if got := ground(p.state(f)); !slices.Equal(got, want) {
		p.Errorf("the ranges are %q, want %q", got, want)
	}
}

// gives claims, checks what the function is shown, and commits.
func (p *person) gives(f hat.FunctionID, want ...string) plan.Plan {
	p.Helper()
	pl := p.claim(f)
	if _, texts := p.shown(pl); !slices.Equal(texts, want) {
		p.Errorf("it is shown %v, want %v", texts, want)
	}
	p.commit(pl, fmt.Sprintf("%q", pl.Run))
	return pl
}

func (p *person) fail(pl plan.Plan, fault *hat.Fault) {
	p.Helper()
	p.must(p.v.Fail(p.ctx(), pl, vault.Output{}, fault))
}

// tooLarge is a fault that another attempt can't mend.
var tooLarge = hat.NewFault(hat.Author, plan.CodeRequestTooLarge, "x")

func testRanges(t *testing.T, fresh func(testing.TB) Opener) {
	run := grantedStories(t, fresh)
	run("parked work does not hold up newer data", testRangesParkedWorkDoesNotHoldUpNewerData)
	run("what fails alone is tried together with what is parked right before it", testRangesWhatFailsAloneIsTriedTogetherWithWhatIsParkedRightBeforeIt)
	run("what is parked one after the other becomes one range", testRangesWhatIsParkedOneAfterTheOtherBecomesOneRange)
	run("what can never be asked about is parked at once, by itself", testRangesWhatCanNeverBeAskedAboutIsParkedAtOnceByItself)
	run("a manual function parks only what is too large", testRangesAManualFunctionParksOnlyWhatIsTooLarge)
	run("in order, what is parked holds up what comes", testRangesInOrderWhatIsParkedHoldsUpWhatComes)
	run("skipped work is not given any more", testRangesSkippedWorkIsNotGivenAnyMore)
	run("fewer records at a time are no failure", testRangesFewerRecordsAtATimeAreNoFailure)
	run("what is granted later is shown too", testRangesWhatIsGrantedLaterIsShownToo)
	run("what a looser filter lets through is shown, and nothing else of what was there", testRangesWhatALooserFilterLetsThroughIsShownAndNothingElseOfWhatWasThere)
	run("a field more of what was shown is no reason to show it again", testRangesAFieldMoreOfWhatWasShownIsNoReasonToShowItAgain)
	run("a manual function is given it after somebody asked", testRangesAManualFunctionIsGivenItAfterSomebodyAsked)
	run("of several the oldest is first, and each has its own failures", testRangesOfSeveralTheOldestIsFirstAndEachHasItsOwnFailures)
}

func testRangesParkedWorkDoesNotHoldUpNewerData(t *testing.T, p *person, g access.Grant) {
	p.enable(g)
	p.write("a/x", `1`)
	p.park(g.Function)
	p.grounds(g.Function, "0-1 parked")
	p.write("a/x", `2`)
	p.isDue("f")
	p.gives(g.Function, `2`)
	p.isDue()
	p.grounds(g.Function, "0-1 parked")
}

func testRangesWhatFailsAloneIsTriedTogetherWithWhatIsParkedRightBeforeIt(t *testing.T, p *person, g access.Grant) {
	p.enable(g)
	p.write("a/x", `1`)
	p.park(g.Function)
	p.write("a/x", `2`)
	alone := p.claim(g.Function)
	if alone.After != 1 {
		t.Errorf("the first attempt begins after %d", alone.After)
	}
	p.fail(alone, brokenCode)
	p.clock.move(3 * time.Hour)
	both := p.claim(g.Function)
	if _, texts := p.shown(both); !slices.Equal(texts, []string{`1`, `2`}) {
		t.Errorf("the second attempt is shown %v", texts)
	}
	p.fail(both, brokenCode)
	p.clock.move(3 * time.Hour)
	third := p.claim(g.Function)
	if third.After != 1 {
		t.Errorf("the third attempt begins after %d", third.After)
	}
	p.fail(third, brokenCode)
	p.clock.move(3 * time.Hour)
	p.gives(g.Function, `1`, `2`)
	p.grounds(g.Function)
	p.isDue()
}

func testRangesWhatIsParkedOneAfterTheOtherBecomesOneRange(t *testing.T, p *person, g access.Grant) {
	p.enable(g)
	for i := range 3 {
		p.write("a/x", fmt.Sprint(i))
		p.park(g.Function)
	}
	p.grounds(g.Function, "0-3 parked")
	p.write("a/x", `3`)
	asked, err := p.tryClaim(g.Function, plan.ByRequest, false)
	p.must(err)
	if _, texts := p.shown(asked); len(texts) != 4 {
		t.Errorf("who asks gets %v", texts)
	}
	p.fail(asked, brokenCode)
	p.clock.move(3 * time.Hour)
	asked, err = p.tryClaim(g.Function, plan.ByRequest, false)
	p.must(err)
	asked.Upto = 2 // the plan was split
	p.commit(asked, `"part"`)
	p.grounds(g.Function, "2-3")
	if s := p.state(g.Function); s.Cursor != 3 || s.Front == nil {
		t.Errorf("after a part of it %+v", s)
	}
	p.gives(g.Function, `2`)
	p.gives(g.Function, `3`)
	p.grounds(g.Function)
}

func testRangesWhatCanNeverBeAskedAboutIsParkedAtOnceByItself(t *testing.T, p *person, g access.Grant) {
	p.enable(g)
	p.write("a/x", `"too large"`, `1`, `2`)
	pl := p.claim(g.Function)
	pl.Upto = 1
	p.fail(pl, tooLarge)
	p.grounds(g.Function, "0-1 parked")
	p.isDue("f")
	p.gives(g.Function, `1`, `2`)
	// It is not claimed together with other data either.
	p.write("a/x", `3`)
	p.fail(p.claim(g.Function), brokenCode)
	p.clock.move(time.Hour)
	p.gives(g.Function, `3`)
	p.grounds(g.Function, "0-1 parked")
}

func testRangesAManualFunctionParksOnlyWhatIsTooLarge(t *testing.T, p *person, _ access.Grant) {
	g := p.grant("asked", manual, "she/asked", "a/x")
	p.enable(g)
	p.write("a/x", `1`)
	for _, fault := range []*hat.Fault{brokenCode, tooLarge} {
		pl, err := p.tryClaim(g.Function, plan.ByRequest, false)
		p.must(err)
		p.fail(pl, fault)
	}
	p.grounds(g.Function, "0-1 parked")
	p.write("a/x", `2`)
	p.isDue()
	pl, err := p.tryClaim(g.Function, plan.ByRequest, false)
	p.must(err)
	if _, texts := p.shown(pl); !slices.Equal(texts, []string{`2`}) {
		t.Errorf("then it is shown %v", texts)
	}
	p.commit(pl)
}

func testRangesInOrderWhatIsParkedHoldsUpWhatComes(t *testing.T, p *person, g access.Grant) {
	g.InOrder = true
	p.enable(g)
	p.write("a/x", `1`)
	last := p.park(g.Function)
	p.write("a/x", `2`)
	p.clock.move(24 * time.Hour)
	p.isDue()
	p.grounds(g.Function)
	if s := p.state(g.Function); !s.Grant.InOrder || s.Front == nil || !s.Front.Parked || s.Front.Run != last.Run || s.Cursor != 0 {
		t.Fatalf("got %+v", s)
	}
	p.must(p.v.Replay(p.ctx(), p.owner, last.Run))
	p.fail(p.claim(g.Function), brokenCode)
	p.clock.move(time.Hour)
	p.must(p.v.Skip(p.ctx(), p.owner, last.Run))
	p.isDue("f")
	p.gives(g.Function, `2`)
}

func testRangesSkippedWorkIsNotGivenAnyMore(t *testing.T, p *person, g access.Grant) {
	p.enable(g)
	p.write("a/x", `1`)
	last := p.park(g.Function)
	p.wants(p.v.Skip(p.ctx(), app(p, reads("a")), last.Run), access.ErrDenied)
	p.must(p.v.Skip(p.ctx(), p.owner, last.Run))
	p.grounds(g.Function)
	p.wants(p.v.Skip(p.ctx(), p.owner, last.Run), vault.ErrNothingDue)
	p.wants(p.v.Replay(p.ctx(), p.owner, last.Run), vault.ErrNothingDue)
	p.write("a/x", `2`)
	done := p.gives(g.Function, `2`)
	p.wants(p.v.Skip(p.ctx(), p.owner, done.Run), vault.ErrNothingDue)
	p.wants(p.v.Skip(p.ctx(), p.owner, hat.NewRunID()), vault.ErrNotFound)
}

func testRangesFewerRecordsAtATimeAreNoFailure(t *testing.T, p *person, g access.Grant) {
	p.enable(g)
	p.write("a/x", `1`, `2`, `3`, `4`)
	pl := p.claim(g.Function)
	pl.Most = 2
	p.fail(pl, hat.NewFault(hat.Author, "Answer.TooLarge", "x"))
	p.isDue("f")
	half := p.claim(g.Function)
	if half.Most != 2 || half.Attempt != 1 || half.Upto != 4 {
		t.Errorf("then it is %+v", half)
	}
	half.Upto = 2
	p.commit(half, `"half"`)
	rest := p.claim(g.Function)
	if rest.Most != 2 || rest.After != 2 {
		t.Errorf("the rest is %+v", rest)
	}
	p.commit(rest)
	p.write("a/x", `5`)
	if pl := p.claim(g.Function); pl.Most != 0 {
		t.Errorf("what comes later is %+v", pl)
	}
}

func testRangesWhatIsGrantedLaterIsShownToo(t *testing.T, p *person, g access.Grant) {
	p.write("b/x", `"old"`)
	p.clock.move(48 * time.Hour)
	p.write("b/x", `"b"`)
	p.write("a/x", `1`)
	p.enable(g)
	p.gives(g.Function, `1`)
	wider := p.grant("f", individual, "she/f", "a/x", "b/x")
	wider.Since = p.clock.now().Add(-24 * time.Hour)
	p.enable(wider)
	p.grounds(g.Function, "0-3 b/x")
	p.write("a/x", `2`)
	p.isDue("f")
	first := p.gives(g.Function, `"b"`)
	if first.LastExecution != (time.Time{}) || !first.Window.From.Equal(first.Claimed.AddDate(0, -6, 0)) {
		t.Errorf("it is told %v, %+v", first.LastExecution, first.Window)
	}
	if s := p.state(g.Function); s.Cursor != 3 || s.LastExecution.Equal(first.Claimed) && s.LastExecution.IsZero() {
		t.Errorf("afterwards %+v", s)
	}
	p.gives(g.Function, `2`)
	p.isDue()
	// A longer window makes data pending that is older than the former window.
	longer := p.grant("f", individual, "she/f", "a/x", "b/x")
	p.enable(longer)
	p.gives(g.Function, `"old"`)
	p.isDue()
	p.grounds(g.Function)
	// Narrower, and then wider again while the function is disabled.
	p.enable(g)
	_, err := p.v.Disable(p.ctx(), p.owner, g.Function)
	p.must(err)
	p.enable(wider)
	p.enable(g)
	p.grounds(g.Function)
	p.isDue()
}

func testRangesWhatALooserFilterLetsThroughIsShownAndNothingElseOfWhatWasThere(t *testing.T, p *person, g access.Grant) {
	p.write("a/x", `["0","even"]`)
	p.clock.move(48 * time.Hour)
	p.write("a/x", `["1","odd"]`, `["2","even"]`)
	strict := g
	strict.Since = p.clock.now()
	strict.Bundle.Properties = map[string]bundle.PropertyQuery{"p": onlyOdd(p, "a/x")}
	p.enable(strict)
	old := p.gives(g.Function, `["1","odd"]`)
	p.write("a/x", `["3","odd"]`, `["4","even"]`)
	p.fail(p.claim(g.Function), hat.NewFault(hat.Author, plan.CodeRequestTooLarge, "x")) // parked under the strict grant
	p.write("a/x", `["5","odd"]`, `["6","even"]`)                                        // and these are new

	g.Since = strict.Since
	p.enable(g)
	p.restart()
	p.gives(g.Function, `["2","even"]`, `["4","even"]`)
	p.gives(g.Function, `["3","odd"]`)
	p.gives(g.Function, `["5","odd"]`, `["6","even"]`)
	p.grounds(g.Function)
	p.isDue()

	// A replay covers what was covered under the strict grant.
	p.must(p.v.Replay(p.ctx(), p.owner, old.Run))
	again := p.gives(g.Function, `["1","odd"]`)
	p.isDue()
	p.must(p.v.Replay(p.ctx(), p.owner, again.Run))
	p.restart()
	p.gives(g.Function, `["1","odd"]`)

	// A longer window shows older data once, whatever the former filter was.
	p.enable(strict)
	g.Since = time.Time{}
	p.enable(g)
	p.gives(g.Function, `["2","even"]`, `["4","even"]`, `["6","even"]`) // these were left out by the former grant
	p.gives(g.Function, `["0","even"]`)
	p.isDue()
	CheckHAT(t, p.v)
}

func testRangesAFieldMoreOfWhatWasShownIsNoReasonToShowItAgain(t *testing.T, p *person, g access.Grant) {
	narrow := g
	narrow.Bundle.Properties = map[string]bundle.PropertyQuery{"p": {Endpoints: []bundle.EndpointQuery{{
		Endpoint: Endpoint(p, "a/x"), Mapping: parsed(p, func(s string) (bundle.Mapping, error) { return bundle.ParseMapping([]byte(s)) }, `{"n":"0"}`),
	}}}}
	p.enable(narrow)
	p.write("a/x", `["1","odd"]`)
	p.commit(p.claim(g.Function))
	p.enable(g)
	p.grounds(g.Function)
	p.isDue()
}

func testRangesAManualFunctionIsGivenItAfterSomebodyAsked(t *testing.T, p *person, _ access.Grant) {
	g := p.grant("asked", manual, "she/asked", "a/x")
	p.enable(g)
	p.write("b/x", `"b"`)
	p.write("a/x", `1`)
	ask := func(want ...string) {
		t.Helper()
		pl, err := p.tryClaim(g.Function, plan.ByRequest, false)
		p.must(err)
		if _, texts := p.shown(pl); !slices.Equal(texts, want) {
			t.Errorf("it is shown %v, want %v", texts, want)
		}
		p.commit(pl, fmt.Sprintf("%q", pl.Run))
	}
	ask(`1`)
	p.enable(p.grant("asked", manual, "she/asked", "a/x", "b/x"))
	p.isDue()
	ask()
	p.isDue("asked")
	p.gives(g.Function, `"b"`)
	// A function that asks for everything gets everything.
	p.write("c/x", `"c"`)
	p.enable(p.grant("asked", manual, "she/asked", "a/x", "b/x", "c/x"))
	all, err := p.tryClaim(g.Function, plan.ByRequest, true)
	p.must(err)
	p.commit(all)
	p.grounds(g.Function)
	p.isDue()
}

func testRangesOfSeveralTheOldestIsFirstAndEachHasItsOwnFailures(t *testing.T, p *person, g access.Grant) {
	p.write("b/x", `"b"`)
	p.write("a/x", `1`)
	p.enable(g)
	p.gives(g.Function, `1`)
	p.enable(p.grant("f", individual, "she/f", "a/x", "b/x"))
	p.clock.move(time.Second)
	p.write("a/x", `2`)
	older := p.claim(g.Function)
	p.fail(older, brokenCode)
	p.gives(g.Function, `2`)
	p.isDue()
	p.clock.move(time.Hour)
	again := p.claim(g.Function)
	if again.Range != older.Range || again.Attempt != 2 {
		t.Errorf("then %+v", again)
	}
	p.restart() // the range outlives its run
	p.gives(g.Function, `"b"`)
	p.grounds(g.Function)
}
