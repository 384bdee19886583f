package server

import (
	"cmp"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"syscall"

	"she/internal/config"
	"she/internal/engine"
	"she/internal/sandbox/cgroup"
)

// connectionBounds returns how many connections clients may have, in all and from one address (0: no bound).
func connectionBounds(c config.Config) (all, ofOne int) {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		files.Cur = 1024
	}
	return connectionsFor(c, files.Cur, machineMemory())
}

// connectionsFor is connectionBounds for a number of descriptors and bytes.
func connectionsFor(c config.Config, files, memory uint64) (all, ofOne int) {
	const each = 512 << 10
	all = cmp.Or(c.Connections, int(min(max(min(files/4, memory/each), 256), 16384)))
	if c.ConnectionsPerAddress == 0 && !c.TrustProxy {
		return all, max(all/4, 4)
	}
	return all, c.ConnectionsPerAddress
}

// machineMemory returns the bytes that this process and its sandboxes may use: of the machine, or of its
// cgroup.
func machineMemory() uint64 {
	var info syscall.Sysinfo_t
	if err := syscall.Sysinfo(&info); err != nil {
		return 0
	}
	total := info.Totalram * uint64(info.Unit)
	if limit := cgroup.Memory(); limit > 0 {
		total = min(total, limit)
	}
	return total
}

// sizes says how the memory of a server is divided.
type sizes struct {
	heap     int64 // Go's memory limit
	budget   int64 // what requests and runs may hold at once
	reserved int64 // of the budget, for runs
	runs     int   // at once
}

// leastHeap is enough for the program and the largest request.
const leastHeap = 256 << 20

// sizesFor divides the memory of a machine or container. Half is for the program; the rest is for SQLite's
// pages, sandboxes, and the kernel's page cache. Half of the program's memory is the budget, because amounts
// in the budget are estimates and garbage is collected late. explicit is the limit that the environment has
// set; 0: none.
func sizesFor(c config.Config, machine uint64, explicit int64, runs int) sizes {
	s := sizes{heap: max(int64(machine/2), leastHeap), runs: runs}
	switch {
	case explicit > 0:
		s.heap = explicit
	case c.MemoryMB > 0:
		s.heap = int64(c.MemoryMB) << 20
	}
	s.budget = s.heap / 2
	s.runs = max(1, min(runs, int(s.budget/2/engine.RunHold)))
	s.reserved = int64(s.runs) * engine.RunHold
	return s
}

// explicitLimit returns the value of GOMEMLIMIT; 0: not set, or no limit.
func explicitLimit() int64 {
	if os.Getenv("GOMEMLIMIT") == "" {
		return 0
	}
	if limit := debug.SetMemoryLimit(-1); limit < math.MaxInt64 {
		return limit
	}
	return 0
}

// LimitHeap sets Go's memory limit, unless the environment does.
func LimitHeap(c config.Config) {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(sizesFor(c, machineMemory(), 0, 1).heap)
	}
}

// MoreProcs allows more running goroutines than processors. SQLite waits for the disk in system calls, during
// which Go leaves a processor idle for a while: on two processors, thirty-two writers got half the
// throughput. GOMAXPROCS in the environment overrides it.
func MoreProcs() {
	const waiting = 8 // for the disk, at once
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + waiting)
	}
}
