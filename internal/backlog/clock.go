package backlog

import (
	"time"

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
	if c.Front != nil {
		cut(c.Front)
	}
	for i := range c.Ranges {
		cut(&c.Ranges[i])
	}
	if !some {
		return b, false
	}
	return c, true
}
