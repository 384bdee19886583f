package invoke

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"she/internal/runtimes"
	"she/internal/sandbox"
)

// stock keeps, for each function, instances that have done their INIT and wait for an event. It knows one rule: an
// instance leaves it once, for one run. How many wait follows demand; together they stay within a budget of
// memory; a function nobody calls has none.
type stock struct {
	images *images // nil when the mechanism can't copy or there is no place for images
	budget int64   // bytes of host memory all waiting instances may take
	most   int     // waiting instances of one function
	idle   time.Duration
	makers *makers

	ctx    context.Context
	making sync.WaitGroup // instances
	work   sync.WaitGroup // all else in the background

	mu        sync.Mutex
	functions map[string]*function
	held      int64  // bytes of what waits
	counts    Counts // of all functions, those forgotten too
}

// function is what the stock knows of one function in one configuration. The stock's lock guards it.
type function struct {
	key     string
	name    string
	version string
	program sandbox.Program // never changed
	start   sandbox.Mechanism
	pkg     string
	copies  bool        // its instances may be copied
	warm    []byte      // the event of its rehearsal, if it has one
	first   *FirstEntry // another entry of its instances
	tries   runtimes.Tries

	waiting []*warmInstance
	making  int
	used    time.Time     // last
	rate    float64       // invocations a second, a moving average
	cost    time.Duration // of making an instance, a moving average
	memory  int64         // of a waiting instance, the last one seen
	tested  bool          // its image was restored in this life of the server
	gaveUp  string        // why it is not copied
	fails   bool          // its rehearsal in an instance that is to wait: it dies of it, or takes too long
	failed  failedInit

	counts Counts
}

type warmInstance struct {
	sandbox.Instance
	warmed bool // it rehearsed, or what it is a copy of
	memory int64
	since  time.Time
}

// Counts are of one function since the server started.
type Counts struct {
	Cold      int64 // instances started for their invocation
	Restored  int64 // copied for their invocation
	Warm      int64 // taken from those that waited
	Fallbacks int64 // instances that broke before they had the event, after which the invocation got a cold start

	Inits       int64         // INITs of its code: for an invocation, for an instance that waits, for its image
	FailedInits int64         // of these, those that failed by the author's fault
	Refused     int64         // invocations answered with the failure of the last INIT, during a pause
	InitTime    time.Duration // of all INITs
	Rehearsals  int64         // in instances that wait
}

// failedInit is what a function's last INITs came to: how many failed in a row, and until when there is none. An INIT has
// the whole CPU and nobody's quota pays for it, so code that fails in it must not be tried as often as it is called for.
type failedInit struct {
	inRow  int
	until  time.Time
	result sandbox.Result // before there was data: it is nobody's
	err    error
}

// freeFailures is how many INITs in a row may fail without a pause, so that what heals by itself is seen at once.
const freeFailures = 3

// pauseAfter is how long there is no INIT of a function after so many of its own failed in a row, the last of which took so
// long, while so many functions are in that state: all of them together get at most a tenth of one CPU, until the longest
// pause is reached.
func pauseAfter(inRow int, took time.Duration, functions int) time.Duration {
	const shortest, backedOff, longest = time.Second, time.Minute, 10 * time.Minute
	if inRow < freeFailures {
		return 0
	}
	return min(longest, max(9*took*time.Duration(max(1, functions)), min(shortest<<min(inRow-freeFailures, 10), backedOff)))
}

const (
	demandWindow = 10 * time.Second // over which the rate is averaged
	warmAge      = 15 * time.Minute // after which a waiting instance is replaced
	rehearsing   = 5 * time.Second  // what the rehearsal of an instance that is to wait may take
)

