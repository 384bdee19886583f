package engine

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"time"

	"she/internal/hat"
)

// Shares are slots for long evaluations, so that the processor is divided among HATs. Others wait, and the
// next slot goes to the HAT that has used least. An evaluation is asked every few milliseconds, so that a new
// one does not wait for the end of another. Evaluations that end within their first turn never ask.
type Shares struct {
	mu      sync.Mutex
	free    int   // free slots
	now     int64 // what the HAT that last got a slot had used; a new HAT starts with this
	tenants map[hat.ID]*tenant
}

// A tenant is a HAT with long evaluations.
type tenant struct {
	used    int64 // units of fuel, counted from Shares.now when it came
	holds   int   // slots
	waiting []*waiter
}

type waiter struct {
	tenant *tenant
	ready  chan struct{} // closed when it has a slot
}

// NewShares returns Shares with that many slots; 0: one less than the number of processors, at least one.
func NewShares(places int) *Shares {
	if places <= 0 {
		places = max(1, runtime.NumCPU()-1)
	}
	return &Shares{free: places, tenants: make(map[hat.ID]*tenant)}
}

// Of returns the Turns of an evaluation for a HAT. Call Rest when it has ended.
func (s *Shares) Of(id hat.ID) *Turns { return &Turns{shares: s, hat: id} }

// Turns is the bundle.Pace of one evaluation, for one goroutine at a time.
type Turns struct {
	shares *Shares
	hat    hat.ID
	holds  bool
	waited time.Duration
}

// Turn takes or keeps a slot, or waits for one. The error is ctx's.
func (t *Turns) Turn(ctx context.Context, units int64) error {
	s := t.shares
	s.mu.Lock()
	me := s.tenant(t.hat)
	me.used += units
	if t.holds {
		if next := s.next(); next == nil || next.used > me.used {
			s.now = max(s.now, min(me.used, s.least()))
			s.mu.Unlock()
			return nil
		}
		me.holds--
		t.holds = false
		s.free++
	}
	w := &waiter{me, make(chan struct{})}
	me.waiting = append(me.waiting, w)
	s.grant()
	s.mu.Unlock()
	select {
	case <-w.ready:
		t.holds = true
		return nil
	default:
	}
	began := time.Now()
	defer func() { t.waited += time.Since(began) }()
	select {
	case <-w.ready:
		t.holds = true
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-w.ready: // the slot came at the same time
		me.holds--
		s.free++
		s.grant()
	default:
		me.waiting = slices.DeleteFunc(me.waiting, func(other *waiter) bool { return other == w })
	}
	return ctx.Err()
}

// Rest gives the slot back, at the end of the evaluation and before it waits for something other than the
// processor. The next Turn takes one again.
func (t *Turns) Rest() {
	if t == nil || !t.holds {
		return
	}
	s := t.shares
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tenants[t.hat].holds--
	t.holds = false
	s.free++
	s.grant()
}

// Waiting returns how many evaluations wait for a slot.
func (s *Shares) Waiting() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.tenants {
		n += len(t.waiting)
	}
	return n
}

// Waited returns how long the evaluation has waited for others.
func (t *Turns) Waited() time.Duration { return t.waited }

// tenant returns the HAT's tenant. It is forgotten when it has no evaluation and has used no more than
// others.
func (s *Shares) tenant(id hat.ID) *tenant {
	t := s.tenants[id]
	if t == nil {
		const many = 64
		if len(s.tenants) >= many {
			for name, t := range s.tenants {
				if t.holds == 0 && len(t.waiting) == 0 && t.used <= s.now {
					delete(s.tenants, name)
				}
			}
		}
		t = &tenant{}
		s.tenants[id] = t
	}
	if t.holds == 0 && len(t.waiting) == 0 {
		t.used = max(t.used, s.now)
	}
	return t
}

// next returns the waiting HAT that has used least, or nil.
func (s *Shares) next() (least *tenant) {
	for _, t := range s.tenants {
		if len(t.waiting) > 0 && (least == nil || t.used < least.used) {
			least = t
		}
	}
	return least
}

// least returns the least that a HAT with a slot has used.
func (s *Shares) least() int64 {
	least := int64(-1)
	for _, t := range s.tenants {
		if t.holds > 0 && (least < 0 || t.used < least) {
			least = t.used
		}
	}
	return max(least, 0)
}

// grant gives free slots to waiting HATs.
func (s *Shares) grant() {
	for s.free > 0 {
		t := s.next()
		if t == nil {
			return
		}
		s.now = max(s.now, t.used)
		w := t.waiting[0]
		t.waiting = t.waiting[1:]
		t.holds++
		s.free--
		close(w.ready)
	}
}
