package vaulttest

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"testing"
	"time"

	"she/internal/access"
	"she/internal/hat"
	"she/internal/plan"
	"she/internal/receipt"
	"she/internal/vault"
)

// replay replays a run and returns the plan of the run that does it.
func (p *person) replay(of plan.Plan) plan.Plan {
	p.Helper()
	p.must(p.v.Replay(p.ctx(), p.owner, of.Run))
	pl := p.claim(of.Grant.Function)
	if pl.Cause != plan.ByReplay || pl.Replaces.IsZero() || pl.After != of.After || pl.Upto != of.Upto {
		p.Errorf("the replay of %d-%d is %+v", of.After, of.Upto, pl)
	}
	return pl
}

// former returns the data of the records that a run superseded.
func (p *person) former(by hat.RunID) (texts []string) {
	p.Helper()
	all, err := p.v.Superseded(p.ctx(), p.owner, by, 0, 1000)
	p.must(err)
	for _, s := range all {
		if s.By != by || s.Digest != s.Data.Digest() || s.Run.IsZero() || s.At.IsZero() {
			p.Errorf("superseded is %+v", s)
		}
		texts = append(texts, s.Data.JSON())
	}
	return texts
}

func testGenerations(t *testing.T, fresh func(testing.TB) Opener) {
	run := grantedStories(t, fresh)
	run("a replay takes the place of what the run wrote", testGenerationsAReplayTakesThePlaceOfWhatTheRunWrote)
	run("a replay that fails leaves what is there", testGenerationsAReplayThatFailsLeavesWhatIsThere)
	run("an equal result changes nothing", testGenerationsAnEqualResultChangesNothing)
	run("what a person changed or wrote is nobody's output", testGenerationsWhatAPersonChangedOrWroteIsNobodysOutput)
	run("a replay in parts supersedes with the last of them", testGenerationsAReplayInPartsSupersedesWithTheLastOfThem)
	run("the newest result takes the place of all before", testGenerationsTheNewestResultTakesThePlaceOfAllBefore)
	run("what was superseded is erased like any other", testGenerationsWhatWasSupersededIsErasedLikeAnyOther)
	run("of a result that replaces the last ones are kept", testGenerationsOfAResultThatReplacesTheLastOnesAreKept)
	run("several, each by itself", testGenerationsSeveralEachByItself)
	run("many at once", testGenerationsManyAtOnce)
}

func testGenerationsAReplayTakesThePlaceOfWhatTheRunWrote(t *testing.T, p *person, g access.Grant) {
	p.enable(g)
	reader := p.grant("reader", individual, "she/reader", "she/f")
	p.enable(reader)
	in := p.write("a/x", `1`, `2`)
	first := p.claim(g.Function)
	done := p.commit(first, `"same"`, `"old"`)
	p.runOnce(reader.Function, `"read"`)
	p.write("a/x", `3`)
	p.runOnce(g.Function, `"newer"`)
	p.runOnce(reader.Function)
	cursor := p.state(g.Function).Cursor
	p.clock.move(time.Second)

	second := p.replay(first)
	if ids, texts := p.shown(second); !slices.Equal(texts, []string{`1`, `2`}) || ids[0] != in[0].ID {
		t.Errorf("it is shown %v", texts)
	}
	p.has("she/f", `"same"`, `"old"`, `"newer"`) // until it commits
	p.clock.move(time.Second)
	again, err := p.v.Commit(p.ctx(), second, output(t, g, `"same"`, `"new"`, `"same"`))
	p.must(err)
	if len(again.Written) != 1 || again.Kept != 1 || again.Superseded != 1 || again.Duplicates != 1 {
		t.Errorf("committed %+v", again)
	}
	p.has("she/f", `"same"`, `"newer"`, `"new"`)
	if r, err := p.v.Record(p.ctx(), p.owner, done.Written[0].ID); err != nil || r.Run != second.Run || !r.Created.Equal(done.Written[0].Created) {
		t.Errorf("what stayed is %+v, %v", r, err)
	}
	_, err = p.v.Record(p.ctx(), p.owner, done.Written[1].ID)
	p.wants(err, vault.ErrNotFound)
	if texts := p.former(second.Run); !slices.Equal(texts, []string{`"old"`}) {
		t.Errorf("superseded are %v", texts)
	}
	if s := p.state(g.Function); s.Cursor != cursor || s.Ranges != nil || s.Front != nil || s.LastExecution.Equal(second.Claimed) {
		t.Errorf("afterwards %+v", s)
	}
	p.isDue("reader") // for the new record
	if _, texts := p.shown(p.claim(reader.Function)); !slices.Equal(texts, []string{`"new"`}) {
		t.Errorf("its reader is shown %v", texts)
	}
	r, err := p.v.Run(p.ctx(), p.owner, second.Run)
	if err != nil || r.Kept != 1 || r.Superseded != 1 || len(r.Written) != 2 || r.Plan.Replaces != first.Run {
		t.Errorf("the run is %+v, %v", r, err)
	}
	if r, err = p.v.Run(p.ctx(), p.owner, first.Run); err != nil || r.SupersededBy != second.Run {
		t.Errorf("the first is superseded by %s, %v", r.SupersededBy, err)
	}
	// Replaying the first run or the second repeats the second.
	third := p.replay(first)
	if third.Replaces != second.Run {
		t.Errorf("it replaces %s, not the newest generation", third.Replaces)
	}
	p.commit(third, `"third"`)
	p.has("she/f", `"newer"`, `"third"`)
	p.commit(p.replay(second))
	p.has("she/f", `"newer"`)
}

