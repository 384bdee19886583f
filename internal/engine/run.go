package engine

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"runtime/debug"
	"slices"
	"strings"
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

// Codes of faults that the engine finds.
const (
	CodeWider    = "Bundle.WiderThanGranted"
	CodeTooLarge = plan.CodeRequestTooLarge
	CodeTooMuch  = "Bundle.TooMuchToSort"
	CodeFuel     = plan.CodeTooMuchWork
	CodeTooLong  = "Bundle.TooLong"
	CodeRevoked  = "Grant.Revoked"
	CodeNoMemory = "Server.NoMemory"
	CodePanic    = "Engine.Panic"
)

// reserve is how much of the lease is kept for storing the end of a run.
const reserve = 10 * time.Second

// run makes one attempt and then scans the HAT, because what the run wrote may have made other functions due.
func (e *Engine) run(ctx context.Context, t task) (look, error) {
	v, release, err := e.vaults.Open(ctx, t.hat)
	if err != nil {
		return look{hat: t.hat, err: err}, unclaimed(ctx, err)
	}
	defer release()
	a, err := e.claim(ctx, t, v)
	var over *vault.QuotaError
	switch {
	case errors.As(err, &over):
		// The work waits. It is scanned when the day is over, or when the HAT may have room.
		return look{hat: t.hat, later: over.Until}, &FailedError{Fault: over.Fault}
	case errors.Is(err, vault.ErrNothingDue):
		return look{hat: t.hat}, nil
	case errors.Is(err, vault.ErrBusy):
		return look{hat: t.hat}, ErrBusy
	case errors.Is(err, vault.ErrNotEnabled):
		return look{hat: t.hat}, ErrNotEnabled
	case t.request != nil && slices.ContainsFunc(refusals, func(refusal error) bool { return errors.Is(err, refusal) }):
		return look{hat: t.hat}, err
	case err != nil:
		// No scan now: the work is still due and would be tried again at once, without end.
		return look{hat: t.hat, err: err}, unclaimed(ctx, err)
	}
	e.watchers.ring(t.hat)
	flight, done := e.flights.begin(ctx, a.plan.Run)
	defer done()
	defer func() { a.held.Release() }()
	responses, err := a.perform(flight)
	err = a.end(flight, responses, err)
	e.watchers.ring(t.hat)
	l := e.lookInto(ctx, t.hat, v)
	var failed *FailedError
	if (errors.As(err, &failed) || a.plan.Attempt > 1) && l.err == nil {
		l.parked, l.stalled, l.err = v.Parked(ctx)
		l.counted = true
	}
	return l, err
}

// refusals are errors that a caller of Trigger may see about their rights, which may have changed while they
// waited.
var refusals = []error{access.ErrDenied, access.ErrWithdrawn, access.ErrRevoked}

// unclaimed returns the error of a run that could not be claimed.
func unclaimed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ErrStopped
	}
	return &FailedError{Fault: faultOf(err)}
}

// claim claims the work: T2.
func (e *Engine) claim(ctx context.Context, t task, v Vault) (*attempt, error) {
	longest, _ := e.registry.runnable(t.function)
	now := e.now().UTC()
	c := vault.Claim{
		Function: t.function, Run: hat.NewRunID(), Cause: plan.ByData,
		Now: now, Expires: now.Add(longest + e.slack + reserve), Quota: e.quota,
	}
	if t.request != nil {
		c.Cause, c.UseAll, c.By = plan.ByRequest, t.request.useAll, t.request.by
	}
	p, err := v.Claim(ctx, c)
	if err != nil {
		return nil, err
	}
	a := &attempt{
		Engine: e, hat: t.hat, vault: v, plan: p, useAll: c.UseAll,
		log: e.log.With("hat", t.hat, "function", t.function, "run", p.Run, "cause", p.Cause, "attempt", p.Attempt),
	}
	a.stats.Timing.Queue = max(0, p.Claimed.Sub(p.Due))
	return a, nil
}

// An attempt is a run in progress: planned, asking, running. Nothing of it is stored before its end.
type attempt struct {
	*Engine
	hat    hat.ID
	vault  Work
	plan   plan.Plan
	useAll bool
	log    *slog.Logger

	held     *Held
	function catalog.Function
	session  *invoke.Session // the instance that answered the bundle entry, if it also takes the data
	stats    vault.Stats
	said     transcript
	shown    map[hat.RecordID]struct{}
	// positions is into how many parts a request can be split at most.
	positions int
}

