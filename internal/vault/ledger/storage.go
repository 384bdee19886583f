package ledger

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
	if t.Reserved() {
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
	err := t.Get(t.ctx, "SELECT count(*) FROM endpoints"+where, nil, &n)
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

// holding is what the HAT holds with what the transaction has done so far. Bytes may be a bound instead where that is
// below enough.
func (t *tx) holding(enough int64) (h plan.Held, err error) {
	if h.Records = t.records; enough != 0 {
		h.Bytes, err = t.Size(t.ctx, enough)
	}
	return h, err
}

// Storage is what the HAT holds, and what it may hold. access.ErrDenied.
func (v *Vault) Storage(ctx context.Context, c access.Caller) (h plan.Held, limit plan.Storage, err error) {
	if err := c.Check(access.SeeStorage()); err != nil {
		return h, limit, err
	}
	err = v.rows.Read(ctx, func(conn Reader) error {
		if err := conn.Get(ctx, "SELECT records FROM hat", nil, &h.Records); err != nil {
			return err
		}
		h.Bytes, err = conn.Size(ctx, 0)
		return err
	})
	return h, v.holds(v.id), err
}

// roomAgain ends the pauses of work that waits for room.
func (t *tx) roomAgain() error {
	for _, table := range []string{"pending", "ranges"} {
		_, err := t.Exec(t.ctx, "UPDATE "+table+` SET not_before = ?1 WHERE not_before > ?1 AND NOT parked AND
			json_extract(fault, '$.code') IN (?2, ?3, ?4)`, t.now.UnixMicro(), plan.CodeBytes, plan.CodeStored, plan.CodeEndpoints)
		if err != nil {
			return err
		}
	}
	return nil
}