func testGenerationsAReplayThatFailsLeavesWhatIsThere(t *testing.T, p *person, g access.Grant) {
	p.enable(g)
	p.write("a/x", `1`)
	first := p.runOnceAfter(g.Function, `"old"`)
	p.must(p.v.Replay(p.ctx(), p.owner, first.Run))
	p.must(p.v.Replay(p.ctx(), p.owner, first.Run)) // a second call changes nothing
	p.grounds(g.Function, "0-1 again")
	last := p.park(g.Function)
	p.wants(p.v.Skip(p.ctx(), p.owner, first.Run), vault.ErrNothingDue)
	p.has("she/f", `"old"`)
	p.grounds(g.Function, "0-1 parked again")
	p.write("a/x", `2`)
	p.gives(g.Function, `2`)
	p.must(p.v.Replay(p.ctx(), p.owner, last.Run))
	p.must(p.v.Cancel(p.ctx(), p.owner, p.claim(g.Function).Run))
	p.grounds(g.Function, "0-1 parked again")
	p.must(p.v.Replay(p.ctx(), p.owner, first.Run))
	p.commit(p.claim(g.Function), `"new"`)
	if slices.Contains(p.texts("she/f"), `"old"`) || !slices.Contains(p.texts("she/f"), `"new"`) {
		t.Errorf("there are %v", p.texts("she/f"))
	}
	p.grounds(g.Function)
}

func testGenerationsAnEqualResultChangesNothing(t *testing.T, p *person, g access.Grant) {
	p.enable(g)
	p.write("a/x", `1`)
	first := p.claim(g.Function)
	was := p.commit(first, `"a"`, `"b"`).Written
	again := p.commit(p.replay(first), `"a"`, `"b"`)
	if len(again.Written) != 0 || again.Kept != 2 || again.Superseded != 0 {
		t.Errorf("committed %+v", again)
	}
	for _, r := range was {
		if _, err := p.v.Record(p.ctx(), p.owner, r.ID); err != nil {
			t.Error(err)
		}
	}
}

func testGenerationsWhatAPersonChangedOrWroteIsNobodysOutput(t *testing.T, p *person, g access.Grant) {
	p.enable(g)
	p.write("a/x", `1`)
	p.write("she/f", `"mine"`)
	first := p.claim(g.Function)
	was := p.commit(first, `"a"`, `"b"`).Written
	_, err := p.v.Update(p.ctx(), p.owner, []vault.Change{{ID: was[0].ID, Data: Data(t, `"mended"`)}})
	p.must(err)
	again := p.commit(p.replay(first), `"mine"`, `"c"`)
	if again.Duplicates != 1 || again.Kept != 0 || again.Superseded != 1 {
		t.Errorf("committed %+v", again)
	}
	p.has("she/f", `"mine"`, `"mended"`, `"c"`)
}

func testGenerationsAReplayInPartsSupersedesWithTheLastOfThem(t *testing.T, p *person, g access.Grant) {
	p.enable(g)
	p.write("a/x", `1`, `2`)
	first := p.runOnceAfter(g.Function, `"one"`, `"two"`, `"sum"`)
	part := p.replay(first)
	part.Upto = 1
	p.commit(part, `"one"`)
	p.has("she/f", `"one"`, `"two"`, `"sum"`)
	p.must(p.v.Replay(p.ctx(), p.owner, first.Run)) // it continues where it was
	rest := p.claim(g.Function)
	if rest.After != 1 || rest.Replaces != first.Run {
		t.Errorf("the rest is %+v", rest)
	}
	p.commit(rest, `"two"`)
	p.has("she/f", `"one"`, `"two"`)
	p.must(p.v.Replay(p.ctx(), p.owner, first.Run))
	p.grounds(g.Function, "0-1 again", "1-2 again")
	p.commit(p.claim(g.Function))
	p.commit(p.claim(g.Function))
	p.has("she/f")
}

