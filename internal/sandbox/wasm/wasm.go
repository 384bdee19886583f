// Package wasm runs functions compiled to WebAssembly (WASI preview 1) in this process: the event is the program's
// standard input, its standard output the answer, its standard error the log. A module is compiled once; each event
// gets a fresh instance, in a fraction of a millisecond, that has no file, no socket and no way to name one.
//
// The wall is the engine's (wazero, pure Go): a flaw in it would put the function into the server. So a server runs
// WebAssembly only if its operator chose to. What it can't do here: hold a function to a share of a CPU, or count what
// it used. A function that computes without end is stopped by checks the compiler puts into its loops.
package wasm

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"github.com/tetratelabs/wazero/sys"

	"she/internal/runtimeapi"
	"she/internal/sandbox"
)

const (
	page      = 64 << 10 // of WebAssembly memory
	maxModule = 64 << 20 // bytes of a module: compiling takes time and memory of ours
	maxKept   = 64       // compiled modules
)

// Mechanism runs WebAssembly modules.
type Mechanism struct {
	mu      sync.Mutex
	modules map[key]*module
	closed  bool
}

var _ sandbox.Mechanism = (*Mechanism)(nil)

// key names a compiled module. A package never changes; the rest is for those who work on theirs.
type key struct {
	file   string
	size   int64
	mod    time.Time
	memory int64
}

// module is a compiled one, with the runtime whose memory limit it is for. The Mechanism's lock guards users and used;
// once ready is closed the rest is fixed.
type module struct {
	ready    chan struct{}
	err      error
	runtime  wazero.Runtime
	compiled wazero.CompiledModule
	users    int
	used     time.Time
}

// New makes a Mechanism; it holds nothing outside of this process.
func New() *Mechanism { return &Mechanism{modules: map[key]*module{}} }

// Start implements sandbox.Mechanism. Command[0] names the module, as seen inside: "/var/task/handler.wasm".
func (m *Mechanism) Start(ctx context.Context, p sandbox.Program) (sandbox.Instance, sandbox.Result, error) {
	began := time.Now()
	name, ok := strings.CutPrefix(p.Command[0], "/var/task/")
	if !ok || !filepath.IsLocal(name) {
		return nil, sandbox.Result{}, sandbox.Failed(sandbox.Author, sandbox.InvalidEntrypoint, "the handler names no file in the package")
	}
	file := filepath.Join(p.Dir, name)
	info, err := os.Stat(file)
	switch {
	case err != nil || !info.Mode().IsRegular():
		return nil, sandbox.Result{}, sandbox.Failed(sandbox.Author, sandbox.InvalidEntrypoint, "the package has no module %q", name)
	case info.Size() > maxModule:
		return nil, sandbox.Result{}, sandbox.Failed(sandbox.Author, sandbox.InvalidEntrypoint, "the module has %d bytes, at most %d are allowed", info.Size(), maxModule)
	}
	c, err := m.module(ctx, key{file, info.Size(), info.ModTime(), p.Limits.Memory})
	if err != nil {
		return nil, sandbox.Result{}, err
	}
	return &instance{m: m, module: c, env: p.Env}, sandbox.Result{Init: time.Since(began)}, nil
}

// module gives a compiled module; the caller gives it back with release.
func (m *Mechanism) module(ctx context.Context, k key) (*module, error) {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return nil, errors.New("the mechanism is closed")
	}
	c := m.modules[k]
	if c == nil {
		c = &module{ready: make(chan struct{})}
		m.modules[k] = c
		go c.compile(k)
	}
	c.users++
	c.used = time.Now()
	m.evictLocked()
	m.mu.Unlock()
	select {
	case <-c.ready:
	case <-ctx.Done(): // compiling can't be stopped, but waiting for it can
		m.release(c)
		return nil, context.Cause(ctx)
	}
	if c.err != nil {
		m.release(c)
		return nil, c.err
	}
	return c, nil
}

func (c *module) compile(k key) {
	defer close(c.ready)
	// Not the end of any one call: the module is for all.
	ctx := context.Background()
	code, err := os.ReadFile(k.file)
	if err != nil {
		c.err = sandbox.Failed(sandbox.Operator, sandbox.StartFailed, "the module can't be read")
		return
	}
	c.runtime = wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfig().
		WithCloseOnContextDone(true).WithMemoryLimitPages(uint32(max(1, k.memory/page))))
	if _, err = wasi_snapshot_preview1.Instantiate(ctx, c.runtime); err == nil {
		c.compiled, err = c.runtime.CompileModule(ctx, code)
	}
	if err == nil && c.compiled.ExportedFunctions()["_start"] == nil {
		err = errors.New("no _start")
	}
	if err != nil { // its text may quote names from the module
		c.err = sandbox.Failed(sandbox.Author, sandbox.InvalidEntrypoint, "the module is no WASI command that can be compiled within %d MB", k.memory>>20)
	}
}

func (c *module) close() {
	if c.runtime != nil {
		_ = c.runtime.Close(context.Background())
	}
}

func (m *Mechanism) release(c *module) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c.users--
	m.evictLocked()
}

