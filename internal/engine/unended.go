package engine

import (
	"context"
	"errors"
	"slices"
	"sync"

	"she/internal/hat"
	"she/internal/plan"
	"she/internal/vault"
)

// unended holds runs whose end could not be stored, for example because the disk was full. Their leases block
// the functions and would do so for minutes after there is room again. So each scan of their HAT tries to
// store the end once more. If we stop here, the leases lapse at the next start.
type unended struct {
	mu sync.Mutex
	of map[hat.ID][]ending // by HAT
}

// An ending is how a run ended: its fault, without output.
type ending struct {
	plan  plan.Plan
	fault *hat.Fault
}

func (u *unended) add(hatID hat.ID, e ending) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.of == nil {
		u.of = make(map[hat.ID][]ending)
	}
	u.of[hatID] = append(u.of[hatID], e)
}

// settle stores the ends that it can, and reports whether none is left.
func (u *unended) settle(ctx context.Context, hatID hat.ID, v Work) bool {
	u.mu.Lock()
	ends := u.of[hatID]
	delete(u.of, hatID)
	u.mu.Unlock()
	ends = slices.DeleteFunc(ends, func(e ending) bool {
		err := v.Fail(ctx, e.plan, vault.Output{}, e.fault)
		return err == nil || errors.Is(err, vault.ErrStale) // somebody has ended it
	})
	for _, e := range ends {
		u.add(hatID, e)
	}
	return len(ends) == 0
}

func (u *unended) forget(hatID hat.ID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.of, hatID)
}
