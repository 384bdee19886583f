package sqlite

import (
	"context"
	"time"

	"she/internal/plan"
	"she/internal/trigger"
)

// A clock that runs ahead is set back some day, and what was stored before lies too far ahead then: a pause of seconds
// would last a day. Whoever asks what is due finds such times and cuts them to what they can be at most, counted from now. That is stored: a bound that moved with the clock would never be reached.

// aheadQuery finds functions with a time ahead of the clock. Most are pauses and periods that are as they should be.
const aheadQuery = `WHERE f.enabled AND (f.last_execution > ?1
	OR EXISTS (SELECT 1 FROM pending w WHERE w.function = f.n AND NOT w.parked AND (w.not_before > ?1 OR w.since > ?1))
	OR EXISTS (SELECT 1 FROM ranges w WHERE w.function = f.n AND NOT w.parked AND (w.not_before > ?1 OR w.since > ?1)))
	ORDER BY f.n`

// isAhead says that something stored lies too far ahead of now.
func isAhead(ctx context.Context, c *conn, now time.Time) (bool, error) {
	all, err := functions(ctx, c, nil, aheadQuery, now.UnixMicro())
	if err != nil {
		return false, err
	}
	for _, f := range all {
		p, ranges, err := waitingOf(ctx, c, f)
		if err != nil {
			return false, err
		}
		if cut(&f, p, ranges, now) {
			return true, nil
		}
	}
	return false, nil
}

// cutTimes cuts what lies too far ahead. If we stop before it, the next to look does it.
func (v *Vault) cutTimes(ctx context.Context) error {
	return v.write(ctx, "clock", func(t *tx) error {
		all, err := functions(t.ctx, t.conn, t.v.grants, aheadQuery, t.now.UnixMicro())
		for i := range all {
			if err == nil {
				err = t.inTime(&all[i])
			}
		}
		return err
	})
}

// inTime cuts what lies too far ahead of one function.
func (t *tx) inTime(f *function) error {
	p, ranges, err := t.waiting(*f)
	if err != nil || !cut(f, p, ranges, t.now) {
		return err
	}
	if _, err := t.exec(t.ctx, "UPDATE functions SET last_execution = ? WHERE n = ?", micros(f.last), f.n); err != nil {
		return err
	}
	if p != nil {
		if err := t.savePending(f.n, p); err != nil {
			return err
		}
	}
	for _, g := range ranges {
		if err := t.saveRange(f.n, g); err != nil {
			return err
		}
	}
	return nil
}

// cut cuts what lies too far ahead of now, and says whether anything did.
func cut(f *function, p *front, ranges []*ground, now time.Time) (some bool) {
	sooner := func(at *time.Time, latest time.Time) {
		if at.After(latest) {
			*at, some = latest, true
		}
	}
	sooner(&f.last, now)
	item := func(w *work) {
		sooner(&w.since, now)
		if w.parked || w.notBefore.IsZero() {
			return // waits for a person
		}
		next := now
		if !w.replay {
			next = trigger.NotBefore(f.state(), now)
		}
		sooner(&w.notBefore, plan.Latest(w.fault, w.tries(), next, now))
	}
	if p != nil {
		item(&p.work)
	}
	for _, g := range ranges {
		item(&g.work)
	}
	return some
}
