// Package invoke carries bytes to a function and back: each run gets a sandbox of its own, each event a deadline, and
// then nothing of it is left. Step 5 and 7 of the walk of a record.
//
// It knows neither records nor people. A Tenant is an opaque token that only keeps one person's many invocations from
// holding up another's.
package invoke

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"she/internal/runtimes"
	"she/internal/sandbox"
)

// Code is one function, ready to run.
type Code struct {
	Name      string // the Lambda function name
	Version   string
	Package   string // digest of the package: the same digest is the same content
	Dir       string // the package unpacked on this host, never changed and not removed while it is in use
	Layers    string // digest of what is shown at /opt; "" for nothing
	LayersDir string // that unpacked, as Dir is
	Runtime   string // as the project writes it: "python3.9", "nodejs20.x", "provided.al2023"
	Handler   string
	MemoryMB  int
	Timeout   time.Duration
	Env       map[string]string // the author's; Lambda's own variables win
	Processes int               // 0 means DefaultProcesses
	Files     int               // 0 means DefaultFiles
	TmpMB     int               // 0 means DefaultTmpMB

	// WarmUp is an event without anyone's data, such as a sample the author ships, on which the function rehearses
	// before copies of it are made and once in each instance before it waits, so that it answers sooner. It runs the
	// author's code, and the instances keep what it left in memory; nil means no rehearsal.
	WarmUp []byte
	// Sample says that the author ships WarmUp, and so wants it tried where a runtime gains nothing by it as a rule.
	Sample bool

	// NoCopies has each instance started, with an INIT of its own, instead of copied from one. What a language drew before
	// INIT and keeps for good, such as the seed of its hash tables, is then another in each.
	NoCopies bool

	first *FirstEntry // another entry that its instances serve too
}

// A FirstEntry is what differs between two entries that an instance serves in turn.
type FirstEntry struct {
	Name, Handler string
	Timeout       time.Duration
	WarmUp        []byte
}

// What a Code that says nothing gets, and the bounds of what it may say.
const (
	DefaultProcesses = 1024
	DefaultFiles     = 1024
	DefaultTmpMB     = 512
	MinMemoryMB      = 128
	MaxMemoryMB      = 3008
	MaxTimeout       = 300 * time.Second
)

// DefaultInstances is how many sandboxes may be busy at once if a Config does not say: two for each CPU.
func DefaultInstances() int { return 2 * runtime.NumCPU() }

// A Tenant stands for the person an invocation is for. It is compared, never shown.
type Tenant string

// A Request is one invocation.
type Request struct {
	Code   Code
	Tenant Tenant
	ID     string // the Lambda request id, a UUID
	Event  []byte

	// Then is what the same run will ask next. Where one instance can answer both, the Answer has a Session, and the next
	// Request is given it.
	Then    *Code
	Session *Session

	first bool // the event is for Code.first
}

// Start says how the instance came to be.
type Start string

const (
	Cold     Start = "cold"     // started for this invocation
	Restored Start = "restored" // copied from a snapshot for this invocation
	Warm     Start = "warm"     // taken from those that waited
)

// Timing is where the time went.
type Timing struct {
	Queue   time.Duration // waiting for a free place
	Sandbox time.Duration // building or copying the sandbox, INIT included
	Init    time.Duration // INIT alone, where it happened for this invocation and is known
	Run     time.Duration // from event to answer
}

// Usage is what the invocation cost.
type Usage = sandbox.Usage

// An Answer is what a function gave back. Payload and Log are Owner data.
type Answer struct {
	Payload []byte
	Log     []byte
	Start   Start
	Warmed  bool // the instance, or what it is a copy of, had tried Code.WarmUp
	Timing  Timing
	Usage   Usage
	Session *Session // the caller ends it; nil if there is none
}

// Blame says who must act to mend a Failure.
type Blame = sandbox.Blame

const (
	Author   Blame = sandbox.Author
	Operator Blame = sandbox.Operator
	Engine   Blame = sandbox.Engine
)

// A Failure is why an invocation has no answer. Code is a stable name, Lambda's where Lambda has one; Text is a line
// for people in our words. Nothing a function wrote is in it.
type Failure = sandbox.Failure

