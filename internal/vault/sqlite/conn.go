package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"sync"

	modernc "modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	"she/internal/hat"
	"she/internal/vault"
)

// busyTimeout is how long a connection waits for another program to let go of the file, in milliseconds.
const busyTimeout = 10_000

// dsn names the file with the settings every connection needs. synchronous=full makes COMMIT wait for the disk;
// secure_delete overwrites what is erased.
func dsn(path string, maxBytes int64) string {
	pragmas := []string{
		"synchronous(full)", "foreign_keys(on)", "secure_delete(on)", "trusted_schema(off)",
		"cell_size_check(on)", "temp_store(memory)", "cache_size(-1000)", "journal_size_limit(4194304)",
	}
	if maxBytes > 0 {
		pragmas = append(pragmas, "max_page_count("+strconv.FormatInt(max(maxBytes/4096, 1), 10)+")")
	}
	u := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: url.Values{
		"mode": {"rw"}, "_busy_timeout": {strconv.Itoa(busyTimeout)}, "_defensive": {"1"}, "_dqs": {"0"}, "_pragma": pragmas,
	}.Encode()}
	return u.String()
}

// A conn is one connection with its prepared statements.
type conn struct {
	c     *sql.Conn
	stmts map[string]*sql.Stmt
}

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
	return s, nil
}

func (c *conn) exec(ctx context.Context, query string, args ...any) (changed int64, err error) {
	s, err := c.prepare(ctx, query)
	if err != nil {
		return 0, err
	}
	result, err := s.ExecContext(ctx, args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

func (c *conn) query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	s, err := c.prepare(ctx, query)
	if err != nil {
		return nil, err
	}
	return s.QueryContext(ctx, args...)
}

// get reads one row; sql.ErrNoRows if there is none.
func (c *conn) get(ctx context.Context, query string, args []any, into ...any) error {
	s, err := c.prepare(ctx, query)
	if err != nil {
		return err
	}
	return s.QueryRowContext(ctx, args...).Scan(into...)
}

// each calls f for each row; f scans it.
func (c *conn) each(ctx context.Context, query string, args []any, f func(scan func(...any) error) error) error {
	rows, err := c.query(ctx, query, args...)
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

// readers is a bounded set of connections that can't write. It keeps one idle and opens more while they are needed.
type readers struct {
	db    *sql.DB
	slots chan struct{}

	mu     sync.Mutex
	idle   []*conn
	closed bool
}

const maxReaders = 16

func newReaders(db *sql.DB) *readers {
	return &readers{db: db, slots: make(chan struct{}, maxReaders)}
}

func (r *readers) take(ctx context.Context) (*conn, error) {
	select {
	case r.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	c, err := r.idleOrNew(ctx)
	if err != nil {
		<-r.slots
	}
	return c, err
}

func (r *readers) idleOrNew(ctx context.Context) (*conn, error) {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil, vault.ErrClosed
	}
	if n := len(r.idle); n > 0 {
		c := r.idle[n-1]
		r.idle = r.idle[:n-1]
		r.mu.Unlock()
		return c, nil
	}
	r.mu.Unlock()
	// A connection outlives the request that happens to need it first.
	ctx = context.WithoutCancel(ctx)
	c, err := newConn(ctx, r.db)
	if err != nil {
		return nil, err
	}
	if _, err := c.c.ExecContext(ctx, "PRAGMA query_only = on"); err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

func (r *readers) give(c *conn, broken bool) {
	defer func() { <-r.slots }()
	r.mu.Lock()
	keep := !broken && !r.closed && len(r.idle) == 0
	if keep {
		r.idle = append(r.idle, c)
	}
	r.mu.Unlock()
	if !keep {
		_ = c.close()
	}
}

func (r *readers) close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	var err error
	for _, c := range r.idle {
		err = errors.Join(err, c.close())
	}
	r.idle = nil
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

var errDamagedRow = fmt.Errorf("%w: a row can't be read", vault.ErrDamaged)

func scanRecordID(b []byte) (hat.RecordID, error) {
	id, err := hat.RecordIDFromBytes(b)
	if err != nil {
		return id, errDamagedRow
	}
	return id, nil
}
