package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"she/internal/access"
	"she/internal/bundle"
	"she/internal/hat"
	"she/internal/plan"
	"she/internal/trigger"
)

// work is what an item of waiting work says, the front (table pending) like a range.
type work struct {
	upto      hat.Seq
	since     time.Time
	notBefore time.Time // zero: only when somebody asks
	attempt   int       // failed so far
	outages   int       // of these, for a reason of the operator's
	fault     *hat.Fault
	parked    bool
	replay    bool // somebody asked for it once more
	chain     []hat.FunctionID
	most      int       // records at once; 0: all
	last      hat.RunID // the last attempt; zero: none yet
}

// again makes it due as if it had never failed.
func (w *work) again(now time.Time, replay bool) {
	w.notBefore, w.parked, w.replay = now, false, replay
	w.attempt, w.outages, w.fault = 0, 0, nil
}

// tries is how often it has failed.
func (w *work) tries() plan.Tries { return plan.Tries{Failed: w.attempt, Outages: w.outages} }

// due says whether it may be claimed without anybody asking.
func (w *work) due(now time.Time) bool {
	return !w.parked && !w.notBefore.IsZero() && !w.notBefore.After(now)
}

// A front is what waits behind the cursor.
type front struct {
	work
	tried hat.Seq // how far the first attempt went that failed; 0: none did
}

// A ground is a range that waits beside the front.
type ground struct {
	work
	n        int64
	after    hat.Seq
	part     plan.Part
	aside    bool // it was the front once
	replaces hat.RunID
	from     time.Time // told to the bundle entry; zero: as for a first run
	executed time.Time // told to the function as its last execution
}

const rangeColumns = `SELECT r.n, r.after, r.only, r.made_since, r.made_before, r.aside, r.replaces, r.from_date, r.last_execution,
	r.upto, r.since, r.not_before, r.attempt, r.fault, r.parked, r.replay, c.path, r.most, r.last_run, r.under, r.beyond, r.outages
	FROM ranges r LEFT JOIN chains c ON c.n = r.chain `

