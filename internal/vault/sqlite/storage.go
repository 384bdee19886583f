package sqlite

import (
	"context"
	"fmt"
	"time"

	"she/internal/access"
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

// fits answers a *vault.QuotaError if the transaction makes the HAT hold more than it may.
func (t *tx) fits() error {
	if t.grows == notAtAll {
		return nil
	}
	if t.v.reserve.givenUp() {
		return fmt.Errorf("%w: what is left is kept for erasing", vault.ErrFull)
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

// holding is what the HAT holds with what the transaction has done so far. Where the whole file is below enough bytes
// nobody asks how much of it is free: then Bytes is the size of the file.
func (t *tx) holding(enough int64) (h plan.Held, err error) {
	h.Records = t.records
	if h.Bytes, err = fileBytes(t.ctx, t.conn); err != nil || h.Bytes < enough || enough == 0 {
		return h, err
	}
	free, err := freeBytes(t.ctx, t.conn)
	h.Bytes -= free
	return h, err
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
			json_extract(fault, '$.code') IN (?2, ?3)`, t.now.UnixMicro(), plan.CodeBytes, plan.CodeStored)
		if err != nil {
			return err
		}
	}
	return nil
}
