package cgroup

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
)

// Memory is how many bytes the cgroup this process is in, and those above it, let it have; 0: there is no limit, or none
// can be seen. It changes nothing.
func Memory() uint64 {
	mounts, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return 0
	}
	defer mounts.Close()
	own, err := os.Open("/proc/self/cgroup")
	if err != nil {
		return 0
	}
	defer own.Close()
	v1, v2, err := parseHierarchies(mounts, own)
	if err != nil {
		return 0
	}
	return memoryIn(v1["memory"], v2)
}

// memoryIn is the least limit of a cgroup of version 1 ("": none), one of version 2, and all above them.
func memoryIn(v1 string, v2 place) (least uint64) {
	take := func(limit uint64) {
		const none = 1 << 62 // version 1 writes the largest number of whole pages
		if limit > 0 && limit < none && (least == 0 || limit < least) {
			least = limit
		}
	}
	if v1 != "" {
		take(uint64(number(filepath.Join(v1, "memory.limit_in_bytes"))))
		// Of all above it too, also those a container's mount does not show.
		take(uint64(field(filepath.Join(v1, "memory.stat"), "hierarchical_memory_limit")))
	}
	if v2 == (place{}) {
		return least
	}
	for path := filepath.Join("/", v2.path); ; path = filepath.Dir(path) {
		for _, file := range []string{"memory.max", "memory.high"} {
			text, err := os.ReadFile(filepath.Join(v2.mount, path, file))
			if err != nil {
				continue
			}
			if limit, err := strconv.ParseUint(string(bytes.TrimSpace(text)), 10, 64); err == nil { // else "max"
				take(limit)
			}
		}
		if path == "/" {
			return least
		}
	}
}
