package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
)

const mb = 1 << 20

func hold(t *testing.T, b *Budget, tenant string, bytes int64) *Held {
	t.Helper()
	h, err := b.Acquire(t.Context(), tenant, bytes)
	if err != nil {
		t.Fatalf("%s, %d bytes: %v", tenant, bytes, err)
	}
	return h
}

// No tenant exceeds its share: others find room, and so do small requests while large ones hold everything
// they may.
func TestBudgetIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(1600*mb, 0) // a share is 400 MB; that of strangers is 100 MB
		hold(t, b, "alice", 300*mb)
		if _, err := b.Acquire(t.Context(), "alice", 101*mb); !errors.Is(err, ErrNoMemory) {
			t.Errorf("beyond her share: %v", err)
		}
		hold(t, b, "alice", 100*mb)
		if _, err := b.Acquire(t.Context(), "alice", 401*mb); !errors.Is(err, ErrBeyondShare) {
			t.Errorf("more than any share: %v", err)
		}
		hold(t, b, "", 100*mb)
		if _, err := b.Acquire(t.Context(), "", 1); !errors.Is(err, ErrNoMemory) {
			t.Errorf("one more stranger: %v", err)
		}
		hold(t, b, "bob", 400*mb)
		hold(t, b, "carol", 400*mb)
		if _, err := b.Acquire(t.Context(), "dave", 150*mb); !errors.Is(err, ErrNoMemory) {
			t.Errorf("into what is for small requests: %v", err)
		}
		for range 100 {
			hold(t, b, "dave", smallHold)
		}
		if s := b.Stats(); s.Used != 1300*mb+100*smallHold || s.Waiting != 0 || s.Refused != 4 {
			t.Errorf("%+v", s)
		}
	})
}

// Waiting callers are served in order as soon as there is room. One that waits for its own tenant's share
// delays nobody else.
func TestBudgetServesThoseThatWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(1600*mb, 0)
		first := hold(t, b, "alice", 400*mb)
		var order []string
		var mu sync.Mutex
		wait := func(tenant string, bytes int64) {
			go func() {
				h, err := b.Acquire(t.Context(), tenant, bytes)
				mu.Lock()
				defer mu.Unlock()
				order = append(order, fmt.Sprint(tenant, " ", bytes/mb, " ", err))
				h.Release()
			}()
			synctest.Wait()
		}
		wait("alice", 300*mb)
		wait("alice", 200*mb)
		wait("bob", 10*mb) // at once
		first.Shrink(250 * mb)
		synctest.Wait() // alice's second is not served before her first
		mu.Lock()
		if fmt.Sprint(order) != "[bob 10 <nil>]" {
			t.Errorf("%q", order)
		}
		mu.Unlock()
		first.Release()
		synctest.Wait()
		if s := b.Stats(); fmt.Sprint(order) != "[bob 10 <nil> alice 300 <nil> alice 200 <nil>]" || s.Used != 0 || len(b.of) != 0 {
			t.Errorf("%q, %+v", order, s)
		}
	})
}

// Grow is served before callers that hold nothing, waits for a shorter time, and everything is given back
// together.
func TestBudgetGrows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(1600*mb, 0)
		h, other := hold(t, b, "alice", 100*mb), hold(t, b, "alice", 250*mb)
		served := make(chan string, 2)
		go func() {
			n, err := b.Acquire(t.Context(), "alice", 200*mb)
			served <- fmt.Sprint("new ", err)
			n.Release()
		}()
		synctest.Wait()
		go func() { served <- fmt.Sprint("grown ", h.Grow(t.Context(), 200*mb)) }()
		synctest.Wait()
		other.Release()
		if got := <-served; got != "grown <nil>" {
			t.Error(got)
		}
		if h.Bytes() != 300*mb {
			t.Errorf("%d bytes", h.Bytes())
		}
		h.Release()
		h.Release()
		if got := <-served; got != "new <nil>" {
			t.Error(got)
		}
		ctx, cancel := context.WithCancel(t.Context())
		hold(t, b, "bob", 400*mb)
		cancel()
		if _, err := b.Acquire(ctx, "bob", 1); !errors.Is(err, context.Canceled) {
			t.Errorf("nobody waits any more: %v", err)
		}
		if s := b.Stats(); s.Used != 400*mb || s.Waiting != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// On a small machine the largest request still fits, and no tenant can use the reserved memory.
func TestBudgetOfASmallMachine(t *testing.T) {
	b := NewBudget(160*mb, 32*mb)
	if b.share != leastShare || b.most("") != 8*mb || b.Stats().Used != 32*mb {
		t.Errorf("%d, %d, %+v", b.share, b.most(""), b.Stats())
	}
	var none *Budget
	h, err := none.Acquire(t.Context(), "alice", 1<<50)
	if err != nil || h.Grow(t.Context(), 1<<50) != nil || h.Bytes() != 0 {
		t.Error("no budget has a bound")
	}
	h.Release()
}

// Many concurrent callers never exceed the budget, and all are served.
func TestBudgetUnderLoad(t *testing.T) {
	b := NewBudget(64*mb, 0)
	var all sync.WaitGroup
	for i := range 64 {
		all.Go(func() {
			for n := range 200 {
				h, err := b.Acquire(context.Background(), fmt.Sprint(i%8), int64(1+(i*31+n*17)%(8*mb)))
				if err != nil {
					t.Error(err)
					return
				}
				if s := b.Stats(); s.Used > s.Total {
					t.Errorf("%+v", s)
				}
				h.Release()
			}
		})
	}
	all.Wait()
	if s := b.Stats(); s.Used != 0 || s.Waiting != 0 {
		t.Errorf("%+v", s)
	}
}

// Large headers that are held leave strangers, who may want to log in, their share.
func TestHeadersKeepNoStrangerOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(400<<20, 0)
		for {
			if _, err := b.Acquire(t.Context(), Headers, b.most(Headers)/4); err != nil {
				break
			}
		}
		for _, tenant := range []string{"", KnownHeaders} {
			if h, err := b.Acquire(t.Context(), tenant, 16<<10); err != nil {
				t.Errorf("%q: %v", tenant, err)
			} else {
				h.Release()
			}
		}
	})
}

func BenchmarkBudget(b *testing.B) {
	budget := NewBudget(1<<30, 0)
	for b.Loop() {
		h, err := budget.Acquire(b.Context(), "alice", 64<<10)
		if err != nil {
			b.Fatal(err)
		}
		h.Release()
	}
}
