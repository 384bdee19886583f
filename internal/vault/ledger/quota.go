package ledger

import (
	"context"
	"time"

	"she/internal/access"
	"she/internal/hat"
	"she/internal/plan"
	"she/internal/vault"
)

// usedQuery finds runs by the time of their claim, which is in their plan. Runs that were stopped by their
// chain have no plan and don't count. A run in flight has no figures yet, hence coalesce.
const usedQuery = `SELECT count(*), coalesce(sum(coalesce(CAST(json_extract(stats, '$.timing.bundle') AS INTEGER), 0) +
	coalesce(CAST(json_extract(stats, '$.timing.query') AS INTEGER), 0) +
	coalesce(CAST(json_extract(stats, '$.timing.process') AS INTEGER), 0)), 0)
	FROM runs WHERE function = ? AND id >= ? AND json_extract(plan, '$.claimed') >= ? AND json_extract(plan, '$.claimed') < ?
	AND state <> ? AND (state = ? OR stats IS NOT NULL)`

// claimedBefore is the layout of a time, to the second, for comparing it as text with the plans in table
// runs.
const claimedBefore = "2006-01-02T15:04:05"

// usedOf reads the table of runs from shortly before the day on: ids of runs begin with the time of their
// creation. A run claimed after the day was claimed before the clock was set back, so it does not count.
func usedOf(ctx context.Context, c Reader, f hat.FunctionID, from time.Time) (u plan.Used, err error) {
	const slack = 48 * time.Hour
	var first [16]byte
	for i, ms := 5, from.Add(-slack).UnixMilli(); i >= 0; i, ms = i-1, ms>>8 {
		first[i] = byte(ms)
	}
	_, until := plan.Day(from)
	err = c.Get(ctx, usedQuery, []any{f.String(), first[:], from.UTC().Format(claimedBefore), until.Format(claimedBefore),
		string(vault.RunAbandoned), string(vault.RunPlanned)}, &u.Runs, &u.Compute)
	return u, err
}

// Parked counts the parked work items of enabled functions. stalled counts those whose last attempt failed
// for a reason that the operator must mend; they are tried again.
func (v *Vault) Parked(ctx context.Context) (parked, stalled int, err error) {
	err = v.rows.Read(ctx, func(c Reader) error {
		return c.Get(ctx, `SELECT count(CASE WHEN parked THEN 1 END), count(CASE WHEN NOT parked AND json_extract(fault, '$.who') = ? THEN 1 END)
			FROM (SELECT function, parked, fault FROM pending UNION ALL SELECT function, parked, fault FROM ranges) w
			JOIN functions f ON f.n = w.function WHERE f.enabled AND (parked OR fault IS NOT NULL)`, []any{string(hat.Operator)}, &parked, &stalled)
	})
	return parked, stalled, err
}

// Used returns what runs of the function have used that were claimed between from and the end of its day.
// access.ErrDenied.
func (v *Vault) Used(ctx context.Context, c access.Caller, f hat.FunctionID, from time.Time) (u plan.Used, err error) {
	if err := c.Check(access.SeeRuns()); err != nil {
		return u, err
	}
	err = v.rows.Read(ctx, func(conn Reader) error {
		u, err = usedOf(ctx, conn, f, from)
		return err
	})
	return u, err
}

// withinQuota returns a *vault.QuotaError if the function has used up its quota of today.
func (t *tx) withinQuota(q plan.Quota, f hat.FunctionID, now time.Time) (refused, err error) {
	if q.None() {
		return nil, nil
	}
	from, _ := plan.Day(now)
	used, err := usedOf(t.ctx, t.Tx, f, from)
	if err != nil {
		return nil, err
	}
	if fault, until := q.Over(used, now); fault != nil {
		return &vault.QuotaError{Fault: fault, Until: until}, nil
	}
	return nil, nil
}
