package engine

import (
	"context"

	"she/internal/backlog"
	"she/internal/hat"
)

// keepKnown stores what is known of all functions, for the next start. If that fails, the engine goes on
// without.
func (e *Engine) keepKnown(ctx context.Context) {
	if e.keep == nil {
		return
	}
	e.keeping.Lock()
	defer e.keeping.Unlock()
	e.unkept.Store(false)
	if err := e.keep(e.registry.all()); err != nil && ctx.Err() == nil {
		e.log.Warn("the state of the functions can't be stored; after the next start they are shown as not asked yet", "error", err)
	}
}

// counted counts a run that has ended, with or without a fault.
func (a *attempt) counted(fault *hat.Fault) {
	if a.function.ID.IsZero() {
		return // there was nothing to run
	}
	state := backlog.Committed
	if fault != nil {
		state = backlog.EndState(fault)
	}
	a.registry.ran(a.function, state, a.now())
	a.unkept.Store(true)
}
