// Package worker is the program she-wasm: one process for one event of a function compiled to WebAssembly (WASI
// preview 1). It compiles or loads the module before there is any data, runs it to the point where it asks for its
// event, serves that one, and ends.
//
// What stands between a module and the machine: the engine (wazero), which lets it reach its own memory and the
// functions of WASI alone; behind that a process in namespaces of its own, with an empty root, as a user that is nobody
// else, without capabilities and descriptors, and with a filter that leaves it a dozen system calls; and its cgroup.
// The module's first instruction runs when all of that stands. The engine's own check of a foreign module runs in the
// namespaces, before the filter.
//
// A process is started in two steps because an identity of its own, a user namespace, can only be had by a fork that
// copies the parent's page tables: better those of this small program than of the server.
package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"golang.org/x/sys/unix"

	"she/internal/runtimeapi"
	"she/internal/sandbox/wasm"
)

// The inner half of a mode runs in namespaces of its own.
const inner = "inner-"

// statusBroken is that of a process that says on standard error what went wrong.
const statusBroken = 1

// Main runs a mode, the first of the arguments, and gives the status to exit with.
func Main(arguments []string) int {
	var status int
	var err error
	mode, rest := "", arguments
	if len(arguments) > 0 {
		mode, rest = arguments[0], arguments[1:]
	}
	switch mode {
	case wasm.Compile, wasm.Serve:
		status, err = outside(inner + mode)
	case inner + wasm.Compile:
		status, err = compile(os.NewFile(3, "module"), os.Stdout)
	case inner + wasm.Serve:
		err = serve(os.NewFile(3, "image"), os.Stdin, os.Stdout)
	case wasm.Prove:
		err = prove(os.Stdout)
	case inner + wasm.Prove:
		err = try(rest, os.Stdout)
	case hasSucceeded: // another program, as one that tries to become that sees it
		_, err = fmt.Print(hasSucceeded)
	default:
		err = errors.New("this program is for she")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "she-wasm:", err) // where the host lets it go
		return statusBroken
	}
	return status
}

// engine is a runtime that compiles into, or loads from, a cache directory.
func engine(ctx context.Context, cache string) (wazero.Runtime, error) {
	c, err := wazero.NewCompilationCacheWithDir(cache)
	if err != nil {
		return nil, err
	}
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler().WithCompilationCache(c).WithDebugInfoEnabled(false))
	if _, err := wasi_snapshot_preview1.Instantiate(ctx, r); err != nil {
		return nil, err
	}
	return r, nil
}

// compile makes an image.
func compile(from io.Reader, to io.Writer) (status int, err error) {
	if err := enter(); err != nil {
		return 0, err
	}
	module, err := io.ReadAll(io.LimitReader(from, wasm.MaxModule+1))
	if err != nil || len(module) > wasm.MaxModule {
		return 0, errors.Join(err, errModule)
	}
	ctx := context.Background()
	whole, bare := filepath.Join(scratch, "whole"), filepath.Join(scratch, "bare")
	r, err := engine(ctx, whole)
	if err != nil {
		return 0, err
	}
	c, err := r.CompileModule(ctx, module)
	if err != nil || c.ExportedFunctions()["_start"] == nil {
		return wasm.StatusInvalid, nil
	}
	if !ofWASI(c, r) {
		return wasm.StatusForeign, nil
	}
	short, err := outline(module)
	if err != nil {
		return wasm.StatusInvalid, nil
	}
	if r, err = engine(ctx, bare); err != nil {
		return 0, err
	}
	if _, err := r.CompileModule(ctx, short); err != nil { // where the engine would look for its code
		return 0, fmt.Errorf("compile the outline: %w", err)
	}
	_, entry, err := onlyFile(whole)
	if err != nil {
		return 0, err
	}
	name, _, err := onlyFile(bare)
	if err != nil {
		return 0, err
	}
	f, err := os.Open(entry)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return 0, writeImage(to, short, name, f)
}

