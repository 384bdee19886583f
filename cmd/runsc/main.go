// Command runsc is gVisor, as its authors publish it in their module, with some things of ours around it: it can stay
// and bring up one sandbox after the other (launch.go), a sandbox's kernel lacks a few system calls (syscalls.go), and
// what each of its short-lived processes would do anew and for nothing is left out. The walls are gVisor's alone.
package main

import (
	"fmt"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	_ "unsafe" // for go:linkname

	"gvisor.dev/gvisor/pkg/log"
	"gvisor.dev/gvisor/pkg/sentry/kernel"
	_ "gvisor.dev/gvisor/pkg/sentry/seccheck"
	"gvisor.dev/gvisor/runsc/cli/maincli"

	"she/internal/sandbox/gvisor/launch"
)

func main() {
	if len(os.Args) == 3 && os.Args[1] == launch.Command && os.Args[2] == launch.Version {
		fmt.Println(launch.Stamp())
		return
	}
	collectLate()
	if len(os.Args) == 2 && os.Args[1] == launch.Command {
		if err := serve(launch.Socket); err != nil {
			fmt.Fprintln(os.Stderr, "runsc: launch:", err)
			os.Exit(1)
		}
		return
	}
	log.SetLevel(log.Warning) // it would be formatted for nobody
	skipTracePoints()
	// Inside a sandbox only the number of processes is limited by cgroups. The other six hierarchies would say nothing true,
	// and be a tenth of what a copy has to load.
	kernel.CgroupCtrls = []kernel.CgroupControllerType{kernel.CgroupControllerPIDs}
	keepProcessors()
	args, err := takeFeatures(os.Args)
	if err == nil {
		args, err = takeSnapshot(args)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "runsc:", err)
		os.Exit(1)
	}
	os.Args = args
	if err := refuseSystemCalls(); err != nil {
		fmt.Fprintln(os.Stderr, "runsc:", err)
		os.Exit(1)
	}
	registerFilter(slices.Contains(os.Args, "gofer"))
	maincli.Main()
}

// tracePoints is what seccheck.Initialize does once.
//
//go:linkname tracePoints gvisor.dev/gvisor/pkg/sentry/seccheck.initOnce
var tracePoints sync.Once

// skipTracePoints saves the kernel of a sandbox the list of what can be traced, some thousand names. Nothing is traced:
// that would take a --pod-init-config.
func skipTracePoints() { tracePoints.Do(func() {}) }

// firstCollection is how large the program's memory may become before garbage is collected at all, in bytes. A copy of
// a function is gone before that; the walls may take 64 MB.
const firstCollection = 40 << 20

// collectLate puts off garbage collection until there is something to gain. From the first one on it is Go's usual
// pace, so that a sandbox that lives and works for minutes does not collect without end near the limit.
func collectLate() {
	runtime.MemProfileRate = 0
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(firstCollection)
	type sentinel struct{ _ [16]byte }
	runtime.SetFinalizer(new(sentinel), func(*sentinel) {
		debug.SetGCPercent(100)
		debug.SetMemoryLimit(math.MaxInt64)
	})
}
