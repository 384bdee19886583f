package gvisor

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
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

// Limits are held by cgroups of our own making, because the walls need them on every kind of host: version 1, version
// 2, and hybrids where version 1 has the controllers and an empty version 2 tree is mounted beside it (runsc and crun
// both stumble there). Layout, under each hierarchy:
//
//	<base>/she-<hash of the state directory>/<sandbox>
//
// On version 1 base is our own cgroup of that controller, so that limits above us keep holding. On version 2 it is
// the root of the tree, or our own cgroup where the service manager delegated it to us; there we step aside into a
// leaf, because a cgroup with processes can't give controllers to its children.

// hierarchies are the directories in which groups are made.
type hierarchies struct {
	v2  string            // the parent of all sandboxes; empty on version 1
	v1  map[string]string // the same for each controller of version 1
	all []string          // each parent directory once
}

// controllers we use. The freezer is left alone: killing in a loop needs no help.
var controllers = []string{"memory", "cpu", "cpuacct", "pids"}

// group is one sandbox's cgroup in all hierarchies.
type group struct {
	h    *hierarchies
	name string
}

func findHierarchies(name string) (*hierarchies, error) {
	mounts, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer mounts.Close()
	own, err := os.Open("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	defer own.Close()
	v1, v2, err := parseHierarchies(mounts, own)
	if err != nil {
		return nil, err
	}
	h := &hierarchies{}
	if v1["memory"] != "" {
		h.v1 = map[string]string{}
		seen := map[string]bool{}
		for _, c := range controllers {
			if v1[c] == "" {
				return nil, fmt.Errorf("the cgroup controller %q is not mounted", c)
			}
			dir := filepath.Join(v1[c], name)
			h.v1[c] = dir
			if !seen[dir] {
				seen[dir] = true
				h.all = append(h.all, dir)
			}
		}
	} else if v2 != (place{}) {
		base, err := delegatedBase(v2)
		if err != nil {
			return nil, err
		}
		h.v2 = filepath.Join(base, name)
		h.all = []string{h.v2}
	} else {
		return nil, errors.New("no cgroup file system is mounted: limits could not be held")
	}
	for _, dir := range h.all {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, fmt.Errorf("make cgroup: %w", err)
		}
	}
	if h.v2 != "" {
		return h, enable(h.v2)
	}
	return h, nil
}

// place is a cgroup: where its hierarchy is mounted and the path below.
type place struct{ mount, path string }

// parseHierarchies finds, in the formats of proc_pid_mountinfo(5) and cgroups(7), our own cgroup in each hierarchy.
func parseHierarchies(mountinfo, own io.Reader) (v1 map[string]string, v2 place, err error) {
	paths := map[string]string{} // controller, or "" for version 2 -> path
	for in := bufio.NewScanner(own); in.Scan(); {
		parts := strings.SplitN(in.Text(), ":", 3)
		if len(parts) != 3 {
			return nil, place{}, errors.New("/proc/self/cgroup has a line of unknown form")
		}
		for _, c := range strings.Split(parts[1], ",") {
			paths[c] = parts[2]
		}
	}
	v1 = map[string]string{}
	for in := bufio.NewScanner(mountinfo); in.Scan(); {
		before, after, ok := strings.Cut(in.Text(), " - ")
		f, g := strings.Fields(before), strings.Fields(after)
		if !ok || len(f) < 5 || len(g) < 3 {
			continue
		}
		root, mount := f[3], f[4]
		// In a container the mount shows only a part of the hierarchy, while paths are the host's.
		below := func(path string) string {
			if rel, err := filepath.Rel(root, path); err == nil && !strings.HasPrefix(rel, "..") {
				return filepath.Join("/", rel)
			}
			return "/"
		}
		switch g[0] {
		case "cgroup2":
			if path, ok := paths[""]; ok && v2 == (place{}) {
				v2 = place{mount, below(path)}
			}
		case "cgroup":
			for _, option := range strings.Split(g[2], ",") {
				if path, ok := paths[option]; ok && v1[option] == "" {
					v1[option] = filepath.Join(mount, below(path))
				}
			}
		}
	}
	return v1, v2, nil
}

// delegatedBase decides where on version 2 our groups may be.
func delegatedBase(own place) (string, error) {
	dir := filepath.Join(own.mount, own.path)
	if own.path != "/" {
		var b [1]byte
		for _, attr := range []string{"trusted.delegate", "user.delegate"} { // set by systemd for Delegate=yes
			if n, err := unix.Getxattr(dir, attr, b[:]); err == nil && n == 1 && b[0] == '1' {
				return dir, stepAside(dir)
			}
		}
		dir = own.mount
	}
	if err := enable(dir); err != nil {
		if !errors.Is(err, unix.EBUSY) {
			return "", err
		}
		// The root of a container's own tree is no real root.
		if err := stepAside(dir); err != nil {
			return "", err
		}
	}
	return dir, nil
}

// stepAside moves all processes of a cgroup to a leaf below it, so that it can give controllers to its children.
func stepAside(dir string) error {
	leaf := filepath.Join(dir, "server")
	if err := os.MkdirAll(leaf, 0o755); err != nil {
		return err
	}
	for range 100 {
		pids, err := processes(dir)
		if err != nil {
			return err
		}
		for _, pid := range pids {
			if err := write(leaf, "cgroup.procs", strconv.Itoa(pid)); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("move to a leaf cgroup: %w", err)
			}
		}
		if err = enable(dir); !errors.Is(err, unix.EBUSY) {
			return err
		}
	}
	return fmt.Errorf("the cgroup %s never came to rest", dir)
}

