package sqlite

import (
	"context"
	"fmt"
	"time"

	"she/internal/access"
	"she/internal/hat"
	"she/internal/plan"
	"she/internal/vault"
)

// growth is what a transaction means for how much the HAT holds.
type growth int

const (
	notAtAll growth = iota // it erases, ends or disables, or takes no room worth counting: it is always let through
	traces                 // a trace of what somebody did or was shown; bounded by plan.Storage.Beyond
	fully                  // the HAT holds more afterwards; bounded by plan.Storage
)

// smallChange is by how many bytes a stored document or user may grow and still not count: an answer to terms, a date
// or a flag. So what is agreed can be withdrawn in a HAT that is full.
const smallChange = 256

// smallGrowth is smallChange for documents with answers to terms and dates of logins, of which there is a bounded number. What
// the caller writes for itself grows again and again, by a little each time.
func smallGrowth(k vault.DocumentKind) int {
	switch k {
	case vault.Debits, vault.Setups, vault.Logins:
		return smallChange
	}
	return 0
}

// fits answers a *vault.QuotaError if the transaction makes the HAT hold more than it may.
func (t *tx) fits() error {
	if t.grows == notAtAll {
		return nil
	}
	if t.v.reserve.givenUp() {
		return fmt.Errorf("%w: what is left is kept for erasing", vault.ErrFull)
	}
	if err := t.fitsEndpoints(); err != nil {
		return err
	}
	limit := t.v.holds(t.v.id)
	if limit == (plan.Storage{}) {
		return nil
	}
	if t.grows == traces {
		limit = limit.Beyond()
	}
	held, err := t.holding(limit.Bytes)
	if err != nil {
		return err
	}
	if fault := limit.Over(held); fault != nil {
		return &vault.QuotaError{Fault: fault}
	}
	return nil
}

// fitsEndpoints answers a *vault.QuotaError if a record is stored where none was, and the HAT has records at more endpoints
// than it may. Names that hold none any more stay in the table, for the log names them: they don't count.
func (t *tx) fitsEndpoints() error {
	if !t.opened {
		return nil
	}
	// Counting all names is quick, and enough nearly always.
	fault, err := t.overEndpoints("")
	if err == nil && fault != nil {
		fault, err = t.overEndpoints(" WHERE EXISTS (SELECT 1 FROM records WHERE endpoint = endpoints.n)")
	}
	if err == nil && fault != nil {
		err = &vault.QuotaError{Fault: fault}
	}
	return err
}

func (t *tx) overEndpoints(where string) (*hat.Fault, error) {
	var n int64
	err := t.get(t.ctx, "SELECT count(*) FROM endpoints"+where, nil, &n)
	return plan.OverEndpoints(n), err
}

// notFull answers a *vault.QuotaError if the HAT holds all it may: what a run would write could not be kept.
func (t *tx) notFull(now time.Time) (refused, err error) {
	limit := t.v.holds(t.v.id)
	if limit == (plan.Storage{}) {
		return nil, nil
	}
	held, err := t.holding(limit.Bytes)
	if err != nil {
		return nil, err
	}
	if fault := limit.Full(held); fault != nil {
		return &vault.QuotaError{Fault: fault, Until: now.Add(plan.StoragePause)}, nil
	}
	return nil, nil
}

// holding is what the HAT holds with what the transaction has done so far. Bytes may be a bound instead: what the file
// can't be larger than, where that is below enough, or the size of the file, where that is.
func (t *tx) holding(enough int64) (h plan.Held, err error) {
	h.Records = t.records
	if enough == 0 {
		return h, nil
	}
	if h.Bytes = t.v.pages * pageSize; t.counted && h.Bytes < enough {
		return h, nil
	}
	if h.Bytes, err = fileBytes(t.ctx, t.conn); err != nil {
		return h, err
	}
	if t.counted {
		t.v.pages = h.Bytes / pageSize
	}
	if h.Bytes < enough {
		return h, nil
	}
	free, err := freeBytes(t.ctx, t.conn)
	h.Bytes -= free
	return h, err
}

// SQLite parses a PRAGMA again each time it is asked, which takes longer than to insert a record. So Vault.pages bounds
// the size of the file from the last time it was asked, by what statements may have added since. Only transactions whose
// rows come from arguments are counted this way; after any other the file is asked.
const (
	unknownPages = 1 << 40
	// mostTrees is how many a row is in: its table's, and one for each index.
	mostTrees = 8
	// rowPages bounds the pages one row adds, without its texts. A tree grows by two pages at each of its levels, of which
	// SQLite allows 20, by a new root, and by a page that a text begins; twice, because a changed row is taken out and put
	// in. The rest is for the pages that auto_vacuum keeps.
	rowPages = mostTrees*2*(2*20+1+1) + 8
)

// mostPages bounds by how many pages a statement that changed so many rows has made the file larger.
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

// grew counts a statement.
func (v *Vault) grew(rows int64, args []any) {
	v.pages = min(v.pages+mostPages(rows, args), unknownPages)
}

func (t *tx) exec(ctx context.Context, query string, args ...any) (changed int64, err error) {
	changed, err = t.conn.exec(ctx, query, args...)
	t.v.grew(changed, args)
	return changed, err
}

// get counts a row: a statement with RETURNING inserts one.
func (t *tx) get(ctx context.Context, query string, args []any, into ...any) error {
	t.v.grew(1, args)
	return t.conn.get(ctx, query, args, into...)
}

// pageSize of all vaults; SQLite's own default, which no version of the schema has changed.
const pageSize = 4096

// fileBytes is the size of the file as a transaction or snapshot sees it; its log is beside it.
func fileBytes(ctx context.Context, c *conn) (n int64, err error) {
	err = c.get(ctx, "PRAGMA page_count", nil, &n)
	return n * pageSize, err
}

// freeBytes are those of the file that nothing is in.
func freeBytes(ctx context.Context, c *conn) (n int64, err error) {
	err = c.get(ctx, "PRAGMA freelist_count", nil, &n)
	return n * pageSize, err
}

// Storage: see vault.Records.
func (v *Vault) Storage(ctx context.Context, c access.Caller) (h plan.Held, limit plan.Storage, err error) {
	if err := c.Check(access.SeeStorage()); err != nil {
		return h, limit, err
	}
	err = v.read(ctx, func(conn *conn) error {
		if err := conn.get(ctx, "SELECT records FROM hat", nil, &h.Records); err != nil {
			return err
		}
		if h.Bytes, err = fileBytes(ctx, conn); err != nil {
			return err
		}
		free, err := freeBytes(ctx, conn)
		h.Bytes -= free
		return err
	})
	return h, v.holds(v.id), err
}

// roomAgain ends the pauses of work that waits for room.
func (t *tx) roomAgain() error {
	for _, table := range []string{"pending", "ranges"} {
		_, err := t.exec(t.ctx, "UPDATE "+table+` SET not_before = ?1 WHERE not_before > ?1 AND NOT parked AND
			json_extract(fault, '$.code') IN (?2, ?3, ?4)`, t.now.UnixMicro(), plan.CodeBytes, plan.CodeStored, plan.CodeEndpoints)
		if err != nil {
			return err
		}
	}
	return nil
}
