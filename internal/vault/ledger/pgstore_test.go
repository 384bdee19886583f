package ledger_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"regexp"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"she/internal/hat"
	"she/internal/pgtest"
	"she/internal/plan"
	"she/internal/vault"
	"she/internal/vault/dialect"
	"she/internal/vault/ledger"
	"she/internal/vault/vaulttest"
)

// TestConformanceOnPostgres runs the promises of package vault against PostgreSQL, with the derived
// statements and with tables that all HATs of the test share. The store below is for this test only: it
// supports one node and never shares a commit.
func TestConformanceOnPostgres(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the whole conformance suite")
	}
	conn := pgtest.Start(t)
	if _, err := conn.Exec(t.Context(), dialect.Schema, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(buffering{stdlib.GetConnector(*conn.Config())})
	db.SetMaxOpenConns(80)
	db.SetMaxIdleConns(20)
	t.Cleanup(func() { _ = db.Close() })
	var places atomic.Int64
	vaulttest.Run(t, func(testing.TB) vaulttest.Opener {
		prefix := fmt.Sprintf("place-%d-", places.Add(1))
		return func(s vaulttest.Setup) (vaulttest.Store, error) {
			return &pgStore{db: db, prefix: prefix, o: s, boot: rand.Text(), open: map[string]*pgRows{}}, nil
		}
	})
}

// pgStore is a store of vaults in PostgreSQL, for this test only.
type pgStore struct {
	db     *sql.DB
	prefix string // prefix of HAT ids: other tests use the same tables
	o      vaulttest.Setup
	boot   string

	mu     sync.Mutex
	open   map[string]*pgRows
	closed bool
}

var hatPattern = regexp.MustCompile(`^[0-9a-z-]{1,64}$`)

func (s *pgStore) Create(ctx context.Context, id hat.ID, owner vault.User) error {
	if !hatPattern.MatchString(string(id)) {
		return errors.New("not an id of a HAT")
	}
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(ctx, "LOCK TABLE hats"); err != nil {
		return err
	}
	c := pgConn{db: tx}
	if err := tx.QueryRowContext(ctx, "SELECT coalesce(max(hat), 0) + 1 FROM hats").Scan(&c.hat); err != nil {
		return err
	}
	if err := ledger.Create(ctx, c, hat.ID(s.prefix+string(id)), s.o.Now(), owner); errors.Is(err, ledger.ErrTaken) {
		return vault.ErrExists
	} else if err != nil {
		return err
	}
	return tx.Commit()
}

func (s *pgStore) Open(ctx context.Context, id hat.ID) (*ledger.Vault, func(), error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, nil, vault.ErrClosed
	}
	if r := s.open[string(id)]; r != nil && r.Usable() == nil {
		return r.vault, func() {}, nil
	}
	r := &pgRows{db: s.db, hook: s.o.AtCommit, turn: make(chan struct{}, 1)}
	err := s.db.QueryRowContext(ctx, "SELECT hat FROM hats WHERE id = $1", s.prefix+string(id)).Scan(&r.hat)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil, vault.ErrNotFound
	} else if err != nil {
		return nil, nil, err
	}
	held := func(hat.ID) plan.Storage {
		if s.o.Storage == nil {
			return plan.Storage{}
		}
		return s.o.Storage()
	}
	r.vault = ledger.New(r, ledger.Setup{ID: hat.ID(s.prefix + string(id)), Boot: s.boot, Now: s.o.Now, Held: held})
	r.keeper = r.vault.Keeper()
	interrupted, upkeep, err := r.vault.Begin(ctx, pgConn{r.db, r.hat})
	if err == nil && interrupted {
		err = r.vault.Recover(ctx)
	}
	if err == nil && upkeep {
		err = r.Write(ctx, "upkeep", func(tx ledger.Tx) error { tx.Note(ledger.Unending); return nil })
	}
	if err != nil {
		return nil, nil, err
	}
	s.open[string(id)] = r
	return r.vault, func() {}, nil
}

