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
	// looksAtOnce bounds how many vaults are scanned at once.
	looksAtOnce = 4
	// enough is how many HATs with work that could start may wait before a sweep slows down to the speed at
	// which runs end. So a vault that was opened for its scan is still open when its run begins, and no HAT
	// is left out.
	enough = 64
	// lookAgain is the pause after a scan that failed.
	lookAgain = 30 * time.Second
)

// A loop is the state of Run, used by its goroutine only. Work goes out to goroutines and comes back through
// channels.
type loop struct {
	*Engine
	queue   *queue
	running int

	// HATs that wait for a scan: urgent ones after a wake-up, background ones of a sweep. A HAT is in each at
	// most once.
	urgent, background arrivals
	looking            map[hat.ID]bool // scans in flight; true: scan again afterwards
	timers             timers
	clockWatch         clockWatch
	tally              tally
	waits              waits
	freed              int // runs that ended since the last scan of the sweep

	ends  chan end
	looks chan look
	lists chan []hat.ID
	wg    sync.WaitGroup
}

// A look is the result of a scan: what one vault has to do.
type look struct {
	hat   hat.ID
	ready []task
	later time.Time // when other work becomes due; zero: none waits for a time
	err   error

	blocked time.Time // the oldest due event of a function that is not available; zero: none
	counted bool      // parked and stalled are valid
	parked  int
	stalled int
}

// An end is the end of a run, with a new scan of its HAT, because what the run wrote may have made other
// functions due.
type end struct {
	task task
	look look
	err  error // for the caller of Trigger
}

// answer tells the caller of Trigger how the run ended.
func (e end) answer() {
	if e.task.request != nil {
		e.task.request.outcome <- e.err
	}
}

// Run works until ctx ends. Then it starts nothing new, lets runs in flight end within the grace time, gives
// back the claims of the others, and returns nil with no goroutine left.
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
			// Times in the loop's timers are too late now. The vaults correct their own when they are
			// scanned.
			l.log.Warn("the clock was set back; every HAT is scanned")
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
			// Add new tasks before the end of this one: the queue forgets a HAT that has neither, and with it
			// when the HAT was last served.
			l.take(end.look)
			l.queue.done(end.task)
			// Answer last: a caller who asks again at once must not find the run still in flight.
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

// stop ends the loop. Scans stop by themselves; runs get the grace time.
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
			l.tellProblem(f) // found when its package was read
		}
		if loading(f) {
			l.wg.Go(func() { l.load(ctx, f, func() { l.list(ctx) }) })
		}
	}
}

// startSweep scans every HAT, for lost wake-ups and for work from before the start.
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

// startLooks starts scans, up to a bound.
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

// lookAt scans the HAT's vault. With count it also counts parked and stalled work.
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

// lookInto ends runs whose end could not be stored before, and asks the vault what is due. It leaves out
// functions that are not available; when one becomes available, every HAT is scanned again.
func (e *Engine) lookInto(ctx context.Context, id hat.ID, v Vault) look {
	settled := e.unended.settle(ctx, id, v)
	due, err := v.Due(ctx)
	if err != nil {
		return look{hat: id, err: err}
	}
	l, now := look{hat: id}, e.now()
	if slices.ContainsFunc(due, func(d vault.Due) bool { return d.At.After(now) }) {
		// Work may have failed with a package that was replaced since.
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

// wouldRun returns the version and package that would run under a grant now; ok is false while that is not
// known.
func (e *Engine) wouldRun(g access.Grant) (hat.Version, string, bool) {
	if _, runnable := e.registry.runnable(g.Function); !runnable {
		return hat.Version{}, "", false
	}
	f, fault := e.registry.fit(g)
	return f.Version, f.Digest(), fault == nil
}

// take adds the result of a scan to the queue and the timers.
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
		return // the HAT was erased
	default:
		if !errors.Is(look.err, context.Canceled) {
			l.log.Error("a vault can't be used", "hat", look.hat, "error", look.err)
		}
		look.later = l.now().Add(lookAgain)
	}
	if !look.later.IsZero() {
		l.timers.set(look.hat, look.later)
	}
}

// startRuns starts the runs that may start.
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

// set sets the alarm to the next timer.
func (l *loop) set(alarm *time.Timer) {
	wait := time.Hour
	if at, ok := l.timers.next(); ok {
		wait = min(wait, max(0, at.Sub(l.now())))
	}
	alarm.Reset(wait)
}
