package wasm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"

	"she/internal/sandbox/cgroup"
)

// maxProcesses bounds processes and threads of one she-wasm: two, with a handful of threads each.
const maxProcesses = 64

// A process is one she-wasm, in a cgroup of its own.
type process struct {
	group  *cgroup.Group
	stdin  *os.File
	stdout *os.File

	complaints *os.File // what it says went wrong, before it runs anybody's code
	exited     chan struct{}
	status     int // valid once exited is closed
}

// start starts a she-wasm on pipes of ours, with file as its descriptor 3. Whatever comes of it, the caller ends it.
func (m *Mechanism) start(mode string, file *os.File, memory int64) (p *process, err error) {
	p = &process{exited: make(chan struct{})}
	if p.group, err = m.cg.Create(m.newName(), memory, maxProcesses); err != nil {
		close(p.exited)
		return p, err
	}
	cmd := exec.Command(m.worker, mode)
	cmd.Env = []string{} // nothing of ours
	cmd.Dir = "/"
	cmd.ExtraFiles = []*os.File{file}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // a Ctrl-C at the server's terminal is the server's
	theirs := make([]*os.File, 0, 3)
	defer func() {
		for _, f := range theirs {
			_ = f.Close()
		}
	}()
	pipe := func() (r, w *os.File) {
		if err == nil {
			r, w, err = os.Pipe()
		}
		return r, w
	}
	in, stdin := pipe()
	stdout, out := pipe()
	complaints, says := pipe()
	if err == nil {
		p.stdin, p.stdout, p.complaints = stdin, stdout, complaints
		theirs = append(theirs, in, out, says)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = in, out, says
		err = p.group.Start(cmd)
	}
	if err != nil {
		close(p.exited)
		return p, err
	}
	go func() {
		defer close(p.exited)
		_ = cmd.Wait()
		p.status = cmd.ProcessState.ExitCode()
	}()
	return p, nil
}

// killOn kills all of it at the end of ctx; who reads our pipe then sees the end of the stream.
func (p *process) killOn(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, func() {
		killing, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		_ = p.group.Kill(killing) // end tries again and says what went wrong
	})
}

// complaint is what it said, once it has exited.
func (p *process) complaint() error {
	b, err := io.ReadAll(io.LimitReader(p.complaints, 300))
	if err != nil || len(b) == 0 {
		return fmt.Errorf("it ended with status %d", p.status)
	}
	return errors.New(string(b))
}

// end kills what still runs and removes every trace. It may be called again.
func (p *process) end() error {
	var problems []error
	if p.group != nil {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		problems = append(problems, p.group.Kill(ctx))
		select {
		case <-p.exited:
		case <-ctx.Done():
			problems = append(problems, errors.New("the worker survives SIGKILL"))
		}
		problems = append(problems, p.group.Remove(ctx))
	}
	for _, f := range []*os.File{p.stdin, p.stdout, p.complaints} {
		if f != nil {
			_ = f.Close()
		}
	}
	return errors.Join(problems...)
}
