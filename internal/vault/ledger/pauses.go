package ledger

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"she/internal/access"
	"she/internal/hat"
)

// pausedQuery finds functions with failed work that is in a pause. Usually there are none.
const pausedQuery = `WHERE f.enabled AND (
	EXISTS (SELECT 1 FROM pending w WHERE w.function = f.n AND NOT w.parked AND w.attempt > 0 AND w.not_before > ?1)
	OR EXISTS (SELECT 1 FROM ranges w WHERE w.function = f.n AND NOT w.parked AND w.attempt > 0 AND w.not_before > ?1))
	ORDER BY f.n`

// EndPauses makes failed work due now if other code would run than the code that failed, and reports whether
// it changed anything. would returns the version and package that would run under a grant; ok is false if
// that is unknown. Parked work stays parked.
//
// It is called at each scan of a HAT with work that waits for a time, so it reads before it writes.
func (v *Vault) EndPauses(ctx context.Context, would func(access.Grant) (hat.Version, string, bool)) (some bool, err error) {
	err = v.rows.Read(ctx, func(c Reader) error {
		_, some, err = endedPauses(ctx, c, nil, v.now(), would)
		return err
	})
	if err != nil || !some {
		return false, err
	}
	err = v.write(ctx, "pauses", func(t *tx) error {
		ended, _, err := endedPauses(t.ctx, t.Tx, t.v.grants, t.now, would)
		for _, e := range ended {
			if err == nil {
				_, err = t.save(e.was, e.is.Backlog)
			}
		}
		return err
	})
	return err == nil, err
}

type endedPause struct{ was, is function }

// endedPauses returns the functions of which a pause ends, before and after.
func endedPauses(ctx context.Context, c Reader, known map[access.GrantID]access.Grant, now time.Time, would func(access.Grant) (hat.Version, string, bool)) (ended []endedPause, some bool, err error) {
	all, err := functions(ctx, c, known, pausedQuery, now.UnixMicro())
	if err != nil {
		return nil, false, err
	}
	for _, f := range all {
		version, digest, runs := would(f.Grant)
		if !runs {
			continue
		}
		if f, err = withRanges(ctx, c, f); err != nil {
			return nil, false, err
		}
		if f.Lease, err = leaseOf(ctx, c, known, f.n); err != nil {
			return nil, false, err
		}
		var failed error
		is := f
		is.Backlog, some = f.EndPauses(func(run hat.RunID) bool {
			was, digestWas, err := codeOf(ctx, c, run)
			if errors.Is(err, sql.ErrNoRows) {
				return false
			}
			if err != nil {
				failed = err
			}
			return err == nil && (was != version.String() || digestWas != digest)
		}, now)
		if failed != nil {
			return nil, false, failed
		}
		if some {
			ended = append(ended, endedPause{f, is})
		}
	}
	return ended, len(ended) > 0, nil
}

// codeOf returns the version and the package that a run used.
func codeOf(ctx context.Context, c Reader, run hat.RunID) (version, digest string, err error) {
	var v, d sql.NullString
	err = c.Get(ctx, "SELECT json_extract(plan, '$.version'), json_extract(plan, '$.package') FROM runs WHERE id = ?", []any{run.Bytes()}, &v, &d)
	return v.String, d.String, err
}
