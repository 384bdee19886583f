package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/log"
	"gvisor.dev/gvisor/runsc/config"
	"gvisor.dev/gvisor/runsc/container"
	"gvisor.dev/gvisor/runsc/flag"
	"gvisor.dev/gvisor/runsc/specutils"

	"she/internal/sandbox"
	"she/internal/sandbox/gvisor/launch"
)

// launcher brings sandboxes up. It holds nothing of them afterwards: they live without it and end without it.
type launcher struct {
	socket int
	send   sync.Mutex
	confs  configs
	shared *sharedPages
	// moving is held alone while gVisor makes the processes of a sandbox with a file server: it hands them the standard
	// streams of this process, and they are born where this process is, which is in the sandbox's cgroup then. Whoever
	// starts one kernel from one thread (kernel.go) holds it together with others, and no longer than that.
	moving sync.RWMutex
	// tidy runs when there was nothing to do for a while: gVisor leaves descriptors of some sandboxes, two or three, to
	// the garbage collector, which seldom sees a reason to run here.
	tidy *time.Timer
}

// idle is how long after a job there must be no other for tidy to run.
const idle = time.Second

// serve does jobs until the server hangs up.
func serve(socket int) error {
	log.SetTarget(log.GoogleEmitter{Writer: &log.Writer{Next: io.Discard}})
	unix.CloseOnExec(socket)
	// Every process of a sandbox is born of this one.
	if err := errors.Join(sandbox.BeExpendable(), sandbox.LeaveNoCore()); err != nil {
		return err
	}
	if err := haveLargeTables(); err != nil {
		return err
	}
	lockPages()
	l := &launcher{socket: socket, shared: newSharedPages(), tidy: time.AfterFunc(idle, debug.FreeOSMemory)}
	for {
		var job launch.Job
		files, err := launch.Receive(socket, &job)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		go l.do(job, files)
	}
}

// highest is the first descriptor for which a table of 256 is needed. gVisor's kernel puts its standard streams at 253 and
// below (runsc/boot.stdioFDs).
const highest = 255

// haveLargeTables keeps a high descriptor open for good. A child's table of descriptors is as large as its parent's has to
// be. One of 64 places has to grow in the sandbox's kernel, which has many threads by then: it waits until all
// processors have been seen idle, 6 to 15 ms, for each copy. What a service manager starts has no such descriptor; what a
// shell starts may have.
func haveLargeTables() error {
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(null)
	_, err = unix.FcntlInt(uintptr(null), unix.F_DUPFD_CLOEXEC, highest)
	return err
}

// lockPages lets a sandbox's kernel, which may not ask for it, lock pages for a moment, as gVisor does before it starts
// one. The sandbox's cgroup bounds them. Where it is refused the kernel does without.
func lockPages() {
	_ = unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY})
}

func (l *launcher) do(job launch.Job, files []*os.File) {
	reply := launch.Reply{Number: job.Number}
	var ended <-chan launch.End
	var err error
	if job.Save != "" {
		err = save(job)
	} else {
		ended, err = l.bringUp(job, files)
	}
	if err != nil {
		reply.Error = err.Error()
	}
	launch.Close(files)
	l.tidy.Reset(idle)
	l.reply(reply)
	if ended != nil && err == nil {
		end := <-ended
		l.reply(launch.Reply{Number: job.Number, Ended: &end})
	}
}

func (l *launcher) reply(r launch.Reply) {
	l.send.Lock()
	defer l.send.Unlock()
	if launch.Send(l.socket, r) != nil {
		os.Exit(1) // nobody listens any more
	}
}

// bringUp does one job, and tells when and how the sandbox's kernel ended. What it leaves behind on an error is in the
// sandbox's cgroup and directories, which the server removes.
func (l *launcher) bringUp(job launch.Job, files []*os.File) (ended <-chan launch.End, err error) {
	defer recovered(&err)
	if len(files) != 3 || len(job.Groups) != len(job.Waits) {
		return nil, errors.New("the job is incomplete")
	}
	conf, err := l.confs.of(job)
	if err != nil {
		return nil, err
	}
	if job.Files != nil {
		return l.kernel(conf, job, files)
	}
	spec, err := specutils.ReadSpec(job.Bundle, conf)
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	if err := specutils.FixConfig(conf, spec); err != nil {
		return nil, err
	}
	c, ended, err := l.container(conf, container.Args{ID: job.ID, Spec: spec, BundleDir: job.Bundle}, job, files)
	if err != nil {
		return nil, err
	}
	if job.Image != "" {
		return ended, c.Restore(conf, job.Image, false, false, nil)
	}
	return ended, c.Start(conf)
}

// recovered makes an error of a panic: gVisor panics on what it deems impossible, and that is one sandbox's failure, not
// every one's.
func recovered(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("gVisor panicked: %.300v", p)
	}
}

// configs keeps what gVisor makes of the flags that all sandboxes have in common: it reads some hundred for it.
type configs struct {
	mu    sync.Mutex
	flags []string
	conf  *config.Config
}

// of gives the configuration of one sandbox; the caller may change it.
func (c *configs) of(job launch.Job) (*config.Config, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conf == nil || !slices.Equal(c.flags, job.Flags) {
		set := flag.NewFlagSet("runsc", flag.ContinueOnError)
		config.RegisterFlags(set)
		if err := set.Parse(job.Flags); err != nil {
			return nil, err
		}
		conf, err := config.NewFromFlags(set)
		if err != nil {
			return nil, err
		}
		c.flags, c.conf = job.Flags, conf
	}
	own := *c.conf
	own.RootDir = job.Run
	return &own, nil
}

// container has gVisor make the processes of a sandbox that has a file server. They are born in its cgroup, because this
// process is in there meanwhile: what they use counts as the sandbox's from the first page on. Moved later, it would count
// here until they end, and many sandboxes together would be more than this process may have.
func (l *launcher) container(conf *config.Config, args container.Args, job launch.Job, files []*os.File) (*container.Container, <-chan launch.End, error) {
	l.moving.Lock()
	defer l.moving.Unlock()
	defer func() {
		if err := enter(job.Waits); err != nil {
			// In a sandbox's cgroup we would die with it, later and without a reason.
			fmt.Fprintln(os.Stderr, "runsc: launch:", err)
			os.Exit(1)
		}
	}()
	if err := enter(job.Groups); err != nil {
		return nil, nil, err
	}
	in, out, complaints := os.Stdin, os.Stdout, os.Stderr
	os.Stdin, os.Stdout, os.Stderr = files[0], files[1], files[2]
	defer func() { os.Stdin, os.Stdout, os.Stderr = in, out, complaints }()
	c, err := container.New(conf, args)
	if err != nil {
		return nil, nil, err
	}
	ended := make(chan launch.End, 1)
	go func() { ended <- reap(c.SandboxPid()) }()
	go reap(c.GoferPid.Load())
	return c, ended, nil
}

// reap waits for the end of a child, whenever that is. Its parent is this process, and nobody else asks.
func reap(pid int) (end launch.End) {
	var status unix.WaitStatus
	for pid > 0 {
		if _, err := unix.Wait4(pid, &status, 0, nil); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if status.Signaled() {
		return launch.End{Signal: int(status.Signal())}
	}
	return launch.End{Status: status.ExitStatus()}
}

// enter makes this process, with all its threads, a member of one cgroup in each hierarchy.
func enter(groups []string) error {
	for _, dir := range groups {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(os.Getpid())), 0); err != nil {
			return fmt.Errorf("enter a cgroup: %w", err)
		}
	}
	return nil
}
