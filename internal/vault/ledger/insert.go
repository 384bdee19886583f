package ledger

import (
	"errors"
	"fmt"
	"strings"

	"she/internal/hat"
	"she/internal/receipt"
	"she/internal/trigger"
	"she/internal/vault"
)

// manyRows are the numbers of rows that one statement inserts, largest first. The fixed cost of a statement,
// and of arguments that are the same in all rows, is then paid once.
var manyRows = []int{64, 16, 4, 1}

// insertStatement has four arguments that all rows share, and then those of each row.
func insertStatement(rows int) string {
	return `INSERT INTO records (user, run, chain, created, updated, born, seq, id, endpoint, digest, salt, data) VALUES ` +
		strings.TrimPrefix(strings.Repeat(", (?1, ?2, ?3, ?4, ?4, ?, ?, ?, ?, ?, ?, ?)", rows), ", ") +
		` ON CONFLICT (endpoint, digest) DO NOTHING`
}

var insertStatements = func() map[int]string {
	all := map[int]string{}
	for _, rows := range manyRows {
		all[rows] = insertStatement(rows)
	}
	return all
}()

// insertResult is insertStatement for one result of a function whose equal results are kept. If another
// record has the plain digest, the digest is ?12, which includes the run: then both stay. Only an equal
// result of the same run still conflicts. Like any record, a result that is stored first keeps others from
// storing the same.
var insertResult = strings.Replace(insertStatement(1), "?, ?, ?, ?, ?, ?, ?)", `?5, ?6, ?7, ?8, CASE WHEN EXISTS (
		SELECT 1 FROM records WHERE endpoint = ?8 AND digest IN (?9, ?12) AND (digest = ?12 OR run IS DISTINCT FROM ?2)) THEN ?12 ELSE ?9 END, ?10, ?11)`, 1)

// insertEach stores drafts one by one, each with its links. With skip it leaves out those that are stored
// already.
func (t *tx) insertEach(drafts []hat.Draft, by author, skip bool, ch *change) ([]hat.Record, error) {
	records := make([]hat.Record, 0, len(drafts))
	for _, d := range drafts {
		r, err := t.insertWithLinks(d, by, skip, ch)
		switch {
		case skip && errors.Is(err, vault.ErrDuplicate):
		case err != nil:
			return nil, err
		default:
			records = append(records, r)
		}
	}
	return records, nil
}

// insertWithLinks stores a draft and its links and makes one group of them. With skip it leaves out links
// that are stored already.
func (t *tx) insertWithLinks(d hat.Draft, by author, skip bool, ch *change) (hat.Record, error) {
	parent, born, err := t.insert(d, by, ch)
	if err != nil || len(d.Links) == 0 {
		return parent, err
	}
	group := []int64{born}
	for _, l := range d.Links {
		link, born, err := t.insert(l, by, ch)
		if skip && errors.Is(err, vault.ErrDuplicate) {
			continue
		}
		if err != nil {
			return parent, err
		}
		parent.Links, group = append(parent.Links, link), append(group, born)
	}
	return parent, t.group(group)
}

// insert stores one draft at the next position. After vault.ErrDuplicate the position is still free.
func (t *tx) insert(d hat.Draft, by author, ch *change) (hat.Record, int64, error) {
	var r [1]hat.Record
	if err := t.insertRows(r[:], []hat.Draft{d}, by, ch); err != nil {
		return hat.Record{}, 0, err
	}
	return r[0], int64(r[0].Born), nil
}

// insertAll stores drafts without their links at the next positions. After an error, even vault.ErrDuplicate,
// some may be stored, so the caller must undo the transaction.
func (t *tx) insertAll(drafts []hat.Draft, by author, ch *change) ([]hat.Record, error) {
	records := make([]hat.Record, len(drafts))
	from := 0
	for _, rows := range manyRows {
		for ; len(drafts)-from >= rows; from += rows {
			if err := t.insertRows(records[from:from+rows], drafts[from:from+rows], by, ch); err != nil {
				return nil, err
			}
		}
	}
	return records, nil
}

// insertRows is one statement; the number of records is one of manyRows.
func (t *tx) insertRows(records []hat.Record, drafts []hat.Draft, by author, ch *change) error {
	const own = 7 // arguments of a row
	at := t.now.UnixMicro()
	args := append(make([]any, 0, 4+own*len(drafts)), by.user, runBytes(by.run), by.chainN, at)
	provenance := by.provenance()
	salts, digests := t.v.salts.take(len(drafts)), make([][32]byte, len(drafts))
	for i, d := range drafts {
		if d.Data.IsZero() {
			return fmt.Errorf("write %s: a draft without data", d.Endpoint)
		}
		endpoint, err := t.place(d.Endpoint)
		if err != nil {
			return err
		}
		seq := t.seq + 1 + hat.Seq(i)
		records[i] = hat.Record{
			ID: hat.NewRecordID(), Endpoint: d.Endpoint, Data: d.Data, Seq: seq, Born: seq,
			Created: t.now, Updated: t.now, Provenance: provenance,
		}
		digests[i] = d.Data.Digest()
		args = append(args, int64(seq), int64(seq), records[i].ID.Bytes(), endpoint, digests[i][:], saltOf(salts, i), d.Data.JSON())
	}
	statement := insertStatements[len(drafts)]
	if by.equal == hat.KeepEqual { // results of a function are inserted one by one
		digest := identityOfRun(by.run, digests[0])
		statement, args = insertResult, append(args, digest[:])
	}
	stored, err := t.Exec(t.ctx, statement, args...)
	if err == nil && stored < int64(len(drafts)) {
		err = vault.ErrDuplicate
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", drafts[0].Endpoint, err)
	}
	t.seq += hat.Seq(len(drafts))
	t.records += int64(len(drafts))
	for i := range records {
		if err := t.indexRecord(&records[i]); err != nil {
			return err
		}
		ch.note(records[i].ID, records[i].Endpoint, trigger.Event{
			Seq: records[i].Seq, Endpoint: records[i].Endpoint, Chain: by.chain, Created: t.now, Born: records[i].Seq,
		})
		ch.commit(saltOf(salts, i), receipt.Content{
			ID: records[i].ID, Author: by.userID, Created: at, Digest: digests[i], Endpoint: records[i].Endpoint,
		})
	}
	return nil
}

func (t *tx) indexRecord(r *hat.Record) error {
	endpoint, err := t.endpoint(r.Endpoint)
	if err == nil {
		err = t.index(endpoint, int64(r.Born), r.Data)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", r.Endpoint, err)
	}
	return nil
}
