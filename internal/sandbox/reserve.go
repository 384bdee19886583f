package sandbox

import (
	"context"
	"errors"
	"sync"

	"golang.org/x/sys/unix"
)

// WithReserve keeps functions from filling the disk that others commit to: what a mechanism's instances write to /tmp
// lies on the disk of dir. An instance is made, and given its event, only while that disk has the reserve free, in
// bytes, even if every instance that has its event writes all it may. Else the error is the operator's, and the event
// was not handed out.
//
// An instance that waits for its event counts by what it has written so far, not by what it may: many wait.
func WithReserve(m Mechanism, dir string, reserve int64) Mechanism {
	r := &reserved{Mechanism: m, disk: &disk{dir: dir, reserve: reserve, free: freeSpace}}
	if c, ok := m.(Copier); ok {
		return reservedCopier{r, c}
	}
	return r
}

type reserved struct {
	Mechanism
	disk *disk
}

// disk counts what has been promised of one file system.
type disk struct {
	dir     string
	reserve int64
	free    func(dir string) (int64, error)

	mu       sync.Mutex
	promised int64
}

func freeSpace(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * st.Bsize, nil
}

// promise takes n bytes, or says why not; they are given back by the function.
func (d *disk) promise(n int64) (back func(), err error) {
	free, err := d.free(d.dir)
	if err != nil {
		return nil, Failed(Operator, StartFailed, "the free space of the data directory can't be told: %v", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	// What those who run have written already is counted twice: once in their promise, once as used. So functions stop
	// a little early rather than late.
	if left := free - d.promised - n; left < d.reserve {
		return nil, Failed(Operator, StartFailed, "the disk of the data directory has %d MB free; functions may use it down to %d MB, and this one may need %d MB besides those that run",
			free>>20, d.reserve>>20, n>>20)
	}
	d.promised += n
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.promised -= n
	}, nil
}

func (r *reserved) room(p Program) error {
	back, err := r.disk.promise(p.Limits.Tmp)
	if err == nil {
		back()
	}
	return err
}

func (r *reserved) Start(ctx context.Context, p Program) (Instance, Result, error) {
	if err := r.room(p); err != nil {
		return nil, Result{}, err
	}
	i, result, err := r.Mechanism.Start(ctx, p)
	if err != nil {
		return nil, result, err
	}
	return &reservedInstance{i, r.disk, p.Limits.Tmp}, result, nil
}

type reservedCopier struct {
	*reserved
	c Copier
}

func (r reservedCopier) Stamp() string { return r.c.Stamp() }

func (r reservedCopier) Forget(dir string) { r.c.Forget(dir) }

func (r reservedCopier) Files() Files { return r.c.Files() }

func (r reservedCopier) Checkpoint(ctx context.Context, p Program, rehearsals []Call, dir string) (Result, error) {
	if err := r.room(p); err != nil {
		return Result{}, err
	}
	return r.c.Checkpoint(ctx, p, rehearsals, dir)
}

func (r reservedCopier) Restore(ctx context.Context, p Program, dir string) (Instance, error) {
	if err := r.room(p); err != nil {
		return nil, err
	}
	i, err := r.c.Restore(ctx, p, dir)
	if err != nil {
		return nil, err
	}
	return &reservedInstance{i, r.disk, p.Limits.Tmp}, nil
}

type reservedInstance struct {
	Instance
	disk *disk
	tmp  int64
}

func (i *reservedInstance) Run(ctx context.Context, c Call) (Result, error) {
	back, err := i.disk.promise(i.tmp)
	if err != nil {
		return Result{}, errors.Join(err, ErrUnused)
	}
	defer back()
	return i.Instance.Run(ctx, c)
}
