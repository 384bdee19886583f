package vaulttest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"she/internal/access"
	"she/internal/hat"
	"she/internal/plan"
	"she/internal/vault"
)

// A model computes what the outputs of a function must be, without positions, ranges or generations. The
// function writes one record, "<record>@<version>", for each that it is shown. So each input record has at
// most one output, with the version that was the newest when the record was last shown.
type model struct {
	of    map[string]string // input record → its output
	last  []string          // output of the last run that wrote anything; if output replaces, nothing else is stored
	shown map[string]int    // by committed runs that were not replays
}

// testModel does writes, claims, failures of every kind, splits, replays, skips, wider grants and restarts
// in random order. It compares what is stored with the model after each step, and completely at the end.
func testModel(t *testing.T, fresh func(testing.TB) Opener) {
	seeds := 20
	if testing.Short() {
		seeds = 3
	}
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			w := newModelled(newPerson(t, fresh), rand.New(rand.NewPCG(7, seed)))
			for range 150 {
				w.step()
			}
			w.finish()
			w.everyRecordWasShownOnce()
			w.check()
			CheckHAT(t, w.v)
			w.restart()
			CheckHAT(t, w.v)
			t.Logf("%d records, %d runs committed, %d failed, in order %t, output %s, strict %t",
				w.written, len(w.committed), len(w.failed), w.g.InOrder, w.g.Mode, w.strict)
		})
	}
}

// modelled is a person with one function, and the model of what it must have written.
type modelled struct {
	*person
	r            *rand.Rand
	m            model
	g            access.Grant
	strict, both bool // only odd records of a/x are granted; b/x too
	written      int
	version      int // version of the function's code
	committed    []plan.Plan
	failed       []plan.Plan
}

func newModelled(p *person, r *rand.Rand) *modelled {
	w := &modelled{person: p, r: r, m: model{of: map[string]string{}, shown: map[string]int{}}}
	for range 3 {
		w.write("a/x", w.text(fmt.Sprint("old ", r.Int())))
		w.write("b/x", w.text(fmt.Sprint("old ", r.Int())))
	}
	w.clock.move(time.Hour)
	w.strict = r.IntN(2) == 0
	w.g = w.asked()
	w.g.InOrder, w.g.Since = r.IntN(4) == 0, w.clock.now()
	if r.IntN(3) == 0 {
		w.g.Mode = hat.ReplaceOutput
	}
	if r.IntN(2) == 0 {
		w.g.Equal = hat.KeepEqual
	}
	w.enable(w.g)
	return w
}

// text returns a record: its name, and the value that the filter of a grant at a/x may select.
func (w *modelled) text(name any) string {
	return fmt.Sprintf(`["%v","%s"]`, name, []string{"odd", "even"}[w.r.IntN(2)])
}

func nameOf(text string) string { return strings.Split(text, `"`)[1] }

// asked returns the grant that the function asks for now.
func (w *modelled) asked() access.Grant {
	g := w.grant("f", individual, "she/f", "a/x")
	if w.both {
		g = w.grant("f", individual, "she/f", "a/x", "b/x")
	}
	if w.strict {
		g.Bundle.Properties["a/x"] = onlyOdd(w, "a/x")
	}
	return g
}

func (w *modelled) step() {
	w.Helper()
	switch w.r.IntN(10) {
	case 0, 1, 2:
		w.writeSome()
	case 3:
		w.clock.move(time.Duration(w.r.IntN(200)) * time.Minute)
		if w.r.IntN(10) == 0 {
			w.clock.move(-day)
		}
		w.due() // as the engine does
	case 4:
		w.version++
		if len(w.committed) > 0 {
			w.must(w.v.Replay(w.ctx(), w.owner, w.committed[w.r.IntN(len(w.committed))].Run))
		}
	case 5:
		if len(w.failed) > 0 {
			err := w.v.Replay(w.ctx(), w.owner, w.failed[w.r.IntN(len(w.failed))].Run)
			w.mayHaveNothing(err)
		}
	case 6:
		w.widen()
	default:
		w.mayHaveNothing(w.attempt(true))
		w.check()
	}
}

func (w *modelled) mayHaveNothing(err error) {
	w.Helper()
	if !errors.Is(err, vault.ErrNothingDue) {
		w.must(err)
	}
}

func (w *modelled) writeSome() {
	at := "a/x"
	if w.r.IntN(3) == 0 {
		at = "b/x"
	}
	for range 1 + w.r.IntN(3) {
		w.written++
		w.write(at, w.text(w.written))
	}
}

