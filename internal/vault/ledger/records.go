package ledger

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"she/internal/access"
	"she/internal/hat"
	"she/internal/receipt"
	"she/internal/trigger"
	"she/internal/vault"
)

// Kinds of log rows.
const (
	created = 1
	changed = 2
	erased  = 3
)

// A change collects what one transaction does to records, for the pending work and the receipt.
type change struct {
	first  hat.Seq // of the positions that it took
	ids    []hat.RecordID
	places []hat.Endpoint
	events []trigger.Event

	contents receipt.Contents // commitments to what was written, in order of position
	ended    []hat.Seq        // former positions of what was erased, changed or superseded
}

func (ch *change) commit(salt []byte, c receipt.Content) {
	ch.contents = append(ch.contents, c.Commit(salt))
}

func (ch *change) note(id hat.RecordID, e hat.Endpoint, ev trigger.Event) {
	if ch.first == 0 {
		ch.first = ev.Seq
	}
	ch.ids, ch.places, ch.events = append(ch.ids, id), append(ch.places, e), append(ch.events, ev)
}

func (ch *change) endpoints() []hat.Endpoint {
	slices.SortFunc(ch.places, func(a, b hat.Endpoint) int { return strings.Compare(a.String(), b.String()) })
	return slices.Compact(ch.places)
}

// An author is the writer of records: numbers of rows, and their values.
type author struct {
	user   int64
	userID hat.UserID
	run    hat.RunID
	chain  []hat.FunctionID
	chainN any           // NULL for a person
	equal  hat.EqualMode // of a function: whether results that equal a record are stored beside it
}

// identityOfRun is the content of column digest for a result that is kept although it equals another record:
// it includes the run. No JSON text begins with a zero byte, so it can't equal the digest of data.
func identityOfRun(run hat.RunID, digest [32]byte) [32]byte {
	return sha256.Sum256(slices.Concat([]byte{0}, run.Bytes(), digest[:]))
}

func (a author) provenance() hat.Provenance {
	p := hat.Provenance{User: a.userID, Run: a.run, Depth: len(a.chain), Chain: a.chain}
	if len(a.chain) > 0 {
		p.Function = a.chain[len(a.chain)-1]
	}
	return p
}

// person returns the caller as an author. Callers who are not users of this HAT may not write. A Function
// writes only through Commit, which names its run.
func (t *tx) person(c access.Caller) (author, error) {
	a := author{userID: c.UserID()}
	if !c.Function().IsZero() {
		return a, access.ErrDenied
	}
	var known bool
	if a.user, known = t.v.people[a.userID]; known {
		return a, nil
	}
	err := t.Get(t.ctx, "SELECT n FROM users WHERE id = ?", []any{a.userID.Bytes()}, &a.user)
	if errors.Is(err, sql.ErrNoRows) {
		return a, access.ErrDenied
	}
	if err == nil {
		keepNumber(t.v.people, a.userID, a.user)
	}
	return a, err
}

// keepNumber caches row numbers, up to a bound.
func keepNumber[K comparable](known map[K]int64, name K, n int64) {
	const most = 1000
	if len(known) >= most {
		clear(known)
	}
	known[name] = n
}

// Append is T1: it stores the drafts and their links in order, or none of them, makes work pending for every
// enabled function that reads one of the endpoints, and returns the records with their links. With
// skipDuplicates, drafts that equal a stored record are left out; otherwise they fail all.
// vault.ErrDuplicate, access.ErrDenied, vault.ErrFull.
func (v *Vault) Append(ctx context.Context, c access.Caller, drafts []hat.Draft, skipDuplicates bool) ([]hat.Record, error) {
	allowed := func(c access.Caller) error { return mayWrite(c, drafts) }
	if len(drafts) == 0 {
		return nil, nil
	}
	var records []hat.Record
	err := v.writeAs(ctx, c, OpAppend, allowed, func(t *tx, c access.Caller) error {
		t.grows = fully
		by, err := t.person(c)
		if err != nil {
			return err
		}
		var ch change
		linked := slices.ContainsFunc(drafts, func(d hat.Draft) bool { return len(d.Links) > 0 })
		if linked || skipDuplicates {
			records, err = t.insertEach(drafts, by, skipDuplicates, &ch)
		} else {
			records, err = t.insertAll(drafts, by, &ch)
		}
		if err != nil {
			return err
		}
		if len(ch.ids) == 0 {
			return nil
		}
		if err := t.raise(ch.events); err != nil {
			return err
		}
		return t.wrote(c, "", &ch)
	})
	if err != nil {
		return nil, err
	}
	return records, nil
}

