package sqlite

import (
	"bytes"
	"os"
	"strconv"
	"syscall"
)

// What an open vault takes: descriptors, five while somebody reads beside somebody who writes; and memory: by so much the
// process grew for each of 500 HATs that had written and run a function three times.
const (
	filesOfOne  = 5
	memoryOfOne = 768 << 10
)

// The bounds of Places. Below the least, runs and requests would wait for each other.
const leastPlaces, mostPlaces = 64, 4096

// Places is how many vaults may be open at once on this machine: as many as half of the descriptors this process may
// have, and an eighth of the memory, are enough for, from 64 to 4096.
func Places() int { return PlacesIn(memory()) }

// PlacesIn is Places for a process that may have so many bytes of memory.
func PlacesIn(memory uint64) int {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		files.Cur = 1024
	}
	return places(files.Cur, memory)
}

func places(files, memory uint64) int {
	return int(min(max(min(files/2/filesOfOne, memory/8/memoryOfOne), leastPlaces), mostPlaces))
}

// memory is what this process may have, in bytes: that of the machine, or of the container it is in.
func memory() uint64 {
	var info syscall.Sysinfo_t
	if err := syscall.Sysinfo(&info); err != nil {
		return 0
	}
	total := info.Totalram * uint64(info.Unit)
	for _, file := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		if limit, err := strconv.ParseUint(string(bytes.TrimSpace(text)), 10, 64); err == nil { // else "max"
			total = min(total, limit)
		}
	}
	return total
}
