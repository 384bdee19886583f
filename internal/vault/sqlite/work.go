package sqlite

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
	"she/internal/hat"
	"she/internal/plan"
	"she/internal/receipt"
	"she/internal/trigger"
	"she/internal/vault"
)

// Codes of the faults the vault itself finds.
const (
	codeWithdrawn   = "Grant.Revoked"
	codeInterrupted = "Run.Interrupted"
	codeVisited     = "Chain.Visited"
	codeTooLong     = "Chain.TooLong"
)

// Due: see vault.Work.
func (v *Vault) Due(ctx context.Context) (all []vault.Due, err error) {
	if !v.usable() {
		return nil, v.closedError()
	}
	idle, age := v.kept.isIdle()
	if idle {
		return nil, nil
	}
	now := v.now()
	err = v.read(ctx, func(c *conn) error {
		var some bool
		if err := c.get(ctx, "SELECT EXISTS (SELECT 1 FROM pending)", nil, &some); err != nil {
			return err
		}
		if !some {
			v.kept.keepIdle(age)
			return nil
		}
		return c.each(ctx, `SELECT f.id, p.not_before, p.since FROM pending p JOIN functions f ON f.n = p.function
			WHERE f.enabled AND NOT p.parked AND p.not_before IS NOT NULL
			AND NOT EXISTS (SELECT 1 FROM leases l WHERE l.function = f.n AND l.life = ? AND l.expires > ?)
			ORDER BY p.not_before, f.id`, []any{v.life, now.UnixMicro()}, func(scan func(...any) error) (err error) {
			var (
				id        string
				at, since sql.NullInt64
			)
			if err := scan(&id, &at, &since); err != nil {
				return err
			}
			d := vault.Due{At: fromMicros(at), Since: fromMicros(since)}
			if d.Function, err = hat.ParseFunctionID(id); err != nil {
				return errDamagedRow
			}
			all = append(all, d)
			return nil
		})
	})
	return all, err
}

// Claim: see vault.Work. T2.
func (v *Vault) Claim(ctx context.Context, c vault.Claim) (p plan.Plan, err error) {
	var refused error
	err = v.write(ctx, "claim", func(t *tx) error {
		// A lapsed lease is ended also if the claim then comes to nothing.
		p, refused, err = t.claim(c)
		return err
	})
	if err = cmp.Or(err, refused); err != nil {
		return plan.Plan{}, fmt.Errorf("claim %s: %w", c.Function, err)
	}
	return p, nil
}

func (t *tx) claim(c vault.Claim) (p plan.Plan, refused, err error) {
	f, err := oneFunction(t.ctx, t.conn, t.v.grants, c.Function)
	if errors.Is(err, vault.ErrNotFound) || err == nil && !f.enabled {
		return p, vault.ErrNotEnabled, nil
	}
	if err != nil {
		return p, nil, err
	}
	l, err := leaseOf(t.ctx, t.conn, f.n)
	if err != nil {
		return p, nil, err
	}
	now := c.Now.UTC().Truncate(time.Microsecond)
	if l != nil {
		if !l.lapsed(t.v.life, now) {
			return p, vault.ErrBusy, nil
		}
		if err := t.lapse(f, l); err != nil {
			return p, nil, err
		}
	}
	waiting, err := pendingOf(t.ctx, t.conn, f.n)
	if err != nil {
		return p, nil, err
	}
	if c.Cause == plan.ByData &&
		(waiting == nil || waiting.parked || waiting.notBefore.IsZero() || waiting.notBefore.After(now)) {
		return p, vault.ErrNothingDue, nil
	}
	f.epoch++
	p = plan.Plan{
		Run: c.Run, Grant: f.grant, Cause: c.Cause, Window: plan.Window(now, f.last, c.UseAll),
		After: f.cursor, Upto: t.seq, Attempt: 1, Epoch: f.epoch,
		Expires: c.Expires.UTC().Truncate(time.Microsecond), Due: now, Claimed: now, LastExecution: f.last,
	}
	if c.UseAll {
		p.After = 0
	}
	if waiting != nil {
		p.Attempt, p.Chain, p.Depth = waiting.attempt+1, waiting.chain, len(waiting.chain)
		if c.Cause == plan.ByData {
			p.Due = waiting.notBefore
			if waiting.replay {
				p.Cause = plan.ByReplay
			}
		}
	}
	text, err := encodePlan(p)
	if err != nil {
		return p, nil, err
	}
	if _, err := t.exec(t.ctx, `INSERT INTO runs (id, function, granted, state, plan, duplicates) VALUES (?, ?, ?, ?, ?, 0)`,
		p.Run.Bytes(), f.grant.Function.String(), f.granted, string(vault.RunPlanned), text); err != nil {
		return p, nil, err
	}
	if err := t.changedRun(p.Run); err != nil {
		return p, nil, err
	}
	if _, err := t.exec(t.ctx, "INSERT INTO leases (function, run, epoch, expires, life) VALUES (?, ?, ?, ?, ?)",
		f.n, p.Run.Bytes(), p.Epoch, p.Expires.UnixMicro(), t.v.life); err != nil {
		return p, nil, err
	}
	_, err = t.exec(t.ctx, "UPDATE functions SET epoch = ? WHERE n = ?", f.epoch, f.n)
	return p, nil, err
}

