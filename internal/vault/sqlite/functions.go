package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"she/internal/access"
	"she/internal/bundle"
	"she/internal/hat"
	"she/internal/plan"
	"she/internal/receipt"
	"she/internal/trigger"
	"she/internal/vault"
)

// A grantText is a grant as table grants holds it.
type grantText struct {
	Function hat.FunctionID `json:"function"`
	Version  hat.Version    `json:"version"`
	Package  string         `json:"package"`
	Bundle   bundle.Bundle  `json:"bundle"`
	Output   hat.Endpoint   `json:"output"`
	Mode     hat.OutputMode `json:"mode,omitempty"`
	Trigger  hat.Trigger    `json:"trigger"`
	InOrder  bool           `json:"inOrder,omitempty"`
	Since    time.Time      `json:"since,omitzero"`
	Given    time.Time      `json:"given"`
	Ahead    hat.Seq        `json:"ahead,omitempty"`
}

func encodeGrant(g access.Grant) (string, error) {
	text, err := json.Marshal(grantText{
		g.Function, g.Version, g.Digest, g.Bundle, g.Output, g.Mode, g.Trigger, g.InOrder, g.Since, g.Given, g.Ahead,
	})
	return string(text), err
}

func decodeGrant(text string) (access.Grant, error) {
	var g grantText
	if err := json.Unmarshal([]byte(text), &g); err != nil {
		return access.Grant{}, errDamagedRow
	}
	return access.Grant{
		Function: g.Function, Version: g.Version, Digest: g.Package, Bundle: g.Bundle, Output: g.Output, Mode: g.Mode,
		Trigger: g.Trigger, InOrder: g.InOrder, Since: g.Since, Given: g.Given, Ahead: g.Ahead,
	}, nil
}

// sameGrant compares what was consented to, not when.
func sameGrant(a, b access.Grant) bool {
	a.Given, b.Given, a.Ahead, b.Ahead = time.Time{}, time.Time{}, 0, 0
	left, leftErr := encodeGrant(a)
	right, rightErr := encodeGrant(b)
	return leftErr == nil && rightErr == nil && left == right
}

// A function is a row of table functions with its grant, and with what waited for it when the row was read.
type function struct {
	n       int64
	granted int64
	grant   access.Grant
	enabled bool
	cursor  hat.Seq
	last    time.Time
	epoch   int64

	front  *front // nil: nothing waited behind the cursor
	ranges bool   // there were some
}

func (f function) state() trigger.State {
	return trigger.State{Grant: f.grant, LastExecution: f.last}
}

const functionColumns = `SELECT f.n, f.granted, f.enabled, f.cursor, f.last_execution, f.epoch,
	EXISTS (SELECT 1 FROM ranges g WHERE g.function = f.n), p.function, ` + frontFields + `
	FROM functions f LEFT JOIN pending p ON p.function = f.n LEFT JOIN chains c ON c.n = p.chain `

// functions reads rows of functionColumns. known holds grants parsed before, by number; nil: none.
func functions(ctx context.Context, c *conn, known map[int64]access.Grant, where string, args ...any) (all []function, err error) {
	err = c.each(ctx, functionColumns+where, args, func(scan func(...any) error) error {
		var (
			f             function
			last, waiting sql.NullInt64
			row           frontRow
		)
		err := scan(append([]any{&f.n, &f.granted, &f.enabled, &f.cursor, &last, &f.epoch, &f.ranges, &waiting}, row.into()...)...)
		if err == nil && waiting.Valid {
			f.front, err = row.front()
		}
		f.last = fromMicros(last)
		all = append(all, f)
		return err
	})
	for i := range all {
		if err == nil {
			all[i].grant, err = grantOf(ctx, c, known, all[i].granted)
		}
	}
	return all, err
}

func grantOf(ctx context.Context, c *conn, known map[int64]access.Grant, n int64) (access.Grant, error) {
	if g, ok := known[n]; ok {
		return g, nil
	}
	var body string
	if err := c.get(ctx, "SELECT body FROM grants WHERE n = ?", []any{n}, &body); err != nil {
		return access.Grant{}, err
	}
	g, err := decodeGrant(body)
	if err == nil && known != nil {
		known[n] = g
	}
	return g, err
}

