package ledger

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"she/internal/access"
	"she/internal/backlog"
	"she/internal/hat"
	"she/internal/receipt"
	"she/internal/vault"
)

// oneRun returns a run and its function.
func (t *tx) oneRun(id hat.RunID) (r vault.Run, f function, err error) {
	found, err := runs(t.ctx, t.Tx, runColumns+"WHERE r.id = ?", id.Bytes())
	if err != nil {
		return r, f, err
	}
	if len(found) == 0 {
		return r, f, vault.ErrNotFound
	}
	f, err = oneFunction(t.ctx, t.Tx, t.v.grants, found[0].Plan.Grant.Function)
	return found[0], f, err
}

// Replay makes the work of a run due now, with no failures counted. The run that does it has the cause
// plan.ByReplay. If the run committed, its positions are covered again under the present grant, and the
// result replaces its output: equal records stay, the others are superseded when the replay commits. If the
// run was replayed before, its newest generation is replaced; if the function's output replaces, the output
// of its newest run. vault.ErrNotFound, vault.ErrNotEnabled, vault.ErrBusy, vault.ErrNothingDue (it did not
// commit, and another run has done its work), access.ErrDenied.
func (v *Vault) Replay(ctx context.Context, c access.Caller, id hat.RunID) error {
	err := v.writeAs(ctx, c, "replay", holding(access.SteerRuns()), func(t *tx, _ access.Caller) error {
		t.grows = traces
		_, err := t.replay(id)
		return err
	})
	if err != nil {
		return fmt.Errorf("replay run %s: %w", id, err)
	}
	return nil
}

