// Package engine is the loop that plans, asks, queries, runs, checks and commits what is due. It sequences
// and decides nothing. access and the vault decide who may run; plan, what a run covers; contract and bundle,
// what was asked and answered; the vault, what is stored.
//
// It promises that every HAT with due work is scanned, at start and after each Wake; that one HAT's work does
// not delay another's; and that a run's outcome is in the vault before anybody learns it. It does not promise
// that a function runs only once for an event. That its records are stored once is the vault's promise.
//
// DESIGN.md beside this file says how, and what happens if we stop at any point.
package engine

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"she/internal/access"
	"she/internal/bundle"
	"she/internal/catalog"
	"she/internal/contract"
	"she/internal/hat"
	"she/internal/invoke"
	"she/internal/plan"
	"she/internal/vault"
)

// Vaults opens the vault of each HAT. Both methods may be called concurrently.
type Vaults interface {
	// HATs lists the ids of all HATs.
	HATs(ctx context.Context) ([]hat.ID, error)
	// Open returns one HAT's vault, usable until release is called. It may wait for a free slot.
	Open(ctx context.Context, hatID hat.ID) (v Vault, release func(), err error)
}

// A Vault is what the engine needs of a HAT's vault. Package ledger documents the methods.
type Vault interface {
	Waiting
	Work
}

// Waiting says what is pending at a HAT.
type Waiting interface {
	Due(ctx context.Context) ([]vault.Due, error)
	EndPauses(ctx context.Context, would func(access.Grant) (hat.Version, string, bool)) (some bool, err error)
	Parked(ctx context.Context) (parked, stalled int, err error)
	Function(ctx context.Context, c access.Caller, f hat.FunctionID) (vault.FunctionState, error)
}

// Work is one run, from claim to end.
type Work interface {
	Claim(ctx context.Context, c vault.Claim) (plan.Plan, error)
	Owner(ctx context.Context) (vault.User, error)
	Read(ctx context.Context, c access.Caller, f func(src bundle.Source, upto hat.Seq) error) error
	Commit(ctx context.Context, p plan.Plan, out vault.Output) (vault.Committed, error)
	Fail(ctx context.Context, p plan.Plan, out vault.Output, f *hat.Fault) error
	Abandon(ctx context.Context, p plan.Plan) error
}

// An Invoker passes bytes to a fresh instance of a function and back, and leaves nothing behind. An error is
// an *invoke.Failure, or ctx's own if that ended first. The answer's log and timing are valid even with an
// error.
type Invoker interface {
	Invoke(ctx context.Context, r invoke.Request) (invoke.Answer, error)
	// Init starts an instance up to its first event, without an event.
	Init(ctx context.Context, r invoke.Request) (invoke.Answer, error)
}

// Errors of Trigger and GrantFor that callers may branch on. A *FailedError is another.
var (
	ErrFunctionNotFound = errors.New("no such function")
	ErrNotAvailable     = errors.New("function is not available")
	ErrNotEnabled       = errors.New("function is not enabled")
	ErrBusy             = errors.New("function is running already")
	ErrStopped          = errors.New("engine has stopped")
)

// A FailedError says that a run did not commit. The vault keeps the run with its fault and log.
type FailedError struct {
	Run   hat.RunID // zero if it failed before it could be claimed
	Fault *hat.Fault
}

func (e *FailedError) Error() string { return fmt.Sprintf("run %s: %s", e.Run, e.Fault) }
func (e *FailedError) Unwrap() error { return e.Fault }

// Options of an Engine. Zero values have the defaults named in the comments.
type Options struct {
	Vaults  Vaults
	Invoker Invoker
	// Functions are the installed functions. If an id comes more than once, the last is the current version;
	// the others still run for Owners who have granted them and not yet agreed to the current one. A function
	// with a Manifest is available at once. Run asks the others for their configuration.
	Functions []catalog.Function
	Keep      func([]catalog.Function) error // stores what is known of all versions for the next start; nil: not stored
	Waits     Waits                          // which HATs waited before the last stop; nil: not stored
	Log       *slog.Logger                   // gets ids, codes, counts and durations, never the words or data of a function

	Now      func() time.Time // time.Now
	Parallel int              // runs at once, at best as many as the Invoker has slots: 8
	PerHAT   int              // of these, for one HAT: 4
	Tick     time.Duration    // time between scans of every HAT, for lost wake-ups: 5 minutes
	Grace    time.Duration    // how long runs in flight may go on after a stop: 10 seconds
	// Quota bounds what a function may do at a HAT in a day; zero: no bound.
	Quota plan.Quota
	// Proposed, if not nil, is called with what the current version of a function asks for, before anybody
	// can see it or agree to it.
	Proposed func(access.Grant)
	// Shares are the slots for long evaluations; nil: the engine makes its own.
	Shares *Shares
	// Memory is what runs may hold beyond RunHold; nil: no bound.
	Memory *Budget
	// Slack is what a run may take beyond the time limits of its function: to wait for a sandbox, start it,
	// read and save. After that the lease lapses and the run is given up: 2 minutes.
	Slack time.Duration
}

