package ledger

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"she/internal/access"
	"she/internal/backlog"
	"she/internal/hat"
	"she/internal/plan"
	"she/internal/receipt"
	"she/internal/trigger"
	"she/internal/vault"
)

// Codes of faults that the vault finds.
const (
	codeVisited = "Chain.Visited"
	codeTooLong = "Chain.TooLong"
)

// Due lists enabled functions that are not leased and have work that is not parked, soonest first. Stored
// times that lie too far ahead because the clock was set back are corrected first (plan.Latest).
func (v *Vault) Due(ctx context.Context) ([]vault.Due, error) {
	if err := v.rows.Usable(); err != nil {
		return nil, err
	}
	idle, age := v.kept.isIdle()
	if idle {
		return nil, nil
	}
	all, waiting, later, err := v.due(ctx)
	if err != nil {
		return nil, err
	}
	if !waiting {
		v.kept.keepIdle(age)
		return nil, nil
	}
	if !later {
		return all, nil
	}
	var ahead bool
	err = v.rows.Read(ctx, func(c Reader) (err error) {
		ahead, err = isAhead(ctx, c, v.now())
		return err
	})
	if err != nil || !ahead {
		return all, err
	}
	if err := v.cutTimes(ctx); err != nil {
		return nil, err
	}
	all, _, _, err = v.due(ctx)
	return all, err
}

// dueQuery selects all pending work that does not wait for a person, by function and time, with whether the
// function can be claimed and whether a time lies too far ahead.
const dueQuery = `SELECT f.id, w.not_before, w.since,
		NOT w.parked AND NOT EXISTS (SELECT 1 FROM leases l JOIN runs r ON r.id = l.run
			WHERE l.function = f.n AND l.life = ?1 AND l.expires > ?2 AND json_extract(r.plan, '$.claimed') < ?3),
		coalesce(f.last_execution > ?2, FALSE) OR NOT w.parked AND (coalesce(w.not_before > ?2, FALSE) OR w.since > ?2)
	FROM (SELECT function, not_before, since, parked FROM pending
		UNION ALL SELECT function, not_before, since, parked FROM ranges WHERE NOT parked) w
	JOIN functions f ON f.n = w.function WHERE f.enabled ORDER BY f.id, w.not_before`

// due returns what can be claimed now or later. waiting: some work waits for a time or is parked. later: some
// time lies ahead.
func (v *Vault) due(ctx context.Context) (all []vault.Due, waiting, later bool, err error) {
	now := v.now()
	args := []any{v.boot, now.UnixMicro(), backlog.ClaimedBefore(now).Format(claimedBefore)}
	err = v.rows.ReadOne(ctx, func(c Reader) error {
		return c.Each(context.WithoutCancel(ctx), dueQuery, args, func(scan func(...any) error) (err error) {
			var (
				id         string
				at, since  sql.NullInt64
				may, ahead bool
			)
			waiting = true
			if err := scan(&id, &at, &since, &may, &ahead); err != nil {
				return err
			}
			later = later || ahead
			if !may || !at.Valid {
				return nil
			}
			d := vault.Due{At: fromMicros(at), Since: fromMicros(since)}
			if d.Function, err = hat.ParseFunctionID(id); err != nil {
				return errDamagedRow
			}
			if n := len(all); n == 0 || all[n-1].Function != d.Function {
				all = append(all, d)
			} else if last := &all[n-1]; d.Since.Before(last.Since) {
				last.Since = d.Since
			}
			return nil
		})
	})
	slices.SortStableFunc(all, func(a, b vault.Due) int { return a.At.Compare(b.At) })
	return all, waiting, later, err
}

// Claim is T2: the lease and the Plan are stored together. The plan covers one item: by data the one that is
// due longest; on request the front, with the range parked right before it. vault.ErrNotEnabled,
// vault.ErrBusy, vault.ErrNothingDue (ByData only), access.ErrDenied, *vault.QuotaError: today's runs and
// what the HAT holds are counted in the same transaction.
func (v *Vault) Claim(ctx context.Context, c vault.Claim) (p plan.Plan, err error) {
	var refused error
	err = v.write(ctx, "claim", func(t *tx) error {
		// A lapsed lease is ended even if the claim is refused.
		p, refused, err = t.claim(c)
		return err
	})
	if err = cmp.Or(err, refused); err != nil {
		return plan.Plan{}, fmt.Errorf("claim %s: %w", c.Function, err)
	}
	return p, nil
}

