package cgroup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Group is one sandbox's cgroup, in all hierarchies of its Tree.
type Group struct {
	h     *Tree
	name  string
	watch *watch // without cgroups: what holds the limits
}

// Create makes the group of one sandbox. Memory and pids hold from the start; Throttle sets the CPU share later,
// because INIT runs unthrottled.
func (h *Tree) Create(name string, memory int64, pids int) (*Group, error) {
	if h.mark != nil {
		return h.watched(name, memory)
	}
	g := &Group{h: h, name: name}
	for _, dir := range g.Dirs() {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return nil, errors.Join(fmt.Errorf("make cgroup: %w", err), g.Remove(context.Background()))
		}
	}
	var err error
	if h.v2 != "" {
		dir := filepath.Join(h.v2, name)
		err = errors.Join(
			write(dir, "memory.max", strconv.FormatInt(memory, 10)),
			optional(write(dir, "memory.swap.max", "0")),
			optional(write(dir, "memory.oom.group", "1")),
			write(dir, "pids.max", strconv.Itoa(pids)))
	} else {
		err = errors.Join(
			write(g.dir("memory"), "memory.limit_in_bytes", strconv.FormatInt(memory, 10)),
			optional(write(g.dir("memory"), "memory.memsw.limit_in_bytes", strconv.FormatInt(memory, 10))),
			write(g.dir("pids"), "pids.max", strconv.Itoa(pids)))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("set limits: %w", err), g.Remove(context.Background()))
	}
	return g, nil
}

// period is the longest the kernel takes, in µs. A share of a CPU is given at the beginning of each period and then
// used up at full speed, so the longer it is the more functions have answered before they are held up at all.
const period = 1_000_000

// Throttle limits the group to cpus CPUs.
func (g *Group) Throttle(cpus float64) error {
	if g.watch != nil {
		return nil // see Watch
	}
	quota := max(1000, int64(cpus*period)) // the kernel takes nothing below 1 ms
	if g.h.v2 != "" {
		return write(filepath.Join(g.h.v2, g.name), "cpu.max", fmt.Sprintf("%d %d", quota, period))
	}
	return errors.Join(
		write(g.dir("cpu"), "cpu.cfs_period_us", strconv.Itoa(period)),
		write(g.dir("cpu"), "cpu.cfs_quota_us", strconv.FormatInt(quota, 10)))
}

// Start starts cmd as a member of the group from its first instruction on.
func (g *Group) Start(cmd *exec.Cmd) error {
	if g.watch != nil {
		return g.watch.start(cmd)
	}
	home := make([]string, len(g.h.all))
	for i, dir := range g.h.all {
		home[i] = filepath.Dir(dir)
	}
	err := g.Place().Start(cmd, home)
	if _, only := err.(*StrayError); only {
		return nil // the thread is gone, and the process is where it belongs
	}
	return err
}

// Place is where Start puts processes.
func (g *Group) Place() Place { return Place{Dirs: g.Dirs(), Unified: g.h.v2 != ""} }

// A Place is the directories of a cgroup, one in each hierarchy, as another process may be told them.
type Place struct {
	Dirs    []string
	Unified bool // it is one of version 2
}

// A StrayError says that cmd was started, and that the thread that started it did not come back from cmd's cgroup. It runs
// nothing any more, and ends.
type StrayError struct{ Cause error }

func (e *StrayError) Error() string {
	return fmt.Sprintf("a thread did not come back from a cgroup: %v", e.Cause)
}

// Start starts cmd as a member of the cgroup from its first instruction on. home are the cgroup directories of this
// process. No other thread of this process is moved, and nothing waits for the others: moving a whole process into a cgroup
// waits until the kernel has seen each processor idle, 11 ms and more on a quiet machine.
func (p Place) Start(cmd *exec.Cmd, home []string) error {
	if p.Unified {
		if len(p.Dirs) != 1 {
			return fmt.Errorf("join cgroup: %d directories of version 2", len(p.Dirs))
		}
		dir, err := os.Open(p.Dirs[0])
		if err != nil {
			return err
		}
		defer dir.Close()
		if cmd.SysProcAttr == nil {
			cmd.SysProcAttr = &syscall.SysProcAttr{}
		}
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(dir.Fd())
		return cmd.Start()
	}
	// On version 1 a child is born where the thread that forks is: a thread goes there, forks, and comes back. Should
	// it not come back, it must never run other code of ours; a locked goroutine that returns takes its thread along.
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		var err, stray error
		for _, dir := range p.Dirs {
			err = errors.Join(err, write(dir, "tasks", "0"))
		}
		if err == nil {
			err = cmd.Start()
		} else {
			err = fmt.Errorf("join cgroup: %w", err)
		}
		for _, dir := range home {
			stray = errors.Join(stray, write(dir, "tasks", "0"))
		}
		if stray == nil {
			runtime.UnlockOSThread()
		} else if err == nil {
			err = &StrayError{stray}
		} else {
			err = errors.Join(err, &StrayError{stray})
		}
		started <- err
	}()
	return <-started
}

// A Shortage is why the kernel killed something in a group for want of memory.
type Shortage string

const (
	NoShortage      Shortage = ""
	LimitReached    Shortage = "limit"   // the group's own
	MachineExceeded Shortage = "machine" // the machine's memory, or a limit above the group's: of a service, of a container
)

