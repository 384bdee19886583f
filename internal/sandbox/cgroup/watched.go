package cgroup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Watch makes a Tree for a process that may make no cgroups: a person's own, without root. Groups are then
// found among the processes in /proc, and their limits are held by looking at them every lookEvery. The
// caller must be the first process of a PID namespace of its own, so that whatever it started ends with it
// and nothing else is in /proc.
//
// Sandboxes are started by a launcher, of which only a command line is known: mark gives the argument that
// the first process of a group has in it, for the group's name. Everything that descends from that process
// belongs to the group.
//
// Memory is held to a few milliseconds' worth of allocation. CPU is counted and not held: stopping a
// sandbox's processes from outside was tried, and its kernel takes one that stops at the wrong moment for
// dead (three of twenty-five runs with many processes). Who needs the share compares Usage with it. The
// number of processes is left to the kernel of the sandbox, which counts them exactly.
func Watch(mark func(name string) string) *Tree { return &Tree{mark: mark, firsts: &firsts{}} }

// firsts are the first processes of a Tree's groups, for a launcher is the parent of those of other groups.
type firsts struct {
	mu   sync.Mutex
	pids []int
}

func (f *firsts) add(pid int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pids = append(f.pids, pid)
}

func (f *firsts) has(pid int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Contains(f.pids, pid)
}

func (f *firsts) remove(pid int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pids = slices.DeleteFunc(f.pids, func(p int) bool { return p == pid })
}

const (
	// lookEvery bounds how far a group can go beyond its memory.
	lookEvery = 5 * time.Millisecond
	// shared is the name of the file in memory that a sandbox's kernel keeps the memory of its programs in.
	shared = "/memfd:runsc-memory"
)

// watch is one group's limits and what it used.
type watch struct {
	mark   string
	memory int64
	firsts *firsts
	stop   chan struct{}
	done   chan struct{}

	mu     sync.Mutex
	first  int // the process the others descend from; 0: not seen yet
	pages  *os.File
	now    int64 // bytes
	most   int64 // bytes
	cpu    time.Duration
	killed bool // for its memory
}

// begin watches the group from now on.
func (w *watch) begin() {
	w.stop, w.done = make(chan struct{}), make(chan struct{})
	go func() {
		defer close(w.done)
		look := time.NewTicker(lookEvery)
		defer look.Stop()
		for {
			select {
			case <-look.C:
				w.look()
			case <-w.stop:
				return
			}
		}
	}()
}

// end stops watching.
func (w *watch) end() {
	w.mu.Lock()
	select {
	case <-w.stop:
	default:
		close(w.stop)
	}
	w.mu.Unlock()
	<-w.done
	w.mu.Lock()
	defer w.mu.Unlock()
	w.firsts.remove(w.first)
	if w.pages != nil {
		_ = w.pages.Close()
		w.pages = nil
	}
}

// look takes one measurement and enforces what follows from it.
func (w *watch) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	members := w.members()
	if len(members) == 0 {
		return
	}
	var memory int64
	var cpu time.Duration
	for _, p := range members {
		memory += field(filepath.Join("/proc", strconv.Itoa(p.pid), "status"), "RssAnon:") << 10
		cpu += p.reaped + cpuOf(p.pid)
	}
	if w.pages == nil {
		w.pages = sharedPages(w.first)
	}
	if w.pages != nil {
		var st unix.Stat_t
		if unix.Fstat(int(w.pages.Fd()), &st) == nil {
			memory += st.Blocks * 512
		}
	}
	w.now, w.most, w.cpu = memory, max(w.most, memory), max(w.cpu, cpu)
	if memory > w.memory {
		w.killed = true
		signal(members, unix.SIGKILL)
	}
}

// A member is a process of a group.
type member struct {
	pid, parent int
	reaped      time.Duration // CPU of children that have ended
}

