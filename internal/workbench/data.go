package workbench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"she/internal/access"
	"she/internal/catalog"
	"she/internal/contract"
	"she/internal/engine"
	"she/internal/hat"
	"she/internal/invoke"
	"she/internal/plan"
	"she/internal/sandbox"
	"she/internal/vault"
	"she/internal/vault/ledger"
	"she/internal/vault/sqlite"
)

// A Try is data to run a function over, as at a HAT that holds just that.
type Try struct {
	Drafts []hat.Draft
	Window hat.Window // what the bundle entry is told; a zero time: as at a first run
	Expectation
}

// within is a plan's window with what was given in its place.
func (t Try) within(w hat.Window) hat.Window {
	if !t.Window.From.IsZero() {
		w.From = t.Window.From
	}
	if !t.Window.Until.IsZero() {
		w.Until = t.Window.Until
	}
	return w
}

// hatID is the only HAT of a try.
const hatID hat.ID = "try"

// Data asks a function for its configuration, stores the data in a vault of its own, and has the engine make
// one run over it: the function's own bundle is asked and evaluated, what it gives is posted to the process
// entry, and the answer is committed. The vault is gone then. Errors are as those of Event.
func (b *Bench) Data(ctx context.Context, f catalog.Function, t Try) (r Report, err error) {
	r = newReport(f)
	for _, e := range Entries {
		if _, err := entryOf(f, e); err != nil {
			return r, fmt.Errorf("%w; without all three entries give an --event", err)
		}
	}
	if f.Manifest = b.manifest(ctx, f, &r, &err); f.Manifest == nil {
		return r, err
	}
	f.ID, f.Version = f.Manifest.ID, f.Manifest.Version
	f.Output = t.Output
	if f.Output.IsZero() {
		if f.Output, err = hat.ParseEndpoint("she/" + f.ID.String()); err != nil {
			return r, err
		}
	}
	if err := os.RemoveAll(b.temp()); err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.temp())) }()
	v, err := openVault(ctx, filepath.Join(b.temp(), "vaults"), t)
	if err != nil {
		return r, fmt.Errorf("make a vault for the data: %w", err)
	}
	defer func() { err = errors.Join(err, v.close()) }()
	if err := v.grant(ctx, f); err != nil {
		return r, err
	}
	r.Data = &Data{Endpoints: map[string]int{}}
	if err := v.store(ctx, t.Drafts, r.Data); err != nil {
		return r, err
	}
	r.noteMissing(f)

	calls := &recorder{bench: b, function: f}
	run, fault, err := v.run(ctx, f, calls)
	if err != nil {
		return r, err
	}
	if fault != nil && fault.Code == contract.CodeResponseAddress && t.Output.IsZero() {
		// Nobody said where it writes, so wherever it wants to. The engine takes the same answers once more.
		if at := addressIn(calls.answers[f.Process.Name].Payload); !at.IsZero() && at != f.Output {
			f.Output = at
			if err := v.grant(ctx, f); err != nil {
				return r, err
			}
			calls.replay, calls.over = true, false
			if run, fault, err = v.run(ctx, f, calls); err != nil {
				return r, err
			}
		}
	}
	r.Steps = append(r.Steps, calls.steps...)
	run.Plan.Window = t.within(run.Plan.Window) // the vault kept the plan as it was made
	r.tell(run, fault, f, calls)
	return r, nil
}

// manifest is what the configuration entry answers; nil if it is refused, or on an error.
func (b *Bench) manifest(ctx context.Context, f catalog.Function, r *Report, err *error) *contract.Manifest {
	event := contract.ConfigurationEvent()
	ctx, cancel := context.WithTimeout(ctx, f.Configuration.Timeout+requestSlack)
	defer cancel()
	answer, failed := b.invoker.Invoke(ctx, request(f, f.Configuration, event))
	step, fault, other := b.stepOf(Configuration, f.Configuration, len(event), answer, failed)
	if *err = other; other != nil {
		return nil
	}
	r.Steps = append(r.Steps, step)
	if fault != nil {
		r.refuse(Configuration, fault)
		return nil
	}
	m, faults := contract.CheckConfiguration(answer.Payload)
	if len(faults) == 0 {
		faults = unfit(f, m)
	}
	if r.refuse(Configuration, faults...); len(faults) > 0 {
		return nil
	}
	return &m
}

