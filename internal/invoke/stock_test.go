package invoke

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"she/internal/runtimes"
	"she/internal/sandbox"
)

// built is a mechanism whose instances are nothing but counted. What waits, and for how long, is decided by time and
// demand, and both are the test's here.
type built struct {
	takes      time.Duration // to start one
	fails      atomic.Bool   // copies can't be restored
	breaks     atomic.Int64  // how many break before their program runs
	open, made atomic.Int64
}

func (b *built) Start(ctx context.Context, _ sandbox.Program) (sandbox.Instance, sandbox.Result, error) {
	select {
	case <-time.After(b.takes):
	case <-ctx.Done():
		return nil, sandbox.Result{}, context.Cause(ctx)
	}
	b.made.Add(1)
	if b.breaks.Add(-1) >= 0 {
		return nil, sandbox.Result{}, errors.Join(sandbox.Failed(sandbox.Operator, sandbox.StartFailed, "broken"), sandbox.ErrUnused)
	}
	b.open.Add(1)
	return &counted{b: b}, sandbox.Result{}, nil
}

func (b *built) Stamp() string { return "1" }

func (b *built) Forget(string) {}

func (b *built) Files() sandbox.Files { return sandbox.Files{} }

func (b *built) Checkpoint(_ context.Context, _ sandbox.Program, _ []sandbox.Call, dir string) (sandbox.Result, error) {
	return sandbox.Result{}, errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(filepath.Join(dir, "memory"), make([]byte, 1000), 0o600))
}

func (b *built) Restore(ctx context.Context, p sandbox.Program, dir string) (sandbox.Instance, error) {
	if b.fails.Load() {
		return nil, errors.New("broken")
	}
	i, _, err := b.Start(ctx, p)
	return i, err
}

func (b *built) Sweep(context.Context) error { return nil }
func (b *built) Close() error                { return nil }

type counted struct {
	b      *built
	closed atomic.Bool
}

func (c *counted) Memory() int64 { return 100 }
func (c *counted) Run(context.Context, sandbox.Call) (sandbox.Result, error) {
	return sandbox.Result{}, nil
}
func (c *counted) Close() error {
	if !c.closed.Swap(true) {
		c.b.open.Add(-1)
	}
	return nil
}

// newStock runs a test of a stock in a bubble with its own clock, and checks in the end that nothing is left.
func newStock(t *testing.T, change func(*stock), test func(t *testing.T, s *stock, b *built)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		b := &built{takes: time.Second}
		ctx, cancel := context.WithCancel(t.Context())
		s := &stock{
			budget: 1000, most: 5, idle: time.Minute, makers: &makers{processors: 4, busy: func() int { return 0 }}, ctx: ctx, functions: map[string]*function{},
		}
		if change != nil {
			change(s)
		}
		s.work.Go(s.tend)
		test(t, s, b)
		cancel()
		if err := s.close(); err != nil {
			t.Error(err)
		}
		if left := b.open.Load(); left != 0 || s.held != 0 {
			t.Errorf("%d instances and %d bytes are left", left, s.held)
		}
		for _, e := range must(os.ReadDir(dir)) {
			t.Errorf("%s is left", e.Name())
		}
	})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func (s *stock) call(b *built, name string) *function {
	f := s.find(Code{Name: name, Package: name}, sandbox.Program{}, b, runtimes.Runtime{}, "")
	if i, start, _ := s.obtain(context.Background(), f); i != nil {
		_ = i.Close()
	} else {
		s.count(f, start)
	}
	s.replenish(f)
	return f
}

func wantWaiting(t *testing.T, s *stock, f *function, want int) {
	t.Helper()
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(f.waiting) != want {
		t.Errorf("%d of %s wait, want %d", len(f.waiting), f.name, want)
	}
}