func (t *tx) claim(c vault.Claim) (p plan.Plan, refused, err error) {
	// The caller may have waited for a slot for minutes.
	by, moved, err := t.recognise(c.By)
	if err == nil && moved {
		err = by.Check(access.TriggerFunction(c.Function))
	}
	if err != nil {
		return p, nil, err
	}
	f, err := oneFunction(t.ctx, t.Tx, t.v.grants, c.Function)
	if errors.Is(err, vault.ErrNotFound) || err == nil && !f.Enabled {
		return p, vault.ErrNotEnabled, nil
	}
	if err == nil {
		f, err = t.inFlight(f)
	}
	if err != nil {
		return p, nil, err
	}
	now := c.Now.UTC().Truncate(time.Microsecond)
	ready, err := f.Ready(t.v.boot, now, rand.Float64())
	if errors.Is(err, vault.ErrBusy) {
		return p, err, nil
	}
	if f, err = t.take(f, ready, vault.Output{}, nil); err != nil {
		return p, nil, err
	}
	if c.Cause != plan.ByData || f.Next(now) != nil {
		if refused, err := t.notFull(now); refused != nil || err != nil {
			return p, refused, err
		}
		if refused, err := t.withinQuota(c.Quota, c.Function, now); refused != nil || err != nil {
			return p, refused, err
		}
	}
	t.grows = traces // it ends nothing, so it must not use the reserve
	b, p, refused := f.Claim(backlog.Claim{
		Run: c.Run, Cause: c.Cause, Now: now, Expires: c.Expires.UTC().Truncate(time.Microsecond), UseAll: c.UseAll,
		Newest: t.seq, Boot: t.v.boot,
	})
	if refused != nil {
		return p, refused, nil
	}
	if p.Part, err = t.formers(p.Part); err != nil {
		return p, nil, err
	}
	text, err := encodePlan(p)
	if err != nil {
		return p, nil, err
	}
	if _, err := t.Exec(t.ctx, `INSERT INTO runs (id, function, granted, state, plan, duplicates) VALUES (?, ?, ?, ?, ?, 0)`,
		p.Run.Bytes(), f.Grant.Function.String(), f.GrantID, string(vault.RunPlanned), text); err != nil {
		return p, nil, err
	}
	if err := t.changedRun(p.Run); err != nil {
		return p, nil, err
	}
	if _, err := t.Exec(t.ctx, "INSERT INTO leases (function, run, epoch, expires, life) VALUES (?, ?, ?, ?, ?)",
		f.n, p.Run.Bytes(), p.Epoch, p.Expires.UnixMicro(), t.v.boot); err != nil {
		return p, nil, err
	}
	_, err = t.save(f, b)
	return p, nil, err
}

// held returns the function whose run in flight the plan was claimed for, or vault.ErrStale.
func (t *tx) held(p plan.Plan) (f function, err error) {
	f, err = oneFunction(t.ctx, t.Tx, t.v.grants, p.Grant.Function)
	if errors.Is(err, vault.ErrNotFound) {
		return f, vault.ErrStale
	}
	if err == nil {
		f, err = t.inFlight(f)
	}
	if err == nil {
		err = f.Holds(p, t.v.boot)
	}
	if err != nil {
		return f, err
	}
	if planned := f.Lease.Plan; p.Upto > planned.Upto || p.Upto < planned.After {
		return f, fmt.Errorf("run %s: it covers up to %d, outside its plan", p.Run, p.Upto)
	}
	return f, nil
}

// ran returns the stored plan with what the engine may change: how far the run really went, and which code it
// used.
func ran(f function, p plan.Plan) plan.Plan {
	ran := f.Lease.Plan
	ran.Upto, ran.Most, ran.Grant.Version, ran.Grant.Digest = p.Upto, p.Most, p.Grant.Version, p.Grant.Digest
	return ran
}

// Commit is T3: derived records, groups, pending work of their readers, cursor or range, run and receipt are
// stored together or not at all. What the result replaces is superseded in the same commit. If the engine
// lowered the plan's Upto, the rest stays pending. vault.ErrStale: nothing was written, and nothing must be;
// a second Commit of a run gets it too.
func (v *Vault) Commit(ctx context.Context, p plan.Plan, out vault.Output) (done vault.Committed, err error) {
	begun := time.Now()
	err = v.write(ctx, "commit", func(t *tx) error {
		done, err = t.commit(p, out, begun)
		return err
	})
	if err != nil {
		return vault.Committed{}, fmt.Errorf("commit run %s: %w", p.Run, err)
	}
	return done, nil
}

