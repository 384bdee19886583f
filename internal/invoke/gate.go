package invoke

import (
	"context"
	"sync"

	"she/internal/sandbox"
)

// gate bounds how many invocations run at once and shares the places fairly: a free place goes to the tenant that
// has the fewest running, among equals to the one that has waited longest. So one person with a thousand events due
// does not hold up another with one.
//
// A place whose sandbox could not be removed is lost until it is gone. When all are, nobody waits for one.
type gate struct {
	mu      sync.Mutex
	places  int
	free    int
	lost    int
	running map[Tenant]int
	waiting []*waiter // in the order of arrival
}

type waiter struct {
	tenant Tenant
	in     chan struct{} // closed when it has a place
	none   chan struct{} // closed when there is none to wait for
}

// A spot is somebody's place. It is left once.
type spot struct {
	g      *gate
	tenant Tenant
	left   bool // these two under the gate's lock
	lost   bool
}

func newGate(places int) *gate {
	return &gate{places: places, free: places, running: map[Tenant]int{}}
}

// enter waits for a place; the caller gives it back with leave. The error is ctx's cause, or the operator's failure that no
// place is left to wait for.
func (g *gate) enter(ctx context.Context, t Tenant) (*spot, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	w := &waiter{t, make(chan struct{}), make(chan struct{})}
	g.mu.Lock()
	if g.lost == g.places {
		g.mu.Unlock()
		return nil, errNoPlace
	}
	g.waiting = append(g.waiting, w)
	g.admit()
	g.mu.Unlock()
	s := &spot{g: g, tenant: t}
	select {
	case <-w.in:
		return s, nil
	case <-w.none:
		return nil, errNoPlace
	case <-ctx.Done():
	}
	g.mu.Lock()
	for i, other := range g.waiting {
		if other == w {
			g.waiting = append(g.waiting[:i], g.waiting[i+1:]...)
			g.mu.Unlock()
			return nil, context.Cause(ctx)
		}
	}
	g.mu.Unlock()
	select {
	case <-w.in: // in the same moment
		s.leave()
	case <-w.none:
	}
	return nil, context.Cause(ctx)
}

// errNoPlace is why nothing runs any more.
var errNoPlace = sandbox.Failed(Operator, sandbox.StartFailed,
	"no sandbox can start: of as many as may run at once, all ended and could not be removed")

// leave gives the place back.
func (s *spot) leave() {
	g := s.g
	g.mu.Lock()
	defer g.mu.Unlock()
	if s.left {
		return
	}
	s.left = true
	if s.lost {
		g.lost--
	}
	g.free++
	if g.running[s.tenant]--; g.running[s.tenant] == 0 {
		delete(g.running, s.tenant)
	}
	g.admit()
}

// lose says that the sandbox of a place is still there though it ended. It may be called again.
func (s *spot) lose() {
	g := s.g
	g.mu.Lock()
	defer g.mu.Unlock()
	if s.left || s.lost {
		return
	}
	s.lost = true
	if g.lost++; g.lost < g.places {
		return
	}
	for _, w := range g.waiting {
		close(w.none)
	}
	g.waiting = nil
}

// busy is how many places are taken.
func (g *gate) busy() (n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, of := range g.running {
		n += of
	}
	return n
}

// admit fills the free places. The lock is held.
func (g *gate) admit() {
	for g.free > 0 && len(g.waiting) > 0 {
		best := 0
		for i, w := range g.waiting {
			if g.running[w.tenant] < g.running[g.waiting[best].tenant] {
				best = i
			}
		}
		w := g.waiting[best]
		g.waiting = append(g.waiting[:best], g.waiting[best+1:]...)
		g.free--
		g.running[w.tenant]++
		close(w.in)
	}
}
