package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"

	"she/internal/access"
	"she/internal/contract"
	"she/internal/hat"
	"she/internal/plan"
	"she/internal/vault"
)

// A writing is what one T3 does to records. ids are the run's records in the order of its answer, kept ones
// included. places and events are those of new records.
type writing struct {
	change
	asFunction access.Caller
	by         author
	grant      access.Grant
	replaces   hat.RunID    // the run whose output this run replaces; zero: none
	written    []hat.Record // new records
	duplicates int
	kept       int
	gone       []hat.RecordID
	forgotten  []hat.RecordID // records that were superseded before
	dropped    []hat.Seq      // their positions
}

// respond stores one Response of a function's answer and groups its records with the input records that it
// names.
func (t *tx) respond(w *writing, response int, r contract.Response) error {
	var group []int64
	mine, before := 0, len(w.written)
	for _, d := range r.Drafts {
		// A second check; the first is where the answer is parsed.
		if err := w.asFunction.Check(access.WriteRecords(d.Endpoint)); err != nil {
			return fmt.Errorf("response %d writes to %s: %w", response, d.Endpoint, err)
		}
		id, born, err := t.result(d, w)
		if err != nil {
			return err
		}
		if id.IsZero() {
			w.duplicates++
			continue
		}
		if _, err := t.Exec(t.ctx, "INSERT INTO outputs (run, response, ordinal, record) VALUES (?, ?, ?, ?)",
			w.by.run.Bytes(), response, mine, id.Bytes()); err != nil {
			return err
		}
		mine++
		group = append(group, born)
	}
	if len(w.written) == before {
		return nil // kept records have their links already
	}
	for _, id := range r.Linked {
		var (
			born int64
			name string
		)
		err := t.Get(t.ctx, "SELECT r.born, e.name FROM records r JOIN endpoints e ON e.n = r.endpoint WHERE r.id = ?",
			[]any{id.Bytes()}, &born, &name)
		if errors.Is(err, sql.ErrNoRows) {
			continue // the record was erased during the run
		}
		if err != nil {
			return err
		}
		e, err := hat.ParseEndpoint(name)
		if err != nil {
			return errDamagedRow
		}
		if err := w.asFunction.Check(access.ReadRecords(e)); err != nil {
			return fmt.Errorf("response %d links record %s: %w", response, id, err)
		}
		group = append(group, born)
	}
	return t.group(group)
}

// result turns a draft into a record of the run: one of the former output that stays, or a new one. The id is
// zero if the draft is dropped because it equals another record.
func (t *tx) result(d hat.Draft, w *writing) (id hat.RecordID, born int64, err error) {
	id, born, err = t.takeOver(d, w)
	if err == nil && id.IsZero() {
		var record hat.Record
		record, born, err = t.insert(hat.Draft{Endpoint: d.Endpoint, Data: d.Data}, w.by, &w.change)
		if err == nil {
			w.written = append(w.written, record)
			return record.ID, born, nil
		}
		if errors.Is(err, vault.ErrDuplicate) {
			id, born, err = t.adopt(d, w)
		}
	}
	if err == nil && !id.IsZero() {
		w.kept++
		w.ids = append(w.ids, id)
	}
	return id, born, err
}

const takeOver = `UPDATE records SET run = ?1, chain = ?2, digest = CASE WHEN digest = ?5 THEN ?5 ELSE ?3 END
	WHERE endpoint = (SELECT n FROM endpoints WHERE name = ?4) AND digest IN (?5, ?6) AND run = ?7 AND (digest = ?5 OR NOT EXISTS (
		SELECT 1 FROM records WHERE endpoint = (SELECT n FROM endpoints WHERE name = ?4) AND digest = ?3)) RETURNING born, id`

// takeOver assigns the replayed run's record that equals a draft to this run, if the replayed run still owns
// it; else the id is zero. If column digest includes the replayed run, it includes this run afterwards. If
// equal results are no longer kept, it includes no run, unless another record is equal: then nothing is taken
// over.
func (t *tx) takeOver(d hat.Draft, w *writing) (id hat.RecordID, born int64, err error) {
	if w.replaces.IsZero() {
		return id, 0, nil
	}
	plain := d.Data.Digest()
	former, now := identityOfRun(w.replaces, plain), plain
	if w.grant.Equal == hat.KeepEqual {
		now = identityOfRun(w.by.run, plain)
	}
	var recordID []byte
	err = t.Get(t.ctx, takeOver, []any{
		w.by.run.Bytes(), w.by.chainN, now[:], d.Endpoint.String(), plain[:], former[:], w.replaces.Bytes(),
	}, &born, &recordID)
	if errors.Is(err, sql.ErrNoRows) {
		return id, 0, nil
	}
	if err == nil {
		id, err = scanRecordID(recordID)
	}
	return id, born, err
}

