package backlog

import (
	"time"

	"she/internal/hat"
	"she/internal/plan"
	"she/internal/trigger"
)

// SetBack cuts times that lie too far ahead of now, and says whether any did: a clock that ran ahead was set back, and a
// pause of seconds would last a day. A bound that moved with the clock would never be reached, so the result is stored.
func (b Backlog) SetBack(now time.Time) (_ Backlog, some bool) {
	c := b.copied()
	sooner := func(at *time.Time, latest time.Time) {
		if at.After(latest) {
			*at, some = latest, true
		}
	}
	sooner(&c.LastExecution, now)
	cut := func(i *Item) {
		if i.Parked {
			return // waits for a person
		}
		sooner(&i.Oldest, now)
		if i.NotBefore.IsZero() {
			return // the same
		}
		next := now
		if !i.Replay {
			next = trigger.NotBefore(c.state(), now)
		}
		sooner(&i.NotBefore, plan.Latest(i.Fault, i.tries(), next, now))
	}
	c.each(cut)
	if !some {
		return b, false
	}
	return c, true
}

// each calls f with all that waits, which must be copied.
func (b *Backlog) each(f func(*Item)) {
	if b.Front != nil {
		f(b.Front)
	}
	for i := range b.Ranges {
		f(&b.Ranges[i])
	}
}

// EndPauses makes due what waits to be tried again after failures of other code than would run now, as if it had never
// failed, and says whether anything did. former says of a run whether it was other code. What is parked waits for a person
// all the same, and what found no room in the HAT waits for room.
func (b Backlog) EndPauses(former func(hat.RunID) bool, now time.Time) (_ Backlog, some bool) {
	c := b.copied()
	c.each(func(i *Item) {
		paused := !i.Parked && i.Attempt > 0 && i.Fault != nil && i.NotBefore.After(now)
		if !paused || plan.OverStorage(i.Fault) || i.Run.IsZero() || c.over(i) || !former(i.Run) {
			return
		}
		i.again(now, i.Replay)
		some = true
	})
	if !some {
		return b, false
	}
	return c, true
}
