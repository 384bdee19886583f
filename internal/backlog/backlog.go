// Package backlog is what waits of one function at one HAT, and each way it can change: events arrive, a run claims
// some of it, commits, fails, is cancelled or lapses, a person skips or replays, consent changes, the clock is set back.
// docs/runs.md draws the same edges, and a test holds the two against each other.
//
// Everything here is a value. A transition takes a Backlog and a time, changes nothing, and answers a Step: the new
// Backlog, or one question for the store, such as "what is stored behind position 7 at these endpoints?", whose answer
// gives the next Step. The store reads a Backlog, asks for the transition and stores what differs, in one transaction.
package backlog

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"she/internal/access"
	"she/internal/hat"
	"she/internal/plan"
	"she/internal/trigger"
)

// Why a transition is refused. Nothing has changed then.
var (
	ErrBusy       = errors.New("function is running")
	ErrNothingDue = errors.New("function has nothing to do")
	ErrStale      = errors.New("another claim has replaced this one, or the grant is gone")
)

// A Backlog is the state of one function at one HAT. Positions up to Cursor are done, or lie in a range; positions behind
// it are the front's, if the function is to see anything of them.
type Backlog struct {
	Grant         access.Grant
	GrantID       access.GrantID
	Enabled       bool
	Cursor        hat.Seq
	LastExecution time.Time // when the last run over the front that committed was claimed; zero: never
	Epoch         int64     // of the latest lease
	Front         *Item     // what has come since the cursor; nil: nothing
	Ranges        []Item    // what waits before the cursor, the oldest ground first
	Lease         *Lease    // of the run in flight; nil: none
}

// An Item is work that waits on its own: the front, or a range. A range is ground before the cursor that was parked, was
// stored before it was granted, or is to be covered once more.
type Item struct {
	Number int64   // of a range, never used again; 0: the front, or a range that is not stored yet
	After  hat.Seq // the item is the positions After < seq ≤ Upto; the front's is the cursor
	Upto   hat.Seq
	Part   plan.Part // which of their records are meant; the front means all

	Oldest    time.Time // when the oldest of it was committed
	NotBefore time.Time // when it becomes due; zero: when somebody asks
	Attempt   int       // failed attempts so far
	Outages   int       // of these, for a reason that is not the function's (plan.Tries)
	Fault     *hat.Fault
	Parked    bool             // waits for a person, not for time alone
	Replay    bool             // somebody asked for it once more
	Chain     []hat.FunctionID // the longest chain of functions behind its data
	Most      int              // so many records at once; 0: all
	Run       hat.RunID        // the last attempt; of a replay that has not begun, the run it repeats; zero: none

	Tried hat.Seq // of the front: up to where it has failed; 0: it has not

	Aside    bool      // of a range: it was the front once
	Replaces hat.RunID // of a range: the run whose output is replaced; zero: none
	From     time.Time // of a range: told to the bundle entry; zero: as for a first run
	Executed time.Time // of a range: told to the function as its last execution
}

// A Lease is the right of one run to end the work in its plan. Its id, epoch and end are the plan's.
type Lease struct {
	Plan    plan.Plan // with the grant as it was when claimed
	GrantID access.GrantID
	Life    string // of the server that took it: another life can't end the run
}

// State is where a run is.
type State string

const (
	Planned   State = "planned" // claimed: asking or running
	Committed State = "committed"
	Refused   State = "refused" // its answer was not accepted, or the grant went away
	Failed    State = "failed"
	Abandoned State = "abandoned" // given back, or its lease lapsed
)

// An End is a run that a transition ended. The store keeps it in the same transaction.
type End struct {
	Plan  plan.Plan // as it ran
	State State
	Fault *hat.Fault
}

// A Step is what a transition has come to.
type Step struct {
	Backlog Backlog
	Ended   *End      // the run that was in flight, if the transition ended it
	Ask     *Question // to be answered first; nil: Backlog is the result
}

// A Question asks what is stored that the function may be shown: records at the Endpoints with After < seq ≤ Upto, created
// at or after Since, or stored at or behind position Ahead; and of these, what Part means.
type Question struct {
	Endpoints []hat.Endpoint
	After     hat.Seq
	Upto      hat.Seq // 0: no end
	Part      plan.Part
	Since     time.Time
	Ahead     hat.Seq // 0: no position

	then func([]Stored) Step
}

// Stored is the newest record of those at one endpoint that have one chain of functions behind them, and how long the
// oldest of them has been there.
type Stored struct {
	trigger.Event
	Oldest time.Time
}

// Answer goes on with what is stored.
func (q *Question) Answer(stored []Stored) Step { return q.then(stored) }

// Run answers the questions of a Step until there is none.
func (s Step) Run(store func(*Question) ([]Stored, error)) (Step, error) {
	ended := s.Ended
	for s.Ask != nil {
		stored, err := store(s.Ask)
		if err != nil {
			return Step{}, err
		}
		s = s.Ask.Answer(stored)
	}
	s.Ended = ended
	return s, nil
}