// ReplayEach replays each run by itself, at most vault.MostReplays of them. It returns the result of each, in
// order, or an error if none was replayed. vault.ErrTooMany, access.ErrDenied.
func (v *Vault) ReplayEach(ctx context.Context, c access.Caller, ids []hat.RunID) (outcomes []error, err error) {
	if len(ids) > vault.MostReplays {
		return nil, fmt.Errorf("replay %d runs: %w", len(ids), vault.ErrTooMany)
	}
	err = v.writeAs(ctx, c, "replay", holding(access.SteerRuns()), func(t *tx, _ access.Caller) error {
		t.grows = traces
		outcomes = make([]error, len(ids))
		for i, id := range ids {
			if outcomes[i], err = t.apart(func() error {
				_, err := t.replay(id)
				return err
			}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("replay %d runs: %w", len(ids), err)
	}
	return outcomes, nil
}

// apart does something whose failure must not undo the rest of the transaction. err is a refusal, undone by
// itself. fatal means that it could not be undone, or that the store failed.
func (t *tx) apart(do func() error) (err, fatal error) {
	began := t.state
	err, fatal = t.Apart(t.ctx, do, func(err error) bool {
		return slices.ContainsFunc(replayRefusals, func(refusal error) bool { return errors.Is(err, refusal) })
	})
	if err != nil {
		t.state = began
	}
	return err, fatal
}

var replayRefusals = []error{vault.ErrNotFound, vault.ErrNotEnabled, vault.ErrBusy, vault.ErrNothingDue}

// ReplayMany replays many runs of a function, all or none, and returns how many runs will follow at least.
// vault.ErrNotFound, vault.ErrNotEnabled, vault.ErrTooMany, access.ErrDenied.
func (v *Vault) ReplayMany(ctx context.Context, c access.Caller, f hat.FunctionID, w vault.ReplayFilter) (due int, err error) {
	err = v.writeAs(ctx, c, "replay", holding(access.SteerRuns()), func(t *tx, _ access.Caller) error {
		t.grows = traces
		due, err = t.replayMany(f, w)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("replay runs of %s: %w", f, err)
	}
	return due, nil
}

func (t *tx) replayMany(id hat.FunctionID, w vault.ReplayFilter) (due int, err error) {
	f, err := oneFunction(t.ctx, t.Tx, t.v.grants, id)
	if err != nil {
		return 0, err
	}
	if !f.Enabled {
		return 0, vault.ErrNotEnabled
	}
	if w.Failed {
		if f, err = t.settled(f); err != nil {
			return 0, err
		}
		var b backlog.Backlog
		b, due = f.ReplayFailed(t.now)
		if _, err = t.save(f, b); err != nil {
			return 0, err
		}
	}
	if w.Since.IsZero() {
		return due, nil
	}
	var runs []hat.RunID
	err = t.Each(t.ctx, `SELECT id FROM runs WHERE function = ? AND state = ? AND ended >= ? ORDER BY id LIMIT ?`,
		[]any{id.String(), string(vault.RunCommitted), w.Since.UnixMicro(), vault.MostReplays + 1}, func(scan func(...any) error) error {
			var b []byte
			if err := scan(&b); err != nil {
				return err
			}
			run, err := runID(b)
			runs = append(runs, run)
			return err
		})
	if err == nil && len(runs) > vault.MostReplays {
		err = vault.ErrTooMany
	}
	// All generations of a run have the same newest one.
	again := map[hat.RunID]bool{}
	for _, run := range runs {
		if err != nil {
			return 0, err
		}
		var of []hat.RunID
		of, err = t.replay(run)
		if errors.Is(err, vault.ErrBusy) {
			err = nil // a run is at it already
		}
		for _, run := range of {
			again[run] = true
		}
	}
	return due + len(again), err
}

// settled returns the function with its run in flight, after ending a run whose lease has lapsed.
func (t *tx) settled(f function) (function, error) {
	f, err := t.inFlight(f)
	if err != nil {
		return f, err
	}
	return t.take(f, f.Settled(t.v.boot, t.now, rand.Float64()), vault.Output{}, nil)
}

// replay makes the work of a run due, and returns the runs that will be repeated: the run, or those that have
// done its work since.
func (t *tx) replay(id hat.RunID) ([]hat.RunID, error) {
	r, f, err := t.oneRun(id)
	if err != nil {
		return nil, err
	}
	if !f.Enabled {
		return nil, vault.ErrNotEnabled
	}
	if f, err = t.settled(f); err != nil {
		return nil, err
	}
	if r.State == vault.RunCommitted {
		return t.repeat(f, r)
	}
	b, err := f.Replay(r.Plan, t.now)
	if err != nil {
		return nil, err
	}
	_, err = t.save(f, b)
	return []hat.RunID{id}, err
}

// repeat makes a range of what a committed run covered; its result will replace the run's output. If the run
// was replayed before, the newest generation is repeated. If the function's output replaces, only its newest
// run has output to repeat.
func (t *tx) repeat(f function, r vault.Run) ([]hat.RunID, error) {
	newest := []hat.RunID{r.Plan.Run}
	if f.Grant.Mode == hat.ReplaceOutput {
		var b []byte
		// Not by id: ids begin with the time, and the clock may have been set back.
		err := t.Get(t.ctx, "SELECT id FROM runs WHERE function = ? AND state = ? ORDER BY n DESC LIMIT 1",
			[]any{f.Grant.Function.String(), string(vault.RunCommitted)}, &b)
		if err != nil {
			return nil, err
		}
		if newest[0], err = runID(b); err != nil {
			return nil, err
		}
	}
	b := f.Backlog
	var done []hat.RunID
	for len(newest) > 0 {
		id := newest[0]
		newest = newest[1:]
		if !b.Repeating(id) {
			later, err := t.laterThan(id)
			if err != nil {
				return nil, err
			}
			if len(later) > 0 {
				newest = append(newest, later...)
				continue
			}
		}
		of, _, err := t.oneRun(id)
		if err != nil {
			return nil, err
		}
		var grant access.GrantID
		if err := t.Get(t.ctx, "SELECT granted FROM runs WHERE id = ?", []any{id.Bytes()}, &grant); err != nil {
			return nil, err
		}
		if b, err = b.Repeat(of.Plan, grant, t.now); err != nil {
			return nil, err
		}
		done = append(done, id)
	}
	_, err := t.save(f, b)
	return done, err
}

// laterThan returns the runs that have repeated a run.
func (t *tx) laterThan(id hat.RunID) (runs []hat.RunID, err error) {
	err = t.Each(t.ctx, "SELECT run FROM generations WHERE replaced = ? ORDER BY run", []any{id.Bytes()}, func(scan func(...any) error) error {
		var b []byte
		if err := scan(&b); err != nil {
			return err
		}
		run, err := runID(b)
		runs = append(runs, run)
		return err
	})
	return runs, err
}

// Skip gives up the work of a run that did not commit: the function does not get that data any more, as far
// as no other run has done it. vault.ErrNotFound, vault.ErrBusy, vault.ErrNothingDue, access.ErrDenied.
func (v *Vault) Skip(ctx context.Context, c access.Caller, id hat.RunID) error {
	err := v.writeAs(ctx, c, "skip", holding(access.SteerRuns()), func(t *tx, c access.Caller) error {
		r, f, err := t.oneRun(id)
		if err != nil {
			return err
		}
		if r.State == vault.RunCommitted {
			return vault.ErrNothingDue
		}
		if f, err = t.settled(f); err != nil {
			return err
		}
		step, err := f.Skip(r.Plan, t.now)
		if err != nil {
			return err
		}
		if f, err = t.take(f, step, vault.Output{}, nil); err != nil {
			return err
		}
		return t.receipt(receipt.Fact{
			Kind: receipt.Skip, User: c.UserID(), Application: c.ApplicationID(), Function: f.Grant.Function,
			Run: id, After: r.Plan.After, Upto: r.Plan.Upto, Outcome: "skipped",
		})
	})
	if err != nil {
		return fmt.Errorf("skip run %s: %w", id, err)
	}
	return nil
}

// Cancel ends a run in flight as refused; its Commit returns vault.ErrStale from now on. Its work is parked.
// vault.ErrNotFound, vault.ErrEnded, access.ErrDenied.
func (v *Vault) Cancel(ctx context.Context, c access.Caller, id hat.RunID) error {
	err := v.writeAs(ctx, c, "cancel", holding(access.SteerRuns()), func(t *tx, _ access.Caller) error {
		_, f, err := t.oneRun(id)
		if err != nil {
			return err
		}
		if f, err = t.inFlight(f); err != nil {
			return err
		}
		if f.Lease == nil || f.Lease.Plan.Run != id {
			return vault.ErrEnded
		}
		fault := hat.NewFault(hat.Owner, vault.CodeCancelled, "the run was cancelled")
		_, err = t.take(f, f.Cancel(fault, t.now), vault.Output{}, nil)
		return err
	})
	if err != nil {
		return fmt.Errorf("cancel run %s: %w", id, err)
	}
	return nil
}
