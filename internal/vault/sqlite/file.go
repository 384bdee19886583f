// Package sqlite keeps the rows of vaults in SQLite files, one for each HAT: a pool of open files, commits that several
// transactions share, snapshots, the schema, and what a damaged or full file needs. What the rows mean is package ledger's.
//
// DESIGN.md beside package vault explains the schema, the transactions and what a crash leaves at each step.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"

	modernc "modernc.org/sqlite"

	"she/internal/vault"
	"she/internal/vault/ledger"
)

// A file is one open file. Only Store opens them.
type file struct {
	vault   *ledger.Vault // whose rows these are
	keeper  ledger.Keeper // the same, for us
	id      vault.HAT
	path    string
	hook    func(ops []string, persisted bool) error
	reserve *reserve
	// readOnly: see Options.
	readOnly bool

	db    *sql.DB
	conns *conns

	// Of whoever has the turn, once serve runs.
	turn      chan struct{} // full while somebody has it
	w         *conn         // while it works
	hasUpkeep bool          // there may be some
	// upkeepWaits: there are some that a full disk stopped.
	upkeepWaits bool
	// logHolds: the write-ahead log still holds what was erased or replaced.
	logHolds bool
	// shrinks: the file was made so that free pages can be given back; shrinking: they are.
	shrinks, shrinking bool
	chunk              int // rows in the next piece
	// pages bounds how many the file has.
	pages   int64
	crowded bool // several shared the last commit

	jobs   chan job
	look   chan struct{} // tells serve that there are upkeep
	served chan struct{} // closed when serve has stopped
	closed chan struct{} // closed when the file is of no more use

	checks    sync.WaitGroup
	stopCheck context.CancelFunc

	mu    sync.Mutex
	cause error // why closed
}

var _ ledger.Rows = (*file)(nil)

// open opens the file and ends what a former life of the server left unfinished.
func open(ctx context.Context, id vault.HAT, path string, o Options, spare *reserve) (*file, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("vault %s: %w", id, vault.ErrNotFound)
	}
	connector, err := modernc.NewConnector(dsn(path, o.MaxBytes, o.ReadOnly))
	if err != nil {
		return nil, fmt.Errorf("vault %s: %w", id, err)
	}
	f := &file{
		id: id, path: path, hook: o.AtCommit, reserve: spare, readOnly: o.ReadOnly,
		db:        sql.OpenDB(connector),
		chunk:     minUpkeep,
		pages:     unknownPages,
		stopCheck: func() {},
		turn:      make(chan struct{}, 1), jobs: make(chan job), look: make(chan struct{}, 1), served: make(chan struct{}), closed: make(chan struct{}),
	}
	f.vault = ledger.New(f, ledger.Setup{ID: id, Boot: o.Boot, Now: o.Now, Held: o.Storage, Observe: o.Observe})
	f.keeper = f.vault.Keeper()
	f.db.SetMaxIdleConns(-1)
	f.conns = newConns(f.db, o.AtPrepare)
	// The opening is not one caller's: another may be waiting for the same vault.
	ctx = context.WithoutCancel(ctx)
	interrupted, err := f.begin(ctx)
	if err != nil {
		_ = f.conns.close()
		_ = f.db.Close()
		return nil, fmt.Errorf("vault %s: %s: %w", id, path, named(path, err))
	}
	go f.serve()
	if interrupted {
		if err := f.vault.Recover(ctx); err != nil {
			_ = f.close()
			return nil, fmt.Errorf("vault %s: %w", id, err)
		}
	}
	return f, nil
}

// begin brings the file to the current schema and reads what is to be known of it.
func (f *file) begin(ctx context.Context) (interrupted bool, err error) {
	w, err := f.conns.writer(ctx)
	if err != nil {
		return false, err
	}
	defer func() { f.conns.put(w, false) }()
	if f.readOnly {
		return false, f.beginToRead(ctx, w)
	}
	if err := migrate(ctx, w); err != nil {
		return false, err
	}
	if interrupted, f.hasUpkeep, err = f.vault.Begin(ctx, w); err != nil {
		return false, err
	}
	return interrupted, f.beginSpace(ctx, w)
}

// beginToRead is begin of a file that stays as it is: runs that a former life left in flight are shown so.
func (f *file) beginToRead(ctx context.Context, c *conn) error {
	version, err := schemaOf(ctx, c)
	if err != nil {
		return err
	}
	if version < len(migrations) {
		return fmt.Errorf("%w: schema %d, this version has %d", errEarlier, version, len(migrations))
	}
	_, _, err = f.vault.Begin(ctx, c)
	return err
}

var (
	errEarlier  = errors.New("an earlier version wrote the vault, and who only reads does not bring it up to date: start the server once")
	errReadOnly = errors.New("the vault is open to be read only")
)

func (f *file) atCommit(ops []string, persisted bool) error {
	if f.hook == nil {
		return nil
	}
	return f.hook(ops, persisted)
}

// close stops the writer after what it is at, and lets go of the file when the last reader is done.
func (f *file) close() error {
	f.mu.Lock()
	if f.cause == nil {
		f.cause = vault.ErrClosed
		close(f.closed)
	}
	f.mu.Unlock()
	<-f.served
	f.stopCheck()
	f.checks.Wait()
	return errors.Join(f.conns.close(), f.db.Close())
}

// usable says that the vault has not closed itself.
func (f *file) usable() bool {
	select {
	case <-f.closed:
		return false
	default:
		return true
	}
}

// Read: see ledger.Rows.
func (f *file) Read(ctx context.Context, do func(ledger.Reader) error) error {
	return f.readOne(ctx, func(c *conn) (err error) {
		// Not with ctx: an ended request must not leave its snapshot open.
		always := context.WithoutCancel(ctx)
		c.reading = false
		if _, err := c.Exec(always, "BEGIN"); err != nil {
			return err
		}
		c.reading = true
		defer func() {
			c.reading = false
			if _, endErr := c.Exec(always, "ROLLBACK"); endErr != nil {
				err = errors.Join(err, errOpenSnapshot, endErr)
			}
		}()
		return do(c)
	})
}

var errOpenSnapshot = errors.New("a snapshot can't be given back")

// ReadOne: see ledger.Rows. A statement is a snapshot by itself.
func (f *file) ReadOne(ctx context.Context, do func(ledger.Reader) error) error {
	return f.readOne(ctx, func(c *conn) error { return do(c) })
}

func (f *file) readOne(ctx context.Context, do func(*conn) error) error {
	if !f.usable() {
		return f.closedError()
	}
	c, err := f.conns.reader(ctx)
	if err != nil {
		return named(f.path, err)
	}
	broken := true
	defer func() { f.conns.give(c, broken) }()
	err = do(c)
	// A statement that was interrupted is no harm to the connection, but who writes next had better not depend on it.
	broken = errors.Is(err, errOpenSnapshot) || ctx.Err() != nil
	return named(f.path, err)
}
