package engine

import (
	"context"
	"errors"
	"sync"

	"she/internal/access"
	"she/internal/hat"
	"she/internal/vault"
)

// errCancelled is the cause of a run's context that Cancel ended.
var errCancelled = errors.New("the run was cancelled")

// flights holds the runs in flight, with the way to end each.
type flights struct {
	mu sync.Mutex
	of map[hat.RunID]context.CancelCauseFunc
}

// begin returns a context for a run that Cancel can end.
func (f *flights) begin(ctx context.Context, id hat.RunID) (_ context.Context, done func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.of == nil {
		f.of = make(map[hat.RunID]context.CancelCauseFunc)
	}
	f.of[id] = cancel
	return ctx, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.of, id)
		cancel(nil)
	}
}

func (f *flights) end(id hat.RunID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if cancel := f.of[id]; cancel != nil {
		cancel(errCancelled)
	}
}

// Steered is a vault whose runs somebody steers.
type Steered interface {
	Cancel(ctx context.Context, c access.Caller, id hat.RunID) error
	Replay(ctx context.Context, c access.Caller, id hat.RunID) error
	ReplayEach(ctx context.Context, c access.Caller, ids []hat.RunID) (outcomes []error, err error)
	ReplayMany(ctx context.Context, c access.Caller, f hat.FunctionID, w vault.ReplayFilter) (due int, err error)
	Skip(ctx context.Context, c access.Caller, id hat.RunID) error
}

// Cancel ends a run in flight. When it returns, nothing of the run will be saved, its sandbox is being
// removed, and its work is parked. Errors as in ledger.Vault.
func (e *Engine) Cancel(ctx context.Context, hatID hat.ID, v Steered, c access.Caller, id hat.RunID) error {
	if err := v.Cancel(ctx, c, id); err != nil {
		return err
	}
	// If we stop here, the end is stored, and the sandbox ends with the server.
	e.flights.end(id)
	e.watchers.ring(hatID)
	return nil
}

// Replay makes the work of a run due now, and wakes the engine. Errors as in ledger.Vault.
func (e *Engine) Replay(ctx context.Context, hatID hat.ID, v Steered, c access.Caller, id hat.RunID) error {
	if err := v.Replay(ctx, c, id); err != nil {
		return err
	}
	e.Wake(hatID)
	return nil
}

// ReplayEach replays each run by itself and returns the result of each. Errors as in ledger.Vault.
func (e *Engine) ReplayEach(ctx context.Context, hatID hat.ID, v Steered, c access.Caller, ids []hat.RunID) (outcomes []error, err error) {
	if outcomes, err = v.ReplayEach(ctx, c, ids); err == nil {
		e.Wake(hatID)
	}
	return outcomes, err
}

// ReplayMany makes the work of many runs of a function due, and wakes the engine. Errors as in ledger.Vault.
func (e *Engine) ReplayMany(ctx context.Context, hatID hat.ID, v Steered, c access.Caller, f hat.FunctionID, w vault.ReplayFilter) (due int, err error) {
	if due, err = v.ReplayMany(ctx, c, f, w); err == nil {
		e.Wake(hatID)
	}
	return due, err
}

// Skip gives up the work of a run; work that waited for it may be due then. Errors as in ledger.Vault.
func (e *Engine) Skip(ctx context.Context, hatID hat.ID, v Steered, c access.Caller, id hat.RunID) error {
	if err := v.Skip(ctx, c, id); err != nil {
		return err
	}
	e.Wake(hatID)
	return nil
}
