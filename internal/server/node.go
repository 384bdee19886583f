package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"she/internal/accesskey"
	"she/internal/catalog"
	"she/internal/config"
	"she/internal/directory"
	"she/internal/edge"
	"she/internal/engine"
	"she/internal/hat"
	"she/internal/hatapi"
	"she/internal/logins"
	"she/internal/metrics"
	"she/internal/ownapi"
	"she/internal/plan"
	"she/internal/vault/ledger"
	"she/internal/vault/sqlite"
)

// A node is an open data directory: the HATs and their vaults.
type node struct {
	hats   *directory.Directory
	vaults *sqlite.Store
	keys   *accesskey.Keys
	logins *logins.Logins // used by the public address and the operator's commands
}

// openNode locks and opens the data directory. o is for tests: their clock, and a hook at each commit of a
// vault.
func openNode(dir string, config config.Config, o sqlite.Options) (*node, error) {
	hats, err := directory.Open(dir)
	switch {
	case errors.Is(err, directory.ErrInUse):
		return nil, fmt.Errorf("%w; stop it, or use another --data", err)
	case errors.Is(err, directory.ErrNewer):
		return nil, fmt.Errorf("%w; use the she that wrote it, or a later one", err)
	case errors.Is(err, syscall.EROFS):
		return nil, fmt.Errorf("%s is on a read-only file system, and this needs to write there (receipts verify and receipts export "+
			"keep the head they sign): mount it read-write, or use a copy of the directory: %w", dir, err)
	case err != nil:
		return nil, err
	}
	return newNode(dir, hats, config, o)
}

func newNode(dir string, hats *directory.Directory, config config.Config, o sqlite.Options) (*node, error) {
	o.MaxOpen = places(config)
	o.Storage = func(hat.ID) plan.Storage { return config.Storage() } // the same for each HAT
	o.Spare = Reserve(config)
	vaults, err := sqlite.NewStore(hats.Vaults(), o)
	if err != nil {
		return nil, errors.Join(err, hats.Close())
	}
	keys, err := accesskey.Open(dir)
	if err != nil {
		return nil, errors.Join(err, vaults.Close(), hats.Close())
	}
	return &node{hats: hats, vaults: vaults, keys: keys, logins: logins.New(logins.Options{Now: o.Now})}, nil
}

// readNode opens the data directory for a command that only reads. If there is none, only the configuration
// is known.
func readNode(dir string, config config.Config) (*node, error) {
	hats, err := directory.OpenToRead(dir)
	if errors.Is(err, directory.ErrMissing) && len(config.Functions) > 0 {
		hats, err = directory.Nowhere(), nil
	}
	if errors.Is(err, directory.ErrNewer) {
		return nil, fmt.Errorf("%w; use the she that wrote it, or a later one", err)
	}
	if err != nil {
		return nil, Missing(err)
	}
	return newNode(dir, hats, config, sqlite.Options{ReadOnly: true})
}

// installed are the functions of a data directory.
type installed struct {
	catalog *catalog.Catalog
	all     []catalog.Function // the last one of an id is current
	former  []catalog.Function // published before and replaced since; grants may name them
}

// load publishes the registered functions. wall checks which runtimes can run here, and is told of removed
// packages.
func load(ctx context.Context, dir string, config config.Config, wall Invoker) (f installed, err error) {
	if f.catalog, err = catalog.Open(dir); err != nil {
		return f, err
	}
	f.catalog.Supports, f.catalog.Gone = wall.Supports, wall.Forget
	current := f.catalog.Load(ctx, config.Functions)
	if f.former, err = f.catalog.Former(ctx, current); err != nil {
		return f, fmt.Errorf("read what was published before: %w", err)
	}
	f.all = catalog.Recall(dir, append(slices.Clone(f.former), current...))
	return f, nil
}

// registered returns the functions that a command without a server knows. It reads and checks packages and
// stores nothing.
func registered(ctx context.Context, dir string, config config.Config) []catalog.Function {
	if len(config.Functions) == 0 {
		return nil
	}
	all := catalog.Recall(dir, catalog.Look().Load(ctx, config.Functions))
	for i := range all {
		all[i] = all[i].Seen()
	}
	return all
}

// keepKnown returns a function that stores the state of functions in the data directory, for the next start;
// now may be nil.
func keepKnown(data string, now func() time.Time) func([]catalog.Function) error {
	if now == nil {
		now = time.Now
	}
	return func(all []catalog.Function) error { return catalog.Keep(data, all, now()) }
}

// places returns how many vaults may be open at once. Each run keeps one, and requests must not wait for
// those.
func places(config config.Config) int {
	return max(cmp.Or(config.Vaults, sqlite.MaxVaultsIn(machineMemory())), 2*config.InstancesAtOnce())
}

func (n *node) close() error { return errors.Join(n.vaults.Close(), n.hats.Close()) }

// HATs lists the ids of all HATs.
func (n *node) HATs(context.Context) ([]hat.ID, error) {
	var ids []hat.ID
	for _, h := range n.hats.List() {
		ids = append(ids, h.ID)
	}
	return ids, nil
}

// An opened vault must offer all that each part asks of it.
var _ interface {
	edge.Vault
	hatapi.Vault
	ownapi.Vault
} = (*ledger.Vault)(nil)

// An edgeNode is a node as the edge sees it.
type edgeNode struct{ *node }

// Open opens the vault of one HAT.
func (n edgeNode) Open(ctx context.Context, id hat.ID) (edge.Vault, func(), error) {
	return n.vaults.Open(ctx, id)
}

// An engineNode is a node as the engine sees it.
type engineNode struct {
	*node
	metrics *metrics.Metrics
}

func (n engineNode) Open(ctx context.Context, id hat.ID) (engine.Vault, func(), error) {
	v, release, err := n.vaults.Open(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	return n.metrics.Vault(v), release, nil
}
