package engine

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"she/internal/hat"
)

// Wait is a HAT with work that is due, and when its oldest event was committed.
type Wait struct {
	HAT   hat.ID
	Since time.Time
}

// Waits keeps, from one life of the server to the next, which HATs have waited for how long. It is a hint about the order
// in which to look at them: one that is lost, old or wrong costs order, never work.
type Waits interface {
	// Waits is what was kept last; nil if that can't be read.
	Waits() []Wait
	// KeepWaits is called by one goroutine at a time.
	KeepWaits(all []Wait) error
}

// keepEvery is the time between two keepings. What came due after the last one before a kill is found by the sweep.
const keepEvery = 5 * time.Second

// waits is what the loop knows of the order of age before it has looked: what was kept, less what has been seen since.
type waits struct {
	kept   Waits // nil: nobody keeps anything
	before map[hat.ID]time.Time
	empty  bool // so is what was kept last
	one    sync.Mutex
}

func (l *loop) startWaits() {
	l.waits.before = make(map[hat.ID]time.Time)
	if l.waits.kept == nil {
		return
	}
	for _, a := range l.waits.kept.Waits() {
		l.waits.before[a.HAT] = a.Since
	}
}

// inOrder puts HATs whose age is known first, the oldest at the front. They are all HATs there are: what was kept of
// others is forgotten.
func (l *loop) inOrder(ids []hat.ID) []hat.ID {
	if len(l.waits.before) > 0 {
		before := make(map[hat.ID]time.Time, len(l.waits.before))
		for _, id := range ids {
			if since, ok := l.waits.before[id]; ok {
				before[id] = since
			}
		}
		l.waits.before = before
	}
	type place struct {
		id    hat.ID
		since time.Time
	}
	var known []place
	rest := slices.DeleteFunc(slices.Clone(ids), func(id hat.ID) bool {
		since, ok := l.waits.before[id]
		if blocked, is := l.tally.blocked[id]; is && (!ok || blocked.Before(since)) {
			since, ok = blocked, true
		}
		if ok {
			known = append(known, place{id, since})
		}
		return ok
	})
	slices.SortStableFunc(known, func(a, b place) int { return a.since.Compare(b.since) })
	all := make([]hat.ID, 0, len(ids))
	for _, p := range known {
		all = append(all, p.id)
	}
	return append(all, rest...)
}

// aged is every HAT that is known to have waiting work, or was when it was last looked at, the oldest first.
func (l *loop) aged() []Wait {
	oldest := make(map[hat.ID]time.Time, len(l.waits.before)+len(l.queue.lanes))
	see := func(id hat.ID, since time.Time) {
		if at, ok := oldest[id]; !ok || since.Before(at) {
			oldest[id] = since
		}
	}
	for id, since := range l.waits.before {
		see(id, since)
	}
	for id, since := range l.tally.blocked {
		see(id, since)
	}
	for at, since := range l.tally.flying {
		see(at.hat, since)
	}
	for id, lane := range l.queue.lanes {
		for _, t := range lane.tasks {
			if t.request == nil {
				see(id, t.since)
			}
		}
	}
	all := make([]Wait, 0, len(oldest))
	for id, since := range oldest {
		all = append(all, Wait{id, since})
	}
	slices.SortFunc(all, func(a, b Wait) int { return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.HAT, b.HAT)) })
	return all
}

// keepWaits has them kept, in the background; what can't be kept is done without. Nothing waits for it before the end, and
// one that is still under way makes the next unneeded unless it is the last.
func (l *loop) keepWaits(ctx context.Context, last bool) {
	if l.waits.kept == nil {
		return
	}
	all := l.aged()
	if len(all) == 0 && l.waits.empty {
		return
	}
	l.waits.empty = len(all) == 0
	l.wg.Go(func() {
		if last {
			l.waits.one.Lock()
		} else if !l.waits.one.TryLock() {
			return
		}
		defer l.waits.one.Unlock()
		if err := l.waits.kept.KeepWaits(all); err != nil && ctx.Err() == nil {
			l.log.Warn("the order of age can't be kept", "error", err)
		}
	})
}
