package sqlite

import (
	"bytes"
	"os"
	"strconv"
	"syscall"
)

// The cost of an open vault: descriptors, five with a reader beside the writer, and memory, measured as the
// growth of the process for each of 500 HATs that had written and run a function three times.
const (
	filesOfOne  = 5
	memoryOfOne = 768 << 10
)

// Bounds of MaxVaults. Below the lower one, runs and requests would wait for each other.
const minVaults, maxVaults = 64, 4096

// MaxVaults returns how many vaults may be open at once on this machine, from 64 to 4096: as many as half
// of the process's descriptors and an eighth of the memory allow.
func MaxVaults() int { return MaxVaultsIn(memory()) }

// MaxVaultsIn is MaxVaults for a process that may use that many bytes of memory.
func MaxVaultsIn(memory uint64) int {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		files.Cur = 1024
	}
	return places(files.Cur, memory)
}

func places(files, memory uint64) int {
	return int(min(max(min(files/2/filesOfOne, memory/8/memoryOfOne), minVaults), maxVaults))
}

// memory returns the bytes that this process may use: of the machine, or of its container.
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