// perform does steps 5 to 8 of the walk.
func (a *attempt) perform(ctx context.Context) (responses []contract.Response, err error) {
	// If a hostile bundle or answer triggers a bug of the engine, only this run must fail. The panic's value
	// may contain data, so it is dropped.
	defer func() {
		if recover() != nil {
			a.log.Error("panic in a run", "stack", string(debug.Stack()))
			err = hat.NewFault(hat.Engine, CodePanic, "a bug of the engine; see the server's log")
		}
	}()
	// A duration, not a time, because the clock may be set during the run.
	ctx, cancel := context.WithTimeout(ctx, a.plan.Expires.Sub(a.plan.Claimed)-reserve)
	defer cancel()
	if a.held, err = a.memory.Acquire(ctx, string(a.hat), 0); err != nil {
		return nil, memoryFault(err)
	}

	function, fault := a.registry.fit(a.plan.Grant)
	if fault != nil {
		return nil, fault
	}
	// The receipt names the version that really runs: the current one, if it asks for nothing new.
	a.function, a.plan.Grant.Version, a.plan.Grant.Digest = function, function.Version, function.Digest()

	defer func() { a.session.End() }()
	question, err := a.askBundle(ctx)
	if err != nil {
		return nil, err
	}
	event, err := a.query(ctx, question)
	if err != nil {
		return nil, err
	}
	return a.askProcess(ctx, event)
}

// askBundle asks what the function wants to read, and refuses what was not granted.
func (a *attempt) askBundle(ctx context.Context) (bundle.Bundle, error) {
	r := a.invocation(a.function.Bundle, hat.NewRunID(), contract.BundleEvent(a.plan.Window))
	then := a.invocation(a.function.Process, a.plan.Run, nil).Code
	r.Then = &then
	answer, spent, err := a.ask(ctx, "bundle", r)
	a.stats.Timing.Bundle = spent
	if err != nil {
		return bundle.Bundle{}, err
	}
	question, fault := contract.ParseBundle(answer)
	if fault != nil {
		return bundle.Bundle{}, fault
	}
	question = question.WithWindow(a.plan.Window)
	a.stats.Bundle = &question
	if covered, beyond := bundle.Covers(a.plan.Grant.Bundle, question, a.plan.Window); !covered {
		return bundle.Bundle{}, hat.NewFault(hat.Author, CodeWider, "it asks for more than was granted: "+listed(beyond))
	}
	return question, nil
}