// evictLocked closes the modules used least recently, until no more than maxKept are left or all are in use.
func (m *Mechanism) evictLocked() {
	for len(m.modules) > maxKept {
		var oldest key
		for k, c := range m.modules {
			if o := m.modules[oldest]; c.users == 0 && (o == nil || c.used.Before(o.used)) {
				oldest = k
			}
		}
		c := m.modules[oldest]
		if c == nil {
			return
		}
		delete(m.modules, oldest)
		<-c.ready // nobody waits for it, so it was compiled long ago
		c.close()
	}
}

// Sweep implements sandbox.Mechanism: nothing outlives the process.
func (m *Mechanism) Sweep(context.Context) error { return nil }

// Close implements sandbox.Mechanism.
func (m *Mechanism) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	for k, c := range m.modules {
		<-c.ready
		c.close()
		delete(m.modules, k)
	}
	return nil
}

// instance is a module that waits for its event; its memory is made when the event is there.
type instance struct {
	m      *Mechanism
	module *module
	env    []string

	mu     sync.Mutex
	stop   context.CancelCauseFunc // ends a run
	closed bool
	done   sync.WaitGroup
}

// Memory implements sandbox.Instance.
func (i *instance) Memory() int64 { return 0 }

var errClosed = errors.New("the instance is closed")

// Run implements sandbox.Instance.
func (i *instance) Run(ctx context.Context, c sandbox.Call) (sandbox.Result, error) {
	if len(c.Event) > sandbox.MaxEvent {
		return sandbox.Result{}, sandbox.Failed(sandbox.Author, sandbox.RequestTooLarge, "the event has %d bytes, at most %d are allowed", len(c.Event), sandbox.MaxEvent)
	}
	late := sandbox.Failed(sandbox.Author, sandbox.Timedout, "the function was not done by its deadline, %s", c.Deadline.UTC().Format("15:04:05.000"))
	ctx, cancel := context.WithDeadlineCause(ctx, c.Deadline, late)
	defer cancel()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	i.mu.Lock()
	if i.closed || i.stop != nil {
		i.mu.Unlock()
		return sandbox.Result{}, errClosed
	}
	i.stop = stop
	i.done.Add(1)
	i.mu.Unlock()
	defer i.done.Done()

	log := runtimeapi.NewHeadTail(sandbox.MaxLog)
	answer := &answer{stop: stop}
	program, err := i.module.runtime.InstantiateModule(ctx, i.module.compiled, i.config(ctx, c, answer, log))
	result := sandbox.Result{Log: log.Bytes()}
	if program != nil {
		if memory := program.Memory(); memory != nil {
			result.Usage.MaxMemory = int64(memory.Size())
		}
		_ = program.Close(context.WithoutCancel(ctx))
	}
	var exit *sys.ExitError
	switch {
	case ctx.Err() != nil:
		return result, context.Cause(ctx)
	case errors.As(err, &exit) && exit.ExitCode() != 0:
		return result, sandbox.Failed(sandbox.Author, sandbox.ExitError, "the program exited with status %d", exit.ExitCode())
	case err != nil && exit == nil: // a trap; its text may quote names from the module
		return result, sandbox.Failed(sandbox.Author, sandbox.ExitError, "the program trapped")
	}
	result.Payload = answer.b.Bytes()
	return result, nil
}

// config is all a program gets.
func (i *instance) config(ctx context.Context, c sandbox.Call, out, log io.Writer) wazero.ModuleConfig {
	config := wazero.NewModuleConfig().WithName("").WithArgs("function").
		WithStdin(bytes.NewReader(c.Event)).WithStdout(out).WithStderr(log).
		WithRandSource(rand.Reader).WithSysWalltime().WithSysNanotime().
		WithNanosleep(func(ns int64) {
			timer := time.NewTimer(time.Duration(ns))
			defer timer.Stop()
			select {
			case <-timer.C:
			case <-ctx.Done():
			}
		})
	for _, pair := range append(i.env, "AWS_LAMBDA_REQUEST_ID="+c.ID, fmt.Sprint("AWS_LAMBDA_DEADLINE_MS=", c.Deadline.UnixMilli())) {
		if name, value, ok := strings.Cut(pair, "="); ok {
			config = config.WithEnv(name, value)
		}
	}
	return config
}

// Close implements sandbox.Instance.
func (i *instance) Close() error {
	i.mu.Lock()
	if i.closed {
		i.mu.Unlock()
		return nil
	}
	i.closed = true
	if i.stop != nil {
		i.stop(errClosed)
	}
	i.mu.Unlock()
	i.done.Wait()
	i.m.release(i.module)
	return nil
}

// answer collects standard output and ends a run that writes too much.
type answer struct {
	b    bytes.Buffer
	stop context.CancelCauseFunc
}

func (a *answer) Write(p []byte) (int, error) {
	if a.b.Len()+len(p) > sandbox.MaxAnswer {
		a.stop(sandbox.Reported(sandbox.ResponseSizeTooLarge))
		return 0, io.ErrShortWrite
	}
	return a.b.Write(p)
}
