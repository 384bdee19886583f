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

// forgetFormer removes former versions that no grant and no pending work names from the catalog; their
// packages are removed at the next start. It runs once. It is not urgent, so after each HAT it pauses as long
// as that took. If a vault can't be read, it removes nothing.
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
			log.Warn("a former version of a function can't be removed", "function", f.ID, "version", f.Version, "error", err)
			continue
		}
		log.Info("a former version of a function is forgotten: no grant and no pending work names it", "function", f.ID, "version", f.Version, "digest", f.Digest())
	}
}

// named is the code that a grant or a run names.
type named struct {
	function hat.FunctionID
	digest   string
}

// granted returns which code the grants in force at a HAT name, and the last runs of pending work.
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
		// Failed work needs the code that it failed with while it is pending.
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
