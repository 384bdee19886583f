package main

import (
	_ "embed"
	"encoding/json"
	_ "unsafe" // for go:linkname

	"gvisor.dev/gvisor/pkg/seccomp/precompiledseccomp"
	boot "gvisor.dev/gvisor/runsc/boot/filter"
	gofer "gvisor.dev/gvisor/runsc/fsgofer/filter"
)

// Filters of system calls under our flags, on amd64, compiled ahead: gVisor's own build does the same, but leaves them
// out of the Go module, and then each process compiles its own anew. TestFiltersAreGVisors holds them to what this
// version of gVisor compiles. Under other flags, or on other machines, their names fit nothing and a filter is compiled
// as ever.
var (
	//go:embed seccomp-boot.json
	bootProgram []byte // of a sandbox's kernel
	//go:embed seccomp-gofer.json
	goferProgram []byte // of the file server beside it
)

// bootPrograms is where gVisor looks, by name.
//
//go:linkname bootPrograms gvisor.dev/gvisor/runsc/boot/filter.precompiledPrograms
var bootPrograms map[string]precompiledseccomp.Program

//go:linkname goferPrograms gvisor.dev/gvisor/runsc/fsgofer/filter.precompiledPrograms
var goferPrograms map[string]precompiledseccomp.Program

// registerFilter registers the one of the two that this process will want.
func registerFilter(isGofer bool) {
	// Listing makes the map, once.
	if isGofer {
		gofer.ListPrecompiled()
		register(goferPrograms, goferProgram)
	} else {
		boot.ListPrecompiled()
		register(bootPrograms, bootProgram)
	}
}

func register(programs map[string]precompiledseccomp.Program, program []byte) {
	var p precompiledseccomp.Program
	if err := json.Unmarshal(program, &p); err != nil {
		panic(err) // it is part of this program
	}
	programs[p.Name] = p
}
