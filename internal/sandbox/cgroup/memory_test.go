package cgroup

import (
	"os"
	"path/filepath"
	"testing"
)

// The least limit counts, wherever above the process it is set, on each version of cgroups.
func TestMemoryLimitIsTheLeast(t *testing.T) {
	write := func(dir, file, text string) {
		t.Helper()
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	two, one := t.TempDir(), t.TempDir()
	own := place{two, "/service/she"}
	if got := memoryIn("", own); got != 0 {
		t.Errorf("without any file %d", got)
	}
	write(filepath.Join(two, "service/she"), "memory.max", "max")
	if got := memoryIn("", own); got != 0 {
		t.Errorf("without a limit %d", got)
	}
	write(filepath.Join(two, "service"), "memory.max", "3000000000")
	if got := memoryIn("", own); got != 3000000000 {
		t.Errorf("the limit above: %d", got)
	}
	write(filepath.Join(two, "service/she"), "memory.high", "2000000000")
	if got := memoryIn("", own); got != 2000000000 {
		t.Errorf("where the kernel begins to hold back: %d", got)
	}
	write(two, "memory.max", "1000000000") // the root of a container's own tree
	if got := memoryIn("", own); got != 1000000000 {
		t.Errorf("the limit of the container: %d", got)
	}
	write(one, "memory.limit_in_bytes", "9223372036854771712")
	write(one, "memory.stat", "cache 0\nhierarchical_memory_limit 9223372036854771712")
	if got := memoryIn(one, place{}); got != 0 {
		t.Errorf("version 1 without a limit: %d", got)
	}
	write(one, "memory.stat", "cache 0\nhierarchical_memory_limit 700000000")
	if got := memoryIn(one, place{}); got != 700000000 {
		t.Errorf("version 1, a limit above: %d", got)
	}
	write(one, "memory.limit_in_bytes", "500000000")
	if got := memoryIn(one, own); got != 500000000 {
		t.Errorf("version 1 beside version 2: %d", got)
	}
}
