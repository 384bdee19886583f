package ledger

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"she/internal/access"
	"she/internal/hat"
	"she/internal/plan"
	"she/internal/receipt"
	"she/internal/vault"
)

// Setup of a Vault.
type Setup struct {
	ID   hat.ID                       // of the HAT
	Boot string                       // names this start of the server; leases of earlier starts have lapsed
	Now  func() time.Time             // the clock
	Held func(id hat.ID) plan.Storage // how much the HAT may hold, called each time
	// Observe, if set, receives each transaction that a caller waited for: its name, the time until it was
	// durable, and its error.
	Observe func(op string, took time.Duration, err error)
}

// A Vault is one HAT's durable state, on any store of rows. The store creates it, calls Begin, and then its
// Keeper. All methods may be called concurrently. After an error that leaves a commit in doubt the vault
// closes itself; the next Open reads what was committed.
//
// If rights have changed since a caller with a token was recognised, each transaction that writes recognises
// them again. So what was revoked writes nothing, however long ago the request began. Any method may return
// access.ErrWithdrawn or access.ErrRevoked then.
//
// A change that makes a HAT hold more than it may is refused with a *vault.QuotaError, whoever makes it:
// records, documents, users, consents, derived records. At the limit one can still erase, disable, end runs,
// and make changes that take no room, all with their receipts. Receipts of reading are bounded by
// plan.Storage.Beyond.
type Vault struct {
	id    hat.ID
	boot  string
	clock func() time.Time
	holds func(id hat.ID) plan.Storage
	rows  Rows

	observe func(op string, took time.Duration, err error)

	names *names // used by readers
	kept  kept
	// published is rights as of the last commit; idle is alone as of the last commit.
	published atomic.Int64
	idle      atomic.Bool

	// The fields below belong to the holder of the writer lock.
	state     state
	committed state                           // as of the last commit
	raised    bool                            // since the last commit, something may have become pending
	peopled   bool                            // since the last commit, users may have changed
	grants    map[access.GrantID]access.Grant // parsed; rows of grants never change
	fields    map[int64][]field               // by endpoint, as they are in the file; nil: not read yet
	people    map[hat.UserID]int64            // rows of users by id; they never change
	places    map[hat.Endpoint]int64          // rows of endpoints
	filled    map[hat.Endpoint]int64          // rows of endpoints that hold a record
	chains    map[string]int64                // rows of chains
	person    struct {                        // the Owner; n is 0 until it is read
		n  int64
		id hat.UserID
	}
	rights int64 // see access.Rights
	salts  salts
	alone  bool // no function is enabled, so the engine needs no wake-up
}

// opened counts vaults, so that two vaults of one process never share a number of rights.
var opened atomic.Int64

// New returns the vault over these rows. Call Begin before anything else.
func New(rows Rows, s Setup) *Vault {
	v := &Vault{
		id: s.ID, boot: s.Boot, clock: s.Now, holds: s.Held, rows: rows, observe: s.Observe,
		names:  newNames(),
		grants: map[access.GrantID]access.Grant{},
		people: map[hat.UserID]int64{},
		places: map[hat.Endpoint]int64{},
		filled: map[hat.Endpoint]int64{},
		chains: map[string]int64{},
		rights: opened.Add(1) << 32,
	}
	v.published.Store(v.rights)
	return v
}

// Create writes the rows of a new HAT with its Owner into empty tables.
func Create(ctx context.Context, w Writer, id hat.ID, now time.Time, owner vault.User) error {
	if !isOwner(owner) {
		return fmt.Errorf("user %s does not have the role %s", owner.ID, access.TitleOwner)
	}
	_, err := w.Exec(ctx, "INSERT INTO hat (id, created, seq, receipts, head) VALUES (?, ?, 0, 0, ?)",
		id, now.UnixMicro(), make([]byte, len(receipt.Digest{})))
	if err != nil {
		return err
	}
	return insertUser(ctx, w, owner)
}

// Begin reads what writing needs to know. interrupted: the server stopped with runs in flight, so call
// Recover first. upkeep: Keeper.Upkeep has something to do. vault.ErrDamaged.
func (v *Vault) Begin(ctx context.Context, r Reader) (interrupted, upkeep bool, err error) {
	var (
		id   hat.ID
		head []byte
	)
	err = r.Get(ctx, `SELECT id, seq, receipts, records, head, EXISTS (SELECT 1 FROM leases WHERE life <> ?),
			EXISTS (SELECT 1 FROM erasures) OR EXISTS (SELECT 1 FROM undeclared) OR EXISTS (SELECT 1 FROM fields WHERE gone OR built < behind) FROM hat`, []any{v.boot},
		&id, &v.state.seq, &v.state.head.Number, &v.state.records, &head, &interrupted, &upkeep)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		err = fmt.Errorf("%w: it has no HAT", vault.ErrDamaged)
	case err != nil:
	case id != v.id:
		err = fmt.Errorf("%w: it is the file of HAT %s", vault.ErrDamaged, id)
	case copy(v.state.head.Hash[:], head) != len(receipt.Digest{}):
		err = fmt.Errorf("%w: the head of its receipts is incomplete", vault.ErrDamaged)
	}
	v.committed = v.state
	return interrupted, upkeep, err
}

