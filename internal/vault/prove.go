package vault

import (
	"context"
	"crypto/rsa"
	"errors"
	"io"
	"iter"
	"time"

	"she/internal/access"
	"she/internal/receipt"
)

// A Chain is a HAT's receipts, as far as they are proved.
type Chain interface {
	// Receipts calls f with the canonical texts of the entries behind number after, oldest first, and the head of the
	// whole chain, all of one moment. receipt.Verify takes both. access.ErrDenied.
	Receipts(ctx context.Context, c access.Caller, after int64, f func(texts iter.Seq2[[]byte, error], head receipt.Head) error) error
	// Checkpoints are the heads that were signed and kept, oldest first. access.ErrDenied.
	Checkpoints(ctx context.Context, c access.Caller) ([]receipt.Checkpoint, error)
	// KeepCheckpoint stores one; of one number the first stays. access.ErrDenied, ErrFull.
	KeepCheckpoint(ctx context.Context, c access.Caller, p receipt.Checkpoint) error
	// Compare compares all records that are stored, superseded ones included, with what the chain commits to at the same
	// moment; it takes the chain as proved. It reads all data. room is asked for the memory it takes, see
	// receipt.CompareContents. access.ErrDenied.
	Compare(ctx context.Context, c access.Caller, room func(bytes int64) error) (receipt.Comparison, error)
}

// ExportReceipts proves the whole chain of a HAT against every checkpoint that was kept, writes the entries behind
// number after to w as receipt.Export does, and signs and keeps the chain's end. What is written ends with the
// checkpoint only if all of it is true. io.Discard makes of it a proof alone. *receipt.BrokenError names the first
// entry that is not what was written; access.ErrDenied; w's own error.
//
// The vault's snapshot lasts as long as w takes: w must not wait for a stranger.
func ExportReceipts(ctx context.Context, v Chain, c access.Caller, key *rsa.PrivateKey, at time.Time, after int64, w io.Writer) (receipt.Checkpoint, error) {
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

// VerifyReceipts proves the chain as ExportReceipts does, and then compares all stored records with what it commits to.
// Only a chain that is whole is compared. room: see Chain.Compare.
func VerifyReceipts(ctx context.Context, v Chain, c access.Caller, key *rsa.PrivateKey, at time.Time, room func(bytes int64) error) (receipt.Checkpoint, receipt.Comparison, error) {
	last, err := ExportReceipts(ctx, v, c, key, at, 0, io.Discard)
	if err != nil {
		return last, receipt.Comparison{}, err
	}
	compared, err := v.Compare(ctx, c, room)
	return last, compared, err
}

// HoldsHead says whether a head that a client kept lies in the chain, and what the head is now. broken names the entry at
// which the chain is another one. access.ErrDenied.
func HoldsHead(ctx context.Context, v Chain, c access.Caller, kept receipt.Head) (now receipt.Head, broken *receipt.BrokenError, err error) {
	err = v.Receipts(ctx, c, max(0, kept.Number-1), func(texts iter.Seq2[[]byte, error], head receipt.Head) error {
		now = head
		return receipt.Holds(kept, texts, head)
	})
	if errors.As(err, &broken) {
		err = nil
	}
	return now, broken, err
}