// An Engine runs functions over HATs. All methods may be called concurrently.
type Engine struct {
	vaults   Vaults
	invoker  Invoker
	registry *registry
	log      *slog.Logger
	now      func() time.Time
	parallel int
	perHAT   int
	tick     time.Duration
	grace    time.Duration
	slack    time.Duration
	quota    plan.Quota
	memory   *Budget
	kept     Waits
	keep     func([]catalog.Function) error
	keeping  sync.Mutex  // held while Keep is called
	unkept   atomic.Bool // a run has ended since the last Keep
	proposed func(access.Grant)
	shares   *Shares
	tenant   [32]byte // key of tenant tokens: random, so that they mean nothing outside this process

	mu    sync.Mutex
	woken map[hat.ID]bool // HATs to scan
	bell  chan struct{}   // one-slot channel: woken is not empty

	requests chan *request
	asked    chan chan Stats
	watchers watchers
	flights  flights
	unended  unended
	atWork   atomic.Bool   // Run is working and was not told to stop
	ended    chan struct{} // closed when Run has returned
}

// A request is a caller that waits for a run.
type request struct {
	hat      hat.ID
	function hat.FunctionID
	by       access.Caller
	useAll   bool
	asked    time.Time
	outcome  chan error // one-slot channel, so that nobody waits for a client that has gone
}

// New makes an Engine; Run starts it.
func New(o Options) *Engine {
	e := &Engine{
		vaults: o.Vaults, invoker: o.Invoker, registry: newRegistry(o.Functions), log: o.Log, now: o.Now,
		parallel: orDefault(o.Parallel, 8), perHAT: orDefault(o.PerHAT, 4),
		tick: orDefault(o.Tick, 5*time.Minute), grace: orDefault(o.Grace, 10*time.Second), slack: orDefault(o.Slack, 2*time.Minute),
		quota: o.Quota, memory: o.Memory, kept: o.Waits, keep: o.Keep, proposed: o.Proposed, shares: o.Shares,
		woken: make(map[hat.ID]bool), bell: make(chan struct{}, 1),
		requests: make(chan *request), asked: make(chan chan Stats), ended: make(chan struct{}),
	}
	if e.now == nil {
		e.now = time.Now
	}
	if e.shares == nil {
		e.shares = NewShares(0)
	}
	_, _ = rand.Read(e.tenant[:]) // can't fail
	for _, f := range e.Functions() {
		if f.Available() {
			e.propose(f)
		}
	}
	return e
}

func orDefault[T int | time.Duration](v, otherwise T) T {
	if v <= 0 {
		return otherwise
	}
	return v
}

// Wake says that the HAT may have due work. It returns at once and passes no data. If it is lost, for example
// in a crash, the work waits until the next tick or start.
func (e *Engine) Wake(hatID hat.ID) {
	e.mu.Lock()
	e.woken[hatID] = true
	e.mu.Unlock()
	e.watchers.ring(hatID) // a stopped chain is stored as a refused run
	select {
	case e.bell <- struct{}{}:
	default: // it is signalled already
	}
}

func (e *Engine) takeWoken() map[hat.ID]bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	woken := e.woken
	e.woken = make(map[hat.ID]bool)
	return woken
}

