package vaulttest

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"she/internal/access"
	"she/internal/bundle"
	"she/internal/hat"
	"she/internal/plan"
	"she/internal/vault"
)

// A step is one durable step in the story of one record.
type step struct {
	op string // its name in AtCommit
	do func(p *person, s *story) error
	// done reports whether a step that returned an error was stored all the same. Its caller reads the
	// state, as a client or the engine would.
	done func(p *person, s *story) bool
}

// A story holds the values that steps pass to each other.
type story struct {
	grant  access.Grant
	plan   plan.Plan
	former plan.Plan // the plan that is replayed
}

// steps returns the steps of one record's walk. Each may be repeated until it returns no error.
func steps() []step {
	ended := func(state vault.RunState) func(*person, *story) bool {
		return func(p *person, s *story) bool {
			r, err := p.v.Run(p.ctx(), p.owner, s.plan.Run)
			p.must(err)
			return r.State == state
		}
	}
	never := func(*person, *story) bool { return false }
	return []step{
		{"enable", func(p *person, s *story) error {
			_, err := p.v.Enable(p.ctx(), p.owner, s.grant)
			return err
		}, never},
		{"append", func(p *person, s *story) error {
			_, err := p.v.Append(p.ctx(), p.owner, []hat.Draft{draft(p, "a/x", `1`), draft(p, "a/x", `2`)}, false)
			if errors.Is(err, vault.ErrDuplicate) {
				return nil // it was stored after all
			}
			return err
		}, never},
		{"claim", reclaim, never},
		{"fail", func(p *person, s *story) error {
			err := p.v.Fail(p.ctx(), s.plan, vault.Output{Log: []byte("x")}, hat.NewFault(hat.Author, "Runtime.ExitError", "x"))
			p.clock.move(24 * time.Hour)
			return err
		}, ended(vault.RunFailed)},
		{"claim", reclaim, never},
		{"commit", func(p *person, s *story) error {
			out := output(p, s.grant, `"one"`, `"two"`)
			out.Responses[0].Linked, _ = p.shown(s.plan)
			_, err := p.v.Commit(p.ctx(), s.plan, out)
			return err
		}, ended(vault.RunCommitted)},
		{"replay", func(p *person, s *story) error {
			s.former = s.plan
			return p.v.Replay(p.ctx(), p.owner, s.plan.Run)
		}, never},
		{"claim", reclaim, never},
		{"commit", func(p *person, s *story) error {
			_, err := p.v.Commit(p.ctx(), s.plan, output(p, s.grant, `"two"`, `"three"`))
			return err
		}, ended(vault.RunCommitted)},
		{"append", func(p *person, s *story) error {
			_, err := p.v.Append(p.ctx(), p.owner, []hat.Draft{draft(p, "a/x", `3`)}, false)
			if errors.Is(err, vault.ErrDuplicate) {
				return nil
			}
			return err
		}, never},
		{"claim", reclaim, never},
		{"fail", func(p *person, s *story) error { // parks: the cursor moves past it
			return p.v.Fail(p.ctx(), s.plan, vault.Output{}, hat.NewFault(hat.Author, plan.CodeRequestTooLarge, "x"))
		}, ended(vault.RunFailed)},
		{"skip", func(p *person, s *story) error {
			err := p.v.Skip(p.ctx(), p.owner, s.plan.Run)
			if errors.Is(err, vault.ErrNothingDue) {
				return nil // it was stored after all
			}
			return err
		}, never},
		{"enable", func(p *person, s *story) error { // the newly granted data becomes a range
			if len(p.texts("b/x")) == 0 {
				p.write("b/x", `"b"`)
			}
			wider := p.grant("f", individual, "she/f", "a/x", "b/x")
			wider.Mode = hat.ReplaceOutput
			_, err := p.v.Enable(p.ctx(), p.owner, wider)
			return err
		}, never},
		{"claim", reclaim, never},
		{"commit", func(p *person, s *story) error { // commits a range, and replaces all former output
			_, err := p.v.Commit(p.ctx(), s.plan, output(p, s.grant, `"four"`))
			return err
		}, ended(vault.RunCommitted)},
		{"update", func(p *person, s *story) error {
			records, err := p.scan(p.owner, "a/x", bundle.Want{})
			p.must(err)
			_, err = p.v.Update(p.ctx(), p.owner, []vault.Change{{ID: records[0].ID, Data: Data(p, `10`)}})
			return err
		}, never},
		{"erase", func(p *person, s *story) error {
			return p.v.EraseEndpoint(p.ctx(), p.owner, Endpoint(p, "a/x"))
		}, never},
		{"disable", func(p *person, s *story) error {
			_, err := p.v.Disable(p.ctx(), p.owner, s.grant.Function)
			return err
		}, never},
	}
}

// reclaim claims the due work, even if the answer to an earlier claim was lost.
func reclaim(p *person, s *story) (err error) {
	s.plan, err = p.tryClaim(s.grant.Function, plan.ByData, false)
	if errors.Is(err, vault.ErrBusy) {
		p.restart() // the claim was lost, as after the end of the server
		s.plan, err = p.tryClaim(s.grant.Function, plan.ByData, false)
	}
	return err
}

// testCrashes lets each durable step fail, once before and once after it is on disk. It then continues in
// two ways: the vault is opened again, or the whole server starts again. The story must end as if nothing
// had happened.
func testCrashes(t *testing.T, fresh func(testing.TB) Opener) {
	all := steps()
	for i, failing := range all {
		for _, persisted := range []bool{false, true} {
			for _, restart := range []bool{false, true} {
				name := fmt.Sprintf("%d %s, persisted %t, restart %t", i+1, failing.op, persisted, restart)
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					p := newPerson(t, fresh)
					s := &story{grant: p.grant("f", individual, "she/f", "a/x")}
					for k, st := range all {
						crashed := false
						if k == i {
							p.atCommit = func(ops []string, at bool) error {
								if slices.Contains(ops, failing.op) && at == persisted && !crashed {
									crashed = true
									return errors.New("the disk has gone away")
								}
								return nil
							}
						}
						err := st.do(p, s)
						if k != i {
							p.must(err)
							continue
						}
						if !crashed {
							t.Fatal("it did not crash")
						}
						if err == nil && st.op != "claim" {
							t.Fatal("the step was answered without error")
						}
						if restart {
							p.restart()
						} else {
							p.reopen()
						}
						CheckHAT(t, p.v)
						if err != nil && !st.done(p, s) {
							p.again(st, s)
						}
					}
					p.has("a/x")
					p.has("she/f", `"four"`)
					p.grounds(s.grant.Function)
					if r, err := p.v.Run(p.ctx(), p.owner, s.former.Run); err != nil || r.SupersededBy.IsZero() {
						t.Errorf("the first run is superseded by %s, %v", r.SupersededBy, err)
					}
					if s := p.state(s.grant.Function); s.Enabled || s.Cursor < 2 {
						t.Errorf("at the end %+v", s)
					}
					CheckHAT(t, p.v)
					p.restart()
					CheckHAT(t, p.v)
				})
			}
		}
	}
}

// again repeats a step after the vault was opened again, as its caller would. The engine makes a new claim
// for work whose lease is gone.
func (p *person) again(st step, s *story) {
	p.Helper()
	err := st.do(p, s)
	if errors.Is(err, vault.ErrStale) {
		if s.plan, err = p.tryClaim(s.grant.Function, plan.ByData, false); err == nil {
			err = st.do(p, s)
		}
	}
	p.must(err)
}
