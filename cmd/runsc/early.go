package main

import (
	"reflect"
	"sync/atomic"
	"time"
	_ "unsafe" // for go:linkname

	"gvisor.dev/gvisor/pkg/context"
	"gvisor.dev/gvisor/pkg/sentry/kernel"
	"gvisor.dev/gvisor/pkg/sync"
)

// early is what a kernel does once, soon after a program first runs in it. Most copies of a function are gone before gVisor
// would have done the same.
var early struct {
	over     atomic.Bool // all is done
	switches atomic.Int64
	first    atomic.Int64 // when a program first ran, as time since the process began; its clocks were read before
	clocks   atomic.Bool  // they are known
}

const (
	// apart is how long after a program first runs the kernel's clocks are compared with the machine's again. The error of
	// one comparison is a fraction of a microsecond, so the rate is right within some dozen parts in a million, and gVisor
	// corrects it from the next second on.
	apart = 4 * time.Millisecond
	// spinAfter is how often a program needs its kernel before the two may wait for each other on their processors instead
	// of asleep. It is more often than a copy does until its answer, or a program in Go while it starts.
	spinAfter = 2000
)

var began = time.Now()

// soon is called each time a program is to run, until early.over.
func soon(ctx context.Context) {
	if early.switches.Add(1) == spinAfter {
		spin()
	}
	if !early.clocks.Load() {
		knowClocks(ctx)
	}
	if early.switches.Load() >= spinAfter && early.clocks.Load() {
		early.over.Store(true)
	}
}

// knowClocks lets programs read the time without their kernel. gVisor compares its clocks with the machine's each second, and
// knows their rate from the second comparison on. Until then each reading is a system call, which a copy of a function
// would make about a hundred times: nearly as often as all others.
func knowClocks(ctx context.Context) {
	now := int64(time.Since(began))
	if early.first.CompareAndSwap(0, now) || now-early.first.Load() < int64(apart) || !early.clocks.CompareAndSwap(false, true) {
		return
	}
	if k := kernel.KernelFromContext(ctx); k != nil {
		compareClocks(k.Timekeeper())
	}
}

// compareClocks does what gVisor's timer does each second.
func compareClocks(t *kernel.Timekeeper) {
	held := reflect.ValueOf(t).Elem().FieldByName("updateMu")
	if !held.IsValid() || held.Type() != reflect.TypeFor[sync.Mutex]() {
		return // then it is done after a second
	}
	mu := (*sync.Mutex)(held.Addr().UnsafePointer())
	mu.Lock()
	defer mu.Unlock()
	updateClocks(t, false)
}

//go:linkname updateClocks gvisor.dev/gvisor/pkg/sentry/kernel.(*Timekeeper).update
func updateClocks(t *kernel.Timekeeper, parked bool)

// spin lets gVisor find out, every 0.4 ms, whether waiting on the processor pays: for a program that makes one system call
// after the other it does, by a factor of ten and more. In the first milliseconds it does not: that is a tenth of a
// copy's processor time.
func spin() {
	neverSpin = false
	go findOutWhetherToSpin()
}

//go:linkname neverSpin gvisor.dev/gvisor/pkg/sentry/platform/systrap.neverEnableFastPath
var neverSpin bool

//go:linkname findOutWhetherToSpin gvisor.dev/gvisor/pkg/sentry/platform/systrap.controlFastPath
func findOutWhetherToSpin()
