package sqlite

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"iter"

	"she/internal/access"
	"she/internal/hat"
	"she/internal/receipt"
)

// receiptTexts reads the chain behind an entry, again each time it is ranged over.
func receiptTexts(ctx context.Context, conn *conn, after int64) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		rows, err := conn.c.QueryContext(ctx, "SELECT body FROM receipts WHERE number > ? ORDER BY number", after)
		if err != nil {
			yield(nil, err)
			return
		}
		defer rows.Close()
		for rows.Next() {
			var text []byte
			err := rows.Scan(&text)
			if !yield(text, err) || err != nil {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(nil, err)
		}
	}
}

// Compare: see vault.Receipts.
func (v *Vault) Compare(ctx context.Context, c access.Caller, room func(bytes int64) error) (result receipt.Comparison, err error) {
	if err := c.Check(access.SeeRuns()); err != nil {
		return result, err
	}
	err = v.read(ctx, func(conn *conn) error {
		var upto hat.Seq
		if err := conn.get(ctx, "SELECT seq FROM hat", nil, &upto); err != nil {
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

// storedContents makes the commitments of all that is stored from the data itself: the stored digests may have been
// changed with it. No data leaves it.
func storedContents(ctx context.Context, conn *conn) iter.Seq2[receipt.Stored, error] {
	return func(yield func(receipt.Stored, error) bool) {
		rows, err := conn.c.QueryContext(ctx, allContents)
		if err != nil {
			yield(receipt.Stored{}, err)
			return
		}
		defer rows.Close()
		for rows.Next() {
			s, err := scanStored(rows)
			if !yield(s, err) || err != nil {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(receipt.Stored{}, err)
		}
	}
}

func scanStored(rows *sql.Rows) (s receipt.Stored, err error) {
	var (
		id, salt, author, data sql.RawBytes
		name                   sql.NullString
		c                      receipt.Content
	)
	if err := rows.Scan(&id, &s.Seq, &salt, &author, &c.Created, &name, &data, &s.Superseded); err != nil {
		return s, err
	}
	if s.ID, err = scanRecordID(id); err != nil {
		return s, err
	}
	if s.Salted = salt != nil; !s.Salted {
		return s, nil
	}
	// A user or an endpoint that is not there can only come of a change from outside; the commitment differs then.
	c.ID, c.Digest = s.ID, sha256.Sum256(data)
	c.Author, _ = userID(author)
	c.Endpoint, _ = hat.ParseEndpoint(name.String)
	s.Is = c.Commit(salt)
	return s, nil
}
