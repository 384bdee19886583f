package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Expendable is the oom_score_adj (proc(5)) of every process of a sandbox and of what makes sandboxes: the highest. When
// the machine is out of memory the kernel then ends these before anything else, the largest first. A run that is
// ended is tried again; the server, which everybody's vaults hang on, keeps what its service manager gave it.
const Expendable = 1000

// BeExpendable gives this process that score, and whatever it starts from now on.
func BeExpendable() error {
	if err := os.WriteFile("/proc/self/oom_score_adj", fmt.Append(nil, Expendable), 0); err != nil {
		return fmt.Errorf("be the first to go when memory is short: %w", err)
	}
	return nil
}

// LeaveNoCore sees to it that this process, and what it starts from now on, leaves nothing of its memory behind when it
// crashes: that holds people's data. The limit keeps the kernel from writing a file. Where cores go to a program of the
// machine the limit does not count, and then the filter leaves nothing in them but registers (core(5)).
func LeaveNoCore() error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("leave no core dump: %w", err)
	}
	if err := os.WriteFile("/proc/self/coredump_filter", []byte("0"), 0); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("leave no memory in a core dump: %w", err)
	}
	return nil
}
