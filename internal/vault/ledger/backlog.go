package ledger

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"she/internal/access"
	"she/internal/backlog"
	"she/internal/hat"
	"she/internal/plan"
	"she/internal/vault"
)

// A function is a row of table functions with its front. Its ranges and its lease are read only when they are
// needed.
type function struct {
	n int64
	backlog.Backlog
	hasRanges bool
}

const rangeColumns = `SELECT r.n, r.after, r.only, r.made_since, r.made_before, r.aside, r.replaces, r.from_date, r.last_execution,
	r.upto, r.since, r.not_before, r.attempt, r.fault, r.parked, r.replay, c.path, r.most, r.last_run, r.under, r.beyond, r.outages
	FROM ranges r LEFT JOIN chains c ON c.n = r.chain `

// rangesOf returns the ranges of a function, the oldest positions first.
func rangesOf(ctx context.Context, c Reader, function int64) (all []backlog.Item, err error) {
	err = c.Each(ctx, rangeColumns+"WHERE r.function = ? ORDER BY r.after, r.n", []any{function}, func(scan func(...any) error) (err error) {
		var (
			only, fault, chain, under    sql.NullString
			beyond                       sql.NullInt64
			made, before, from, executed sql.NullInt64
			since, notBefore             sql.NullInt64
			replaces, last               []byte
			g                            backlog.Item
		)
		if err := scan(&g.Number, &g.After, &only, &made, &before, &g.Aside, &replaces, &from, &executed, &g.Upto, &since, &notBefore,
			&g.Attempt, &fault, &g.Parked, &g.Replay, &chain, &g.Most, &last, &under, &beyond, &g.Outages); err != nil {
			return err
		}
		g.Part.Since, g.Part.Before, g.From, g.Executed = fromMicros(made), fromMicros(before), fromMicros(from), fromMicros(executed)
		g.Oldest, g.NotBefore = fromMicros(since), fromMicros(notBefore)
		if only.Valid {
			for name := range strings.SplitSeq(only.String, " ") {
				e, err := hat.ParseEndpoint(name)
				if err != nil {
					return errDamagedRow
				}
				g.Part.Only = append(g.Part.Only, e)
			}
		}
		for n := range strings.FieldsSeq(under.String) {
			grant, err := strconv.ParseInt(n, 10, 64)
			if err != nil {
				return errDamagedRow
			}
			g.Part.Under = append(g.Part.Under, plan.FormerGrant{ID: access.GrantID(grant)})
		}
		g.Part.Beyond = formerOf(access.GrantID(beyond.Int64))
		if g.Fault, err = parseFault(fault); err != nil {
			return err
		}
		if g.Chain, err = parseChain(chain); err != nil {
			return err
		}
		if g.Replaces, err = maybeRun(replaces); err != nil {
			return err
		}
		g.Run, err = maybeRun(last)
		all = append(all, g)
		return err
	})
	return all, err
}

func maybeRun(b []byte) (hat.RunID, error) {
	if b == nil {
		return hat.RunID{}, nil
	}
	return runID(b)
}

// saveRange stores a range. A new one gets its number.
func (t *tx) saveRange(function int64, g *backlog.Item) error {
	chain, err := t.chain(g.Chain)
	if err != nil {
		return err
	}
	var only, under, beyond any
	if g.Part.Only != nil {
		names := make([]string, len(g.Part.Only))
		for i, e := range g.Part.Only {
			names[i] = e.String()
		}
		only = strings.Join(names, " ")
	}
	if g.Part.Under != nil {
		under = strings.Trim(fmt.Sprint(numbersOf(g.Part.Under)), "[]")
	}
	if g.Part.Beyond != nil {
		beyond = g.Part.Beyond.ID
	}
	row := []any{
		function, int64(g.After), only, micros(g.Part.Since), micros(g.Part.Before), g.Aside, runBytes(g.Replaces),
		micros(g.From), micros(g.Executed), int64(g.Upto), g.Oldest.UnixMicro(), micros(g.NotBefore), g.Attempt,
		faultText(g.Fault), g.Parked, g.Replay, chain, g.Most, runBytes(g.Run), under, beyond, g.Outages,
	}
	if g.Number == 0 {
		return t.Get(t.ctx, newRange, row, &g.Number)
	}
	changed, err := t.Exec(t.ctx, changedRange, append(row, g.Number)...)
	if err == nil && changed != 1 {
		err = fmt.Errorf("%w: range %d is gone", vault.ErrDamaged, g.Number)
	}
	return err
}

const newRange = `INSERT INTO ranges (function, after, only, made_since, made_before, aside, replaces, from_date,
		last_execution, upto, since, not_before, attempt, fault, parked, replay, chain, most, last_run, under, beyond, outages)
	VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING n`

