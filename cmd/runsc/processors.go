package main

import (
	"runtime"
	_ "unsafe" // for go:linkname

	"gvisor.dev/gvisor/pkg/sentry/platform"
)

// processors is what gVisor's kernel adds to and takes from when it wants more of Go's processors for a time; while it
// is zero, as in a process that is no kernel, they stay as many as there are.
//
//go:linkname processors gvisor.dev/gvisor/pkg/gomaxprocs.base
var processors int

// systrap is gVisor's platform of that name, for what is to happen as soon as a kernel has one.
type systrap struct{ platform.Constructor }

// New keeps the number of Go's processors as it is from here on. To read the pages of an image gVisor would have 128 more
// of them for some milliseconds, stopping the world before and after, for reads that the page cache answers.
//
// The two sides of gVisor don't wait for each other on their processors yet (early.go).
func (s systrap) New(o platform.Options) (platform.Platform, error) {
	processors = 0
	oneProcessor := min(runtime.NumCPU(), runtime.GOMAXPROCS(0)) == 1
	if o.DisableFastPath || oneProcessor {
		early.switches.Store(spinAfter) // nor ever
	}
	o.DisableFastPath = true
	p, err := s.Constructor.New(o)
	if err != nil {
		return nil, err
	}
	return watched{p}, nil
}

// keepProcessors puts systrap in front of gVisor's.
func keepProcessors() {
	if p, err := platform.Lookup("systrap"); err == nil {
		platform.Register("systrap", systrap{p})
	}
}
