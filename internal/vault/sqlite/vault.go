// Package sqlite keeps vaults in SQLite files, one for each HAT, and keeps the promises of package vault with three
// means: COMMIT waits for the disk; one goroutine at a time writes to a vault, and takes transactions that wait at the
// same time into one commit; who reads has a connection for as long and sees one snapshot.
//
// DESIGN.md beside package vault explains the schema, the transactions and what a crash leaves at each step.
package sqlite

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"time"

	modernc "modernc.org/sqlite"

	"she/internal/access"
	"she/internal/hat"
	"she/internal/plan"
	"she/internal/receipt"
	"she/internal/vault"
)

// A Vault is one open file. Only Store makes them.
type Vault struct {
	id      string
	path    string
	life    string
	clock   func() time.Time
	hook    func(ops []string, persisted bool) error
	holds   func(id string) plan.Storage // what the HAT may hold
	reserve *reserve

	db    *sql.DB
	conns *conns
	names *names // of readers
	kept  kept
	// published is rights as of the last commit, and idle is alone.
	published atomic.Int64
	idle      atomic.Bool

	// Of whoever has the turn, once serve runs.
	turn   chan struct{} // full while somebody has it
	w      *conn         // while it works
	state  state
	grants map[access.GrantID]access.Grant // parsed; rows of grants never change
	fields map[int64][]field               // by endpoint, as they are in the file; nil: not read yet
	people map[hat.UserID]int64            // numbers of users, which never change
	places map[hat.Endpoint]int64          // the same of endpoints
	filled map[hat.Endpoint]int64          // those of endpoints that are known to hold a record
	chains map[string]int64                // and of chains
	person struct {                        // the Owner; n is 0 until it was read
		n  int64
		id hat.UserID
	}
	rights int64 // see access.Rights
	salts  salts
	alone  bool // no function is enabled: nobody is to be told of what is written
	chores bool // there may be some
	// choresWait: there are some that a full disk stopped.
	choresWait bool
	// logHolds: the write-ahead log still holds what was erased or replaced.
	logHolds bool
	// shrinks: the file was made so that free pages can be given back; shrinking: they are.
	shrinks, shrinking bool
	chunk              int // rows in the next piece
	// pages bounds how many the file has.
	pages   int64
	crowded bool // several shared the last commit

	jobs   chan job
	look   chan struct{} // tells serve that there are chores
	served chan struct{} // closed when serve has stopped
	closed chan struct{} // closed when the vault is of no more use

	checks    sync.WaitGroup
	stopCheck context.CancelFunc

	mu    sync.Mutex
	cause error // why closed
}

var _ vault.Vault = (*Vault)(nil)

// opened counts vaults, so that no two of one process ever have a number of rights in common.
var opened atomic.Int64

// open opens the file and ends what a former life of the server left unfinished.
func open(ctx context.Context, id, path string, o Options, spare *reserve) (*Vault, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("vault %s: %w", id, vault.ErrNotFound)
	}
	connector, err := modernc.NewConnector(dsn(path, o.MaxBytes))
	if err != nil {
		return nil, fmt.Errorf("vault %s: %w", id, err)
	}
	v := &Vault{
		id: id, path: path, life: o.Life, clock: o.Now, hook: o.AtCommit, holds: o.Storage, reserve: spare,
		db:        sql.OpenDB(connector),
		names:     newNames(),
		grants:    map[access.GrantID]access.Grant{},
		people:    map[hat.UserID]int64{},
		places:    map[hat.Endpoint]int64{},
		filled:    map[hat.Endpoint]int64{},
		chains:    map[string]int64{},
		chunk:     minChore,
		pages:     unknownPages,
		rights:    opened.Add(1) << 32,
		stopCheck: func() {},
		turn:      make(chan struct{}, 1), jobs: make(chan job), look: make(chan struct{}, 1), served: make(chan struct{}), closed: make(chan struct{}),
	}
	v.published.Store(v.rights)
	v.db.SetMaxIdleConns(-1)
	v.conns = newConns(v.db)
	// The opening is not one caller's: another may be waiting for the same vault.
	ctx = context.WithoutCancel(ctx)
	interrupted, err := v.begin(ctx)
	if err != nil {
		_ = v.conns.close()
		_ = v.db.Close()
		return nil, fmt.Errorf("vault %s: %w", id, named(path, err))
	}
	go v.serve()
	if interrupted {
		if err := v.recover(ctx); err != nil {
			_ = v.close()
			return nil, fmt.Errorf("vault %s: %w", id, err)
		}
	}
	return v, nil
}