// find gives the function of a Code; nil for one that has no package digest, for then nothing says that two
// invocations are of the same content.
func (s *stock) find(c Code, p sandbox.Program, m sandbox.Mechanism, r runtimes.Runtime, stamp string) *function {
	if c.Package == "" {
		return nil
	}
	key := keyOf(c, p, r.Version, stamp)
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.functions[key]
	if f != nil && (f.program.Dir != p.Dir || !slices.Equal(f.program.Binds, p.Binds)) { // the same content elsewhere; what waits may be tied to the old place
		s.dropLocked(f)
		f = nil
	}
	if f == nil {
		f = &function{key: key, program: p, start: m, name: c.Name, version: c.Version, pkg: c.Package, warm: c.WarmUp, first: c.first, tries: r.Tries, copies: r.Copies && !c.NoCopies && s.images != nil, cost: time.Second}
		if f.tries == runtimes.Never && c.Sample {
			f.tries = runtimes.WhenIdle
		}
		switch {
		case r.Name == runtimes.Wasm:
			f.gaveUp = "a module is loaded anew for each event"
		case !r.Copies:
			f.gaveUp = "its runtime does not reseed random generators in a copy"
		case c.NoCopies:
			f.gaveUp = "it is registered with copies: false"
		}
		s.functions[key] = f
	}
	return f
}

