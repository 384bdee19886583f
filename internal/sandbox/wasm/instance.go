package wasm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"she/internal/runtimeapi"
	"she/internal/sandbox"
	"she/internal/sandbox/cgroup"
)

// overhead is what a worker may use on top of the module's memory and native code, in bytes.
const overhead = 64 << 20

// instance is one worker. It is used once.
type instance struct {
	*process
	limits sandbox.Limits
	host   *runtimeapi.Host

	closing sync.Mutex // held by Close
	closed  bool
}

var errImage = errors.New("the image can't be used")

// Start implements sandbox.Mechanism. Command[0] names the module, as seen inside: "/var/task/handler.wasm".
func (m *Mechanism) Start(ctx context.Context, p sandbox.Program) (sandbox.Instance, sandbox.Result, error) {
	var err error
	for range 2 {
		var image *os.File
		if image, err = m.images.open(ctx, p); err != nil {
			return nil, sandbox.Result{}, err
		}
		i, result, startErr := m.begin(ctx, p, image)
		_ = image.Close()
		if startErr == nil {
			return i, result, nil
		}
		if !errors.Is(startErr, errImage) {
			return nil, result, startErr
		}
		m.images.remove(image.Name())
	}
	return nil, sandbox.Result{}, sandbox.Failed(sandbox.Operator, sandbox.StartFailed, "a module that was just compiled can't be loaded")
}

// begin starts a worker and lets the module run to where it asks for its event.
func (m *Mechanism) begin(ctx context.Context, p sandbox.Program, image *os.File) (*instance, sandbox.Result, error) {
	info, err := image.Stat()
	if err != nil {
		return nil, sandbox.Result{}, unable(err)
	}
	began := time.Now()
	// The image is in memory twice while it is read.
	w, err := m.start(Serve, image, p.Limits.Memory+overhead+2*info.Size())
	i := &instance{process: w, limits: p.Limits}
	if err != nil {
		return nil, sandbox.Result{}, errors.Join(unable(err), i.Close())
	}
	i.host = runtimeapi.NewHost(w.stdin, w.stdout, sandbox.MaxAnswer, sandbox.MaxLog)
	late := sandbox.Failed(sandbox.Author, sandbox.Timedout, "INIT took longer than %s", p.Limits.Init)
	ctx, cancel := context.WithTimeoutCause(ctx, p.Limits.Init, late)
	defer cancel()
	stop := i.killOn(ctx)
	err = i.host.Start(runtimeapi.Setup{
		Command: p.Command, Env: p.Env, Dir: "/", Memory: p.Limits.Memory, MaxAnswer: sandbox.MaxAnswer, MaxLog: sandbox.MaxLog,
	})
	stop()
	if err == nil {
		if err = i.group.Throttle(p.Limits.CPU); err != nil { // it waits in a system call, so it uses none
			err = unable(err)
		}
	}
	if err != nil {
		result, failure := i.explain(ctx, err)
		return nil, result, errors.Join(failure, i.Close())
	}
	return i, sandbox.Result{Init: time.Since(began)}, nil
}

func unable(err error) error {
	return sandbox.Failed(sandbox.Operator, sandbox.StartFailed, "a WebAssembly worker could not start: %v", err)
}

// Memory implements sandbox.Instance.
func (i *instance) Memory() int64 { return i.group.Memory() }

// Run implements sandbox.Instance.
func (i *instance) Run(ctx context.Context, c sandbox.Call) (sandbox.Result, error) {
	if len(c.Event) > sandbox.MaxEvent {
		return sandbox.Result{}, sandbox.Failed(sandbox.Author, sandbox.RequestTooLarge,
			"the event has %d bytes, at most %d are allowed", len(c.Event), sandbox.MaxEvent)
	}
	select {
	case <-i.exited: // it was killed while it waited
		failure := endOf(i.status)
		if i.group.OutOfMemory() == cgroup.MachineExceeded {
			failure = sandbox.EndedForMemory()
		}
		return sandbox.Result{}, errors.Join(failure, sandbox.ErrUnused)
	default:
	}
	ctx, cancel := context.WithDeadlineCause(ctx, c.Deadline, c.Timedout())
	defer cancel()
	stop := i.killOn(ctx)
	payload, err := i.host.Invoke(runtimeapi.Invocation{ID: c.ID, ARN: c.ARN, DeadlineMS: c.Deadline.UnixMilli()}, c.Event)
	stop()
	result := sandbox.Result{Payload: payload, Log: i.host.Log()}
	if err != nil {
		result, err = i.explain(ctx, err)
	}
	result.Usage.MaxMemory, result.Usage.CPU = i.group.Usage()
	return result, err
}

