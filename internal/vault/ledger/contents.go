package ledger

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"iter"

	"she/internal/access"
	"she/internal/hat"
	"she/internal/receipt"
)

// receiptTexts yields the canonical texts of the entries after number after. It reads them again in each
// loop.
func receiptTexts(ctx context.Context, conn Reader, after int64) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		err := conn.Each(ctx, "SELECT body FROM receipts WHERE number > ? ORDER BY number", []any{after}, func(scan func(...any) error) error {
			var text []byte
			if err := scan(&text); err != nil {
				return err
			}
			if !yield(text, nil) {
				return errEnough
			}
			return nil
		})
		if err != nil && !errors.Is(err, errEnough) {
			yield(nil, err)
		}
	}
}

// Compare compares all stored records, superseded ones included, with the commitments of the chain at the
// same moment. The chain must be verified. It reads all data. room is asked for the memory it needs, see
// receipt.CompareContents. access.ErrDenied.
func (v *Vault) Compare(ctx context.Context, c access.Caller, room func(bytes int64) error) (result receipt.Comparison, err error) {
	if err := c.Check(access.SeeRuns()); err != nil {
		return result, err
	}
	err = v.rows.Read(ctx, func(conn Reader) error {
		var upto hat.Seq
		if err := conn.Get(ctx, "SELECT seq FROM hat", nil, &upto); err != nil {
			return err
		}
		result, err = receipt.CompareContents(receiptTexts(ctx, conn, 0), storedContents(ctx, conn), upto, room)
		return err
	})
	return result, err
}

const contentColumns = `SELECT r.id, r.seq, r.salt, u.id, r.created, e.name, r.data, `

const allContents = contentColumns + `0 FROM records r LEFT JOIN endpoints e ON e.n = r.endpoint LEFT JOIN users u ON u.n = r.user
	UNION ALL ` +
	contentColumns + `1 FROM superseded r LEFT JOIN endpoints e ON e.n = r.endpoint LEFT JOIN users u ON u.n = r.user`

// storedContents computes the commitments of all that is stored from the data itself, because the stored
// digests may have been changed with it. The data does not leave it.
func storedContents(ctx context.Context, conn Reader) iter.Seq2[receipt.Stored, error] {
	return func(yield func(receipt.Stored, error) bool) {
		err := conn.Each(ctx, allContents, nil, func(scan func(...any) error) error {
			s, err := scanStored(scan)
			if err == nil && !yield(s, nil) {
				err = errEnough
			}
			return err
		})
		if err != nil && !errors.Is(err, errEnough) {
			yield(receipt.Stored{}, err)
		}
	}
}

func scanStored(scan func(...any) error) (s receipt.Stored, err error) {
	var (
		id, salt, author, data sql.RawBytes
		name                   sql.NullString
		c                      receipt.Content
	)
	if err := scan(&id, &s.Seq, &salt, &author, &c.Created, &name, &data, &s.Superseded); err != nil {
		return s, err
	}
	if s.ID, err = scanRecordID(id); err != nil {
		return s, err
	}
	if s.Salted = salt != nil; !s.Salted {
		return s, nil
	}
	// If the row of the user or endpoint is missing, somebody changed the file. The commitment differs then.
	c.ID, c.Digest = s.ID, sha256.Sum256(data)
	c.Author, _ = userID(author)
	c.Endpoint, _ = hat.ParseEndpoint(name.String)
	s.Is = c.Commit(salt)
	return s, nil
}
