package engine

import (
	"container/list"
	"context"
	"errors"
	"sync"
	"time"
)

// A Budget is the memory that requests and runs may hold at once, in bytes. Whatever somebody else sizes is acquired from
// it first: bodies, what is parsed from them, what is sorted, answers that wait for their client. Nobody has more than
// their share of it: a tenant (a HAT), or all strangers together, whose tenant is "". Who finds none waits for a moment
// and is then refused.
//
// What is held is an estimate: the bytes there are, times what they become. The rest of the process's memory is room for
// errors of the estimate and for garbage.
//
// A nil Budget has no bound.
type Budget struct {
	total, share, strangers int64

	mu      sync.Mutex
	used    int64
	of      map[string]int64
	waiting list.List // of *memoryWaiter, in the order in which they are served
	refused int64
}

// ErrNoMemory says that others hold the memory; it is worth trying again. ErrBeyondShare says that no tenant is ever given
// that much.
var (
	ErrNoMemory    = errors.New("no memory is free for this; try again")
	ErrBeyondShare = errors.New("this takes more memory than one HAT is given")
)

const (
	// smallHold is what a request without much data holds. The last eighth of the budget is for such requests, so that they
	// go on beside large ones.
	smallHold = 256 << 10
	// patience is for who holds nothing yet; growPatience for who holds memory that others wait for.
	patience     = 5 * time.Second
	growPatience = time.Second
	// mostWaiting of one tenant; the next is refused at once.
	mostWaiting = 100
	// leastShare is enough for the largest request there is.
	leastShare = 96 << 20
)

// NewBudget has total bytes, of which reserved are held from the beginning.
func NewBudget(total, reserved int64) *Budget {
	b := &Budget{total: total, used: min(reserved, total), of: map[string]int64{}}
	free := total - b.used
	b.share = max(free/4, min(leastShare, free-free/8))
	b.strangers = max(free/16, min(4<<20, free))
	return b
}

type memoryWaiter struct {
	tenant string
	bytes  int64
	ready  chan struct{} // closed when it has what it waits for
}

// Held is what one request or run has of the budget. One goroutine at a time uses it. A nil Held belongs to no budget.
type Held struct {
	budget *Budget
	tenant string
	bytes  int64
}

// Acquire waits, for a short time, until so many bytes are free for the tenant.
func (b *Budget) Acquire(ctx context.Context, tenant string, bytes int64) (*Held, error) {
	if b == nil {
		return nil, nil
	}
	if err := b.take(ctx, tenant, bytes, patience, false); err != nil {
		return nil, err
	}
	return &Held{b, tenant, bytes}, nil
}

// Grow is Acquire for who holds some already, and goes before all who hold nothing. A negative number is given back.
func (h *Held) Grow(ctx context.Context, bytes int64) error {
	if bytes < 0 {
		h.Shrink(max(0, h.Bytes()+bytes))
	}
	if h == nil || bytes <= 0 {
		return nil
	}
	if err := h.budget.take(ctx, h.tenant, bytes, growPatience, true); err != nil {
		return err
	}
	h.bytes += bytes
	return nil
}

// Shrink gives back what is held beyond so many bytes.
func (h *Held) Shrink(bytes int64) {
	if h != nil && h.bytes > bytes {
		h.budget.give(h.tenant, h.bytes-bytes)
		h.bytes = bytes
	}
}

// Bytes is what is held.
func (h *Held) Bytes() int64 {
	if h == nil {
		return 0
	}
	return h.bytes
}

// Release gives everything back. It may be called again.
func (h *Held) Release() { h.Shrink(0) }

// Headers is the tenant of headers that nobody has read yet. They have a part as large as that of strangers' requests, and
// not the same: else whoever sends large headers slowly keeps everybody from logging in. KnownHeaders is that of headers on
// connections that showed a valid token: strangers can't use up their part.
const (
	Headers      = "\x00headers"
	KnownHeaders = "\x00headers of known"
)

func (b *Budget) most(tenant string) int64 {
	if tenant == "" || tenant == Headers || tenant == KnownHeaders {
		return b.strangers
	}
	return b.share
}

// roomLocked says whether the budget, all tenants together, has room.
func (b *Budget) roomLocked(bytes int64) bool {
	total := b.total
	if bytes > smallHold {
		total -= b.total / 8
	}
	return b.used+bytes <= total
}

func (b *Budget) addLocked(tenant string, bytes int64) {
	b.used += bytes
	b.of[tenant] += bytes
}

func (b *Budget) take(ctx context.Context, tenant string, bytes int64, patience time.Duration, first bool) error {
	b.mu.Lock()
	if bytes > b.most(tenant) {
		b.refused++
		b.mu.Unlock()
		return ErrBeyondShare
	}
	// A large request does not overtake those that wait.
	if (bytes <= smallHold || b.waiting.Len() == 0) && b.of[tenant]+bytes <= b.most(tenant) && b.roomLocked(bytes) {
		b.addLocked(tenant, bytes)
		b.mu.Unlock()
		return nil
	}
	w := &memoryWaiter{tenant, bytes, make(chan struct{})}
	var place *list.Element
	switch {
	case first:
		place = b.waiting.PushFront(w)
	case b.waitingLocked(tenant) >= mostWaiting:
		b.refused++
		b.mu.Unlock()
		return ErrNoMemory
	default:
		place = b.waiting.PushBack(w)
	}
	b.serveLocked()
	b.mu.Unlock()

	timer := time.NewTimer(patience)
	defer timer.Stop()
	var err error
	select {
	case <-w.ready:
		return nil
	case <-timer.C:
		err = ErrNoMemory
	case <-ctx.Done():
		err = ctx.Err()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-w.ready:
		return nil // in the last moment
	default:
	}
	b.waiting.Remove(place)
	b.refused++
	b.serveLocked() // it may have kept others from what was free
	return err
}

func (b *Budget) waitingLocked(tenant string) (n int) {
	for e := b.waiting.Front(); e != nil; e = e.Next() {
		if e.Value.(*memoryWaiter).tenant == tenant {
			n++
		}
	}
	return n
}

func (b *Budget) give(tenant string, bytes int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used -= bytes
	if b.of[tenant] -= bytes; b.of[tenant] <= 0 {
		delete(b.of, tenant)
	}
	b.serveLocked()
}

// serveLocked gives to those that wait, in order. A tenant at its share holds up nobody else, and a large request that
// has no room no small one.
func (b *Budget) serveLocked() {
	var atShare map[string]bool
	large := true
	for e := b.waiting.Front(); e != nil; {
		w, here := e.Value.(*memoryWaiter), e
		e = e.Next()
		switch {
		case atShare[w.tenant], !large && w.bytes > smallHold:
		case b.of[w.tenant]+w.bytes > b.most(w.tenant):
			if atShare == nil {
				atShare = map[string]bool{}
			}
			atShare[w.tenant] = true
		case !b.roomLocked(w.bytes):
			if w.bytes <= smallHold {
				return
			}
			large = false
		default:
			b.addLocked(w.tenant, w.bytes)
			b.waiting.Remove(here)
			close(w.ready)
		}
	}
}

// BudgetStats is what a Budget is doing.
type BudgetStats struct {
	Total, Used int64 // bytes
	Waiting     int
	Refused     int64 // since the start
}

// Stats of a nil Budget are zero.
func (b *Budget) Stats() BudgetStats {
	if b == nil {
		return BudgetStats{}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return BudgetStats{b.total, b.used, b.waiting.Len(), b.refused}
}