// held is the lease the plan was claimed with, or vault.ErrStale.
func (t *tx) held(p plan.Plan) (function, *lease, error) {
	f, err := oneFunction(t.ctx, t.conn, t.v.grants, p.Grant.Function)
	if errors.Is(err, vault.ErrNotFound) {
		return f, nil, vault.ErrStale
	}
	if err != nil {
		return f, nil, err
	}
	l, err := leaseOf(t.ctx, t.conn, f.n)
	switch {
	case err != nil:
		return f, nil, err
	case l == nil, l.run != p.Run, l.epoch != p.Epoch, l.life != t.v.life, !f.enabled, f.granted != l.granted:
		return f, nil, vault.ErrStale
	case p.Upto > l.plan.Upto, p.Upto < l.plan.After:
		return f, nil, fmt.Errorf("run %s: it covers up to %d, outside its plan", p.Run, p.Upto)
	}
	return f, l, nil
}

// ran is the stored plan with what the engine may say of it: how far the run really went, and which code it was.
func (l *lease) ran(p plan.Plan) plan.Plan {
	ran := l.plan
	ran.Upto, ran.Grant.Version, ran.Grant.Digest = p.Upto, p.Grant.Version, p.Grant.Digest
	return ran
}

// Commit: see vault.Work. T3. A plan whose Upto the engine lowered leaves the rest pending.
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

// commit stores with the run how long saving took, from begun to right before the file is synced: the run's row can't
// tell what happens after it.
func (t *tx) commit(p plan.Plan, out vault.Output, begun time.Time) (done vault.Committed, err error) {
	f, l, err := t.held(p)
	if err != nil {
		return done, err
	}
	p = l.ran(p)
	var by author
	if by.user, by.userID, err = owner(t.ctx, t.conn); err != nil {
		return done, err
	}
	by.run, by.chain = p.Run, append(slices.Clone(p.Chain), f.grant.Function)
	if by.chainN, err = t.chain(by.chain); err != nil {
		return done, err
	}
	asFunction := access.AsFunction(by.userID, f.grant)
	var ch change
	for i, r := range out.Responses {
		written, duplicates, err := t.respond(asFunction, i, r, by, &ch)
		if err != nil {
			return done, err
		}
		done.Written, done.Duplicates = append(done.Written, written...), done.Duplicates+duplicates
	}
	f.cursor, f.last = max(f.cursor, p.Upto), p.Claimed
	if _, err := t.exec(t.ctx, "UPDATE functions SET cursor = ?, last_execution = ? WHERE n = ?",
		int64(f.cursor), f.last.UnixMicro(), f.n); err != nil {
		return done, err
	}
	waiting, err := pendingOf(t.ctx, t.conn, f.n)
	if err != nil {
		return done, err
	}
	if waiting != nil {
		// What came during the run is new work, with no failures behind it.
		if err := t.dropPending(f.n); err != nil {
			return done, err
		}
		if waiting.upto > p.Upto {
			if err := t.addStored(f, p.Upto); err != nil {
				return done, err
			}
		}
	}
	if err := t.raise(ch.events); err != nil {
		return done, err
	}
	out.Stats.Timing.Save = time.Since(begun)
	return done, t.end(f, l, p, vault.RunCommitted, out, nil, &ch, &done.Duplicates)
}

// respond stores one Response of a function's answer and groups it with the records it says it belongs to.
func (t *tx) respond(c access.Caller, response int, r vault.Response, by author, ch *change) (written []hat.Record, duplicates int, err error) {
	var group []int64
	for _, d := range r.Drafts {
		// The second line of defence; the first is where the answer is read.
		if err := c.Check(access.WriteRecords(d.Endpoint)); err != nil {
			return nil, 0, fmt.Errorf("response %d writes to %s: %w", response, d.Endpoint, err)
		}
		record, born, err := t.insert(hat.Draft{Endpoint: d.Endpoint, Data: d.Data}, by, ch)
		if errors.Is(err, vault.ErrDuplicate) {
			duplicates++
			continue
		}
		if err != nil {
			return nil, 0, err
		}
		if _, err := t.exec(t.ctx, "INSERT INTO outputs (run, response, ordinal, record) VALUES (?, ?, ?, ?)",
			by.run.Bytes(), response, len(written), record.ID.Bytes()); err != nil {
			return nil, 0, err
		}
		written, group = append(written, record), append(group, born)
	}
	if len(written) == 0 {
		return nil, duplicates, nil
	}
	for _, id := range r.Linked {
		var (
			born int64
			name string
		)
		err := t.get(t.ctx, "SELECT r.born, e.name FROM records r JOIN endpoints e ON e.n = r.endpoint WHERE r.id = ?",
			[]any{id.Bytes()}, &born, &name)
		if errors.Is(err, sql.ErrNoRows) {
			continue // erased during the run
		}
		if err != nil {
			return nil, 0, err
		}
		e, err := hat.ParseEndpoint(name)
		if err != nil {
			return nil, 0, errDamagedRow
		}
		if err := c.Check(access.ReadRecords(e)); err != nil {
			return nil, 0, fmt.Errorf("response %d links record %s: %w", response, id, err)
		}
		group = append(group, born)
	}
	return written, duplicates, t.group(group)
}

