package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/log"
	"gvisor.dev/gvisor/runsc/config"
	"gvisor.dev/gvisor/runsc/container"
	"gvisor.dev/gvisor/runsc/flag"
	"gvisor.dev/gvisor/runsc/specutils"

	"she/internal/sandbox/gvisor/launch"
)

// launcher brings sandboxes up. It holds nothing of them afterwards: they live without it and end without it.
type launcher struct {
	socket int
	send   sync.Mutex
	// create is held while a sandbox's processes are made and moved to their cgroup: gVisor hands the standard
	// streams of its own process to a sandbox, and whoever is in our cgroup then belongs to that one sandbox.
	create sync.Mutex
}

// serve does jobs until the server hangs up.
func serve(socket int) error {
	log.SetTarget(log.GoogleEmitter{Writer: &log.Writer{Next: io.Discard}})
	unix.CloseOnExec(socket)
	l := &launcher{socket: socket}
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
	if err := l.bringUp(job, files); err != nil {
		reply.Error = err.Error()
	}
	launch.Close(files)
	l.send.Lock()
	defer l.send.Unlock()
	if launch.Send(l.socket, reply) != nil {
		os.Exit(1) // nobody listens any more
	}
}

// bringUp does one job. What it leaves behind on an error is in the sandbox's cgroup and directories, which the
// server removes.
func (l *launcher) bringUp(job launch.Job, files []*os.File) (err error) {
	defer func() { // gVisor panics on what it deems impossible; that is one sandbox's failure, not every one's
		if p := recover(); p != nil {
			err = fmt.Errorf("gVisor panicked: %.300v", p)
		}
	}()
	if len(files) != 3 || len(job.Groups) != len(job.Waits) {
		return errors.New("the job is incomplete")
	}
	set := flag.NewFlagSet("runsc", flag.ContinueOnError)
	config.RegisterFlags(set)
	if err := set.Parse(job.Flags); err != nil {
		return err
	}
	conf, err := config.NewFromFlags(set)
	if err != nil {
		return err
	}
	spec, err := specutils.ReadSpec(job.Bundle, conf)
	if err != nil {
		return fmt.Errorf("read the configuration: %w", err)
	}
	if err := specutils.FixConfig(conf, spec); err != nil {
		return err
	}
	c, err := l.new(conf, container.Args{ID: job.ID, Spec: spec, BundleDir: job.Bundle}, job, files)
	if err != nil {
		return err
	}
	if job.Image != "" {
		return c.Restore(conf, job.Image, false, false, nil)
	}
	return c.Start(conf)
}

// new makes the processes of a sandbox and puts them into its cgroup. Nothing of the function runs yet.
func (l *launcher) new(conf *config.Config, args container.Args, job launch.Job, files []*os.File) (*container.Container, error) {
	l.create.Lock()
	defer l.create.Unlock()
	in, out, complaints := os.Stdin, os.Stdout, os.Stderr
	os.Stdin, os.Stdout, os.Stderr = files[0], files[1], files[2]
	c, err := container.New(conf, args)
	os.Stdin, os.Stdout, os.Stderr = in, out, complaints
	if err == nil {
		for _, pid := range []int{c.SandboxPid(), c.GoferPid.Load()} {
			go reap(pid)
		}
	}
	return c, errors.Join(err, move(job.Waits, job.Groups))
}

// reap waits for the end of a child, whenever that is. Its parent is this process, and nobody else asks.
func reap(pid int) {
	for pid > 0 {
		if _, err := unix.Wait4(pid, nil, 0, nil); !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// move puts every process of one cgroup but our own into another, in each hierarchy, until none is left: a process
// that forks meanwhile has its child moved in the next round.
func move(from, to []string) error {
	for i := range from {
		for round := 0; ; round++ {
			b, err := os.ReadFile(filepath.Join(from[i], "cgroup.procs"))
			if err != nil {
				return fmt.Errorf("list the new sandbox's processes: %w", err)
			}
			left := 0
			for _, pid := range strings.Fields(string(b)) {
				if pid == strconv.Itoa(os.Getpid()) {
					continue
				}
				left++
				err := os.WriteFile(filepath.Join(to[i], "cgroup.procs"), []byte(pid), 0)
				if err != nil && !errors.Is(err, unix.ESRCH) {
					return fmt.Errorf("move the new sandbox to its cgroup: %w", err)
				}
			}
			if left == 0 {
				break
			}
			if round == 100 {
				return fmt.Errorf("the cgroup %s never came to rest", from[i])
			}
		}
	}
	return nil
}
