// Package sqlite stores the rows of vaults in SQLite files, one for each HAT. It has the pool of open files,
// commits that several transactions share, snapshots, the schema, and the handling of damaged files and full
// disks. Package ledger knows what the rows mean.
//
// DESIGN.md beside package vault explains the schema, the transactions, and what a crash leaves at each step.
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
	vault   *ledger.Vault // the vault whose rows these are
	keeper  ledger.Keeper // the vault's keeper
	id      vault.HAT
	path    string
	hook    func(ops []string, persisted bool) error
	reserve *reserve
	// readOnly: see Options.
	readOnly bool

	db    *sql.DB
	conns *conns

	// The fields below belong to the holder of the writer lock, once serve runs.
	writerLock chan struct{} // the writer lock: full while it is held
	w          *conn         // nil when nothing is written
	hasUpkeep  bool          // there may be upkeep to do
	// upkeepWaits: a full disk stopped the upkeep.
	upkeepWaits bool
	// logHolds: the write-ahead log still contains erased or replaced data.
	logHolds bool
	// shrinks: the file can give free pages back (auto_vacuum); shrinking: it is doing so.
	shrinks, shrinking bool
	chunk              int // rows in the next piece of upkeep
	// pages is an upper bound of the file's pages.
	pages   int64
	crowded bool // several transactions shared the last commit

	jobs   chan job
	look   chan struct{} // tells serve that there is upkeep
	served chan struct{} // closed when serve has stopped
	closed chan struct{} // closed when the vault is closed

	checks    sync.WaitGroup
	stopCheck context.CancelFunc

	mu    sync.Mutex
	cause error // why it is closed
}

var _ ledger.Rows = (*file)(nil)

// open opens the file and ends runs that were in flight when the server stopped.
func open(ctx context.Context, id vault.HAT, path string, o Options, spare *reserve) (*file, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("vault %s: %w", id, vault.ErrNotFound)
	}
	connector, err := modernc.NewConnector(dsn(path, o.MaxBytes, o.ReadOnly))
	if err != nil {
		return nil, fmt.Errorf("vault %s: %w", id, err)
	}
	f := &file{
		id:         id,
		path:       path,
		hook:       o.AtCommit,
		reserve:    spare,
		readOnly:   o.ReadOnly,
		db:         sql.OpenDB(connector),
		chunk:      minUpkeep,
		pages:      unknownPages,
		stopCheck:  func() {},
		writerLock: make(chan struct{}, 1),
		jobs:       make(chan job),
		look:       make(chan struct{}, 1),
		served:     make(chan struct{}),
		closed:     make(chan struct{}),
	}
	f.vault = ledger.New(f, ledger.Setup{ID: id, Boot: o.Boot, Now: o.Now, Held: o.Storage, Observe: o.Observe})
	f.keeper = f.vault.Keeper()
	f.db.SetMaxIdleConns(-1)
	f.conns = newConns(f.db, o.AtPrepare)
	// Opening is not for one caller only: others may wait for the same vault.
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

// begin brings the file to the current schema and reads its state.
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

// beginToRead is begin for a read-only file. Runs that were in flight when the server stopped are shown as
// such.
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
	errEarlier  = errors.New("the vault was written by an earlier version and is open for reading only; start the server once to migrate it")
	errReadOnly = errors.New("the vault is open for reading only")
)

func (f *file) atCommit(ops []string, persisted bool) error {
	if f.hook == nil {
		return nil
	}
	return f.hook(ops, persisted)
}

// close stops the writer after its present work, and closes the file when the last reader is done.
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

// usable reports whether the vault has not closed itself.
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
		// Not with ctx: the snapshot must be closed even if the request has ended.
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

var errOpenSnapshot = errors.New("a snapshot can't be closed")

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
	// After an interrupted statement the connection may be fine, but the next writer should not depend on it.
	broken = errors.Is(err, errOpenSnapshot) || ctx.Err() != nil
	return named(f.path, err)
}