// commit stores with the run how long saving took, from begun to right before the file is synced. What comes
// after can't be in the run's row.
func (t *tx) commit(p plan.Plan, out vault.Output, begun time.Time) (done vault.Committed, err error) {
	f, err := t.held(p)
	if err != nil {
		return done, err
	}
	planned := f.Lease.Plan
	p = ran(f, p)
	var by author
	if by.user, by.userID, err = t.owner(); err != nil {
		return done, err
	}
	by.run, by.equal, by.chain = p.Run, f.Grant.Equal, append(slices.Clone(p.Chain), f.Grant.Function)
	if by.chainN, err = t.chain(by.chain); err != nil {
		return done, err
	}
	if len(out.Responses) > 0 {
		t.grows = traces
	}
	w := &writing{asFunction: access.AsFunction(by.userID, f.Grant), by: by, grant: f.Grant, replaces: p.Replaces}
	for i, r := range out.Responses {
		if err := t.respond(w, i, r); err != nil {
			return done, err
		}
	}
	if err := t.supersede(f, p, planned, w); err != nil {
		return done, err
	}
	if len(w.written) > 0 {
		t.grows = fully
	}
	step, err := f.Commit(p, t.now)
	if err == nil {
		step, err = step.Run(t.stored)
	}
	if err != nil {
		return done, err
	}
	// Save before the new records make work pending: with a wider bundle, the function may read its own
	// records.
	if f, err = t.save(f, step.Backlog); err != nil {
		return done, err
	}
	if err := t.raise(w.events); err != nil {
		return done, err
	}
	out.Stats.Timing.Save = time.Since(begun)
	done = vault.Committed{Written: w.written, Duplicates: w.duplicates, Kept: w.kept, Superseded: len(w.gone)}
	return done, t.end(f, step.Ended, out, w)
}

// Fail ends the attempt: the work waits for its retry or is parked, and the run is kept with its fault. An
// operator's fault never parks work and does not count among the attempts. Parked work of a function that is
// not InOrder becomes a range, as far as it has failed since its first attempt, and the cursor moves past
// it. If the plan has a smaller Most than at the claim, it is tried again at once with that many records, and
// this attempt does not count. vault.ErrStale as in Commit.
func (v *Vault) Fail(ctx context.Context, p plan.Plan, out vault.Output, fault *hat.Fault) error {
	err := v.write(ctx, "fail", func(t *tx) error {
		f, err := t.held(p)
		if err != nil {
			return err
		}
		out.Responses = nil
		_, err = t.take(f, f.Fail(ran(f, p), fault, t.now, rand.Float64()), out, nil)
		return err
	})
	if err != nil {
		return fmt.Errorf("fail run %s: %w", p.Run, err)
	}
	return nil
}

// Abandon gives a claim back unchanged, for a clean stop.
func (v *Vault) Abandon(ctx context.Context, p plan.Plan) error {
	err := v.write(ctx, "abandon", func(t *tx) error {
		f, err := t.held(p)
		if err != nil {
			return err
		}
		_, err = t.take(f, f.Abandon(ran(f, p)), vault.Output{}, nil)
		return err
	})
	if err != nil {
		return fmt.Errorf("abandon run %s: %w", p.Run, err)
	}
	return nil
}

// statsText is the form of a run's figures in table runs.
type statsText struct {
	vault.Stats
	Kept       int `json:"kept,omitempty"`
	Superseded int `json:"superseded,omitempty"`
}