func mayWrite(c access.Caller, drafts []hat.Draft) error {
	for _, d := range drafts {
		if err := c.Check(access.WriteRecords(d.Endpoint)); err != nil {
			return fmt.Errorf("write %s: %w", d.Endpoint, err)
		}
		for _, l := range d.Links {
			if err := c.Check(access.WriteRecords(l.Endpoint)); err != nil {
				return fmt.Errorf("write %s: %w", l.Endpoint, err)
			}
		}
	}
	return nil
}

// wrote adds the receipt of a change of records by a person or application.
func (t *tx) wrote(c access.Caller, outcome string, ch *change) error {
	return t.receipt(receipt.Fact{
		Kind: receipt.Write, User: c.UserID(), Application: c.ApplicationID(), Outcome: outcome,
		Written: receipt.RecordsOf(ch.ids), Endpoints: ch.endpoints(), First: ch.first, Last: t.seq,
		Contents: ch.contents, Ended: receipt.SpansOf(ch.ended),
	})
}

func runBytes(id hat.RunID) any {
	if id.IsZero() {
		return nil
	}
	return id.Bytes()
}

// log takes the next position for a change or the end of a record. It first copies the facts of the record's
// creation to the log, because the change would overwrite them.
func (t *tx) log(kind int, born, endpoint int64, chain any) error {
	if _, err := t.Exec(t.ctx, `INSERT INTO log (seq, kind, born, endpoint, chain, at)
		SELECT born, ?, born, endpoint, chain, created FROM records WHERE born = ? ON CONFLICT DO NOTHING`, created, born); err != nil {
		return fmt.Errorf("log %d: %w", born, err)
	}
	t.seq++
	_, err := t.Exec(t.ctx, "INSERT INTO log (seq, kind, born, endpoint, chain, at) VALUES (?, ?, ?, ?, ?, ?)",
		int64(t.seq), kind, born, endpoint, chain, t.now.UnixMicro())
	if err != nil {
		return fmt.Errorf("log %d: %w", t.seq, err)
	}
	return nil
}

// endpoint returns the number of an endpoint, and adds it if needed.
func (t *tx) endpoint(e hat.Endpoint) (int64, error) {
	if n, known := t.v.places[e]; known {
		return n, nil
	}
	n, err := t.number("endpoints", "name", e.String())
	if err == nil {
		keepNumber(t.v.places, e, n)
	}
	return n, err
}

// place returns the number of an endpoint at which a record is about to be stored.
func (t *tx) place(e hat.Endpoint) (int64, error) {
	if n, known := t.v.filled[e]; known {
		return n, nil
	}
	n, err := t.endpoint(e)
	if err != nil {
		return n, err
	}
	var filled bool
	if err := t.Get(t.ctx, "SELECT EXISTS (SELECT 1 FROM records WHERE endpoint = ?)", []any{n}, &filled); err != nil {
		return n, err
	}
	t.opened = t.opened || !filled
	keepNumber(t.v.filled, e, n)
	return n, nil
}

// number returns the row of a value in a table of names, and adds it if needed.
func (t *tx) number(table, column, value string) (n int64, err error) {
	err = t.Get(t.ctx, "SELECT n FROM "+table+" WHERE "+column+" = ?", []any{value}, &n)
	if errors.Is(err, sql.ErrNoRows) {
		err = t.Get(t.ctx, "INSERT INTO "+table+" ("+column+") VALUES (?) RETURNING n", []any{value}, &n)
	}
	return n, err
}

