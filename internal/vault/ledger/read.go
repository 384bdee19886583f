package ledger

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"she/internal/access"
	"she/internal/bundle"
	"she/internal/hat"
	"she/internal/vault"
)

const (
	recordFields  = "r.born, r.id, r.endpoint, r.seq, r.user, r.run, r.chain, r.created, r.updated, r.data"
	recordColumns = "SELECT " + recordFields + " FROM records r "
)

// names caches what the numbers in a record stand for. Committed rows never change, but an uncommitted row
// may be undone and its number used again. So readers share one names, and each transaction has its own.
type names struct {
	mu        sync.Mutex
	endpoints map[int64]hat.Endpoint
	users     map[int64]hat.UserID
	chains    map[int64][]hat.FunctionID
}

func newNames() *names {
	return &names{endpoints: map[int64]hat.Endpoint{}, users: map[int64]hat.UserID{}, chains: map[int64][]hat.FunctionID{}}
}

// lookUp returns the name from the map, or reads it with the query.
func lookUp[T any](ctx context.Context, names *names, known map[int64]T, c Reader, query string, n int64, parse func([]byte) (T, error)) (T, error) {
	names.mu.Lock()
	v, ok := known[n]
	names.mu.Unlock()
	if ok {
		return v, nil
	}
	var b []byte
	err := c.Get(ctx, query, []any{n}, &b)
	if errors.Is(err, sql.ErrNoRows) {
		err = errDamagedRow
	}
	if err != nil {
		return v, err
	}
	if v, err = parse(b); err != nil {
		return v, errDamagedRow
	}
	names.mu.Lock()
	known[n] = v
	names.mu.Unlock()
	return v, nil
}

func (ns *names) endpoint(ctx context.Context, c Reader, n int64) (hat.Endpoint, error) {
	return lookUp(ctx, ns, ns.endpoints, c, "SELECT name FROM endpoints WHERE n = ?", n, func(b []byte) (hat.Endpoint, error) {
		return hat.ParseEndpoint(string(b))
	})
}

func (ns *names) user(ctx context.Context, c Reader, n int64) (hat.UserID, error) {
	return lookUp(ctx, ns, ns.users, c, "SELECT id FROM users WHERE n = ?", n, userID)
}

func (ns *names) chain(ctx context.Context, c Reader, n int64) ([]hat.FunctionID, error) {
	return lookUp(ctx, ns, ns.chains, c, "SELECT path FROM chains WHERE n = ?", n, func(b []byte) ([]hat.FunctionID, error) {
		return parseChain(sql.NullString{String: string(b), Valid: true})
	})
}

// scan reads a row of recordColumns.
func (ns *names) scan(ctx context.Context, c Reader, scan func(...any) error) (r hat.Record, err error) {
	var (
		id, run        sql.RawBytes
		endpoint, user int64
		made, updated  int64
		chain          sql.NullInt64
		data           string
	)
	if err := scan(&r.Born, &id, &endpoint, &r.Seq, &user, &run, &chain, &made, &updated, &data); err != nil {
		return r, err
	}
	if r.ID, err = scanRecordID(id); err != nil {
		return r, err
	}
	if run != nil {
		if r.Run, err = runID(run); err != nil {
			return r, err
		}
	}
	if r.Endpoint, err = ns.endpoint(ctx, c, endpoint); err != nil {
		return r, err
	}
	if r.User, err = ns.user(ctx, c, user); err != nil {
		return r, err
	}
	if chain.Valid {
		if r.Chain, err = ns.chain(ctx, c, chain.Int64); err != nil {
			return r, err
		}
		r.Depth = len(r.Chain)
		r.Function = r.Chain[r.Depth-1]
	}
	r.Created, r.Updated = time.UnixMicro(made).UTC(), time.UnixMicro(updated).UTC()
	r.Data = hat.DataFromStoredText(data)
	return r, nil
}

// record reads back a record of this transaction.
func (t *tx) record(born int64) (r hat.Record, err error) {
	err = t.Each(t.ctx, recordColumns+"WHERE r.born = ?", []any{born}, func(scan func(...any) error) (err error) {
		r, err = newNames().scan(t.ctx, t.Tx, scan)
		return err
	})
	return r, err
}

