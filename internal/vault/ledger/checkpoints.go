package ledger

import (
	"context"

	"she/internal/access"
	"she/internal/receipt"
)

// Checkpoints returns the heads that were signed and kept, oldest first. access.ErrDenied.
func (v *Vault) Checkpoints(ctx context.Context, c access.Caller) (all []receipt.Checkpoint, err error) {
	if err := c.Check(access.SeeRuns()); err != nil {
		return nil, err
	}
	err = v.rows.Read(ctx, func(conn Reader) error {
		return conn.Each(ctx, "SELECT number, hash, at, signature FROM checkpoints ORDER BY number", nil,
			func(scan func(...any) error) error {
				var (
					p    receipt.Checkpoint
					hash []byte
				)
				if err := scan(&p.Number, &hash, &p.At, &p.Signature); err != nil {
					return err
				}
				if len(hash) != len(p.Hash) {
					return errDamagedRow
				}
				copy(p.Hash[:], hash)
				all = append(all, p)
				return nil
			})
	})
	return all, err
}

// KeepCheckpoint stores a signed head. If one of the same number is stored, that one stays. access.ErrDenied,
// vault.ErrFull.
func (v *Vault) KeepCheckpoint(ctx context.Context, c access.Caller, p receipt.Checkpoint) error {
	return v.writeAs(ctx, c, "checkpoint", holding(access.SeeRuns()), func(t *tx, _ access.Caller) error {
		t.grows = traces
		_, err := t.Exec(t.ctx, "INSERT INTO checkpoints (number, hash, at, signature) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
			p.Number, p.Hash[:], p.At, p.Signature)
		return err
	})
}
