package gvisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"she/internal/sandbox/cgroup"
	"she/internal/sandbox/gvisor/launch"
)

// launchers keeps one launcher running: the process of gVisor's program that brings sandboxes up. It is started at the
// first sandbox and again whenever it is found dead; sandboxes that run don't need it.
type launchers struct {
	m *Mechanism

	mu     sync.Mutex
	now    *launcher // nil if none runs
	number uint64
	closed bool
}

// launcher is one such process. The lock of launchers guards jobs; it is nil once the process is known to be gone.
type launcher struct {
	cmd    *exec.Cmd
	group  *cgroup.Group
	socket *os.File
	jobs   map[uint64]job
	gone   chan struct{} // closed when nothing of it is left
}

// job is a sandbox that is made, or runs. Both channels are closed if the launcher dies.
type job struct {
	reply chan launch.Reply
	ended chan launch.End
	saves bool // there is no sandbox that would end later
}

var errLauncherGone = errors.New("gVisor's launcher ended; is bin/runsc of this version? (make build)")

// What a launcher may take, beside the pages of snapshots; the sandboxes it makes are in cgroups of their own.
const (
	launcherMemory    = 512 << 20
	launcherProcesses = 4096
)

// bringUp has a sandbox made and its program started, or restored, or the memory of one kept. When it returns, with or without an error, nobody
// is making anything for the job any more; what an unfinished job left is in its cgroup and directories. Of a sandbox that
// is up, ended tells how its kernel ended, or is closed if nobody saw it.
func (l *launchers) bringUp(ctx context.Context, sandbox launch.Job, files ...*os.File) (ended <-chan launch.End, err error) {
	j, p, err := l.send(sandbox, files)
	if err != nil {
		return nil, err
	}
	select {
	case r, ok := <-j.reply:
		return j.ended, outcome(r, ok)
	case <-ctx.Done():
	}
	// A sandbox is up in a fraction of a second: better to let it be than to kill what makes those of others.
	select {
	case r, ok := <-j.reply:
		if err := outcome(r, ok); err != nil {
			return nil, err
		}
		return nil, context.Cause(ctx)
	case <-time.After(patience):
	}
	_ = p.cmd.Process.Kill()
	<-j.reply
	return nil, context.Cause(ctx)
}

func outcome(r launch.Reply, ok bool) error {
	switch {
	case !ok:
		return errLauncherGone
	case r.Error != "":
		return fmt.Errorf("%.300s", r.Error)
	}
	return nil
}

// send hands a job to the launcher.
func (l *launchers) send(sandbox launch.Job, files []*os.File) (j job, p *launcher, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return j, nil, errors.New("the mechanism is closed")
	}
	if l.now == nil {
		p, err := l.start()
		if err != nil {
			return j, nil, fmt.Errorf("start gVisor's launcher: %w", err)
		}
		l.now = p
	}
	p = l.now
	l.number++
	sandbox.Number, sandbox.Waits = l.number, p.group.Dirs()
	j = job{reply: make(chan launch.Reply, 1), ended: make(chan launch.End, 1), saves: sandbox.Save != ""}
	p.jobs[sandbox.Number] = j
	if err := launch.Send(int(p.socket.Fd()), sandbox, files...); err != nil {
		delete(p.jobs, sandbox.Number)
		return j, nil, fmt.Errorf("%w: %w", errLauncherGone, err)
	}
	return j, p, nil
}

// start starts a launcher. The lock is held.
func (l *launchers) start() (_ *launcher, err error) {
	group, err := l.m.cg.Create("launcher-"+l.m.newName(), launcherMemory+launch.MostShared(), launcherProcesses)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, group.Remove(context.Background()))
		}
	}()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "launcher"), os.NewFile(uintptr(fds[1]), "launcher")
	defer theirs.Close()
	cmd := exec.Command(l.m.runsc, launch.Command)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"} // nothing of our environment
	cmd.Dir = l.m.run
	cmd.ExtraFiles = []*os.File{theirs} // descriptor launch.Socket
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := group.Start(cmd); err != nil {
		return nil, errors.Join(err, ours.Close())
	}
	p := &launcher{cmd: cmd, group: group, socket: ours, jobs: map[uint64]job{}, gone: make(chan struct{})}
	go l.listen(p)
	return p, nil
}

// listen passes on replies until the launcher is gone, and removes what is left of it then.
func (l *launchers) listen(p *launcher) {
	defer close(p.gone)
	for {
		var r launch.Reply
		files, err := launch.Receive(int(p.socket.Fd()), &r)
		if err != nil {
			break
		}
		launch.Close(files)
		l.mu.Lock()
		if j, ok := p.jobs[r.Number]; ok && r.Ended != nil {
			j.ended <- *r.Ended
			delete(p.jobs, r.Number)
		} else if ok {
			j.reply <- r
			if r.Error != "" || j.saves {
				delete(p.jobs, r.Number)
			}
		}
		l.mu.Unlock()
	}
	l.mu.Lock()
	if l.now == p {
		l.now = nil
	}
	l.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_ = p.group.Kill(ctx) // what resists is Sweep's
	_ = p.cmd.Wait()
	_ = p.group.Remove(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, j := range p.jobs {
		close(j.reply)
		close(j.ended)
	}
	p.jobs = nil
	_ = p.socket.Close()
}

// close ends the launcher and waits until it is gone.
func (l *launchers) close() {
	l.mu.Lock()
	l.closed = true
	p := l.now
	if p != nil {
		_ = unix.Shutdown(int(p.socket.Fd()), unix.SHUT_RDWR)
	}
	l.mu.Unlock()
	if p != nil {
		<-p.gone
	}
}
