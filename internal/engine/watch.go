package engine

import (
	"sync"

	"she/internal/hat"
)

// watchers are callers that want to know when runs of a HAT may have changed their state.
type watchers struct {
	mu     sync.Mutex
	of     map[hat.ID]map[chan struct{}]bool
	closed bool
}

// Watch returns a one-slot channel that gets a signal when the state of a run of the HAT may have changed;
// read the state from the vault. A signal may be lost in a crash, so look from time to time. The channel is
// closed when the engine stops. Call stop when nobody listens any more.
func (e *Engine) Watch(hatID hat.ID) (bell <-chan struct{}, stop func()) {
	w := &e.watchers
	ch := make(chan struct{}, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		close(ch)
		return ch, func() {}
	}
	if w.of == nil {
		w.of = make(map[hat.ID]map[chan struct{}]bool)
	}
	if w.of[hatID] == nil {
		w.of[hatID] = make(map[chan struct{}]bool)
	}
	w.of[hatID][ch] = true
	return ch, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.of[hatID], ch)
		if len(w.of[hatID]) == 0 {
			delete(w.of, hatID)
		}
	}
}

func (w *watchers) ring(hatID hat.ID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for ch := range w.of[hatID] {
		select {
		case ch <- struct{}{}:
		default: // it has a signal already
		}
	}
}

func (w *watchers) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	for _, all := range w.of {
		for ch := range all {
			close(ch)
		}
	}
	w.of = nil
}
