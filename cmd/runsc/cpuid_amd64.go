package main

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"sync"
	_ "unsafe" // for go:linkname

	"gvisor.dev/gvisor/pkg/cpuid"
)

// featuresFlag, before all other arguments, hands a sandbox's kernel what the launcher has asked the processor. gVisor's
// kernel asks some hundred questions; a virtual machine stops at each, which makes them 4 ms. A processor answers the
// same to every process, but for the number of the processor that was asked, which nobody uses.
const featuresFlag = "--she-features="

// features is the flag as the launcher gives it.
var features = sync.OnceValue(func() []string {
	cpuid.Initialize()
	var all []byte
	for in, out := range cpuid.HostFeatureSet().ToStatic() {
		for _, n := range []uint32{in.Eax, in.Ecx, out.Eax, out.Ebx, out.Ecx, out.Edx} {
			all = binary.LittleEndian.AppendUint32(all, n)
		}
	}
	return []string{featuresFlag + base64.RawStdEncoding.EncodeToString(all)}
})

// takeFeatures has gVisor use what was handed, and gives the arguments without it.
func takeFeatures(args []string) ([]string, error) {
	if len(args) < 2 || !strings.HasPrefix(args[1], featuresFlag) {
		return args, nil
	}
	static, err := parseFeatures(strings.TrimPrefix(args[1], featuresFlag))
	if err != nil {
		return nil, err
	}
	cpuidOnce.Do(func() {
		hostFeatures = static.ToFeatureSet()
		readFrequency()
		readCapabilities()
	})
	return slices.Delete(slices.Clone(args), 1, 2), nil
}

func parseFeatures(text string) (cpuid.Static, error) {
	all, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil {
		return nil, err
	}
	const size = 6 * 4
	if len(all) == 0 || len(all)%size != 0 {
		return nil, errors.New("what the processor can do was handed on incompletely")
	}
	static := make(cpuid.Static, len(all)/size)
	for one := range slices.Chunk(all, size) {
		n := func(i int) uint32 { return binary.LittleEndian.Uint32(one[4*i:]) }
		static[cpuid.In{Eax: n(0), Ecx: n(1)}] = cpuid.Out{Eax: n(2), Ebx: n(3), Ecx: n(4), Edx: n(5)}
	}
	return static, nil
}

// What cpuid.Initialize does, once.
var (
	//go:linkname cpuidOnce gvisor.dev/gvisor/pkg/cpuid.initOnce
	cpuidOnce sync.Once
	//go:linkname hostFeatures gvisor.dev/gvisor/pkg/cpuid.hostFeatureSet
	hostFeatures cpuid.FeatureSet
)

//go:linkname readFrequency gvisor.dev/gvisor/pkg/cpuid.readMaxCPUFreq
func readFrequency()

//go:linkname readCapabilities gvisor.dev/gvisor/pkg/cpuid.initHWCap
func readCapabilities()
