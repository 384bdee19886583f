package engine

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"she/internal/access"
	"she/internal/hat"
	"she/internal/vault"
)

const (
	// looksAtOnce bounds how many vaults are opened at once only to see whether something is due.
	looksAtOnce = 4
	// enough is how many HATs may wait with work that could start before a sweep goes on only as fast as runs end. So what
	// it has opened to look at is still open when its run begins, and nobody is passed over for ever.
	enough = 64
	// lookAgain is the pause after a vault could not be looked at.
	lookAgain = 30 * time.Second
)

// A loop is the state of Run, touched by its goroutine alone. Work goes out to goroutines and comes back through the
// channels.
type loop struct {
	*Engine
	queue   *queue
	running int

	// looks that wait, those somebody woke before those of a sweep; a HAT waits at most once in each.
	urgent, background arrivals
	looking            map[hat.ID]bool // in flight; true: and to be looked at once more
	timers             timers
	clockWatch         clockWatch
	tally              tally
	waits              waits
	freed              int // runs that ended since the sweep last looked at a HAT

	ends  chan end
	looks chan look
	lists chan []hat.ID
	wg    sync.WaitGroup
}

// A look is what one vault has to do.
type look struct {
	hat   hat.ID
	ready []task
	later time.Time // when the next of the rest is due; zero: nothing waits for time
	err   error

	blocked time.Time // the oldest event that is due for a function that can't run now; zero: none
	counted bool      // parked is known
	parked  int
	stalled int
}

// An end is a run that has ended, with a fresh look at its HAT: what it wrote may have made other functions due.
type end struct {
	task task
	look look
	err  error // for whoever asked
}

// answer tells whoever waits for the run how it ended.
func (e end) answer() {
	if e.task.request != nil {
		e.task.request.outcome <- e.err
	}
}

// Run is the engine at work, until ctx ends: then it starts nothing more, lets runs in flight end within the grace
// time, gives back the claims of the rest, and returns nil with no goroutine left.
func (e *Engine) Run(ctx context.Context) error {
	defer close(e.ended)
	e.atWork.Store(true)
	defer e.atWork.Store(false)
	l := &loop{
		Engine: e, queue: newQueue(e.perHAT), looking: make(map[hat.ID]bool), timers: newTimers(), tally: newTally(),
		waits: waits{kept: e.kept},
		ends:  make(chan end), looks: make(chan look), lists: make(chan []hat.ID),
	}
	l.startWaits()
	// Runs outlive ctx by the grace time.
	runs, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()

	l.startLoading(ctx)
	l.startSweep(ctx)
	tick := time.NewTicker(e.tick)
	defer tick.Stop()
	alarm := time.NewTimer(time.Hour)
	defer alarm.Stop()
	var keep <-chan time.Time
	if e.kept != nil || e.keep != nil {
		often := time.NewTicker(keepEvery)
		defer often.Stop()
		keep = often.C
	}
	for {
		if now := l.now(); l.clockWatch.setBack(now, time.Now()) {
			// What waits here for its time waits too long. The vaults mend what they have when they are looked at.
			l.log.Warn("the clock was set back; every HAT is looked at")
			l.timers = newTimers()
			l.queue.setBack(now)
			l.startSweep(ctx)
		}
		l.startRuns(runs)
		l.startLooks(ctx)
		l.set(alarm)
		select {
		case <-ctx.Done():
			l.watchers.close()
			l.stop(giveUp)
			return nil
		case <-e.bell:
			for id := range e.takeWoken() {
				l.urgent.add(id)
			}
		case r := <-e.requests:
			if l.queue.requested(r.hat, r.function) {
				r.outcome <- ErrBusy
			} else {
				l.queue.add(task{hat: r.hat, function: r.function, since: r.asked, request: r})
			}
		case answer := <-l.asked:
			answer <- l.stats()
		case look := <-l.looks:
			again := l.looking[look.hat]
			delete(l.looking, look.hat)
			l.take(look)
			if again {
				l.urgent.add(look.hat)
			}
		case end := <-l.ends:
			l.running--
			l.freed++
			l.tally.done(end.task)
			// First what is due now, then the end: the queue forgets a HAT that has neither, and with it that it was
			// just served.
			l.take(end.look)
			l.queue.done(end.task)
			// Last: who asks again at once must not find the run still there.
			end.answer()
		case ids := <-l.lists:
			for _, id := range l.inOrder(ids) {
				l.background.add(id)
			}
		case <-tick.C:
			l.startSweep(ctx)
		case <-keep:
			l.keepWaits(ctx, false)
			if l.unkept.Load() {
				l.wg.Go(func() { l.keepKnown(ctx) })
			}
		case <-alarm.C:
			for _, id := range l.timers.due(e.now()) {
				l.urgent.add(id)
			}
		}
	}
}

// stop ends the loop: looks stop by themselves, runs get the grace time.
func (l *loop) stop(giveUp func()) {
	l.keepWaits(context.Background(), true)
	for _, r := range l.queue.drain() {
		r.outcome <- ErrStopped
	}
	gone := make(chan struct{})
	go func() {
		l.wg.Wait()
		close(gone)
	}()
	grace := time.NewTimer(l.grace)
	defer grace.Stop()
	// Runs that end in the grace time count too.
	defer func() {
		if l.unkept.Load() {
			l.keepKnown(context.Background())
		}
	}()
	for {
		select {
		case <-grace.C:
			giveUp()
		case end := <-l.ends:
			end.answer()
		case <-l.looks:
		case <-l.lists:
		case answer := <-l.asked:
			answer <- l.stats()
		case <-gone:
			return
		}
	}
}

