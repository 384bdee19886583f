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
func (v *Vault) Due(ctx context.Context) ([]vault.Due, error) {
	if !v.usable() {
		return nil, v.closedError()
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
	err = v.read(ctx, func(c *conn) (err error) {
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

// dueQuery is all that waits and may end by itself, by function and time; whether the function can be claimed, and
// whether a time lies ahead.
const dueQuery = `SELECT f.id, w.not_before, w.since,
		NOT w.parked AND NOT EXISTS (SELECT 1 FROM leases l JOIN runs r ON r.id = l.run
			WHERE l.function = f.n AND l.life = ?1 AND l.expires > ?2 AND json_extract(r.plan, '$.claimed') < ?3),
		ifnull(f.last_execution > ?2, 0) OR NOT w.parked AND (ifnull(w.not_before > ?2, 0) OR w.since > ?2)
	FROM (SELECT function, not_before, since, parked FROM pending
		UNION ALL SELECT function, not_before, since, parked FROM ranges WHERE NOT parked) w
	JOIN functions f ON f.n = w.function WHERE f.enabled ORDER BY f.id, w.not_before`

// due is what can be claimed, now or later. waiting says that there is something that may end by itself, or is parked;
// later, that some time of it lies ahead.
func (v *Vault) due(ctx context.Context) (all []vault.Due, waiting, later bool, err error) {
	now := v.now()
	args := []any{v.life, now.UnixMicro(), now.Add(clockSlack).Format(claimedBefore)}
	err = v.readOne(ctx, func(c *conn) error {
		return c.each(context.WithoutCancel(ctx), dueQuery, args, func(scan func(...any) error) (err error) {
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
	// Whoever asked may have waited for a place for minutes.
	by, moved, err := t.recognise(c.By)
	if err == nil && moved {
		err = by.Check(access.TriggerFunction(c.Function))
	}
	if err != nil {
		return p, nil, err
	}
	f, err := oneFunction(t.ctx, t.conn, t.v.grants, c.Function)
	if errors.Is(err, vault.ErrNotFound) || err == nil && !f.enabled {
		return p, vault.ErrNotEnabled, nil
	}
	if err != nil {
		return p, nil, err
	}
	l, err := leaseOf(t.ctx, t.conn, t.v.grants, f.n)
	if err != nil {
		return p, nil, err
	}
	now := c.Now.UTC().Truncate(time.Microsecond)
	if l != nil {
		if !l.lapsed(t.v.life, now) && !l.ahead(now) {
			return p, vault.ErrBusy, nil
		}
		if err := t.lapse(&f, l); err != nil {
			return p, nil, err
		}
	}
	if f.last.After(now) {
		if err := t.inTime(&f); err != nil {
			return p, nil, err
		}
		if f, err = oneFunction(t.ctx, t.conn, t.v.grants, c.Function); err != nil {
			return p, nil, err
		}
	}
	waiting := f.front
	var ranges []*ground
	if f.ranges {
		if ranges, err = rangesOf(t.ctx, t.conn, f.n); err != nil {
			return p, nil, err
		}
	}
	if c.Cause != plan.ByData || next(waiting, ranges, now) != nil {
		if refused, err := t.notFull(now); refused != nil || err != nil {
			return p, refused, err
		}
		if refused, err := t.withinQuota(c.Quota, c.Function, now); refused != nil || err != nil {
			return p, refused, err
		}
	}
	t.grows = traces // not ending anything: the reserve is not for it
	f.epoch++
	p = plan.Plan{
		Run: c.Run, Grant: f.grant, Cause: c.Cause, Attempt: 1, Epoch: f.epoch, Due: now, Claimed: now,
		Expires: c.Expires.UTC().Truncate(time.Microsecond),
	}
	item := next(waiting, ranges, now)
	if c.Cause != plan.ByData {
		item = nil // whoever asks gets what is new
		if waiting != nil {
			item = &waiting.work
		}
		if err := t.asked(f, ranges, now); err != nil {
			return p, nil, err
		}
	} else if item == nil {
		return p, vault.ErrNothingDue, nil
	}
	if item != nil {
		p.Attempt, p.Chain, p.Most = item.attempt+1, item.chain, item.most
		if c.Cause == plan.ByData {
			p.Due = item.notBefore
			if item.replay {
				p.Cause = plan.ByReplay
			}
		}
	}
	if g := rangeOf(ranges, item); g != nil {
		p.After, p.Upto, p.Window, p.LastExecution = g.after, g.upto, plan.Window(now, g.from, false), g.executed
		p.Range, p.Replaces = g.n, g.replaces
		if p.Part, err = t.sights(g.part); err != nil {
			return p, nil, err
		}
	} else {
		p.After, p.Upto, p.Window, p.LastExecution = f.cursor, t.seq, plan.Window(now, f.last, c.UseAll), f.last
		if c.UseAll {
			p.After, p.Most = 0, 0
		} else if g := parkedBefore(ranges, f.cursor); g != nil && plan.Together(g.fault, c.Cause != plan.ByData, p.Attempt-1) {
			p.After = g.after
			if len(g.chain) > len(p.Chain) {
				p.Chain = g.chain
			}
		}
	}
	p.Depth = len(p.Chain)
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

// next is the item of work that is due longest; nil: none is. Of two the older data goes first.
func next(waiting *front, ranges []*ground, now time.Time) (first *work) {
	for _, g := range ranges {
		if g.due(now) && (first == nil || g.notBefore.Before(first.notBefore)) {
			first = &g.work
		}
	}
	if waiting != nil && waiting.due(now) && (first == nil || waiting.notBefore.Before(first.notBefore)) {
		first = &waiting.work
	}
	return first
}

// rangeOf is the range that the item is the work of; nil: it is the front's, or there is none.
func rangeOf(all []*ground, item *work) *ground {
	if i := slices.IndexFunc(all, func(g *ground) bool { return &g.work == item }); i >= 0 {
		return all[i]
	}
	return nil
}

// asked makes ranges that wait for a request due: they run after what the request is for.
func (t *tx) asked(f function, all []*ground, now time.Time) error {
	for _, g := range all {
		if g.parked || !g.notBefore.IsZero() {
			continue
		}
		g.notBefore = now
		if err := t.saveRange(f.n, g); err != nil {
			return err
		}
	}
	return nil
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
	l, err := leaseOf(t.ctx, t.conn, t.v.grants, f.n)
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
	ran.Upto, ran.Most, ran.Grant.Version, ran.Grant.Digest = p.Upto, p.Most, p.Grant.Version, p.Grant.Digest
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
	if by.user, by.userID, err = t.owner(); err != nil {
		return done, err
	}
	by.run, by.chain = p.Run, append(slices.Clone(p.Chain), f.grant.Function)
	if by.chainN, err = t.chain(by.chain); err != nil {
		return done, err
	}
	if len(out.Responses) > 0 {
		t.grows = traces
	}
	w := &writing{asFunction: access.AsFunction(by.userID, f.grant), by: by, keeps: keeps(f, p)}
	for i, r := range out.Responses {
		if err := t.respond(w, i, r); err != nil {
			return done, err
		}
	}
	if err := t.supersede(f, p, l, w); err != nil {
		return done, err
	}
	if len(w.written) > 0 {
		t.grows = fully
	}
	if p.Range != 0 {
		err = t.doneRange(f, p)
	} else {
		err = t.doneFront(f, p)
	}
	if err != nil {
		return done, err
	}
	if err := t.raise(w.events); err != nil {
		return done, err
	}
	out.Stats.Timing.Save = time.Since(begun)
	done = vault.Committed{Written: w.written, Duplicates: w.duplicates, Kept: w.kept, Superseded: len(w.gone)}
	return done, t.end(f, l, p, vault.RunCommitted, out, nil, w)
}

// doneFront moves the cursor to where the run went, and takes out what it covered of the ranges besides.
func (t *tx) doneFront(f function, p plan.Plan) error {
	f.last = p.Claimed
	if err := t.covered(f, p); err != nil {
		return err
	}
	waiting := f.front
	if waiting == nil {
		waiting = &front{}
	}
	// What came during the run is new work, with no failures behind it.
	return t.leave(f, waiting, p.Upto)
}

// doneRange removes the range, or what the run covered of it. The cursor stays, and so does the time of the last
// execution: it says since when there is anything new.
func (t *tx) doneRange(f function, p plan.Plan) error {
	all, err := rangesOf(t.ctx, t.conn, f.n)
	if err != nil {
		return err
	}
	g := oneRange(all, p.Range)
	switch {
	case g == nil:
		return vault.ErrStale
	case p.Upto < g.upto:
		return t.shorten(f, g, p.Upto)
	}
	return t.dropRange(g.n)
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
		if err := t.end(f, l, p, vault.EndState(fault), out, fault, nil); err != nil {
			return err
		}
		return t.failed(f, l.plan, p, fault)
	})
	if err != nil {
		return fmt.Errorf("fail run %s: %w", p.Run, err)
	}
	return nil
}

// failed keeps the work of an attempt for the next one, after a pause, or parks it. planned is what the attempt was to
// cover, ran what it did.
func (t *tx) failed(f function, planned, ran plan.Plan, fault *hat.Fault) error {
	waiting, ranges, err := t.waiting(f)
	if err != nil {
		return err
	}
	g := oneRange(ranges, ran.Range)
	if ran.Range == 0 && waiting == nil || ran.Range != 0 && g == nil {
		return nil // somebody asked, and there was nothing new
	}
	var w *work
	if g != nil {
		w = &g.work
	} else {
		w = &waiting.work
	}
	w.last = ran.Run
	if ran.Most > 0 && (planned.Most == 0 || ran.Most < planned.Most) {
		// Fewer records at a time are something else: the attempt does not count.
		w.most, w.fault, w.notBefore = ran.Most, fault, t.now
	} else {
		tries := plan.Tries{Failed: ran.Attempt - 1, Outages: w.outages}.After(fault)
		pause, park := plan.Retry(fault, tries, rand.Float64())
		w.attempt, w.outages, w.fault = tries.Failed, tries.Outages, fault
		onlyAsked := f.grant.Trigger.Kind == hat.Manual || w.notBefore.IsZero()
		// Where nothing of the front was tried, its own turn comes first.
		tried := g != nil || ran.Upto > f.cursor
		w.parked = park && tried && (!onlyAsked || plan.Oversize(fault))
		switch {
		case fault.Code == codeInterrupted && !park && !w.notBefore.IsZero():
			w.notBefore = t.now // it did not fail: the server was gone
		case onlyAsked:
			w.notBefore = time.Time{}
		default:
			w.notBefore = t.now.Add(pause)
		}
		if g == nil && tried && (waiting.tried == 0 || ran.Upto < waiting.tried) {
			waiting.tried = ran.Upto
		}
	}
	return t.keep(f, waiting, g, ran)
}

// keep stores an item of work after a failure. A front that is parked makes way for what is newer, as far as it has
// failed from its first attempt on, unless the function wants its data in order.
func (t *tx) keep(f function, waiting *front, g *ground, told plan.Plan) error {
	switch {
	case g != nil:
		return t.saveRange(f.n, g)
	case waiting.parked && !f.grant.InOrder && waiting.tried > f.cursor:
		return t.setAside(f, waiting, waiting.tried, told)
	}
	return t.savePending(f.n, waiting)
}

// Abandon: see vault.Work.
func (v *Vault) Abandon(ctx context.Context, p plan.Plan) error {
	err := v.write(ctx, "abandon", func(t *tx) error {
		f, l, err := t.held(p)
		if err != nil {
			return err
		}
		return t.end(f, l, l.ran(p), vault.RunAbandoned, vault.Output{}, nil, nil)
	})
	if err != nil {
		return fmt.Errorf("abandon run %s: %w", p.Run, err)
	}
	return nil
}

// statsText is what table runs holds of a run's figures.
type statsText struct {
	vault.Stats
	Kept       int `json:"kept,omitempty"`
	Superseded int `json:"superseded,omitempty"`
}

// end stores how a run ended, with its receipt, and gives its lease back.
func (t *tx) end(f function, l *lease, p plan.Plan, state vault.RunState, out vault.Output, fault *hat.Fault, w *writing) error {
	if w == nil {
		w = &writing{}
	}
	fact := receipt.Fact{
		Kind: receipt.Run, Function: f.grant.Function, Version: p.Grant.Version.String(), Package: p.Grant.Digest,
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
	// The state is asked once more: a run ends once, whatever else went wrong.
	changed, err := t.exec(t.ctx, `UPDATE runs SET state = ?, plan = ?, ended = ?, fault = ?, stats = ?, asked = ?,
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
