// Package workbench tries a function of somebody's project on this machine, without a server, a HAT or a
// configuration: in the sandbox, within the limits and past the checks that it will meet in production.
//
// It promises that what it reports is what the engine would have done with the same answer: the parts are the
// engine's own. It does not promise the same times: nothing waits warm here, and each try starts its sandbox.
//
// A project and an event, or data, go in as values, and a Report comes out. Nothing of a try stays but what
// makes the next one quicker: unpacked packages, compiled bootstraps, and images of the machine's programs.
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

// Place says where a Bench finds its programs and keeps its files. All paths are absolute.
type Place struct {
	Runsc, Init, Wasm string // Wasm may be empty: WebAssembly is refused then
	Cache             string // a directory of the person's own; several Benches may share it
	Files             string // images of the machine's programs: gvisor.Config.Files
}

// New says whether the machine's programs have no image yet: the first sandbox waits for one where it needs
// one.
func (p Place) New() bool {
	images, err := filepath.Glob(filepath.Join(p.Files, "*.erofs"))
	return err == nil && len(images) == 0
}

// A Bench has what it takes to try functions. One try at a time.
type Bench struct {
	dir     string // this Bench's part of the cache
	lock    *os.File
	invoker *invoke.Invoker
	catalog *catalog.Catalog
	unheld  bool // no cgroups: CPU is counted, and compared with the share
}

// mostBenches bounds how many may be open at once over one cache.
const mostBenches = 64

// Open takes a part of the cache that nobody uses, removes what a Bench that was killed left in any of them,
// and prepares the walls.
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

// take locks the first part of the cache that is free. Those behind it that are free too are left of Benches
// that ended: they are removed, so that the cache doesn't grow with each two that were open at once.
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

// lockOf gives the lock of a part of the cache, which it makes if need be; nil if somebody has it.
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

// temp is the directory of one try: a vault, and what is made for it.
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

// Close ends whatever runs and gives the part of the cache back.
func (b *Bench) Close() error {
	return errors.Join(b.invoker.Close(), os.RemoveAll(b.temp()), b.lock.Close())
}

// Project reads a project and unpacks the packages of the function wanted. Errors are those of
// catalog.Prepare.
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

// keepPackages is how many packages are kept unpacked: each saved change of a project is another one.
const keepPackages = 16

// prune removes the packages that were not used for longest, with the images of them.
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

// requestSlack is what a call may take beside the function's own time: starting its sandbox, and the first
// time copying the machine's programs into an image.
const requestSlack = 5 * time.Minute
