package vaulttest

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"she/internal/access"
	"she/internal/backlog"
	"she/internal/backlog/backlogtest"
	"she/internal/hat"
	"she/internal/plan"
	"she/internal/vault"
)

// testWalk takes the same steps as package backlog's test without a disk, and compares the states after
// each.
func testWalk(t *testing.T, fresh func(testing.TB) Opener) {
	seeds := 40
	if testing.Short() {
		seeds = 4
	}
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			p := newPerson(t, fresh)
			backlogtest.Walk(t, rand.New(rand.NewPCG(17, seed)), 250, p.clock.now(), &mirror{p: p})
			CheckHAT(t, p.v)
		})
	}
}

// A mirror is a backlogtest.Mirror over a vault.
type mirror struct {
	p        *person
	function hat.FunctionID
	records  []hat.Record
}

func (m *mirror) Write(e hat.Endpoint, texts []string) {
	m.records = append(m.records, m.p.write(e.String(), texts...)...)
}

func (m *mirror) Rewrite(record int, text string) {
	r := &m.records[record]
	r.Data = Data(m.p, text)
	_, err := m.p.v.Update(m.p.ctx(), m.p.owner, []vault.Change{{ID: r.ID, Endpoint: r.Endpoint, Data: r.Data}})
	m.p.must(err)
}

func (m *mirror) Enable(g access.Grant) {
	m.function = g.Function
	m.p.enable(g)
}

func (m *mirror) Disable() {
	_, err := m.p.v.Disable(m.p.ctx(), m.p.owner, m.function)
	m.p.must(err)
}

func (m *mirror) Claim(run hat.RunID, cause plan.Cause, expires time.Time, useAll bool) (plan.Plan, error) {
	return m.p.v.Claim(m.p.ctx(), vault.Claim{
		Function: m.function, Run: run, Cause: cause, UseAll: useAll, Now: m.p.clock.now(), Expires: expires,
	})
}

func (m *mirror) Commit(p plan.Plan) error {
	_, err := m.p.v.Commit(m.p.ctx(), p, vault.Output{})
	return err
}

func (m *mirror) Fail(p plan.Plan, f *hat.Fault) error {
	return m.p.v.Fail(m.p.ctx(), p, vault.Output{}, f)
}
func (m *mirror) Abandon(p plan.Plan) error  { return m.p.v.Abandon(m.p.ctx(), p) }
func (m *mirror) Cancel(run hat.RunID) error { return m.p.v.Cancel(m.p.ctx(), m.p.owner, run) }
func (m *mirror) Replay(run hat.RunID) error { return m.p.v.Replay(m.p.ctx(), m.p.owner, run) }
func (m *mirror) Skip(run hat.RunID) error   { return m.p.v.Skip(m.p.ctx(), m.p.owner, run) }

func (m *mirror) ReplayFailed() int {
	n, err := m.p.v.ReplayMany(m.p.ctx(), m.p.owner, m.function, vault.ReplayFilter{Failed: true})
	m.p.must(err)
	return n
}

func (m *mirror) Due() {
	_, err := m.p.v.Due(m.p.ctx())
	m.p.must(err)
}

func (m *mirror) Move(d time.Duration) { m.p.clock.move(d) }
func (m *mirror) Restart()             { m.p.restart() }
func (m *mirror) NewCode() {
	_, err := m.p.v.EndPauses(m.p.ctx(), func(access.Grant) (hat.Version, string, bool) { return hat.Version{}, "sha256:new", true })
	m.p.must(err)
}

func (m *mirror) State() backlog.Backlog {
	s := m.p.state(m.function)
	return backlog.Backlog{
		Grant: s.Grant, Enabled: s.Enabled, Cursor: s.Cursor, LastExecution: s.LastExecution, Front: s.Front, Ranges: s.Ranges,
	}
}