// Timedout is the Code of an invocation that took longer than it may.
const Timedout = sandbox.Timedout

// Config is what an Invoker needs.
type Config struct {
	Sandbox      sandbox.Mechanism
	Wasm         sandbox.Mechanism // for functions compiled to WebAssembly; nil refuses them
	Runtimes     string            // a directory of our own for the bootstraps; sandboxes see it read-only
	MaxInstances int               // how many sandboxes may be busy at once; 0 means two for each CPU
	Init         time.Duration     // how long INIT may take; 0 means DefaultInit
	Find         runtimes.Finder

	// Instances that wait, so that an event finds its function ready.
	Images       string        // a directory of our own for the memory images copies are made from; "" means no copies
	ImageBytes   int64         // of all images; 0 means DefaultImageBytes
	WaitingBytes int64         // host memory of all that wait; 0 means an eighth of the machine's, below 0 means none wait
	Waiting      int           // instances of one function that may wait; 0 means DefaultWaiting
	Idle         time.Duration // how long after its last call one instance of a function waits; 0 means DefaultIdle
}

// Defaults of what waits.
const (
	DefaultImageBytes = 4 << 30
	DefaultWaiting    = 16
	DefaultIdle       = 2 * time.Minute
	imageAge          = 30 * 24 * time.Hour
)

// DefaultInit is generous: a sandbox is not throttled in INIT, but the host may be busy.
const DefaultInit = 30 * time.Second

// Invoker runs functions. Its methods may be called concurrently.
type Invoker struct {
	sandbox  sandbox.Mechanism
	wasm     sandbox.Mechanism // may be nil
	runtimes string
	stamp    string // of everything ours that is in an image
	init     time.Duration
	gate     *gate
	find     runtimes.Finder
	stock    *stock

	mu    sync.Mutex
	found map[string]found // by runtime name; looking at the host costs processes

	left     atomic.Int64 // instances that could not be removed whole at once
	removing sync.WaitGroup

	closing context.Context
	close   context.CancelCauseFunc
	running sync.WaitGroup
}

type found struct {
	runtime runtimes.Runtime
	warning string
	err     error
}

// ErrClosed is what Invoke returns once Close was called.
var ErrClosed = errors.New("invoker is closed")

// New makes an Invoker and writes the bootstraps. Call Sweep before the first Invoke.
func New(c Config) (*Invoker, error) {
	if c.Sandbox == nil {
		return nil, errors.New("no sandbox mechanism given")
	}
	if err := runtimes.Install(c.Runtimes); err != nil {
		return nil, err
	}
	if c.MaxInstances <= 0 {
		c.MaxInstances = DefaultInstances()
	}
	if c.Init <= 0 {
		c.Init = DefaultInit
	}
	v := &Invoker{sandbox: c.Sandbox, wasm: c.Wasm, runtimes: c.Runtimes, init: c.Init, gate: newGate(c.MaxInstances), find: c.Find, found: map[string]found{}}
	v.closing, v.close = context.WithCancelCause(context.Background())
	v.stock = &stock{
		budget: c.WaitingBytes, most: or(c.Waiting, DefaultWaiting), idle: c.Idle,
		makers: &makers{processors: runtime.NumCPU(), busy: v.gate.busy}, ctx: v.closing, functions: map[string]*function{},
	}
	if v.stock.budget == 0 {
		v.stock.budget = machineMemory() / 8
	}
	if v.stock.idle <= 0 {
		v.stock.idle = DefaultIdle
	}
	if copier, ok := c.Sandbox.(sandbox.Copier); ok && c.Images != "" {
		if c.ImageBytes <= 0 {
			c.ImageBytes = DefaultImageBytes
		}
		var err error
		if v.stock.images, err = openImages(copier, c.Images, c.ImageBytes, imageAge); err != nil {
			return nil, fmt.Errorf("open the images of functions: %w", err)
		}
		v.stamp = copier.Stamp() + runtimes.Stamp()
	}
	v.stock.work.Go(v.stock.tend)
	return v, nil
}

