package ledger

import (
	"context"
	"time"

	"she/internal/access"
	"she/internal/hat"
	"she/internal/plan"
	"she/internal/vault"
)

// usedQuery finds runs by the time they were claimed, which their plan tells to the second and further. A chain that was
// stopped has no figures and was never planned. coalesce: a run in flight has none yet.
const usedQuery = `SELECT count(*), coalesce(sum(coalesce(CAST(json_extract(stats, '$.timing.bundle') AS INTEGER), 0) +
	coalesce(CAST(json_extract(stats, '$.timing.query') AS INTEGER), 0) +
	coalesce(CAST(json_extract(stats, '$.timing.process') AS INTEGER), 0)), 0)
	FROM runs WHERE function = ? AND id >= ? AND json_extract(plan, '$.claimed') >= ? AND json_extract(plan, '$.claimed') < ?
	AND state <> ? AND (state = ? OR stats IS NOT NULL)`

// claimedBefore is the layout of a time to the second that plans in table runs are compared with, as texts.
const claimedBefore = "2006-01-02T15:04:05"

// usedOf reads the table of runs from shortly before the time on: ids of runs begin with the time they were made, by the
// same clock but for when it was set. A run claimed after the day is one of before the clock was set back, and not of
// this day.
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

// Parked counts pieces of work of enabled functions that wait for a person; stalled are those whose last attempt failed
// for a reason of the operator's, and that are tried again.
func (v *Vault) Parked(ctx context.Context) (parked, stalled int, err error) {
	err = v.rows.Read(ctx, func(c Reader) error {
		return c.Get(ctx, `SELECT count(CASE WHEN parked THEN 1 END), count(CASE WHEN NOT parked AND json_extract(fault, '$.who') = ? THEN 1 END)
			FROM (SELECT function, parked, fault FROM pending UNION ALL SELECT function, parked, fault FROM ranges) w
			JOIN functions f ON f.n = w.function WHERE f.enabled AND (parked OR fault IS NOT NULL)`, []any{string(hat.Operator)}, &parked, &stalled)
	})
	return parked, stalled, err
}

// Used is what runs of the function that were claimed from then to the end of the day have taken. access.ErrDenied.
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

// withinQuota answers a *vault.QuotaError if the function has had what it may have today.
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
