package wasm

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"she/internal/sandbox"
	"she/internal/sandbox/cgroup"
)

// What compiling one module may take: some engine work is more than proportional to the largest function.
const (
	compileTime   = 2 * time.Minute
	compileMemory = 2 << 30
	maxKnown      = 4096 // modules whose digest, or failure, is remembered
)

// images are modules after compilation, one file for each under the module's digest. They hold no data of anyone, and
// are hints: what is missing or broken is made again. A worker makes them, behind walls like those of the workers that
// will run them; nothing of the server reads what is in them.
type images struct {
	m      *Mechanism
	dir    string
	stamp  string // of she-wasm
	budget int64
	places chan struct{} // bounds how many are made at once

	closing context.Context
	cancel  context.CancelFunc
	work    sync.WaitGroup

	mu    sync.Mutex
	known map[file]*entry
}

// file names a module. A package never changes; the rest is for those who work on theirs.
type file struct {
	name string
	size int64
	mod  time.Time
}

// entry is one module; path and err are fixed once ready is closed.
type entry struct {
	ready chan struct{}
	path  string
	err   error
}

func openImages(m *Mechanism, dir, stamp string, budget int64) (*images, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	im := &images{m: m, dir: dir, stamp: stamp, budget: budget, places: make(chan struct{}, max(1, runtime.NumCPU()/2)), known: map[file]*entry{}}
	im.closing, im.cancel = context.WithCancel(context.Background())
	return im, nil
}

func (im *images) close() {
	im.cancel()
	im.work.Wait()
}