// end stores how a run ended, adds its receipt and removes its lease.
func (t *tx) end(f function, e *backlog.End, out vault.Output, w *writing) error {
	p, state, fault := e.Plan, e.State, e.Fault
	if w == nil {
		w = &writing{}
	}
	fact := receipt.Fact{
		Kind: receipt.Run, Function: f.Grant.Function, Version: p.Grant.Version.String(), Package: p.Grant.Digest,
		Output: p.Grant.Output, Run: p.Run, Replaces: p.Replaces, Attempt: p.Attempt, After: p.After, Upto: p.Upto, Outcome: string(state),
		Read:      &receipt.Records{Count: out.Stats.Read, IDs: out.Stats.ReadIDs},
		Endpoints: w.endpoints(),
		Bytes:     &receipt.Bytes{In: out.Stats.InBytes, Out: out.Stats.OutBytes},
		Timings: receipt.Timings{
			Queue: out.Stats.Timing.Queue.Microseconds(), Sandbox: out.Stats.Timing.Sandbox.Microseconds(),
			Bundle: out.Stats.Timing.Bundle.Microseconds(), Query: out.Stats.Timing.Query.Microseconds(),
			Process: out.Stats.Timing.Process.Microseconds(), Save: out.Stats.Timing.Save.Microseconds(),
		},
	}
	var asked any
	if out.Stats.Bundle != nil {
		text, err := json.Marshal(*out.Stats.Bundle)
		if err != nil {
			return err
		}
		asked, fact.Bundle = string(text), out.Stats.Bundle.Digest()
	}
	if fault != nil {
		fact.Fault = fault.Code
	}
	if state == vault.RunCommitted {
		fact.Written = receipt.RecordsOf(w.ids)
		fact.Contents, fact.Ended, fact.Dropped = w.contents, receipt.SpansOf(w.ended), receipt.SpansOf(w.dropped)
		if len(w.gone) > 0 {
			fact.Erased = receipt.RecordsOf(w.gone)
		}
		if len(w.forgotten) > 0 {
			fact.Forgotten = receipt.RecordsOf(w.forgotten)
		}
		if w.first > 0 {
			fact.First, fact.Last = w.first, t.seq
		}
	}
	if err := t.receipt(fact); err != nil {
		return err
	}
	text, err := encodePlan(p)
	if err != nil {
		return err
	}
	out.Stats.Bundle = nil
	stats, err := json.Marshal(statsText{out.Stats, w.kept, len(w.gone)})
	if err != nil {
		return err
	}
	// The condition on the state makes sure that a run ends once, whatever else went wrong.
	changed, err := t.Exec(t.ctx, `UPDATE runs SET state = ?, plan = ?, ended = ?, fault = ?, stats = ?, asked = ?,
		read_ids = ?, duplicates = ?, log = ? WHERE id = ? AND state = ?`,
		string(state), text, t.now.UnixMicro(), faultText(fault), string(stats), asked, out.Stats.ReadIDs[:], w.duplicates,
		out.Log, p.Run.Bytes(), string(vault.RunPlanned))
	if err != nil {
		return err
	}
	if changed != 1 {
		return vault.ErrStale
	}
	if err := t.changedRun(p.Run); err != nil {
		return err
	}
	_, err = t.Exec(t.ctx, "DELETE FROM leases WHERE function = ? AND run = ?", f.n, p.Run.Bytes())
	return err
}

// stopped records that data did not make a function due because of its chain, as a run that was refused
// before it began. Its Attempt is 0.
func (t *tx) stopped(f function, v trigger.Verdict) error {
	fault := hat.NewFault(hat.Owner, codeTooLong, fmt.Sprintf("the data has passed through %d functions already", trigger.MaxDepth))
	if v.Stopped == trigger.ChainVisited {
		fault = hat.NewFault(hat.Owner, codeVisited, "the data derives from this function's own output; running it again would never end")
	}
	p := plan.Plan{
		Run:           hat.NewRunID(),
		Grant:         f.Grant,
		Cause:         plan.ByData,
		Window:        plan.Window(t.now, f.LastExecution, false),
		After:         f.Cursor,
		Upto:          v.StoppedAt,
		Due:           t.now,
		Claimed:       t.now,
		Expires:       t.now,
		LastExecution: f.LastExecution,
		Chain:         v.StoppedChain,
	}
	text, err := encodePlan(p)
	if err != nil {
		return err
	}
	_, err = t.Exec(t.ctx, `INSERT INTO runs (id, function, granted, state, plan, ended, fault, duplicates)
		VALUES (?, ?, ?, ?, ?, ?, ?, 0)`,
		p.Run.Bytes(), f.Grant.Function.String(), f.GrantID, string(vault.RunRefused), text, t.now.UnixMicro(), faultText(fault))
	if err != nil {
		return err
	}
	return t.changedRun(p.Run)
}
