package vaulttest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"she/internal/hat"
	"she/internal/plan"
	"she/internal/vault"
)

// testInterleavings lets writers, a function's runs and the clock, which is set back by up to days,
// interleave at random. Each record must be given to the function exactly once in runs that committed.
func testInterleavings(t *testing.T, fresh func(testing.TB) Opener) {
	if testing.Short() {
		t.Skip("long")
	}
	const writers, rounds = 4, 300 // 1200 records, each with its own interleaving
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
					drafts = append(drafts, drafts[0]) // the whole request fails
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
				p.due()
				p.clock.move(time.Hour) // pauses pass
				continue
			}
			if p.state(g.Function).Front == nil {
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
		case 2: // the lease lapses; what the zombie was shown does not count
			p.clock.move([]time.Duration{10 * time.Minute, day, -day}[r.IntN(3)])
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
