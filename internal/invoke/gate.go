package invoke

import (
	"context"
	"sync"
)

// gate bounds how many invocations run at once and shares the places fairly: a free place goes to the tenant that
// has the fewest running, among equals to the one that has waited longest. So one person with a thousand events due
// does not hold up another with one.
type gate struct {
	mu      sync.Mutex
	free    int
	running map[Tenant]int
	waiting []*waiter // in the order of arrival
}

type waiter struct {
	tenant Tenant
	in     chan struct{} // closed when it has a place
}

func newGate(places int) *gate { return &gate{free: places, running: map[Tenant]int{}} }

// enter waits for a place; the caller gives it back with leave. The error is ctx's cause.
func (g *gate) enter(ctx context.Context, t Tenant) (leave func(), err error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	w := &waiter{t, make(chan struct{})}
	g.mu.Lock()
	g.waiting = append(g.waiting, w)
	g.admit()
	g.mu.Unlock()
	leave = sync.OnceFunc(func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.free++
		if g.running[t]--; g.running[t] == 0 {
			delete(g.running, t)
		}
		g.admit()
	})
	select {
	case <-w.in:
		return leave, nil
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
	leave() // admitted in the same moment
	return nil, context.Cause(ctx)
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
