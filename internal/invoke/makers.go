package invoke

import (
	"context"
	"slices"
	"sync"
)

// makers bounds how many instances are made for stock at once: as many as there are processors that no invocation needs,
// and always one, so that a busy server comes to have copies at all.
type makers struct {
	processors int
	busy       func() int // invocations under way

	mu      sync.Mutex
	making  int
	waiting []chan struct{} // in the order of arrival
}

// idle says whether a processor is to spare.
func (m *makers) idle() bool { return m.busy() < m.processors }

// enter waits for its turn; false says that ctx ended first. Whoever entered leaves.
func (m *makers) enter(ctx context.Context) bool {
	in := make(chan struct{})
	m.mu.Lock()
	m.waiting = append(m.waiting, in)
	m.mu.Unlock()
	m.admit()
	select {
	case <-in:
		return true
	case <-ctx.Done():
	}
	m.mu.Lock()
	at := slices.Index(m.waiting, in)
	if at >= 0 {
		m.waiting = slices.Delete(m.waiting, at, at+1)
	}
	m.mu.Unlock()
	if at < 0 { // admitted in the same moment
		m.leave()
	}
	return false
}

func (m *makers) leave() {
	m.mu.Lock()
	m.making--
	m.mu.Unlock()
	m.admit()
}

// admit lets in as many as may. It is called whenever an invocation has ended, too.
func (m *makers) admit() {
	busy := m.busy()
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(m.waiting) > 0 && m.making < max(1, m.processors-busy) {
		close(m.waiting[0])
		m.waiting = m.waiting[1:]
		m.making++
	}
}
