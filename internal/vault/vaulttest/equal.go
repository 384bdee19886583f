package vaulttest

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"she/internal/access"
	"she/internal/bundle"
	"she/internal/hat"
	"she/internal/plan"
	"she/internal/receipt"
	"she/internal/vault"
)

// window runs the function over one more record.
func (p *person) window(f hat.FunctionID, texts ...string) (plan.Plan, vault.Committed) {
	p.Helper()
	p.write("a/x", fmt.Sprintf(`"window %s"`, hat.NewRecordID()))
	pl := p.claim(f)
	return pl, p.commit(pl, texts...)
}

// idsOf returns the ids of the records with a text at an endpoint, in order of creation.
func (p *person) idsOf(e, text string) (ids []hat.RecordID) {
	p.Helper()
	records, err := p.scan(p.owner, e, bundle.Want{})
	p.must(err)
	for _, r := range records {
		if r.Data.JSON() == text {
			ids = append(ids, r.ID)
		}
	}
	return ids
}

// wantsCounts compares the figures of a run with those expected.
func wantsCounts(t *testing.T, p *person, pl plan.Plan, written, kept, duplicates, superseded int) {
	t.Helper()
	r, err := p.v.Run(p.ctx(), p.owner, pl.Run)
	p.must(err)
	if len(r.Written) != written || r.Kept != kept || r.Duplicates != duplicates || r.Superseded != superseded {
		t.Errorf("the run wrote %d, kept %d, dropped %d and superseded %d; want %d, %d, %d, %d",
			len(r.Written), r.Kept, r.Duplicates, r.Superseded, written, kept, duplicates, superseded)
	}
}

func testEqualResults(t *testing.T, fresh func(testing.TB) Opener) {
	granted := grantedStories(t, fresh)
	run := func(name string, mode hat.EqualMode, f func(t *testing.T, p *person, g access.Grant)) {
		granted(name, func(t *testing.T, p *person, g access.Grant) {
			g.Equal = mode
			f(t, p, g)
		})
	}

	run("of two runs are one record", hat.DropEqual, testEqualResultsOfTwoRunsAreOneRecord)
	run("of two runs are two records, if they are kept", hat.KeepEqual, testEqualResultsOfTwoRunsAreTwoRecordsIfTheyAreKept)
	run("are kept for each of many runs, and erased one by one", hat.KeepEqual, testEqualResultsAreKeptForEachOfManyRunsAndErasedOneByOne)
	run("stay whatever a person writes there", hat.KeepEqual, testEqualResultsStayWhateverAPersonWritesThere)
	run("of a run that is replayed are replaced, not added to", hat.KeepEqual, testEqualResultsOfARunThatIsReplayedAreReplacedNotAddedTo)
	run("of a replay in parts are one for each part", hat.KeepEqual, testEqualResultsOfAReplayInPartsAreOneForEachPart)
	run("are of one run, however often it is tried", hat.KeepEqual, testEqualResultsAreOfOneRunHoweverOftenItIsTried)
	run("that replace the former one are new each time", hat.KeepEqual, testEqualResultsThatReplaceTheFormerOneAreNewEachTime)
	run("are dropped again once the owner agrees to that", hat.KeepEqual, testEqualResultsAreDroppedAgainOnceTheOwnerAgreesToThat)
	run("are part of the grant and of its receipt", hat.KeepEqual, testEqualResultsArePartOfTheGrantAndOfItsReceipt)
	testEqualResultsCrash(t, fresh)
}

func testEqualResultsOfTwoRunsAreOneRecord(t *testing.T, p *person, g access.Grant) {
	p.enable(g)
	first, _ := p.window(g.Function, `"same"`, `"same"`, `"one"`)
	second, _ := p.window(g.Function, `"same"`, `"two"`)
	p.has("she/f", `"same"`, `"one"`, `"two"`)
	wantsCounts(t, p, first, 2, 0, 1, 0)
	wantsCounts(t, p, second, 1, 0, 1, 0)
}

