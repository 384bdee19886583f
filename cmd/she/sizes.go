package main

import (
	"cmp"
	"context"
	"syscall"

	"she/internal/sandbox/cgroup"
)

// connectionBounds is how many connections clients may have, in all and from one address (0: no bound).
func connectionBounds(c Config) (all, ofOne int) {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		files.Cur = 1024
	}
	return connectionsFor(c, files.Cur, machineMemory())
}

// connectionsFor is connectionBounds on a machine with so many descriptors and bytes.
func connectionsFor(c Config, files, memory uint64) (all, ofOne int) {
	const each = 512 << 10
	all = cmp.Or(c.Connections, int(min(max(min(files/4, memory/each), 256), 16384)))
	if c.ConnectionsPerAddress == 0 && !c.TrustProxy {
		return all, max(all/4, 4)
	}
	return all, c.ConnectionsPerAddress
}

// machineMemory is what this process and its sandboxes may have, in bytes: that of the machine, or of the cgroup it is in.
func machineMemory() uint64 {
	var info syscall.Sysinfo_t
	if err := syscall.Sysinfo(&info); err != nil {
		return 0
	}
	total := info.Totalram * uint64(info.Unit)
	if limit := cgroup.Memory(); limit > 0 {
		total = min(total, limit)
	}
	return total
}

// slots is a budget of so many, whatever they weigh.
func slots(n int) func(context.Context, int64) (func(), error) {
	free := make(chan struct{}, n)
	return func(ctx context.Context, _ int64) (func(), error) {
		select {
		case free <- struct{}{}:
			return func() { <-free }, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
