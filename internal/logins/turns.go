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

// A rank is who goes first where several wait to have a password compared.
type rank int

const (
	Known  rank = iota // the user has logged in from there before, or has a token
	Fresh              // the address has hardly tried yet
	again              // it has
	nRanks = int(again) + 1
)

// A waiter waits for a place.
type waiter struct {
	rank         rank
	HAT, address *line
	since        uint64     // the number of its arrival
	turn         chan error // holds one: nil with a place, errCrowded without
}

// A line is those who wait at one HAT, or from one address.
type line struct {
	name    string
	waiting int
	last    uint64 // the turn one of them had last; 0: none that is remembered
}

// turns gives a bounded number of places to those who wait for one: who is known first, then by turns between HATs and
// addresses, so that the queue of one HAT or address lengthens nobody else's wait.
type turns struct {
	places int // for all; one more is for those who are known
	mu     sync.Mutex
	busy   int
	queue  []*waiter
	came   uint64           // how many have come
	had    uint64           // how many have had a turn
	lines  map[string]*line // those that wait, and up to a bound those that had a turn
}

const (
	maxWaiting      = 256              // in all
	MaxWaitingOfHAT = 64               // of one HAT
	maxWait         = 30 * time.Second // then a client gets a clear answer instead of a time-out of its own
	remembered      = 1024             // turns
)

// ErrCrowded is that of a try that found no room in the queue, made room for others, or waited too long.
var ErrCrowded = errors.New("too many passwords are being tried at once")

func newTurns(places int) *turns {
	return &turns{places: places, lines: map[string]*line{}}
}

// take waits for a place; leave gives it back. The error is errCrowded or the context's.
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

// lineLocked is the line of that name, with one more who waits.
func (t *turns) lineLocked(name string) *line {
	l := t.lines[name]
	if l == nil {
		l = &line{name: name}
		t.lines[name] = l
	}
	l.waiting++
	return l
}

// removeLocked takes a waiter out of the queue, and forgets lines that say nothing.
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

// withdraw takes the waiter out of the queue. It may have been given a place meanwhile; that goes to the next.
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

// giveLocked gives the places that are free.
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

// fairShare is how often the rank does not count: those of a lower rank wait for a while, never for good.
const fairShare = 4

// next is the index of the waiter whose turn it is, or -1: of the first rank, whose HAT and address had a turn least
// lately, who came first. A place that is not for all goes to somebody known only.
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

// tooMany is the index of the waiter who makes room for the newcomer, the last in the queue, or -1 if there is room. It
// is one of the last rank, from the address or HAT for which most wait: the newcomer itself, unless another is worse. If
// the newcomer's HAT has more waiting than one may, it is one of that HAT.
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
