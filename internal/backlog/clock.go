package backlog

import (
	"time"

	"she/internal/hat"
	"she/internal/plan"
	"she/internal/trigger"
)

// SetBack cuts times that lie too far ahead of now, and reports whether it changed any. After a clock that
// ran ahead is set back, a pause of seconds could last a day. The result is stored: a limit computed at each
// look would move with the clock and never be reached.
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
			return // unchanged
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

// each calls f with every item. b must be a copy.
func (b *Backlog) each(f func(*Item)) {
	if b.Front != nil {
		f(b.Front)
	}
	for i := range b.Ranges {
		f(&b.Ranges[i])
	}
}

// EndPauses makes failed work due, with no failures counted, if other code would run now than the code that
// failed. It reports whether it changed anything. former reports whether a run was of other code. Parked work
// stays parked, and work that found no room in the HAT still waits for room.
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