func (s *pgStore) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, r := range s.open {
		r.close(nil)
	}
	return nil
}

// pgRows are the rows of one HAT.
type pgRows struct {
	db     *sql.DB
	hat    int64
	vault  *ledger.Vault
	keeper ledger.Keeper
	hook   func(ops []string, persisted bool) error
	turn   chan struct{} // the writer lock: full while it is held

	mu    sync.Mutex
	cause error // why the store is closed
}

func (r *pgRows) close(cause error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cause == nil {
		r.cause = vault.ErrClosed
		if cause != nil {
			r.cause = fmt.Errorf("%w after: %w", vault.ErrClosed, cause)
		}
	}
}

func (r *pgRows) Usable() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cause
}

func (r *pgRows) Read(ctx context.Context, f func(ledger.Reader) error) error {
	if err := errors.Join(ctx.Err(), r.Usable()); err != nil {
		return err
	}
	tx, err := r.db.BeginTx(context.WithoutCancel(ctx), &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		return err
	}
	defer tx.Rollback()
	return f(pgConn{tx, r.hat})
}

func (r *pgRows) ReadOne(ctx context.Context, f func(ledger.Reader) error) error {
	if err := errors.Join(ctx.Err(), r.Usable()); err != nil {
		return err
	}
	return f(pgConn{r.db, r.hat})
}

func (r *pgRows) Write(ctx context.Context, op string, f func(ledger.Tx) error) error {
	select {
	case r.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-r.turn }()
	defer r.keeper.Released()
	noted, err := r.write(ctx, op, f)
	for more := noted&ledger.Unending != 0; more && r.Usable() == nil; {
		if _, upkeep := r.write(context.Background(), "upkeep", func(tx ledger.Tx) (err error) {
			more, err = r.keeper.Upkeep(tx, 100)
			return err
		}); upkeep != nil {
			break
		}
	}
	return err
}

func (r *pgRows) write(ctx context.Context, op string, f func(ledger.Tx) error) (noted ledger.Effect, err error) {
	if err := errors.Join(ctx.Err(), r.Usable()); err != nil {
		return 0, err
	}
	tx, err := r.db.BeginTx(context.WithoutCancel(ctx), nil)
	if err != nil {
		return 0, err
	}
	defer tx.Rollback()
	if _, err := tx.Exec("SELECT 1 FROM hats WHERE hat = $1 FOR UPDATE", r.hat); err != nil {
		return 0, err
	}
	t := &pgTx{pgConn: pgConn{tx, r.hat}, r: r}
	done := false
	defer func() {
		if !done {
			r.keeper.Undone(true) // f panicked
		}
	}()
	err = f(t)
	done = true
	if err == nil {
		err = r.keeper.Finish(context.WithoutCancel(ctx), t)
	}
	if err != nil {
		r.keeper.Undone(true)
		return 0, err
	}
	if r.hook != nil {
		if err := r.hook([]string{op}, false); err != nil {
			r.close(err)
			return 0, fmt.Errorf("commit: %w", err)
		}
	}
	if err := tx.Commit(); err != nil {
		r.close(err)
		return 0, fmt.Errorf("commit: %w", err)
	}
	r.keeper.Committed()
	if r.hook != nil {
		if err := r.hook([]string{op}, true); err != nil {
			r.close(err)
			return 0, fmt.Errorf("after commit: %w", err)
		}
	}
	return t.noted, nil
}

type pgTx struct {
	pgConn
	r     *pgRows
	noted ledger.Effect
}

func (t *pgTx) Note(e ledger.Effect) { t.noted |= e }
func (t *pgTx) Reserved() bool       { return false }

