package engine

import (
	"container/list"
	"context"
	"errors"
	"sync"
	"time"
)

// A Budget is the memory that requests and runs may hold at once, in bytes. Everything whose size others
// choose is acquired from it first: bodies, parsed data, sorts, answers that wait for their client. Each
// tenant has a share that it can't exceed: a HAT, or all strangers together, whose tenant is "". If there is
// no room, a caller waits for a moment and is then refused.
//
// The amounts are estimates: the number of bytes times what they grow to. The rest of the process's memory is
// for errors of the estimate and for garbage.
//
// A nil Budget has no bound.
type Budget struct {
	total, share, strangers int64

	mu      sync.Mutex
	used    int64
	of      map[string]int64
	waiting list.List // *memoryWaiter, in the order in which they are served
	refused int64
}

// ErrNoMemory says that others hold the memory, so trying again helps. ErrBeyondShare says that no tenant may
// ever have that much.
var (
	ErrNoMemory    = errors.New("no memory is free for this; try again")
	ErrBeyondShare = errors.New("this takes more memory than one HAT may have")
)

const (
	// smallHold is what a small request holds. The last eighth of the budget is for such requests, so that
	// they work beside large ones.
	smallHold = 256 << 10
	// patience is how long a caller waits that holds nothing; growPatience, one that holds memory others wait
	// for.
	patience     = 5 * time.Second
	growPatience = time.Second
	// mostWaiting is how many callers of one tenant may wait. The next is refused at once.
	mostWaiting = 100
	// leastShare is enough for the largest request.
	leastShare = 96 << 20
)

// NewBudget returns a budget of total bytes, of which reserved are held from the beginning.
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
	ready  chan struct{} // closed when the memory is granted
}

// Held is the memory of one request or run, for one goroutine at a time. A nil Held belongs to no budget.
type Held struct {
	budget *Budget
	tenant string
	bytes  int64
}

// Acquire waits for a short time until that many bytes are free for the tenant.
func (b *Budget) Acquire(ctx context.Context, tenant string, bytes int64) (*Held, error) {
	if b == nil {
		return nil, nil
	}
	if err := b.take(ctx, tenant, bytes, patience, false); err != nil {
		return nil, err
	}
	return &Held{b, tenant, bytes}, nil
}

// Grow is Acquire for a caller that holds memory already; it goes before callers that hold none. A negative
// number gives memory back.
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

// Shrink gives back all but that many bytes.
func (h *Held) Shrink(bytes int64) {
	if h != nil && h.bytes > bytes {
		h.budget.give(h.tenant, h.bytes-bytes)
		h.bytes = bytes
	}
}

// Bytes returns how much is held.
func (h *Held) Bytes() int64 {
	if h == nil {
		return 0
	}
	return h.bytes
}

// Release gives everything back. It may be called again.
func (h *Held) Release() { h.Shrink(0) }

// Headers is the tenant of large headers of connections that showed no valid token. Their part is as large as
// that of strangers' requests but separate, because otherwise somebody who sends large headers slowly could
// keep everybody from logging in. KnownHeaders is for connections that showed a valid token, whose part
// strangers can't use up.
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

// roomLocked reports whether the budget as a whole has room.
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
		return nil // granted in the last moment
	default:
	}
	b.waiting.Remove(place)
	b.refused++
	b.serveLocked() // it may have kept others from memory that is free
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

// serveLocked serves waiting callers in order. A tenant at its share delays nobody else, and a large request
// without room delays no small one.
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

// BudgetStats are the figures of a Budget.
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