// keyOf is equal for Codes whose instances can stand for each other.
func keyOf(c Code, p sandbox.Program, runtime, stamp string) string {
	env := slices.Clone(p.Env)
	slices.Sort(env)
	b, err := json.Marshal([]any{c.Package, c.Layers, c.Name, c.Handler, runtime, stamp, env, p.Command, p.Limits, c.WarmUp, c.Sample, c.NoCopies, c.first})
	if err != nil {
		panic(err) // strings and numbers
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}

// take notes the demand and gives a waiting instance, if there is one.
func (s *stock) take(f *function) (p *warmInstance, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	f.rate = f.rateAt(now) + 1/demandWindow.Seconds()
	f.used = now
	for len(f.waiting) > 0 {
		p := f.waiting[0]
		s.removeLocked(f, 0)
		if now.Sub(p.since) > warmAge {
			s.discard(p)
			continue
		}
		s.countLocked(f, Counts{Warm: 1})
		return p, true
	}
	return nil, false
}

// obtain gives an instance of f that waited or could be copied now, and says whether it is warmed up; nil if there is
// none.
func (s *stock) obtain(ctx context.Context, f *function) (i sandbox.Instance, start Start, warmed bool) {
	if f == nil {
		return nil, Cold, false
	}
	if p, ok := s.take(f); ok {
		return p.Instance, Warm, p.warmed
	}
	if i := s.restore(ctx, f, false); i != nil {
		s.count(f, Restored)
		return i, Restored, s.images.rehearsed(f.key)
	}
	return nil, Cold, false
}

// start starts an instance for its invocation, and another one where the first broke before its program ran: nothing has
// happened then that a second could repeat.
func (s *stock) start(ctx context.Context, f *function, p sandbox.Program, m sandbox.Mechanism) (sandbox.Instance, sandbox.Result, error) {
	if failed, err := s.paused(f); err != nil {
		return nil, failed, err
	}
	began := time.Now()
	i, failed, err := m.Start(ctx, p)
	s.initEnded(f, time.Since(began), failed, err)
	if errors.Is(err, sandbox.ErrUnused) && ctx.Err() == nil {
		s.fellBack(f)
		return m.Start(ctx, p)
	}
	return i, failed, err
}

// paused gives the failure of f's last INIT while there is to be no other.
func (s *stock) paused(f *function) (sandbox.Result, error) {
	if f == nil {
		return sandbox.Result{}, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !f.pausedAt(time.Now()) {
		return sandbox.Result{}, nil
	}
	s.countLocked(f, Counts{Refused: 1})
	return f.failed.result, f.failed.err
}

func (f *function) pausedAt(now time.Time) bool { return now.Before(f.failed.until) }

// initEnded notes what an INIT took, and how it ended. A failure that is not the author's says nothing of the next one.
func (s *stock) initEnded(f *function, took time.Duration, result sandbox.Result, err error) {
	if f == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.countLocked(f, Counts{Inits: 1, InitTime: took})
	var failure *Failure
	switch {
	case err == nil:
		f.failed = failedInit{}
	case errors.As(err, &failure) && failure.Blame == Author:
		s.countLocked(f, Counts{FailedInits: 1})
		now := failedInit{inRow: f.failed.inRow + 1, result: result, err: err}
		if result.Payload == nil && result.Log == nil { // of an image; an earlier one said more
			now.result = f.failed.result
		}
		failing := 1
		for _, other := range s.functions {
			if other != f && other.failed.inRow >= freeFailures {
				failing++
			}
		}
		now.until = time.Now().Add(pauseAfter(now.inRow, took, failing))
		f.failed = now
	}
}

func (s *stock) count(f *function, start Start) {
	if f == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch start {
	case Cold:
		s.countLocked(f, Counts{Cold: 1})
	case Restored:
		s.countLocked(f, Counts{Restored: 1})
	case Warm: // take counts
	}
}

func (s *stock) countLocked(f *function, more Counts) {
	f.counts.Add(more)
	s.counts.Add(more)
}

// Add adds the counts of another function, or of later.
func (c *Counts) Add(more Counts) {
	c.Cold += more.Cold
	c.Restored += more.Restored
	c.Warm += more.Warm
	c.Fallbacks += more.Fallbacks
	c.Inits += more.Inits
	c.FailedInits += more.FailedInits
	c.Refused += more.Refused
	c.InitTime += more.InitTime
	c.Rehearsals += more.Rehearsals
}

func (s *stock) fellBack(f *function) {
	if f == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.countLocked(f, Counts{Fallbacks: 1})
}

func (f *function) rateAt(now time.Time) float64 {
	return f.rate * math.Exp(-now.Sub(f.used).Seconds()/demandWindow.Seconds())
}

// wanted is how many instances should wait: one for a function in use, and as many more as will be called for while
// one is being made.
func (s *stock) wanted(f *function, now time.Time) int {
	if f.used.IsZero() || now.Sub(f.used) > s.idle {
		return 0
	}
	return min(s.most, 1+int(2*f.rateAt(now)*f.cost.Seconds()))
}

// replenish makes instances in the background until enough wait, and the function's image if it lacks one.
func (s *stock) replenish(f *function) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.ctx.Err() == nil {
		if f.pausedAt(time.Now()) {
			return
		}
		short := len(f.waiting)+f.making < s.wanted(f, time.Now()) && s.roomLocked(f, f.memory*int64(f.making+1))
		if !short && !(f.making == 0 && s.lacksImage(f)) {
			return
		}
		f.making++
		s.making.Go(func() {
			if s.makers.enter(s.ctx) {
				defer s.makers.leave()
			}
			p := s.make(f)
			s.mu.Lock()
			defer s.mu.Unlock()
			f.making--
			if p != nil {
				s.keepLocked(f, p)
			}
		})
	}
}

func (s *stock) lacksImage(f *function) bool {
	return f.copies && f.gaveUp == "" && s.images.exists(f.key) != nil
}

// roomLocked makes room for some bytes of f, at the cost of the functions that were called less recently.
func (s *stock) roomLocked(f *function, bytes int64) bool {
	for s.held+bytes > s.budget {
		var oldest *function
		for _, other := range s.functions {
			if len(other.waiting) > 0 && other != f && (oldest == nil || other.used.Before(oldest.used)) {
				oldest = other
			}
		}
		if oldest == nil || oldest.used.After(f.used) {
			return false
		}
		p := oldest.waiting[0]
		s.removeLocked(oldest, 0)
		s.discard(p)
	}
	return true
}

// make makes one instance for stock: a copy where the function has an image or can get one.
func (s *stock) make(f *function) *warmInstance {
	for s.ctx.Err() == nil {
		i := s.restore(s.ctx, f, true)
		warmed := i != nil && s.images.rehearsed(f.key)
		if i == nil {
			if s.pauses(f) {
				return nil
			}
			began := time.Now()
			var result sandbox.Result
			var err error
			i, result, err = f.start.Start(s.ctx, f.program)
			s.initEnded(f, time.Since(began), result, err)
			if err != nil {
				return nil // the next invocation will meet the same and say so
			}
			s.took(f, time.Since(began))
		}
		r, ok := i.(sandbox.Rehearser)
		if !ok || !s.rehearses(f) {
			return &warmInstance{Instance: i, warmed: warmed}
		}
		if s.rehearse(f, r) {
			return &warmInstance{Instance: i, warmed: true}
		}
		_ = i.Close() // what could not be removed is Sweep's; the next one does not rehearse
	}
	return nil
}

// rehearse lets an instance that is to wait try what its event will need: also of a copy nothing is mapped yet. One
// that does not stand it is of no use.
func (s *stock) rehearse(f *function, i sandbox.Rehearser) bool {
	var err error
	for _, c := range f.rehearsals(rehearsing) {
		if err = i.Rehearse(s.ctx, c); err != nil {
			break
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.countLocked(f, Counts{Rehearsals: 1})
	if err == nil {
		return true
	}
	f.fails = s.ctx.Err() == nil
	return false
}

func (s *stock) pauses(f *function) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return f.pausedAt(time.Now())
}

// rehearses says whether an instance that is to wait tries an event now. Where that costs more than it saves, processors must
// be idle.
func (s *stock) rehearses(f *function) bool {
	if f.tries == runtimes.Never || f.tries == runtimes.WhenIdle && !s.makers.idle() {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return (f.warm != nil || f.first != nil && f.first.WarmUp != nil) && !f.fails
}

// rehearsals are the events that are tried, in the order in which a run would have them.
func (f *function) rehearsals(most time.Duration) (calls []sandbox.Call) {
	call := func(name string, event []byte) sandbox.Call {
		return sandbox.Call{ID: uuid.NewString(), ARN: arn(name), Deadline: time.Now().Add(most), Limit: most, Event: event}
	}
	if f.first != nil && f.first.WarmUp != nil {
		c := call(f.first.Name, f.first.WarmUp)
		c.First = true
		calls = append(calls, c)
	}
	if f.warm != nil {
		calls = append(calls, call(f.name, f.warm))
	}
	return calls
}

// restore copies an instance from the function's image; with build it makes the image first if there is none. It gives
// nil when that can't be done.
func (s *stock) restore(ctx context.Context, f *function, build bool) sandbox.Instance {
	s.mu.Lock()
	may := f.copies && f.gaveUp == ""
	s.mu.Unlock()
	if !may {
		return nil
	}
	for again := false; ; again = true {
		dir, release, ok := s.images.use(f.key)
		if !ok && build {
			reason, err := s.build(ctx, f)
			if err != nil {
				s.giveUp(ctx, f, reason)
				return nil
			}
			dir, release, ok = s.images.use(f.key)
		}
		if !ok {
			return nil
		}
		began := time.Now()
		i, err := s.images.copier.Restore(ctx, f.program, dir)
		release()
		if err == nil {
			s.took(f, time.Since(began))
			s.mu.Lock()
			f.tested = true
			s.mu.Unlock()
			return i
		}
		s.images.remove(f.key)
		stale := errors.Is(err, sandbox.ErrStale)
		if stale && build && !again {
			continue
		}
		s.mu.Lock()
		tested := f.tested
		s.countLocked(f, Counts{Fallbacks: 1})
		s.mu.Unlock()
		// One that was good a moment ago may have met a full disk or too little memory, and one that is stale the upgrade of
		// this machine: they are made again. One that never worked is not.
		if build && !tested && !stale {
			s.giveUp(ctx, f, "its image could not be restored")
		}
		return nil
	}
}

// build makes the image of f, of an INIT of its own.
func (s *stock) build(ctx context.Context, f *function) (reason string, err error) {
	began := time.Now()
	reason, err = s.images.build(ctx, f)
	if ctx.Err() == nil {
		s.initEnded(f, time.Since(began), sandbox.Result{}, err)
	}
	return reason, err
}

func (s *stock) giveUp(ctx context.Context, f *function, reason string) {
	if ctx.Err() != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	f.gaveUp = reason
}

func (s *stock) took(f *function, d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f.cost = (3*f.cost + d) / 4
}

func (s *stock) keepLocked(f *function, p *warmInstance) {
	p.memory, p.since = p.Memory(), time.Now()
	f.memory = p.memory
	if s.ctx.Err() != nil || s.functions[f.key] != f || !s.roomLocked(f, p.memory) {
		s.discard(p)
		return
	}
	s.held += p.memory
	f.waiting = append(f.waiting, p)
}

func (s *stock) removeLocked(f *function, at int) {
	s.held -= f.waiting[at].memory
	f.waiting = slices.Delete(f.waiting, at, at+1)
}

// discard closes an instance without holding up the caller.
func (s *stock) discard(p *warmInstance) {
	s.work.Go(func() { _ = p.Close() }) // what could not be removed is Sweep's
}

// tend shrinks what is not needed any more; it runs until the context ends.
func (s *stock) tend() {
	ticker := time.NewTicker(max(s.idle/8, 50*time.Millisecond))
	defer ticker.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case now := <-ticker.C:
			s.shrink(now)
			if s.images != nil {
				s.images.evict(now)
			}
		}
	}
}

func (s *stock) shrink(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, f := range s.functions {
		for len(f.waiting) > 0 && (len(f.waiting) > s.wanted(f, now) || now.Sub(f.waiting[0].since) > warmAge) {
			p := f.waiting[0]
			s.removeLocked(f, 0)
			s.discard(p)
		}
		if len(f.waiting) == 0 && f.making == 0 && now.Sub(f.used) > 24*time.Hour {
			delete(s.functions, key)
		}
	}
}

// dropLocked discards what waits of a function, and what is still being made once it is there.
func (s *stock) dropLocked(f *function) {
	for len(f.waiting) > 0 {
		p := f.waiting[0]
		s.removeLocked(f, 0)
		s.discard(p)
	}
	delete(s.functions, f.key)
}

// forget discards everything about a package.
func (s *stock) forget(pkg string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, f := range s.functions {
		if f.pkg != pkg {
			continue
		}
		s.dropLocked(f)
		if s.images != nil {
			s.images.remove(key)
			s.images.copier.Forget(f.program.Dir)
		}
	}
}

// close waits for all background work; the context has ended before.
func (s *stock) close() error {
	s.making.Wait()
	s.work.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	var problems []error
	for _, f := range s.functions {
		for _, p := range f.waiting {
			s.held -= p.memory
			problems = append(problems, p.Close())
		}
		f.waiting = nil
	}
	return errors.Join(problems...)
}

// Stats is how functions were started and what waits.
type Stats struct {
	Counts             // of all functions since the server started; they only grow
	Busy         int   // invocations under way
	Waiting      int   // instances that wait
	WaitingBytes int64 // host memory of all that waits
	Images       int   // functions with an image
	ImageBytes   int64 // of these on disk
	// Left counts instances of which something stayed on the host when they ended; it keeps its place until it is gone.
	Left      int64
	Files     sandbox.Files // what sandboxes see of this machine, ready to be mapped
	Functions []FunctionStats
}

// FunctionStats is about one function in one configuration, since the server started.
type FunctionStats struct {
	Name, Version string
	Counts
	Waiting    int
	WarmedUp   bool // its copies are made after an event without data was tried
	ImageBytes int64
	NoCopies   string // why every instance is started cold; empty if copies are made
}

// Stats is for the operator: it holds names of functions and counts.
func (v *Invoker) Stats() Stats {
	s := v.stock.stats()
	s.Left, s.Busy = v.left.Load(), v.gate.busy()
	if v.stock.images != nil {
		s.Files = v.stock.images.copier.Files()
	}
	return s
}

func (s *stock) stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := Stats{Counts: s.counts, WaitingBytes: s.held}
	for _, f := range s.functions {
		one := FunctionStats{Name: f.name, Version: f.version, Counts: f.counts, Waiting: len(f.waiting), WarmedUp: f.copies && f.gaveUp == "" && f.warm != nil, NoCopies: f.gaveUp}
		out.Waiting += one.Waiting
		if s.images != nil {
			one.ImageBytes = s.images.size(f.key)
		}
		if one.ImageBytes > 0 {
			out.Images++
			out.ImageBytes += one.ImageBytes
		}
		out.Functions = append(out.Functions, one)
	}
	slices.SortFunc(out.Functions, func(a, b FunctionStats) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Version, b.Version))
	})
	return out
}