func TestSandboxThatBreaksIsStartedOnceMore(t *testing.T) {
	for breaks, want := range map[int64]struct{ made, fallbacks int64 }{0: {1, 0}, 1: {2, 1}, 2: {2, 1}} {
		newStock(t, nil, func(t *testing.T, s *stock, b *built) {
			b.breaks.Store(breaks)
			f := s.find(Code{Name: "f", Package: "f"}, sandbox.Program{}, b, runtimes.Runtime{}, "")
			i, _, err := s.start(t.Context(), f, sandbox.Program{}, b)
			if (err != nil) != (breaks == 2) || (i == nil) != (err != nil) {
				t.Errorf("%d break: %v", breaks, err)
			}
			if i != nil {
				_ = i.Close()
			}
			if b.made.Load() != want.made || f.counts.Fallbacks != want.fallbacks {
				t.Errorf("%d break: %d were made, %d fallbacks counted", breaks, b.made.Load(), f.counts.Fallbacks)
			}
		})
	}
}

func TestStockFollowsDemand(t *testing.T) {
	newStock(t, func(s *stock) { s.most = 3 }, func(t *testing.T, s *stock, b *built) {
		f := s.call(b, "a")
		time.Sleep(2 * time.Second)
		wantWaiting(t, s, f, 1)
		for range 20 { // ten calls a second, an instance takes one: the most allowed wait
			s.call(b, "a")
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(3 * time.Second)
		wantWaiting(t, s, f, 3)
		time.Sleep(50 * time.Second) // calm, but in use
		wantWaiting(t, s, f, 1)
		time.Sleep(time.Minute) // idle
		wantWaiting(t, s, f, 0)
		if stats := s.stats(); stats.WaitingBytes != 0 {
			t.Errorf("stats %+v", stats)
		}
	})
}

func TestStockKeepsItsBudget(t *testing.T) {
	newStock(t, func(s *stock) { s.budget = 250 }, func(t *testing.T, s *stock, b *built) {
		var all []*function
		for i := range 4 {
			all = append(all, s.call(b, fmt.Sprint("f", i)))
			time.Sleep(2 * time.Second)
		}
		// Two fit: those called last.
		for i, f := range all {
			wantWaiting(t, s, f, i/2)
		}
		if b.open.Load() != 2 {
			t.Errorf("%d are open", b.open.Load())
		}
		if stats := s.stats(); stats.Cold != 4 || stats.Waiting != 2 || stats.WaitingBytes != 200 {
			t.Errorf("stats %+v", stats)
		}
		s.forget("f3")
		if stats := s.stats(); stats.Cold != 4 || stats.Waiting != 1 || len(stats.Functions) != 3 {
			t.Errorf("what a forgotten function did is forgotten: %+v", stats)
		}
		synctest.Wait()
		if b.open.Load() != 1 {
			t.Errorf("after one was forgotten %d are open", b.open.Load())
		}
	})
}

func TestStockReplacesWhatIsOld(t *testing.T) {
	newStock(t, func(s *stock) { s.idle = 10 * time.Hour }, func(t *testing.T, s *stock, b *built) {
		f := s.call(b, "a")
		time.Sleep(warmAge / 2)
		wantWaiting(t, s, f, 1)
		time.Sleep(2 * time.Hour)
		wantWaiting(t, s, f, 0)
		s.call(b, "a")
		time.Sleep(2 * time.Second)
		wantWaiting(t, s, f, 1)
	})
}

func TestStockGivesUpCopyingAfterAnImageThatNeverWorked(t *testing.T) {
	dir := t.TempDir()
	newStock(t, nil, func(t *testing.T, s *stock, b *built) {
		s.images = must(openImages(b, dir, 1<<20, time.Hour))
		b.fails.Store(true)
		f := s.find(Code{Name: "a", Package: "a"}, sandbox.Program{}, b, runtimes.Runtime{Copies: true}, "")
		s.take(f)
		s.replenish(f)
		time.Sleep(3 * time.Second)
		wantWaiting(t, s, f, 1) // one that was started cold
		if one := s.stats().Functions[0]; one.NoCopies == "" || one.Fallbacks != 1 || one.ImageBytes != 0 {
			t.Errorf("stats %+v", one)
		}
	})
}

func TestImagesKeepTheirBudget(t *testing.T) {
	b := &built{}
	im := must(openImages(b, t.TempDir(), 1<<20, time.Hour))
	for i := range 4 {
		f := &function{key: fmt.Sprint("k", i)}
		if _, err := im.build(t.Context(), f); err != nil {
			t.Fatal(err)
		}
		at := time.Now().Add(time.Duration(i-10) * time.Minute)
		if err := os.Chtimes(filepath.Join(im.dir, f.key), at, at); err != nil {
			t.Fatal(err)
		}
	}
	dir, release, ok := im.use("k1") // in use now, so the youngest
	if !ok {
		t.Fatal("k1 is missing")
	}
	im.budget = 2500
	im.evict(time.Now())
	for key, want := range map[string]bool{"k0": false, "k1": true, "k2": false, "k3": true} {
		if got := im.exists(key) == nil; got != want {
			t.Errorf("%s is there: %v, want %v", key, got, want)
		}
	}
	im.remove("k1")
	if _, _, ok := im.use("k1"); ok {
		t.Error("a removed image can be used")
	}
	if _, err := os.Stat(dir); err != nil {
		t.Errorf("an image was removed under its user: %v", err)
	}
	release()
	if _, err := os.Stat(dir); err == nil {
		t.Error("a removed image is left after its last use")
	}
	im.evict(time.Now().Add(2 * time.Hour))
	if im.exists("k3") == nil {
		t.Error("an image nobody used for long is left")
	}
}

// TestFailingInitsArePutOff: code that fails in its INIT is tried less and less often, however often it is called for, and
// whoever calls gets what the last INIT said; one that succeeds ends that. A failure of the operator's puts nothing off.
func TestFailingInitsArePutOff(t *testing.T) {
	newStock(t, nil, func(t *testing.T, s *stock, b *built) {
		failing := &failsInit{built: b, failure: sandbox.Failed(Author, sandbox.ImportModuleError, "x")}
		call := func(name string) (sandbox.Result, error) {
			f := s.find(Code{Name: name, Package: name}, sandbox.Program{}, failing, runtimes.Runtime{}, "")
			i, _, _ := s.obtain(t.Context(), f)
			result, err := sandbox.Result{}, error(nil)
			if i == nil {
				i, result, err = s.start(t.Context(), f, sandbox.Program{}, failing)
			}
			if i != nil {
				_ = i.Close()
			}
			s.replenish(f)
			synctest.Wait()
			return result, err
		}
		inits := func() int64 { return failing.inits.Swap(0) }
		for range 1000 { // as many people's data, in a second
			if r, err := call("f"); err != failing.failure || string(r.Log) != "why" {
				t.Fatalf("%s, %v", r.Log, err)
			}
			time.Sleep(time.Millisecond) // of the bubble's clock
		}
		if n := inits(); n < freeFailures || n > 6 {
			t.Errorf("in a second there were %d INITs", n)
		}
		for range 3600 {
			_, _ = call("f")
			time.Sleep(time.Second)
		}
		if n := inits(); n < 30 || n > 120 {
			t.Errorf("in an hour there were %d INITs", n)
		}
		f := s.stats().Functions[0]
		if f.FailedInits < 30 || f.Inits != f.FailedInits || f.Refused < 4000 || f.InitTime == 0 {
			t.Errorf("stats %+v", f)
		}

		failing.failure = nil
		time.Sleep(2 * time.Minute)
		if _, err := call("f"); err != nil {
			t.Errorf("it is mended, and %v", err)
		}
		inits()
		failing.failure = sandbox.Failed(Operator, sandbox.StartFailed, "x")
		for range 20 {
			_, _ = call("g")
		}
		if n := inits(); n < 20 {
			t.Errorf("for a reason of the operator's %d of 20 INITs were tried", n)
		}
	})
}

type failsInit struct {
	*built
	failure *sandbox.Failure
	inits   atomic.Int64
}

func (f *failsInit) Start(ctx context.Context, p sandbox.Program) (sandbox.Instance, sandbox.Result, error) {
	f.inits.Add(1)
	if f.failure == nil {
		return f.built.Start(ctx, p)
	}
	time.Sleep(10 * time.Millisecond)
	return nil, sandbox.Result{Log: []byte("why")}, f.failure
}

// TestPauseAfterFailedInits: the first few failures are for free; then the pause doubles to a minute, is never less than nine
// times what the INIT took, and longer the more functions fail, so that together they take a tenth of a CPU.
func TestPauseAfterFailedInits(t *testing.T) {
	for _, c := range []struct {
		inRow     int
		took      time.Duration
		functions int
		want      time.Duration
	}{
		{1, time.Second, 1, 0},
		{2, 30 * time.Second, 50, 0},
		{3, time.Millisecond, 1, time.Second},
		{4, time.Millisecond, 1, 2 * time.Second},
		{8, time.Millisecond, 1, 32 * time.Second},
		{9, time.Millisecond, 1, time.Minute},
		{1 << 40, time.Millisecond, 1, time.Minute},
		{3, 10 * time.Second, 1, 90 * time.Second},
		{3, time.Second, 20, 3 * time.Minute},
		{9, 30 * time.Second, 1000, 10 * time.Minute},
	} {
		if got := pauseAfter(c.inRow, c.took, c.functions); got != c.want {
			t.Errorf("after %d failures, the last of %s, %d functions: %s, want %s", c.inRow, c.took, c.functions, got, c.want)
		}
	}
}

// lingering is a mechanism whose instances take their time: to run, and to be gone.
type lingering struct {
	starts, runs time.Duration
	gone         func() error // what removing one comes to
}

func (l *lingering) Start(context.Context, sandbox.Program) (sandbox.Instance, sandbox.Result, error) {
	time.Sleep(l.starts)
	return l, sandbox.Result{}, nil
}

func (l *lingering) Run(context.Context, sandbox.Call) (sandbox.Result, error) {
	time.Sleep(l.runs)
	return sandbox.Result{Payload: []byte("1")}, nil
}

func (l *lingering) Memory() int64               { return 0 }
func (l *lingering) Close() error                { return l.gone() }
func (l *lingering) Sweep(context.Context) error { return nil }

// lingers makes instances of a lingering; the mechanism's own end is another one's than that of its instances.
type lingers struct{ *lingering }

func (lingers) Close() error { return nil }

// onePlace runs a test of an Invoker with one place, in a bubble with its own clock.
func onePlace(t *testing.T, l *lingering, test func(v *Invoker, invoke func() (Answer, error))) {
	t.Helper()
	dir, runtimesDir := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "bootstrap"), []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		v, err := New(Config{Sandbox: lingers{l}, Runtimes: runtimesDir, MaxInstances: 1, WaitingBytes: -1})
		if err != nil {
			t.Fatal(err)
		}
		test(v, func() (Answer, error) {
			return v.Invoke(t.Context(), Request{Code: Code{Name: "f", Dir: dir, Runtime: "provided.al2023", MemoryMB: 128, Timeout: time.Minute}, Tenant: "t", ID: "i"})
		})
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestNobodyWaitsForRemoval: the answer is there as soon as the function gave it, what it took adds up to what the caller
// waited, and the next one starts when nothing of the instance is left.
func TestNobodyWaitsForRemoval(t *testing.T) {
	l := &lingering{starts: time.Second, runs: 2 * time.Second}
	onePlace(t, l, func(v *Invoker, invoke func() (Answer, error)) {
		gone := make(chan error)
		l.gone = func() error { return <-gone }
		began := time.Now()
		a, err := invoke()
		if err != nil || string(a.Payload) != "1" {
			t.Fatalf("%s, %v", a.Payload, err)
		}
		if sum, took := a.Timing.Queue+a.Timing.Sandbox+a.Timing.Run, time.Since(began); sum != took || took != 3*time.Second {
			t.Errorf("waited %v, and the figures say %v", took, sum)
		}
		if busy := v.Stats().Busy; busy != 1 {
			t.Errorf("%d are busy while one is being removed", busy)
		}
		second := make(chan Answer)
		go func() {
			a, err := invoke()
			if err != nil {
				t.Error(err)
			}
			second <- a
		}()
		time.Sleep(5 * time.Second) // on the bubble's clock
		gone <- nil
		if a := <-second; a.Timing.Queue != 5*time.Second {
			t.Errorf("it waited %v for a place that became free after 5 s", a.Timing.Queue)
		}
		gone <- nil
	})
}

// TestWhatCannotBeRemoved keeps its place, which is the operator's fault and nobody else's, and is tried again.
func TestWhatCannotBeRemoved(t *testing.T) {
	refused := 2
	l := &lingering{gone: func() error {
		if refused--; refused >= 0 {
			return errors.New("still there")
		}
		return nil
	}}
	onePlace(t, l, func(v *Invoker, invoke func() (Answer, error)) {
		if a, err := invoke(); err != nil || string(a.Payload) != "1" {
			t.Fatalf("an answer that was there: %s, %v", a.Payload, err)
		}
		synctest.Wait()
		if s := v.Stats(); s.Left != 1 || s.Busy != 1 {
			t.Errorf("%d are left, %d busy", s.Left, s.Busy)
		}
		var f *Failure
		if _, err := invoke(); !errors.As(err, &f) || f.Blame != Operator {
			t.Errorf("with no place left: %v", err)
		}
		time.Sleep(time.Minute) // on the bubble's clock
		if _, err := invoke(); err != nil {
			t.Errorf("after it is gone at last: %v", err)
		}
	})
}

// TestMakersFollowWhatIsBusy: instances for stock are made on the processors that no invocation needs, one at least.
func TestMakersFollowWhatIsBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var busy atomic.Int64
		busy.Store(3)
		m := &makers{processors: 4, busy: func() int { return int(busy.Load()) }}
		var in atomic.Int64
		leave := make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		for range 6 {
			go func() {
				if m.enter(ctx) {
					in.Add(1)
					<-leave
					in.Add(-1)
					m.leave()
				}
			}()
		}
		for _, c := range []struct{ busy, want int }{{3, 1}, {2, 2}, {0, 4}, {9, 4}} {
			busy.Store(int64(c.busy))
			m.admit()
			synctest.Wait()
			if got := int(in.Load()); got != c.want {
				t.Errorf("%d are made while %d invocations are under way, want %d", got, c.busy, c.want)
			}
		}
		leave <- struct{}{} // nobody follows as long as it is so busy
		synctest.Wait()
		if got := in.Load(); got != 3 {
			t.Errorf("%d are made", got)
		}
		cancel()
		close(leave)
		synctest.Wait()
		if m.making != 0 || len(m.waiting) != 0 {
			t.Errorf("turns are lost: %+v", m)
		}
	})
}

