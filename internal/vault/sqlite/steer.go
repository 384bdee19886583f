package sqlite

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"she/internal/access"
	"she/internal/hat"
	"she/internal/plan"
	"she/internal/receipt"
	"she/internal/vault"
)

// oneRun is a run with the function it is of.
func (t *tx) oneRun(id hat.RunID) (r vault.Run, f function, err error) {
	found, err := runs(t.ctx, t.conn, runColumns+"WHERE r.id = ?", id.Bytes())
	if err != nil {
		return r, f, err
	}
	if len(found) == 0 {
		return r, f, vault.ErrNotFound
	}
	f, err = oneFunction(t.ctx, t.conn, t.v.grants, found[0].Plan.Grant.Function)
	return found[0], f, err
}

// Replay: see vault.Runs.
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

// ReplayEach: see vault.Runs.
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

// apart does something that may fail without undoing the rest of the transaction. fatal means that it could not be undone, or
// that the fault is no answer but the store's.
func (t *tx) apart(do func() error) (err, fatal error) {
	began := t.state
	if _, err := t.exec(t.ctx, "SAVEPOINT apart"); err != nil {
		return nil, err
	}
	if err = do(); err != nil {
		if !slices.ContainsFunc(replayRefusals, func(refusal error) bool { return errors.Is(err, refusal) }) {
			return nil, err
		}
		t.state = began
		t.v.forget()
		if _, err := t.exec(t.ctx, "ROLLBACK TO apart"); err != nil {
			return nil, err
		}
	}
	_, fatal = t.exec(t.ctx, "RELEASE apart")
	return err, fatal
}

var replayRefusals = []error{vault.ErrNotFound, vault.ErrNotEnabled, vault.ErrBusy, vault.ErrNothingDue}