// explain turns the end of the channel into a Failure.
func (i *instance) explain(ctx context.Context, err error) (sandbox.Result, error) {
	result := sandbox.Result{Log: i.host.Log()}
	if ctx.Err() != nil {
		return result, context.Cause(ctx)
	}
	var failure *sandbox.Failure
	if errors.As(err, &failure) {
		return result, failure
	}
	var reported *runtimeapi.FaultError
	if errors.As(err, &reported) {
		result.Payload = reported.Document
		return result, i.fault(reported.Fault)
	}
	if !runtimeapi.Ended(err) && !errors.Is(err, os.ErrClosed) && !isBrokenPipe(err) {
		return result, sandbox.Failed(sandbox.Engine, sandbox.ProtocolError, "%v", err)
	}
	if ended := i.await(); ended != nil {
		return result, ended
	}
	switch oom := i.group.OutOfMemory(); {
	case oom == cgroup.MachineExceeded:
		return result, sandbox.EndedForMemory()
	case oom == cgroup.LimitReached:
		return result, i.outOfMemory()
	case i.status > signalled || i.status < 0:
		return result, endOf(i.status)
	}
	return result, unable(i.complaint())
}

// await waits for the process to be gone, which it is but for moments.
func (i *instance) await() error {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-i.exited:
		return nil
	case <-timer.C:
		return sandbox.Failed(sandbox.Engine, sandbox.ProtocolError, "the worker hung up and did not end")
	}
}

// fault puts what the worker reported into our words.
func (i *instance) fault(f runtimeapi.Fault) error {
	switch {
	case f.Type == FaultImage:
		return errImage
	case f.Type == FaultTrap:
		return sandbox.Failed(sandbox.Author, sandbox.ExitError, "the module trapped")
	case f.Type == sandbox.OutOfMemory:
		return i.outOfMemory()
	case f.Exited:
		return sandbox.Exited(f.Status, 0)
	}
	return sandbox.Reported(f.Type)
}

func (i *instance) outOfMemory() error {
	return sandbox.Failed(sandbox.Author, sandbox.OutOfMemory, "the function used more than its %d MB of memory", i.limits.Memory>>20)
}

// Close implements sandbox.Instance.
func (i *instance) Close() error {
	i.closing.Lock()
	defer i.closing.Unlock()
	if i.closed {
		return nil
	}
	if err := i.end(); err != nil {
		return fmt.Errorf("remove a WebAssembly worker: %w", err)
	}
	i.closed = true
	return nil
}

// An outer half ends with 128 and the signal that ended its inner half.
const (
	signalled = 128
	sigsys    = int(syscall.SIGSYS)
	sigkill   = int(syscall.SIGKILL)
)

// endOf says who must act when a worker ended with that status and memory was not the reason. Neither half kills itself or
// the other one while the server lives; below 0 the outer one was ended by a signal, and no module has a part in that.
func endOf(status int) *sandbox.Failure {
	switch {
	case status == signalled+sigsys:
		return sandbox.Failed(sandbox.Engine, sandbox.ProtocolError, "the worker was ended for a system call it may not make")
	case status == signalled+sigkill || status < 0:
		return sandbox.EndedFromOutside()
	case status > signalled:
		return sandbox.Failed(sandbox.Engine, sandbox.ProtocolError, "the worker was ended by signal %d", status-signalled)
	}
	return sandbox.Failed(sandbox.Engine, sandbox.ProtocolError, "the worker ended by itself, with status %d", status)
}

func isBrokenPipe(err error) bool { return errors.Is(err, syscall.EPIPE) }
