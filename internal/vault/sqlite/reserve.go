package sqlite

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A reserve is room on the disk that only erasing, disabling and the ends of runs may use. It is a file that
// exists only for its size. If one of these finds the disk full, the file is removed. From then on nothing is
// allowed that makes a HAT hold more, so that nobody else takes the room. The file is created again when
// there is enough room.
//
// Checking the free space alone would not do, because other programs fill disks too.
type reserve struct {
	path string
	size int64
	gone atomic.Bool // the reserve is used up

	mu     sync.Mutex
	again  *time.Timer
	closed bool
}

const (
	reserveName  = "reserve"
	reserveShare = 4 // the reserve is at most this share of the disk
	// tryAgain is how long the reserve waits between checks for room.
	tryAgain = time.Second
)

func newReserve(dir string, size int64) (*reserve, error) {
	var disk unix.Statfs_t
	if err := unix.Statfs(dir, &disk); err != nil {
		return nil, fmt.Errorf("the size of the disk of %s: %w", dir, err)
	}
	r := &reserve{path: filepath.Join(dir, reserveName), size: min(size, int64(disk.Blocks)*disk.Bsize/reserveShare)}
	var has unix.Stat_t
	if err := unix.Stat(r.path, &has); err == nil && has.Size >= r.size && has.Blocks*512 >= r.size {
		return r, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.makeLocked(0)
	return r, nil
}

// givenUp reports whether the reserve is used up. The rest of the disk then belongs to those it is for.
func (r *reserve) givenUp() bool { return r != nil && r.gone.Load() }

// use removes the reserve; false: there is none.
func (r *reserve) use() bool {
	if r == nil {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || r.gone.Load() {
		return false
	}
	r.gone.Store(true)
	err := os.Truncate(r.path, 0)
	r.laterLocked()
	return err == nil
}

func (r *reserve) laterLocked() {
	if r.closed {
		return
	}
	r.again = time.AfterFunc(tryAgain, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if !r.closed {
			r.makeLocked(r.size / 2)
		}
	})
}

// makeLocked creates the file if left bytes remain free beside it; else it is tried again later.
func (r *reserve) makeLocked(left int64) {
	if err := r.make(left); err != nil {
		_ = os.Truncate(r.path, 0)
		r.gone.Store(true)
		r.laterLocked()
		return
	}
	r.gone.Store(false)
}

func (r *reserve) make(left int64) error {
	var disk unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(r.path), &disk); err != nil {
		return err
	}
	if int64(disk.Bavail)*disk.Bsize < r.size+left {
		return unix.ENOSPC
	}
	f, err := os.OpenFile(r.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	err = unix.Fallocate(int(f.Fd()), 0, 0, r.size)
	if errors.Is(err, unix.EOPNOTSUPP) {
		zeros := make([]byte, 1<<20)
		for at := int64(0); at < r.size; at += int64(len(zeros)) {
			if _, err := f.WriteAt(zeros, at); err != nil {
				return err
			}
		}
		err = nil
	}
	if err != nil {
		return err
	}
	return f.Sync()
}

func (r *reserve) close() {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	if r.again != nil {
		r.again.Stop()
	}
}
