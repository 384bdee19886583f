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

// growth says how a transaction changes how much the HAT holds.
type growth int

const (
	notAtAll growth = iota // it erases, ends or disables, or hardly grows; always allowed
	traces                 // a trace of what a caller did or was shown; bounded by plan.Storage.Beyond
	fully                  // the HAT holds more afterwards; bounded by plan.Storage
)

// smallChange is by how many bytes a stored document or user may grow without counting: an answer to terms, a
// date, a flag. So an agreement can be withdrawn in a full HAT.
const smallChange = 256

// smallGrowth is smallChange for documents with answers to terms or dates of logins, whose number is bounded.
// It is zero for documents that a caller writes, which could grow a little each time without end.
func smallGrowth(k vault.DocumentKind) int {
	switch k {
	case vault.Debits, vault.Setups, vault.Logins:
		return smallChange
	}
	return 0
}

// fits returns a *vault.QuotaError if the transaction makes the HAT hold more than it may.
func (t *tx) fits() error {
	if t.grows == notAtAll {
		return nil
	}
	if t.Reserved() {
		return fmt.Errorf("%w: the rest is reserved for erasing", vault.ErrFull)
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

// fitsEndpoints returns a *vault.QuotaError if a record is stored at an empty endpoint and the HAT then has
// more endpoints with records than it may. Endpoints without records don't count; their names stay in the
// table because the log needs them.
func (t *tx) fitsEndpoints() error {
	if !t.opened {
		return nil
	}
	// First count all names, which is quick and almost always enough.
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

// notFull returns a *vault.QuotaError if the HAT is full, because it would have no room for the output of a
// run.
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

// holding returns how much the HAT holds, with the changes of this transaction. Bytes may be an upper bound
// if that is below enough.
func (t *tx) holding(enough int64) (h plan.Held, err error) {
	if h.Records = t.records; enough != 0 {
		h.Bytes, err = t.Size(t.ctx, enough)
	}
	return h, err
}

// Storage returns what the HAT holds and what it may hold. access.ErrDenied.
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