// rangesOf are the ranges of a function, the oldest ground first.
func rangesOf(ctx context.Context, c *conn, function int64) (all []*ground, err error) {
	err = c.each(ctx, rangeColumns+"WHERE r.function = ? ORDER BY r.after, r.n", []any{function}, func(scan func(...any) error) (err error) {
		var (
			only, fault, chain, under    sql.NullString
			beyond                       sql.NullInt64
			made, before, from, executed sql.NullInt64
			since, notBefore             sql.NullInt64
			replaces, last               []byte
			g                            = &ground{}
		)
		if err := scan(&g.n, &g.after, &only, &made, &before, &g.aside, &replaces, &from, &executed, &g.upto, &since, &notBefore,
			&g.attempt, &fault, &g.parked, &g.replay, &chain, &g.most, &last, &under, &beyond, &g.outages); err != nil {
			return err
		}
		g.part.Since, g.part.Before, g.from, g.executed = fromMicros(made), fromMicros(before), fromMicros(from), fromMicros(executed)
		g.since, g.notBefore = fromMicros(since), fromMicros(notBefore)
		if only.Valid {
			for name := range strings.SplitSeq(only.String, " ") {
				e, err := hat.ParseEndpoint(name)
				if err != nil {
					return errDamagedRow
				}
				g.part.Only = append(g.part.Only, e)
			}
		}
		for n := range strings.FieldsSeq(under.String) {
			grant, err := strconv.ParseInt(n, 10, 64)
			if err != nil {
				return errDamagedRow
			}
			g.part.Under = append(g.part.Under, plan.Sight{Grant: grant})
		}
		g.part.Beyond = sightOf(beyond.Int64)
		if g.fault, err = parseFault(fault); err != nil {
			return err
		}
		if g.chain, err = parseChain(chain); err != nil {
			return err
		}
		if g.replaces, err = maybeRun(replaces); err != nil {
			return err
		}
		g.last, err = maybeRun(last)
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

// saveRange stores a range, a new one if it has no number yet.
func (t *tx) saveRange(function int64, g *ground) error {
	chain, err := t.chain(g.chain)
	if err != nil {
		return err
	}
	var n, only, under, beyond any
	if g.n != 0 {
		n = g.n
	}
	if g.part.Only != nil {
		names := make([]string, len(g.part.Only))
		for i, e := range g.part.Only {
			names[i] = e.String()
		}
		only = strings.Join(names, " ")
	}
	if g.part.Under != nil {
		under = strings.Trim(fmt.Sprint(numbersOf(g.part.Under)), "[]")
	}
	if g.part.Beyond != nil {
		beyond = g.part.Beyond.Grant
	}
	_, err = t.exec(t.ctx, `REPLACE INTO ranges (n, function, after, only, made_since, made_before, aside, replaces, from_date, last_execution,
		upto, since, not_before, attempt, fault, parked, replay, chain, most, last_run, under, beyond, outages)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		n, function, int64(g.after), only, micros(g.part.Since), micros(g.part.Before), g.aside, runBytes(g.replaces), micros(g.from), micros(g.executed), int64(g.upto),
		g.since.UnixMicro(), micros(g.notBefore), g.attempt, faultText(g.fault), g.parked, g.replay, chain, g.most, runBytes(g.last), under, beyond, g.outages)
	return err
}

func sightOf(grant int64) *plan.Sight {
	if grant == 0 {
		return nil
	}
	return &plan.Sight{Grant: grant}
}

func sightsOf(grants []int64) (all []plan.Sight) {
	for _, n := range grants {
		all = append(all, plan.Sight{Grant: n})
	}
	return all
}

func numberOf(s *plan.Sight) int64 {
	if s == nil {
		return 0
	}
	return s.Grant
}

func numbersOf(all []plan.Sight) (grants []int64) {
	for _, s := range all {
		grants = append(grants, s.Grant)
	}
	return grants
}

// sights fills in the bundles of a part, for a plan.
func (t *tx) sights(p plan.Part) (_ plan.Part, err error) {
	fill := func(s plan.Sight) plan.Sight {
		g, failed := grantOf(t.ctx, t.conn, t.v.grants, s.Grant)
		err = cmp.Or(err, failed)
		return plan.Sight{Grant: s.Grant, Of: g}
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

func (t *tx) dropRange(n int64) error {
	_, err := t.exec(t.ctx, "DELETE FROM ranges WHERE n = ?", n)
	return err
}

// oneRange is nil if there is none of that number any more.
func oneRange(all []*ground, n int64) *ground {
	if i := slices.IndexFunc(all, func(g *ground) bool { return g.n == n }); i >= 0 {
		return all[i]
	}
	return nil
}

// parkedBefore is the range that was parked right before the position, with nothing done since; nil: none.
func parkedBefore(all []*ground, at hat.Seq) *ground {
	if i := slices.IndexFunc(all, func(g *ground) bool { return g.parked && g.aside && g.part.All() && g.upto == at }); i >= 0 {
		return all[i]
	}
	return nil
}

// setAside parks the front up to a position as a range of its own and moves the cursor behind it, so that newer data
// does not wait. What was parked right before it becomes part of it.
func (t *tx) setAside(f function, p *front, upto hat.Seq, told plan.Plan) error {
	all, err := rangesOf(t.ctx, t.conn, f.n)
	if err != nil {
		return err
	}
	g := parkedBefore(all, f.cursor)
	if g == nil {
		g = &ground{after: f.cursor, aside: true, from: told.Window.From, executed: told.LastExecution, work: work{since: p.since, chain: p.chain}}
	}
	longest := g.chain
	if len(p.chain) > len(longest) {
		longest = p.chain
	}
	since := g.since
	g.work = p.work
	g.upto, g.parked, g.replay, g.chain, g.since = upto, true, false, longest, since
	if err := t.saveRange(f.n, g); err != nil {
		return err
	}
	return t.leave(f, p, upto)
}

// leave moves the cursor to a position, stores it with the time of the last execution, and makes the front anew of what
// is beyond.
func (t *tx) leave(f function, p *front, upto hat.Seq) error {
	f.cursor = max(f.cursor, upto)
	if _, err := t.exec(t.ctx, "UPDATE functions SET cursor = ?, last_execution = ? WHERE n = ?", int64(f.cursor), micros(f.last), f.n); err != nil {
		return err
	}
	if err := t.dropPending(f.n); err != nil || p.upto <= f.cursor {
		return err
	}
	return t.addStored(f, f.cursor, p.most)
}

// covered takes out of the ranges what a run over the front covered besides.
func (t *tx) covered(f function, p plan.Plan) error {
	if !f.ranges {
		return nil
	}
	all, err := rangesOf(t.ctx, t.conn, f.n)
	if err != nil {
		return err
	}
	for _, g := range all {
		switch {
		case !g.replaces.IsZero() || p.After > g.after || p.Upto <= g.after:
		case p.Upto >= g.upto:
			err = t.dropRange(g.n)
		default:
			err = t.shorten(f, g, p.Upto)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// shorten takes away what has been done of a range. The rest has not failed by itself.
func (t *tx) shorten(f function, g *ground, done hat.Seq) error {
	g.after = done
	g.again(t.now, g.replay)
	return t.saveRange(f.n, g)
}

// addGranted makes ranges of what is stored up to the cursor and was not granted before: records at endpoints that are
// new, those that are older than the window was, and those that filters left out which are looser now. A field more of
// records that were shown is no reason to show them again: what the function made of them is there (ADR 0017).
func (t *tx) addGranted(f function, before function) error {
	var fresh, known []hat.Endpoint
	had := before.grant.Bundle.Endpoints()
	for _, e := range f.grant.Bundle.Endpoints() {
		if slices.Contains(had, e) {
			known = append(known, e)
		} else {
			fresh = append(fresh, e)
		}
	}
	if err := t.addRange(f, plan.Part{Only: fresh}); err != nil {
		return err
	}
	loosened := plan.Part{Only: bundle.Loosened(before.grant.Bundle, f.grant.Bundle), Beyond: sightOf(before.granted)}
	was := before.grant.Since
	longer := f.grant.Since.Before(was)
	if longer {
		loosened.Since = was // the rest of it is in the other
	}
	if err := t.addRange(f, loosened); err != nil || !longer {
		return err
	}
	return t.addRange(f, plan.Part{Only: known, Before: was, Beyond: sightOf(before.granted)})
}

func (t *tx) addRange(f function, part plan.Part) error {
	if len(part.Only) == 0 || f.cursor == 0 {
		return nil
	}
	verdict, since, err := t.stored(f, span{upto: f.cursor, part: part})
	if err != nil || !verdict.Raised() {
		return err
	}
	return t.saveRange(f.n, &ground{part: part, work: work{
		upto: f.cursor, since: since, notBefore: verdict.NotBefore, chain: verdict.Chain,
	}})
}

// renew adapts the ranges to another grant: what is granted only now has ranges of its own, and a person has acted, so
// failures of before count no more.
func (t *tx) renew(f function, before function) error {
	all, err := rangesOf(t.ctx, t.conn, f.n)
	if err != nil {
		return err
	}
	granted := f.grant.Bundle.Endpoints()
	for _, g := range all {
		if !sameSight(f.grant, before.grant) {
			g.part = g.part.Granted(before.granted, before.grant, f.grant)
			if !slices.ContainsFunc(granted, g.part.At) {
				if err := t.dropRange(g.n); err != nil {
					return err
				}
				continue
			}
		}
		g.again(trigger.NotBefore(f.state(), t.now), g.replay)
		if err := t.saveRange(f.n, g); err != nil {
			return err
		}
	}
	return nil
}

// sameSight says that a grant shows no other records than the one before.
func sameSight(now, before access.Grant) bool {
	return now.Since.Equal(before.Since) && slices.Equal(now.Bundle.Endpoints(), before.Bundle.Endpoints()) &&
		len(bundle.Loosened(before.Bundle, now.Bundle)) == 0
}

// waiting is all that waits for a function.
func (t *tx) waiting(f function) (*front, []*ground, error) {
	return waitingOf(t.ctx, t.conn, f)
}

func waitingOf(ctx context.Context, c *conn, f function) (*front, []*ground, error) {
	p, err := pendingOf(ctx, c, f.n)
	if err != nil {
		return nil, nil, err
	}
	all, err := rangesOf(ctx, c, f.n)
	return p, all, err
}