func (l *loop) startLoading(ctx context.Context) {
	for _, f := range l.registry.all() {
		if f.Problem != nil {
			l.tellProblem(f) // found while its package was read
		}
		if loading(f) {
			l.wg.Go(func() { l.load(ctx, f, func() { l.list(ctx) }) })
		}
	}
}

// startSweep looks at every HAT, for work whose wake-up was lost and for what an earlier life of the server left.
func (l *loop) startSweep(ctx context.Context) {
	l.wg.Go(func() { l.list(ctx) })
}

func (l *loop) list(ctx context.Context) {
	ids, err := l.vaults.HATs(ctx)
	if err != nil {
		if ctx.Err() == nil {
			l.log.Error("HATs can't be listed", "error", err)
		}
		return
	}
	l.lists <- ids
}

// startLooks opens vaults, within bounds.
func (l *loop) startLooks(ctx context.Context) {
	for len(l.looking) < looksAtOnce {
		id, urgent := l.urgent.take()
		if !urgent {
			if len(l.queue.ready) >= enough && l.freed == 0 {
				return
			}
			l.freed = 0
			var ok bool
			if id, ok = l.background.take(); !ok {
				return
			}
		}
		if _, inFlight := l.looking[id]; inFlight {
			l.looking[id] = true
			continue
		}
		l.looking[id] = false
		_, parked := l.tally.held[id]
		l.wg.Go(func() { l.looks <- l.lookAt(ctx, id, !urgent || parked) })
	}
}

// lookAt looks into the HAT's vault; with count it also counts what is parked.
func (e *Engine) lookAt(ctx context.Context, id hat.ID, count bool) look {
	v, release, err := e.vaults.Open(ctx, id)
	if err != nil {
		if errors.Is(err, vault.ErrNotFound) {
			e.unended.forget(id)
		}
		return look{hat: id, err: err}
	}
	defer release()
	l := e.lookInto(ctx, id, v)
	if count && l.err == nil {
		l.parked, l.stalled, l.err = v.Parked(ctx)
		l.counted = true
	}
	return l
}

// lookInto ends what could not be ended before, and asks the vault what is due. Functions that can't run now are left out; when one becomes available, every
// HAT is looked at again.
func (e *Engine) lookInto(ctx context.Context, id hat.ID, v Vault) look {
	settled := e.unended.settle(ctx, id, v)
	due, err := v.Due(ctx)
	if err != nil {
		return look{hat: id, err: err}
	}
	l, now := look{hat: id}, e.now()
	if slices.ContainsFunc(due, func(d vault.Due) bool { return d.At.After(now) }) {
		// Work of a HAT may have failed with a package that was replaced since.
		if some, err := v.EndPauses(ctx, e.wouldRun); err != nil {
			return look{hat: id, err: err}
		} else if some {
			if due, err = v.Due(ctx); err != nil {
				return look{hat: id, err: err}
			}
		}
	}
	if !settled {
		l.later = now.Add(lookAgain)
	}
	for _, d := range due {
		if _, ok := e.registry.runnable(d.Function); !ok {
			if !d.At.After(now) && (l.blocked.IsZero() || d.Since.Before(l.blocked)) {
				l.blocked = d.Since
			}
			continue
		}
		if !d.At.After(now) {
			l.ready = append(l.ready, task{hat: id, function: d.Function, since: d.Since})
		} else if l.later.IsZero() || d.At.Before(l.later) {
			l.later = d.At
		}
	}
	return l
}

// wouldRun is the version and the package that would run under a grant now; not ok while that is not known.
func (e *Engine) wouldRun(g access.Grant) (hat.Version, string, bool) {
	if _, runnable := e.registry.runnable(g.Function); !runnable {
		return hat.Version{}, "", false
	}
	f, fault := e.registry.fit(g)
	return f.Version, f.Digest(), fault == nil
}

// take puts what a look has found where it waits for its turn, or its time.
func (l *loop) take(look look) {
	l.tally.see(look)
	if look.err == nil || errors.Is(look.err, vault.ErrNotFound) {
		delete(l.waits.before, look.hat)
	}
	switch {
	case look.err == nil:
		for _, t := range look.ready {
			l.queue.add(t)
		}
	case errors.Is(look.err, vault.ErrNotFound):
		return // erased, with all its work
	default:
		if !errors.Is(look.err, context.Canceled) {
			l.log.Error("vault can't be worked with", "hat", look.hat, "error", look.err)
		}
		look.later = l.now().Add(lookAgain)
	}
	if !look.later.IsZero() {
		l.timers.set(look.hat, look.later)
	}
}

// startRuns starts what may start.
func (l *loop) startRuns(ctx context.Context) {
	for l.running < l.parallel {
		t, ok := l.queue.next(l.now())
		if !ok {
			return
		}
		l.running++
		l.tally.begun(t)
		l.wg.Go(func() {
			look, err := l.run(ctx, t)
			l.ends <- end{t, look, err}
		})
	}
}

// set makes the alarm ring when the next timer is due.
func (l *loop) set(alarm *time.Timer) {
	wait := time.Hour
	if at, ok := l.timers.next(); ok {
		wait = min(wait, max(0, at.Sub(l.now())))
	}
	alarm.Reset(wait)
}
