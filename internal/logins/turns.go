package logins

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"she/internal/hat"
)

// A rank orders the tries that wait for a comparison; a lower rank goes first.
type rank int

const (
	Known  rank = iota // the user has logged in from there before, or has a token
	Fresh              // the address has few tries so far
	again              // the address has many tries
	nRanks = int(again) + 1
)

// A waiter waits for a slot.
type waiter struct {
	rank         rank
	HAT, address *line
	since        uint64     // the number of its arrival
	turn         chan error // buffers one value: nil gives a slot, ErrCrowded refuses
}

// A line is the waiters at one HAT, or from one address.
type line struct {
	name    string
	waiting int
	last    uint64 // its last turn; 0: none remembered
}

// turns gives a bounded number of slots to waiters. Known users go first. Then HATs and addresses take turns,
// so a long queue of one HAT or address does not delay the others.
type turns struct {
	places int // for all; known users have one more
	mu     sync.Mutex
	busy   int
	queue  []*waiter
	came   uint64           // arrivals so far
	had    uint64           // turns so far
	lines  map[string]*line // with waiters, or a bounded number that had a turn
}

const (
	maxWaiting      = 256              // in all
	MaxWaitingOfHAT = 64               // of one HAT
	maxWait         = 30 * time.Second // then the client gets an error before its own time-out
	remembered      = 1024             // turns
)

// ErrCrowded is the error of a try that found no room in the queue, had to make room for others, or waited
// too long.
var ErrCrowded = errors.New("too many passwords are being tried at once")

func newTurns(places int) *turns {
	return &turns{places: places, lines: map[string]*line{}}
}

// take waits for a slot; leave gives it back. The error is ErrCrowded or the context's.
func (t *turns) take(ctx context.Context, r rank, hatID hat.ID, address string) (leave func(), err error) {
	w := t.join(r, hatID, address)

	patience := time.NewTimer(maxWait)
	defer patience.Stop()
	select {
	case err = <-w.turn:
	case <-ctx.Done():
		err = t.withdraw(w, ctx.Err())
	case <-patience.C:
		err = t.withdraw(w, ErrCrowded)
	}
	if err != nil {
		return nil, err
	}
	return sync.OnceFunc(t.leave), nil
}

func (t *turns) join(r rank, hatID hat.ID, address string) *waiter {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.came++
	w := &waiter{
		rank:    r,
		HAT:     t.lineLocked("hat " + string(hatID)),
		address: t.lineLocked("address " + address),
		since:   t.came,
		turn:    make(chan error, 1),
	}
	t.queue = append(t.queue, w)
	t.giveLocked()
	if at := tooMany(t.queue, w); at >= 0 {
		t.removeLocked(at).turn <- ErrCrowded
	}
	return w
}

// lineLocked returns the line with this name and counts one more waiter in it.
func (t *turns) lineLocked(name string) *line {
	l := t.lines[name]
	if l == nil {
		l = &line{name: name}
		t.lines[name] = l
	}
	l.waiting++
	return l
}

// removeLocked takes a waiter out of the queue and drops lines that carry no information.
func (t *turns) removeLocked(at int) *waiter {
	w := t.queue[at]
	t.queue = slices.Delete(t.queue, at, at+1)
	for _, l := range []*line{w.HAT, w.address} {
		if l.waiting--; l.waiting == 0 && l.last == 0 {
			delete(t.lines, l.name)
		}
	}
	return w
}

// withdraw takes the waiter out of the queue. If the waiter was given a slot in the meantime, the slot goes
// to the next waiter.
func (t *turns) withdraw(w *waiter, why error) error {
	t.mu.Lock()
	at := slices.Index(t.queue, w)
	if at >= 0 {
		t.removeLocked(at)
	}
	t.mu.Unlock()
	if at < 0 && <-w.turn == nil {
		t.leave()
	}
	return why
}

func (t *turns) leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.busy--
	t.giveLocked()
}

// giveLocked gives the free slots to waiters.
func (t *turns) giveLocked() {
	for t.busy <= t.places {
		at := next(t.queue, t.had, t.busy < t.places)
		if at < 0 {
			return
		}
		t.had++
		t.busy++
		w := t.queue[at]
		w.HAT.last, w.address.last = t.had, t.had
		t.removeLocked(at)
		w.turn <- nil
	}
	if len(t.lines) > 2*maxWaiting+4*remembered {
		for name, l := range t.lines {
			if l.waiting == 0 && l.last+remembered < t.had {
				delete(t.lines, name)
			}
		}
	}
}

// fairShare is the interval of turns at which the rank does not count: every fairShare-th turn. So lower
// ranks wait, but not without end.
const fairShare = 4

// next returns the index of the waiter whose turn it is, or -1. It chooses the lowest rank, then the HAT and
// address whose last turn is the longest ago, then the earliest arrival. If forAll is false, the slot is for
// known users only.
func next(queue []*waiter, had uint64, forAll bool) int {
	byRank := !forAll || had%fairShare != fairShare-1
	best := -1
	for i, w := range queue {
		if (forAll || w.rank == Known) && (best < 0 || before(w, queue[best], byRank)) {
			best = i
		}
	}
	return best
}

func before(a, b *waiter, byRank bool) bool {
	if byRank && a.rank != b.rank {
		return a.rank < b.rank
	}
	return cmp.Or(
		cmp.Compare(max(a.HAT.last, a.address.last), max(b.HAT.last, b.address.last)),
		cmp.Compare(a.HAT.last, b.HAT.last),
		cmp.Compare(a.address.last, b.address.last),
		cmp.Compare(a.since, b.since),
	) < 0
}

// tooMany returns the index of the waiter who makes room for the newcomer, or -1 if there is room. The
// newcomer is the last in the queue. The choice is a waiter of the worst rank from the address or HAT with
// the most waiters: the newcomer itself, unless another is worse. If the newcomer's HAT exceeds its maximum,
// the choice is a waiter of that HAT.
func tooMany(queue []*waiter, newcomer *waiter) int {
	at := slices.Index(queue, newcomer)
	ofOne := newcomer.HAT.waiting > MaxWaitingOfHAT
	if at < 0 || !ofOne && len(queue) <= maxWaiting {
		return -1
	}
	load := func(w *waiter) int {
		if ofOne {
			return w.address.waiting
		}
		return max(w.HAT.waiting, w.address.waiting)
	}
	for i, w := range queue {
		if ofOne && w.HAT != newcomer.HAT {
			continue
		}
		order := cmp.Or(cmp.Compare(w.rank, queue[at].rank), cmp.Compare(load(w), load(queue[at])))
		if order > 0 || order == 0 && queue[at] != newcomer && w.since > queue[at].since {
			at = i
		}
	}
	return at
}
