package engine

import (
	"cmp"
	"context"
	"slices"
	"time"

	"she/internal/access"
	"she/internal/backlog"
	"she/internal/hat"
	"she/internal/plan"
	"she/internal/vault"
)

// A Reason says what one function at one HAT is waiting for.
type Reason struct {
	Function hat.FunctionID
	backlog.Answer
}

// lastRuns is in how many runs the last committed one is looked for.
const lastRuns = 20

// Facts are what Why needs of a vault.
type Facts interface {
	FunctionStates(ctx context.Context, c access.Caller) ([]vault.FunctionState, error)
	Runs(ctx context.Context, c access.Caller, f hat.FunctionID, before hat.RunID, limit int) ([]vault.Run, error)
	Used(ctx context.Context, c access.Caller, f hat.FunctionID, from time.Time) (plan.Used, error)
	Storage(ctx context.Context, c access.Caller) (plan.Held, plan.Storage, error)
}

// Why returns the reasons of every function that is installed or was ever enabled at the HAT, by id. If f is
// not zero, only of f; then ErrFunctionNotFound. access.ErrDenied.
func (e *Engine) Why(ctx context.Context, v Facts, c access.Caller, f hat.FunctionID) ([]Reason, error) {
	states, err := v.FunctionStates(ctx, c)
	if err != nil {
		return nil, err
	}
	of := make(map[hat.FunctionID]*vault.FunctionState, len(states))
	ids := make([]hat.FunctionID, 0, len(states))
	for i := range states {
		of[states[i].Grant.Function] = &states[i]
		ids = append(ids, states[i].Grant.Function)
	}
	for _, installed := range e.registry.current() {
		if of[installed.ID] == nil {
			ids = append(ids, installed.ID)
		}
	}
	slices.SortFunc(ids, func(a, b hat.FunctionID) int { return cmp.Compare(a.String(), b.String()) })
	reasons := []Reason{}
	for _, id := range ids {
		if !f.IsZero() && f != id {
			continue
		}
		s, err := e.situation(ctx, v, c, id, of[id])
		if err != nil {
			return nil, err
		}
		reasons = append(reasons, Reason{id, backlog.Why(s, e.now())})
	}
	if !f.IsZero() && len(reasons) == 0 {
		return nil, ErrFunctionNotFound
	}
	return reasons, nil
}

func (e *Engine) situation(ctx context.Context, v Facts, c access.Caller, id hat.FunctionID, state *vault.FunctionState) (s backlog.Situation, err error) {
	installed, ok := e.registry.function(id)
	_, runnable := e.registry.runnable(id)
	s = backlog.Situation{Stopped: !e.atWork.Load(), Installed: ok, Available: runnable, Problem: installed.Problem}
	if state == nil {
		return s, nil
	}
	if state.Enabled && e.registry.isLoading(id) {
		s.Problem = nil // it is about one version, and another may be the granted one
	}
	s.Enabled, s.Trigger, s.InOrder, s.Running = state.Enabled, state.Grant.Trigger, state.Grant.InOrder, state.Started
	if runnable {
		switch _, fault := e.registry.fit(state.Grant); {
		case fault != nil && fault.Code == CodeNotLoaded:
			s.Available, s.Problem = false, fault
		default:
			s.Outdated, s.Wider = fault, e.registry.wider(state.Grant)
		}
	}
	if !e.quota.None() {
		from, _ := plan.Day(e.now())
		used, err := v.Used(ctx, c, id, from)
		if err != nil {
			return s, err
		}
		s.Quota, s.QuotaEnds = e.quota.Over(used, e.now())
	}
	if s.Quota == nil {
		held, limit, err := v.Storage(ctx, c)
		if err != nil {
			return s, err
		}
		s.Quota = limit.Full(held)
	}
	s.Front, s.Ranges = state.Front, state.Ranges
	if s.Front != nil {
		return s, nil
	}
	runs, err := v.Runs(ctx, c, id, hat.RunID{}, lastRuns)
	if i := slices.IndexFunc(runs, func(r vault.Run) bool { return r.State == vault.RunCommitted }); i >= 0 {
		s.Hidden = runs[i].Stats.Hidden
	}
	return s, err
}