// Sweep removes what an earlier life of the server left: processes, mounts, cgroups, directories. It must be over
// before the first Invoke.
func (v *Invoker) Sweep(ctx context.Context) error {
	err := v.sandbox.Sweep(ctx)
	if v.wasm != nil {
		err = errors.Join(err, v.wasm.Sweep(ctx))
	}
	if v.stock.images != nil {
		err = errors.Join(err, v.stock.images.sweep())
	}
	return err
}

// Forget discards all that waits of a package, and its images, so that its directory may be removed. Invocations under
// way keep what they have.
func (v *Invoker) Forget(pkg string) { v.stock.forget(pkg) }

// remove removes an instance beside its caller, who has its answer: nobody waits for what only proves that it is gone. Its
// place is free then, and not before, so that there are never more than may be. What can't be removed is tried again
// until it is gone, or until Close: the next Sweep is for the rest.
func (v *Invoker) remove(instance sandbox.Instance, place *spot) {
	v.removing.Go(func() {
		if instance.Close() == nil {
			v.leave(place)
			return
		}
		v.left.Add(1)
		place.lose()
		for pause := time.Second; ; pause = min(2*pause, time.Minute) {
			select {
			case <-time.After(pause):
			case <-v.closing.Done():
				return
			}
			if instance.Close() == nil {
				v.leave(place)
				return
			}
		}
	})
}

// leave gives a place back, and with it a processor to whoever makes instances.
func (v *Invoker) leave(place *spot) {
	place.leave()
	v.stock.makers.admit()
}

// Close kills every instance, waits until nothing of them is left, and closes the mechanism. Invocations under way
// end with ErrClosed.
func (v *Invoker) Close() error {
	v.mu.Lock()
	again := v.closing.Err() != nil
	v.close(ErrClosed)
	v.mu.Unlock()
	if again {
		return nil
	}
	v.running.Wait()
	v.removing.Wait()
	err := v.stock.close()
	if v.wasm != nil {
		err = errors.Join(err, v.wasm.Close())
	}
	return errors.Join(err, v.sandbox.Close())
}

// Supports says what a runtime name of a project file means on this host: what runs it, with a warning if that is
// something else than asked for. The error of a runtime that is not installed says what to install.
func (v *Invoker) Supports(name string) (resolved, warning string, err error) {
	f := v.lookUp(name)
	return f.runtime.Name, f.warning, f.err
}

func (v *Invoker) lookUp(name string) found {
	v.mu.Lock()
	defer v.mu.Unlock()
	if f, ok := v.found[name]; ok {
		return f
	}
	r, warning, err := v.find.Find(name)
	if err == nil && r.Name == runtimes.Wasm && v.wasm == nil {
		err = fmt.Errorf("%w: she-wasm is not beside she (make build)", runtimes.ErrMissing)
	}
	f := found{r, warning, err}
	if err == nil { // what is missing may be installed any moment
		v.found[name] = f
	}
	return f
}

// Invoke gives one event to a fresh instance of the function and waits for its answer. The Answer's Log and Timing
// are valid on error too, and its Payload is then the error document of the function or, if it left none, one of
// ours, in Lambda's form. Errors are *Failure, ErrClosed or ctx's; the end of ctx kills the instance at once. When Invoke
// returns the instance is being removed; until nothing of it is left on the host it counts as one that is busy.
//
// If r.Then can be answered by the same instance, that is not removed before the Session of the Answer has ended.
func (v *Invoker) Invoke(ctx context.Context, r Request) (Answer, error) {
	a, err := v.invokeIn(ctx, r)
	var f *Failure
	if a.Payload == nil && errors.As(err, &f) {
		a.Payload = f.Document(r.ID)
	}
	return a, err
}

