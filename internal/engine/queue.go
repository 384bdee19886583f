package engine

import (
	"container/heap"
	"slices"
	"time"

	"she/internal/hat"
)

// A task is a run that could start now.
type task struct {
	hat      hat.ID
	function hat.FunctionID
	since    time.Time // when the oldest event was committed, or the request came
	request  *request  // nil: the run is because of data
}

// A queue decides which task is next. It belongs to the loop's goroutine and starts nothing itself.
//
// It is fair between HATs: the HAT with the oldest event goes first, and being served makes a HAT as young as
// that moment. So after a start work is done in order of age, and a HAT with a lot of old work takes turns
// with the others. Within a HAT requests come first, then the oldest event. A function never has two tasks at
// a time.
type queue struct {
	perHAT int // how many tasks of one HAT may be in flight
	lanes  map[hat.ID]*lane
	ready  laneHeap // lanes with a task that may start
}

// A lane is the work of one HAT.
type lane struct {
	hat      hat.ID
	tasks    []task                  // in order
	inFlight map[hat.FunctionID]bool // true: because of a request
	served   time.Time
	place    int // index in the heap; -1: not in it
}

func newQueue(perHAT int) *queue {
	return &queue{perHAT: perHAT, lanes: make(map[hat.ID]*lane)}
}

// add adds a task. A function has at most one task because of data, however often it was scanned. Scans can
// overtake each other; an outdated one costs a claim that finds nothing to do.
func (q *queue) add(t task) {
	l := q.lane(t.hat)
	if t.request == nil && slices.ContainsFunc(l.tasks, func(o task) bool { return o.request == nil && o.function == t.function }) {
		return
	}
	l.tasks = append(l.tasks, t)
	q.settle(l)
}

// requested reports whether a request for the function waits or runs. A second one is refused as busy. A
// request during a run because of data waits for its end.
func (q *queue) requested(id hat.ID, f hat.FunctionID) bool {
	l := q.lanes[id]
	return l != nil && (l.inFlight[f] || slices.ContainsFunc(l.tasks, func(t task) bool { return t.request != nil && t.function == f }))
}

// next removes the next task and counts it as in flight; false: nothing can start.
func (q *queue) next(now time.Time) (task, bool) {
	if len(q.ready) == 0 {
		return task{}, false
	}
	l := q.ready[0]
	i := l.startable(q.perHAT)
	t := l.tasks[i]
	l.tasks = slices.Delete(l.tasks, i, i+1)
	l.inFlight[t.function] = t.request != nil
	l.served = now
	q.settle(l)
	return t, true
}

// done ends a task that next returned.
func (q *queue) done(t task) {
	l := q.lane(t.hat)
	delete(l.inFlight, t.function)
	q.settle(l)
}

// setBack makes nothing younger than now after the clock was set back. Otherwise a lane that was served at a
// time that lies ahead now would wait for all others until then.
func (q *queue) setBack(now time.Time) {
	for _, l := range q.lanes {
		if l.served.After(now) {
			l.served = now
		}
		for i := range l.tasks {
			if l.tasks[i].since.After(now) {
				l.tasks[i].since = now
			}
		}
	}
	heap.Init(&q.ready)
}

// drain removes and returns every request, for the stop.
func (q *queue) drain() (requests []*request) {
	for _, l := range q.lanes {
		for _, t := range l.tasks {
			if t.request != nil {
				requests = append(requests, t.request)
			}
		}
	}
	q.lanes, q.ready = make(map[hat.ID]*lane), nil
	return requests
}

func (q *queue) lane(id hat.ID) *lane {
	l := q.lanes[id]
	if l == nil {
		l = &lane{hat: id, inFlight: make(map[hat.FunctionID]bool), place: -1}
		q.lanes[id] = l
	}
	return l
}

// settle moves the lane after a change: into the heap, out of it, or out of memory.
func (q *queue) settle(l *lane) {
	slices.SortStableFunc(l.tasks, func(a, b task) int {
		if (a.request == nil) != (b.request == nil) {
			if a.request != nil {
				return -1
			}
			return 1
		}
		return a.since.Compare(b.since)
	})
	switch can := l.startable(q.perHAT) >= 0; {
	case can && l.place < 0:
		heap.Push(&q.ready, l)
	case can:
		heap.Fix(&q.ready, l.place)
	case l.place >= 0:
		heap.Remove(&q.ready, l.place)
	}
	if len(l.tasks) == 0 && len(l.inFlight) == 0 {
		delete(q.lanes, l.hat)
	}
}

// startable returns the index of the first task that may start, or -1.
func (l *lane) startable(perHAT int) int {
	if len(l.inFlight) >= perHAT {
		return -1
	}
	return slices.IndexFunc(l.tasks, func(t task) bool {
		_, running := l.inFlight[t.function]
		return !running
	})
}

// age orders lanes: by the oldest event that could be served now, but not before the lane was last served.
func (l *lane) age() time.Time {
	oldest := l.tasks[0].since
	for _, t := range l.tasks[1:] {
		if t.since.Before(oldest) {
			oldest = t.since
		}
	}
	if l.served.After(oldest) {
		return l.served
	}
	return oldest
}

type laneHeap []*lane

func (h laneHeap) Len() int           { return len(h) }
func (h laneHeap) Less(i, j int) bool { return h[i].age().Before(h[j].age()) }
func (h laneHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}
func (h *laneHeap) Push(x any) {
	l := x.(*lane)
	l.place = len(*h)
	*h = append(*h, l)
}
func (h *laneHeap) Pop() any {
	l := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	l.place = -1
	return l
}
