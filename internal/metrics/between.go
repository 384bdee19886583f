package metrics

import (
	"context"
	"errors"
	"slices"
	"time"

	"she/internal/backlog"
	"she/internal/engine"
	"she/internal/hat"
	"she/internal/invoke"
	"she/internal/plan"
	"she/internal/vault"
)

// Invoker wraps next and counts its invocations.
func (m *Metrics) Invoker(next engine.Invoker) engine.Invoker { return counted{next, m} }

type counted struct {
	engine.Invoker
	m *Metrics
}

func (c counted) Invoke(ctx context.Context, r invoke.Request) (invoke.Answer, error) {
	c.m.busy.Inc()
	a, err := c.Invoker.Invoke(ctx, r)
	c.m.busy.Dec()
	c.m.invoked(r.Code.Name, a, err)
	return a, err
}

func (c counted) Init(ctx context.Context, r invoke.Request) (invoke.Answer, error) {
	c.m.busy.Inc()
	a, err := c.Invoker.Init(ctx, r)
	c.m.busy.Dec()
	if a.Start == invoke.Cold {
		c.m.initialise.WithLabelValues(r.Code.Name).Observe(max(a.Timing.Init, a.Timing.Sandbox).Seconds())
	}
	return a, err
}

func (m *Metrics) invoked(name string, a invoke.Answer, err error) {
	m.queue.observe(a.Timing.Queue.Seconds(), name)
	if a.Start == invoke.Cold {
		m.coldstarts.WithLabelValues(name).Inc()
		m.initialise.observe(max(a.Timing.Init, a.Timing.Sandbox).Seconds(), name)
	}
	if a.Timing.Run > 0 {
		m.invoke.observe(a.Timing.Run.Seconds(), name)
		m.memory.observe(float64(a.Usage.MaxMemory), name)
		m.cpu.observe(a.Usage.CPU.Seconds(), name)
	}
	var failure *invoke.Failure
	switch {
	case err == nil:
		m.invocations.WithLabelValues(name).Inc()
	case errors.As(err, &failure):
		m.errors.WithLabelValues(name, string(failure.Blame)).Inc()
		if failure.Code == invoke.Timedout {
			m.timeouts.WithLabelValues(name).Inc()
		}
	} // any other error: the run was cancelled, or the server stops
}

// storeErrors are failures of the store. Any other error of a transaction is a refusal or a cancelled call.
var storeErrors = []error{vault.ErrFull, vault.ErrMachine, vault.ErrDamaged, vault.ErrClosed}

// Transaction counts a transaction of a vault under its name op.
func (m *Metrics) Transaction(op string, took time.Duration, err error) {
	switch {
	case err == nil:
		m.commit.observe(took.Seconds(), op)
	case slices.ContainsFunc(storeErrors, func(e error) bool { return errors.Is(err, e) }):
		m.commitErrors.WithLabelValues(op).Inc()
	}
}

// Vault wraps v and counts how runs end.
func (m *Metrics) Vault(v engine.Vault) engine.Vault { return ending{v, m} }

type ending struct {
	engine.Vault
	m *Metrics
}

func (v ending) Claim(ctx context.Context, c vault.Claim) (plan.Plan, error) {
	p, err := v.Vault.Claim(ctx, c)
	if err == nil {
		v.m.claimed.Inc()
		v.m.runQueue.observe(max(0, p.Claimed.Sub(p.Due)).Seconds(), string(p.Cause))
	}
	return p, err
}

func (m *Metrics) committed(p plan.Plan, out vault.Output, done vault.Committed) {
	m.ended(p, vault.RunCommitted, "")
	m.written.Add(roundCount(len(done.Written)))
	m.duplicates.Add(roundCount(done.Duplicates))
	m.inBytes.Add(roundBytes(out.Stats.InBytes))
	m.outBytes.Add(roundBytes(out.Stats.OutBytes))
}

func (v ending) Commit(ctx context.Context, p plan.Plan, out vault.Output) (vault.Committed, error) {
	done, err := v.Vault.Commit(ctx, p, out)
	switch {
	case err == nil:
		v.m.committed(p, out, done)
	case errors.Is(err, vault.ErrStale):
		v.m.ended(p, "stale", hat.Owner)
	}
	return done, err
}

func (v ending) Fail(ctx context.Context, p plan.Plan, out vault.Output, f *hat.Fault) error {
	err := v.Vault.Fail(ctx, p, out, f)
	if err == nil {
		v.m.ended(p, backlog.EndState(f), f.Who)
	}
	return err
}

func (v ending) Abandon(ctx context.Context, p plan.Plan) error {
	err := v.Vault.Abandon(ctx, p)
	if err == nil {
		v.m.ended(p, vault.RunAbandoned, "")
	}
	return err
}

func (m *Metrics) ended(p plan.Plan, outcome vault.RunState, fault hat.Who) {
	m.runs.WithLabelValues(p.Grant.Function.String(), string(outcome), string(fault)).Inc()
}
