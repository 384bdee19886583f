package seal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"she/internal/sandbox"
)

// beside: what two invocations at the same time can tell each other.
func beside() []trial {
	return []trial{
		{
			channel: "beside", observer: "a second tenant that runs at the same time and watches",
			probes: [][2]string{
				{"flock", "lock a shared file (flock)"}, {"posix-lock", "lock a shared file (fcntl)"}, {"ofd-lock", "lock a shared file (open file description)"},
				{"lease", "hold a shared file open, which a lease shows"}, {"inotify", "read a shared file, which inotify shows"},
				{"fanotify", "read a shared file, which fanotify shows"}, {"atime", "read a shared file, which moves its access time"},
				{"page-cache", "read a shared file into memory, which mincore shows"},
				{"beside-abstract-socket", "listen at an abstract socket"}, {"beside-sysv-shm", "System V shared memory"}, {"beside-key", "a key on the user's keyring"},
				{"beside-processes", "start processes"}, {"memory-free", "use memory, which /proc/meminfo shows"}, {"memory-sysinfo", "use memory, which sysinfo shows"},
				{"memory-vmstat", "use memory, which /proc/vmstat shows"}, {"cpu-stat", "use CPU, which /proc/stat shows"}, {"schedstat", "use CPU, which /proc/schedstat shows"},
				{"pressure", "use the machine, which /proc/pressure shows"}, {"interrupts", "use the machine, which the count of context switches shows"},
				{"processes-loadavg", "start processes, which /proc/loadavg shows"}, {"processes-sysinfo", "start processes, which sysinfo shows"},
				{"disk-free", "fill /tmp, which the free space of /tmp shows"}, {"disk-free-package", "fill /tmp, which the free space beside the code shows"},
				{"files-free", "make files, which the free inodes of /tmp show"}, {"files-free-package", "make files, which the free inodes beside the code show"},
				{"files-open", "open files, which /proc/sys/fs/file-nr shows"}, {"disk-io", "write to disk, which /proc/vmstat shows"},
			},
			try: holdAndWatch,
		},
		{
			channel: "beside", observer: "a second tenant that starts as many processes as it may",
			probes: [][2]string{{"uid-quota", "use up the processes a user may have"}},
			try: func(ctx context.Context, p *place) (map[string]string, error) {
				e := event{Do: "fork", Bytes: 40}
				var env []string
				if !p.walls { // a limit for each user id, as hosts have
					e.Pid, env = 60, []string{"BARE=nobody"}
				}
				p.roomy = true
				held := e
				held.Millis = 4000
				a, b, err := p.both(ctx, held, 0, e, 2*time.Second, env...)
				if err != nil {
					return nil, err
				}
				var one, two struct {
					Children int
					Error    string
					From, To time.Time
				}
				if err := errors.Join(json.Unmarshal(a, &one), json.Unmarshal(b, &two)); err != nil {
					return nil, err
				}
				if one.Children < 40 || two.From.Before(one.From) || two.From.After(one.To) {
					return nil, fmt.Errorf("the two did not meet: %d children, %s too early", one.Children, one.From.Sub(two.From))
				}
				if two.Children < 40 {
					return map[string]string{"uid-quota": fmt.Sprintf("%d of 40 processes: %s", two.Children, two.Error)}, nil
				}
				return nil, nil
			},
		},
	}
}

// both runs two events at once, each in an instance of its own, made before.
func (p *place) both(ctx context.Context, a event, afterA time.Duration, b event, afterB time.Duration, env ...string) (_, _ []byte, err error) {
	var instances [2]sandbox.Instance
	for k := range instances {
		i, _, startErr := p.m.Start(ctx, p.program(env...))
		if startErr != nil {
			return nil, nil, startErr
		}
		instances[k] = i
		defer func() { err = errors.Join(err, i.Close()) }()
	}
	var answers [2][]byte
	var failed [2]error
	var running sync.WaitGroup
	for k, pause := range []time.Duration{afterA, afterB} {
		running.Go(func() {
			select {
			case <-time.After(pause):
			case <-ctx.Done():
			}
			r, err := give(ctx, instances[k], []event{a, b}[k], ample)
			answers[k], failed[k] = r.Payload, err
		})
	}
	running.Wait()
	return answers[0], answers[1], errors.Join(failed[:]...)
}

func holdAndWatch(ctx context.Context, p *place) (map[string]string, error) {
	const spent = 3600 // ms
	var lastErr error
	for range 3 { // on a busy machine the two may miss each other
		if err := evict(filepath.Join(p.dir, sharedPages)); err != nil {
			return nil, err
		}
		mark := newMark()
		a, b, err := p.both(ctx, event{Do: "hold", Mark: mark, Millis: spent - 1200}, 400*time.Millisecond, event{Do: "watch", Mark: mark, Millis: spent}, 0)
		if err != nil {
			return nil, err
		}
		var holder, watcher struct {
			From, To time.Time
			Seen     map[string]string
		}
		if err := errors.Join(json.Unmarshal(a, &holder), json.Unmarshal(b, &watcher)); err != nil {
			return nil, err
		}
		if watcher.From.Before(holder.From) && holder.To.Before(watcher.To) {
			return watcher.Seen, nil
		}
		lastErr = fmt.Errorf("one held from %s to %s, the other watched from %s to %s", holder.From, holder.To, watcher.From, watcher.To)
	}
	return nil, lastErr
}

// evict takes a file out of the machine's memory.
func evict(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	return errors.Join(unix.Fsync(int(f.Fd())), unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED))
}