// OutOfMemory says whether the kernel killed something in the group for want of memory, and of whose. Version 1 counts
// only how much there was at most: who had been at the limit before, and gave up cached pages, looks as if that were
// the reason.
func (g *Group) OutOfMemory() Shortage {
	if g.watch != nil {
		g.watch.mu.Lock()
		defer g.watch.mu.Unlock()
		if g.watch.killed {
			return LimitReached
		}
		return NoShortage
	}
	var killed int64
	var reached bool
	if g.h.v2 != "" {
		file := filepath.Join(g.h.v2, g.name, "memory.events")
		killed, reached = field(file, "oom_kill"), field(file, "oom") > 0
	} else {
		const most = 1 << 20 // that is asked for at once, and refused
		dir := g.dir("memory")
		killed = field(filepath.Join(dir, "memory.oom_control"), "oom_kill")
		reached = number(filepath.Join(dir, "memory.max_usage_in_bytes"))+most > number(filepath.Join(dir, "memory.limit_in_bytes"))
	}
	switch {
	case killed == 0:
		return NoShortage
	case reached:
		return LimitReached
	}
	return MachineExceeded
}

// Usage is the highest memory and all CPU time so far; zero what the kernel does not tell.
func (g *Group) Usage() (maxMemory int64, cpu time.Duration) {
	if g.watch != nil {
		g.watch.look()
		g.watch.mu.Lock()
		defer g.watch.mu.Unlock()
		return g.watch.most, g.watch.cpu
	}
	if g.h.v2 != "" {
		dir := filepath.Join(g.h.v2, g.name)
		return number(filepath.Join(dir, "memory.peak")), time.Duration(field(filepath.Join(dir, "cpu.stat"), "usage_usec")) * time.Microsecond
	}
	return number(filepath.Join(g.dir("memory"), "memory.max_usage_in_bytes")), time.Duration(number(filepath.Join(g.dir("cpuacct"), "cpuacct.usage")))
}

// Memory is what the group takes now.
func (g *Group) Memory() int64 {
	if g.watch != nil {
		g.watch.mu.Lock()
		defer g.watch.mu.Unlock()
		return g.watch.now
	}
	if g.h.v2 != "" {
		return number(filepath.Join(g.h.v2, g.name, "memory.current"))
	}
	return number(filepath.Join(g.dir("memory"), "memory.usage_in_bytes"))
}

// Kill ends every process of the group and waits until none is left.
func (g *Group) Kill(ctx context.Context) error {
	if g.watch != nil {
		return g.watch.kill(ctx)
	}
	for pause := 250 * time.Microsecond; ; pause = min(2*pause, 20*time.Millisecond) {
		left := 0
		for _, dir := range g.Dirs() {
			if g.h.v2 != "" {
				_ = write(dir, "cgroup.kill", "1") // Linux 5.14; the loop below does for older ones
			}
			pids, err := processes(dir)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("list a sandbox's processes: %w", err)
			}
			for _, pid := range pids {
				if pid == os.Getpid() {
					return fmt.Errorf("a thread of the server is in the cgroup %s", dir)
				}
				left++
				_ = unix.Kill(pid, unix.SIGKILL)
			}
		}
		if left == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d processes of a sandbox survive SIGKILL: %w", left, ctx.Err())
		case <-time.After(pause):
		}
	}
}

// Remove deletes the emptied group. The kernel may need a moment after the last process is gone.
func (g *Group) Remove(ctx context.Context) error {
	if g.watch != nil {
		g.watch.end()
		return nil
	}
	var problems []error
	for _, dir := range g.Dirs() {
		problems = append(problems, removeGroup(ctx, dir))
	}
	return errors.Join(problems...)
}

func removeGroup(ctx context.Context, dir string) error {
	for pause := 250 * time.Microsecond; ; pause = min(2*pause, 20*time.Millisecond) {
		err := unix.Rmdir(dir)
		if err == nil || errors.Is(err, unix.ENOENT) {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("remove cgroup %s: %w", dir, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("remove cgroup %s: %w", dir, err)
		case <-time.After(pause):
		}
	}
}

func (g *Group) dir(controller string) string { return filepath.Join(g.h.v1[controller], g.name) }

// Dirs are its directories, one in each hierarchy.
func (g *Group) Dirs() []string {
	dirs := make([]string, len(g.h.all))
	for i, parent := range g.h.all {
		dirs[i] = filepath.Join(parent, g.name)
	}
	return dirs
}

func processes(dir string) (pids []int, err error) {
	b, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		if errors.Is(err, unix.ENODEV) { // removed under our feet
			return nil, nil
		}
		return nil, err
	}
	for _, line := range strings.Fields(string(b)) {
		if pid, err := strconv.Atoi(line); err == nil && pid > 1 {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

func write(dir, file, value string) error {
	f, err := os.OpenFile(filepath.Join(dir, file), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

// optional forgives a file this kernel does not have.
func optional(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.EOPNOTSUPP) {
		return nil
	}
	return err
}

func number(file string) int64 {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	n, _ := strconv.ParseInt(string(bytes.TrimSpace(b)), 10, 64)
	return n
}

// field reads "name value" lines.
func field(file, name string) int64 {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == name {
			n, _ := strconv.ParseInt(f[1], 10, 64)
			return n
		}
	}
	return 0
}
