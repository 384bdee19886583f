package engine

import (
	"container/heap"
	"time"

	"she/internal/hat"
)

// arrivals holds HATs in order of arrival, each once.
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

// A clockWatch notices when the clock is set back.
type clockWatch struct {
	clock   time.Time // wall clock at the last call
	process time.Time // the process's monotonic clock at the last call
}

// mostBack is how far a clock may be set back, or run slow, before all HATs are scanned again.
const mostBack = time.Minute

// setBack reports whether the clock was set back since the last call.
func (w *clockWatch) setBack(clock, process time.Time) bool {
	clock = clock.Round(0) // the wall clock, without the monotonic reading
	back := !w.clock.IsZero() && clock.Sub(w.clock) < process.Sub(w.process)-mostBack
	w.clock, w.process = clock, process
	return back
}

// timers hold when to scan which HAT again: for each HAT the earliest time that was set.
type timers struct {
	at   map[hat.ID]time.Time
	heap timerHeap // may contain replaced times; at has the valid ones
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

// next returns the time of the next timer.
func (t *timers) next() (at time.Time, ok bool) {
	for len(t.heap) > 0 {
		if first := t.heap[0]; t.at[first.hat].Equal(first.at) {
			return first.at, true
		}
		heap.Pop(&t.heap)
	}
	return time.Time{}, false
}

// due removes and returns every HAT whose time has come.
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