// begin reads what the writer needs to know. interrupted says that a former life of the server left runs in flight.
func (v *Vault) begin(ctx context.Context) (interrupted bool, err error) {
	w, err := v.conns.writer(ctx)
	if err != nil {
		return false, err
	}
	defer func() { v.conns.put(w, false) }()
	if err := migrate(ctx, w); err != nil {
		return false, err
	}
	var (
		id   string
		head []byte
	)
	err = w.get(ctx, `SELECT id, seq, receipts, records, head, EXISTS (SELECT 1 FROM leases WHERE life <> ?),
			EXISTS (SELECT 1 FROM erasures) OR EXISTS (SELECT 1 FROM undeclared) OR EXISTS (SELECT 1 FROM fields WHERE gone OR built < behind) FROM hat`, []any{v.life},
		&id, &v.state.seq, &v.state.head.Number, &v.state.records, &head, &interrupted, &v.chores)
	if err == nil {
		err = v.beginSpace(ctx, w)
	}
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return false, fmt.Errorf("%w: %s: it belongs to nobody", vault.ErrDamaged, v.path)
	case err != nil:
		return false, err
	case id != v.id:
		return false, fmt.Errorf("%w: %s: it is the file of HAT %s", vault.ErrDamaged, v.path, id)
	case copy(v.state.head.Hash[:], head) != len(receipt.Digest{}):
		return false, fmt.Errorf("%w: %s: the head of its receipts is cut short", vault.ErrDamaged, v.path)
	}
	return interrupted, nil
}

func (v *Vault) now() time.Time { return v.clock().UTC().Truncate(time.Microsecond) }

func (v *Vault) atCommit(ops []string, persisted bool) error {
	if v.hook == nil {
		return nil
	}
	return v.hook(ops, persisted)
}

// close stops the writer after what it is at, and lets go of the file when the last reader is done.
func (v *Vault) close() error {
	v.mu.Lock()
	if v.cause == nil {
		v.cause = vault.ErrClosed
		close(v.closed)
	}
	v.mu.Unlock()
	<-v.served
	v.stopCheck()
	v.checks.Wait()
	return errors.Join(v.conns.close(), v.db.Close())
}

// usable says that the vault has not closed itself.
func (v *Vault) usable() bool {
	select {
	case <-v.closed:
		return false
	default:
		return true
	}
}

// read has f run on a snapshot.
func (v *Vault) read(ctx context.Context, f func(*conn) error) error {
	return v.readOne(ctx, func(c *conn) (err error) {
		// Not with ctx: an ended request must not leave its snapshot open.
		always := context.WithoutCancel(ctx)
		c.reading = false
		if _, err := c.exec(always, "BEGIN"); err != nil {
			return err
		}
		c.reading = true
		defer func() {
			c.reading = false
			if _, endErr := c.exec(always, "ROLLBACK"); endErr != nil {
				err = errors.Join(err, errOpenSnapshot, endErr)
			}
		}()
		return f(c)
	})
}

var errOpenSnapshot = errors.New("a snapshot can't be given back")

// readOne has f run one statement that reads, which is a snapshot by itself.
func (v *Vault) readOne(ctx context.Context, f func(*conn) error) error {
	if !v.usable() {
		return v.closedError()
	}
	c, err := v.conns.reader(ctx)
	if err != nil {
		return named(v.path, err)
	}
	broken := true
	defer func() { v.conns.give(c, broken) }()
	err = f(c)
	// A statement that was interrupted is no harm to the connection, but who writes next had better not depend on it.
	broken = errors.Is(err, errOpenSnapshot) || ctx.Err() != nil
	return named(v.path, err)
}

// owner is the number and id of the Owner's user.
func (t *tx) owner() (n int64, id hat.UserID, err error) {
	if kept := &t.v.person; kept.n != 0 {
		return kept.n, kept.id, nil
	}
	var b []byte
	err = t.get(t.ctx, "SELECT n, id FROM users WHERE owner", nil, &n, &b)
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