func testGenerationsTheNewestResultTakesThePlaceOfAllBefore(t *testing.T, p *person, g access.Grant) {
	g.Mode = hat.ReplaceOutput
	p.enable(g)
	p.write("she/f", `"mine"`)
	p.write("a/x", `1`)
	first := p.runOnceAfter(g.Function, `"a"`, `"b"`)
	p.write("a/x", `2`)
	second := p.claim(g.Function)
	done := p.commit(second, `"b"`, `"c"`)
	if done.Kept != 1 || done.Superseded != 1 || len(done.Written) != 1 {
		t.Errorf("committed %+v", done)
	}
	p.has("she/f", `"mine"`, `"b"`, `"c"`)
	p.write("a/x", `3`)
	third := p.runOnceAfter(g.Function) // an empty result does not count as a result
	p.has("she/f", `"mine"`, `"b"`, `"c"`)
	p.must(p.v.Replay(p.ctx(), p.owner, first.Run))
	again := p.claim(g.Function)
	if again.Replaces != third.Run {
		t.Errorf("it replaces %s", again.Replaces)
	}
	p.commit(again, `"d"`)
	p.has("she/f", `"mine"`, `"d"`)
	if texts := p.former(again.Run); !slices.Equal(texts, []string{`"b"`, `"c"`}) {
		t.Errorf("superseded are %v", texts)
	}
}

func testGenerationsWhatWasSupersededIsErasedLikeAnyOther(t *testing.T, p *person, g access.Grant) {
	p.enable(g)
	p.write("a/x", `1`)
	first := p.claim(g.Function)
	was := p.commit(first, `"a"`, `"b"`, `"c"`).Written
	second := p.replay(first)
	p.commit(second, `"new"`)
	blind, err := p.v.Superseded(p.ctx(), access.Operator(), second.Run, 0, 2)
	if err != nil || len(blind) != 2 || !blind[0].Data.IsZero() {
		t.Errorf("the operator sees %+v, %v", blind, err)
	}
	rest, err := p.v.Superseded(p.ctx(), p.owner, second.Run, blind[1].Number, 0)
	if err != nil || len(rest) != 1 || rest[0].ID != was[2].ID {
		t.Errorf("the next page is %+v, %v", rest, err)
	}
	_, err = p.v.Superseded(p.ctx(), app(p, reads("she")), second.Run, 0, 1)
	p.wants(err, access.ErrDenied)
	p.wants(p.v.Erase(p.ctx(), app(p, reads("she")), []hat.RecordID{was[0].ID}), access.ErrDenied)
	p.must(p.v.Erase(p.ctx(), p.owner, []hat.RecordID{was[0].ID}))
	p.wants(p.v.Erase(p.ctx(), p.owner, []hat.RecordID{was[0].ID}), vault.ErrNotFound)
	if texts := p.former(second.Run); !slices.Equal(texts, []string{`"b"`, `"c"`}) {
		t.Errorf("then superseded are %v", texts)
	}
	p.must(p.v.EraseEndpoint(p.ctx(), p.owner, g.Output))
	if texts := p.former(second.Run); texts != nil {
		t.Errorf("at last superseded are %v", texts)
	}
	p.has("she/f")
}

func testGenerationsOfAResultThatReplacesTheLastOnesAreKept(t *testing.T, p *person, g access.Grant) {
	g.Mode = hat.ReplaceOutput
	p.enable(g)
	// Another function that writes to the same endpoint makes no difference.
	other := p.grant("g", individual, "she/f", "b/x")
	other.Mode = hat.ReplaceOutput
	p.enable(other)
	for _, text := range []string{`"b1"`, `"b2"`} {
		p.write("b/x", text)
		p.runOnce(other.Function, text)
	}
	const runs = vault.KeptResults + 7
	var by []plan.Plan
	for i := range runs {
		p.write("a/x", fmt.Sprint(i))
		by = append(by, p.runOnceAfter(g.Function, fmt.Sprintf(`"%d"`, i), fmt.Sprintf(`"%d again"`, i)))
		if i == runs/2 {
			p.restart()
		}
	}
	for i, pl := range by {
		var want []string
		if i > 0 && i >= runs-vault.KeptResults {
			want = []string{fmt.Sprintf(`"%d"`, i-1), fmt.Sprintf(`"%d again"`, i-1)}
		}
		if texts := p.former(pl.Run); !slices.Equal(texts, want) {
			t.Errorf("run %d has superseded %v, want %v", i, texts, want)
		}
		// What was stored before is still shown.
		r, err := p.v.Run(p.ctx(), p.owner, pl.Run)
		p.must(err)
		if i > 0 && r.Superseded != 2 || len(r.Written) != 2 {
			t.Errorf("run %d wrote %d records and superseded %d", i, len(r.Written), r.Superseded)
		}
	}
	p.has("she/f", `"b2"`, fmt.Sprintf(`"%d"`, runs-1), fmt.Sprintf(`"%d again"`, runs-1))
	forgotten := 0
	p.must(p.v.Receipts(p.ctx(), p.owner, 0, func(texts iter.Seq2[[]byte, error], _ receipt.Head) error {
		for text, err := range texts {
			p.must(err)
			e, err := receipt.Parse(text)
			p.must(err)
			if e.Forgotten != nil {
				forgotten += e.Forgotten.Count
			}
		}
		return nil
	}))
	if want := 2 * (runs - 1 - vault.KeptResults); forgotten != want {
		t.Errorf("%d records are forgotten by the receipts, want %d", forgotten, want)
	}
}

