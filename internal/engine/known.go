package engine

import (
	"context"

	"she/internal/backlog"
	"she/internal/hat"
)

// keepKnown has kept what is known of all functions, for the next life of the server to show. What can't be kept is done
// without.
func (e *Engine) keepKnown(ctx context.Context) {
	if e.keep == nil {
		return
	}
	e.keeping.Lock()
	defer e.keeping.Unlock()
	e.unkept.Store(false)
	if err := e.keep(e.registry.all()); err != nil && ctx.Err() == nil {
		e.log.Warn("what is known of the functions can't be kept; after the next start they are shown as not asked yet", "error", err)
	}
}

// counted counts a run that has ended, with a fault or without.
func (a *attempt) counted(fault *hat.Fault) {
	if a.function.ID.IsZero() {
		return // nothing was found to run
	}
	state := backlog.Committed
	if fault != nil {
		state = backlog.EndState(fault)
	}
	a.registry.ran(a.function, state, a.now())
	a.unkept.Store(true)
}
