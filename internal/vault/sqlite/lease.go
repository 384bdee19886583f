package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"she/internal/access"
	"she/internal/hat"
	"she/internal/plan"
	"she/internal/vault"
)

// A planText is a plan as table runs holds it: all but the grant, of which it names what really ran.
type planText struct {
	Cause         plan.Cause       `json:"cause"`
	From          time.Time        `json:"from"`
	Until         time.Time        `json:"until"`
	After         hat.Seq          `json:"after"`
	Upto          hat.Seq          `json:"upto"`
	Attempt       int              `json:"attempt"`
	Epoch         int64            `json:"epoch"`
	Expires       time.Time        `json:"expires"`
	Due           time.Time        `json:"due"`
	Claimed       time.Time        `json:"claimed"`
	LastExecution time.Time        `json:"lastExecution,omitzero"`
	Chain         []hat.FunctionID `json:"chain,omitempty"`
	Version       hat.Version      `json:"version"`
	Package       string           `json:"package"`
	Range         int64            `json:"range,omitempty"`
	Only          []hat.Endpoint   `json:"only,omitempty"`
	Since         time.Time        `json:"since,omitzero"`
	Before        time.Time        `json:"before,omitzero"`
	Replaces      hat.RunID        `json:"replaces,omitzero"`
	Most          int              `json:"most,omitempty"`
	Under         []int64          `json:"under,omitempty"`  // numbers of grants, as in table ranges
	Beyond        int64            `json:"beyond,omitempty"` // the same
}

func encodePlan(p plan.Plan) (string, error) {
	text, err := json.Marshal(planText{
		p.Cause, p.Window.From, p.Window.Until, p.After, p.Upto, p.Attempt, p.Epoch, p.Expires, p.Due, p.Claimed,
		p.LastExecution, p.Chain, p.Grant.Version, p.Grant.Digest, p.Range, p.Only, p.Since, p.Before, p.Replaces, p.Most,
		numbersOf(p.Under), numberOf(p.Beyond),
	})
	return string(text), err
}

func decodePlan(text string, run hat.RunID, g access.Grant) (plan.Plan, error) {
	var p planText
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return plan.Plan{}, errDamagedRow
	}
	g.Version, g.Digest = p.Version, p.Package
	return plan.Plan{
		Run: run, Grant: g, Cause: p.Cause, Window: hat.Window{From: p.From, Until: p.Until}, After: p.After, Upto: p.Upto,
		Attempt: p.Attempt, Epoch: p.Epoch, Expires: p.Expires, Due: p.Due, Claimed: p.Claimed,
		LastExecution: p.LastExecution, Depth: len(p.Chain), Chain: p.Chain,
		Range: p.Range, Part: plan.Part{Only: p.Only, Since: p.Since, Before: p.Before, Under: sightsOf(p.Under), Beyond: sightOf(p.Beyond)}, Replaces: p.Replaces, Most: p.Most,
	}, nil
}

// A lease is a run in flight: the row of leases with what runs says of it.
type lease struct {
	run     hat.RunID
	epoch   int64
	expires time.Time
	life    string
	granted int64
	plan    plan.Plan // with the grant as it was when claimed
}

// leaseOf is nil if the function is not running. known is as for functions.
func leaseOf(ctx context.Context, c *conn, known map[int64]access.Grant, function int64) (*lease, error) {
	var (
		l       lease
		run     []byte
		expires sql.NullInt64
		text    string
	)
	err := c.get(ctx, `SELECT l.run, l.epoch, l.expires, l.life, r.granted, r.plan FROM leases l
		JOIN runs r ON r.id = l.run WHERE l.function = ?`, []any{function}, &run, &l.epoch, &expires, &l.life, &l.granted, &text)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	l.expires = fromMicros(expires)
	if l.run, err = runID(run); err != nil {
		return nil, err
	}
	g, err := grantOf(ctx, c, known, l.granted)
	if err != nil {
		return nil, err
	}
	l.plan, err = decodePlan(text, l.run, g)
	return &l, err
}

// lapsed says that the lease holds no more: its time is over, or the server that took it is gone.
func (l *lease) lapsed(life string, now time.Time) bool {
	return l.life != life || !l.expires.After(now)
}

// clockSlack is how far ahead of the clock a claim may lie, for clocks that are set by some milliseconds all the time.
const clockSlack = time.Minute

// ahead says that the clock was set back since the lease was taken. Its end then says nothing. To take the work anew is
// safe: a commit goes by the epoch, and the engine has one run of a function at a time.
func (l *lease) ahead(now time.Time) bool { return l.plan.Claimed.After(now.Add(clockSlack)) }

// recover ends the runs that a former life of the server left in flight: they can't come back, and what they were to
// do is due again at once.
func (v *Vault) recover(ctx context.Context) error {
	return v.write(ctx, "recover", func(t *tx) error {
		all, err := functions(t.ctx, t.conn, t.v.grants, "WHERE f.n IN (SELECT function FROM leases WHERE life <> ?)", v.life)
		if err != nil {
			return err
		}
		for _, f := range all {
			l, err := leaseOf(t.ctx, t.conn, t.v.grants, f.n)
			if err != nil {
				return err
			}
			if err := t.lapse(&f, l); err != nil {
				return fmt.Errorf("recover run %s: %w", l.run, err)
			}
		}
		return nil
	})
}

// lapse abandons a run whose lease holds no more, and counts the attempt: a function that takes the server down with
// it must not do so for ever.
func (t *tx) lapse(f *function, l *lease) error {
	fault := hat.NewFault(hat.Engine, codeInterrupted, "the run was interrupted")
	if err := t.end(*f, l, l.plan, vault.RunAbandoned, vault.Output{}, fault, nil); err != nil {
		return err
	}
	err := t.failed(*f, l.plan, l.plan, fault)
	if err == nil {
		// The cursor may have moved behind what was parked.
		*f, err = oneFunction(t.ctx, t.conn, t.v.grants, f.grant.Function)
	}
	return err
}

// withdraw ends the run in flight, if any, because the grant it ran under is gone.
func (t *tx) withdraw(f function) error {
	l, err := leaseOf(t.ctx, t.conn, t.v.grants, f.n)
	if err != nil || l == nil {
		return err
	}
	fault := hat.NewFault(hat.Owner, codeWithdrawn, "the grant was withdrawn during the run")
	return t.end(f, l, l.plan, vault.RunRefused, vault.Output{}, fault, nil)
}