// Record returns one record without its links.
func (v *Vault) Record(ctx context.Context, c access.Caller, id hat.RecordID) (r hat.Record, err error) {
	found := false
	err = v.rows.Read(ctx, func(conn Reader) error {
		return conn.Each(ctx, recordColumns+"WHERE r.id = ?", []any{id.Bytes()}, func(scan func(...any) error) (err error) {
			found = true
			r, err = v.names.scan(ctx, conn, scan)
			return err
		})
	})
	switch {
	case err != nil:
		return hat.Record{}, err
	case !found, !c.Shows(r.Born, r.Created):
		return hat.Record{}, fmt.Errorf("record %s: %w", id, vault.ErrNotFound)
	}
	if err := c.Check(access.ReadRecords(r.Endpoint)); err != nil {
		return hat.Record{}, fmt.Errorf("record %s: %w", id, err)
	}
	return r, nil
}

// EachEndpoint calls f with the endpoints that hold a record, sorted, so that those of a namespace are
// together. At most vault.EndpointsPage are in memory, and f may be slow: each page is read in a snapshot of
// its own. Endpoints that are stored meanwhile may be included or not.
func (v *Vault) EachEndpoint(ctx context.Context, c access.Caller, f func(hat.Endpoint) error) error {
	if err := c.Check(access.ListEndpoints()); err != nil {
		return err
	}
	page := make([]hat.Endpoint, 0, vault.EndpointsPage)
	for last := ""; ; last = page[len(page)-1].String() {
		page = page[:0]
		err := v.rows.Read(ctx, func(conn Reader) error {
			return conn.Each(ctx, `SELECT name FROM endpoints WHERE name > ?
				AND EXISTS (SELECT 1 FROM records WHERE endpoint = endpoints.n)
				ORDER BY name LIMIT ?`, []any{last, vault.EndpointsPage}, func(scan func(...any) error) error {
				var name string
				if err := scan(&name); err != nil {
					return err
				}
				e, err := hat.ParseEndpoint(name)
				if err != nil {
					return errDamagedRow
				}
				page = append(page, e)
				return nil
			})
		})
		if err != nil {
			return err
		}
		for _, e := range page {
			if err := f(e); err != nil {
				return err
			}
		}
		if len(page) < vault.EndpointsPage {
			return nil
		}
	}
}

// Read calls f with one consistent snapshot of the records, which ends when f returns. Scanning an endpoint
// that the caller may not read yields access.ErrDenied. upto is the newest position in the snapshot. The
// number of snapshots is bounded, so f must not call the vault. A Function whose run has ended gets
// vault.ErrStale.
func (v *Vault) Read(ctx context.Context, c access.Caller, f func(src bundle.Source, upto hat.Seq) error) error {
	return v.rows.Read(ctx, func(conn Reader) error {
		// The first statement fixes the snapshot.
		s := &source{conn: conn, names: v.names, caller: c}
		if err := conn.Get(ctx, "SELECT seq, EXISTS (SELECT 1 FROM fields) FROM hat", nil, &s.upto, &s.hasFields); err != nil {
			return err
		}
		if run := c.Run(); !run.IsZero() {
			if held, err := inRun(ctx, conn, run); err != nil || !held {
				return cmp.Or(err, vault.ErrStale)
			}
		}
		return f(s, s.upto)
	})
}

// A source is one snapshot as one caller may see it.
type source struct {
	conn      Reader
	names     *names
	caller    access.Caller
	upto      hat.Seq
	hasFields bool
}

