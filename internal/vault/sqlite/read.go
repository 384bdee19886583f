package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"

	"she/internal/access"
	"she/internal/bundle"
	"she/internal/hat"
	"she/internal/vault"
)

const recordColumns = `SELECT r.born, r.id, e.name, r.seq, u.id, r.run, c.path, r.created, r.updated, r.data
	FROM records r JOIN endpoints e ON e.n = r.endpoint JOIN users u ON u.n = r.user LEFT JOIN chains c ON c.n = r.chain `

// scanRecord reads a row of recordColumns.
func scanRecord(scan func(...any) error) (r hat.Record, err error) {
	var (
		id, user, run sql.RawBytes
		name, data    string
		chain         sql.NullString
		made, updated sql.NullInt64
	)
	if err := scan(&r.Born, &id, &name, &r.Seq, &user, &run, &chain, &made, &updated, &data); err != nil {
		return r, err
	}
	if r.ID, err = scanRecordID(id); err != nil {
		return r, err
	}
	if r.Endpoint, err = hat.ParseEndpoint(name); err != nil {
		return r, errDamagedRow
	}
	if r.User, err = userID(user); err != nil {
		return r, err
	}
	if run != nil {
		if r.Run, err = runID(run); err != nil {
			return r, err
		}
	}
	if r.Chain, err = parseChain(chain); err != nil {
		return r, err
	}
	if r.Depth = len(r.Chain); r.Depth > 0 {
		r.Function = r.Chain[r.Depth-1]
	}
	r.Created, r.Updated = fromMicros(made), fromMicros(updated)
	r.Data = hat.DataFromStore([]byte(data))
	return r, nil
}

// record reads back a record of this transaction.
func (t *tx) record(born int64) (r hat.Record, err error) {
	err = t.each(t.ctx, recordColumns+"WHERE r.born = ?", []any{born}, func(scan func(...any) error) (err error) {
		r, err = scanRecord(scan)
		return err
	})
	return r, err
}

// Record: see vault.Records.
func (v *Vault) Record(ctx context.Context, c access.Caller, id hat.RecordID) (r hat.Record, err error) {
	found := false
	err = v.read(ctx, func(conn *conn) error {
		return conn.each(ctx, recordColumns+"WHERE r.id = ?", []any{id.Bytes()}, func(scan func(...any) error) (err error) {
			found = true
			r, err = scanRecord(scan)
			return err
		})
	})
	switch {
	case err != nil:
		return hat.Record{}, err
	case !found, !c.Shows(r.Created):
		return hat.Record{}, fmt.Errorf("record %s: %w", id, vault.ErrNotFound)
	}
	if err := c.Check(access.ReadRecords(r.Endpoint)); err != nil {
		return hat.Record{}, fmt.Errorf("record %s: %w", id, err)
	}
	return r, nil
}

// Endpoints: see vault.Records.
func (v *Vault) Endpoints(ctx context.Context, c access.Caller) (all []hat.Endpoint, err error) {
	if err := c.Check(access.ListEndpoints()); err != nil {
		return nil, err
	}
	err = v.read(ctx, func(conn *conn) error {
		return conn.each(ctx, `SELECT name FROM endpoints WHERE EXISTS (SELECT 1 FROM records WHERE endpoint = endpoints.n)
			ORDER BY name`, nil, func(scan func(...any) error) error {
			var name string
			if err := scan(&name); err != nil {
				return err
			}
			e, err := hat.ParseEndpoint(name)
			if err != nil {
				return errDamagedRow
			}
			all = append(all, e)
			return nil
		})
	})
	return all, err
}

// Read: see vault.Records.
func (v *Vault) Read(ctx context.Context, c access.Caller, f func(src bundle.Source, upto hat.Seq) error) error {
	return v.read(ctx, func(conn *conn) error {
		// The first statement fixes the snapshot.
		var upto hat.Seq
		if err := conn.get(ctx, "SELECT seq FROM hat", nil, &upto); err != nil {
			return err
		}
		return f(&source{conn: conn, caller: c}, upto)
	})
}

// A source is one snapshot as one caller may see it.
type source struct {
	conn   *conn
	caller access.Caller
}

// Scan serves order of creation, in both directions, and the bounds of incremental reading from indexes.
func (s *source) Scan(ctx context.Context, e hat.Endpoint, want bundle.Want) bundle.Stream {
	if err := s.caller.Check(access.ReadRecords(e)); err != nil {
		return bundle.Stream{Records: failing(fmt.Errorf("read %s: %w", e, err))}
	}
	query, args := recordColumns+"WHERE ", []any{e.String()}
	if want.After > 0 {
		// The inner list comes from the index by change alone and is sorted by born; only what is new is looked at.
		query += `r.born IN (SELECT born FROM records WHERE endpoint = (SELECT n FROM endpoints WHERE name = ?) AND seq > ?`
		args = append(args, int64(want.After))
		if want.Upto > 0 {
			query += " AND seq <= ?"
			args = append(args, int64(want.Upto))
		}
		query += ")"
	} else {
		query += "r.endpoint = (SELECT n FROM endpoints WHERE name = ?)"
		if want.Upto > 0 {
			query += " AND r.seq <= ?"
			args = append(args, int64(want.Upto))
		}
	}
	stream := bundle.Stream{}
	query += " ORDER BY r.born"
	if want.Order != nil && want.Order.Field == "" {
		stream.InOrder = true
		if want.Order.Descending {
			query += " DESC"
		}
	}
	stream.Records = s.records(ctx, query, args)
	return stream
}

// Linked serves the members of the record's groups. To whom the endpoint may not be shown, none are.
func (s *source) Linked(ctx context.Context, id hat.RecordID, e hat.Endpoint) iter.Seq2[hat.Record, error] {
	if err := s.caller.Check(access.ReadRecords(e)); err != nil {
		return failing(fmt.Errorf("read %s: %w", e, err))
	}
	return s.records(ctx, recordColumns+`WHERE r.born IN (
			SELECT other.record FROM records main JOIN members mine ON mine.record = main.born
			JOIN members other ON other.grp = mine.grp AND other.record <> main.born WHERE main.id = ?)
		AND e.name = ? ORDER BY r.born`, []any{id.Bytes(), e.String()})
}

func (s *source) records(ctx context.Context, query string, args []any) iter.Seq2[hat.Record, error] {
	return func(yield func(hat.Record, error) bool) {
		// Not through the prepared statements of the connection: a nested scan of the same text would share one.
		rows, err := s.conn.c.QueryContext(ctx, query, args...)
		if err != nil {
			yield(hat.Record{}, err)
			return
		}
		defer rows.Close()
		for rows.Next() {
			r, err := scanRecord(rows.Scan)
			if err == nil && !s.caller.Shows(r.Created) {
				continue
			}
			if !yield(r, err) || err != nil {
				return
			}
		}
		if err := rows.Err(); err != nil && !errors.Is(err, sql.ErrNoRows) {
			yield(hat.Record{}, err)
		}
	}
}

func failing(err error) iter.Seq2[hat.Record, error] {
	return func(yield func(hat.Record, error) bool) { yield(hat.Record{}, err) }
}
