package engine

import (
	"container/heap"
	"time"

	"she/internal/hat"
)

// Arrivals are HATs in order of arrival, each once.
type arrivals struct {
	order []hat.ID
	in    map[hat.ID]bool
}

func (b *arrivals) add(id hat.ID) {
	if b.in[id] {
		return
	}
	if b.in == nil {
		b.in = make(map[hat.ID]bool)
	}
	b.in[id] = true
	b.order = append(b.order, id)
}

func (b *arrivals) take() (hat.ID, bool) {
	if len(b.order) == 0 {
		return "", false
	}
	id := b.order[0]
	b.order = b.order[1:]
	delete(b.in, id)
	return id, true
}

// A clockWatch tells a clock that was set back from time that passes.
type clockWatch struct {
	clock   time.Time // what the clock said
	process time.Time // the process's own, with its monotonic reading
}

// mostBack is how far a clock may be set back, or go slower than time, without anybody having to look again.
const mostBack = time.Minute

// setBack says whether the clock was set back since it was asked before.
func (w *clockWatch) setBack(clock, process time.Time) bool {
	clock = clock.Round(0) // what it says, not what has passed
	back := !w.clock.IsZero() && clock.Sub(w.clock) < process.Sub(w.process)-mostBack
	w.clock, w.process = clock, process
	return back
}

// timers say when to look at which HAT again: for each HAT the earliest time that was set.
type timers struct {
	at   map[hat.ID]time.Time
	heap timerHeap // may hold times that an earlier one has replaced; at knows
}

type timer struct {
	at  time.Time
	hat hat.ID
}

func newTimers() timers { return timers{at: make(map[hat.ID]time.Time)} }

func (t *timers) set(id hat.ID, at time.Time) {
	if old, ok := t.at[id]; ok && !at.Before(old) {
		return
	}
	t.at[id] = at
	heap.Push(&t.heap, timer{at, id})
}

// next is when something is due.
func (t *timers) next() (at time.Time, ok bool) {
	for len(t.heap) > 0 {
		if first := t.heap[0]; t.at[first.hat].Equal(first.at) {
			return first.at, true
		}
		heap.Pop(&t.heap)
	}
	return time.Time{}, false
}

// due takes out every HAT whose time has come.
func (t *timers) due(now time.Time) (ids []hat.ID) {
	for {
		at, ok := t.next()
		if !ok || at.After(now) {
			return ids
		}
		id := heap.Pop(&t.heap).(timer).hat
		delete(t.at, id)
		ids = append(ids, id)
	}
}

type timerHeap []timer

func (h timerHeap) Len() int           { return len(h) }
func (h timerHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h timerHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *timerHeap) Push(x any)        { *h = append(*h, x.(timer)) }
func (h *timerHeap) Pop() any {
	t := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return t
}
