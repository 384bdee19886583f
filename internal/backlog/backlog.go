// Package backlog holds the pending work of one function at one HAT, and every way it can change: events
// arrive; a run claims work, commits, fails, is cancelled or lapses; a person skips or replays; consent
// changes; the clock is set back. docs/runs.md draws the same edges, and a test compares the two.
//
// Everything here is a value. A transition takes a Backlog and a time and changes neither. It returns a Step:
// the new Backlog, or one question for the store, such as "what is stored behind position 7 at these
// endpoints?". The answer gives the next Step. The store reads a Backlog, asks for the transition and writes
// the differences, all in one transaction.
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

// Errors of transitions that are refused. The backlog is unchanged.
var (
	ErrBusy       = errors.New("function is running")
	ErrNothingDue = errors.New("function has nothing to do")
	ErrStale      = errors.New("another claim has replaced this one, or the grant is gone")
)

// A Backlog is the state of one function at one HAT. Positions up to Cursor are done or belong to a range.
// Positions behind it belong to the front, if the function may see records there.
type Backlog struct {
	Grant         access.Grant
	GrantID       access.GrantID
	Enabled       bool
	Cursor        hat.Seq
	LastExecution time.Time // when the last committed run over the front was claimed; zero: never
	Epoch         int64     // of the latest lease
	Front         *Item     // data since the cursor; nil: none
	Ranges        []Item    // pending positions before the cursor, the oldest first
	Lease         *Lease    // of the run in flight; nil: none
}

// An Item is a piece of work that is claimed, tried and parked on its own: the front, or a range. A range
// covers positions before the cursor that were parked, were stored before they were granted, or are to be
// replayed.
type Item struct {
	Number int64   // of a range, never reused; 0: the front, or a range that is not stored yet
	After  hat.Seq // the item covers After < seq ≤ Upto; After of the front is the cursor
	Upto   hat.Seq
	Part   plan.Part // which records at these positions the item covers; the front covers all

	Oldest    time.Time // when its oldest record was committed
	NotBefore time.Time // when it becomes due; zero: only on request
	Attempt   int       // failed attempts so far
	Outages   int       // those of Attempt that are not the function's fault (plan.Tries)
	Fault     *hat.Fault
	Parked    bool             // not tried again until a person replays or skips it
	Replay    bool             // a person asked to run it once more
	Chain     []hat.FunctionID // the longest chain of functions behind its data
	Most      int              // how many records a run may take at once; 0: all
	Run       hat.RunID        // the last attempt; of a replay that has not begun, the run it repeats; zero: none

	Tried hat.Seq // of the front: the position up to which it has failed; 0: it has not

	Aside    bool      // of a range: it was parked as the front
	Replaces hat.RunID // of a range: the run whose output the replay replaces; zero: none
	From     time.Time // of a range: the fromDate for the bundle entry; zero: as for a first run
	Executed time.Time // of a range: the last execution that the function is told
}

// A Lease allows one run to end the work in its plan. Plan holds its run id, epoch and expiry.
type Lease struct {
	Plan    plan.Plan // with the grant as it was when claimed
	GrantID access.GrantID
	Boot    string // the start of the server that took it; after a restart the run can't end
}

// State is the state of a run.
type State string

const (
	Planned   State = "planned" // claimed: asking or running
	Committed State = "committed"
	Refused   State = "refused" // the answer was not accepted, or the grant was withdrawn
	Failed    State = "failed"
	Abandoned State = "abandoned" // given back, or its lease lapsed
)

// An End is a run that a transition ended. The store keeps it in the same transaction.
type End struct {
	Plan  plan.Plan // with the bounds that it actually ran with
	State State
	Fault *hat.Fault
}

// A Step is the result of a transition.
type Step struct {
	Backlog Backlog
	Ended   *End      // the run that was in flight, if the transition ended it
	Ask     *Question // must be answered first; nil: Backlog is the result
}