// state is the row of table hat.
type state struct {
	seq     hat.Seq
	head    receipt.Head
	records int64 // that there are now
}

// A tx is one transaction. Its changes of the state count only if it succeeds.
type tx struct {
	Tx
	ctx context.Context // never cancelled: a commit that has begun is finished
	v   *Vault
	now time.Time
	state
	grows   growth
	raised  bool // pending work may have changed
	peopled bool // users have changed
	opened  bool // an endpoint has got its first record
}

// write runs f in a transaction of its own and returns when it is durable. After an error of f nothing is
// stored.
func (v *Vault) write(ctx context.Context, op string, f func(*tx) error) error {
	began := time.Now()
	err := v.rows.Write(ctx, op, func(rows Tx) error { return v.within(rows, op, f) })
	if v.observe != nil {
		v.observe(op, time.Since(began), err)
	}
	return err
}

// within runs f in a transaction. Its context is never cancelled: a commit that has begun is finished.
func (v *Vault) within(rows Tx, op string, f func(*tx) error) error {
	t := &tx{Tx: rows, ctx: context.Background(), v: v, now: v.now(), state: v.state}
	if op != OpAppend {
		v.alone = false
	}
	err := f(t)
	if t.grows != notAtAll {
		t.Note(Growing)
	}
	if err == nil {
		err = t.fits()
	}
	if err != nil {
		return err
	}
	v.state = t.state
	// Only OpAppend is known to leave pending work mostly unchanged.
	v.raised = v.raised || op != OpAppend || t.raised
	v.peopled = v.peopled || t.peopled
	return nil
}

// keeper is the side of a Vault that its store calls.
type keeper struct{ *Vault }

// Keeper returns what the store must tell about transactions.
func (v *Vault) Keeper() Keeper { return keeper{v} }

func (v keeper) Finish(ctx context.Context, tx Tx) error {
	if v.state == v.committed {
		return nil
	}
	_, err := tx.Exec(ctx, "UPDATE hat SET seq = ?, receipts = ?, records = ?, head = ?",
		int64(v.state.seq), v.state.head.Number, v.state.records, v.state.head.Hash[:])
	return err
}

func (v keeper) Committed() {
	if v.raised || v.peopled {
		v.kept.forget(v.peopled)
	}
	v.committed, v.raised, v.peopled = v.state, false, false
}

func (v keeper) Undone(all bool) {
	if all {
		v.state, v.raised, v.peopled = v.committed, false, false
	}
	v.forget()
}

// Released: callers who are recognised from here on see the committed rights.
func (v keeper) Released() {
	v.published.Store(v.rights)
	v.idle.Store(v.alone)
}

func (v keeper) Upkeep(rows Tx, n int) (more bool, err error) {
	err = v.within(rows, "upkeep", func(t *tx) (err error) {
		more, err = t.upkeep(n)
		return err
	})
	return more, err
}

// forget drops what was read from tables in a transaction that was undone.
func (v *Vault) forget() {
	clear(v.grants)
	clear(v.people)
	clear(v.places)
	clear(v.filled)
	clear(v.chains)
	v.person.n = 0
	v.fields, v.alone = nil, false
}

func (v *Vault) now() time.Time { return v.clock().UTC().Truncate(time.Microsecond) }

// owner returns the number and id of the Owner.
func (t *tx) owner() (n int64, id hat.UserID, err error) {
	if kept := &t.v.person; kept.n != 0 {
		return kept.n, kept.id, nil
	}
	var b []byte
	err = t.Get(t.ctx, "SELECT n, id FROM users WHERE owner", nil, &n, &b)
	if errors.Is(err, sql.ErrNoRows) {
		err = fmt.Errorf("owner: %w", vault.ErrNotFound)
	}
	if err != nil {
		return 0, id, err
	}
	if id, err = userID(b); err == nil {
		t.v.person.n, t.v.person.id = n, id
	}
	return n, id, err
}

// receipt appends an entry to the chain.
func (t *tx) receipt(f receipt.Fact) error {
	text, head, err := receipt.Append(t.head, t.now, f)
	if err != nil {
		return err
	}
	if _, err := t.Exec(t.ctx, "INSERT INTO receipts (number, body) VALUES (?, ?)", head.Number, string(text)); err != nil {
		return fmt.Errorf("receipt %d: %w", head.Number, err)
	}
	t.head = head
	return nil
}

var errDamagedRow = fmt.Errorf("%w: a row can't be read", vault.ErrDamaged)

func scanRecordID(b []byte) (hat.RecordID, error) {
	id, err := hat.RecordIDFromBytes(b)
	if err != nil {
		return id, errDamagedRow
	}
	return id, nil
}

func userID(b []byte) (hat.UserID, error) {
	if len(b) != 16 {
		return hat.UserID{}, errDamagedRow
	}
	s := hex.EncodeToString(b)
	id, err := hat.ParseUserID(s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:])
	if err != nil {
		return hat.UserID{}, errDamagedRow
	}
	return id, nil
}

func runID(b []byte) (hat.RunID, error) {
	u, err := userID(b)
	if err != nil {
		return hat.RunID{}, err
	}
	return hat.ParseRunID(u.String())
}

func micros(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixMicro()
}
