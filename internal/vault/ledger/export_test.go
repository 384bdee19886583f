package ledger

import (
	"context"

	"she/internal/bundle"
	"she/internal/hat"
)

// This file exports internals for tests that use a store. These tests can't be in this package.

const (
	TakeOver = takeOver

	ClearQuery, UnbuiltQuery = clearQuery, unbuiltQuery

	MaxKey, MaxCut, MaxPickedLazily = maxKey, maxCut, maxPickedLazily
	MaxTie, MaxTieBytes, MinSkip    = maxTie, maxTieBytes, minSkip
	MaxFields, MaxFieldsAt          = maxFields, maxFieldsAt
	PieceLinks                      = pieceLinks
)

var (
	FirstKey, BeyondKeys = firstKey, beyondKeys

	FieldKey     = fieldKey
	ScanQuery    = scanQuery
	OrderedQuery = orderedQuery

	InsertResult           = insertResult
	EncodeGrant, SameGrant = encodeGrant, sameGrant
)

func (v *Vault) Rows() Rows { return v.rows }

func PickedQuery(field int64, ranges [][2][]byte, want bundle.Want) (string, []any) {
	w := way{field: field}
	for _, r := range ranges {
		w.ranges = append(w.ranges, keyRange{r[0], r[1]})
	}
	return pickedQuery(w, want)
}

// A Field is a row of table fields.
type Field struct {
	N             int64
	Path          string
	Built, Behind int64
	Gone          bool
}

func (f Field) Covers(born int64) bool {
	return field{f.N, f.Path, f.Built, f.Behind, f.Gone}.covers(born)
}

// WayOf returns how a Scan would be read.
func WayOf(ctx context.Context, src bundle.Source, e hat.Endpoint, want bundle.Want) (string, error) {
	s := src.(*source)
	w, err := s.choose(ctx, e, want)
	if err != nil || w.field == 0 {
		return "scan", err
	}
	var name string
	if err := s.conn.Get(ctx, "SELECT path FROM fields WHERE n = ?", []any{w.field}, &name); err != nil {
		return "", err
	}
	switch {
	case w.ordered && w.ranges != nil:
		return "a piece in order of " + name, nil
	case w.ordered:
		return "in order of " + name, nil
	}
	return "picked by " + name, nil
}
