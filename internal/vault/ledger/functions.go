package ledger

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
	"she/internal/backlog"
	"she/internal/bundle"
	"she/internal/hat"
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
	Equal    hat.EqualMode  `json:"equal,omitempty"`
	Trigger  hat.Trigger    `json:"trigger"`
	InOrder  bool           `json:"inOrder,omitempty"`
	Since    time.Time      `json:"since,omitzero"`
	Given    time.Time      `json:"given"`
	Ahead    hat.Seq        `json:"ahead,omitempty"`
}

func encodeGrant(g access.Grant) (string, error) {
	text, err := json.Marshal(grantText{
		g.Function, g.Version, g.Digest, g.Bundle, g.Output, g.Mode, g.Equal, g.Trigger, g.InOrder, g.Since, g.Given, g.Ahead,
	})
	return string(text), err
}

func decodeGrant(text string) (access.Grant, error) {
	var g grantText
	if err := json.Unmarshal([]byte(text), &g); err != nil {
		return access.Grant{}, errDamagedRow
	}
	return access.Grant{
		Function: g.Function, Version: g.Version, Digest: g.Package, Bundle: g.Bundle, Output: g.Output, Mode: g.Mode, Equal: g.Equal,
		Trigger: g.Trigger, InOrder: g.InOrder, Since: g.Since, Given: g.Given, Ahead: g.Ahead,
	}, nil
}

// sameGrant compares what was agreed to, not when.
func sameGrant(a, b access.Grant) bool {
	a.Given, b.Given, a.Ahead, b.Ahead = time.Time{}, time.Time{}, 0, 0
	left, leftErr := encodeGrant(a)
	right, rightErr := encodeGrant(b)
	return leftErr == nil && rightErr == nil && left == right
}

const functionColumns = `SELECT f.n, f.granted, f.enabled, f.cursor, f.last_execution, f.epoch,
	EXISTS (SELECT 1 FROM ranges g WHERE g.function = f.n), p.function, ` + frontFields + `
	FROM functions f LEFT JOIN pending p ON p.function = f.n LEFT JOIN chains c ON c.n = p.chain `

// functions reads rows of functionColumns. known holds grants that were parsed before, by number; nil: none.
func functions(ctx context.Context, c Reader, known map[access.GrantID]access.Grant, where string, args ...any) (all []function, err error) {
	err = c.Each(ctx, functionColumns+where, args, func(scan func(...any) error) error {
		var (
			f             function
			last, waiting sql.NullInt64
			row           frontRow
		)
		err := scan(append([]any{&f.n, &f.GrantID, &f.Enabled, &f.Cursor, &last, &f.Epoch, &f.hasRanges, &waiting}, row.into()...)...)
		if err == nil && waiting.Valid {
			f.Front, err = row.front(f.Cursor)
		}
		f.LastExecution = fromMicros(last)
		all = append(all, f)
		return err
	})
	for i := range all {
		if err == nil {
			all[i].Grant, err = grantOf(ctx, c, known, all[i].GrantID)
		}
	}
	return all, err
}

func grantOf(ctx context.Context, c Reader, known map[access.GrantID]access.Grant, n access.GrantID) (access.Grant, error) {
	if g, ok := known[n]; ok {
		return g, nil
	}
	var body string
	if err := c.Get(ctx, "SELECT body FROM grants WHERE n = ?", []any{n}, &body); err != nil {
		return access.Grant{}, err
	}
	g, err := decodeGrant(body)
	if err == nil && known != nil {
		known[n] = g
	}
	return g, err
}

func oneFunction(ctx context.Context, c Reader, known map[access.GrantID]access.Grant, id hat.FunctionID) (function, error) {
	all, err := functions(ctx, c, known, "WHERE f.id = ?", id.String())
	if err == nil && len(all) == 0 {
		err = fmt.Errorf("function %s: %w", id, vault.ErrNotFound)
	}
	if err != nil {
		return function{}, err
	}
	return all[0], nil
}

// frontFields are the columns of a frontRow, of pending p and chains c.
const frontFields = "p.upto, p.since, p.not_before, p.attempt, p.fault, p.parked, p.replay, c.path, p.tried, p.most, p.last_run, p.outages"