// Trigger runs one function of a HAT now and returns when the run has ended; nil means that its records are
// durable. With useAll it runs over all data, not only new data. If ctx ends first, Trigger returns its error
// and the run goes on. ErrFunctionNotFound, ErrNotAvailable, ErrNotEnabled, ErrBusy, ErrStopped,
// access.ErrDenied, ErrWithdrawn and ErrRevoked, *FailedError.
func (e *Engine) Trigger(ctx context.Context, hatID hat.ID, c access.Caller, f hat.FunctionID, useAll bool) error {
	if err := c.Check(access.TriggerFunction(f)); err != nil {
		return err
	}
	if err := e.untilAnswered(ctx, f); err != nil {
		return err
	}
	if _, ok := e.registry.runnable(f); !ok {
		return e.whyNot(ctx, hatID, c, f)
	}
	r := &request{hat: hatID, function: f, by: c, useAll: useAll, asked: e.now(), outcome: make(chan error, 1)}
	select {
	case e.requests <- r:
	case <-e.ended:
		return ErrStopped
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-r.outcome:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// untilAnswered waits until a function has answered since the start, if it could run before the last stop and
// is shown as such.
func (e *Engine) untilAnswered(ctx context.Context, f hat.FunctionID) error {
	for e.atWork.Load() {
		moved, waits := e.registry.lastRan(f)
		if !waits {
			return nil
		}
		select {
		case <-moved:
		case <-e.ended:
			return ErrStopped
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// whyNot distinguishes a function that can't run from one that does not exist, which is one that is neither
// installed nor was ever enabled at this HAT.
func (e *Engine) whyNot(ctx context.Context, hatID hat.ID, c access.Caller, f hat.FunctionID) error {
	if known, ok := e.registry.function(f); ok && known.Manifest != nil {
		return ErrNotAvailable
	}
	v, release, err := e.vaults.Open(ctx, hatID)
	if err != nil {
		return fmt.Errorf("open the vault of %s: %w", hatID, err)
	}
	defer release()
	switch _, err = v.Function(ctx, c, f); {
	case err == nil:
		return ErrNotAvailable
	case errors.Is(err, vault.ErrNotFound), errors.Is(err, access.ErrDenied):
		return ErrFunctionNotFound
	}
	return fmt.Errorf("read function %s: %w", f, err)
}

// Functions lists the current version of every installed function, by id, with what is known of it. Before it
// has answered since the start, that is what was last known.
func (e *Engine) Functions() []catalog.Function {
	all := e.registry.current()
	for i := range all {
		all[i] = all[i].Seen()
	}
	return all
}

// Function returns one of Functions.
func (e *Engine) Function(id hat.FunctionID) (catalog.Function, bool) {
	f, ok := e.registry.function(id)
	return f.Seen(), ok
}

// GrantFor returns what enabling the function would grant, for the Owner to read and to give: the default
// bundle of its manifest, the registered endpoint, this version and package, all data. ErrFunctionNotFound,
// ErrNotAvailable.
func (e *Engine) GrantFor(id hat.FunctionID) (access.Grant, error) {
	f, ok := e.Function(id)
	switch {
	case !ok:
		return access.Grant{}, ErrFunctionNotFound
	case !f.Available():
		return access.Grant{}, ErrNotAvailable
	}
	return e.GrantOf(f), nil
}

// GrantOf returns what enabling this function would grant. It must have a manifest.
func (e *Engine) GrantOf(f catalog.Function) access.Grant {
	return access.Grant{
		Function: f.ID, Version: f.Version, Digest: f.Digest(),
		Bundle: f.Manifest.Bundle.Normalised(), Output: f.Output, Mode: f.Mode, Equal: f.Equal,
		Trigger: f.Manifest.Trigger, InOrder: f.InOrder,
		Given: e.now().UTC(), Manifest: contract.Configuration(*f.Manifest, contract.Status{}),
	}
}

// tenantOf returns the token by which the sandbox side tells HATs apart without knowing them.
func (e *Engine) tenantOf(hatID hat.ID) string {
	return e.token(string(hatID))
}

// token returns the same text for the same name, and tells nothing of the name without e.tenant.
func (e *Engine) token(name string) string {
	sum := sha256.Sum256(append(e.tenant[:len(e.tenant):len(e.tenant)], name...))
	return hex.EncodeToString(sum[:16])
}

func invocation(f catalog.Function, entry catalog.Entry, tenant, id string, event []byte) invoke.Request {
	return invoke.Request{
		Code: invoke.Code{
			Name: entry.Name, Version: f.Version.String(), Package: entry.Package.Digest, Dir: entry.Package.Dir,
			Layers: entry.Layers.Digest, LayersDir: entry.Layers.Dir,
			Runtime: entry.Runtime, Handler: entry.Handler, MemoryMB: entry.Memory, Timeout: entry.Timeout, Env: entry.Env,
			WarmUp: warmUp(f, entry), Sample: f.SampleEvent != nil && entry.Name == f.Process.Name, NoCopies: f.NoCopies,
		},
		Tenant: invoke.Tenant(tenant), ID: id, Event: event,
	}
}

// outages are errors of the machine. No run is the cause.
var outages = []error{
	syscall.ENOSPC, syscall.EDQUOT, syscall.EIO, syscall.EROFS, syscall.ENOMEM, syscall.EMFILE, syscall.ENFILE, syscall.EAGAIN,
}

// faultOf says who must act on an error of a run. An unknown error is the engine's; its text goes to the
// server's log, not into the fault.
func faultOf(err error) *hat.Fault {
	var (
		fault   *hat.Fault
		failure *invoke.Failure
	)
	switch {
	case errors.As(err, &fault): // a *vault.QuotaError contains one too
		return fault
	case errors.As(err, &failure):
		who := hat.Engine
		switch failure.Blame {
		case invoke.Author:
			who = hat.Author
		case invoke.Operator:
			who = hat.Operator
		case invoke.Engine:
		}
		return hat.NewFault(who, failure.Code, failure.Text)
	case errors.Is(err, vault.ErrFull):
		return hat.NewFault(hat.Operator, "Vault.Full", "no room left on the disk")
	case errors.Is(err, vault.ErrMachine):
		return hat.NewFault(hat.Operator, "Vault.Unusable", "the machine could not do what the vault needs: disk, file, descriptor or memory; see the server's log")
	case errors.Is(err, vault.ErrDamaged):
		return hat.NewFault(hat.Operator, "Vault.Damaged", "the vault's file is damaged")
	case errors.Is(err, access.ErrDenied):
		return hat.NewFault(hat.Owner, "Grant.Denied", "the grant does not allow it")
	case slices.ContainsFunc(outages, func(e error) bool { return errors.Is(err, e) }):
		return hat.NewFault(hat.Operator, "Machine.Trouble", "the machine has no room, memory or descriptors left, or its disk fails; see the server's log")
	case errors.Is(err, context.DeadlineExceeded):
		return hat.NewFault(hat.Operator, "Run.OutOfTime", "the lease ran out before the run ended; the machine may be overloaded")
	}
	return hat.FaultOf(err)
}
