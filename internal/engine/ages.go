package engine

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"
)

// Aged is a HAT with work that is due, and when its oldest event was committed.
type Aged struct {
	HAT   string
	Since time.Time
}

// Ages keeps, from one life of the server to the next, which HATs have waited for how long. It is a hint about the order
// in which to look at them: one that is lost, old or wrong costs order, never work.
type Ages interface {
	// Ages is what was kept last; nil if that can't be read.
	Ages() []Aged
	// KeepAges is called by one goroutine at a time.
	KeepAges(all []Aged) error
}

// keepEvery is the time between two keepings. What came due after the last one before a kill is found by the sweep.
const keepEvery = 5 * time.Second

// ages is what the loop knows of the order of age before it has looked: what was kept, less what has been seen since.
type ages struct {
	kept   Ages // nil: nobody keeps anything
	before map[string]time.Time
	empty  bool // so is what was kept last
	one    sync.Mutex
}

func (l *loop) startAges() {
	l.ages.before = make(map[string]time.Time)
	if l.ages.kept == nil {
		return
	}
	for _, a := range l.ages.kept.Ages() {
		l.ages.before[a.HAT] = a.Since
	}
}

// inOrder puts HATs whose age is known first, the oldest at the front. They are all HATs there are: what was kept of
// others is forgotten.
func (l *loop) inOrder(ids []string) []string {
	if len(l.ages.before) > 0 {
		before := make(map[string]time.Time, len(l.ages.before))
		for _, id := range ids {
			if since, ok := l.ages.before[id]; ok {
				before[id] = since
			}
		}
		l.ages.before = before
	}
	type place struct {
		id    string
		since time.Time
	}
	var known []place
	rest := slices.DeleteFunc(slices.Clone(ids), func(id string) bool {
		since, ok := l.ages.before[id]
		if blocked, is := l.census.blocked[id]; is && (!ok || blocked.Before(since)) {
			since, ok = blocked, true
		}
		if ok {
			known = append(known, place{id, since})
		}
		return ok
	})
	slices.SortStableFunc(known, func(a, b place) int { return a.since.Compare(b.since) })
	all := make([]string, 0, len(ids))
	for _, p := range known {
		all = append(all, p.id)
	}
	return append(all, rest...)
}

// aged is every HAT that is known to have waiting work, or was when it was last looked at, the oldest first.
func (l *loop) aged() []Aged {
	oldest := make(map[string]time.Time, len(l.ages.before)+len(l.queue.lanes))
	see := func(id string, since time.Time) {
		if at, ok := oldest[id]; !ok || since.Before(at) {
			oldest[id] = since
		}
	}
	for id, since := range l.ages.before {
		see(id, since)
	}
	for id, since := range l.census.blocked {
		see(id, since)
	}
	for at, since := range l.census.flying {
		see(at.hat, since)
	}
	for id, lane := range l.queue.lanes {
		for _, t := range lane.tasks {
			if t.request == nil {
				see(id, t.since)
			}
		}
	}
	all := make([]Aged, 0, len(oldest))
	for id, since := range oldest {
		all = append(all, Aged{id, since})
	}
	slices.SortFunc(all, func(a, b Aged) int { return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.HAT, b.HAT)) })
	return all
}

// keepAges has them kept, in the background; what can't be kept is done without. Nothing waits for it before the end, and
// one that is still under way makes the next unneeded unless it is the last.
func (l *loop) keepAges(ctx context.Context, last bool) {
	if l.ages.kept == nil {
		return
	}
	all := l.aged()
	if len(all) == 0 && l.ages.empty {
		return
	}
	l.ages.empty = len(all) == 0
	l.wg.Go(func() {
		if last {
			l.ages.one.Lock()
		} else if !l.ages.one.TryLock() {
			return
		}
		defer l.ages.one.Unlock()
		if err := l.ages.kept.KeepAges(all); err != nil && ctx.Err() == nil {
			l.log.Warn("the order of age can't be kept", "error", err)
		}
	})
}