// adopt assigns the function's former record that equals a draft to this run, if the function's output
// replaces; else the id is zero. If equal results are kept, the former record counts as different and is
// superseded.
func (t *tx) adopt(d hat.Draft, w *writing) (id hat.RecordID, born int64, err error) {
	if w.grant.Mode != hat.ReplaceOutput || w.grant.Equal == hat.KeepEqual {
		return id, 0, nil
	}
	var (
		recordID, run []byte
		path          sql.NullString
		digest        = d.Data.Digest()
	)
	err = t.Get(t.ctx, `SELECT r.born, r.id, r.run, c.path FROM records r LEFT JOIN chains c ON c.n = r.chain
		WHERE r.endpoint = (SELECT n FROM endpoints WHERE name = ?) AND r.digest = ?`,
		[]any{d.Endpoint.String(), digest[:]}, &born, &recordID, &run, &path)
	if err != nil {
		return id, 0, err
	}
	chain, err := parseChain(path)
	if err != nil {
		return id, 0, err
	}
	of, err := maybeRun(run)
	switch {
	case err != nil:
		return id, 0, err
	case of.IsZero(), of == w.by.run, len(chain) == 0, chain[len(chain)-1] != w.grant.Function:
		return id, 0, nil
	}
	if id, err = scanRecordID(recordID); err != nil {
		return id, 0, err
	}
	_, err = t.Exec(t.ctx, "UPDATE records SET run = ?, chain = ? WHERE born = ?", w.by.run.Bytes(), w.by.chainN, born)
	return id, born, err
}

// supersede supersedes the records that the run's result replaces. If the function's output replaces, that is
// all it wrote before, unless the result is empty. For a replay it is what the replayed run wrote and still
// owns, once all its positions are done.
func (t *tx) supersede(f function, p, planned plan.Plan, w *writing) error {
	if !p.Replaces.IsZero() {
		if _, err := t.Exec(t.ctx, "INSERT INTO generations (replaced, run) VALUES (?, ?)", p.Replaces.Bytes(), p.Run.Bytes()); err != nil {
			return err
		}
	}
	const columns = `SELECT r.born, r.id, r.endpoint, e.name, r.chain, r.seq FROM records r JOIN endpoints e ON e.n = r.endpoint `
	var (
		query string
		args  []any
	)
	switch {
	case f.Grant.Mode == hat.ReplaceOutput:
		if len(w.ids) == 0 {
			return nil
		}
		query = columns + `JOIN chains c ON c.n = r.chain WHERE e.name = ? AND r.run <> ? AND (c.path = ? OR substr(c.path, length(c.path) - length(?4) + 1) = ?4) ORDER BY r.born`
		// For a path shorter than the id the dialects' substr differ, but then the two can't be equal anyway.
		id := f.Grant.Function.String()
		args = []any{f.Grant.Output.String(), p.Run.Bytes(), id, " " + id}
	case p.Replaces.IsZero() || p.Upto < planned.Upto:
		return nil
	default:
		query = columns + `WHERE r.id IN (SELECT record FROM outputs WHERE run = ?) AND r.run = ? ORDER BY r.born`
		args = []any{p.Replaces.Bytes(), p.Replaces.Bytes()}
	}
	var gone []stored
	err := t.Each(t.ctx, query, args, func(scan func(...any) error) (err error) {
		var (
			s    stored
			id   []byte
			name string
		)
		if err := scan(&s.born, &id, &s.endpoint, &name, &s.chain, &s.seq); err != nil {
			return err
		}
		if s.id, err = scanRecordID(id); err != nil {
			return err
		}
		if s.at, err = hat.ParseEndpoint(name); err != nil {
			return errDamagedRow
		}
		gone = append(gone, s)
		return nil
	})
	if err != nil {
		return err
	}
	for _, s := range gone {
		if _, err := t.Exec(t.ctx, `INSERT INTO superseded (id, born, endpoint, seq, user, run, chain, created, updated, digest, by_run, at, data, salt)
			SELECT id, born, endpoint, seq, user, run, chain, created, updated, digest, ?, ?, data, salt FROM records WHERE born = ?`,
			p.Run.Bytes(), t.now.UnixMicro(), s.born); err != nil {
			return fmt.Errorf("supersede %s: %w", s.id, err)
		}
		if err := t.remove(s); err != nil {
			return fmt.Errorf("supersede %s: %w", s.id, err)
		}
		if w.first == 0 {
			w.first = t.seq
		}
		w.gone, w.places = append(w.gone, s.id), append(w.places, s.at)
		w.ended = append(w.ended, s.seq)
	}
	if f.Grant.Mode == hat.ReplaceOutput && len(w.gone) > 0 {
		return t.forgetResults(f, w)
	}
	return nil
}

// mostForgotten bounds how many results one commit forgets. Each commit adds one; only older files have more.
const mostForgotten = 20

