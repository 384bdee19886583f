package main

import (
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/cpuid"
)

// TestFeaturesAreHandedOn: a kernel that is handed what the processor can do knows what one knows that asked.
func TestFeaturesAreHandedOn(t *testing.T) {
	runtime.LockOSThread() // and on one processor: its number is among the answers
	var all, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		t.Fatal(err)
	}
	for n := range 1024 {
		if all.IsSet(n) {
			one.Set(n)
			break
		}
	}
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		t.Fatal(err)
	}
	args := append(append([]string{"runsc-sandbox"}, features()...), "--root=x", "boot")
	handed, err := parseFeatures(strings.TrimPrefix(args[1], featuresFlag))
	if err != nil {
		t.Fatal(err)
	}
	if asked := (cpuid.FeatureSet{Function: &cpuid.Native{}}).Fixed().ToStatic(); !maps.Equal(handed, asked) {
		t.Errorf("handed %d answers, the processor gives %d, or others", len(handed), len(asked))
	}
	rest, err := takeFeatures(args)
	if err != nil || !slices.Equal(rest, []string{"runsc-sandbox", "--root=x", "boot"}) {
		t.Errorf("left of the arguments: %q, %v", rest, err)
	}
	if now := cpuid.HostFeatureSet(); !maps.Equal(now.ToStatic(), handed) || now.FlagString() == "" {
		t.Error("gVisor knows something else")
	}
	same, err := takeFeatures([]string{"runsc", "--version"})
	if err != nil || !slices.Equal(same, []string{"runsc", "--version"}) {
		t.Errorf("arguments without it became %q, %v", same, err)
	}
	for _, damaged := range []string{"", "!", "AAAA", args[1][len(featuresFlag)+1:]} {
		if _, err := takeFeatures([]string{"runsc-sandbox", featuresFlag + damaged}); err == nil {
			t.Errorf("%.20q is taken for answers of a processor", damaged)
		}
	}
}