// A frontRow is a row of table pending, or NULLs if there is none.
type frontRow struct {
	upto, since, notBefore, attempt, tried, most, outages sql.NullInt64
	parked, replay                                        sql.NullBool
	fault, chain                                          sql.NullString
	last                                                  []byte
}

func (r *frontRow) into() []any {
	return []any{&r.upto, &r.since, &r.notBefore, &r.attempt, &r.fault, &r.parked, &r.replay, &r.chain, &r.tried, &r.most, &r.last, &r.outages}
}

func (r *frontRow) front(cursor hat.Seq) (p *backlog.Item, err error) {
	p = &backlog.Item{
		After: cursor, Upto: hat.Seq(r.upto.Int64), Oldest: fromMicros(r.since), NotBefore: fromMicros(r.notBefore),
		Attempt: int(r.attempt.Int64), Outages: int(r.outages.Int64), Parked: r.parked.Bool, Replay: r.replay.Bool,
		Most: int(r.most.Int64), Tried: hat.Seq(r.tried.Int64),
	}
	if p.Fault, err = parseFault(r.fault); err != nil {
		return nil, err
	}
	if p.Run, err = maybeRun(r.last); err != nil {
		return nil, err
	}
	p.Chain, err = parseChain(r.chain)
	return p, err
}

func (t *tx) saveFront(function int64, p *backlog.Item) error {
	chain, err := t.chain(p.Chain)
	if err != nil {
		return err
	}
	_, err = t.Exec(t.ctx, `INSERT INTO pending (function, upto, since, not_before, attempt, fault, parked, replay, chain, tried, most, last_run, outages)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (function) DO UPDATE SET upto = excluded.upto, since = excluded.since, not_before = excluded.not_before,
			attempt = excluded.attempt, fault = excluded.fault, parked = excluded.parked, replay = excluded.replay,
			chain = excluded.chain, tried = excluded.tried, most = excluded.most, last_run = excluded.last_run,
			outages = excluded.outages`,
		function, int64(p.Upto), p.Oldest.UnixMicro(), micros(p.NotBefore), p.Attempt, faultText(p.Fault), p.Parked, p.Replay, chain,
		int64(p.Tried), p.Most, runBytes(p.Run), p.Outages)
	return err
}