// unfit tells why a server would not run a function with that manifest.
func unfit(f catalog.Function, m contract.Manifest) (faults []*hat.Fault) {
	key, id := f.ID.String(), m.ID.String()
	if !f.ID.IsZero() && key != id && !strings.HasSuffix(key, "-"+id) {
		faults = append(faults, hat.NewFault(hat.Author, engine.CodeWrongID,
			"its configuration says it is "+id+", and the project has it under "+key+": both must be its id"))
	}
	if !m.Available {
		faults = append(faults, hat.NewFault(hat.Author, engine.CodeWithdrawn, "its own configuration says that it is not available"))
	}
	return faults
}

// noteMissing names endpoints that the function reads and the data has nothing at.
func (r *Report) noteMissing(f catalog.Function) {
	for _, e := range f.Manifest.Bundle.Endpoints() {
		if r.Data.Endpoints[e.String()] == 0 {
			r.Notes = append(r.Notes, fmt.Sprintf("it reads %s, and the data has no record there", e))
		}
	}
}

// tell adds what came of the run.
func (r *Report) tell(run vault.Run, fault *hat.Fault, f catalog.Function, calls *recorder) {
	d := r.Data
	d.From, d.Until = run.Plan.Window.From, run.Plan.Window.Until
	d.Shown, d.Hidden = run.Stats.Read, run.Stats.Hidden
	d.QueryMS, d.SaveMS = inMS(run.Stats.Timing.Query), inMS(run.Stats.Timing.Save)
	d.Written, d.Duplicates, d.Output = len(run.Written), run.Duplicates, f.Output.String()
	for _, one := range []struct {
		Entry
		name string
	}{{Bundle, f.Bundle.Name}, {Process, f.Process.Name}} {
		answer, asked := calls.answers[one.name]
		if !asked {
			continue
		}
		if failed := calls.faults[one.name]; failed != nil {
			r.refuse(one.Entry, failed)
			continue
		}
		r.check(one.Entry, answer.Payload, Expectation{f.Output}, shownIn(calls.event))
	}
	if fault != nil && !slices.ContainsFunc(r.Verdict.Reasons, func(known Reason) bool { return known.Code == fault.Code }) {
		r.refuse(calls.last, fault)
	}
	if d.Hidden > 0 {
		r.Notes = append(r.Notes, fmt.Sprintf("the limit in its bundle hides %d records from it, for good", d.Hidden))
	}
	if d.Duplicates > 0 {
		r.Notes = append(r.Notes, fmt.Sprintf("%d of its records equal another one and are not stored", d.Duplicates))
	}
}

// recorder is the engine's invoker for one run, and keeps what each entry answered.
type recorder struct {
	bench    *Bench
	function catalog.Function

	mu      sync.Mutex
	steps   []Step
	answers map[string]invoke.Answer // by the entry's name
	faults  map[string]*hat.Fault
	event   []byte // of the process entry
	run     hat.RunID
	last    Entry // that was asked
	replay  bool  // give the answers of before
	over    bool  // the run has what it asks for: what asks now is another one
}

func (c *recorder) Init(context.Context, invoke.Request) (invoke.Answer, error) {
	return invoke.Answer{}, nil
}

func (c *recorder) Invoke(ctx context.Context, q invoke.Request) (invoke.Answer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return invoke.Answer{}, invoke.ErrClosed
	}
	e, entry := Bundle, c.function.Bundle
	if q.Code.Name == c.function.Process.Name {
		e, entry = Process, c.function.Process
		c.event, c.over = q.Event, true
		c.run, _ = hat.ParseRunID(q.ID) // the engine gives the process entry the run's own
	}
	if c.last = e; c.replay {
		answer := c.answers[q.Code.Name]
		answer.Session = nil
		return answer, nil
	}
	answer, err := c.bench.invoker.Invoke(ctx, q)
	step, fault, other := c.bench.stepOf(e, entry, len(q.Event), answer, err)
	if other != nil {
		return answer, err
	}
	if c.answers == nil {
		c.answers, c.faults = map[string]invoke.Answer{}, map[string]*hat.Fault{}
	}
	c.steps = append(c.steps, step)
	c.answers[q.Code.Name], c.faults[q.Code.Name] = answer, fault
	c.over = c.over || err != nil
	if err == nil && fault != nil && fault.Code == sandbox.Timedout {
		err = sandbox.Failed(sandbox.Author, fault.Code, "%s", fault.Text) // as a server would have it
	}
	return answer, err
}

