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

// A Try is data to run a function over, as at a HAT that contains exactly this data.
type Try struct {
	Drafts []hat.Draft
	Window hat.Window // the window for the bundle entry; zero times mean a first run
	Expectation
}

// within returns a plan's window with the try's own times in place of the plan's.
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

// Data asks a function for its configuration, stores the data in a temporary vault, and lets the engine make
// one run over it. The engine evaluates the function's own bundle, sends the result to the process entry, and
// commits the answer. Then the vault is removed. Its errors are like those of Event.
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
		// Without a configured output, the function may write to any endpoint. The engine takes the same
		// answers once more.
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
	run.Plan.Window = t.within(run.Plan.Window) // the vault stored the plan's original window
	r.tell(run, fault, f, calls)
	return r, nil
}

// manifest returns the answer of the configuration entry; nil if it is refused, or on an error.
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

// unfit returns the reasons why a server would not run a function with this manifest.
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

// noteMissing adds a note for each endpoint that the function reads and the data does not have.
func (r *Report) noteMissing(f catalog.Function) {
	for _, e := range f.Manifest.Bundle.Endpoints() {
		if r.Data.Endpoints[e.String()] == 0 {
			r.Notes = append(r.Notes, fmt.Sprintf("it reads %s, and the data has no record there", e))
		}
	}
}

// tell adds the result of the run to the report.
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

// recorder is the engine's invoker for one run. It keeps the answer of each entry.
type recorder struct {
	bench    *Bench
	function catalog.Function

	mu      sync.Mutex
	steps   []Step
	answers map[string]invoke.Answer // by the name of the entry
	faults  map[string]*hat.Fault
	event   []byte // the event of the process entry
	run     hat.RunID
	last    Entry // the last entry that was called
	replay  bool  // give the former answers again
	over    bool  // the run has its answer; later calls belong to another run
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
		c.run, _ = hat.ParseRunID(q.ID) // for the process entry, the engine uses the id of the run
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
		err = sandbox.Failed(sandbox.Author, fault.Code, "%s", fault.Text) // as on a server
	}
	return answer, err
}

// tryVault is the vault of one try, and also the engine's view of it. If the try has a window, it replaces
// the plan's.
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

// HATs lists none, so that the engine starts no run by itself. The try requests its one run.
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

// A windowed vault plans runs over the window of the try.
type windowed struct {
	*ledger.Vault
	try Try
}

func (w windowed) Claim(ctx context.Context, c vault.Claim) (plan.Plan, error) {
	p, err := w.Vault.Claim(ctx, c)
	p.Window = w.try.within(p.Window)
	return p, err
}

// grant gives the function what it asks for, as if the owner agreed.
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

// batch is the number of records stored in one transaction.
const batch = 2000

// store writes the data as the owner.
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

// run lets an engine make the one run, and reads its result.
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
