package backlog

import (
	"slices"
	"strings"
	"time"

	"she/internal/hat"
	"she/internal/plan"
)

// EndState returns the state in which a run with this fault ends: refused if the function answered but the
// answer or the grant was not acceptable, otherwise failed.
func EndState(f *hat.Fault) State {
	if f.Who == hat.Owner {
		return Refused
	}
	if kind, _, _ := strings.Cut(f.Code, "."); f.Who == hat.Author && slices.Contains(answerCodes, kind) {
		return Refused
	}
	return Failed
}

// answerCodes are the first words of the codes that package contract and the engine give to faulty answers.
var answerCodes = []string{"Answer", "Bundle", "Configuration", "Response"}

// Commit ends the run in flight with its work done: the cursor moves to the plan's end, or the range is
// removed. ran is the plan as it ran. If its Upto is lower than at the claim, the rest stays pending.
// ErrStale: the range is gone.
func (b Backlog) Commit(ran plan.Plan, now time.Time) (Step, error) {
	b, end := b.ended(ran, Committed, nil)
	if ran.Range != 0 {
		// LastExecution stays as it is: it is about the front, not about ranges.
		r := b.numbered(ran.Range)
		switch {
		case r == nil:
			return Step{}, ErrStale
		case ran.Upto < r.Upto:
			r.shorten(ran.Upto, now)
			b.sort()
		default:
			b.dropRanges(func(o *Item) bool { return o.Number == ran.Range })
		}
		return Step{Backlog: b, Ended: end}, nil
	}
	b.LastExecution = ran.Claimed
	// A run over the front also completes the ranges that it covers.
	b.dropRanges(func(r *Item) bool {
		if !r.Replaces.IsZero() || ran.After > r.After || ran.Upto <= r.After {
			return false
		}
		if ran.Upto < r.Upto {
			r.shorten(ran.Upto, now)
			return false
		}
		return true
	})
	// Data that came during the run is new work without failures.
	s := b.leave(ran.Upto, now)
	s.Ended = end
	return s, nil
}

// Fail ends the run in flight. It keeps the work for the next attempt after a pause, or parks it. random in
// [0, 1) spreads the pause.
func (b Backlog) Fail(ran plan.Plan, f *hat.Fault, now time.Time, random float64) Step {
	planned := b.Lease.Plan
	b, end := b.ended(ran, EndState(f), f)
	s := b.failed(planned, ran, f, now, random)
	s.Ended = end
	return s
}

func (b Backlog) failed(planned, ran plan.Plan, f *hat.Fault, now time.Time, random float64) Step {
	i := b.item(ran)
	if i == nil {
		return Step{Backlog: b} // a request that found nothing new
	}
	i.Run = ran.Run
	if ran.Most > 0 && (planned.Most == 0 || ran.Most < planned.Most) {
		// The next attempt has fewer records, so this one does not count.
		i.Most, i.Fault, i.NotBefore = ran.Most, f, now
		return b.keep(i, ran, now)
	}
	tries := plan.Tries{Failed: ran.Attempt - 1, Outages: i.Outages}.After(f)
	pause, park := plan.Retry(f, tries, random)
	i.Attempt, i.Outages, i.Fault = tries.Failed, tries.Outages, f
	onlyAsked := b.Grant.Trigger.Kind == hat.Manual || i.NotBefore.IsZero()
	// If the run covered nothing of the front, the front keeps its own attempts and pause.
	tried := ran.Range != 0 || ran.Upto > b.Cursor
	i.Parked = park && tried && (!onlyAsked || plan.Oversize(f))
	switch {
	case f.Code == CodeInterrupted && !park && !i.NotBefore.IsZero():
		i.NotBefore = now // no pause: the server stopped, which says little about the function
	case onlyAsked:
		i.NotBefore = time.Time{}
	default:
		i.NotBefore = now.Add(pause)
	}
	if ran.Range == 0 && tried && (i.Tried == 0 || ran.Upto < i.Tried) {
		i.Tried = ran.Upto
	}
	return b.keep(i, ran, now)
}

// keep parks a failed front as a range, as far as it has failed since its first attempt, so that newer data
// can run. If the function is inOrder, the front itself stays parked.
func (b Backlog) keep(i *Item, told plan.Plan, now time.Time) Step {
	if i == b.Front && i.Parked && !b.Grant.InOrder && i.Tried > b.Cursor {
		upto := i.Tried
		b.setAside(upto, told)
		return b.leave(upto, now)
	}
	return Step{Backlog: b}
}

// Cancel ends the run in flight at a person's request and parks its work.
func (b Backlog) Cancel(f *hat.Fault, now time.Time) Step {
	p := b.Lease.Plan
	b, end := b.ended(p, Refused, f)
	s := Step{Backlog: b}
	if i := b.item(p); i != nil {
		if p.Range == 0 {
			i.Tried = p.Upto
		}
		i.Attempt, i.Fault, i.Run = p.Attempt, f, p.Run
		i.Parked = !i.NotBefore.IsZero() // work of a manual function waits for a request anyway
		s = b.keep(i, p, now)
	}
	s.Ended = end
	return s
}
