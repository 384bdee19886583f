package vault

import (
	"bytes"
	"context"
	"iter"

	"she/internal/access"
	"she/internal/hat"
)

// A Page describes one page of a list. Total counts the whole list.
type Page[T any] struct {
	First, Last T // zero if Count is 0
	Count       int
	Total       int
	More        bool // the list goes on after the last one
}

// runsAtOnce is how many runs are in memory at once. Each can name a hundred thousand records.
const runsAtOnce = 16

// runs lists them.
type runs interface {
	Runs(ctx context.Context, c access.Caller, f hat.FunctionID, before hat.RunID, limit int) ([]Run, error)
}

// EachRun yields the runs of a page of RunsPage, a few at a time, without runs claimed meanwhile.
func EachRun(ctx context.Context, v runs, c access.Caller, f hat.FunctionID, before hat.RunID, p Page[hat.RunID]) iter.Seq2[Run, error] {
	return func(yield func(Run, error) bool) {
		for done := p.Count == 0; !done; {
			runs, err := v.Runs(ctx, c, f, before, min(runsAtOnce, p.Count))
			if err != nil {
				yield(Run{}, err)
				return
			}
			for _, r := range runs {
				before = r.Plan.Run
				if bytes.Compare(before.Bytes(), p.First.Bytes()) > 0 {
					continue // it was claimed after RunsPage
				}
				if !yield(r, nil) || before == p.Last {
					return
				}
			}
			done = len(runs) == 0
		}
	}
}
