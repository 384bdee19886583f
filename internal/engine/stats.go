package engine

import (
	"errors"
	"time"

	"she/internal/hat"
	"she/internal/vault"
)

// Stats says how much work there is, as of the last scan of each HAT. It opens no vault.
type Stats struct {
	// Oldest is when the oldest event was committed that is due and not parked, even if its run is in flight
	// or its function is not available; zero: none. Work that waits for a period, a pause or a person is not
	// due.
	Oldest    time.Time
	Due       int // functions at HATs that could start now, requests included
	Blocked   int // HATs with due work for functions that are not available
	InFlight  int // runs in flight
	Parked    int // work items that wait for a person
	Stalled   int // work items that failed for a reason that the operator must mend; they are tried again
	Unscanned int // HATs that wait to be scanned
}

// Stats returns the present figures; false: the engine is stopped.
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

// A tally is what the loop remembers of HATs for Stats. No decision uses it.
type tally struct {
	flying  map[workAt]time.Time // runs because of data, with the oldest event that each may cover
	blocked map[hat.ID]time.Time // HATs with due work for functions that are not available, with its oldest event
	held    map[hat.ID]heldWork  // HATs with parked or stalled work
}

// heldWork counts work items of one HAT; see ledger.Vault.Parked.
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

// see stores the result of a scan.
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

// stats adds everything up.
func (l *loop) stats() Stats {
	s := Stats{InFlight: l.running, Blocked: len(l.tally.blocked), Unscanned: len(l.background.order)}
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
