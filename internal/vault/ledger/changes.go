package ledger

import (
	"context"

	"she/internal/access"
	"she/internal/hat"
	"she/internal/vault"
)

// changedRun gives the run the next change number, in place of its former one.
func (t *tx) changedRun(id hat.RunID) error {
	_, err := t.Exec(t.ctx, `INSERT INTO run_changes (n, run) VALUES ((SELECT coalesce(max(n), 0) + 1 FROM run_changes), ?)
		ON CONFLICT (run) DO UPDATE SET n = excluded.n`, id.Bytes())
	return err
}

// RunChanges returns at most limit runs whose state changed after number after, in the order of their last
// change and without logs, and the newest change number of all. A run that changed twice is returned once, in
// its present state. access.ErrDenied.
func (v *Vault) RunChanges(ctx context.Context, c access.Caller, after int64, limit int) (all []vault.RunChange, last int64, err error) {
	if err := c.Check(access.SeeRuns()); err != nil {
		return nil, 0, err
	}
	err = v.rows.Read(ctx, func(conn Reader) error {
		if err := conn.Get(ctx, "SELECT coalesce(max(n), 0) FROM run_changes", nil, &last); err != nil || limit <= 0 {
			return err
		}
		var numbers []int64
		var ids [][]byte
		err := conn.Each(ctx, "SELECT n, run FROM run_changes WHERE n > ? ORDER BY n LIMIT ?", []any{after, limit},
			func(scan func(...any) error) error {
				var (
					n  int64
					id []byte
				)
				err := scan(&n, &id)
				numbers, ids = append(numbers, n), append(ids, id)
				return err
			})
		if err != nil {
			return err
		}
		for i, id := range ids {
			found, err := runs(ctx, conn, runColumns+"WHERE r.id = ?", id)
			if err != nil {
				return err
			}
			if len(found) != 1 {
				return errDamagedRow
			}
			all = append(all, vault.RunChange{Number: numbers[i], Run: found[0]})
		}
		return nil
	})
	return all, last, err
}