func oneFunction(ctx context.Context, c *conn, known map[int64]access.Grant, id hat.FunctionID) (function, error) {
	all, err := functions(ctx, c, known, "WHERE f.id = ?", id.String())
	if err == nil && len(all) == 0 {
		err = fmt.Errorf("function %s: %w", id, vault.ErrNotFound)
	}
	if err != nil {
		return function{}, err
	}
	return all[0], nil
}

// frontFields are what a frontRow takes, of pending p and chains c.
const frontFields = "p.upto, p.since, p.not_before, p.attempt, p.fault, p.parked, p.replay, c.path, p.tried, p.most, p.last_run, p.outages"

// A frontRow is a row of table pending, or nothing where there is none.
type frontRow struct {
	upto, since, notBefore, attempt, tried, most, outages sql.NullInt64
	parked, replay                                        sql.NullBool
	fault, chain                                          sql.NullString
	last                                                  []byte
}

func (r *frontRow) into() []any {
	return []any{&r.upto, &r.since, &r.notBefore, &r.attempt, &r.fault, &r.parked, &r.replay, &r.chain, &r.tried, &r.most, &r.last, &r.outages}
}

func (r *frontRow) front() (p *front, err error) {
	p = &front{tried: hat.Seq(r.tried.Int64), work: work{
		upto: hat.Seq(r.upto.Int64), since: fromMicros(r.since), notBefore: fromMicros(r.notBefore), attempt: int(r.attempt.Int64), outages: int(r.outages.Int64),
		parked: r.parked.Bool, replay: r.replay.Bool, most: int(r.most.Int64),
	}}
	if p.fault, err = parseFault(r.fault); err != nil {
		return nil, err
	}
	if p.last, err = maybeRun(r.last); err != nil {
		return nil, err
	}
	p.chain, err = parseChain(r.chain)
	return p, err
}

// pendingOf is the front; nil if nothing waits behind the cursor.
func pendingOf(ctx context.Context, c *conn, function int64) (p *front, err error) {
	err = c.each(ctx, "SELECT "+frontFields+" FROM pending p LEFT JOIN chains c ON c.n = p.chain WHERE p.function = ?", []any{function},
		func(scan func(...any) error) (err error) {
			var row frontRow
			if err := scan(row.into()...); err != nil {
				return err
			}
			p, err = row.front()
			return err
		})
	return p, err
}