func enable(dir string) error {
	if err := write(dir, "cgroup.subtree_control", "+memory +cpu +pids"); err != nil {
		return fmt.Errorf("enable cgroup controllers in %s: %w", dir, err)
	}
	return nil
}

// create makes the group of one sandbox. Memory and pids hold from the start; throttle sets the CPU share later,
// because INIT runs unthrottled.
func (h *hierarchies) create(name string, memory int64, pids int) (*group, error) {
	g := &group{h, name}
	for _, dir := range g.dirs() {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return nil, errors.Join(fmt.Errorf("make cgroup: %w", err), g.remove(context.Background()))
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
		return nil, errors.Join(fmt.Errorf("set limits: %w", err), g.remove(context.Background()))
	}
	return g, nil
}

// period is the longest the kernel takes, in µs. A share of a CPU is given at the beginning of each period and then
// used up at full speed, so the longer it is the more functions have answered before they are held up at all.
const period = 1_000_000

// throttle limits the group to cpus CPUs.
func (g *group) throttle(cpus float64) error {
	quota := max(1000, int64(cpus*period)) // the kernel takes nothing below 1 ms
	if g.h.v2 != "" {
		return write(filepath.Join(g.h.v2, g.name), "cpu.max", fmt.Sprintf("%d %d", quota, period))
	}
	return errors.Join(
		write(g.dir("cpu"), "cpu.cfs_period_us", strconv.Itoa(period)),
		write(g.dir("cpu"), "cpu.cfs_quota_us", strconv.FormatInt(quota, 10)))
}

// start starts cmd as a member of the group from its first instruction on.
func (g *group) start(cmd *exec.Cmd) error {
	if g.h.v2 != "" {
		dir, err := os.Open(filepath.Join(g.h.v2, g.name))
		if err != nil {
			return err
		}
		defer dir.Close()
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(dir.Fd())
		return cmd.Start()
	}
	// On version 1 a child is born where the thread that forks is: a thread goes there, forks, and comes back. Should
	// it not come back, it must never run other code of ours; a locked goroutine that returns takes its thread along.
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		var err error
		for _, dir := range g.dirs() {
			err = errors.Join(err, write(dir, "tasks", "0"))
		}
		if err == nil {
			err = cmd.Start()
		} else {
			err = fmt.Errorf("join cgroup: %w", err)
		}
		home := true
		for _, dir := range g.h.all {
			home = write(filepath.Dir(dir), "tasks", "0") == nil && home
		}
		if home {
			runtime.UnlockOSThread()
		}
		started <- err
	}()
	return <-started
}

// outOfMemory says whether the kernel killed something in the group for want of memory.
func (g *group) outOfMemory() bool {
	file := filepath.Join(g.dir("memory"), "memory.oom_control")
	if g.h.v2 != "" {
		file = filepath.Join(g.h.v2, g.name, "memory.events")
	}
	return field(file, "oom_kill") > 0
}

// usage is the highest memory and all CPU time so far; zero what the kernel does not tell.
func (g *group) usage() (maxMemory int64, cpu time.Duration) {
	if g.h.v2 != "" {
		dir := filepath.Join(g.h.v2, g.name)
		return number(filepath.Join(dir, "memory.peak")), time.Duration(field(filepath.Join(dir, "cpu.stat"), "usage_usec")) * time.Microsecond
	}
	return number(filepath.Join(g.dir("memory"), "memory.max_usage_in_bytes")), time.Duration(number(filepath.Join(g.dir("cpuacct"), "cpuacct.usage")))
}

// memory is what the group takes now.
func (g *group) memory() int64 {
	if g.h.v2 != "" {
		return number(filepath.Join(g.h.v2, g.name, "memory.current"))
	}
	return number(filepath.Join(g.dir("memory"), "memory.usage_in_bytes"))
}

// kill ends every process of the group and waits until none is left.
func (g *group) kill(ctx context.Context) error {
	for pause := 250 * time.Microsecond; ; pause = min(2*pause, 20*time.Millisecond) {
		left := 0
		for _, dir := range g.dirs() {
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

// remove deletes the emptied group. The kernel may need a moment after the last process is gone.
func (g *group) remove(ctx context.Context) error {
	var problems []error
	for _, dir := range g.dirs() {
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

func (g *group) dir(controller string) string { return filepath.Join(g.h.v1[controller], g.name) }

func (g *group) dirs() []string {
	dirs := make([]string, len(g.h.all))
	for i, parent := range g.h.all {
		dirs[i] = filepath.Join(parent, g.name)
	}
	return dirs
}

// sweep kills and removes every group below the given parents, and the parents.
func sweepGroups(ctx context.Context, parents []string) error {
	var problems []error
	for _, parent := range parents {
		entries, err := os.ReadDir(parent)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		for _, e := range entries {
			if !e.IsDir() {
				continue
			}
			g := &group{&hierarchies{all: []string{parent}}, e.Name()}
			problems = append(problems, g.kill(ctx), g.remove(ctx))
		}
		problems = append(problems, removeGroup(ctx, parent))
	}
	return errors.Join(problems...)
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