// open gives the image of a program's module, which is compiled if it has none. The end of ctx ends the wait for that;
// the compilation is for all and goes on.
func (im *images) open(ctx context.Context, p sandbox.Program) (*os.File, error) {
	name, ok := strings.CutPrefix(p.Command[0], "/var/task/")
	if !ok || !filepath.IsLocal(name) {
		return nil, sandbox.Failed(sandbox.Author, sandbox.InvalidEntrypoint, "the handler names no file in the package")
	}
	module, err := os.OpenInRoot(p.Dir, name)
	if err != nil {
		return nil, sandbox.Failed(sandbox.Author, sandbox.InvalidEntrypoint, "the package has no module %q", name)
	}
	defer module.Close()
	info, err := module.Stat()
	switch {
	case err != nil || !info.Mode().IsRegular():
		return nil, sandbox.Failed(sandbox.Author, sandbox.InvalidEntrypoint, "the package has no module %q", name)
	case info.Size() > MaxModule:
		return nil, sandbox.Failed(sandbox.Author, sandbox.InvalidEntrypoint, "the module has %d bytes, at most %d are allowed", info.Size(), MaxModule)
	}
	f := file{filepath.Join(p.Dir, name), info.Size(), info.ModTime()}
	for range 2 { // the second time if it was evicted
		e, err := im.entry(f, module)
		if err != nil {
			return nil, err
		}
		select {
		case <-e.ready:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		if e.err != nil {
			return nil, e.err
		}
		image, err := os.Open(e.path)
		if err == nil {
			now := time.Now()
			_ = os.Chtimes(e.path, now, now) // its time is that of its last use
			return image, nil
		}
		im.forget(f, e)
	}
	return nil, unable(errors.New("the compiled module was removed at once"))
}

// entry gives that of a module, and has it compiled if it is new.
func (im *images) entry(f file, module *os.File) (*entry, error) {
	im.mu.Lock()
	defer im.mu.Unlock()
	if e := im.known[f]; e != nil {
		return e, nil
	}
	if im.closing.Err() != nil {
		return nil, errors.New("the mechanism is closed")
	}
	own, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", module.Fd())) // the same file, with an offset of its own
	if err != nil {
		return nil, unable(err)
	}
	if len(im.known) >= maxKnown {
		clear(im.known)
	}
	e := &entry{ready: make(chan struct{})}
	im.known[f] = e
	im.work.Go(func() {
		defer own.Close()
		defer close(e.ready)
		e.path, e.err = im.make(own)
		var failure *sandbox.Failure
		if e.err != nil && !(errors.As(e.err, &failure) && failure.Blame == sandbox.Author) {
			im.forget(f, e) // what is not the module's fault may be better the next time
		}
	})
	return e, nil
}

func (im *images) forget(f file, e *entry) {
	im.mu.Lock()
	defer im.mu.Unlock()
	if im.known[f] == e {
		delete(im.known, f)
	}
}

// remove removes an image that can't be used.
func (im *images) remove(path string) {
	_ = os.Remove(path)
}

// make gives the path of a module's image.
func (im *images) make(module *os.File) (path string, err error) {
	sum := sha256.New()
	fmt.Fprintf(sum, "%s %s\n", im.stamp, runtime.GOARCH)
	if _, err := io.Copy(sum, module); err != nil {
		return "", unable(errors.New("the module can't be read"))
	}
	path = filepath.Join(im.dir, hex.EncodeToString(sum.Sum(nil)[:20]))
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if _, err := module.Seek(0, io.SeekStart); err != nil {
		return "", unable(err)
	}
	select {
	case im.places <- struct{}{}:
		defer func() { <-im.places }()
	case <-im.closing.Done():
		return "", errors.New("the mechanism is closed")
	}
	half, err := os.CreateTemp(im.dir, ".making-")
	if err != nil {
		return "", unable(err)
	}
	defer os.Remove(half.Name())
	err = im.compile(module, half)
	if err == nil {
		err = half.Close()
	} else {
		_ = half.Close()
	}
	if err == nil {
		err = os.Rename(half.Name(), path)
	}
	if err == nil {
		im.evict(path)
		return path, nil
	}
	var failure *sandbox.Failure
	if !errors.As(err, &failure) {
		err = unable(err)
	}
	return "", err
}

// compile has a worker make an image.
func (im *images) compile(module, to *os.File) (err error) {
	ctx, cancel := context.WithTimeout(im.closing, compileTime)
	defer cancel()
	w, err := im.m.start(Compile, module, compileMemory)
	defer func() { err = errors.Join(err, w.end()) }()
	if err != nil {
		return err
	}
	if err := w.group.Throttle(1); err != nil {
		return err
	}
	stop := w.killOn(ctx)
	defer stop()
	n, err := io.Copy(to, io.LimitReader(w.stdout, MaxImage+1))
	if n > MaxImage {
		return sandbox.Failed(sandbox.Author, sandbox.InvalidEntrypoint, "the compiled module would have more than %d MB", MaxImage>>20)
	}
	if err != nil {
		return err
	}
	<-w.exited
	switch {
	case im.closing.Err() != nil:
		return errors.New("the mechanism is closed")
	case ctx.Err() != nil:
		return sandbox.Failed(sandbox.Author, sandbox.InvalidEntrypoint, "the module could not be compiled within %s", compileTime)
	case w.group.OutOfMemory() == cgroup.MachineExceeded:
		return sandbox.EndedForMemory()
	case w.group.OutOfMemory() == cgroup.LimitReached:
		return sandbox.Failed(sandbox.Author, sandbox.InvalidEntrypoint, "the module could not be compiled within %d MB of memory", compileMemory>>20)
	case w.status == StatusInvalid:
		return sandbox.Failed(sandbox.Author, sandbox.InvalidEntrypoint, "the module is no WASI command: it must be valid WebAssembly 2.0 with a function _start (GOOS=wasip1, wasm32-wasi)")
	case w.status == StatusForeign:
		return sandbox.Failed(sandbox.Author, sandbox.InvalidEntrypoint, "the module imports what is not there: only the functions of WASI preview 1 are")
	case w.status != 0:
		return w.complaint()
	}
	return nil
}

// evict removes the images used least recently, but not this one, until all are within the budget.
func (im *images) evict(keep string) {
	type image struct {
		path string
		used time.Time
		size int64
	}
	var all []image
	var total int64
	entries, err := os.ReadDir(im.dir)
	if err != nil {
		return
	}
	for _, d := range entries {
		if info, err := d.Info(); err == nil && d.Name()[0] != '.' {
			total += info.Size()
			all = append(all, image{filepath.Join(im.dir, d.Name()), info.ModTime(), info.Size()})
		}
	}
	slices.SortFunc(all, func(a, b image) int { return a.used.Compare(b.used) })
	for _, i := range all {
		if total <= im.budget {
			return
		}
		if i.path != keep && os.Remove(i.path) == nil { // workers that load it have it open
			total -= i.size
		}
	}
}

// sweep removes what an earlier life began and did not finish.
func (im *images) sweep() error {
	half, err := filepath.Glob(filepath.Join(im.dir, ".making-*"))
	for _, path := range half {
		if e := os.Remove(path); !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}
