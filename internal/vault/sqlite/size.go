package sqlite

import (
	"context"

	"she/internal/vault/ledger"
)

// Asking SQLite for the size costs more than inserting a record, because it parses the PRAGMA each time. So
// file.pages is an upper bound: the last known size plus what statements may have added. Only transactions
// whose rows consist of their arguments are estimated this way. After any other the size is read.
const (
	unknownPages = 1 << 40
	// mostTrees is how many trees a row is in: that of its table, and one for each index.
	mostTrees = 8
	// rowPages bounds the pages that one row adds, without its texts. A tree grows by two pages at each of
	// its levels (SQLite allows 20), a new root, and a page where a text begins. Twice, because a changed row
	// is removed and inserted. The rest is for the pages of auto_vacuum.
	rowPages = mostTrees*2*(2*20+1+1) + 8
)

// mostPages bounds how many pages a statement that changed that many rows adds to the file.
func mostPages(rows int64, args []any) int64 {
	bytes := 0
	for _, arg := range args {
		switch arg := arg.(type) {
		case nil, bool, int, int64:
		case string:
			bytes += len(arg)
		case []byte:
			bytes += len(arg)
		default:
			return unknownPages
		}
	}
	return rows*rowPages + int64(mostTrees*bytes/(pageSize/2))
}

// grew adds a statement to the estimate.
func (f *file) grew(rows int64, args []any) {
	f.pages = min(f.pages+mostPages(rows, args), unknownPages)
}

// Exec: see ledger.Writer.
func (t *transaction) Exec(ctx context.Context, query string, args ...any) (changed int64, err error) {
	changed, err = t.conn.Exec(ctx, query, args...)
	t.f.grew(changed, args)
	return changed, err
}

// Get counts a row: a statement with RETURNING inserts one.
func (t *transaction) Get(ctx context.Context, query string, args []any, into ...any) error {
	t.f.grew(1, args)
	return t.conn.Get(ctx, query, args, into...)
}

// Size: see ledger.Reader.
func (t *transaction) Size(ctx context.Context, enough int64) (n int64, err error) {
	if n = t.f.pages * pageSize; t.counted && n < enough {
		return n, nil
	}
	if n, err = fileBytes(ctx, t.conn); err != nil {
		return n, err
	}
	if t.counted {
		t.f.pages = n / pageSize
	}
	if n < enough {
		return n, nil
	}
	free, err := freeBytes(ctx, t.conn)
	return n - free, err
}

// Size: see ledger.Reader.
func (c *conn) Size(ctx context.Context, _ int64) (int64, error) {
	n, err := fileBytes(ctx, c)
	if err != nil {
		return 0, err
	}
	free, err := freeBytes(ctx, c)
	return n - free, err
}

// pageSize of all vaults: SQLite's default, which no schema has changed.
const pageSize = 4096

// fileBytes returns the size of the file as a transaction or snapshot sees it, without the log.
func fileBytes(ctx context.Context, c ledger.Reader) (n int64, err error) {
	err = c.Get(ctx, "PRAGMA page_count", nil, &n)
	return n * pageSize, err
}

// freeBytes returns the bytes of free pages.
func freeBytes(ctx context.Context, c ledger.Reader) (n int64, err error) {
	err = c.Get(ctx, "PRAGMA freelist_count", nil, &n)
	return n * pageSize, err
}