// widen enables a wider grant, or the same one with another mode for equal results.
func (w *modelled) widen() {
	switch w.r.IntN(20) {
	case 0, 1:
		w.both = true
	case 2:
		w.g.Since = time.Time{}
	case 3: // at once
		w.both, w.strict, w.g.Since = true, false, time.Time{}
	case 4, 5:
		w.strict = false
	case 6, 7:
		w.g.Equal = hat.KeepEqual
	case 8, 9:
		w.g.Equal = hat.DropEqual
	}
	w.g.Bundle = w.asked().Bundle
	w.enable(w.g)
}

// attempt claims the due work and commits all or a part of it. If it may fail, it fails half of the time.
func (w *modelled) attempt(mayFail bool) error {
	w.Helper()
	cause := plan.ByData
	if w.r.IntN(8) == 0 {
		cause = plan.ByRequest
	}
	pl, err := w.tryClaim(w.g.Function, cause, false)
	if err != nil {
		return err
	}
	if n := int(pl.Upto - pl.After); n > 1 && w.r.IntN(3) == 0 {
		pl.Upto = pl.After + hat.Seq(1+w.r.IntN(n))
	}
	if mayFail && w.r.IntN(2) == 0 {
		w.endBadly(pl)
		return nil
	}
	_, texts := w.shown(pl)
	var out []string
	for _, text := range texts {
		if pl.Replaces.IsZero() {
			w.m.shown[text]++
		}
		made := fmt.Sprintf(`"%s@%d"`, nameOf(text), w.version)
		w.m.of[text] = made
		out = append(out, made)
	}
	if w.commit(pl, out...); len(out) > 0 {
		w.m.last = out
	}
	w.committed = append(w.committed, pl)
	return nil
}

func (w *modelled) endBadly(pl plan.Plan) {
	w.Helper()
	faults := []*hat.Fault{
		hat.NewFault(hat.Author, "Runtime.Exit", "x"), hat.NewFault(hat.Author, plan.CodeRequestTooLarge, "x"),
		hat.NewFault(hat.Operator, "X", "x"), hat.NewFault(hat.Owner, "X", "x"),
	}
	switch w.r.IntN(6) {
	case 0:
		w.must(w.v.Abandon(w.ctx(), pl))
	case 1:
		w.restart()
	case 2:
		w.must(w.v.Cancel(w.ctx(), w.owner, pl.Run))
		w.failed = append(w.failed, pl)
	default:
		w.fail(pl, faults[w.r.IntN(len(faults))])
		w.failed = append(w.failed, pl)
	}
}

// check compares what the function has written with the model.
func (w *modelled) check() {
	w.Helper()
	var want []string
	for _, made := range w.m.of {
		want = append(want, made)
	}
	if w.g.Mode == hat.ReplaceOutput {
		want = slices.Clone(w.m.last)
	}
	got := w.texts("she/f")
	slices.Sort(want)
	slices.Sort(got)
	// A replay in parts keeps the replayed run's output until the last part is committed.
	for _, s := range w.state(w.g.Function).Ranges {
		if !s.Replaces.IsZero() && w.g.Mode != hat.ReplaceOutput {
			for _, made := range want {
				if !slices.Contains(got, made) {
					w.Fatalf("%s is missing", made)
				}
			}
			return
		}
	}
	if !slices.Equal(got, want) {
		w.Fatalf("there are %v, want %v", got, want)
	}
}

// finish continues until nothing is pending. Nothing fails any more.
func (w *modelled) finish() {
	w.Helper()
	for range 1000 {
		_, err := w.v.ReplayMany(w.ctx(), w.owner, w.g.Function, vault.ReplayFilter{Failed: true})
		w.must(err)
		w.clock.move(24 * time.Hour)
		err = w.attempt(false)
		if errors.Is(err, vault.ErrNothingDue) {
			break
		}
		w.must(err)
		w.check()
	}
	if s := w.state(w.g.Function); s.Front != nil || s.Ranges != nil {
		w.Fatalf("there is left %+v", s)
	}
}

func (w *modelled) everyRecordWasShownOnce() {
	w.Helper()
	read := w.texts("a/x")
	if w.strict {
		read = slices.DeleteFunc(read, func(text string) bool { return strings.Contains(text, "even") })
	}
	if w.both {
		read = append(read, w.texts("b/x")...)
	}
	for _, text := range read {
		if strings.HasPrefix(nameOf(text), "old") && !w.g.Since.IsZero() {
			continue
		}
		if w.m.shown[text] != 1 {
			w.Errorf("%s was shown %d times in runs that committed", text, w.m.shown[text])
		}
	}
}
