package worker

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime/metrics"
	"strings"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/sys"
	"golang.org/x/sys/unix"

	"she/internal/runtimeapi"
	"she/internal/sandbox"
	"she/internal/sandbox/wasm"
)

// A guest is the one run of a module. It has one thread.
type guest struct {
	in     *runtimeapi.Inside
	setup  runtimeapi.Setup
	memory *reserved

	given bool // the event is here: INIT is over
	event []byte
	out   []byte
}

// await is called when the module first asks for its event, or first says something that could be an answer.
func (g *guest) await() {
	if g.given {
		return
	}
	if err := g.in.Ready(); err != nil {
		os.Exit(statusBroken) // the host is gone
	}
	_, event, err := g.in.Event(sandbox.MaxEvent)
	if err != nil {
		os.Exit(statusBroken)
	}
	g.given, g.event = true, event
}

// stdin is the event.
type stdin struct{ *guest }

func (s stdin) Read(p []byte) (int, error) {
	s.await()
	if len(s.event) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.event)
	s.event = s.event[n:]
	return n, nil
}

// stdout is the answer. One that gets too large ends the module there and then.
type stdout struct{ *guest }

func (s stdout) Write(p []byte) (int, error) {
	s.await()
	if len(s.out)+len(p) > s.setup.MaxAnswer {
		s.out = nil
		_ = s.in.Finish(runtimeapi.End{Fault: &runtimeapi.Fault{Type: sandbox.ResponseSizeTooLarge}})
		os.Exit(0)
	}
	s.out = append(s.out, p...)
	return len(p), nil
}

// run gives how it ended.
func (g *guest) run(ctx context.Context, r wazero.Runtime, module wazero.CompiledModule) runtimeapi.End {
	err := g.start(ctx, r, module)
	fault := runtimeapi.Fault{Type: wasm.FaultTrap, Init: !g.given}
	var exit *sys.ExitError
	if errors.As(err, &exit) {
		fault = runtimeapi.Fault{Type: sandbox.ExitError, Init: !g.given, Exited: true, Status: int(exit.ExitCode() & 0xff)}
	}
	switch {
	case err == nil, exit != nil && exit.ExitCode() == 0:
		g.await() // one that wants no event gets it all the same, and answers nothing before
		return runtimeapi.End{Answer: g.out}
	case g.memory.refused:
		return runtimeapi.End{Fault: &runtimeapi.Fault{Type: sandbox.OutOfMemory, Init: !g.given}}
	case exit != nil && isError(g.out):
		end := runtimeapi.End{Fault: &runtimeapi.Fault{Type: sandbox.Unhandled, Init: !g.given}}
		if len(g.out) <= maxDocument {
			end.Document = g.out
		}
		return end
	default:
		return runtimeapi.End{Fault: &fault}
	}
}

// start runs the module to its end. All it gets is here.
func (g *guest) start(ctx context.Context, r wazero.Runtime, module wazero.CompiledModule) (err error) {
	defer func() {
		if recover() != nil { // the engine's way of saying that the memory it wants at once is refused
			err = errors.New("the engine gave up")
		}
	}()
	ctx = experimental.WithMemoryAllocator(ctx, experimental.MemoryAllocatorFunc(func(_, _ uint64) experimental.LinearMemory { return g.memory }))
	config := wazero.NewModuleConfig().WithName("").WithArgs(filepath.Base(g.setup.Command[0])).
		WithStdin(stdin{g}).WithStdout(stdout{g}).WithStderr(g.in.Log()).
		WithRandSource(rand.Reader).WithSysWalltime().WithSysNanotime().WithNanosleep(sleep)
	for _, pair := range g.setup.Env {
		if name, value, ok := strings.Cut(pair, "="); ok {
			config = config.WithEnv(name, value)
		}
	}
	_, err = r.InstantiateModule(ctx, module, config)
	return err
}

// sleep keeps the thread: Go's own timers would need others.
func sleep(ns int64) {
	left := unix.NsecToTimespec(max(0, ns))
	for errors.Is(unix.Nanosleep(&left, &left), unix.EINTR) {
	}
}

// isError says whether what a function that failed left on standard output is an error in Lambda's form.
func isError(output []byte) bool {
	var d struct {
		Message *string `json:"errorMessage"`
		Type    *string `json:"errorType"`
	}
	return json.Unmarshal(output, &d) == nil && (d.Message != nil || d.Type != nil)
}

// maxDocument is what the channel takes.
const maxDocument = 256 << 10

// inUse is the memory Go's runtime has of the system's, in bytes.
func inUse() int64 {
	all := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(all)
	return int64(all[0].Value.Uint64() - all[1].Value.Uint64())
}