// ReplayMany: see vault.Runs.
func (v *Vault) ReplayMany(ctx context.Context, c access.Caller, f hat.FunctionID, w vault.Which) (due int, err error) {
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

func (t *tx) replayMany(id hat.FunctionID, w vault.Which) (due int, err error) {
	f, err := oneFunction(t.ctx, t.conn, t.v.grants, id)
	if err != nil {
		return 0, err
	}
	if !f.enabled {
		return 0, vault.ErrNotEnabled
	}
	if w.Failed {
		if due, err = t.replayFailed(f); err != nil {
			return 0, err
		}
	}
	if w.Since.IsZero() {
		return due, nil
	}
	var runs []hat.RunID
	err = t.each(t.ctx, `SELECT id FROM runs WHERE function = ? AND state = ? AND ended >= ? ORDER BY id LIMIT ?`,
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
	// Generations of one run have the same newest one.
	again := map[hat.RunID]bool{}
	for _, run := range runs {
		if err != nil {
			return 0, err
		}
		var of []hat.RunID
		of, err = t.replay(run)
		if errors.Is(err, vault.ErrBusy) {
			err = nil // it is being done
		}
		for _, run := range of {
			again[run] = true
		}
	}
	return due + len(again), err
}

// replayFailed makes all work that has failed due.
func (t *tx) replayFailed(f function) (due int, err error) {
	l, err := t.holds(&f)
	if err != nil {
		return 0, err
	}
	p, all, err := t.waiting(f)
	if err != nil {
		return 0, err
	}
	if p != nil && p.attempt > 0 && !l.over(0) {
		p.again(t.now, true)
		due++
		if err := t.savePending(f.n, p); err != nil {
			return 0, err
		}
	}
	for _, g := range all {
		if (g.attempt == 0 && !g.parked) || l.over(g.n) {
			continue
		}
		g.again(t.now, true)
		due++
		if err := t.saveRange(f.n, g); err != nil {
			return 0, err
		}
	}
	return due, nil
}

// holds is the lease of the run in flight; nil if there is none. One that holds no more is ended first: its worker may
// wake, and must not commit what somebody has skipped meanwhile.
func (t *tx) holds(f *function) (*lease, error) {
	l, err := leaseOf(t.ctx, t.conn, t.v.grants, f.n)
	if err != nil || l == nil || !l.lapsed(t.v.life, t.now) {
		return l, err
	}
	return nil, t.lapse(f, l)
}

// over says whether the run in flight is over that range; 0: over the front.
func (l *lease) over(n int64) bool { return l != nil && l.plan.Range == n }

// replay makes the work of a run due, and says which runs are repeated: the run, or those that have done its work since.
func (t *tx) replay(id hat.RunID) ([]hat.RunID, error) {
	r, f, err := t.oneRun(id)
	if err != nil {
		return nil, err
	}
	if !f.enabled {
		return nil, vault.ErrNotEnabled
	}
	l, err := t.holds(&f)
	if err != nil {
		return nil, err
	}
	if l != nil && l.run == id {
		return nil, vault.ErrBusy
	}
	if r.State == vault.RunCommitted {
		return t.repeat(f, r, l)
	}
	p, all, err := t.left(f, r)
	if err != nil {
		return nil, err
	}
	if p != nil {
		if l.over(0) {
			return nil, vault.ErrBusy
		}
		p.again(t.now, true)
		if err := t.savePending(f.n, p); err != nil {
			return nil, err
		}
	}
	for _, g := range all {
		if l.over(g.n) {
			return nil, vault.ErrBusy
		}
		g.again(t.now, true)
		if err := t.saveRange(f.n, g); err != nil {
			return nil, err
		}
	}
	return []hat.RunID{id}, nil
}

// left is what of the work of a run that did not commit still waits: the front, if it was over the front and the cursor
// has not passed; ranges. vault.ErrNothingDue if none. A chain that was stopped before it began, attempt 0, never had
// any.
func (t *tx) left(f function, r vault.Run) (*front, []*ground, error) {
	if r.Plan.Attempt == 0 {
		return nil, nil, vault.ErrNothingDue
	}
	p, all, err := t.waiting(f)
	if err != nil {
		return nil, nil, err
	}
	if r.Plan.Range != 0 || f.cursor >= r.Plan.Upto {
		p = nil
	}
	all = slices.DeleteFunc(all, func(g *ground) bool {
		if r.Plan.Range != 0 {
			return g.n != r.Plan.Range
		}
		return !g.aside || g.after >= r.Plan.Upto || g.upto <= r.Plan.After
	})
	if p == nil && len(all) == 0 {
		return nil, nil, vault.ErrNothingDue
	}
	return p, all, nil
}

// repeat makes what a committed run covered due once more, as a range whose result takes the place of its output. If the
// run was repeated before, that goes for the newest generation; if the function's output replaces what was there, only
// its newest run has any.
func (t *tx) repeat(f function, r vault.Run, l *lease) ([]hat.RunID, error) {
	newest := []hat.RunID{r.Plan.Run}
	if f.grant.Mode == hat.ReplaceOutput {
		var b []byte
		// Not by id: ids begin with the time, by a clock that may have been set back.
		err := t.get(t.ctx, "SELECT id FROM runs WHERE function = ? AND state = ? ORDER BY n DESC LIMIT 1",
			[]any{f.grant.Function.String(), string(vault.RunCommitted)}, &b)
		if err != nil {
			return nil, err
		}
		if newest[0], err = runID(b); err != nil {
			return nil, err
		}
	}
	all, err := rangesOf(t.ctx, t.conn, f.n)
	if err != nil {
		return nil, err
	}
	var done []hat.RunID
	for len(newest) > 0 {
		id := newest[0]
		newest = newest[1:]
		if i := slices.IndexFunc(all, func(g *ground) bool { return g.replaces == id }); i >= 0 {
			// Its replay waits already, or what is left of it.
			if l.over(all[i].n) {
				return nil, vault.ErrBusy
			}
			all[i].again(t.now, true)
			if err := t.saveRange(f.n, all[i]); err != nil {
				return nil, err
			}
			done = append(done, id)
			continue
		}
		later, err := t.laterThan(id)
		if err != nil {
			return nil, err
		}
		if len(later) > 0 {
			newest = append(newest, later...)
			continue
		}
		of, _, err := t.oneRun(id)
		if err != nil {
			return nil, err
		}
		p := of.Plan
		part := p.Part
		if !sameSight(f.grant, p.Grant) {
			// What was granted since has been covered on its own.
			var granted int64
			if err := t.get(t.ctx, "SELECT granted FROM runs WHERE id = ?", []any{id.Bytes()}, &granted); err != nil {
				return nil, err
			}
			part = part.Granted(granted, p.Grant, f.grant)
		}
		g := &ground{
			after: p.After, part: part, replaces: id, from: p.Window.From, executed: p.LastExecution,
			work: work{upto: p.Upto, since: t.now, notBefore: t.now, replay: true, chain: p.Chain, last: id},
		}
		if err := t.saveRange(f.n, g); err != nil {
			return nil, err
		}
		done = append(done, id)
	}
	return done, nil
}

// laterThan are the runs that have repeated a run.
func (t *tx) laterThan(id hat.RunID) (runs []hat.RunID, err error) {
	err = t.each(t.ctx, "SELECT run FROM generations WHERE replaced = ? ORDER BY run", []any{id.Bytes()}, func(scan func(...any) error) error {
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

// Skip: see vault.Runs.
func (v *Vault) Skip(ctx context.Context, c access.Caller, id hat.RunID) error {
	err := v.writeAs(ctx, c, "skip", holding(access.SteerRuns()), func(t *tx, c access.Caller) error {
		r, f, err := t.oneRun(id)
		if err != nil {
			return err
		}
		if r.State == vault.RunCommitted {
			return vault.ErrNothingDue
		}
		l, err := t.holds(&f)
		if err != nil {
			return err
		}
		if l != nil && l.run == id {
			return vault.ErrBusy
		}
		p, all, err := t.left(f, r)
		if err != nil {
			return err
		}
		for _, g := range all {
			if l.over(g.n) {
				return vault.ErrBusy
			}
			if err := t.dropRange(g.n); err != nil {
				return err
			}
		}
		if p != nil {
			if l.over(0) {
				return vault.ErrBusy
			}
			if err := t.leave(f, p, r.Plan.Upto); err != nil {
				return err
			}
		}
		return t.receipt(receipt.Fact{
			Kind: receipt.Skip, User: c.UserID(), Application: c.ApplicationID(), Function: f.grant.Function,
			Run: id, After: r.Plan.After, Upto: r.Plan.Upto, Outcome: "skipped",
		})
	})
	if err != nil {
		return fmt.Errorf("skip run %s: %w", id, err)
	}
	return nil
}

// Cancel: see vault.Runs.
func (v *Vault) Cancel(ctx context.Context, c access.Caller, id hat.RunID) error {
	err := v.writeAs(ctx, c, "cancel", holding(access.SteerRuns()), func(t *tx, _ access.Caller) error {
		_, f, err := t.oneRun(id)
		if err != nil {
			return err
		}
		l, err := leaseOf(t.ctx, t.conn, t.v.grants, f.n)
		if err != nil {
			return err
		}
		if l == nil || l.run != id {
			return vault.ErrEnded
		}
		fault := hat.NewFault(hat.Owner, vault.CodeCancelled, "somebody ended the run")
		if err := t.end(f, l, l.plan, vault.RunRefused, vault.Output{}, fault, nil); err != nil {
			return err
		}
		return t.cancelled(f, l.plan, fault)
	})
	if err != nil {
		return fmt.Errorf("cancel run %s: %w", id, err)
	}
	return nil
}

// cancelled keeps the work of a run that somebody ended, parked.
func (t *tx) cancelled(f function, p plan.Plan, fault *hat.Fault) error {
	waiting, all, err := t.waiting(f)
	if err != nil {
		return err
	}
	g := oneRange(all, p.Range)
	var w *work
	switch {
	case g != nil:
		w = &g.work
	case p.Range == 0 && waiting != nil:
		w, waiting.tried = &waiting.work, p.Upto
	default:
		return nil
	}
	w.attempt, w.fault, w.last = p.Attempt, fault, p.Run
	w.parked = !w.notBefore.IsZero() // else only a person starts it anyway
	return t.keep(f, waiting, g, p)
}