// forgetResults removes the superseded records of a function except those of the newest results.
func (t *tx) forgetResults(f function, w *writing) error {
	var runs [][]byte
	err := t.Each(t.ctx, `SELECT s.by_run FROM (
			SELECT by_run, max(n) AS newest FROM superseded WHERE endpoint = (SELECT n FROM endpoints WHERE name = ?1) GROUP BY by_run
		) s JOIN runs r ON r.id = s.by_run WHERE r.function = ?2 ORDER BY s.newest DESC LIMIT ?3 OFFSET ?4`,
		[]any{f.Grant.Output.String(), f.Grant.Function.String(), mostForgotten, vault.KeptResults}, func(scan func(...any) error) error {
			var run []byte
			err := scan(&run)
			runs = append(runs, run)
			return err
		})
	if err != nil {
		return err
	}
	for _, run := range runs {
		err := t.Each(t.ctx, "DELETE FROM superseded WHERE by_run = ? AND endpoint = (SELECT n FROM endpoints WHERE name = ?) RETURNING id, seq",
			[]any{run, f.Grant.Output.String()}, func(scan func(...any) error) error {
				var (
					b   []byte
					seq hat.Seq
				)
				if err := scan(&b, &seq); err != nil {
					return err
				}
				id, err := scanRecordID(b)
				t.Note(Replacing)
				w.dropped = append(w.dropped, seq)
				w.forgotten = append(w.forgotten, id)
				return err
			})
		if err != nil {
			return fmt.Errorf("forget superseded results: %w", err)
		}
	}
	return nil
}

// remove takes a record out of the current records.
func (t *tx) remove(s stored) error {
	if err := t.dissolve(s.born, maxGroup); err != nil {
		return err
	}
	if err := t.unindex(s.endpoint, s.born); err != nil {
		return err
	}
	if err := t.log(erased, s.born, s.endpoint, s.chain); err != nil {
		return err
	}
	if _, err := t.Exec(t.ctx, "DELETE FROM records WHERE born = ?", s.born); err != nil {
		return err
	}
	t.records--
	clear(t.v.filled)
	return nil
}

const maxGroup = math.MaxInt64

// dissolve removes those of the record's groups, up to number upto, that would have one member left. It looks
// at no more than three members of each, because a group may have all records of the HAT, and all may be
// removed one by one.
func (t *tx) dissolve(born, upto int64) error {
	_, err := t.Exec(t.ctx, `DELETE FROM groups WHERE n IN (SELECT grp FROM members WHERE record = ? AND grp <= ?)
		AND NOT EXISTS (SELECT 1 FROM members WHERE grp = groups.n LIMIT 1 OFFSET 2)`, born, upto)
	return err
}

// Superseded returns at most limit records that a run's output replaced, after number after, as far as they
// are kept (see vault.KeptResults). A limit of 0 or less means 100. access.ErrDenied.
func (v *Vault) Superseded(ctx context.Context, c access.Caller, by hat.RunID, after int64, limit int) (all []vault.Superseded, err error) {
	if err := c.Check(access.SeeRuns()); err != nil {
		return nil, err
	}
	if limit <= 0 {
		limit = 100
	}
	err = v.rows.Read(ctx, func(conn Reader) error {
		return conn.Each(ctx, `SELECT r.n, r.at, r.born, r.id, r.endpoint, r.seq, r.user, r.run, r.chain, r.created, r.updated, r.data
			FROM superseded r WHERE r.by_run = ? AND r.n > ? ORDER BY r.n LIMIT ?`, []any{by.Bytes(), after, limit},
			func(scan func(...any) error) (err error) {
				var (
					s  = vault.Superseded{By: by}
					at sql.NullInt64
				)
				s.Record, err = v.names.scan(ctx, conn, func(into ...any) error {
					return scan(append([]any{&s.Number, &at}, into...)...)
				})
				if err != nil {
					return err
				}
				s.Digest = s.Data.Digest() // column digest may include the run
				s.At = fromMicros(at)
				if !c.May(access.ReadRecords(s.Endpoint)) {
					s.Data = hat.Data{}
				}
				all = append(all, s)
				return nil
			})
	})
	return all, err
}

// supersededOf returns the superseded records that the caller may erase, with an id or at an endpoint, at
// most one more than a piece has.
func (t *tx) supersededOf(c access.Caller, need func(hat.Endpoint) access.Permission, where string, args ...any) (all []stored, err error) {
	query := "SELECT s.id, e.name, s.seq, octet_length(s.data) FROM superseded s JOIN endpoints e ON e.n = s.endpoint WHERE " + where
	if !c.IsOwner() {
		query += " AND s.user = (SELECT n FROM users WHERE id = ?)"
		args = append(args, c.UserID().Bytes())
	}
	query += " LIMIT ?"
	args = append(args, pieceRecords+1)
	err = t.Each(t.ctx, query, args, func(scan func(...any) error) (err error) {
		var (
			s    stored
			id   []byte
			name string
		)
		if err := scan(&id, &name, &s.seq, &s.size); err != nil {
			return err
		}
		if s.id, err = scanRecordID(id); err != nil {
			return err
		}
		if s.at, err = hat.ParseEndpoint(name); err != nil {
			return errDamagedRow
		}
		all = append(all, s)
		return c.Check(need(s.at))
	})
	return all, err
}