func (t *tx) savePending(function int64, p *front) error {
	chain, err := t.chain(p.chain)
	if err != nil {
		return err
	}
	_, err = t.exec(t.ctx, `REPLACE INTO pending (function, upto, since, not_before, attempt, fault, parked, replay, chain, tried, most, last_run, outages)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		function, int64(p.upto), p.since.UnixMicro(), micros(p.notBefore), p.attempt, faultText(p.fault), p.parked, p.replay, chain,
		int64(p.tried), p.most, runBytes(p.last), p.outages)
	return err
}

func (t *tx) dropPending(function int64) error {
	_, err := t.exec(t.ctx, "DELETE FROM pending WHERE function = ?", function)
	return err
}

func faultText(f *hat.Fault) any {
	if f == nil {
		return nil
	}
	text, err := json.Marshal(f)
	if err != nil {
		return nil // three strings always encode
	}
	return string(text)
}

func parseFault(text sql.NullString) (*hat.Fault, error) {
	if !text.Valid {
		return nil, nil
	}
	f := new(hat.Fault)
	if err := json.Unmarshal([]byte(text.String), f); err != nil {
		return nil, errDamagedRow
	}
	return f, nil
}

// raise makes the events pending for the functions that read them.
func (t *tx) raise(events []trigger.Event) error {
	if t.v.alone {
		return nil
	}
	enabled, err := functions(t.ctx, t.conn, t.v.grants, "WHERE f.enabled ORDER BY f.n")
	if err != nil {
		return err
	}
	t.v.alone = len(enabled) == 0
	t.raised = t.raised || !t.v.alone
	for _, f := range enabled {
		verdict := trigger.Judge(f.state(), events, t.now)
		if verdict.Raised() {
			if err := t.add(f, f.front, verdict, t.now, 0); err != nil {
				return fmt.Errorf("pending work of %s: %w", f.grant.Function, err)
			}
		}
		if verdict.Stopped != trigger.NotStopped {
			if err := t.stopped(f, verdict); err != nil {
				return fmt.Errorf("stopped chain at %s: %w", f.grant.Function, err)
			}
		}
	}
	return nil
}

// add puts new work to what waits already, p. Work that pauses after a failure keeps its pause; what is parked stays so,
// and so does what comes behind it if the function wants its data in order.
func (t *tx) add(f function, p *front, v trigger.Verdict, since time.Time, most int) error {
	if p != nil && p.parked && !f.grant.InOrder {
		// Only a file of before there were ranges, or of a function that was in order, has this.
		told := plan.Plan{LastExecution: f.last, Window: plan.Window(t.now, f.last, false)}
		if err := t.setAside(f, p, p.upto, told); err != nil {
			return err
		}
		p = nil
	}
	if p == nil {
		p = &front{work: work{since: since, notBefore: v.NotBefore, most: most}}
	}
	p.upto = max(p.upto, v.Upto)
	if len(v.Chain) > len(p.chain) {
		p.chain = v.Chain
	}
	return t.savePending(f.n, p)
}

// A span is positions after < seq <= upto (0: no end), narrowed as a range may be.
type span struct {
	after, upto hat.Seq
	part        plan.Part
}

// stored says what the records of a span mean for a function, as its grant and trigger say, and how long the oldest of
// those that mean something has been there.
func (t *tx) stored(f function, s span) (v trigger.Verdict, since time.Time, err error) {
	var events []trigger.Event
	if s.upto == 0 {
		s.upto = t.seq
	}
	before := int64(math.MaxInt64)
	if !s.part.Before.IsZero() {
		before = sinceMicros(s.part.Before)
	}
	ahead := int64(math.MaxInt64)
	if f.grant.Ahead > 0 {
		ahead = int64(f.grant.Ahead)
	}
	for _, e := range f.grant.Bundle.Endpoints() {
		if !s.part.At(e) {
			continue
		}
		// One event for each chain of writers is as good as all of them.
		err := t.each(t.ctx, `SELECT c.path, max(r.seq), min(r.updated) FROM records r LEFT JOIN chains c ON c.n = r.chain
			WHERE r.born IN (`+bornSince+`) AND r.seq <= ? AND (r.created >= ? OR r.born >= ?) AND r.created >= ? AND r.created < ? GROUP BY r.chain`,
			[]any{
				e.String(), int64(s.after), e.String(), int64(s.after), int64(s.upto),
				sinceMicros(f.grant.Since), ahead, sinceMicros(s.part.Since), before,
			}, func(scan func(...any) error) (err error) {
				var (
					chain  sql.NullString
					oldest sql.NullInt64
				)
				ev := trigger.Event{Endpoint: e, Created: f.grant.Since} // not too old, as was asked
				if err := scan(&chain, &ev.Seq, &oldest); err != nil {
					return err
				}
				if ev.Chain, err = parseChain(chain); err != nil {
					return err
				}
				at := fromMicros(oldest)
				if trigger.Judge(f.state(), []trigger.Event{ev}, t.now).Raised() && (since.IsZero() || at.Before(since)) {
					since = at
				}
				events = append(events, ev)
				return nil
			})
		if err != nil {
			return v, since, err
		}
	}
	// What is stopped here was recorded when it was written.
	return trigger.Judge(f.state(), events, t.now), since, nil
}

// addStored makes pending what is stored beyond a position, where nothing is.
func (t *tx) addStored(f function, after hat.Seq, most int) error {
	verdict, since, err := t.stored(f, span{after: after})
	if err != nil || !verdict.Raised() {
		return err
	}
	return t.add(f, nil, verdict, since, most)
}

// sinceMicros rounds up, so that a record of the same microsecond but before is not counted.
func sinceMicros(t time.Time) int64 {
	if t.IsZero() {
		return -1 << 62
	}
	n := t.UnixMicro()
	if time.UnixMicro(n).Before(t) {
		n++
	}
	return n
}

// Enable: see vault.Functions. Consent given once more to the same changes nothing.
func (v *Vault) Enable(ctx context.Context, c access.Caller, g access.Grant) (state vault.FunctionState, err error) {
	if err := c.Check(access.SwitchFunctions()); err != nil {
		return state, err
	}
	// Before the transaction: nobody waits for what can't be stored.
	if err := checkGrant(g); err != nil {
		return state, fmt.Errorf("enable %s: %w", g.Function, err)
	}
	return v.Agree(ctx, c, g.Function, func(*vault.FunctionState) (access.Grant, error) { return g, nil })
}

// Agree: see vault.Functions.
func (v *Vault) Agree(
	ctx context.Context, c access.Caller, id hat.FunctionID, decide func(*vault.FunctionState) (access.Grant, error),
) (state vault.FunctionState, err error) {
	err = v.writeAs(ctx, c, "enable", holding(access.SwitchFunctions()), func(t *tx, c access.Caller) error {
		f, err := oneFunction(t.ctx, t.conn, t.v.grants, id)
		isNew := errors.Is(err, vault.ErrNotFound)
		if err != nil && !isNew {
			return err
		}
		var saved *vault.FunctionState
		if !isNew {
			state, err := stateOf(t.ctx, t.conn, f)
			if err != nil {
				return err
			}
			saved = &state
		}
		g, err := decide(saved)
		if err != nil {
			return err
		}
		g.Bundle = g.Bundle.Normalised()
		if err := checkGrant(g); err != nil || g.Function != id {
			return fmt.Errorf("enable %s: %w", id, cmp.Or(err, errors.New("the grant is another function's")))
		}
		if g.Given.IsZero() {
			g.Given = t.now
		}
		if !isNew && f.enabled && sameGrant(f.grant, g) {
			state, err = stateOf(t.ctx, t.conn, f)
			return err
		}
		t.grows = fully
		if g.Ahead = f.grant.Ahead; isNew || g.Ahead == 0 || g.Since.After(f.grant.Since) {
			g.Ahead = t.seq + 1
		}
		body, err := encodeGrant(g)
		if err != nil {
			return err
		}
		before := f
		if err := t.get(t.ctx, "INSERT INTO grants (body, manifest) VALUES (?, ?) RETURNING n", []any{body, g.Manifest}, &f.granted); err != nil {
			return err
		}
		if isNew {
			err = t.get(t.ctx, `INSERT INTO functions (id, granted, enabled, cursor, epoch) VALUES (?, ?, 1, 0, 0) RETURNING n`,
				[]any{g.Function.String(), f.granted}, &f.n)
		} else {
			_, err = t.exec(t.ctx, "UPDATE functions SET granted = ?, enabled = 1 WHERE n = ?", f.granted, f.n)
		}
		if err != nil {
			return err
		}
		if err := t.withdraw(f); err != nil {
			return err
		}
		if err := t.declare(grantUse, g.Function.String(), useful(g.Bundle)); err != nil {
			return err
		}
		g.Manifest = nil
		f.grant, f.enabled = g, true
		// A person has acted: failures of before count no more.
		if err := t.dropPending(f.n); err != nil {
			return err
		}
		if err := t.addStored(f, f.cursor, 0); err != nil {
			return err
		}
		if !isNew {
			if err := t.renew(f, before); err != nil {
				return err
			}
			if err := t.addGranted(f, before); err != nil {
				return err
			}
		}
		if err := t.receipt(grantFact(c, g, "enabled")); err != nil {
			return err
		}
		state, err = stateOf(t.ctx, t.conn, f)
		return err
	})
	return state, err
}

func checkGrant(g access.Grant) error {
	switch {
	case g.Function.IsZero(), g.Output.IsZero(), g.Version == hat.Version{}:
		return errors.New("the grant lacks its function, version or output")
	case !slices.Contains([]hat.TriggerKind{hat.Individual, hat.Periodic, hat.Manual}, g.Trigger.Kind):
		return errors.New("the grant's trigger is of no known kind")
	case g.Mode != hat.AppendOutput && g.Mode != hat.ReplaceOutput:
		return errors.New("the grant's output mode is unknown")
	case g.Trigger.Kind == hat.Periodic && g.Trigger.Period.IsZero():
		return errors.New("the grant's period is missing")
	}
	// What can't be read again must not be stored.
	text, err := encodeGrant(g)
	if err == nil {
		_, err = decodeGrant(text)
	}
	return err
}

func grantFact(c access.Caller, g access.Grant, outcome string) receipt.Fact {
	var since *time.Time
	if !g.Since.IsZero() {
		since = &g.Since
	}
	return receipt.Fact{
		Mode: string(g.Mode), Since: since,
		Kind: receipt.Grant, User: c.UserID(), Application: c.ApplicationID(), Outcome: outcome,
		Function: g.Function, Version: g.Version.String(), Package: g.Digest, Bundle: g.Bundle.Digest(), Output: g.Output,
		Endpoints: g.Bundle.Endpoints(),
	}
}

// Disable: see vault.Functions.
func (v *Vault) Disable(ctx context.Context, c access.Caller, id hat.FunctionID) (state vault.FunctionState, err error) {
	err = v.writeAs(ctx, c, "disable", holding(access.SwitchFunctions()), func(t *tx, c access.Caller) error {
		f, err := oneFunction(t.ctx, t.conn, t.v.grants, id)
		if err != nil {
			return err
		}
		if f.enabled {
			if _, err := t.exec(t.ctx, "UPDATE functions SET enabled = 0 WHERE n = ?", f.n); err != nil {
				return err
			}
			if err := t.withdraw(f); err != nil {
				return err
			}
			if err := t.declare(grantUse, id.String(), nil); err != nil {
				return err
			}
			if err := t.receipt(grantFact(c, f.grant, "disabled")); err != nil {
				return err
			}
		}
		f.enabled = false
		state, err = stateOf(t.ctx, t.conn, f)
		return err
	})
	return state, err
}

// Function: see vault.Functions.
func (v *Vault) Function(ctx context.Context, c access.Caller, id hat.FunctionID) (state vault.FunctionState, err error) {
	if err := c.Check(access.SeeFunction(id)); err != nil {
		return state, err
	}
	err = v.read(ctx, func(conn *conn) error {
		f, err := oneFunction(ctx, conn, nil, id)
		if err != nil {
			return err
		}
		state, err = stateOf(ctx, conn, f)
		return err
	})
	return state, err
}

// FunctionStates: see vault.Functions. By id.
func (v *Vault) FunctionStates(ctx context.Context, c access.Caller) (all []vault.FunctionState, err error) {
	if err := c.Check(access.SeeFunctions()); err != nil {
		return nil, err
	}
	err = v.read(ctx, func(conn *conn) error {
		fs, err := functions(ctx, conn, nil, "ORDER BY f.id")
		if err != nil {
			return err
		}
		for _, f := range fs {
			state, err := stateOf(ctx, conn, f)
			if err != nil {
				return err
			}
			all = append(all, state)
		}
		return nil
	})
	return all, err
}

func stateOf(ctx context.Context, c *conn, f function) (vault.FunctionState, error) {
	s := vault.FunctionState{Grant: f.grant, Enabled: f.enabled, Cursor: f.cursor, LastExecution: f.last}
	if err := c.get(ctx, "SELECT manifest FROM grants WHERE n = ?", []any{f.granted}, &s.Grant.Manifest); err != nil {
		return s, err
	}
	p, err := pendingOf(ctx, c, f.n)
	if err != nil {
		return s, err
	}
	if p != nil {
		s.Pending = p.state()
	}
	ranges, err := rangesOf(ctx, c, f.n)
	if err != nil {
		return s, err
	}
	for _, g := range ranges {
		s.Ranges = append(s.Ranges, vault.Range{After: g.after, Part: g.part, Replaces: g.replaces, Pending: *g.state()})
	}
	l, err := leaseOf(ctx, c, nil, f.n)
	if l != nil {
		s.Started = l.plan.Claimed
	}
	return s, err
}

func (w *work) state() *vault.Pending {
	return &vault.Pending{
		Upto: w.upto, Since: w.since, NotBefore: w.notBefore, Attempt: w.attempt, Fault: w.fault, Parked: w.parked, Run: w.last,
	}
}
