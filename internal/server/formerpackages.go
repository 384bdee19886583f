package server

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"she/internal/access"
	"she/internal/catalog"
	"she/internal/hat"
	"she/internal/vault"
)

// forgetFormer looks once which former versions of functions no grant names any more, nor the last run of work that waits, and has the catalog forget them; their
// packages go at the next start. It is not urgent: after each HAT it rests for as long as the look took. If one vault can't
// be read everything stays.
func (n *node) forgetFormer(ctx context.Context, functions installed, log *slog.Logger) {
	former := make(map[named]catalog.Function)
	for _, f := range functions.former {
		former[named{f.ID, f.Digest()}] = f
	}
	if len(former) == 0 {
		return
	}
	ids, err := n.HATs(ctx)
	if err != nil {
		return
	}
	for _, id := range ids {
		began := time.Now()
		granted, err := n.granted(ctx, id)
		if err != nil {
			if ctx.Err() == nil {
				log.Warn("former versions of functions are kept: a vault can't be read", "hat", id, "error", err)
			}
			return
		}
		for _, g := range granted {
			delete(former, g)
		}
		if len(former) == 0 {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Since(began)):
		}
	}
	for _, f := range former {
		if err := functions.catalog.Forget(f); err != nil {
			log.Warn("a former version of a function can't be forgotten", "function", f.ID, "version", f.Version, "error", err)
			continue
		}
		log.Info("a former version of a function is forgotten: no grant and no run that waits names it", "function", f.ID, "version", f.Version, "digest", f.Digest())
	}
}

// named is what a grant says of the code it was given for.
type named struct {
	function hat.FunctionID
	digest   string
}

// granted is which code the grants in force at a HAT name, and the last runs of work that waits there.
func (n *node) granted(ctx context.Context, id hat.ID) (all []named, err error) {
	v, release, err := n.vaults.Open(ctx, id)
	if err != nil {
		return nil, err
	}
	defer release()
	states, err := v.FunctionStates(ctx, access.Operator())
	if err != nil {
		return nil, err
	}
	for _, s := range states {
		if s.Enabled {
			all = append(all, named{s.Grant.Function, s.Grant.Digest})
		}
		// What failed is told by the code it failed with for as long as it waits.
		waiting := s.Ranges
		if s.Front != nil {
			waiting = append(slices.Clip(waiting), *s.Front)
		}
		for _, item := range waiting {
			if item.Run.IsZero() {
				continue
			}
			r, err := v.Run(ctx, access.Operator(), item.Run)
			if errors.Is(err, vault.ErrNotFound) {
				continue
			}
			if err != nil {
				return nil, err
			}
			all = append(all, named{s.Grant.Function, r.Plan.Grant.Digest})
		}
	}
	return all, nil
}
