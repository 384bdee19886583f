package sandbox

import (
	"fmt"
	"os"
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