// chain returns the number of a chain of functions; NULL for the empty one.
func (t *tx) chain(chain []hat.FunctionID) (any, error) {
	if len(chain) == 0 {
		return nil, nil
	}
	path := chainText(chain)
	if n, known := t.v.chains[path]; known {
		return n, nil
	}
	n, err := t.number("chains", "path", path)
	if err == nil {
		keepNumber(t.v.chains, path, n)
	}
	return n, err
}

func chainText(chain []hat.FunctionID) string {
	names := make([]string, len(chain))
	for i, f := range chain {
		names[i] = f.String()
	}
	return strings.Join(names, " ")
}

func parseChain(text sql.NullString) ([]hat.FunctionID, error) {
	if !text.Valid {
		return nil, nil
	}
	var chain []hat.FunctionID
	for name := range strings.SplitSeq(text.String, " ") {
		f, err := hat.ParseFunctionID(name)
		if err != nil {
			return nil, errDamagedRow
		}
		chain = append(chain, f)
	}
	return chain, nil
}

// group makes one group of two or more records.
func (t *tx) group(records []int64) error {
	slices.Sort(records)
	records = slices.Compact(records)
	if len(records) < 2 {
		return nil
	}
	var n int64
	if err := t.Get(t.ctx, "INSERT INTO groups DEFAULT VALUES RETURNING n", nil, &n); err != nil {
		return fmt.Errorf("link: %w", err)
	}
	for _, born := range records {
		if _, err := t.Exec(t.ctx, "INSERT INTO members (grp, record) VALUES (?, ?)", n, born); err != nil {
			return fmt.Errorf("link: %w", err)
		}
	}
	return nil
}

// stored is what changing a record needs to know about it.
type stored struct {
	born, endpoint, user int64
	size                 int // of its data, in bytes
	at                   hat.Endpoint
	id                   hat.RecordID
	author               hat.UserID
	created              int64
	seq                  hat.Seq // of its last change
	chain                sql.NullInt64
}

// find returns a record that the caller may change. vault.ErrNotFound if it isn't there or belongs to another
// user, access.ErrDenied if the caller may not write there.
func (t *tx) find(c access.Caller, id hat.RecordID, need func(hat.Endpoint) access.Permission) (stored, error) {
	s := stored{id: id}
	if !c.Function().IsZero() {
		return s, access.ErrDenied
	}
	var name string
	var user []byte
	err := t.Get(t.ctx, `SELECT r.born, r.endpoint, e.name, r.user, u.id, r.created, r.chain, r.seq, octet_length(r.data) FROM records r
		JOIN endpoints e ON e.n = r.endpoint JOIN users u ON u.n = r.user WHERE r.id = ?`,
		[]any{id.Bytes()}, &s.born, &s.endpoint, &name, &s.user, &user, &s.created, &s.chain, &s.seq, &s.size)
	if errors.Is(err, sql.ErrNoRows) {
		return s, fmt.Errorf("record %s: %w", id, vault.ErrNotFound)
	}
	if err != nil {
		return s, err
	}
	if s.at, err = hat.ParseEndpoint(name); err != nil {
		return s, errDamagedRow
	}
	if s.author, err = userID(user); err != nil {
		return s, err
	}
	if !c.IsOwner() && s.author != c.UserID() {
		return s, fmt.Errorf("record %s: %w", id, vault.ErrNotFound)
	}
	if err := c.Check(need(s.at)); err != nil {
		return s, fmt.Errorf("record %s: %w", id, err)
	}
	return s, nil
}