// members are the group's processes that have not ended.
func (w *watch) members() []member {
	all := list()
	if w.first == 0 {
		if w.first = marked(all, w.mark); w.first == 0 {
			return nil
		}
		w.firsts.add(w.first)
	}
	in := map[int]bool{w.first: true}
	for grown := true; grown; {
		grown = false
		for _, p := range all {
			if !in[p.pid] && in[p.parent] && !w.firsts.has(p.pid) {
				in[p.pid], grown = true, true
			}
		}
	}
	return slices.DeleteFunc(all, func(p member) bool { return !in[p.pid] })
}

// marked finds the process with the mark in its command line whose parent has none: a launcher's own child.
func marked(all []member, mark string) int {
	with := map[int]int{} // pid: parent
	for _, p := range all {
		line, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.pid), "cmdline"))
		if err == nil && slices.ContainsFunc(bytes.Split(line, []byte{0}), func(arg []byte) bool { return string(arg) == mark }) {
			with[p.pid] = p.parent
		}
	}
	for pid, parent := range with {
		if _, inside := with[parent]; !inside {
			return pid
		}
	}
	return 0
}

// list reads the processes in /proc that have not ended; the form is that of proc_pid_stat(5).
func list() (all []member) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		b, err := os.ReadFile(filepath.Join("/proc", name, "stat"))
		if err != nil {
			continue
		}
		_, rest, ok := strings.Cut(string(b[bytes.LastIndexByte(b, ')')+1:]), " ")
		f := strings.Fields(rest)
		if !ok || len(f) < 15 || f[0] == "Z" || f[0] == "X" {
			continue
		}
		parent, _ := strconv.Atoi(f[1])
		user, _ := strconv.ParseInt(f[13], 10, 64)
		system, _ := strconv.ParseInt(f[14], 10, 64)
		const tick = 10 * time.Millisecond // USER_HZ is 100 on all we run on
		all = append(all, member{pid, parent, time.Duration(user+system) * tick})
	}
	return all
}

// cpuOf is the CPU time of a process, from its own clock: clock_getcpuclockid(3).
func cpuOf(pid int) time.Duration {
	const ofProcess = 2
	var t unix.Timespec
	if unix.ClockGettime(int32(^pid<<3|ofProcess), &t) != nil {
		return 0
	}
	return time.Duration(t.Nano())
}

// sharedPages opens the file in memory of a sandbox's kernel; nil if it has none, or none yet.
func sharedPages(pid int) *os.File {
	dir := filepath.Join("/proc", strconv.Itoa(pid), "fd")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if to, err := os.Readlink(path); err == nil && strings.HasPrefix(to, shared) {
			fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
			if err != nil {
				return nil
			}
			return os.NewFile(uintptr(fd), shared)
		}
	}
	return nil
}

func signal(members []member, what unix.Signal) {
	for _, p := range members {
		_ = unix.Kill(p.pid, what)
	}
}

// kill ends every process of the group and waits until none is left.
func (w *watch) kill(ctx context.Context) error {
	for pause := 250 * time.Microsecond; ; pause = min(2*pause, 20*time.Millisecond) {
		w.mu.Lock()
		members := w.members()
		w.mu.Unlock()
		if len(members) == 0 {
			return nil
		}
		signal(members, unix.SIGKILL)
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d processes of a sandbox survive SIGKILL: %w", len(members), ctx.Err())
		case <-time.After(pause):
		}
	}
}

// start starts the first process of a group of which this process is the parent.
func (w *watch) start(cmd *exec.Cmd) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := cmd.Start(); err != nil {
		return err
	}
	w.first = cmd.Process.Pid
	w.firsts.add(w.first)
	return nil
}

// watched makes a group whose limits are held by looking.
func (h *Tree) watched(name string, memory int64) (*Group, error) {
	if os.Getpid() != 1 {
		return nil, errors.New("limits can be held without cgroups only by the first process of a PID namespace")
	}
	w := &watch{mark: h.mark(name), memory: memory, firsts: h.firsts}
	w.begin()
	return &Group{h: h, name: name, watch: w}, nil
}
