package ledger

import (
	"context"
	"time"
)

// If a clock that ran ahead is set back, the times stored before lie too far ahead: a pause of seconds
// would last a day. Due finds such times and cuts them to the latest that they can be, counted from now.
// The result is stored: a limit computed at each scan would move with the clock and never be reached.

// aheadQuery finds functions with a time ahead of the clock. Most of these are correct pauses and periods.
const aheadQuery = `WHERE f.enabled AND (f.last_execution > ?1
	OR EXISTS (SELECT 1 FROM pending w WHERE w.function = f.n AND NOT w.parked AND (w.not_before > ?1 OR w.since > ?1))
	OR EXISTS (SELECT 1 FROM ranges w WHERE w.function = f.n AND NOT w.parked AND (w.not_before > ?1 OR w.since > ?1)))
	ORDER BY f.n`

// isAhead reports whether a stored time lies too far ahead of now.
func isAhead(ctx context.Context, c Reader, now time.Time) (bool, error) {
	all, err := functions(ctx, c, nil, aheadQuery, now.UnixMicro())
	if err != nil {
		return false, err
	}
	for _, f := range all {
		if f, err = withRanges(ctx, c, f); err != nil {
			return false, err
		}
		if _, some := f.SetBack(now); some {
			return true, nil
		}
	}
	return false, nil
}

// cutTimes cuts times that lie too far ahead. If we stop before its commit, the next call does it.
func (v *Vault) cutTimes(ctx context.Context) error {
	return v.write(ctx, "clock", func(t *tx) error {
		all, err := functions(t.ctx, t.Tx, t.v.grants, aheadQuery, t.now.UnixMicro())
		for _, f := range all {
			if err == nil {
				f, err = withRanges(t.ctx, t.Tx, f)
			}
			if err == nil {
				_, err = t.setBack(f)
			}
		}
		return err
	})
}

// setBack cuts the times of one function.
func (t *tx) setBack(f function) (function, error) {
	b, some := f.SetBack(t.now)
	if !some {
		return f, nil
	}
	return t.save(f, b)
}
