package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"she/internal/access"
	"she/internal/hat"
)

// Erased data is overwritten, and that goes through the write-ahead log: to erase 450 MB at once would need
// 450 MB more. So a large erasure is first stored in table erasures and then done in pieces, each with its
// receipt. The log is emptied after each piece. The caller waits for the last piece. If we stop between two,
// the rest is done after the next start.

// A piece is bounded in records, in bytes of data (plus one record) and in memberships of groups. A record in
// more groups leaves them in several pieces before it is erased.
const (
	pieceRecords = 1000
	pieceBytes   = 1 << 20
	pieceLinks   = 5000
)

// large reports whether these are too many for one transaction.
func (t *tx) large(gone, superseded []stored) (bool, error) {
	size := 0
	for _, all := range [][]stored{gone, superseded} {
		for _, s := range all {
			size += s.size
		}
	}
	if len(gone)+len(superseded) > 1 && (size > pieceBytes || len(gone)+len(superseded) > pieceRecords) {
		return true, nil
	}
	links := 0
	for _, s := range gone {
		n, err := t.links(s.born)
		if links += n; err != nil || links > pieceLinks {
			return err == nil, err
		}
	}
	return false, nil
}

// links returns in how many groups a record is; at most one more than a piece may have.
func (t *tx) links(born int64) (n int, err error) {
	err = t.Get(t.ctx, "SELECT count(*) FROM (SELECT 1 FROM members WHERE record = ? LIMIT ?) found", []any{born, pieceLinks + 1}, &n)
	return n, err
}

// unlink removes a record from as many groups as a piece may have.
func (t *tx) unlink(born int64) error {
	var upto int64
	err := t.Get(t.ctx, "SELECT max(grp) FROM (SELECT grp FROM members WHERE record = ? ORDER BY grp LIMIT ?) found", []any{born, pieceLinks}, &upto)
	if err != nil {
		return err
	}
	if err := t.dissolve(born, upto); err != nil {
		return err
	}
	_, err = t.Exec(t.ctx, "DELETE FROM members WHERE record = ? AND grp <= ?", born, upto)
	return err
}

// An eraser is the caller of an erasure, as the receipts name them.
type eraser struct {
	user        hat.UserID
	application string
}

func eraserOf(c access.Caller) eraser { return eraser{c.UserID(), c.ApplicationID()} }

// eraseLater stores what is to be erased: what is stored at an endpoint now, by one user or by all, or the
// records with these ids.
func (t *tx) eraseLater(by eraser, endpoint, writer any, ids []byte) (n int64, err error) {
	err = t.Get(t.ctx, `INSERT INTO erasures (user, application, endpoint, upto, writer, records) VALUES (?, ?, ?, ?, ?, ?) RETURNING n`,
		[]any{by.user.Bytes(), by.application, endpoint, int64(t.seq), writer, ids}, &n)
	return n, err
}

// erasePieces does a stored erasure. It goes on when the caller has gone, because half an erasure helps
// nobody.
func (v *Vault) erasePieces(ctx context.Context, n int64) error {
	ctx = context.WithoutCancel(ctx)
	for more := true; more; {
		err := v.write(ctx, "erase", func(t *tx) (err error) {
			more, err = t.erasePiece(n)
			return err
		})
		if err != nil {
			return fmt.Errorf("the erasure is not finished; it goes on by itself when there is room: %w", err)
		}
	}
	return nil
}

// eraseRest does a piece of an erasure that a stop of the server or a full disk interrupted.
func (t *tx) eraseRest(int) (bool, error) {
	var n int64
	err := t.Get(t.ctx, "SELECT n FROM erasures ORDER BY n LIMIT 1", nil, &n)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err == nil {
		_, err = t.erasePiece(n)
	}
	return true, err
}

// erasePiece erases the next records of an erasure; more is true if others remain.
func (t *tx) erasePiece(n int64) (more bool, err error) {
	var (
		by               eraser
		user, ids        []byte
		endpoint, writer sql.NullInt64
		upto             int64
	)
	err = t.Get(t.ctx, "SELECT user, application, endpoint, upto, writer, records FROM erasures WHERE n = ?", []any{n},
		&user, &by.application, &endpoint, &upto, &writer, &ids)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil // upkeep has finished it
	}
	if err != nil {
		return false, err
	}
	if by.user, err = userID(user); err != nil {
		return false, err
	}
	p := piece{t: t}
	if endpoint.Valid {
		const which = " WHERE r.endpoint = ? AND r.born <= ? AND (CAST(?3 AS INTEGER) IS NULL OR r.user = ?3) ORDER BY "
		err = p.add(recordsToErase+which+"r.born LIMIT ?4", false, endpoint, upto, writer, pieceRecords)
		if err == nil && !p.full {
			err = p.add(supersededToErase+which+"r.n LIMIT ?4", true, endpoint, upto, writer, pieceRecords)
		}
	} else {
		for len(ids) > 0 && !p.full && err == nil {
			id := ids[:16:16]
			if err = p.add(recordsToErase+" WHERE r.id = ?", false, id); err == nil {
				err = p.add(supersededToErase+" WHERE r.id = ?", true, id)
			}
			if p.waits == 0 {
				ids = ids[16:]
			}
		}
		if err == nil && len(ids) > 0 {
			_, err = t.Exec(t.ctx, "UPDATE erasures SET records = ? WHERE n = ?", ids, n)
		}
	}
	if err != nil {
		return false, err
	}
	if len(p.gone)+len(p.superseded) > 0 {
		if err := t.erase(by, p.gone, p.superseded); err != nil {
			return false, err
		}
	}
	if p.waits != 0 {
		if len(p.gone)+len(p.superseded) == 0 {
			err = t.unlink(p.waits)
		}
		return true, err
	}
	if p.full && (endpoint.Valid || len(ids) > 0) {
		return true, nil
	}
	_, err = t.Exec(t.ctx, "DELETE FROM erasures WHERE n = ?", n)
	return false, err
}

const (
	recordsToErase = `SELECT r.born, r.id, r.endpoint, e.name, r.chain, r.seq, octet_length(r.data) FROM records r
		JOIN endpoints e ON e.n = r.endpoint`
	supersededToErase = `SELECT r.born, r.id, r.endpoint, e.name, r.chain, r.seq, octet_length(r.data) FROM superseded r
		JOIN endpoints e ON e.n = r.endpoint`
)

// A piece collects records until it is full.
type piece struct {
	t                *tx
	gone, superseded []stored
	size, links      int
	full             bool
	waits            int64 // born of a record that is in too many groups for this piece; 0: none
}

var errEnough = errors.New("the piece is full")

func (p *piece) add(query string, superseded bool, args ...any) error {
	err := p.t.Each(p.t.ctx, query, args, func(scan func(...any) error) (err error) {
		var (
			s    stored
			id   []byte
			name string
		)
		if p.full {
			return errEnough
		}
		if err := scan(&s.born, &id, &s.endpoint, &name, &s.chain, &s.seq, &s.size); err != nil {
			return err
		}
		if s.id, err = scanRecordID(id); err != nil {
			return err
		}
		if s.at, err = hat.ParseEndpoint(name); err != nil {
			return errDamagedRow
		}
		if superseded {
			p.superseded = append(p.superseded, s)
		} else {
			links, err := p.t.links(s.born)
			if err != nil {
				return err
			}
			if p.links += links; p.links > pieceLinks {
				p.full, p.waits = true, s.born
				return errEnough
			}
			p.gone = append(p.gone, s)
		}
		p.size += s.size
		p.full = p.size >= pieceBytes || len(p.gone)+len(p.superseded) >= pieceRecords
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return err
}
