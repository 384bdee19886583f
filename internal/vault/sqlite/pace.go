package sqlite

import (
	"context"
	"errors"
	"time"

	"she/internal/vault"
)

// The time a piece should take, so that nobody who writes waits long; the number of rows in it follows.
const (
	shortUpkeep, longUpkeep = 10 * time.Millisecond, 30 * time.Millisecond
	minUpkeep, maxUpkeep    = 32, 4096
)

// always is ready to be received from.
var always = func() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// upkeep is the next piece as a transaction. One that fails is not tried again before something changes: all is
// answered without the index, only slower.
func (f *file) upkeep() job {
	return job{op: "upkeep", grew: new(bool), ctx: context.Background(), done: make(chan error, 1), do: func(t *transaction) error {
		f.hasUpkeep = false
		more, err := f.keeper.Upkeep(t, f.chunk)
		if err == nil && !more {
			more, err = t.shrink(f.chunk)
		}
		f.hasUpkeep = more && err == nil
		return err
	}}
}

// doUpkeep does the next piece, when it is its turn.
func (f *file) doUpkeep() {
	f.turn <- struct{}{}
	if !f.hasUpkeep {
		<-f.turn
		return
	}
	began := time.Now()
	jobs := f.work(f.upkeep())
	f.turn <- struct{}{}
	defer func() { <-f.turn }()
	f.pace(time.Since(began))
	if len(jobs) == 1 && errors.Is(named(f.path, jobs[0].err), vault.ErrFull) && !*jobs[0].grew {
		// It makes room: at once with the reserve, else when the log was emptied and there may be some.
		f.hasUpkeep = f.reserve.use()
		f.upkeepWaits, f.logHolds = !f.hasUpkeep, true
	} else if len(jobs) == 1 && jobs[0].err != nil {
		f.hasUpkeep = false // it may not even have begun: to try at once again would do nothing else
	}
}

// pace fits the size of the next piece to what the last one took, its commit included.
func (f *file) pace(took time.Duration) {
	switch {
	case took < shortUpkeep:
		f.chunk = min(2*f.chunk, maxUpkeep)
	case took > longUpkeep:
		f.chunk = max(f.chunk/2, minUpkeep)
	}
}
