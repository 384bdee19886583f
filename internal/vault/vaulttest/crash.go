package vaulttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"she/internal/access"
	"she/internal/bundle"
	"she/internal/hat"
	"she/internal/plan"
	"she/internal/receipt"
	"she/internal/vault"
)

func (p *person) receipts() (entries []receipt.Entry) {
	p.Helper()
	p.must(p.v.Receipts(p.ctx(), p.owner, 0, func(texts iter.Seq2[[]byte, error], _ receipt.Head) error {
		for text, err := range texts {
			if err != nil {
				return err
			}
			e, err := receipt.Parse(text)
			if err != nil {
				return err
			}
			entries = append(entries, e)
		}
		return nil
	}))
	return entries
}

func (p *person) receiptTexts() string {
	p.Helper()
	var all bytes.Buffer
	p.must(p.v.Receipts(p.ctx(), p.owner, 0, func(texts iter.Seq2[[]byte, error], _ receipt.Head) error {
		for text, err := range texts {
			if err != nil {
				return err
			}
			all.Write(text)
		}
		return nil
	}))
	return all.String()
}

// testInterleavings lets writers, a function's runs and the clock go at random, and asks that each record is given to
// the function exactly once in runs that committed.
func testInterleavings(t *testing.T, fresh func(testing.TB) Opener) {
	if testing.Short() {
		t.Skip("long")
	}
	const writers, rounds = 4, 300 // 1200 records, each an interleaving of its own
	p := newPerson(t, fresh)
	g := p.grant("f", individual, "she/f", "a/x")
	p.enable(g)
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		given = map[hat.RecordID]int{}
	)
	for w := range writers {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(w)))
			for i := range rounds {
				n := 1 + r.IntN(3)
				var drafts []hat.Draft
				for k := range n {
					drafts = append(drafts, draft(t, "a/x", fmt.Sprintf(`[%d,%d,%d]`, w, i, k)))
				}
				if r.IntN(10) == 0 {
					drafts = append(drafts, drafts[0]) // fails as a whole
				}
				records, err := p.v.Append(context.Background(), p.owner, drafts, false)
				if len(drafts) > n {
					if !errors.Is(err, vault.ErrDuplicate) {
						t.Errorf("append of a duplicate: %v", err)
					}
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				for _, r := range records {
					given[r.ID] += 0
				}
				mu.Unlock()
			}
		})
	}
	written := make(chan struct{})
	go func() {
		wg.Wait()
		close(written)
	}()
	runs := 0
	for r := rand.New(rand.NewPCG(2, 2)); ; {
		pl, err := p.tryClaim(g.Function, plan.ByData, false)
		if errors.Is(err, vault.ErrNothingDue) {
			select {
			case <-written:
			default:
				p.clock.move(time.Hour) // pauses pass
				continue
			}
			if p.state(g.Function).Pending == nil {
				break
			}
			p.clock.move(time.Hour)
			continue
		}
		p.must(err)
		runs++
		ids, _ := p.shown(pl)
		switch r.IntN(6) {
		case 0:
			p.must(p.v.Fail(p.ctx(), pl, vault.Output{}, hat.NewFault(hat.Operator, "X", "x")))
		case 1:
			p.must(p.v.Abandon(p.ctx(), pl))
		case 2: // the lease lapses; what the zombie saw does not count
			p.clock.move(10 * time.Minute)
		default:
			if len(ids) > 2 && r.IntN(3) == 0 {
				pl.Upto = pl.After + hat.Seq(1+r.IntN(int(pl.Upto-pl.After)))
				ids, _ = p.shown(pl)
			}
			p.commit(pl, fmt.Sprintf(`"%s"`, pl.Run))
			mu.Lock()
			for _, id := range ids {
				given[id]++
			}
			mu.Unlock()
		}
	}
	wrong := 0
	for id, n := range given {
		if n != 1 {
			if wrong++; wrong < 5 {
				t.Errorf("record %s was given %d times", id, n)
			}
		}
	}
	t.Logf("%d records, %d runs, %d wrong", len(given), runs, wrong)
	CheckHAT(t, p.v)
}

// A step is something durable the story of one record does.
type step struct {
	op string // the name it has in AtCommit
	do func(p *person, s *story) error
	// done says whether a step that was answered with an error is there all the same: its caller looks, as a client
	// or the engine would.
	done func(p *person, s *story) bool
}

// A story is what the steps hand to each other.
type story struct {
	grant access.Grant
	plan  plan.Plan
}

// steps of one record's walk. Each may be tried again until it answers without error.
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
				return nil // it was there after all
			}
			return err
		}, never},
		{"claim", func(p *person, s *story) (err error) {
			s.plan, err = p.tryClaim(s.grant.Function, plan.ByData, false)
			if errors.Is(err, vault.ErrBusy) {
				p.restart() // nobody knows of the claim any more: as after the end of the server
				s.plan, err = p.tryClaim(s.grant.Function, plan.ByData, false)
			}
			return err
		}, never},
		{"fail", func(p *person, s *story) error {
			err := p.v.Fail(p.ctx(), s.plan, vault.Output{Log: []byte("x")}, hat.NewFault(hat.Author, "Runtime.ExitError", "x"))
			p.clock.move(24 * time.Hour)
			return err
		}, ended(vault.RunFailed)},
		{"claim", func(p *person, s *story) (err error) {
			s.plan, err = p.tryClaim(s.grant.Function, plan.ByData, false)
			if errors.Is(err, vault.ErrBusy) {
				p.restart()
				s.plan, err = p.tryClaim(s.grant.Function, plan.ByData, false)
			}
			return err
		}, never},
		{"commit", func(p *person, s *story) error {
			out := output(p, s.grant, `"one"`, `"two"`)
			out.Responses[0].Linked, _ = p.shown(s.plan)
			_, err := p.v.Commit(p.ctx(), s.plan, out)
			return err
		}, ended(vault.RunCommitted)},
		{"update", func(p *person, s *story) error {
			records, err := p.scan(p.owner, "a/x", bundle.Want{})
			p.must(err)
			_, err = p.v.Update(p.ctx(), p.owner, []vault.Change{{ID: records[0].ID, Data: data(p, `10`)}})
			return err
		}, never},
		{"erase", func(p *person, s *story) error {
			return p.v.EraseEndpoint(p.ctx(), p.owner, endpoint(p, "a/x"))
		}, never},
		{"disable", func(p *person, s *story) error {
			_, err := p.v.Disable(p.ctx(), p.owner, s.grant.Function)
			return err
		}, never},
	}
}

// testCrashes lets each durable step fail, once before it is on disk and once after, in two ways of going on: the
// vault is opened again, or the whole server starts again. The story must end as if nothing had happened.
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
					p.has("she/f", `"one"`, `"two"`)
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

// again repeats a step after the vault came back, as its caller would: the engine makes a new claim for work whose
// lease is gone.
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
