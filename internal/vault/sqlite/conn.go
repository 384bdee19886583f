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

// busyTimeout is how long a connection waits for another program that has locked the file, in milliseconds.
const busyTimeout = 10_000

// dsn returns the file's name with the settings of every connection. synchronous=full makes COMMIT wait for
// the disk; secure_delete overwrites erased data.
//
// A read-only file is opened as immutable. Otherwise SQLite would create an index of its write-ahead log
// beside it.
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
	// reading: a reader uses it, and nothing may be written.
	reading  bool
	prepared func(statement string) // Options.AtPrepare
}

var errReading = errors.New("a reader used a statement that writes")

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

// Get: see ledger.Reader. It does not watch ctx meanwhile, because that would cost more than most of these
// statements.
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

// Each: see ledger.Reader. If the same statement runs again before its rows are read to the end, it is
// prepared a second time.
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

// conns are the connections to one file: one writer, and readers up to a bound. Opening a connection costs
// more than most of the work done with it. So as long as nobody needs two at a time there is one, used by
// readers and the writer in turn.
type conns struct {
	db    *sql.DB
	slots chan struct{} // full while maxReaders connections are in use

	prepared func(statement string) // Options.AtPrepare

	mu      sync.Mutex
	idle    []*conn
	written *conn // the connection that wrote last; the others must read the changes again
	closed  bool
}

const (
	maxReaders = 16
	maxIdle    = 2 // for a reader beside the writer
)

func newConns(db *sql.DB, prepared func(statement string)) *conns {
	return &conns{db: db, slots: make(chan struct{}, maxReaders), prepared: prepared}
}

// reader returns a connection for reading, until give.
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

// give takes a reader's connection back.
func (p *conns) give(c *conn, broken bool) {
	defer func() { <-p.slots }()
	c.reading = false
	p.put(c, broken)
}

// writer returns a connection for writing, until put. It never waits. Only one goroutine at a time may have
// it.
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
	// A connection outlives the request that opens it.
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

// close closes idle connections. The others are closed when they are given back.
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

// named turns SQLite's errors into those that callers may branch on. SQLite's texts name tables and columns,
// never values.
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

// isUnique reports whether err is a violated UNIQUE or PRIMARY KEY.
func isUnique(err error) bool {
	var lite *modernc.Error
	return errors.As(err, &lite) &&
		(lite.Code() == lib.SQLITE_CONSTRAINT_UNIQUE || lite.Code() == lib.SQLITE_CONSTRAINT_PRIMARYKEY)
}