// A Question asks which stored records the function may be shown: those at Endpoints with After < seq ≤ Upto
// that Part covers and that were created at or after Since, or are stored at position Ahead or behind it.
type Question struct {
	Endpoints []hat.Endpoint
	After     hat.Seq
	Upto      hat.Seq // 0: no end
	Part      plan.Part
	Since     time.Time
	Ahead     hat.Seq // 0: no position

	then func([]Stored) Step
}

// Stored describes the records at one endpoint that share one chain of functions: the newest of them, and
// when the oldest was stored.
type Stored struct {
	trigger.Event
	Oldest time.Time
}

// Answer continues the transition with what is stored.
func (q *Question) Answer(stored []Stored) Step { return q.then(stored) }

// Run answers the questions of a Step, one after the other, until it has a result.
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

// copied returns a copy whose items may be changed. Values that items point to are shared and never changed.
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

// numbered returns the range with that number, or nil if it is gone.
func (b *Backlog) numbered(n int64) *Item {
	if i := slices.IndexFunc(b.Ranges, func(r Item) bool { return r.Number == n && n != 0 }); i >= 0 {
		return &b.Ranges[i]
	}
	return nil
}

// item returns the item that a plan covers. It returns nil if the item is gone, or if the run was requested
// and nothing waited.
func (b *Backlog) item(p plan.Plan) *Item {
	if p.Range != 0 {
		return b.numbered(p.Range)
	}
	return b.Front
}

// parkedBefore returns the range that is parked and ends right before the position, or nil if there is none.
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

// dropRanges removes the ranges for which gone returns true.
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

// sort orders ranges by their positions, the oldest first. Of equal positions the range that was stored first
// comes first.
func (b *Backlog) sort() {
	number := func(i Item) uint64 { return uint64(i.Number) - 1 } // new ranges, with number 0, come last
	slices.SortStableFunc(b.Ranges, func(x, y Item) int {
		return cmp.Or(cmp.Compare(x.After, y.After), cmp.Compare(number(x), number(y)))
	})
}

// over reports whether the run in flight covers the item. A run over the front may begin before the cursor;
// then it also covers the parked range there.
func (b *Backlog) over(i *Item) bool {
	if b.Lease == nil {
		return false
	}
	p := b.Lease.Plan
	return p.Range == i.Number || p.Range == 0 && i.Replaces.IsZero() && p.After <= i.After && i.After < p.Upto
}

// running reports whether that run is in flight.
func (b *Backlog) running(run hat.RunID) bool { return b.Lease != nil && b.Lease.Plan.Run == run }

// due reports whether the item may be claimed without a request.
func (i *Item) due(now time.Time) bool {
	return !i.Parked && !i.NotBefore.IsZero() && !i.NotBefore.After(now)
}

// again makes the item due with no failures counted.
func (i *Item) again(notBefore time.Time, replay bool) {
	i.NotBefore, i.Parked, i.Replay = notBefore, false, replay
	i.Attempt, i.Outages, i.Fault = 0, 0, nil
}

// tries returns how often the item has failed.
func (i *Item) tries() plan.Tries { return plan.Tries{Failed: i.Attempt, Outages: i.Outages} }

// shorten removes the positions that are done from a range. The rest starts with no failures of its own.
func (i *Item) shorten(done hat.Seq, now time.Time) {
	i.After = done
	i.again(now, i.Replay)
}

// longer returns the longer chain, or a if both have the same length.
func longer(a, b []hat.FunctionID) []hat.FunctionID {
	if len(b) > len(a) {
		return b
	}
	return a
}

// judge decides what stored records mean for the function, and since when the oldest relevant one is stored.
// Chains that were stopped were reported when the records were written.
func (b Backlog) judge(stored []Stored, now time.Time) (v trigger.Verdict, oldest time.Time) {
	events := make([]trigger.Event, len(stored))
	for i, s := range stored {
		// The question asked only for records that are new enough for the grant.
		s.Created = b.Grant.Since
		events[i] = s.Event
		if trigger.Judge(b.state(), events[i:i+1], now).Raised() && (oldest.IsZero() || s.Oldest.Before(oldest)) {
			oldest = s.Oldest
		}
	}
	return trigger.Judge(b.state(), events, now), oldest
}

// ask returns the Step that asks what is stored of a part of some positions. then receives the answer.
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
