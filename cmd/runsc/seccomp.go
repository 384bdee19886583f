package main

import (
	_ "embed"
	"encoding/json"
	_ "unsafe" // for go:linkname

	"gvisor.dev/gvisor/pkg/seccomp/precompiledseccomp"
	"gvisor.dev/gvisor/runsc/boot/filter"
)

// program is the system call filter of a sandbox's kernel under our flags, on amd64, compiled ahead: gVisor's own build
// does the same, but leaves it out of the Go module, and then each sandbox compiles it anew. TestFilterIsGVisors holds
// it to what this version of gVisor compiles. Under other flags, or on other machines, its name fits nothing and the
// filter is compiled as ever.
//
//go:embed seccomp.json
var program []byte

// precompiledPrograms is where gVisor looks, by name.
//
//go:linkname precompiledPrograms gvisor.dev/gvisor/runsc/boot/filter.precompiledPrograms
var precompiledPrograms map[string]precompiledseccomp.Program

func registerFilter() {
	var p precompiledseccomp.Program
	if err := json.Unmarshal(program, &p); err != nil {
		panic(err) // it is part of this program
	}
	filter.ListPrecompiled() // makes the map, once
	precompiledPrograms[p.Name] = p
}
