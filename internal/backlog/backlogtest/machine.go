// Package backlogtest tests a backlog with random steps. Walk takes the steps and checks the promises after
// each. A Machine takes them without a store. A Mirror takes the same steps over a real store and is compared
// with the Machine.
package backlogtest

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"she/internal/access"
	"she/internal/backlog"
	"she/internal/bundle"
	"she/internal/hat"
	"she/internal/plan"
	"she/internal/trigger"
)

// A Mirror is one function at one HAT over some store. Its clock stands still until it is moved. Errors other
// than those of package backlog end the test.
type Mirror interface {
	Write(e hat.Endpoint, texts []string)
	Rewrite(record int, text string) // record counts from 0 in the order of writing
	Enable(g access.Grant)
	Disable()
	Claim(run hat.RunID, cause plan.Cause, expires time.Time, useAll bool) (plan.Plan, error)
	Commit(p plan.Plan) error // without output
	Fail(p plan.Plan, f *hat.Fault) error
	Abandon(p plan.Plan) error
	Cancel(run hat.RunID) error
	Replay(run hat.RunID) error
	ReplayFailed() int
	Skip(run hat.RunID) error
	Due() // asks what is due, as the engine does
	Move(d time.Duration)
	Restart()
	NewCode() // all failures so far were of other code than would run now
	State() backlog.Backlog
}

// Errors of the Machine for what a store reports in its own words.
var (
	errEnded      = errors.New("the run has ended")
	errNotEnabled = errors.New("function is not enabled")
)

// A Machine is a Mirror without a store: records in a slice, and a Backlog.
type Machine struct {
	b       backlog.Backlog
	records []hat.Record
	seq     hat.Seq
	now     time.Time
	boot    int
	ranges  int64 // the highest number given so far
	grants  []access.Grant
	runs    map[hat.RunID]*run
	random  func() float64
	// ended receives each run that ends, during the step.
	ended func(backlog.End)
}

type run struct {
	plan  plan.Plan
	grant access.GrantID
	state backlog.State
	later []hat.RunID // runs that have replayed it
}

func newMachine(now time.Time, random func() float64) *Machine {
	return &Machine{now: now, random: random, runs: map[hat.RunID]*run{}, ended: func(backlog.End) {}}
}

func (m *Machine) State() backlog.Backlog { return m.b }
func (m *Machine) Move(d time.Duration)   { m.now = m.now.Add(d) }

// keep numbers new ranges, as a store does.
func (m *Machine) keep(b backlog.Backlog) {
	b.Ranges = slices.Clone(b.Ranges)
	for i := range b.Ranges {
		if b.Ranges[i].Number == 0 {
			m.ranges++
			b.Ranges[i].Number = m.ranges
		}
	}
	m.b = b
}

func (m *Machine) take(s backlog.Step) {
	s, err := s.Run(m.stored)
	if err != nil {
		panic(err)
	}
	if s.Ended != nil {
		m.ended(*s.Ended)
		r := m.runs[s.Ended.Plan.Run]
		r.plan, r.state = s.Ended.Plan, s.Ended.State
		if r.state == backlog.Committed && !r.plan.Replaces.IsZero() {
			of := m.runs[r.plan.Replaces]
			of.later = append(of.later, r.plan.Run)
		}
	}
	m.keep(s.Backlog)
}

func (m *Machine) stored(q *backlog.Question) (all []backlog.Stored, _ error) {
	for _, e := range q.Endpoints {
		var s backlog.Stored
		for _, r := range m.records {
			if r.Endpoint != e || r.Seq <= q.After || q.Upto > 0 && r.Seq > q.Upto || r.Created.Before(q.Part.Since) ||
				!q.Part.Before.IsZero() && !r.Created.Before(q.Part.Before) ||
				r.Created.Before(q.Since) && (q.Ahead == 0 || r.Born < q.Ahead) {
				continue
			}
			if s.Seq == 0 || r.Updated.Before(s.Oldest) {
				s.Oldest = r.Updated
			}
			s.Endpoint, s.Seq = e, max(s.Seq, r.Seq)
		}
		if s.Seq > 0 {
			all = append(all, s)
		}
	}
	return all, nil
}