// Fail: see vault.Work.
func (v *Vault) Fail(ctx context.Context, p plan.Plan, out vault.Output, fault *hat.Fault) error {
	err := v.write(ctx, "fail", func(t *tx) error {
		f, l, err := t.held(p)
		if err != nil {
			return err
		}
		p := l.ran(p)
		out.Responses = nil
		if err := t.end(f, l, p, vault.EndState(fault), out, fault, nil, nil); err != nil {
			return err
		}
		waiting, err := pendingOf(t.ctx, t.conn, f.n)
		if err != nil || waiting == nil {
			return err
		}
		pause, park := plan.Retry(fault, p.Attempt, rand.Float64())
		// What came during the run was never tried: it deserves an attempt before everything waits for a person.
		park = park && waiting.upto <= l.plan.Upto
		waiting.attempt, waiting.fault = p.Attempt, fault
		switch {
		case f.grant.Trigger.Kind == hat.Manual:
			waiting.notBefore = time.Time{} // only a person starts it
		case !waiting.notBefore.IsZero():
			waiting.notBefore, waiting.parked = t.now.Add(pause), park
		}
		return t.savePending(f.n, waiting)
	})
	if err != nil {
		return fmt.Errorf("fail run %s: %w", p.Run, err)
	}
	return nil
}

// Abandon: see vault.Work.
func (v *Vault) Abandon(ctx context.Context, p plan.Plan) error {
	err := v.write(ctx, "abandon", func(t *tx) error {
		f, l, err := t.held(p)
		if err != nil {
			return err
		}
		return t.end(f, l, l.ran(p), vault.RunAbandoned, vault.Output{}, nil, nil, nil)
	})
	if err != nil {
		return fmt.Errorf("abandon run %s: %w", p.Run, err)
	}
	return nil
}

// end stores how a run ended, with its receipt, and gives its lease back.
func (t *tx) end(f function, l *lease, p plan.Plan, state vault.RunState, out vault.Output, fault *hat.Fault, ch *change, duplicates *int) error {
	if ch == nil {
		ch = &change{}
	}
	if duplicates == nil {
		duplicates = new(int)
	}
	fact := receipt.Fact{
		Kind: receipt.Run, Function: f.grant.Function, Version: p.Grant.Version.String(), Package: p.Grant.Digest,
		Output: p.Grant.Output, Run: p.Run, Attempt: p.Attempt, After: p.After, Upto: p.Upto, Outcome: string(state),
		Read:      &receipt.Records{Count: out.Stats.Read, IDs: out.Stats.ReadIDs},
		Endpoints: ch.endpoints(),
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
		fact.Written = receipt.RecordsOf(ch.ids)
		if len(ch.ids) > 0 {
			fact.First, fact.Last = ch.first, t.seq
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
	stats, err := json.Marshal(out.Stats)
	if err != nil {
		return err
	}
	// The state is asked once more: a run ends once, whatever else went wrong.
	changed, err := t.exec(t.ctx, `UPDATE runs SET state = ?, plan = ?, ended = ?, fault = ?, stats = ?, asked = ?,
		read_ids = ?, duplicates = ?, log = ? WHERE id = ? AND state = ?`,
		string(state), text, t.now.UnixMicro(), faultText(fault), string(stats), asked, out.Stats.ReadIDs[:], *duplicates,
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
	_, err = t.exec(t.ctx, "DELETE FROM leases WHERE function = ? AND run = ?", f.n, l.run.Bytes())
	return err
}

// stopped records that data did not make a function due because of the chain of functions behind it: a run that was
// refused before it began. Its Attempt is 0.
func (t *tx) stopped(f function, v trigger.Verdict) error {
	fault := hat.NewFault(hat.Owner, codeTooLong, fmt.Sprintf("the data has come through %d functions already", trigger.MaxDepth))
	if v.Stopped == trigger.ChainVisited {
		fault = hat.NewFault(hat.Owner, codeVisited, "the data comes from this function by way of others; running it again would go in circles")
	}
	p := plan.Plan{
		Run: hat.NewRunID(), Grant: f.grant, Cause: plan.ByData, Window: plan.Window(t.now, f.last, false),
		After: f.cursor, Upto: v.StoppedAt, Due: t.now, Claimed: t.now, Expires: t.now, LastExecution: f.last, Chain: v.StoppedChain,
	}
	text, err := encodePlan(p)
	if err != nil {
		return err
	}
	_, err = t.exec(t.ctx, `INSERT INTO runs (id, function, granted, state, plan, ended, fault, duplicates)
		VALUES (?, ?, ?, ?, ?, ?, ?, 0)`,
		p.Run.Bytes(), f.grant.Function.String(), f.granted, string(vault.RunRefused), text, t.now.UnixMicro(), faultText(fault))
	if err != nil {
		return err
	}
	return t.changedRun(p.Run)
}