// ofWASI says whether all that a module imports is there.
func ofWASI(c wazero.CompiledModule, r wazero.Runtime) bool {
	have := r.Module(wasi_snapshot_preview1.ModuleName).ExportedFunctionDefinitions()
	for _, want := range c.ImportedFunctions() {
		from, name, _ := want.Import()
		f := have[name]
		if from != wasi_snapshot_preview1.ModuleName || f == nil || fmt.Sprint(f.ParamTypes(), f.ResultTypes()) != fmt.Sprint(want.ParamTypes(), want.ResultTypes()) {
			return false
		}
	}
	return len(c.ImportedMemories()) == 0
}

// onlyFile finds the one file below dir.
func onlyFile(dir string) (name, path string, err error) {
	found := 0
	err = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			found++
			path = p
		}
		return err
	})
	if err == nil && found != 1 {
		err = fmt.Errorf("the engine left %d cache entries, not one", found)
	}
	if err != nil {
		return "", "", err
	}
	name, err = filepath.Rel(dir, path)
	return name, path, err
}

// collectAt is how much garbage the host's side of a module may leave before it is collected, in bytes.
const collectAt = 16 << 20

// serve takes an image to its event, and ends with an answer or a fault on the channel.
func serve(image *os.File, stdin io.Reader, stdout io.Writer) error {
	if err := enter(); err != nil {
		return err
	}
	in := runtimeapi.NewInside(stdin, stdout)
	setup, err := in.Setup()
	if err != nil {
		return err
	}
	ctx := context.Background()
	r, module, err := load(ctx, image)
	if err != nil {
		return errors.Join(err, in.Finish(runtimeapi.End{Fault: &runtimeapi.Fault{Type: wasm.FaultImage, Init: true}}))
	}
	memory, err := reserve(setup.Memory)
	if err != nil {
		return err
	}
	// Not left to the garbage collector: it would close it when the filter holds.
	if err := image.Close(); err != nil {
		return err
	}
	debug.SetMemoryLimit(inUse() + collectAt)
	if err := seal(); err != nil {
		return err
	}
	g := &guest{in: in, setup: setup, memory: memory}
	return in.Finish(g.run(ctx, r, module))
}

// load gives a module that is compiled already.
func load(ctx context.Context, image *os.File) (wazero.Runtime, wazero.CompiledModule, error) {
	short, err := readImage(image, scratch)
	if err != nil {
		return nil, nil, err
	}
	if err := frozen(); err != nil { // so that an outline the engine finds nothing for can't be compiled instead
		return nil, nil, err
	}
	r, err := engine(ctx, scratch)
	if err != nil {
		return nil, nil, err
	}
	module, err := r.CompileModule(ctx, short)
	return r, module, err
}

// reach is how far from its beginning a flaw in the engine's bounds could let a module address memory: a base and an
// offset of 32 bits each.
const reach = 8<<30 + 64<<10

// A reserved is the memory of a module. It never moves, nothing else is within reach behind it, and what the module
// did not grow into takes none of the machine's.
type reserved struct {
	bytes   []byte
	refused bool // more was asked for
}

func reserve(limit int64) (*reserved, error) {
	all, err := unix.Mmap(-1, 0, reach, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("reserve the module's memory: %w", err)
	}
	const page = 64 << 10 // of WebAssembly
	limit = min(limit, 4<<30) / page * page
	if err := unix.Mprotect(all[:limit], unix.PROT_READ|unix.PROT_WRITE); err != nil {
		return nil, fmt.Errorf("reserve the module's memory: %w", err)
	}
	return &reserved{bytes: all[:limit]}, nil
}

// Reallocate implements wazero's LinearMemory.
func (m *reserved) Reallocate(size uint64) []byte {
	if size > uint64(len(m.bytes)) {
		m.refused = true
		return nil
	}
	return m.bytes[:size:size]
}

// Free implements wazero's LinearMemory: it goes with the process.
func (m *reserved) Free() {}