// Update replaces the data of all the records, or of none. vault.ErrNotFound, vault.ErrDuplicate,
// access.ErrDenied.
//
// A record that a function wrote becomes the caller's: it is now a person's statement, and functions read it
// as such, even the one that wrote it first.
func (v *Vault) Update(ctx context.Context, c access.Caller, changes []vault.Change) ([]hat.Record, error) {
	if len(changes) == 0 {
		return nil, nil
	}
	var records []hat.Record
	err := v.writeAs(ctx, c, "update", nil, func(t *tx, c access.Caller) error {
		records = make([]hat.Record, 0, len(changes))
		var ch change
		more := 0
		for _, one := range changes {
			s, err := t.find(c, one.ID, access.WriteRecords)
			if err != nil {
				return err
			}
			if !one.Endpoint.IsZero() && one.Endpoint != s.at {
				return fmt.Errorf("record %s: it is at %s, not at %s: %w", one.ID, s.at, one.Endpoint, vault.ErrNotFound)
			}
			if one.Data.IsZero() {
				return fmt.Errorf("record %s: a change without data", one.ID)
			}
			more += len(one.Data.JSON()) - s.size
			if err := t.log(changed, s.born, s.endpoint, nil); err != nil {
				return err
			}
			if err := t.unindex(s.endpoint, s.born); err != nil {
				return fmt.Errorf("record %s: %w", one.ID, err)
			}
			t.Note(Replacing)
			digest, salt := one.Data.Digest(), t.v.salts.take(1)
			_, err = t.Exec(t.ctx, `UPDATE records SET seq = ?, run = NULL, chain = NULL, updated = ?, digest = ?, salt = ?, data = ?
				WHERE born = ?`, int64(t.seq), t.now.UnixMicro(), digest[:], salt, one.Data.JSON(), s.born)
			if errors.Is(err, ErrTaken) {
				err = vault.ErrDuplicate
			}
			if err == nil {
				err = t.index(s.endpoint, s.born, one.Data)
			}
			if err != nil {
				return fmt.Errorf("record %s: %w", one.ID, err)
			}
			r, err := t.record(s.born)
			if err != nil {
				return err
			}
			ch.note(r.ID, s.at, trigger.Event{Seq: t.seq, Endpoint: s.at, Created: r.Created, Born: r.Born})
			ch.commit(salt, receipt.Content{ID: r.ID, Author: s.author, Created: s.created, Digest: digest, Endpoint: s.at})
			ch.ended = append(ch.ended, s.seq)
			records = append(records, r)
		}
		if err := t.raise(ch.events); err != nil {
			return err
		}
		if t.grows = traces; more > 0 {
			t.grows = fully
		}
		return t.wrote(c, "changed", &ch)
	})
	if err != nil {
		return nil, err
	}
	return records, nil
}

// Erase removes all the records, superseded ones too, or none. It makes nothing due. vault.ErrNotFound if one
// is missing or belongs to another user.
func (v *Vault) Erase(ctx context.Context, c access.Caller, ids []hat.RecordID) error {
	if len(ids) == 0 {
		return nil
	}
	var rest int64
	err := v.writeAs(ctx, c, "erase", nil, func(t *tx, c access.Caller) (err error) {
		var (
			gone       []stored
			superseded []stored
		)
		seen := make(map[hat.RecordID]bool, len(ids))
		for _, id := range ids {
			if seen[id] {
				continue
			}
			seen[id] = true
			s, err := t.find(c, id, access.HandleOwn)
			if errors.Is(err, vault.ErrNotFound) {
				var former []stored
				if former, err = t.supersededOf(c, access.HandleOwn, "s.id = ?", id.Bytes()); err == nil && len(former) == 0 {
					err = fmt.Errorf("record %s: %w", id, vault.ErrNotFound)
				}
				superseded = append(superseded, former...)
				if err == nil {
					continue
				}
			}
			if err != nil {
				return err
			}
			gone = append(gone, s)
		}
		large, err := t.large(gone, superseded)
		if err != nil {
			return err
		}
		if !large {
			return t.erase(eraserOf(c), gone, superseded)
		}
		var all []byte
		for _, s := range slices.Concat(gone, superseded) {
			all = append(all, s.id.Bytes()...)
		}
		rest, err = t.eraseLater(eraserOf(c), nil, nil, all)
		return err
	})
	if err != nil || rest == 0 {
		return err
	}
	return v.erasePieces(ctx, rest)
}

