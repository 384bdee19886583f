package vault

import (
	"context"
	"crypto/rsa"
	"io"
	"iter"
	"time"

	"she/internal/access"
	"she/internal/receipt"
)

// ExportReceipts proves the whole chain of a HAT against every checkpoint that was kept, writes the entries behind
// number after to w as receipt.Export does, and signs and keeps the chain's end. What is written ends with the
// checkpoint only if all of it is true. io.Discard makes of it a proof alone. *receipt.BrokenError names the first
// entry that is not what was written; access.ErrDenied; w's own error.
//
// The vault's snapshot lasts as long as w takes: w must not wait for a stranger.
func ExportReceipts(ctx context.Context, v Vault, c access.Caller, key *rsa.PrivateKey, at time.Time, after int64, w io.Writer) (receipt.Checkpoint, error) {
	// Read before the chain: a checkpoint never stands for an entry that is not there yet.
	signed, err := v.Checkpoints(ctx, c)
	if err != nil {
		return receipt.Checkpoint{}, err
	}
	var last receipt.Checkpoint
	err = v.Receipts(ctx, c, 0, func(texts iter.Seq2[[]byte, error], head receipt.Head) error {
		last, err = receipt.Export(w, after, texts, head, signed, key, at)
		return err
	})
	if err != nil || last.Number == 0 {
		return last, err
	}
	return last, v.KeepCheckpoint(ctx, c, last)
}