func (m *Machine) arrive(events []trigger.Event) {
	if m.b.Enabled {
		b, _ := m.b.Arrive(events, m.now)
		m.keep(b)
	}
}

func (m *Machine) Write(e hat.Endpoint, texts []string) {
	var events []trigger.Event
	for _, text := range texts {
		m.seq++
		m.records = append(m.records, hat.Record{Endpoint: e, Data: data(text), Seq: m.seq, Born: m.seq, Created: m.now, Updated: m.now})
		events = append(events, trigger.Event{Seq: m.seq, Born: m.seq, Endpoint: e, Created: m.now})
	}
	m.arrive(events)
}

func (m *Machine) Rewrite(record int, text string) {
	r := &m.records[record]
	m.seq++
	r.Data, r.Seq, r.Updated = data(text), m.seq, m.now
	m.arrive([]trigger.Event{{Seq: r.Seq, Born: r.Born, Endpoint: r.Endpoint, Created: r.Created}})
}

func (m *Machine) Enable(g access.Grant) {
	g = m.b.Ahead(g, m.seq)
	m.grants = append(m.grants, g)
	m.take(m.b.Enable(g, access.GrantID(len(m.grants)), m.now))
}

func (m *Machine) Disable() { m.take(m.b.Disable()) }

func (m *Machine) Claim(id hat.RunID, cause plan.Cause, expires time.Time, useAll bool) (plan.Plan, error) {
	if !m.b.Enabled {
		return plan.Plan{}, errNotEnabled
	}
	s, err := m.b.Ready(m.named(), m.now, m.random())
	if err != nil {
		return plan.Plan{}, err
	}
	m.take(s)
	b, p, err := m.b.Claim(backlog.Claim{
		Run: id, Cause: cause, Now: m.now, Expires: expires, UseAll: useAll, Newest: m.seq, Boot: m.named(),
	})
	if err != nil {
		return p, err
	}
	p.Part = m.whole(p.Part)
	m.runs[id] = &run{plan: p, grant: b.GrantID, state: backlog.Planned}
	m.keep(b)
	return p, nil
}

func (m *Machine) named() string { return strconv.Itoa(m.boot) }

func (m *Machine) Commit(p plan.Plan) error {
	err := m.b.Holds(p, m.named())
	if err != nil {
		return err
	}
	s, err := m.b.Commit(p, m.now)
	if err == nil {
		m.take(s)
	}
	return err
}

func (m *Machine) Fail(p plan.Plan, f *hat.Fault) error {
	err := m.b.Holds(p, m.named())
	if err == nil {
		m.take(m.b.Fail(p, f, m.now, m.random()))
	}
	return err
}

func (m *Machine) Abandon(p plan.Plan) error {
	err := m.b.Holds(p, m.named())
	if err == nil {
		m.take(m.b.Abandon(p))
	}
	return err
}

func (m *Machine) Cancel(id hat.RunID) error {
	if m.b.Lease == nil || m.b.Lease.Plan.Run != id {
		return errEnded
	}
	m.take(m.b.Cancel(hat.NewFault(hat.Owner, "Run.Cancelled", "the run was cancelled"), m.now))
	return nil
}

func (m *Machine) settle() { m.take(m.b.Settled(m.named(), m.now, m.random())) }

func (m *Machine) Replay(id hat.RunID) error {
	if !m.b.Enabled {
		return errNotEnabled
	}
	return m.orUndo(func() (err error) {
		m.settle()
		b := m.b
		if r := m.runs[id]; r.state != backlog.Committed {
			b, err = b.Replay(r.plan, m.now)
		} else {
			for newest := []hat.RunID{id}; len(newest) > 0 && err == nil; newest = newest[1:] {
				of := m.runs[newest[0]]
				if !b.Repeating(newest[0]) && len(of.later) > 0 {
					newest = append(newest, of.later...)
					continue
				}
				b, err = b.Repeat(of.plan, of.grant, m.now)
			}
		}
		if err == nil {
			m.keep(b)
		}
		return err
	})
}