// Scan uses indexes for the order of creation in both directions, for the bounds of incremental reading, and
// for declared fields (see choose).
func (s *source) Scan(ctx context.Context, e hat.Endpoint, want bundle.Want) bundle.Stream {
	if err := s.caller.Check(access.ReadRecords(e)); err != nil {
		return bundle.Stream{Records: failing(fmt.Errorf("read %s: %w", e, err))}
	}
	w, err := s.choose(ctx, e, want)
	if err != nil {
		return bundle.Stream{Records: failing(err)}
	}
	if want.After > 0 || want.Upto > 0 || !s.caller.Shows(0, time.Time{}) {
		want.Skip = 0 // records must be read to know whether they count
	}
	if w.ordered {
		return s.inOrder(ctx, w, want)
	}
	if w.field != 0 {
		query, args := pickedQuery(w, want)
		return bundle.Stream{Records: s.records(ctx, query, args), InOrder: byCreation(want)}
	}
	stream := bundle.Stream{InOrder: byCreation(want)}
	query, args := scanQuery(e, want)
	if stream.InOrder && want.Skip > 0 {
		// This skips entries of the index only: SQLite reads a record when one of its other columns is
		// needed.
		query, args = query+" LIMIT -1 OFFSET ?", append(args, want.Skip)
		stream.Skipped = want.Skip
	}
	stream.Records = s.records(ctx, query, args)
	return stream
}

// byCreation reports whether the wanted order is that of creation, in either direction.
func byCreation(want bundle.Want) bool { return want.Order != nil && want.Order.Field == "" }

// bornSince selects the records at an endpoint that were created or changed after a position, from indexes
// only, some of them twice. Its arguments are the endpoint and the position, each twice.
const bornSince = `SELECT born FROM records WHERE endpoint = (SELECT n FROM endpoints WHERE name = ?) AND born > ?
	UNION ALL SELECT born FROM records WHERE endpoint = (SELECT n FROM endpoints WHERE name = ?) AND seq > ? AND seq > born`

func scanQuery(e hat.Endpoint, want bundle.Want) (query string, args []any) {
	query, args = recordColumns+"WHERE ", []any{e.String()}
	if want.After > 0 {
		// The inner list is sorted by born, so only new records are read.
		query += "r.born IN (" + bornSince + ")"
		args = []any{e.String(), int64(want.After), e.String(), int64(want.After)}
	} else {
		query += "r.endpoint = (SELECT n FROM endpoints WHERE name = ?)"
	}
	if want.Upto > 0 {
		// The plus stops SQLite from reading by change and then sorting everything.
		query += " AND +r.seq <= ?"
		args = append(args, int64(want.Upto))
	}
	query += " ORDER BY r.born"
	if byCreation(want) && want.Order.Descending {
		query += " DESC"
	}
	return query, args
}

// Linked yields the members of the record's groups, or nothing if the caller may not read the endpoint.
func (s *source) Linked(ctx context.Context, id hat.RecordID, e hat.Endpoint) iter.Seq2[hat.Record, error] {
	if err := s.caller.Check(access.ReadRecords(e)); err != nil {
		return failing(fmt.Errorf("read %s: %w", e, err))
	}
	return s.records(ctx, recordColumns+`WHERE r.born IN (
			SELECT other.record FROM records main JOIN members mine ON mine.record = main.born
			JOIN members other ON other.grp = mine.grp AND other.record <> main.born WHERE main.id = ?)
		AND r.endpoint = (SELECT n FROM endpoints WHERE name = ?) ORDER BY r.born`, []any{id.Bytes(), e.String()})
}

// records reads rows of recordFields. Further columns go to extra before the record is yielded.
func (s *source) records(ctx context.Context, query string, args []any, extra ...any) iter.Seq2[hat.Record, error] {
	return func(yield func(hat.Record, error) bool) {
		err := s.conn.Each(ctx, query, args, func(scan func(...any) error) error {
			if extra != nil {
				own := scan
				scan = func(into ...any) error { return own(append(into, extra...)...) }
			}
			r, err := s.names.scan(ctx, s.conn, scan)
			if err == nil && s.caller.Shows(r.Born, r.Created) && !yield(r, nil) {
				err = errEnough
			}
			return err
		})
		if err != nil && !errors.Is(err, errEnough) && !errors.Is(err, sql.ErrNoRows) {
			yield(hat.Record{}, err)
		}
	}
}

func failing(err error) iter.Seq2[hat.Record, error] {
	return func(yield func(hat.Record, error) bool) { yield(hat.Record{}, err) }
}
