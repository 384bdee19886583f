package sqlite

import (
	"context"
	"fmt"

	"she/internal/access"
	"she/internal/hat"
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
	if err := c.Check(access.SteerRuns()); err != nil {
		return err
	}
	err := v.write(ctx, "replay", func(t *tx) error {
		r, f, err := t.oneRun(id)
		if err != nil {
			return err
		}
		if !f.enabled {
			return vault.ErrNotEnabled
		}
		l, err := leaseOf(t.ctx, t.conn, f.n)
		if err != nil {
			return err
		}
		if l != nil && !l.lapsed(t.v.life, t.now) {
			return vault.ErrBusy
		}
		waiting, err := pendingOf(t.ctx, t.conn, f.n)
		if err != nil {
			return err
		}
		// The work of a run that did not commit waits until another has done it. A chain that was stopped before it
		// began, attempt 0, never had any.
		if waiting == nil || r.State == vault.RunCommitted || r.Plan.Attempt == 0 || f.cursor >= r.Plan.Upto {
			return vault.ErrNothingDue
		}
		waiting.notBefore, waiting.parked, waiting.replay = t.now, false, true
		waiting.attempt, waiting.fault = 0, nil
		return t.savePending(f.n, waiting)
	})
	if err != nil {
		return fmt.Errorf("replay run %s: %w", id, err)
	}
	return nil
}

// Cancel: see vault.Runs.
func (v *Vault) Cancel(ctx context.Context, c access.Caller, id hat.RunID) error {
	if err := c.Check(access.SteerRuns()); err != nil {
		return err
	}
	err := v.write(ctx, "cancel", func(t *tx) error {
		_, f, err := t.oneRun(id)
		if err != nil {
			return err
		}
		l, err := leaseOf(t.ctx, t.conn, f.n)
		if err != nil {
			return err
		}
		if l == nil || l.run != id {
			return vault.ErrEnded
		}
		fault := hat.NewFault(hat.Owner, vault.CodeCancelled, "somebody ended the run")
		if err := t.end(f, l, l.plan, vault.RunRefused, vault.Output{}, fault, nil, nil); err != nil {
			return err
		}
		waiting, err := pendingOf(t.ctx, t.conn, f.n)
		if err != nil || waiting == nil {
			return err
		}
		waiting.attempt, waiting.fault = l.plan.Attempt, fault
		waiting.parked = !waiting.notBefore.IsZero() // else only a person starts it anyway
		return t.savePending(f.n, waiting)
	})
	if err != nil {
		return fmt.Errorf("cancel run %s: %w", id, err)
	}
	return nil
}