// orUndo takes a step of several transitions like a transaction: all of them or none.
func (m *Machine) orUndo(step func() error) error {
	before, ended := *m, m.ended
	var ends []backlog.End
	m.ended = func(e backlog.End) { ends = append(ends, e) }
	err := step()
	m.ended = ended
	if err != nil {
		m.b, m.ranges = before.b, before.ranges
		for _, e := range ends {
			r := m.runs[e.Plan.Run]
			r.plan, r.state = before.b.Lease.Plan, backlog.Planned
		}
		return err
	}
	for _, e := range ends {
		m.ended(e)
	}
	return nil
}

func (m *Machine) ReplayFailed() int {
	m.settle()
	b, n := m.b.ReplayFailed(m.now)
	m.keep(b)
	return n
}

func (m *Machine) Skip(id hat.RunID) error {
	r := m.runs[id]
	if r.state == backlog.Committed {
		return backlog.ErrNothingDue
	}
	return m.orUndo(func() error {
		m.settle()
		s, err := m.b.Skip(r.plan, m.now)
		if err == nil {
			m.take(s)
		}
		return err
	})
}

// Due corrects times that lie too far ahead of the clock.
func (m *Machine) Due() {
	waits := m.b.Front != nil || slices.ContainsFunc(m.b.Ranges, func(r backlog.Item) bool { return !r.Parked })
	if !m.b.Enabled || !waits {
		return
	}
	b, _ := m.b.SetBack(m.now)
	m.keep(b)
}

// Restart starts the server again, which ends what was in flight.
func (m *Machine) Restart() {
	m.boot++
	if m.b.Lease != nil {
		m.take(m.b.Lapse(m.now, m.random()))
	}
}

// NewCode ends the pauses of failed work, as the engine does when a new package is installed.
func (m *Machine) NewCode() {
	if !m.b.Enabled {
		return
	}
	b, _ := m.b.EndPauses(func(hat.RunID) bool { return true }, m.now)
	m.keep(b)
}

// shown returns the records that a function gets under a plan, numbered in the order of writing.
func (m *Machine) shown(p plan.Plan) (all []int) {
	meant, sees := filter(p.Part), seen(p.Grant)
	for i, r := range m.records {
		if r.Seq > p.After && r.Seq <= p.Upto && sees(r) && meant(r) {
			all = append(all, i)
		}
	}
	return all
}

// whole fills in the grants of a part.
func (m *Machine) whole(p plan.Part) plan.Part {
	of := func(s plan.FormerGrant) plan.FormerGrant { return plan.FormerGrant{ID: s.ID, Grant: m.grants[s.ID-1]} }
	if p.Beyond != nil {
		s := of(*p.Beyond)
		p.Beyond = &s
	}
	p.Under = slices.Clone(p.Under)
	for i := range p.Under {
		p.Under[i] = of(p.Under[i])
	}
	return p
}

// seen returns what a grant shows; filter, what a part covers. Each bundle is compiled once.
func seen(g access.Grant) func(hat.Record) bool {
	shows, err := g.Bundle.Matcher()
	if err != nil {
		panic(err)
	}
	return func(r hat.Record) bool { return g.Shows(r.Born, r.Created) && shows(r) }
}

func filter(p plan.Part) func(hat.Record) bool {
	if p.All() {
		return func(hat.Record) bool { return true }
	}
	meant, err := p.Filter(bundle.Bundle.Matcher)
	if err != nil {
		panic(err)
	}
	return meant
}

func data(text string) hat.Data {
	d, err := hat.ParseData([]byte(text))
	if err != nil {
		panic(err)
	}
	return d
}

// describe prints the backlog without data, for failure messages.
func describe(b backlog.Backlog) string {
	text := fmt.Sprintf("cursor %d, enabled %t", b.Cursor, b.Enabled)
	item := func(kind string, i backlog.Item) {
		text += fmt.Sprintf("\n  %s %d: (%d,%d] attempt %d parked %t replaces %t part %+v", kind, i.Number, i.After, i.Upto, i.Attempt,
			i.Parked, !i.Replaces.IsZero(), cmp.Or(i.Part.Only != nil, i.Part.Beyond != nil))
	}
	if b.Front != nil {
		item("front", *b.Front)
	}
	for _, r := range b.Ranges {
		item("range", r)
	}
	return text
}
