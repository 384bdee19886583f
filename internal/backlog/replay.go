package backlog

import (
	"time"

	"she/internal/access"
	"she/internal/hat"
	"she/internal/plan"
)

// left returns the items that still hold work of a run that did not commit: the front, if the run was over
// the front and the cursor has not passed it, and ranges. It returns ErrNothingDue if there are none, and
// ErrBusy if a run over one of them is in flight. A run with attempt 0 was stopped by its chain before it
// began, and never had work.
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

// Replay makes the remaining work of a run that did not commit due now, with no failures counted.
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

// Repeating reports whether a replay of that committed run is pending, at least in part.
func (b Backlog) Repeating(run hat.RunID) bool { return b.repeat(run) != nil }

func (b *Backlog) repeat(run hat.RunID) *Item {
	for i := range b.Ranges {
		if b.Ranges[i].Replaces == run && !run.IsZero() {
			return &b.Ranges[i]
		}
	}
	return nil
}

// Repeat replays a committed run: its positions become a range that is due, and the result replaces the run's
// output. If that range is pending already, it becomes due now. grant is the grant that the run had.
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
		// Records that were granted after the run have ranges or runs of their own.
		part = part.Granted(grant, p.Grant, b.Grant)
	}
	c.addRange(Item{
		After: p.After, Upto: p.Upto, Part: part, Replaces: p.Run, From: p.Window.From, Executed: p.LastExecution,
		Oldest: now, NotBefore: now, Replay: true, Chain: p.Chain, Run: p.Run,
	})
	return c, nil
}

// ReplayFailed makes all failed work due that no run covers, and returns the number of items.
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

// Skip gives up the remaining work of a run that did not commit. ErrBusy, ErrNothingDue: as for Replay.
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
