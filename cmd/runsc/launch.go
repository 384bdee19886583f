package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/log"
	"gvisor.dev/gvisor/pkg/sentry/pgalloc"
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
	// create is held while a sandbox's processes are made: gVisor hands the standard streams of its own process to a
	// sandbox, and its children are where this process is, which is in the sandbox's cgroup then.
	create sync.Mutex
	// tidy runs when there was nothing to do for a while: gVisor leaves descriptors of each sandbox, two or three, to
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
	l := &launcher{socket: socket, tidy: time.AfterFunc(idle, debug.FreeOSMemory)}
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

func (l *launcher) do(job launch.Job, files []*os.File) {
	reply := launch.Reply{Number: job.Number}
	ended, err := l.bringUp(job, files)
	if err != nil {
		reply.Error = err.Error()
	}
	launch.Close(files)
	l.tidy.Reset(idle)
	l.reply(reply)
	if err == nil {
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
	defer func() { // gVisor panics on what it deems impossible; that is one sandbox's failure, not every one's
		if p := recover(); p != nil {
			err = fmt.Errorf("gVisor panicked: %.300v", p)
		}
	}()
	if len(files) != 3 || len(job.Groups) != len(job.Waits) {
		return nil, errors.New("the job is incomplete")
	}
	set := flag.NewFlagSet("runsc", flag.ContinueOnError)
	config.RegisterFlags(set)
	if err := set.Parse(job.Flags); err != nil {
		return nil, err
	}
	conf, err := config.NewFromFlags(set)
	if err != nil {
		return nil, err
	}
	spec, err := specutils.ReadSpec(job.Bundle, conf)
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	if err := specutils.FixConfig(conf, spec); err != nil {
		return nil, err
	}
	args := container.Args{ID: job.ID, Spec: spec, BundleDir: job.Bundle}
	if spec.Annotations["dev.gvisor.spec.rootfs.type"] == "erofs" {
		tmp, err := pagesOf(spec.Annotations["dev.gvisor.spec.mount.tmp.source"])
		if err != nil {
			return nil, fmt.Errorf("make a file for the pages of /tmp: %w", err)
		}
		defer tmp.Close()
		args.PassFiles = map[int]*os.File{0: tmp}
	}
	c, ended, err := l.new(conf, args, job, files)
	if err != nil {
		return nil, err
	}
	if job.Image != "" {
		return ended, c.Restore(conf, job.Image, false, false, nil)
	}
	return ended, c.Start(conf)
}

// pagesOf makes the file that holds the pages of a sandbox's /tmp, in a directory that is there for it. gVisor makes one
// only beside a file server, which a sandbox whose files are all in images has not. As gVisor can be handed no such file,
// it is passed as one for the program inside, and cmd/runsc/enter, which is always ahead of such a sandbox's kernel,
// changes what the kernel is told it is.
func pagesOf(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, "")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	pgalloc.IMAWorkAroundForMemFile(f.Fd())
	return f, nil
}

// new makes the processes of a sandbox. They are born in its cgroup, because this process is in there meanwhile: what
// they use counts as the sandbox's from the first page on. Moved later, it would count here until they end, and many
// sandboxes together would be more than this process may have.
func (l *launcher) new(conf *config.Config, args container.Args, job launch.Job, files []*os.File) (*container.Container, <-chan launch.End, error) {
	l.create.Lock()
	defer l.create.Unlock()
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