// EraseEndpoint removes everything at exactly this endpoint that the caller may remove, superseded records
// included.
func (v *Vault) EraseEndpoint(ctx context.Context, c access.Caller, e hat.Endpoint) error {
	allowed := func(c access.Caller) error {
		if err := c.Check(access.WriteRecords(e)); err != nil || !c.Function().IsZero() {
			return fmt.Errorf("erase %s: %w", e, access.ErrDenied)
		}
		return nil
	}
	var rest int64
	err := v.writeAs(ctx, c, "erase", allowed, func(t *tx, c access.Caller) error {
		var writer any
		query, args := `SELECT r.born, r.id, r.endpoint, r.chain, r.seq, octet_length(r.data) FROM records r JOIN endpoints e ON e.n = r.endpoint
			WHERE e.name = ?`, []any{e.String()}
		if !c.IsOwner() {
			query += " AND r.user = (SELECT n FROM users WHERE id = ?)"
			args = append(args, c.UserID().Bytes())
			by, err := t.person(c)
			if err != nil {
				return err
			}
			writer = by.user
		}
		query += " LIMIT ?" // one more than a piece has: the rest is read later
		args = append(args, pieceRecords+1)
		var gone []stored
		err := t.Each(t.ctx, query, args, func(scan func(...any) error) error {
			s := stored{at: e}
			var id []byte
			err := scan(&s.born, &id, &s.endpoint, &s.chain, &s.seq, &s.size)
			if err == nil {
				s.id, err = scanRecordID(id)
			}
			gone = append(gone, s)
			return err
		})
		if err != nil {
			return err
		}
		superseded, err := t.supersededOf(c, access.WriteRecords, "e.name = ?", e.String())
		if err != nil || len(gone) == 0 && len(superseded) == 0 {
			return err
		}
		large, err := t.large(gone, superseded)
		if err != nil {
			return err
		}
		if !large {
			return t.erase(eraserOf(c), gone, superseded)
		}
		n, err := t.endpoint(e)
		if err == nil {
			rest, err = t.eraseLater(eraserOf(c), n, writer, nil)
		}
		return err
	})
	if err != nil || rest == 0 {
		return err
	}
	return v.erasePieces(ctx, rest)
}

// erase removes records. The superseded ones have no position of their own any more.
func (t *tx) erase(by eraser, gone []stored, superseded []stored) error {
	var ch change
	for _, s := range gone {
		if err := t.remove(s); err != nil {
			return fmt.Errorf("erase %s: %w", s.id, err)
		}
		ch.note(s.id, s.at, trigger.Event{Seq: t.seq})
		ch.ended = append(ch.ended, s.seq)
	}
	var dropped []hat.Seq
	for _, s := range superseded {
		dropped = append(dropped, s.seq)
		if _, err := t.Exec(t.ctx, "DELETE FROM superseded WHERE id = ?", s.id.Bytes()); err != nil {
			return fmt.Errorf("erase %s: %w", s.id, err)
		}
		ch.ids, ch.places = append(ch.ids, s.id), append(ch.places, s.at)
	}
	t.Note(Erasing)
	fact := receipt.Fact{
		Kind: receipt.Erase, User: by.user, Application: by.application,
		Erased: receipt.RecordsOf(ch.ids), Endpoints: ch.endpoints(),
		Ended: receipt.SpansOf(ch.ended), Dropped: receipt.SpansOf(dropped),
	}
	if len(gone) > 0 {
		fact.First, fact.Last = ch.first, t.seq
	}
	if err := t.roomAgain(); err != nil {
		return err
	}
	return t.receipt(fact)
}

// Link makes one group of the records. vault.ErrNotFound, access.ErrDenied.
func (v *Vault) Link(ctx context.Context, c access.Caller, ids []hat.RecordID) error {
	return v.writeAs(ctx, c, "link", nil, func(t *tx, c access.Caller) error {
		t.grows = fully
		var (
			group []int64
			ch    change
		)
		for _, id := range ids {
			s, err := t.find(c, id, access.HandleOwn)
			if err != nil {
				return err
			}
			if slices.Contains(group, s.born) {
				continue
			}
			group = append(group, s.born)
			ch.ids, ch.places = append(ch.ids, id), append(ch.places, s.at)
		}
		if len(group) < 2 {
			return errors.New("link: a group needs two records")
		}
		if err := t.group(group); err != nil {
			return err
		}
		return t.receipt(receipt.Fact{
			Kind: receipt.Write, User: c.UserID(), Application: c.ApplicationID(), Outcome: "linked",
			Written: receipt.RecordsOf(ch.ids), Endpoints: ch.endpoints(),
		})
	})
}