const changedRange = `UPDATE ranges SET function = ?, after = ?, only = ?, made_since = ?, made_before = ?, aside = ?,
		replaces = ?, from_date = ?, last_execution = ?, upto = ?, since = ?, not_before = ?, attempt = ?, fault = ?, parked = ?,
		replay = ?, chain = ?, most = ?, last_run = ?, under = ?, beyond = ?, outages = ?
	WHERE n = ?`

func formerOf(grant access.GrantID) *plan.FormerGrant {
	if grant == 0 {
		return nil
	}
	return &plan.FormerGrant{ID: grant}
}

func formersOf(grants []access.GrantID) (all []plan.FormerGrant) {
	for _, n := range grants {
		all = append(all, plan.FormerGrant{ID: n})
	}
	return all
}

func numberOf(s *plan.FormerGrant) access.GrantID {
	if s == nil {
		return 0
	}
	return s.ID
}

func numbersOf(all []plan.FormerGrant) (grants []access.GrantID) {
	for _, s := range all {
		grants = append(grants, s.ID)
	}
	return grants
}

// formers fills in the grants of a plan's part.
func (t *tx) formers(p plan.Part) (_ plan.Part, err error) {
	fill := func(s plan.FormerGrant) plan.FormerGrant {
		g, failed := grantOf(t.ctx, t.Tx, t.v.grants, s.ID)
		err = cmp.Or(err, failed)
		return plan.FormerGrant{ID: s.ID, Grant: g}
	}
	if p.Beyond != nil {
		s := fill(*p.Beyond)
		p.Beyond = &s
	}
	under := p.Under
	p.Under = nil
	for _, s := range under {
		p.Under = append(p.Under, fill(s))
	}
	return p, err
}

// withRanges returns the function with its ranges.
func withRanges(ctx context.Context, c Reader, f function) (function, error) {
	if !f.hasRanges || f.Ranges != nil {
		return f, nil
	}
	var err error
	f.Ranges, err = rangesOf(ctx, c, f.n)
	return f, err
}

// inFlight returns the function with its ranges and its lease, which is all that a transition needs.
func (t *tx) inFlight(f function) (_ function, err error) {
	if f, err = withRanges(t.ctx, t.Tx, f); err == nil {
		f.Lease, err = leaseOf(t.ctx, t.Tx, t.v.grants, f.n)
	}
	return f, err
}

// take answers the questions of a step, stores the run that it ended, which left out and w, and stores the
// changed backlog.
func (t *tx) take(f function, s backlog.Step, out vault.Output, w *writing) (function, error) {
	s, err := s.Run(t.stored)
	if err != nil {
		return f, err
	}
	if s.Ended != nil {
		if err := t.end(f, s.Ended, out, w); err != nil {
			return f, err
		}
	}
	return t.save(f, s.Backlog)
}

// save stores the differences from the function as it was read. The lease is stored by the claim and the end.
func (t *tx) save(f function, b backlog.Backlog) (function, error) {
	was := f.Backlog
	if was.GrantID != b.GrantID || was.Enabled != b.Enabled || was.Cursor != b.Cursor || was.Epoch != b.Epoch ||
		!was.LastExecution.Equal(b.LastExecution) {
		_, err := t.Exec(t.ctx, "UPDATE functions SET granted = ?, enabled = ?, cursor = ?, last_execution = ?, epoch = ? WHERE n = ?",
			b.GrantID, b.Enabled, int64(b.Cursor), micros(b.LastExecution), b.Epoch, f.n)
		if err != nil {
			return f, err
		}
	}
	switch {
	case b.Front == nil && was.Front != nil:
		if _, err := t.Exec(t.ctx, "DELETE FROM pending WHERE function = ?", f.n); err != nil {
			return f, err
		}
	case b.Front != nil && !reflect.DeepEqual(was.Front, b.Front):
		if err := t.saveFront(f.n, b.Front); err != nil {
			return f, err
		}
	}
	kept := make(map[int64]*backlog.Item, len(b.Ranges))
	for i := range b.Ranges {
		kept[b.Ranges[i].Number] = &b.Ranges[i]
	}
	same := make(map[int64]bool, len(b.Ranges))
	for i := range was.Ranges {
		r := &was.Ranges[i]
		if k := kept[r.Number]; k != nil {
			same[r.Number] = reflect.DeepEqual(r, k)
		} else if _, err := t.Exec(t.ctx, "DELETE FROM ranges WHERE n = ?", r.Number); err != nil {
			return f, err
		}
	}
	for i := range b.Ranges {
		r := &b.Ranges[i]
		if same[r.Number] {
			continue
		}
		if err := t.saveRange(f.n, r); err != nil {
			return f, err
		}
	}
	f.Backlog, f.hasRanges = b, len(b.Ranges) > 0 || f.hasRanges && was.Ranges == nil
	return f, nil
}
