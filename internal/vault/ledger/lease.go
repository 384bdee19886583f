package ledger

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"she/internal/access"
	"she/internal/backlog"
	"she/internal/hat"
	"she/internal/plan"
	"she/internal/vault"
)

// A planText is a plan in table runs, without the grant. Version and digest are those that really ran.
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
	Under         []access.GrantID `json:"under,omitempty"`  // numbers of grants, as in table ranges
	Beyond        access.GrantID   `json:"beyond,omitempty"` // the same
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
		Run:           run,
		Grant:         g,
		Cause:         p.Cause,
		Window:        hat.Window{From: p.From, Until: p.Until},
		After:         p.After,
		Upto:          p.Upto,
		Attempt:       p.Attempt,
		Epoch:         p.Epoch,
		Expires:       p.Expires,
		Due:           p.Due,
		Claimed:       p.Claimed,
		LastExecution: p.LastExecution,
		Depth:         len(p.Chain),
		Chain:         p.Chain,
		Range:         p.Range,
		Part:          plan.Part{Only: p.Only, Since: p.Since, Before: p.Before, Under: formersOf(p.Under), Beyond: formerOf(p.Beyond)},
		Replaces:      p.Replaces,
		Most:          p.Most,
	}, nil
}

// leaseOf returns nil if no run is in flight. known: see functions.
func leaseOf(ctx context.Context, c Reader, known map[access.GrantID]access.Grant, function int64) (*backlog.Lease, error) {
	var (
		l    backlog.Lease
		id   []byte
		text string
	)
	err := c.Get(ctx, `SELECT l.run, l.life, r.granted, r.plan FROM leases l JOIN runs r ON r.id = l.run WHERE l.function = ?`,
		[]any{function}, &id, &l.Boot, &l.GrantID, &text)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	run, err := runID(id)
	if err != nil {
		return nil, err
	}
	g, err := grantOf(ctx, c, known, l.GrantID)
	if err != nil {
		return nil, err
	}
	l.Plan, err = decodePlan(text, run, g)
	return &l, err
}

// Recover ends the runs that were in flight when the server stopped. They can't come back, so their work is
// due at once, unless it runs only when somebody asks.
func (v *Vault) Recover(ctx context.Context) error {
	return v.write(ctx, "recover", func(t *tx) error {
		all, err := functions(t.ctx, t.Tx, t.v.grants, "WHERE f.n IN (SELECT function FROM leases WHERE life <> ?)", v.boot)
		if err != nil {
			return err
		}
		for _, f := range all {
			if f, err = t.inFlight(f); err != nil {
				return err
			}
			if _, err := t.lapse(f); err != nil {
				return fmt.Errorf("recover run %s: %w", f.Lease.Plan.Run, err)
			}
		}
		return nil
	})
}

// lapse ends the run in flight, whose lease has lapsed.
func (t *tx) lapse(f function) (function, error) {
	return t.take(f, f.Lapse(t.now, rand.Float64()), vault.Output{}, nil)
}