func testEqualResultsOfTwoRunsAreTwoRecordsIfTheyAreKept(t *testing.T, p *person, g access.Grant) {
	if s := p.enable(g); s.Grant.Equal != hat.KeepEqual {
		t.Errorf("granted is %+v", s.Grant)
	}
	reader := p.grant("reader", individual, "she/reader", "she/f")
	p.enable(reader)
	first, _ := p.window(g.Function, `"same"`, `"one"`)
	p.runOnce(reader.Function)
	p.clock.move(time.Hour)
	second, _ := p.window(g.Function, `"same"`, `"same"`, `"two"`)
	p.has("she/f", `"same"`, `"one"`, `"same"`, `"two"`)
	wantsCounts(t, p, first, 2, 0, 0, 0)
	wantsCounts(t, p, second, 2, 0, 1, 0) // equal results of one answer are stored once
	records, err := p.scan(p.owner, "she/f", bundle.Want{})
	p.must(err)
	if records[0].Run != first.Run || records[2].Run != second.Run || records[2].Created.Sub(records[0].Created) != time.Hour {
		t.Errorf("stored are %+v", records)
	}
	// Functions that read the output get each record.
	if _, texts := p.shown(p.claim(reader.Function)); !slices.Equal(texts, []string{`"same"`, `"two"`}) {
		t.Errorf("its reader is shown %v", texts)
	}
}

func testEqualResultsAreKeptForEachOfManyRunsAndErasedOneByOne(t *testing.T, p *person, g access.Grant) {
	p.enable(g)
	for i := range 10 {
		if i == 5 {
			p.restart()
		}
		p.window(g.Function, `"same"`)
	}
	ids := p.idsOf("she/f", `"same"`)
	if len(ids) != 10 {
		t.Errorf("there are %d", len(ids))
	}
	// Whichever record is erased, even the first, the others stay and the next one is stored.
	for _, i := range []int{0, 4, 9} {
		p.must(p.v.Erase(p.ctx(), p.owner, ids[i:i+1]))
		ids = slices.Delete(ids, i, i+1)
		if left := p.idsOf("she/f", `"same"`); !slices.Equal(left, ids) {
			t.Errorf("there are %v, want %v", left, ids)
		}
		p.window(g.Function, `"same"`)
		ids = p.idsOf("she/f", `"same"`)
	}
	if len(ids) != 10 {
		t.Errorf("at last there are %d", len(ids))
	}
	p.must(p.v.EraseEndpoint(p.ctx(), p.owner, g.Output))
	p.has("she/f")
}

func testEqualResultsStayWhateverAPersonWritesThere(t *testing.T, p *person, g access.Grant) {
	p.enable(g)
	p.write("she/f", `"mine"`)
	p.window(g.Function, `"mine"`, `"its"`)
	p.has("she/f", `"mine"`, `"mine"`, `"its"`)
	// A person's record must still not equal a stored one.
	for _, text := range []string{`"mine"`, `"its"`} {
		_, err := p.v.Append(p.ctx(), p.owner, []hat.Draft{draft(t, "she/f", text)}, false)
		p.wants(err, vault.ErrDuplicate)
	}
	p.window(g.Function, `"its"`)
	its := p.idsOf("she/f", `"its"`)
	_, err := p.v.Update(p.ctx(), p.owner, []vault.Change{{ID: its[1], Data: Data(t, `"mine"`)}})
	p.wants(err, vault.ErrDuplicate)
	_, err = p.v.Update(p.ctx(), p.owner, []vault.Change{{ID: its[1], Data: Data(t, `"its, mended"`)}})
	p.must(err)
	p.has("she/f", `"mine"`, `"mine"`, `"its"`, `"its, mended"`)
}

func testEqualResultsOfARunThatIsReplayedAreReplacedNotAddedTo(t *testing.T, p *person, g access.Grant) {
	p.enable(g)
	first, _ := p.window(g.Function, `"same"`, `"old"`)
	second, _ := p.window(g.Function, `"same"`, `"old"`)
	was := p.idsOf("she/f", `"same"`)
	for i, of := range []plan.Plan{second, first, second} {
		again := p.replay(of)
		p.commit(again, `"same"`, fmt.Sprintf(`"new %d"`, i), `"same"`)
		wantsCounts(t, p, again, 2, 1, 1, 1)
		if ids := p.idsOf("she/f", `"same"`); !slices.Equal(ids, was) {
			t.Errorf("replay %d: there are %v, there were %v", i, ids, was)
		}
	}
	if texts := p.texts("she/f"); len(texts) != 4 {
		t.Errorf("there are %v", texts)
	}
	p.window(g.Function, `"same"`)
	if ids := p.idsOf("she/f", `"same"`); len(ids) != 3 {
		t.Errorf("after one more run there are %d", len(ids))
	}
}

