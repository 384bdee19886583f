package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"syscall"
	"testing"
	_ "unsafe" // for go:linkname

	"gvisor.dev/gvisor/pkg/abi/linux"
	"gvisor.dev/gvisor/pkg/bpf"
	"gvisor.dev/gvisor/pkg/seccomp"
	"gvisor.dev/gvisor/pkg/seccomp/precompiledseccomp"
	"gvisor.dev/gvisor/pkg/sentry/platform"
	_ "gvisor.dev/gvisor/pkg/sentry/platform/systrap"
	"gvisor.dev/gvisor/runsc/boot/filter"
	"gvisor.dev/gvisor/runsc/boot/filter/config"
)

var update = flag.Bool("update", false, "write seccomp.json anew")

// rules are gVisor's, for given values of what is known only when a sandbox starts.
//
//go:linkname rules gvisor.dev/gvisor/runsc/boot/filter/config.rules
func rules(config.Options, precompiledseccomp.Values) (allowed, denied seccomp.SyscallRules)

// compile makes the filter as gVisor's authors do: config.PrecompiledPrograms, for one set of options.
func compile(t *testing.T, options config.Options) precompiledseccomp.Program {
	t.Helper()
	var names []string
	for name := range options.Vars() {
		names = append(names, name)
	}
	p, err := precompiledseccomp.Precompile(options.ConfigKey(), names, func(values precompiledseccomp.Values) *seccomp.Program {
		allowed, denied := rules(options, values)
		return &seccomp.Program{
			RuleSets: []seccomp.RuleSet{{Rules: denied.Copy()}, {Rules: allowed.Copy(), Action: seccomp.Allow}},
			Options:  config.SeccompOptions(options),
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestFilterIsGVisors compares the filter in the program with what this version of gVisor compiles. The compiler orders
// its tests by chance, so not the code is compared but what it decides, for every system call and many arguments made
// of the constants in both. Process numbers are among them, so this is done as process 1 of a namespace, as which a
// sandbox's kernel always runs. A new version of gVisor needs, as root: go test ./cmd/runsc -update
func TestFilterIsGVisors(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("the filter in the program is amd64's")
	}
	if os.Getpid() != 1 {
		again := exec.Command(os.Args[0], append(os.Args[1:], "-test.run=^TestFilterIsGVisors$", "-test.v")...)
		again.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
		out, err := again.CombinedOutput()
		if errors.Is(err, syscall.EPERM) {
			t.Skip("needs root, for a namespace of processes")
		}
		if err != nil || !bytes.Contains(out, []byte("--- PASS")) {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	systrap, err := platform.Lookup("systrap")
	if err != nil {
		t.Fatal(err)
	}
	options := config.Options{Platform: systrap.PrecompiledSeccompInfo()[0], ControllerFD: 7}
	fresh := compile(t, options)
	if *update {
		b, err := json.Marshal(fresh)
		if err != nil {
			t.Fatal(err)
		}
		program = append(b, '\n')
		if err := os.WriteFile("seccomp.json", program, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	registerFilter()
	kept, ok := filter.GetPrecompiled(fresh.Name)
	if !ok {
		t.Fatalf("gVisor does not find a filter named %s", fresh.Name)
	}
	want, got := ready(t, fresh, options), ready(t, kept, options)

	constants := []uint64{0, 1, math.MaxUint32, math.MaxUint64}
	for _, p := range []precompiledseccomp.Program{fresh, kept} {
		for i := 1; i < len(p.Bytecode32); i += 2 { // the other words are operations
			word := uint64(p.Bytecode32[i])
			constants = append(constants, word, word<<32)
		}
	}
	slices.Sort(constants)
	constants = slices.Compact(constants)
	chance := rand.New(rand.NewPCG(1, 2))
	decisions := map[uint32]int{}
	buffer := make([]byte, 64)
	for call := int32(-1); call < 600; call++ {
		for range 4000 {
			data := linux.SeccompData{Nr: call, Arch: linux.AUDIT_ARCH_X86_64, InstructionPointer: chance.Uint64()}
			for i := range data.Args {
				data.Args[i] = constants[chance.IntN(len(constants))]
			}
			if chance.IntN(50) == 0 {
				data.Arch = chance.Uint32()
			}
			in := seccomp.DataAsBPFInput(&data, buffer)
			w, err1 := bpf.Exec[bpf.NativeEndian](want, in)
			g, err2 := bpf.Exec[bpf.NativeEndian](got, in)
			if err1 != nil || err2 != nil || w != g {
				t.Fatalf("for %+v gVisor's filter says %#x (%v), ours %#x (%v): is its version new?", data, w, err1, g, err2)
			}
			decisions[w]++
		}
	}
	if decisions[uint32(linux.SECCOMP_RET_ALLOW)] < 1000 || len(decisions) < 2 {
		t.Errorf("the samples prove nothing: %v", decisions)
	}
}

func ready(t *testing.T, p precompiledseccomp.Program, options config.Options) bpf.Program {
	t.Helper()
	instructions, err := p.RenderInstructions(options.Vars())
	if err != nil {
		t.Fatal(err)
	}
	compiled, err := bpf.Compile(instructions, false)
	if err != nil {
		t.Fatal(err)
	}
	return compiled
}