// listed names the first few differences; there can be thousands.
func listed(beyond []bundle.Difference) string {
	const most = 5
	var texts []string
	for _, d := range beyond[:min(most, len(beyond))] {
		texts = append(texts, d.Text)
	}
	if more := len(beyond) - most; more > 0 {
		texts = append(texts, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(texts, ", ")
}

// query evaluates the bundle over one snapshot, as the function and within the plan.
func (a *attempt) query(ctx context.Context, question bundle.Bundle) (event []byte, err error) {
	// Time spent waiting for other HATs does not count for the function.
	turns := limited{a.shares.Of(a.hat), time.Now(), a.function.Process.Timeout}
	defer turns.Rest()
	defer func() {
		used := turns.used()
		a.stats.Timing.Query, a.stats.Timing.Queue = used, a.stats.Timing.Queue+turns.Waited()
	}()
	owner, err := a.vault.Owner(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the owner: %w", err)
	}
	configuration := contract.Configuration(*a.function.Manifest, contract.Status{
		Available: true, Enabled: true, LastExecution: a.plan.LastExecution,
	})
	err = a.vault.Read(ctx, access.AsFunction(owner.ID, a.plan.Grant).During(a.plan.Run), func(src bundle.Source, _ hat.Seq) error {
		asked := bundle.Ask(question.Properties, turns)
		if !a.plan.Grant.Since.IsZero() {
			src = since{src, a.plan.Grant}
		}
		if !a.plan.Part.All() {
			meant, err := a.plan.Part.Filter(asked.Matcher)
			if err != nil {
				return fmt.Errorf("what the plan covers: %w", err)
			}
			src = part{src, a.plan.Part, meant}
		}
		for try := 0; ; try++ {
			answer, err := a.evaluate(ctx, src, asked, configuration)
			if err != nil {
				return err
			}
			if answer.text != nil && a.fewer(&answer) {
				continue
			}
			if answer.text != nil {
				event, a.positions = answer.text, len(answer.rows)
				a.stats.InBytes, a.stats.Read, a.stats.Hidden = answer.size, len(answer.ids), answer.hidden
				a.stats.ReadIDs = digest(answer.ids)
				a.shown = make(map[hat.RecordID]struct{}, len(answer.ids))
				for _, id := range answer.ids {
					a.shown[id] = struct{}{}
				}
				return nil
			}
			if !a.shorten(answer, try) {
				return hat.NewFault(hat.Author, CodeTooLarge,
					fmt.Sprintf("what it asks for makes a request of %d bytes, the limit is %d", answer.size, contract.MaxPayload))
			}
		}
	})
	var fuel *bundle.FuelError
	switch {
	case errors.As(err, &fuel):
		return nil, hat.NewFault(hat.Author, CodeFuel, fuel.Error())
	case errors.Is(err, errTooLong):
		return nil, hat.NewFault(hat.Author, CodeTooLong,
			fmt.Sprintf("its bundle takes longer to evaluate than the %v that a run may take", turns.most))
	case errors.Is(err, bundle.ErrTooMuch):
		return nil, hat.NewFault(hat.Author, CodeTooMuch, "it asks for more sorted data than can be held; its bundle needs a limit")
	case errors.Is(err, ErrNoMemory), errors.Is(err, ErrBeyondShare):
		return nil, memoryFault(err)
	case errors.Is(err, bundle.ErrMappedTooLarge):
		return nil, hat.NewFault(hat.Author, CodeTooLarge, "a mapping of its bundle makes a record larger than any request may be")
	}
	return event, err
}

// limited is the Pace of an evaluation that may take no longer than its function may run.
type limited struct {
	*Turns
	began time.Time // from the monotonic clock
	most  time.Duration
}

var errTooLong = errors.New("the evaluation takes too long")

func (l limited) used() time.Duration { return max(0, time.Since(l.began)-l.Waited()) }

func (l limited) Turn(ctx context.Context, units int64) error {
	if err := l.Turns.Turn(ctx, units); err != nil {
		return err
	}
	if l.used() > l.most {
		return errTooLong
	}
	return nil
}

// answered is the result of a question: the event for the process entry, or only its size.
type answered struct {
	text   []byte // nil: larger than MaxPayload
	size   int
	ids    []hat.RecordID // ids of the records in it, links included, in order
	hidden int            // new records beyond the bundle's own limit
	rows   []rowSize
}

type rowSize struct {
	seq  hat.Seq
	size int
}

func (a *attempt) evaluate(ctx context.Context, src bundle.Source, question *bundle.Question, configuration []byte) (answered, error) {
	var out answered
	event := contract.NewEvent(configuration, question.Names())
	if a.plan.Upto > 0 { // else the HAT was empty at the claim, and 0 would mean no bound
		within := bundle.Within{After: a.plan.After, Upto: a.plan.Upto, NotBy: a.plan.Grant.Function}
		within.Grow = func(bytes int64) error { return a.held.Grow(ctx, bytes) }
		counts, err := question.EvaluateAll(ctx, src, within, func(property string, r bundle.Row) error {
			size := event.Add(property, r)
			question.Spend(size)
			out.rows = append(out.rows, rowSize{r.Seq, size})
			if event.TooLarge() {
				out.ids = nil // the function does not get them
				return nil
			}
			out.ids = append(out.ids, r.ID)
			for _, link := range r.Links {
				out.ids = append(out.ids, link.ID)
			}
			return nil
		})
		if err != nil {
			return answered{}, fmt.Errorf("evaluate the bundle: %w", err)
		}
		for _, c := range counts {
			out.hidden += c.Hidden
		}
	}
	out.text, out.size = event.Bytes()
	return out, nil
}

// since is a source without records from before the grant begins, links included.
type since struct {
	bundle.Source
	grant access.Grant
}

func (s since) Scan(ctx context.Context, e hat.Endpoint, want bundle.Want) bundle.Stream {
	stream := s.Source.Scan(ctx, e, want)
	stream.Records = s.keep(stream.Records)
	return stream
}

func (s since) Linked(ctx context.Context, id hat.RecordID, e hat.Endpoint) iter.Seq2[hat.Record, error] {
	return s.keep(s.Source.Linked(ctx, id, e))
}

func (s since) keep(records iter.Seq2[hat.Record, error]) iter.Seq2[hat.Record, error] {
	return func(yield func(hat.Record, error) bool) {
		for r, err := range records {
			if (err != nil || s.grant.Shows(r.Born, r.Created)) && !yield(r, err) {
				return
			}
		}
	}
}

// part is a source with only the part of the records that the run covers; links are not restricted.
type part struct {
	bundle.Source
	is    plan.Part
	meant func(hat.Record) bool
}

func (p part) Scan(ctx context.Context, e hat.Endpoint, want bundle.Want) bundle.Stream {
	if !p.is.At(e) {
		return bundle.Stream{Records: func(func(hat.Record, error) bool) {}, InOrder: true}
	}
	stream := p.Source.Scan(ctx, e, want)
	all := stream.Records
	stream.Records = func(yield func(hat.Record, error) bool) {
		for r, err := range all {
			if (err != nil || p.meant(r)) && !yield(r, err) {
				return
			}
		}
	}
	return stream
}

// shorten ends the plan of an individual function after the oldest records that fit into a request; the rest
// stays pending. It returns false if not even the oldest fits, or if the function must take all records at
// once. With a limit in the bundle the next evaluation may return other records, so the caller evaluates
// again, and each failed try at least halves the positions.
func (a *attempt) shorten(answer answered, try int) bool {
	if a.plan.Grant.Trigger.Kind != hat.Individual || a.useAll {
		return false
	}
	answer.inOrder()
	size := answer.size
	for i := len(answer.rows) - 1; i > 0; i-- {
		size -= answer.rows[i].size
		// A record in two properties leaves both or none.
		if upto := answer.rows[i-1].seq; size <= contract.MaxPayload && upto < answer.rows[i].seq {
			if half := a.plan.After + (a.plan.Upto-a.plan.After)/2; try > 0 && half > a.plan.After {
				upto = min(upto, half)
			}
			a.plan.Upto = upto
			return true
		}
	}
	if len(answer.rows) > 0 {
		a.plan.Upto = answer.rows[0].seq // only the oldest is too large
	}
	return false
}

// inOrder sorts the rows by position.
func (answer *answered) inOrder() {
	slices.SortFunc(answer.rows, func(a, b rowSize) int { return cmp.Compare(a.seq, b.seq) })
}

// fewer ends the plan after as many records as the run may take at once; false if it covers no more than
// that. The rows are then one for each position, in order.
func (a *attempt) fewer(answer *answered) bool {
	answer.inOrder()
	answer.rows = slices.CompactFunc(answer.rows, func(a, b rowSize) bool { return a.seq == b.seq })
	if a.plan.Most == 0 || len(answer.rows) <= a.plan.Most {
		return false
	}
	a.plan.Upto = answer.rows[a.plan.Most-1].seq
	return true
}

// halve lowers plan.Most for the next attempt after a response exceeded the size limit: half the records of
// this attempt, down to one.
func (a *attempt) halve(f *hat.Fault) {
	if a.useAll || a.positions == 0 {
		return
	}
	if most, ok := plan.Halve(a.plan.Grant.Trigger, f, a.positions); ok {
		a.plan.Most = most
	}
}

func digest(ids []hat.RecordID) (sum [sha256.Size]byte) {
	h := sha256.New()
	for _, id := range ids {
		h.Write(id.Bytes())
	}
	h.Sum(sum[:0])
	return sum
}

// askProcess gives the data to the function and checks the answer.
func (a *attempt) askProcess(ctx context.Context, event []byte) ([]contract.Response, error) {
	r := a.invocation(a.function.Process, a.plan.Run, event)
	r.Session = a.session
	answer, spent, err := a.ask(ctx, "process", r)
	a.stats.Timing.Process, a.stats.OutBytes = spent, len(answer)
	if err != nil {
		return nil, err
	}
	if err := a.held.Grow(ctx, answerFactor*int64(len(answer))); err != nil {
		return nil, memoryFault(err)
	}
	responses, fault := contract.ParseResponses(answer, a.plan.Grant.Output, func(id hat.RecordID) bool {
		_, shown := a.shown[id]
		return shown
	})
	if fault != nil {
		return nil, fault
	}
	records := 0
	for _, r := range responses {
		records += len(r.Drafts)
	}
	if err := a.held.Grow(ctx, answerRecord*int64(records)); err != nil {
		return nil, memoryFault(err)
	}
	return responses, nil
}

// RunHold is what a run holds apart from other uses of the budget: an event and an answer of the largest
// size, twice because they pass through the sandbox's pipes, and what the function prints.
const RunHold = 24 << 20

// What an answer grows to while it is parsed, for each byte and each record.
const (
	answerFactor = 4
	answerRecord = 640
)

// memoryFault returns the fault of a run that got no memory: the operator's, and tried again, or the author's
// if no run may have that much.
func memoryFault(err error) error {
	switch {
	case errors.Is(err, ErrNoMemory):
		return hat.NewFault(hat.Operator, CodeNoMemory, "the server had no memory free for this run")
	case errors.Is(err, ErrBeyondShare):
		return hat.NewFault(hat.Author, CodeTooMuch, "it needs more memory than one HAT may have; its bundle needs a limit")
	}
	return err
}

func (a *attempt) invocation(entry catalog.Entry, id hat.RunID, event []byte) invoke.Request {
	return invocation(a.function, entry, a.tenantOf(a.hat), id.String(), event)
}

// ask sends one event and receives one answer, from a fresh instance or the run's own. What the function
// prints goes to the run's log.
func (a *attempt) ask(ctx context.Context, what string, r invoke.Request) (payload []byte, spent time.Duration, err error) {
	answer, err := a.invoker.Invoke(ctx, r)
	a.session = answer.Session
	a.stats.Timing.Queue += answer.Timing.Queue
	a.stats.Timing.Sandbox += answer.Timing.Sandbox
	a.stats.Start, a.stats.Warmed = string(answer.Start), answer.Warmed
	a.stats.MaxMemory = max(a.stats.MaxMemory, answer.Usage.MaxMemory)
	a.said.add(what, answer.Log)
	if err != nil {
		a.said.add(what+", error", answer.Payload)
		return nil, answer.Timing.Run, err
	}
	if contract.IsErrorMessage(answer.Payload) {
		a.said.add(what+", error", answer.Payload)
	}
	return answer.Payload, answer.Timing.Run, nil
}

// end stores how the attempt ended, even if the server is stopping. If we stop before it returns, the lease
// lapses and the work is done again.
func (a *attempt) end(ctx context.Context, responses []contract.Response, err error) error {
	save, cancel := context.WithTimeout(context.WithoutCancel(ctx), reserve)
	defer cancel()
	out := vault.Output{Stats: a.stats, Log: a.said.bytes()}
	started := a.now()
	if err == nil {
		out.Responses = responses
		var done vault.Committed
		if done, err = a.vault.Commit(save, a.plan, out); err == nil {
			a.counted(nil)
			a.log.Info("run committed", "read", a.stats.Read, "hidden", a.stats.Hidden, "written", len(done.Written),
				"duplicates", done.Duplicates, a.timings(), "save", a.now().Sub(started))
			return nil
		}
		out.Responses = nil
	}
	if errors.Is(context.Cause(ctx), errCancelled) && err != nil {
		a.log.Info("run cancelled", a.timings()) // its end is stored already
		return &FailedError{Run: a.plan.Run, Fault: hat.NewFault(hat.Owner, vault.CodeCancelled, errCancelled.Error())}
	}
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) || errors.Is(err, invoke.ErrClosed) {
		if err := a.vault.Abandon(save, a.plan); err != nil {
			a.log.Warn("the claim can't be given back; its lease will lapse", "error", err)
		}
		return ErrStopped
	}
	fault := faultOf(err)
	if !errors.Is(err, vault.ErrStale) {
		a.halve(fault)
		log := a.log.With("who", fault.Who, "code", fault.Code)
		if err := unnamed(err); err != nil {
			log = log.With("error", err)
		}
		log.Warn("run failed", a.timings())
		if err = a.vault.Fail(save, a.plan, out, fault); err == nil {
			a.counted(fault)
			return &FailedError{Run: a.plan.Run, Fault: fault}
		}
	}
	if errors.Is(err, vault.ErrStale) {
		// The function was disabled, or the lease lapsed and another run has the work.
		a.log.Info("run lost its lease or its grant", a.timings())
		return &FailedError{Run: a.plan.Run, Fault: hat.NewFault(hat.Owner, CodeRevoked, "the grant was withdrawn during the run")}
	}
	a.log.Error("the end of a run can't be stored", "error", err)
	a.unended.add(a.hat, ending{a.plan, fault})
	return &FailedError{Run: a.plan.Run, Fault: faultOf(err)}
}

func (a *attempt) timings() slog.Attr {
	t := a.stats.Timing
	return slog.Group("timing", "queue", t.Queue, "sandbox", t.Sandbox, "bundle", t.Bundle, "query", t.Query, "process", t.Process)
}

// unnamed returns an error that has no fault of its own, for the server's log.
func unnamed(err error) error {
	if faultOf(err).Code == hat.FaultOf(nil).Code {
		return err
	}
	return nil
}