func testEqualResultsOfAReplayInPartsAreOneForEachPart(t *testing.T, p *person, g access.Grant) {
	p.enable(g)
	p.write("a/x", `1`, `2`)
	first := p.runOnceAfter(g.Function, `"same"`)
	was := p.idsOf("she/f", `"same"`)
	part := p.replay(first)
	part.Upto = 1
	p.commit(part, `"same"`)
	p.commit(p.claim(g.Function), `"same"`)
	ids := p.idsOf("she/f", `"same"`)
	if len(ids) != 2 || ids[0] != was[0] {
		t.Errorf("there are %v, there was %v", ids, was)
	}
	// From here on each part is replayed separately.
	p.must(p.v.Replay(p.ctx(), p.owner, first.Run))
	p.commit(p.claim(g.Function), `"same"`)
	p.commit(p.claim(g.Function), `"same"`)
	if again := p.idsOf("she/f", `"same"`); !slices.Equal(again, ids) {
		t.Errorf("there are %v, there were %v", again, ids)
	}
}

func testEqualResultsAreOfOneRunHoweverOftenItIsTried(t *testing.T, p *person, g access.Grant) {
	p.enable(g)
	p.window(g.Function, `"same"`)
	p.write("a/x", `1`)
	// The run fails, is abandoned, loses its lease, and its server ends; then the worker believed dead
	// comes back.
	failed := p.claim(g.Function)
	p.fail(failed, hat.NewFault(hat.Operator, "X", "x"))
	p.clock.move(day)
	p.must(p.v.Abandon(p.ctx(), p.claim(g.Function)))
	lapsed := p.claim(g.Function)
	p.clock.move(time.Hour)
	p.claim(g.Function)
	p.restart()
	p.clock.move(day)
	last := p.claim(g.Function)
	for _, late := range []plan.Plan{failed, lapsed} {
		_, err := p.v.Commit(p.ctx(), late, output(t, g, `"same"`))
		p.wants(err, vault.ErrStale)
	}
	p.commit(last, `"same"`)
	_, err := p.v.Commit(p.ctx(), last, output(t, g, `"same"`))
	p.wants(err, vault.ErrStale)
	p.has("she/f", `"same"`, `"same"`)
	p.isDue()
}

func testEqualResultsThatReplaceTheFormerOneAreNewEachTime(t *testing.T, p *person, g access.Grant) {
	g.Mode = hat.ReplaceOutput
	p.enable(g)
	p.write("she/f", `"mine"`)
	was := hat.RecordID{}
	for i := range 4 {
		pl, _ := p.window(g.Function, `"same"`, `"same"`)
		p.has("she/f", `"mine"`, `"same"`)
		ids := p.idsOf("she/f", `"same"`)
		if ids[0] == was {
			t.Errorf("result %d is the record of the former one", i)
		}
		was = ids[0]
		wantsCounts(t, p, pl, 1, 0, 1, min(i, 1))
		if i > 0 && !slices.Equal(p.former(pl.Run), []string{`"same"`}) {
			t.Errorf("result %d superseded %v", i, p.former(pl.Run))
		}
	}
	again := p.replay(mustRun(p, g.Function))
	p.commit(again, `"same"`)
	wantsCounts(t, p, again, 1, 1, 0, 0)
	if ids := p.idsOf("she/f", `"same"`); len(ids) != 1 || ids[0] != was {
		t.Errorf("after a replay there are %v, there was %s", ids, was)
	}
}

func testEqualResultsAreDroppedAgainOnceTheOwnerAgreesToThat(t *testing.T, p *person, g access.Grant) {
	drop := g
	drop.Equal = hat.DropEqual
	p.enable(drop)
	first, _ := p.window(g.Function, `"same"`)
	p.enable(g)
	second, _ := p.window(g.Function, `"same"`)
	was := p.idsOf("she/f", `"same"`)
	// A record written under one mode and replayed under the other keeps its id.
	again := p.replay(first)
	p.commit(again, `"same"`)
	if ids := p.idsOf("she/f", `"same"`); !slices.Equal(ids, was) || len(ids) != 2 {
		t.Errorf("there are %v, there were %v", ids, was)
	}
	p.enable(drop)
	pl, _ := p.window(g.Function, `"same"`)
	wantsCounts(t, p, pl, 0, 0, 1, 0)
	if ids := p.idsOf("she/f", `"same"`); !slices.Equal(ids, was) {
		t.Errorf("there are %v, there were %v", ids, was)
	}
	// A replay with DropEqual leaves one of two equal records.
	pl = p.replay(second)
	p.commit(pl, `"same"`)
	wantsCounts(t, p, pl, 0, 0, 1, 1)
	if ids := p.idsOf("she/f", `"same"`); !slices.Equal(ids, was[:1]) {
		t.Errorf("there are %v", ids)
	}
	p.must(p.v.Erase(p.ctx(), p.owner, was[:1]))
	p.enable(g)
	third, _ := p.window(g.Function, `"same"`)
	fourth, _ := p.window(g.Function, `"same"`)
	ids := p.idsOf("she/f", `"same"`)
	p.must(p.v.Erase(p.ctx(), p.owner, ids[:1]))
	p.enable(drop)
	pl = p.replay(fourth) // the remaining record
	p.commit(pl, `"same"`)
	wantsCounts(t, p, pl, 1, 1, 0, 0)
	if left := p.idsOf("she/f", `"same"`); !slices.Equal(left, ids[1:]) {
		t.Errorf("there are %v, want %v", left, ids[1:])
	}
	pl = p.replay(third)
	p.commit(pl, `"same"`)
	wantsCounts(t, p, pl, 0, 0, 1, 0)
}