func (t *pgTx) Apart(ctx context.Context, do func() error, refused func(error) bool) (err, fatal error) {
	if _, err := t.db.ExecContext(ctx, "SAVEPOINT apart"); err != nil {
		return nil, err
	}
	if err = do(); err != nil {
		if !refused(err) {
			return nil, err
		}
		t.r.keeper.Undone(false)
		if _, err := t.db.ExecContext(ctx, "ROLLBACK TO apart"); err != nil {
			return nil, err
		}
	}
	_, fatal = t.db.ExecContext(ctx, "RELEASE apart")
	return err, fatal
}

// pgConn runs the derived statements on PostgreSQL.
type pgConn struct {
	db interface {
		QueryContext(context.Context, string, ...any) (*sql.Rows, error)
		QueryRowContext(context.Context, string, ...any) *sql.Row
		ExecContext(context.Context, string, ...any) (sql.Result, error)
	}
	hat int64
}

var derivations sync.Map

func (c pgConn) derive(statement string, args []any) (string, []any, error) {
	derived, ok := derivations.Load(statement)
	if !ok {
		text, err := dialect.Postgres(statement)
		if err != nil {
			return "", nil, err
		}
		derived, _ = derivations.LoadOrStore(statement, text)
	}
	return derived.(string), append([]any{c.hat}, args...), nil
}

func (c pgConn) Get(ctx context.Context, query string, args []any, into ...any) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	query, args, err := c.derive(query, args)
	if err != nil {
		return err
	}
	return taken(c.db.QueryRowContext(context.WithoutCancel(ctx), query, args...).Scan(into...))
}

func (c pgConn) Each(ctx context.Context, query string, args []any, f func(scan func(...any) error) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	query, args, err := c.derive(query, args)
	if err != nil {
		return err
	}
	rows, err := c.db.QueryContext(context.WithoutCancel(ctx), query, args...)
	if err != nil {
		return taken(err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := errors.Join(ctx.Err(), f(rows.Scan)); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (c pgConn) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	query, args, err := c.derive(query, args)
	if err != nil {
		return 0, err
	}
	result, err := c.db.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, taken(err)
	}
	return result.RowsAffected()
}

func (c pgConn) Size(ctx context.Context, _ int64) (n int64, err error) {
	err = c.db.QueryRowContext(ctx, `SELECT 4096 + (SELECT coalesce(sum(octet_length(data) + 200), 0) FROM records WHERE hat = $1)
		+ (SELECT coalesce(sum(octet_length(username) + octet_length(roles) + 200), 0) FROM users WHERE hat = $1)
		+ (SELECT coalesce(sum(octet_length(body)), 0) FROM documents WHERE hat = $1)
		+ (SELECT coalesce(sum(octet_length(body)), 0) FROM receipts WHERE hat = $1)`, c.hat).Scan(&n)
	return n, err
}

func taken(err error) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "23505" {
		return fmt.Errorf("%w: %w", ledger.ErrTaken, err)
	}
	return err
}

// buffering reads all rows of a query before it returns the first, because another query may run on the
// connection meanwhile.
type buffering struct{ driver.Connector }

func (b buffering) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := b.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return bufferedConn{c.(*stdlib.Conn)}, nil
}

type bufferedConn struct{ *stdlib.Conn }

func (c bufferedConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	rows, err := c.Conn.QueryContext(ctx, query, args)
	if err != nil {
		return nil, err
	}
	all := &bufferedRows{columns: rows.Columns()}
	for {
		row := make([]driver.Value, len(all.columns))
		if err := rows.Next(row); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, errors.Join(err, rows.Close())
		}
		for i, v := range row {
			if b, ok := v.([]byte); ok {
				row[i] = bytes.Clone(b)
			}
		}
		all.rows = append(all.rows, row)
	}
	return all, rows.Close()
}

type bufferedRows struct {
	columns []string
	rows    [][]driver.Value
}

func (r *bufferedRows) Columns() []string { return r.columns }
func (r *bufferedRows) Close() error      { return nil }

func (r *bufferedRows) Next(into []driver.Value) error {
	if len(r.rows) == 0 {
		return io.EOF
	}
	copy(into, r.rows[0])
	r.rows = r.rows[1:]
	return nil
}
