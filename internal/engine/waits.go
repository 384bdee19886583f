package engine

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"she/internal/hat"
)

// Wait is a HAT with due work, and when its oldest event was committed.
type Wait struct {
	HAT   hat.ID
	Since time.Time
}

// Waits stores over a restart which HATs have waited for how long. It is a hint about the order of scans: if
// it is lost, old or wrong, the order suffers, but no work is lost.
type Waits interface {
	// Waits returns what was stored last; nil if it can't be read.
	Waits() []Wait
	// KeepWaits is called by one goroutine at a time.
	KeepWaits(all []Wait) error
}

// keepEvery is the time between two stores. The sweep finds work that became due between the last one and a
// kill.
const keepEvery = 5 * time.Second

// waits is what the loop knows of the order of age before it has scanned: what was stored, less the HATs
// scanned since.
type waits struct {
	kept   Waits // nil: not stored
	before map[hat.ID]time.Time
	empty  bool // what was stored last is empty too
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

// inOrder puts HATs with a known age first, the oldest at the front. ids are all HATs, so ages of others are
// forgotten.
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

// aged returns every HAT that has pending work, as far as known, the oldest first.
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

// keepWaits stores the waits in the background. If that fails, the engine goes on without. Only the last one,
// at the stop, is waited for; another is skipped while one is in progress.
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
			l.log.Warn("the order of waiting HATs can't be stored", "error", err)
		}
	})
}