// copied may be changed: items are shared with nobody. What items point to is never changed.
func (b Backlog) copied() Backlog {
	if b.Front != nil {
		front := *b.Front
		b.Front = &front
	}
	b.Ranges = slices.Clone(b.Ranges)
	return b
}

func (b Backlog) state() trigger.State {
	return trigger.State{Grant: b.Grant, LastExecution: b.LastExecution}
}

// numbered is the range of that number; nil: there is none any more.
func (b *Backlog) numbered(n int64) *Item {
	if i := slices.IndexFunc(b.Ranges, func(r Item) bool { return r.Number == n && n != 0 }); i >= 0 {
		return &b.Ranges[i]
	}
	return nil
}

// item is what a plan covers; nil: it does not wait any more, or nothing did when somebody asked.
func (b *Backlog) item(p plan.Plan) *Item {
	if p.Range != 0 {
		return b.numbered(p.Range)
	}
	return b.Front
}

// parkedBefore is the range that was parked right before the position, with nothing done since; nil: none.
func (b *Backlog) parkedBefore(at hat.Seq) *Item {
	if i := slices.IndexFunc(b.Ranges, func(r Item) bool { return r.Parked && r.Aside && r.Part.All() && r.Upto == at }); i >= 0 {
		return &b.Ranges[i]
	}
	return nil
}

func (b *Backlog) addRange(r Item) {
	b.Ranges = append(b.Ranges, r)
	b.sort()
}

// dropRanges takes ranges out.
func (b *Backlog) dropRanges(gone func(*Item) bool) {
	kept := b.Ranges[:0:0]
	for i := range b.Ranges {
		if !gone(&b.Ranges[i]) {
			kept = append(kept, b.Ranges[i])
		}
	}
	b.Ranges = kept
	b.sort()
}

// sort restores the order: the oldest ground first, and of equal ground what was stored first.
func (b *Backlog) sort() {
	number := func(i Item) uint64 { return uint64(i.Number) - 1 } // the new ones, 0, come last
	slices.SortStableFunc(b.Ranges, func(x, y Item) int {
		return cmp.Or(cmp.Compare(x.After, y.After), cmp.Compare(number(x), number(y)))
	})
}

// over says whether the run in flight covers the item: its own, or, of a run over the front that began further back, ranges
// on its way.
func (b *Backlog) over(i *Item) bool {
	if b.Lease == nil {
		return false
	}
	p := b.Lease.Plan
	return p.Range == i.Number || p.Range == 0 && i.Replaces.IsZero() && p.After <= i.After && i.After < p.Upto
}

// running says whether that run is in flight.
func (b *Backlog) running(run hat.RunID) bool { return b.Lease != nil && b.Lease.Plan.Run == run }

// due says whether it may be claimed without anybody asking.
func (i *Item) due(now time.Time) bool {
	return !i.Parked && !i.NotBefore.IsZero() && !i.NotBefore.After(now)
}

// again makes it due as if it had never failed.
func (i *Item) again(notBefore time.Time, replay bool) {
	i.NotBefore, i.Parked, i.Replay = notBefore, false, replay
	i.Attempt, i.Outages, i.Fault = 0, 0, nil
}

// tries is how often it has failed.
func (i *Item) tries() plan.Tries { return plan.Tries{Failed: i.Attempt, Outages: i.Outages} }

// shorten takes away what has been done of a range. The rest has not failed by itself.
func (i *Item) shorten(done hat.Seq, now time.Time) {
	i.After = done
	i.again(now, i.Replay)
}

// longer is the longer of two chains, the first if they are equally long.
func longer(a, b []hat.FunctionID) []hat.FunctionID {
	if len(b) > len(a) {
		return b
	}
	return a
}

// judge says what stored records mean for the function, and how long the oldest of those that mean something has been
// there. Chains that stop were recorded when the records were written.
func (b Backlog) judge(stored []Stored, now time.Time) (v trigger.Verdict, oldest time.Time) {
	events := make([]trigger.Event, len(stored))
	for i, s := range stored {
		// The question asked for what is not too old.
		s.Created = b.Grant.Since
		events[i] = s.Event
		if trigger.Judge(b.state(), events[i:i+1], now).Raised() && (oldest.IsZero() || s.Oldest.Before(oldest)) {
			oldest = s.Oldest
		}
	}
	return trigger.Judge(b.state(), events, now), oldest
}

// ask is the question what is stored of a part of positions, with what is to come of its answer.
func (b Backlog) ask(after, upto hat.Seq, part plan.Part, then func(*Backlog, []Stored) Step) Step {
	q := &Question{After: after, Upto: upto, Part: part, Since: b.Grant.Since, Ahead: b.Grant.Ahead}
	for _, e := range b.Grant.Bundle.Endpoints() {
		if part.At(e) {
			q.Endpoints = append(q.Endpoints, e)
		}
	}
	q.then = func(stored []Stored) Step {
		b := b.copied()
		return then(&b, stored)
	}
	return Step{Backlog: b, Ask: q}
}
