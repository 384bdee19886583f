package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"sync"

	modernc "modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	"she/internal/vault"
	"she/internal/vault/ledger"
)

// busyTimeout is how long a connection waits for another program to let go of the file, in milliseconds.
const busyTimeout = 10_000

// dsn names the file with the settings every connection needs. synchronous=full makes COMMIT wait for the disk;
// secure_delete overwrites what is erased.
//
// A file that is only read is immutable: without that, SQLite would make an index of its write-ahead log beside it.
func dsn(path string, maxBytes int64, readOnly bool) string {
	pragmas := []string{
		"synchronous(full)", "foreign_keys(on)", "secure_delete(on)", "trusted_schema(off)",
		"cell_size_check(on)", "temp_store(memory)", "cache_size(-1000)", "journal_size_limit(4194304)",
	}
	if maxBytes > 0 {
		pragmas = append(pragmas, "max_page_count("+strconv.FormatInt(max(maxBytes/4096, 1), 10)+")")
	}
	query := url.Values{
		"mode": {"rw"}, "_busy_timeout": {strconv.Itoa(busyTimeout)}, "_defensive": {"1"}, "_dqs": {"0"}, "_pragma": pragmas,
	}
	if readOnly {
		query.Set("mode", "ro")
		query.Set("immutable", "1")
	}
	u := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: query.Encode()}
	return u.String()
}

// A conn is one connection with its prepared statements.
type conn struct {
	c     *sql.Conn
	stmts map[string]*sql.Stmt
	// reading: a reader has it, and nothing may be written.
	reading  bool
	prepared func(statement string) // Options.AtPrepare
}

var errReading = errors.New("a statement that writes, among those of a reader")

func newConn(ctx context.Context, db *sql.DB) (*conn, error) {
	c, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	return &conn{c: c, stmts: map[string]*sql.Stmt{}}, nil
}

func (c *conn) close() error {
	for _, s := range c.stmts {
		_ = s.Close()
	}
	return c.c.Close()
}

func (c *conn) prepare(ctx context.Context, query string) (*sql.Stmt, error) {
	if s := c.stmts[query]; s != nil {
		return s, nil
	}
	s, err := c.c.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	c.stmts[query] = s
	if c.prepared != nil {
		c.prepared(query)
	}
	return s, nil
}

// Exec: see ledger.Writer.
func (c *conn) Exec(ctx context.Context, query string, args ...any) (changed int64, err error) {
	if c.reading {
		return 0, errReading
	}
	s, err := c.prepare(ctx, query)
	if err != nil {
		return 0, err
	}
	result, err := s.ExecContext(ctx, args...)
	if isUnique(err) {
		err = fmt.Errorf("%w: %w", ledger.ErrTaken, err)
	}
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// Get: see ledger.Reader. To watch ctx meanwhile costs more than most of these.
func (c *conn) Get(ctx context.Context, query string, args []any, into ...any) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	s, err := c.prepare(ctx, query)
	if err != nil {
		return err
	}
	return s.QueryRowContext(ctx, args...).Scan(into...)
}

// Each: see ledger.Reader. A statement that is begun again before its rows are read to the end has another one for it.
func (c *conn) Each(ctx context.Context, query string, args []any, f func(scan func(...any) error) error) (err error) {
	s, err := c.prepare(ctx, query)
	if err != nil {
		return err
	}
	delete(c.stmts, query)
	defer func() {
		if c.stmts[query] == nil {
			c.stmts[query] = s
		} else {
			_ = s.Close()
		}
	}()
	rows, err := s.QueryContext(ctx, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := f(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

// conns are the connections to one file: one for whoever writes, and as many as there are readers, up to a bound. To
// open one costs more than most of what is done with it, so that as long as nobody needs two at a time there is one,
// which readers and writers have by turns.
type conns struct {
	db    *sql.DB
	slots chan struct{} // full while maxReaders have one

	prepared func(statement string) // Options.AtPrepare

	mu      sync.Mutex
	idle    []*conn
	written *conn // the one that wrote last: the others have to read anew what it changed
	closed  bool
}

const (
	maxReaders = 16
	maxIdle    = 2 // for one who reads beside one who writes
)

func newConns(db *sql.DB, prepared func(statement string)) *conns {
	return &conns{db: db, slots: make(chan struct{}, maxReaders), prepared: prepared}
}

// reader is a connection to read with, until give.
func (p *conns) reader(ctx context.Context) (*conn, error) {
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	c, err := p.take(ctx, false)
	if err != nil {
		<-p.slots
		return nil, err
	}
	c.reading = true
	return c, nil
}

// give takes back a reader's connection.
func (p *conns) give(c *conn, broken bool) {
	defer func() { <-p.slots }()
	c.reading = false
	p.put(c, broken)
}

// writer is a connection to write with, until put. It waits for nobody. One goroutine at a time may have one.
func (p *conns) writer(ctx context.Context) (*conn, error) {
	c, err := p.take(ctx, true)
	if err == nil {
		p.mu.Lock()
		p.written = c
		p.mu.Unlock()
	}
	return c, err
}

func (p *conns) take(ctx context.Context, written bool) (*conn, error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, vault.ErrClosed
	}
	if n := len(p.idle); n > 0 {
		i := max(0, slices.IndexFunc(p.idle, func(c *conn) bool { return (c == p.written) == written }))
		c := p.idle[i]
		p.idle = slices.Delete(p.idle, i, i+1)
		p.mu.Unlock()
		return c, nil
	}
	p.mu.Unlock()
	// A connection outlives the request that happens to need it first.
	c, err := newConn(context.WithoutCancel(ctx), p.db)
	if err == nil {
		c.prepared = p.prepared
	}
	return c, err
}

func (p *conns) put(c *conn, broken bool) {
	p.mu.Lock()
	keep := !broken && !p.closed && len(p.idle) < maxIdle
	if keep {
		p.idle = append(p.idle, c)
	} else if p.written == c {
		p.written = nil
	}
	p.mu.Unlock()
	if !keep {
		_ = c.close()
	}
}

// close closes those nobody has; the others go when they are given back.
func (p *conns) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	var err error
	for _, c := range p.idle {
		err = errors.Join(err, c.close())
	}
	p.idle, p.written = nil, nil
	return err
}

// named gives SQLite's errors the names callers may branch on. SQLite's texts name tables and columns, never values.
func named(path string, err error) error {
	var lite *modernc.Error
	if !errors.As(err, &lite) {
		return err
	}
	switch lite.Code() & 0xff {
	case lib.SQLITE_FULL:
		return fmt.Errorf("%w: %w", vault.ErrFull, err)
	case lib.SQLITE_CORRUPT, lib.SQLITE_NOTADB:
		return fmt.Errorf("%w: %s: %w", vault.ErrDamaged, path, err)
	case lib.SQLITE_IOERR, lib.SQLITE_CANTOPEN, lib.SQLITE_READONLY, lib.SQLITE_PERM, lib.SQLITE_NOMEM, lib.SQLITE_BUSY, lib.SQLITE_PROTOCOL:
		return fmt.Errorf("%w: %w", vault.ErrMachine, err)
	case lib.SQLITE_INTERRUPT:
		return fmt.Errorf("%w: %w", context.Canceled, err)
	}
	return err
}

// isUnique says that err is a violated UNIQUE or PRIMARY KEY.
func isUnique(err error) bool {
	var lite *modernc.Error
	return errors.As(err, &lite) &&
		(lite.Code() == lib.SQLITE_CONSTRAINT_UNIQUE || lite.Code() == lib.SQLITE_CONSTRAINT_PRIMARYKEY)
}
