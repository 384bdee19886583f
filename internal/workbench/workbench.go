// Package workbench tries a function of a project on this machine, without a server, a HAT or a
// configuration. The function runs in the same sandbox, with the same limits and checks, as in production.
//
// The package guarantees that its report is what the engine would do with the same answer, because it uses
// the engine's own parts. It does not guarantee the same times: no instance waits warm here, and each try
// starts its sandbox.
//
// The input is a project and an event, or data; the output is a Report. A try leaves only what makes the next
// one faster: unpacked packages, compiled bootstraps, and file images of the machine's programs.
package workbench

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"she/internal/catalog"
	"she/internal/invoke"
	"she/internal/runtimes"
	"she/internal/sandbox"
	"she/internal/sandbox/gvisor"
	"she/internal/sandbox/rootless"
	"she/internal/sandbox/wasm"
)

// Place says where a Bench finds its programs and stores its files. All paths are absolute.
type Place struct {
	Runsc, Init, Wasm string // Wasm may be empty: then WebAssembly is refused
	Cache             string // a directory of the user; several Benches may share it
	Files             string // file images of the machine's programs: gvisor.Config.Files
}

// New reports whether the file images of the machine's programs do not exist yet. The first sandbox that
// needs one waits for it.
func (p Place) New() bool {
	images, err := filepath.Glob(filepath.Join(p.Files, "*.erofs"))
	return err == nil && len(images) == 0
}

// A Bench can try functions, one try at a time.
type Bench struct {
	dir     string // this Bench's part of the cache
	lock    *os.File
	invoker *invoke.Invoker
	catalog *catalog.Catalog
	unheld  bool // no cgroups: CPU is counted and compared with the share
}

// mostBenches bounds how many Benches over one cache may be open at once.
const mostBenches = 64

// Open takes an unused part of the cache and prepares the sandbox. It removes what killed Benches left in any
// part.
func Open(ctx context.Context, p Place) (_ *Bench, err error) {
	b, err := take(p.Cache)
	if err != nil {
		return nil, fmt.Errorf("prepare %s: %w", p.Cache, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.lock.Close())
		}
	}()
	if b.invoker, err = newInvoker(p, b.dir); err != nil {
		return nil, err
	}
	if err = b.invoker.Sweep(ctx); err == nil {
		b.catalog, err = catalog.Open(b.dir)
	}
	if err != nil {
		return nil, errors.Join(err, b.invoker.Close())
	}
	b.unheld = rootless.Inside()
	b.catalog.Supports, b.catalog.Gone = b.invoker.Supports, b.invoker.Forget
	return b, nil
}

// take locks the first free part of the cache. Free parts after it belonged to Benches that have ended. take
// removes the files that these left, so that the cache does not grow whenever two Benches were open at once.
func take(cache string) (b *Bench, err error) {
	for n := range mostBenches {
		dir := filepath.Join(cache, strconv.Itoa(n))
		if b != nil {
			if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
				return b, nil
			}
		}
		lock, err := lockOf(dir)
		if err != nil {
			return nil, err
		}
		switch {
		case lock == nil: // in use
		case b == nil:
			b = &Bench{dir: dir, lock: lock}
			if err := os.RemoveAll(b.temp()); err != nil {
				return nil, errors.Join(err, lock.Close())
			}
		default:
			_ = os.RemoveAll(filepath.Join(dir, "try"))
			_ = lock.Close()
		}
	}
	if b == nil {
		return nil, fmt.Errorf("%d are in use", mostBenches)
	}
	return b, nil
}

// lockOf returns the lock of a part of the cache, and creates the part if needed. It returns nil if the part
// is in use.
func lockOf(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = lock.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, nil
		}
		return nil, err
	}
	return lock, nil
}

// temp returns the directory of one try. It holds the vault and other temporary files.
func (b *Bench) temp() string { return filepath.Join(b.dir, "try") }

func newInvoker(p Place, dir string) (*invoke.Invoker, error) {
	walls := gvisor.Config{Runsc: p.Runsc, Init: p.Init, State: filepath.Join(dir, "sandboxes"), Files: p.Files}
	modules := wasm.Config{Worker: p.Wasm, State: filepath.Join(dir, "wasm")}
	if rootless.Inside() {
		if err := rootless.Settle(); err != nil {
			return nil, err
		}
		walls.Rootless, walls.Run = true, rootless.RunDir
		modules.Rootless = true
	}
	w, err := gvisor.New(walls)
	if err != nil {
		return nil, err
	}
	var module sandbox.Mechanism
	if p.Wasm != "" {
		if module, err = wasm.New(modules); err != nil {
			return nil, errors.Join(err, w.Close())
		}
	}
	v, err := invoke.New(invoke.Config{
		Sandbox: w, Wasm: module, Runtimes: filepath.Join(dir, "runtimes"), MaxInstances: 2, WaitingBytes: -1,
		Find: runtimes.Finder{Compiled: filepath.Join(filepath.Dir(dir), "compiled")},
	})
	if err != nil {
		if module != nil {
			err = errors.Join(err, module.Close())
		}
		return nil, errors.Join(err, w.Close())
	}
	return v, nil
}

// Close ends running sandboxes and frees the part of the cache.
func (b *Bench) Close() error {
	return errors.Join(b.invoker.Close(), os.RemoveAll(b.temp()), b.lock.Close())
}

// Project reads a project and unpacks the packages of the function w. Errors are those of catalog.Prepare.
func (b *Bench) Project(ctx context.Context, w catalog.Wanted) (catalog.Function, error) {
	f, err := b.catalog.Prepare(ctx, w)
	if err != nil {
		return f, err
	}
	now := time.Now()
	for _, e := range []catalog.Entry{f.Configuration, f.Bundle, f.Process} {
		if e.Package.Dir != "" {
			_ = os.Chtimes(filepath.Dir(e.Package.Dir), now, now) // its time is that of its last use
		}
	}
	return f, b.prune()
}

// keepPackages is how many unpacked packages are kept. Each saved change of a project makes another package.
const keepPackages = 16

// prune removes the least recently used packages, with their file images.
func (b *Bench) prune() error {
	entries, err := os.ReadDir(filepath.Join(b.dir, "packages"))
	if err != nil {
		return err
	}
	type kept struct {
		digest string
		used   time.Time
	}
	var all []kept
	for _, e := range entries {
		if info, err := e.Info(); err == nil && e.IsDir() {
			all = append(all, kept{"sha256:" + e.Name(), info.ModTime()})
		}
	}
	if len(all) <= keepPackages {
		return nil
	}
	slices.SortFunc(all, func(a, b kept) int { return b.used.Compare(a.used) })
	var keep []catalog.Function
	for _, k := range all[:keepPackages] {
		keep = append(keep, catalog.Function{Package: catalog.Package{Digest: k.digest}})
	}
	_, err = b.catalog.Prune(keep)
	return err
}

// requestSlack is the time a call may take besides the function's own time: to start its sandbox, and the
// first time to copy the machine's programs into a file image.
const requestSlack = 5 * time.Minute