func testGenerationsSeveralEachByItself(t *testing.T, p *person, g access.Grant) {
	p.enable(g)
	var ids []hat.RunID
	for _, text := range []string{`1`, `2`, `3`} {
		p.write("a/x", text)
		ids = append(ids, p.runOnceAfter(g.Function, text).Run)
	}
	p.write("a/x", `4`)
	failed := p.claim(g.Function)
	p.fail(failed, brokenCode)
	p.clock.move(time.Hour)
	fourth := p.gives(g.Function, `4`)
	p.must(p.v.Replay(p.ctx(), p.owner, ids[0]))
	flying := p.claim(g.Function) // the run is in flight

	off := p.grant("off", individual, "she/off", "b/x")
	p.enable(off)
	p.write("b/x", `1`)
	late := p.claim(off.Function)
	_, err := p.v.Disable(p.ctx(), p.owner, off.Function)
	p.must(err)

	_, err = p.v.ReplayEach(p.ctx(), app(p, reads("a")), ids)
	p.wants(err, access.ErrDenied)
	_, err = p.v.ReplayEach(p.ctx(), p.owner, make([]hat.RunID, vault.MostReplays+1))
	p.wants(err, vault.ErrTooMany)
	outcomes, err := p.v.ReplayEach(p.ctx(), p.owner, []hat.RunID{ids[1], failed.Run, hat.NewRunID(), ids[0], late.Run, ids[2], ids[1]})
	p.must(err)
	for i, want := range []error{nil, vault.ErrNothingDue, vault.ErrNotFound, vault.ErrBusy, vault.ErrNotEnabled, nil, nil} {
		if !errors.Is(outcomes[i], want) {
			t.Errorf("outcome %d is %v, want %v", i, outcomes[i], want)
		}
	}
	p.restart() // the replays are stored
	p.must(p.v.Replay(p.ctx(), p.owner, flying.Run))
	for len(p.due()) > 0 {
		p.runOnce(g.Function)
	}
	p.has("she/f", fmt.Sprintf("%q", fourth.Run))
}

func testGenerationsManyAtOnce(t *testing.T, p *person, g access.Grant) {
	p.enable(g)
	var plans []plan.Plan
	for _, text := range []string{`1`, `2`, `3`} {
		p.write("a/x", text)
		plans = append(plans, p.runOnceAfter(g.Function, text))
		p.clock.move(time.Hour)
	}
	p.write("a/x", `4`)
	p.park(g.Function)
	due, err := p.v.ReplayMany(p.ctx(), p.owner, g.Function, vault.ReplayFilter{Failed: true})
	if err != nil || due != 1 {
		t.Errorf("of what failed %d, %v", due, err)
	}
	p.gives(g.Function, `4`)
	since := vault.ReplayFilter{Since: plans[1].Claimed}
	if due, err = p.v.ReplayMany(p.ctx(), p.owner, g.Function, since); err != nil || due != 3 {
		t.Errorf("since then %d, %v", due, err)
	}
	if due, err = p.v.ReplayMany(p.ctx(), p.owner, g.Function, since); err != nil || due != 3 {
		t.Errorf("once more %d, %v", due, err)
	}
	for len(p.due()) > 0 {
		p.runOnce(g.Function, `"again"`)
	}
	p.has("she/f", `1`, `"again"`)
	_, err = p.v.ReplayMany(p.ctx(), app(p, reads("a")), g.Function, since)
	p.wants(err, access.ErrDenied)
	_, err = p.v.ReplayMany(p.ctx(), p.owner, parsed(t, hat.ParseFunctionID, "none"), since)
	p.wants(err, vault.ErrNotFound)
	_, err = p.v.Disable(p.ctx(), p.owner, g.Function)
	p.must(err)
	_, err = p.v.ReplayMany(p.ctx(), p.owner, g.Function, since)
	p.wants(err, vault.ErrNotEnabled)
}
