package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"maps"
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
	bootfilter "gvisor.dev/gvisor/runsc/boot/filter"
	boot "gvisor.dev/gvisor/runsc/boot/filter/config"
	goferfilter "gvisor.dev/gvisor/runsc/fsgofer/filter"
	gofer "gvisor.dev/gvisor/runsc/fsgofer/filter/config"
)

var update = flag.Bool("update", false, "write seccomp.json anew")

// bootRules are gVisor's, for given values of what is known only when a sandbox starts.
//
//go:linkname bootRules gvisor.dev/gvisor/runsc/boot/filter/config.rules
func bootRules(boot.Options, precompiledseccomp.Values) (allowed, denied seccomp.SyscallRules)

//go:linkname goferRules gvisor.dev/gvisor/runsc/fsgofer/filter/config.rules
func goferRules(gofer.Options, precompiledseccomp.Values) (allowed, denied seccomp.SyscallRules)

// compile makes a filter as gVisor's authors do in PrecompiledPrograms of both packages, for one set of options.
func compile(t *testing.T, name string, vars precompiledseccomp.Values, o seccomp.ProgramOptions,
	rules func(precompiledseccomp.Values) (allowed, denied seccomp.SyscallRules)) precompiledseccomp.Program {
	t.Helper()
	p, err := precompiledseccomp.Precompile(name, slices.Collect(maps.Keys(vars)), func(values precompiledseccomp.Values) *seccomp.Program {
		allowed, denied := rules(values)
		return &seccomp.Program{
			RuleSets: []seccomp.RuleSet{{Rules: denied.Copy()}, {Rules: allowed.Copy(), Action: seccomp.Allow}},
			Options:  o,
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestFiltersAreGVisors compares the filters in the program with what this version of gVisor compiles. The compiler
// orders its tests by chance, so not the code is compared but what it decides, for every system call and many arguments
// made of the constants in both. Process numbers are among them, so this is done as process 1 of a namespace, which both
// programs always are. A new version of gVisor needs, as root: go test ./cmd/runsc -update
func TestFiltersAreGVisors(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("the filters in the program are amd64's")
	}
	if os.Getpid() != 1 {
		again := exec.Command(os.Args[0], append(os.Args[1:], "-test.run=^TestFiltersAreGVisors$", "-test.v")...)
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
	b := boot.Options{Platform: systrap.PrecompiledSeccompInfo()[0], ControllerFD: 7}
	fresh := compile(t, b.ConfigKey(), b.Vars(), boot.SeccompOptions(b), func(v precompiledseccomp.Values) (allowed, denied seccomp.SyscallRules) {
		return bootRules(b, v)
	})
	keep(t, "seccomp-boot.json", &bootProgram, fresh)
	registerFilter(false)
	kept, ok := bootfilter.GetPrecompiled(fresh.Name)
	if !ok {
		t.Fatalf("gVisor does not find a filter named %s", fresh.Name)
	}
	decideTheSame(t, fresh, kept, b.Vars())

	g := gofer.Options{LisafsNeeded: false}
	fresh = compile(t, g.ConfigKey(), g.Vars(), seccomp.ProgramOptions{}, func(v precompiledseccomp.Values) (allowed, denied seccomp.SyscallRules) {
		return goferRules(g, v)
	})
	keep(t, "seccomp-gofer.json", &goferProgram, fresh)
	registerFilter(true)
	if kept, ok = goferfilter.GetPrecompiled(fresh.Name); !ok {
		t.Fatalf("gVisor does not find a filter named %s", fresh.Name)
	}
	decideTheSame(t, fresh, kept, g.Vars())
}

// keep writes the program to its file, if -update asks for it.
func keep(t *testing.T, file string, program *[]byte, fresh precompiledseccomp.Program) {
	t.Helper()
	if !*update {
		return
	}
	b, err := json.Marshal(fresh)
	if err != nil {
		t.Fatal(err)
	}
	*program = append(b, '\n')
	if err := os.WriteFile(file, *program, 0o644); err != nil {
		t.Fatal(err)
	}
}

func decideTheSame(t *testing.T, fresh, kept precompiledseccomp.Program, vars precompiledseccomp.Values) {
	t.Helper()
	want, got := ready(t, fresh, vars), ready(t, kept, vars)
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

func ready(t *testing.T, p precompiledseccomp.Program, vars precompiledseccomp.Values) bpf.Program {
	t.Helper()
	instructions, err := p.RenderInstructions(vars)
	if err != nil {
		t.Fatal(err)
	}
	compiled, err := bpf.Compile(instructions, false)
	if err != nil {
		t.Fatal(err)
	}
	return compiled
}
