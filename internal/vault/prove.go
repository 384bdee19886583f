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

// A Chain gives access to a HAT's receipts, for verification.
type Chain interface {
	// Receipts calls f with the canonical texts of the entries after number after, oldest first, and the head
	// of the whole chain, all as of one moment. receipt.Verify takes both. access.ErrDenied.
	Receipts(ctx context.Context, c access.Caller, after int64, f func(texts iter.Seq2[[]byte, error], head receipt.Head) error) error
	// Checkpoints returns the heads that were signed and kept, oldest first. access.ErrDenied.
	Checkpoints(ctx context.Context, c access.Caller) ([]receipt.Checkpoint, error)
	// KeepCheckpoint stores a signed head. If one of the same number is stored, that one stays.
	// access.ErrDenied, ErrFull.
	KeepCheckpoint(ctx context.Context, c access.Caller, p receipt.Checkpoint) error
	// Compare compares all stored records, superseded ones included, with the commitments of the chain at the
	// same moment. The chain must be verified. It reads all data. room is asked for the memory it needs, see
	// receipt.CompareContents. access.ErrDenied.
	Compare(ctx context.Context, c access.Caller, room func(bytes int64) error) (receipt.Comparison, error)
}

// ExportReceipts verifies the whole chain of a HAT against every kept checkpoint, writes the entries after
// number after to w like receipt.Export, and signs the chain's end and keeps that checkpoint. The output ends
// with the checkpoint only if all is correct. With io.Discard it only verifies. *receipt.BrokenError names
// the first entry that is wrong; access.ErrDenied; w's own error.
//
// The vault's snapshot lasts until w has taken everything, so w must not be a slow client.
func ExportReceipts(ctx context.Context, v Chain, c access.Caller, key *rsa.PrivateKey, at time.Time, after int64, w io.Writer) (receipt.Checkpoint, error) {
	// Read before the chain, so that every checkpoint's entry is in it.
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

// VerifyReceipts verifies the chain like ExportReceipts and then, if it is whole, compares all stored records
// with its commitments. room: see Chain.Compare.
func VerifyReceipts(ctx context.Context, v Chain, c access.Caller, key *rsa.PrivateKey, at time.Time, room func(bytes int64) error) (receipt.Checkpoint, receipt.Comparison, error) {
	last, err := ExportReceipts(ctx, v, c, key, at, 0, io.Discard)
	if err != nil {
		return last, receipt.Comparison{}, err
	}
	compared, err := v.Compare(ctx, c, room)
	return last, compared, err
}

// HoldsHead checks whether a head that a client kept lies in the chain, and returns the present head. broken
// names the entry at which the chain differs. access.ErrDenied.
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
