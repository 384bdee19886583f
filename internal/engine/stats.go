package engine

import (
	"errors"
	"time"

	"she/internal/hat"
	"she/internal/vault"
)

// Stats say how much work there is, as far as HATs have been looked at: no vault is opened for them.
type Stats struct {
	// Oldest is when the oldest event was committed that is due and not parked, whether its run has begun or its function
	// can't run now; zero: there is none. What waits for a period, a pause or a person is not due.
	Oldest   time.Time
	Due      int // functions at HATs that could start now, requests included
	Blocked  int // HATs with work that is due for a function that can't run now
	InFlight int // runs
	Parked   int // pieces of work that wait for a person, as of the last look at each HAT
	Stalled  int // pieces of work that failed for a reason of the operator's and are tried again, as of the same look
	Unseen   int // HATs that wait to be looked at
}

// Stats of this moment; false: the engine is not at work.
func (e *Engine) Stats() (Stats, bool) {
	if !e.atWork.Load() {
		return Stats{}, false
	}
	answer := make(chan Stats, 1)
	select {
	case e.asked <- answer:
		return <-answer, true
	case <-e.ended:
		return Stats{}, false
	}
}

// A tally is what the loop remembers of HATs for Stats alone. Nothing is decided by it.
type tally struct {
	flying  map[workAt]time.Time // runs because of data: the oldest event each may cover
	blocked map[hat.ID]time.Time // HATs with work for functions that can't run: its oldest event
	held    map[hat.ID]heldWork  // HATs with work that is parked or stalled
}

// heldWork counts pieces of work of one HAT: see vault.Work.
type heldWork struct{ parked, stalled int }

type workAt struct {
	hat      hat.ID
	function hat.FunctionID
}

func newTally() tally {
	return tally{flying: make(map[workAt]time.Time), blocked: make(map[hat.ID]time.Time), held: make(map[hat.ID]heldWork)}
}

func (y *tally) begun(t task) {
	if t.request == nil {
		y.flying[workAt{t.hat, t.function}] = t.since
	}
}

func (y *tally) done(t task) {
	if t.request == nil {
		delete(y.flying, workAt{t.hat, t.function})
	}
}

// see keeps what a look has found.
func (y *tally) see(l look) {
	if errors.Is(l.err, vault.ErrNotFound) {
		delete(y.blocked, l.hat)
		delete(y.held, l.hat)
	}
	if l.err != nil {
		return
	}
	keep(y.blocked, l.hat, l.blocked, !l.blocked.IsZero())
	if l.counted {
		keep(y.held, l.hat, heldWork{l.parked, l.stalled}, l.parked+l.stalled > 0)
	}
}

func keep[K comparable, V any](m map[K]V, key K, v V, there bool) {
	if there {
		m[key] = v
	} else {
		delete(m, key)
	}
}

// stats makes the sum.
func (l *loop) stats() Stats {
	s := Stats{InFlight: l.running, Blocked: len(l.tally.blocked), Unseen: len(l.background.order)}
	older := func(t time.Time) {
		if s.Oldest.IsZero() || t.Before(s.Oldest) {
			s.Oldest = t
		}
	}
	for _, lane := range l.queue.lanes {
		s.Due += len(lane.tasks)
		for _, t := range lane.tasks {
			if t.request == nil {
				older(t.since)
			}
		}
	}
	for _, since := range l.tally.flying {
		older(since)
	}
	for _, since := range l.tally.blocked {
		older(since)
	}
	for _, n := range l.tally.held {
		s.Parked += n.parked
		s.Stalled += n.stalled
	}
	return s
}