func faultText(f *hat.Fault) any {
	if f == nil {
		return nil
	}
	text, err := json.Marshal(f)
	if err != nil {
		return nil // can't fail
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

// Idle reports, after a write, that nothing can have become due because no function is enabled.
func (v *Vault) Idle() bool { return v.idle.Load() }

// raise makes the events pending for the functions that read them.
func (t *tx) raise(events []trigger.Event) error {
	if t.v.alone {
		return nil
	}
	enabled, err := functions(t.ctx, t.Tx, t.v.grants, "WHERE f.enabled ORDER BY f.n")
	if err != nil {
		return err
	}
	t.v.alone = len(enabled) == 0
	t.raised = t.raised || !t.v.alone
	for _, f := range enabled {
		if f.NeedsRanges() {
			if f, err = withRanges(t.ctx, t.Tx, f); err != nil {
				return err
			}
		}
		b, verdict := f.Arrive(events, t.now)
		if f, err = t.save(f, b); err != nil {
			return fmt.Errorf("pending work of %s: %w", f.Grant.Function, err)
		}
		if verdict.Stopped != trigger.NotStopped {
			if err := t.stopped(f, verdict); err != nil {
				return fmt.Errorf("stopped chain at %s: %w", f.Grant.Function, err)
			}
		}
	}
	return nil
}

// stored answers a question of package backlog.
func (t *tx) stored(q *backlog.Question) (all []backlog.Stored, err error) {
	upto, before, ahead := q.Upto, int64(math.MaxInt64), int64(math.MaxInt64)
	if upto == 0 {
		upto = t.seq
	}
	if !q.Part.Before.IsZero() {
		before = sinceMicros(q.Part.Before)
	}
	if q.Ahead > 0 {
		ahead = int64(q.Ahead)
	}
	for _, e := range q.Endpoints {
		// One record for each chain of functions is enough.
		err := t.Each(t.ctx, `SELECT c.path, max(r.seq), min(r.updated) FROM records r LEFT JOIN chains c ON c.n = r.chain
			WHERE r.born IN (`+bornSince+`) AND r.seq <= ? AND (r.created >= ? OR r.born >= ?) AND r.created >= ? AND r.created < ?
			GROUP BY r.chain, c.path ORDER BY r.chain`,
			[]any{
				e.String(), int64(q.After), e.String(), int64(q.After), int64(upto),
				sinceMicros(q.Since), ahead, sinceMicros(q.Part.Since), before,
			}, func(scan func(...any) error) (err error) {
				var (
					chain  sql.NullString
					oldest sql.NullInt64
					s      backlog.Stored
				)
				s.Endpoint = e
				if err := scan(&chain, &s.Seq, &oldest); err != nil {
					return err
				}
				s.Oldest = fromMicros(oldest)
				s.Chain, err = parseChain(chain)
				all = append(all, s)
				return err
			})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// sinceMicros rounds up, so that an earlier record of the same microsecond is left out.
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

// Enable stores the grant and makes stored records pending, as the grant's window and trigger say. If the
// function ran before, records at endpoints or of times that were not granted before become a range. Failures
// so far no longer count. Agreeing to the same grant again changes nothing.
func (v *Vault) Enable(ctx context.Context, c access.Caller, g access.Grant) (state vault.FunctionState, err error) {
	if err := c.Check(access.SwitchFunctions()); err != nil {
		return state, err
	}
	// Before the transaction, so that nobody waits for a grant that can't be stored.
	if err := checkGrant(g); err != nil {
		return state, fmt.Errorf("enable %s: %w", g.Function, err)
	}
	return v.Agree(ctx, c, g.Function, func(*vault.FunctionState) (access.Grant, error) { return g, nil })
}

// Agree is Enable for the grant that decide returns, in one transaction with reading the state that decide
// gets; nil: never enabled. decide must be quick. The error may be decide's own.
func (v *Vault) Agree(
	ctx context.Context, c access.Caller, id hat.FunctionID, decide func(*vault.FunctionState) (access.Grant, error),
) (state vault.FunctionState, err error) {
	err = v.writeAs(ctx, c, "enable", holding(access.SwitchFunctions()), func(t *tx, c access.Caller) error {
		f, err := oneFunction(t.ctx, t.Tx, t.v.grants, id)
		isNew := errors.Is(err, vault.ErrNotFound)
		if err != nil && !isNew {
			return err
		}
		var saved *vault.FunctionState
		if !isNew {
			state, err := stateOf(t.ctx, t.Tx, f)
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
			return fmt.Errorf("enable %s: %w", id, cmp.Or(err, errors.New("the grant belongs to another function")))
		}
		if g.Given.IsZero() {
			g.Given = t.now
		}
		if !isNew && f.Enabled && sameGrant(f.Grant, g) {
			state, err = stateOf(t.ctx, t.Tx, f)
			return err
		}
		t.grows = fully
		g = f.Ahead(g, t.seq)
		body, err := encodeGrant(g)
		if err != nil {
			return err
		}
		var given access.GrantID
		if err := t.Get(t.ctx, "INSERT INTO grants (body, manifest) VALUES (?, ?) RETURNING n", []any{body, g.Manifest}, &given); err != nil {
			return err
		}
		if isNew {
			err = t.Get(t.ctx, `INSERT INTO functions (id, granted, enabled, cursor, epoch) VALUES (?, ?, TRUE, 0, 0) RETURNING n`,
				[]any{g.Function.String(), given}, &f.n)
		} else {
			f, err = t.inFlight(f)
		}
		if err != nil {
			return err
		}
		if err := t.declare(grantUse, g.Function.String(), useful(g.Bundle)); err != nil {
			return err
		}
		g.Manifest = nil
		if f, err = t.take(f, f.Enable(g, given, t.now), vault.Output{}, nil); err != nil {
			return err
		}
		if err := t.receipt(grantFact(c, g, "enabled")); err != nil {
			return err
		}
		state, err = stateOf(t.ctx, t.Tx, f)
		return err
	})
	return state, err
}

func checkGrant(g access.Grant) error {
	switch {
	case g.Function.IsZero(), g.Output.IsZero(), g.Version == hat.Version{}:
		return errors.New("the grant lacks its function, version or output")
	case !slices.Contains([]hat.TriggerKind{hat.Individual, hat.Periodic, hat.Manual}, g.Trigger.Kind):
		return errors.New("the kind of the grant's trigger is unknown")
	case g.Mode != hat.AppendOutput && g.Mode != hat.ReplaceOutput:
		return errors.New("the grant's output mode is unknown")
	case g.Equal != hat.DropEqual && g.Equal != hat.KeepEqual:
		return errors.New("the grant's mode for equal results is unknown")
	case g.Trigger.Kind == hat.Periodic && g.Trigger.Period.IsZero():
		return errors.New("the grant's period is missing")
	}
	// A grant that can't be read back must not be stored.
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
		Mode: string(g.Mode), Equal: string(g.Equal), Since: since,
		Kind: receipt.Grant, User: c.UserID(), Application: c.ApplicationID(), Outcome: outcome,
		Function: g.Function, Version: g.Version.String(), Package: g.Digest, Bundle: g.Bundle.Digest(), Output: g.Output,
		Endpoints: g.Bundle.Endpoints(),
	}
}

// Disable keeps the state. A run in flight is not saved. vault.ErrNotFound if the function was never enabled.
func (v *Vault) Disable(ctx context.Context, c access.Caller, id hat.FunctionID) (state vault.FunctionState, err error) {
	err = v.writeAs(ctx, c, "disable", holding(access.SwitchFunctions()), func(t *tx, c access.Caller) error {
		f, err := oneFunction(t.ctx, t.Tx, t.v.grants, id)
		if err != nil {
			return err
		}
		if f.Enabled {
			if f, err = t.inFlight(f); err != nil {
				return err
			}
			if f, err = t.take(f, f.Disable(), vault.Output{}, nil); err != nil {
				return err
			}
			if err := t.declare(grantUse, id.String(), nil); err != nil {
				return err
			}
			if err := t.receipt(grantFact(c, f.Grant, "disabled")); err != nil {
				return err
			}
		}
		state, err = stateOf(t.ctx, t.Tx, f)
		return err
	})
	return state, err
}

// Function returns the state of one function. vault.ErrNotFound if it was never enabled. access.ErrDenied.
func (v *Vault) Function(ctx context.Context, c access.Caller, id hat.FunctionID) (state vault.FunctionState, err error) {
	if err := c.Check(access.SeeFunction(id)); err != nil {
		return state, err
	}
	err = v.rows.Read(ctx, func(conn Reader) error {
		f, err := oneFunction(ctx, conn, nil, id)
		if err != nil {
			return err
		}
		state, err = stateOf(ctx, conn, f)
		return err
	})
	return state, err
}

// FunctionStates returns the states of all functions that were ever enabled, by id. access.ErrDenied.
func (v *Vault) FunctionStates(ctx context.Context, c access.Caller) (all []vault.FunctionState, err error) {
	if err := c.Check(access.SeeFunctions()); err != nil {
		return nil, err
	}
	err = v.rows.Read(ctx, func(conn Reader) error {
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

func stateOf(ctx context.Context, c Reader, f function) (s vault.FunctionState, err error) {
	if f, err = withRanges(ctx, c, f); err != nil {
		return s, err
	}
	s = vault.FunctionState{
		Grant: f.Grant, Enabled: f.Enabled, Cursor: f.Cursor, LastExecution: f.LastExecution, Front: f.Front, Ranges: f.Ranges,
	}
	if err := c.Get(ctx, "SELECT manifest FROM grants WHERE n = ?", []any{f.GrantID}, &s.Grant.Manifest); err != nil {
		return s, err
	}
	l, err := leaseOf(ctx, c, nil, f.n)
	if l != nil {
		s.Started = l.Plan.Claimed
	}
	return s, err
}