// Init starts an instance of the function, lets it come as far as asking for its first event, and removes it: what Invoke
// would meet before there is an event. r.Event and r.ID are of no effect. The Answer and errors are as for Invoke.
func (v *Invoker) Init(ctx context.Context, r Request) (a Answer, err error) {
	ctx, leave, err := v.enter(ctx)
	if err != nil {
		return a, err
	}
	defer leave()
	p, runtime, err := v.program(r)
	if err != nil {
		return a, err
	}
	queued := time.Now()
	place, err := v.gate.enter(ctx, r.Tenant)
	a.Timing.Queue = time.Since(queued)
	if err != nil {
		return a, err
	}
	began := time.Now()
	instance, failed, err := v.stock.start(ctx, nil, p, v.mechanism(runtime))
	a.Start, a.Timing.Sandbox, a.Timing.Init = Cold, time.Since(began), failed.Init
	if err != nil {
		v.leave(place)
		a.Payload, a.Log = failed.Payload, failed.Log
		return a, err
	}
	v.remove(instance, place)
	return a, nil
}

func (v *Invoker) mechanism(r runtimes.Runtime) sandbox.Mechanism {
	if r.Name == runtimes.Wasm {
		return v.wasm
	}
	return v.sandbox
}

// invoke has an instance of its own answer.
func (v *Invoker) invoke(ctx context.Context, r Request) (a Answer, err error) {
	ctx, leave, err := v.enter(ctx)
	if err != nil {
		return a, err
	}
	defer leave()
	p, runtime, err := v.program(r)
	if err != nil {
		return a, err
	}
	queued := time.Now()
	place, err := v.gate.enter(ctx, r.Tenant)
	a.Timing.Queue = time.Since(queued)
	if err != nil {
		return a, err
	}
	instance, err := v.run(ctx, r, p, runtime, &a)
	switch {
	case instance == nil:
		v.leave(place)
	case r.first && err == nil:
		a.Session = v.hold(r, a, instance, place)
	default:
		v.remove(instance, place)
	}
	return a, err
}

// enter joins ctx with Close.
func (v *Invoker) enter(ctx context.Context) (_ context.Context, leave func(), err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closing.Err() != nil {
		return nil, nil, ErrClosed
	}
	v.running.Add(1)
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(v.closing, func() { cancel(ErrClosed) })
	return ctx, func() {
		stop()
		cancel(nil)
		v.running.Done()
	}, nil
}

// run has an instance answer, and gives it to be removed; nil if there was none.
func (v *Invoker) run(ctx context.Context, r Request, p sandbox.Program, runtime runtimes.Runtime, a *Answer) (sandbox.Instance, error) {
	mechanism := v.mechanism(runtime)
	f := v.stock.find(r.Code, p, mechanism, runtime, v.stamp)
	if f != nil {
		defer v.stock.replenish(f)
	}
	began := time.Now()
	instance, start, warmed := v.stock.obtain(ctx, f)
	a.Timing.Sandbox = time.Since(began)
	if instance != nil {
		a.Start, a.Warmed = start, warmed
		err := runOnce(ctx, instance, r, a)
		// A copy that broke before its function saw the event, or for a reason of ours, is not the function's failure.
		var failure *Failure
		if !errors.Is(err, sandbox.ErrUnused) && !(errors.As(err, &failure) && failure.Blame == Engine) {
			return instance, err
		}
		v.stock.fellBack(f)
		if instance.Close() != nil { // it and the next one have one place
			return instance, err
		}
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	began = time.Now()
	instance, failed, err := v.stock.start(ctx, f, p, mechanism)
	a.Start, a.Warmed, a.Timing.Sandbox, a.Timing.Init = Cold, false, a.Timing.Sandbox+time.Since(began), failed.Init
	v.stock.count(f, Cold)
	if err != nil {
		a.Payload, a.Log = failed.Payload, failed.Log
		return nil, err
	}
	return instance, runOnce(ctx, instance, r, a)
}

// runOnce gives an instance its event.
func runOnce(ctx context.Context, instance sandbox.Instance, r Request, a *Answer) error {
	began := time.Now()
	name, limit, call := r.Code.Name, r.Code.Timeout, sandbox.Call{ID: r.ID, Event: r.Event}
	if r.first {
		name, limit, call.First, call.Again = r.Code.first.Name, r.Code.first.Timeout, true, true
	}
	call.ARN, call.Deadline, call.Limit = arn(name), began.Add(limit), limit
	result, err := instance.Run(ctx, call)
	a.Timing.Run += time.Since(began)
	a.Payload, a.Log, a.Usage = result.Payload, result.Log, result.Usage
	return err
}
