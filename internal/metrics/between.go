package metrics

import (
	"context"
	"errors"
	"time"

	"she/internal/access"
	"she/internal/backlog"
	"she/internal/engine"
	"she/internal/hat"
	"she/internal/invoke"
	"she/internal/plan"
	"she/internal/vault"
)

// Invoker is next, counted.
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
	} // else somebody cancelled it, or the server stops
}

// Vault is v, timed.
func (m *Metrics) Vault(v vault.Vault) vault.Vault { return timed{v, m} }

// A timed vault tells how long the transactions took that somebody waits for, and how runs ended.
type timed struct {
	vault.Vault
	m *Metrics
}

// refusals are answers, not failures of the store.
var refusals = []error{
	vault.ErrDuplicate, vault.ErrNotFound, vault.ErrExists, vault.ErrNotEnabled, vault.ErrBusy, vault.ErrNothingDue,
	vault.ErrEnded, vault.ErrStale, access.ErrDenied, context.Canceled, context.DeadlineExceeded,
}

func (m *Metrics) transaction(op string, began time.Time, err error) {
	for _, refusal := range refusals {
		if errors.Is(err, refusal) {
			return
		}
	}
	var over *vault.QuotaError
	if errors.As(err, &over) {
		return
	}
	if err != nil {
		m.commitErrors.WithLabelValues(op).Inc()
		return
	}
	m.commit.observe(time.Since(began).Seconds(), op)
}

func (v timed) Append(ctx context.Context, c access.Caller, drafts []hat.Draft, skipDuplicates bool) ([]hat.Record, error) {
	began := time.Now()
	records, err := v.Vault.Append(ctx, c, drafts, skipDuplicates)
	v.m.transaction("append", began, err)
	return records, err
}

func (v timed) Update(ctx context.Context, c access.Caller, changes []vault.Change) ([]hat.Record, error) {
	began := time.Now()
	records, err := v.Vault.Update(ctx, c, changes)
	v.m.transaction("update", began, err)
	return records, err
}

func (v timed) Erase(ctx context.Context, c access.Caller, ids []hat.RecordID) error {
	began := time.Now()
	err := v.Vault.Erase(ctx, c, ids)
	v.m.transaction("erase", began, err)
	return err
}

func (v timed) Claim(ctx context.Context, c vault.Claim) (plan.Plan, error) {
	began := time.Now()
	p, err := v.Vault.Claim(ctx, c)
	v.m.transaction("claim", began, err)
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

func (v timed) Commit(ctx context.Context, p plan.Plan, out vault.Output) (vault.Committed, error) {
	began := time.Now()
	done, err := v.Vault.Commit(ctx, p, out)
	v.m.transaction("commit", began, err)
	switch {
	case err == nil:
		v.m.committed(p, out, done)
	case errors.Is(err, vault.ErrStale):
		v.m.ended(p, "stale", hat.Owner)
	}
	return done, err
}

func (v timed) Fail(ctx context.Context, p plan.Plan, out vault.Output, f *hat.Fault) error {
	began := time.Now()
	err := v.Vault.Fail(ctx, p, out, f)
	v.m.transaction("fail", began, err)
	if err == nil {
		v.m.ended(p, backlog.EndState(f), f.Who)
	}
	return err
}

func (v timed) Abandon(ctx context.Context, p plan.Plan) error {
	err := v.Vault.Abandon(ctx, p)
	if err == nil {
		v.m.ended(p, vault.RunAbandoned, "")
	}
	return err
}

func (m *Metrics) ended(p plan.Plan, outcome vault.RunState, fault hat.Who) {
	m.runs.WithLabelValues(p.Grant.Function.String(), string(outcome), string(fault)).Inc()
}