// tryVault is the vault of one try, as the engine sees it too. Its window, if given, takes the place of the
// plan's own.
type tryVault struct {
	vaults *sqlite.Store
	try    Try
	owner  access.Caller
}

func openVault(ctx context.Context, dir string, try Try) (v *tryVault, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	v = &tryVault{try: try}
	if v.vaults, err = sqlite.NewStore(dir, sqlite.Options{}); err != nil {
		return nil, err
	}
	owner := vault.User{ID: hat.NewUserID(), Username: "owner", Roles: []access.Role{{Title: access.TitleOwner}}, Enabled: true}
	if err := v.vaults.Create(ctx, hatID, owner); err != nil {
		return nil, errors.Join(err, v.vaults.Close())
	}
	v.owner = access.User(owner.ID, owner.Roles, access.TitleOwner)
	return v, nil
}

func (v *tryVault) close() error { return v.vaults.Close() }

// HATs has the engine look at none by itself: the one run is asked for.
func (v *tryVault) HATs(context.Context) ([]hat.ID, error) { return nil, nil }

func (v *tryVault) Open(ctx context.Context, id hat.ID) (engine.Vault, func(), error) {
	opened, release, err := v.vaults.Open(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	return windowed{opened, v.try}, release, nil
}

// with opens the vault for the owner.
func (v *tryVault) with(ctx context.Context, do func(*ledger.Vault) error) error {
	opened, release, err := v.vaults.Open(ctx, hatID)
	if err != nil {
		return err
	}
	defer release()
	return do(opened)
}

// A windowed vault plans runs over a window that was given.
type windowed struct {
	*ledger.Vault
	try Try
}

func (w windowed) Claim(ctx context.Context, c vault.Claim) (plan.Plan, error) {
	p, err := w.Vault.Claim(ctx, c)
	p.Window = w.try.within(p.Window)
	return p, err
}

// grant gives the function what it asks for, as an owner who agrees.
func (v *tryVault) grant(ctx context.Context, f catalog.Function) error {
	g := access.Grant{
		Function: f.ID, Version: f.Version, Digest: f.Digest(), Bundle: f.Manifest.Bundle.Normalised(), Output: f.Output,
		Trigger: f.Manifest.Trigger, Given: time.Now().UTC(), Manifest: contract.Configuration(*f.Manifest, contract.Status{}),
	}
	return v.with(ctx, func(opened *ledger.Vault) error {
		_, err := opened.Enable(ctx, v.owner, g)
		return err
	})
}

// batch is how many records are stored in one transaction.
const batch = 2000

// store writes the data as its owner would.
func (v *tryVault) store(ctx context.Context, drafts []hat.Draft, d *Data) error {
	return v.with(ctx, func(opened *ledger.Vault) error {
		for part := range slices.Chunk(drafts, batch) {
			records, err := opened.Append(ctx, v.owner, part, true)
			if err != nil {
				return fmt.Errorf("store the data: %w", err)
			}
			d.Stored += len(records)
			for _, r := range records {
				d.Endpoints[r.Endpoint.String()]++
			}
		}
		return nil
	})
}

// run has an engine make the one run, and reads what came of it.
func (v *tryVault) run(ctx context.Context, f catalog.Function, calls *recorder) (run vault.Run, fault *hat.Fault, err error) {
	e := engine.New(engine.Options{
		Vaults: v, Invoker: calls, Functions: []catalog.Function{f}, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Slack: requestSlack, Grace: time.Second,
	})
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- e.Run(running) }()
	err = e.Trigger(ctx, hatID, v.owner, f.ID, false)
	stop()
	if ended := <-ended; ended != nil {
		return run, nil, errors.Join(err, ended)
	}
	var failed *engine.FailedError
	switch {
	case errors.As(err, &failed) && failed.Run.IsZero():
		return run, failed.Fault, nil
	case errors.As(err, &failed):
		fault = failed.Fault
	case err != nil:
		return run, nil, err
	}
	id := calls.run
	if failed != nil {
		id = failed.Run
	}
	err = v.with(ctx, func(opened *ledger.Vault) (err error) {
		run, err = opened.Run(ctx, v.owner, id)
		return err
	})
	return run, fault, err
}