func testEqualResultsArePartOfTheGrantAndOfItsReceipt(t *testing.T, p *person, g access.Grant) {
	p.enable(g)
	p.restart()
	if s := p.state(g.Function); s.Grant.Equal != hat.KeepEqual {
		t.Errorf("granted is %+v", s.Grant)
	}
	if e := p.receipts(); e[len(e)-1].Kind != receipt.Grant || e[len(e)-1].Equal != "keep" {
		t.Errorf("the receipt is %+v", e[len(e)-1])
	}
	// Changing the mode ends a run in flight, because it would save under other terms.
	p.write("a/x", `1`)
	pl := p.claim(g.Function)
	g.Equal = hat.DropEqual
	p.enable(g)
	_, err := p.v.Commit(p.ctx(), pl, output(t, g, `"same"`))
	p.wants(err, vault.ErrStale)
	if e := p.receipts(); e[len(e)-1].Kind != receipt.Grant || e[len(e)-1].Equal != "" {
		t.Errorf("the receipt is %+v", e[len(e)-1])
	}
	g.Equal = "sometimes"
	if _, err := p.v.Enable(p.ctx(), p.owner, g); err == nil {
		t.Error("an unknown mode was granted")
	}
}

func mustRun(p *person, f hat.FunctionID) plan.Plan {
	p.Helper()
	all, err := p.v.Runs(p.ctx(), p.owner, f, hat.RunID{}, 1)
	p.must(err)
	return all[0].Plan
}

// testEqualResultsCrash lets the commit fail, before and after it is on disk, of a run and of a replay
// whose results equal former ones. Then the work is repeated as its caller would. Each run must have stored
// its result once.
func testEqualResultsCrash(t *testing.T, fresh func(testing.TB) Opener) {
	for _, replayed := range []bool{false, true} {
		for _, persisted := range []bool{false, true} {
			for _, restart := range []bool{false, true} {
				t.Run(fmt.Sprintf("are stored once if the commit is lost, replayed %t, persisted %t, restart %t", replayed, persisted, restart), func(t *testing.T) {
					t.Parallel()
					p := newPerson(t, fresh)
					g := p.grant("f", individual, "she/f", "a/x")
					g.Equal = hat.KeepEqual
					p.enable(g)
					p.window(g.Function, `"same"`)
					second, _ := p.window(g.Function, `"same"`)
					want := 3
					if replayed {
						want = 2
						p.must(p.v.Replay(p.ctx(), p.owner, second.Run))
					} else {
						p.write("a/x", `1`)
					}
					pl := p.claim(g.Function)
					crashed := false
					p.atCommit = func(ops []string, at bool) error {
						if slices.Contains(ops, "commit") && at == persisted && !crashed {
							crashed = true
							return errors.New("the disk has gone away")
						}
						return nil
					}
					if _, err := p.v.Commit(p.ctx(), pl, output(t, g, `"same"`)); err == nil || !crashed {
						t.Fatalf("the commit was answered with %v", err)
					}
					if restart {
						p.restart()
					} else {
						p.reopen()
					}
					r, err := p.v.Run(p.ctx(), p.owner, pl.Run)
					p.must(err)
					if (r.State == vault.RunCommitted) != persisted {
						t.Errorf("the run is %s", r.State)
					}
					p.clock.move(day)
					for {
						next, err := p.tryClaim(g.Function, plan.ByData, false)
						if errors.Is(err, vault.ErrNothingDue) {
							break
						}
						p.must(err)
						p.commit(next, `"same"`)
					}
					if ids := p.idsOf("she/f", `"same"`); len(ids) != want {
						t.Errorf("there are %d records, want %d", len(ids), want)
					}
					CheckHAT(t, p.v)
					p.restart()
					CheckHAT(t, p.v)
				})
			}
		}
	}
}
