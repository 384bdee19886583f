package sqlite

import (
	"context"
	"errors"
	"time"

	"she/internal/vault"
)

// These bound the time of a piece, so that writers don't wait long. The number of rows follows from it.
const (
	shortUpkeep, longUpkeep = 10 * time.Millisecond, 30 * time.Millisecond
	minUpkeep, maxUpkeep    = 32, 4096
)

// always can be received from at any time.
var always = func() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// upkeep returns the next piece as a transaction. A failed piece is tried again only after something changes:
// without it queries are correct but slower.
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

// doUpkeep does the next piece when it gets the writer lock.
func (f *file) doUpkeep() {
	f.writerLock <- struct{}{}
	if !f.hasUpkeep {
		<-f.writerLock
		return
	}
	began := time.Now()
	jobs := f.work(f.upkeep())
	f.writerLock <- struct{}{}
	defer func() { <-f.writerLock }()
	f.pace(time.Since(began))
	if len(jobs) == 1 && errors.Is(named(f.path, jobs[0].err), vault.ErrFull) && !*jobs[0].grew {
		// This upkeep frees room. On a full disk it uses the reserve at once, else it waits until the log was
		// emptied.
		f.hasUpkeep = f.reserve.use()
		f.upkeepWaits, f.logHolds = !f.hasUpkeep, true
	} else if len(jobs) == 1 && jobs[0].err != nil {
		f.hasUpkeep = false // it may not even have begun; trying again at once would loop
	}
}

// pace adapts the size of the next piece to how long the last one took with its commit.
func (f *file) pace(took time.Duration) {
	switch {
	case took < shortUpkeep:
		f.chunk = min(2*f.chunk, maxUpkeep)
	case took > longUpkeep:
		f.chunk = max(f.chunk/2, minUpkeep)
	}
}
