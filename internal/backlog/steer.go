package backlog

import (
	"time"

	"she/internal/access"
	"she/internal/hat"
	"she/internal/plan"
)

// left are the items that still hold work of a run that did not commit: the front, if the run was over the front and the
// cursor has not passed it; ranges. ErrNothingDue: none. A chain that was stopped before it began, attempt 0, never had
// any; ErrBusy: a run over one of them is in flight.
func (b *Backlog) left(p plan.Plan) (all []*Item, err error) {
	if b.running(p.Run) {
		return nil, ErrBusy
	}
	if p.Attempt == 0 {
		return nil, ErrNothingDue
	}
	if p.Range == 0 && b.Cursor < p.Upto && b.Front != nil {
		all = append(all, b.Front)
	}
	for i := range b.Ranges {
		r := &b.Ranges[i]
		if p.Range != 0 && r.Number == p.Range || p.Range == 0 && r.Aside && r.After < p.Upto && r.Upto > p.After {
			all = append(all, r)
		}
	}
	for _, i := range all {
		if b.over(i) {
			return nil, ErrBusy
		}
	}
	if len(all) == 0 {
		return nil, ErrNothingDue
	}
	return all, nil
}

// Replay makes what is left of the work of a run that did not commit due now; failures of before count no more. ErrBusy,
// ErrNothingDue: another run has done the work, or there was none.
func (b Backlog) Replay(p plan.Plan, now time.Time) (Backlog, error) {
	c := b.copied()
	all, err := c.left(p)
	if err != nil {
		return b, err
	}
	for _, i := range all {
		i.again(now, true)
	}
	return c, nil
}

// Repeating says that a replay of that committed run waits, or what is left of one.
func (b Backlog) Repeating(run hat.RunID) bool { return b.repeat(run) != nil }

func (b *Backlog) repeat(run hat.RunID) *Item {
	for i := range b.Ranges {
		if b.Ranges[i].Replaces == run && !run.IsZero() {
			return &b.Ranges[i]
		}
	}
	return nil
}

// Repeat makes what a committed run covered due once more, as a range whose result takes the place of its output; or, if
// that waits already, makes it due now. grant is the one that the run had. ErrBusy.
func (b Backlog) Repeat(p plan.Plan, grant access.GrantID, now time.Time) (Backlog, error) {
	c := b.copied()
	if r := c.repeat(p.Run); r != nil {
		if c.over(r) {
			return b, ErrBusy
		}
		r.again(now, true)
		return c, nil
	}
	part := p.Part
	if !sameRecords(b.Grant, p.Grant) {
		// What was granted since has been covered on its own.
		part = part.Granted(grant, p.Grant, b.Grant)
	}
	c.addRange(Item{
		After: p.After, Upto: p.Upto, Part: part, Replaces: p.Run, From: p.Window.From, Executed: p.LastExecution,
		Oldest: now, NotBefore: now, Replay: true, Chain: p.Chain, Run: p.Run,
	})
	return c, nil
}

// ReplayFailed makes all work that has failed, and that no run is over, due now, and says how many items that is.
func (b Backlog) ReplayFailed(now time.Time) (Backlog, int) {
	b = b.copied()
	due := 0
	if f := b.Front; f != nil && f.Attempt > 0 && !b.over(f) {
		f.again(now, true)
		due++
	}
	for i := range b.Ranges {
		if r := &b.Ranges[i]; (r.Attempt > 0 || r.Parked) && !b.over(r) {
			r.again(now, true)
			due++
		}
	}
	return b, due
}

// Skip gives up what is left of the work of a run that did not commit. ErrBusy, ErrNothingDue.
func (b Backlog) Skip(p plan.Plan, now time.Time) (Step, error) {
	b = b.copied()
	all, err := b.left(p)
	if err != nil {
		return Step{}, err
	}
	front := false
	gone := map[*Item]bool{}
	for _, i := range all {
		front = front || i == b.Front
		gone[i] = true
	}
	b.dropRanges(func(r *Item) bool { return gone[r] })
	if front {
		return b.leave(p.Upto, now), nil
	}
	return Step{Backlog: b}, nil
}