// TestWhoRehearses: an instance that is to wait tries an event where that saves processor time, or costs some that is idle.
func TestWhoRehearses(t *testing.T) {
	busy := 0
	newStock(t, func(s *stock) { s.makers = &makers{processors: 2, busy: func() int { return busy }} }, func(t *testing.T, s *stock, b *built) {
		for n, c := range []struct {
			tries        runtimes.Tries
			sample       bool
			idle, loaded bool
		}{
			{runtimes.Always, false, true, true},
			{runtimes.Always, true, true, true},
			{runtimes.WhenIdle, false, true, false},
			{runtimes.WhenIdle, true, true, false},
			{runtimes.Never, false, false, false},
			{runtimes.Never, true, true, false},
		} {
			code := Code{Name: "f", Package: fmt.Sprint(n), WarmUp: []byte("{}"), Sample: c.sample}
			f := s.find(code, sandbox.Program{}, b, runtimes.Runtime{Tries: c.tries}, "")
			for busy = range 4 {
				if got, want := s.rehearses(f), busy < 2 && c.idle || c.loaded; got != want {
					t.Errorf("%s, with a sample of its author's %t, %d busy of 2: rehearses %t", c.tries, c.sample, busy, got)
				}
			}
			code.WarmUp = nil
			if s.rehearses(s.find(code, sandbox.Program{}, b, runtimes.Runtime{Tries: c.tries}, "")) {
				t.Errorf("%s rehearses without an event", c.tries)
			}
		}
	})
}
