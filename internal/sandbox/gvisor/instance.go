package gvisor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"she/internal/runtimeapi"
	"she/internal/sandbox"
	"she/internal/sandbox/cgroup"
	"she/internal/sandbox/gvisor/launch"
)

const (
	// id is the name of the one container in each sandbox. All have the same: the function can read it.
	id = "f"
	// overhead is what the kernel of a sandbox and the host's side of it may use on top of the function's memory.
	overhead = 64 << 20
	// grace is how much later than process 1 the host enforces the deadline, so that the log gets out first.
	grace = 150 * time.Millisecond
	// waiting is how much CPU an instance gets between INIT and its event: what its background threads do then is for
	// nobody.
	waiting = 0.01
	// settling is how long at most it has its full share before, to come to rest: a runtime that was just restored, or
	// has just asked for its event, has pages to touch and threads to put to sleep. Left for later, an event would wait
	// for that. It counts as quiet when it used less than a thirtieth of a CPU between two looks.
	settling    = 2 * time.Second
	lookEvery   = 30 * time.Millisecond
	quietWithin = time.Millisecond
	// rehearsals is how often an event is tried before an image is made, within rehearsing.
	rehearsals = 20
	rehearsing = 500 * time.Millisecond
	// patience bounds the removal of one sandbox.
	patience = 10 * time.Second
)

// instance is one sandbox. It is used once.
type instance struct {
	m      *Mechanism
	limits sandbox.Limits
	group  *cgroup.Group
	box    string // gVisor's state and the OCI configuration
	tmp    string // the pages of /tmp
	files  images // what it sees, if no process opens files for it
	stdin  *os.File
	stdout *os.File
	host   *runtimeapi.Host
	ended  <-chan launch.End // how the sandbox's kernel ended
	told   time.Duration     // of CPU, for earlier events
	fresh  bool              // restored from an image, or rehearsed: what was printed so far is not of its event

	wake    context.CancelFunc // ends settle
	settled sync.WaitGroup

	closing sync.Mutex // held by Close
	closed  bool
}

// Start implements sandbox.Mechanism.
func (m *Mechanism) Start(ctx context.Context, p sandbox.Program) (sandbox.Instance, sandbox.Result, error) {
	i, result, err := m.start(ctx, p)
	if err != nil {
		return nil, result, err
	}
	if err := i.wait(); err != nil {
		return nil, result, err
	}
	return i, result, nil
}

// start is Start that leaves the instance its whole CPU.
func (m *Mechanism) start(ctx context.Context, p sandbox.Program) (*instance, sandbox.Result, error) {
	files, err := m.filesOf(ctx, p)
	if err != nil {
		return nil, sandbox.Result{}, err
	}
	return m.startOn(ctx, p, files)
}

// filesOf gives the images of a program, if it has some by now. Without root gVisor can start no process that opens files for a
// sandbox, so there it waits for them.
func (m *Mechanism) filesOf(ctx context.Context, p sandbox.Program) (images, error) {
	if !m.rootless {
		return m.lower.find(ctx, p), nil
	}
	files := m.lower.await(ctx, p)
	if !files.there() {
		if ctx.Err() != nil {
			return files, context.Cause(ctx)
		}
		return files, sandbox.Failed(sandbox.Operator, sandbox.StartFailed, "an image of this machine's programs can't be made, which sandboxes without root need: %s",
			cmp.Or(m.lower.stats().Problem, "a directory that the runtime needs lies below /proc, /sys, /dev or /tmp"))
	}
	return files, nil
}

// startOn is start with the given images of files.
func (m *Mechanism) startOn(ctx context.Context, p sandbox.Program, files images) (*instance, sandbox.Result, error) {
	i, err := m.create(ctx, p, files, "")
	if err != nil {
		return nil, sandbox.Result{}, err
	}
	began := time.Now()
	err = i.untilReady(ctx, p.Limits.Init, func() error {
		return i.host.Start(runtimeapi.Setup{
			Command: p.Command, Env: p.Env, Dir: "/var/task",
			UID: functionUID, GID: functionGID, OwnUID: initUID,
			Processes: p.Limits.Processes + initThreads,
			MaxAnswer: sandbox.MaxAnswer, MaxLog: sandbox.MaxLog,
		})
	})
	if err != nil {
		result, failure := i.explain(ctx, nil, err)
		return nil, result, errors.Join(failure, i.Close())
	}
	return i, sandbox.Result{Init: time.Since(began)}, nil
}

// wait is for the event: the instance has the share of a run until it is quiet, and then next to nothing until Run or
// Close.
func (i *instance) wait() error {
	if err := i.group.Throttle(i.limits.CPU); err != nil {
		return errors.Join(sandbox.Failed(sandbox.Operator, sandbox.StartFailed, "limit a sandbox's CPU: %v", err), i.Close())
	}
	ctx, cancel := context.WithTimeout(context.Background(), settling)
	i.wake = cancel
	i.settled.Go(func() { i.settle(ctx) })
	return nil
}

func (i *instance) settle(ctx context.Context) {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	_, before := i.group.Usage()
	for quiet := false; !quiet && ctx.Err() == nil; {
		select {
		case <-look.C:
			_, now := i.group.Usage()
			quiet = now-before < quietWithin
			before = now
		case <-ctx.Done():
		}
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return // by Run or Close
	}
	if i.group.Throttle(waiting) != nil {
		// What can't be held back must not wait. Whoever comes to use it finds it ended.
		killing, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = i.group.Kill(killing)
	}
}

// awake ends the wait.
func (i *instance) awake() {
	if i.wake != nil {
		i.wake()
		i.settled.Wait()
	}
}

// initThreads is what process 1 takes from the limit of processes and threads.
const initThreads = 16

// untilReady bounds a step of INIT.
func (i *instance) untilReady(ctx context.Context, limit time.Duration, step func() error) error {
	late := sandbox.Failed(sandbox.Author, sandbox.Timedout, "INIT took longer than %s", limit)
	ctx, cancel := context.WithTimeoutCause(ctx, limit, late)
	defer cancel()
	defer i.killOn(ctx)()
	if err := step(); err != nil {
		if context.Cause(ctx) == late {
			return late
		}
		return err
	}
	return nil
}

// Checkpoint implements sandbox.Copier.
func (m *Mechanism) Checkpoint(ctx context.Context, p sandbox.Program, rehearse []sandbox.Call, dir string) (result sandbox.Result, err error) {
	files := m.lower.await(ctx, p)
	i, result, err := m.startOn(ctx, p, files)
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, i.Close()) }()
	for _, c := range rehearse {
		// Compilers at run time work on what is called often. What takes long gains nothing by it.
		began := time.Now()
		for n := 0; n < rehearsals && (n == 0 || time.Since(began) < rehearsing); n++ {
			if result, err := i.rehearse(ctx, c); err != nil {
				return result, err
			}
		}
	}
	written, result, err := i.written(ctx, rehearse)
	if err != nil {
		return result, err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return result, fmt.Errorf("make an image: %w", err)
	}
	if err := i.save(ctx, dir); err != nil {
		return result, errors.Join(fmt.Errorf("make an image: %w", err), os.RemoveAll(dir))
	}
	if written != nil {
		if err := writeWritten(dir, written); err != nil {
			return result, errors.Join(fmt.Errorf("make an image: %w", err), os.RemoveAll(dir))
		}
	}
	if err := files.writeNames(dir); err != nil {
		return result, errors.Join(fmt.Errorf("make an image: %w", err), os.RemoveAll(dir))
	}
	return result, nil
}

// written tries each event once more, and sees which memory that changes. It is nil if nobody can tell.
func (i *instance) written(ctx context.Context, events []sandbox.Call) ([]launch.Stretch, sandbox.Result, error) {
	if len(events) == 0 {
		return nil, sandbox.Result{}, nil
	}
	before, unknown := i.memory()
	for _, c := range events {
		if result, err := i.rehearse(ctx, c); err != nil {
			return nil, result, err
		}
	}
	after, err := i.memory()
	if err != nil || unknown != nil {
		return nil, sandbox.Result{}, nil // it is a hint
	}
	return before.changed(after), sandbox.Result{}, nil
}

// Stamp implements sandbox.Copier.
func (m *Mechanism) Stamp() string { return m.stamp }

// Restore implements sandbox.Copier.
func (m *Mechanism) Restore(ctx context.Context, p sandbox.Program, dir string) (sandbox.Instance, error) {
	files := m.lower.find(ctx, p)
	if !files.sameNames(dir) {
		return nil, sandbox.ErrStale
	}
	i, err := m.create(ctx, p, files, dir)
	if err != nil {
		return nil, err
	}
	i.fresh = true
	if err := i.wait(); err != nil {
		return nil, err
	}
	return i, nil
}

// Forget implements sandbox.Copier.
func (m *Mechanism) Forget(dir string) { m.lower.forget(dir) }

// Files implements sandbox.Copier.
func (m *Mechanism) Files() sandbox.Files { return m.lower.stats() }

// Rehearse implements sandbox.Rehearser. It is not throttled.
func (i *instance) Rehearse(ctx context.Context, c sandbox.Call) error {
	i.awake()
	if err := i.group.Throttle(float64(runtime.NumCPU())); err != nil {
		return sandbox.Failed(sandbox.Operator, sandbox.StartFailed, "limit a sandbox's CPU: %v", err)
	}
	if _, err := i.rehearse(ctx, c); err != nil {
		return err
	}
	return i.wait()
}

func (i *instance) rehearse(ctx context.Context, c sandbox.Call) (sandbox.Result, error) {
	ctx, cancel := context.WithDeadlineCause(ctx, c.Deadline.Add(grace), c.Timedout())
	defer cancel()
	defer i.killOn(ctx)()
	i.fresh = true
	if err := i.host.Rehearse(runtimeapi.Invocation{ID: c.ID, ARN: c.ARN, DeadlineMS: c.Deadline.UnixMilli(), Entry: entry(c)}, c.Event); err != nil {
		return i.explain(ctx, &c, err)
	}
	return sandbox.Result{}, nil
}

// create brings a sandbox up, restored from an image if there is one: to the point where she-init waits for its setup,
// or for its event.
func (m *Mechanism) create(ctx context.Context, p sandbox.Program, files images, image string) (i *instance, err error) {
	name := m.newName()
	i = &instance{m: m, limits: p.Limits, files: files, box: filepath.Join(m.boxDir(), name), tmp: filepath.Join(m.tmpDir(), name)}
	defer func() {
		if err != nil {
			err = errors.Join(err, i.Close())
			i = nil
		}
	}()
	unable := func(what string, err error) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return sandbox.Failed(sandbox.Operator, sandbox.StartFailed, "a sandbox could not start: %s: %v", what, err)
	}
	for _, dir := range []string{i.box, i.run(), i.tmp} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return i, unable("make its directory", err)
		}
	}
	if err := os.Chmod(i.tmp, 0o1777); err != nil { // it becomes the mode of /tmp
		return i, unable("make its directory", err)
	}
	if !files.there() {
		for _, b := range shown(p) {
			if err := m.root.mountPoint(b); err != nil {
				return i, unable("prepare its files", err)
			}
		}
	}
	if err := writeSpec(i.box, m.root.spec(p, i.tmp, files)); err != nil {
		return i, unable("write its configuration", err)
	}
	// The kernel of the sandbox limits processes exactly; this is the backstop on the host, where each process inside
	// is a few threads.
	if i.group, err = m.cg.Create(name, p.Limits.Memory+overhead, 8*p.Limits.Processes+512); err != nil {
		return i, unable("set its limits", err)
	}
	return i, i.launch(ctx, unable, image)
}

// job says what this sandbox is to the launcher.
func (i *instance) job() launch.Job {
	place := i.group.Place()
	j := launch.Job{Flags: i.m.runscFlags(), Run: i.run(), ID: id, Bundle: i.box, Groups: place.Dirs, Unified: place.Unified}
	if i.files.there() {
		j.Files = &launch.Files{Root: i.files.root, Own: i.files.own, Tmp: i.tmp}
	}
	return j
}

// save ends the sandbox and keeps what is in its memory in a directory.
func (i *instance) save(ctx context.Context, dir string) error {
	defer i.killOn(ctx)()
	job := i.job()
	job.Save = dir
	_, err := i.m.launchers.bringUp(ctx, job)
	return err
}

// launch has the sandbox made on our pipes, and its program started, or restored from an image.
func (i *instance) launch(ctx context.Context, unable func(string, error) error, image string) error {
	childIn, stdin, err := os.Pipe()
	if err != nil {
		return unable("make its pipes", err)
	}
	defer childIn.Close()
	i.stdin = stdin
	stdout, childOut, err := os.Pipe()
	if err != nil {
		return unable("make its pipes", err)
	}
	defer childOut.Close()
	i.stdout = stdout
	i.host = runtimeapi.NewHost(stdin, stdout, sandbox.MaxAnswer, sandbox.MaxLog)

	// Only she-init and gVisor write here, so it stays small; it is read only when nothing has run yet.
	complaints, err := os.OpenFile(filepath.Join(i.box, "stderr"), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return unable("open its error file", err)
	}
	defer complaints.Close()

	job := i.job()
	job.Image = image
	i.ended, err = i.m.launchers.bringUp(ctx, job, childIn, childOut, complaints)
	if err != nil {
		switch i.group.OutOfMemory() {
		case cgroup.LimitReached:
			return unable("run gVisor", errors.New("the memory limit is too small for it"))
		case cgroup.MachineExceeded:
			return errors.Join(sandbox.EndedForMemory(), sandbox.ErrUnused)
		}
		if words := lastLine(complaints); words != "" {
			err = fmt.Errorf("%w: %s", err, words)
		}
		return errors.Join(unable("run gVisor", err), sandbox.ErrUnused)
	}
	return nil
}

// lastLine is what gVisor said last before a sandbox was there; no function has run.
func lastLine(file *os.File) string {
	const most = 300
	end, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return ""
	}
	tail := make([]byte, min(end, most))
	n, _ := file.ReadAt(tail, end-int64(len(tail)))
	lines := strings.Split(strings.TrimSpace(strings.ToValidUTF8(string(tail[:n]), "")), "\n")
	return lines[len(lines)-1]
}

func (i *instance) run() string { return filepath.Join(i.box, "run") }

// Run implements sandbox.Instance.
func (i *instance) Run(ctx context.Context, c sandbox.Call) (sandbox.Result, error) {
	if len(c.Event) > sandbox.MaxEvent {
		return sandbox.Result{}, sandbox.Failed(sandbox.Author, sandbox.RequestTooLarge,
			"the event has %d bytes, at most %d are allowed", len(c.Event), sandbox.MaxEvent)
	}
	i.awake()
	if err := i.group.Throttle(i.limits.CPU); err != nil {
		return sandbox.Result{}, sandbox.Failed(sandbox.Operator, sandbox.StartFailed, "limit a sandbox's CPU: %v", err)
	}
	ctx, cancel := context.WithDeadlineCause(ctx, c.Deadline.Add(grace), c.Timedout())
	defer cancel()
	stop := i.killOn(ctx)
	payload, err := i.host.Invoke(runtimeapi.Invocation{
		ID: c.ID, ARN: c.ARN, DeadlineMS: c.Deadline.UnixMilli(), Entry: entry(c), Again: c.Again, Fresh: i.fresh,
	}, c.Event)
	stop()
	i.fresh = false
	result := sandbox.Result{Payload: payload, Log: i.host.Log()}
	if err != nil {
		result, err = i.explain(ctx, &c, err)
	}
	maxMemory, cpu := i.group.Usage()
	result.Usage.MaxMemory, result.Usage.CPU, i.told = maxMemory, cpu-i.told, cpu
	if c.Again && err == nil && i.group.Throttle(waiting) != nil {
		// As in settle: what can't be held back must not wait.
		killing, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = i.group.Kill(killing)
	}
	return result, err
}

func entry(c sandbox.Call) runtimeapi.Entry {
	if c.First {
		return runtimeapi.First
	}
	return runtimeapi.Own
}

// killOn kills everything inside at the end of ctx; the reader of our pipe then sees the end of the stream.
func (i *instance) killOn(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, func() {
		killing, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		_ = i.group.Kill(killing) // Close tries again and says what went wrong
		_ = i.stdout.SetReadDeadline(time.Unix(1, 0))
		_ = i.stdin.SetWriteDeadline(time.Unix(1, 0))
	})
}

// explain turns the end of the channel into a Failure. c is nil during INIT.
func (i *instance) explain(ctx context.Context, c *sandbox.Call, err error) (sandbox.Result, error) {
	result := sandbox.Result{Log: i.host.Log()}
	var failure *sandbox.Failure
	var reported *runtimeapi.FaultError
	isReported := errors.As(err, &reported)
	if isReported {
		result.Payload = reported.Document
	}
	oom := i.group.OutOfMemory()
	switch {
	case ctx.Err() != nil:
		return result, context.Cause(ctx)
	case errors.As(err, &failure):
		return result, failure
	case oom == cgroup.MachineExceeded && (!isReported || reported.Fault.Exited):
		failure := error(sandbox.EndedForMemory())
		if c != nil && errors.Is(err, syscall.EPIPE) { // it waited, and process 1 never had the whole event
			failure = errors.Join(failure, sandbox.ErrUnused)
		}
		return result, failure
	case oom == cgroup.LimitReached && (!isReported || reported.Fault.Exited):
		return result, sandbox.Failed(sandbox.Author, sandbox.OutOfMemory, "the function used more than its %d MB of memory", i.limits.Memory>>20)
	case isReported:
		err := fault(reported.Fault, c)
		if c != nil && reported.Fault.Init && reported.Fault.Exited {
			err = errors.Join(err, sandbox.ErrUnused)
		}
		return result, err
	case runtimeapi.Ended(err) || errors.Is(err, syscall.EPIPE):
		failure := error(i.howEnded())
		if c != nil && errors.Is(err, syscall.EPIPE) {
			failure = errors.Join(failure, sandbox.ErrUnused)
		}
		return result, failure
	default:
		return result, sandbox.Failed(sandbox.Engine, sandbox.ProtocolError, "%v", err)
	}
}

// howEnded is about a sandbox that ended without a word, which it has but for moments.
func (i *instance) howEnded() *sandbox.Failure {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case end, seen := <-i.ended:
		return endOf(end, seen)
	case <-timer.C:
		return sandbox.Failed(sandbox.Engine, sandbox.ProtocolError, "the sandbox hung up and did not end")
	}
}

// lostServer is the status of a sandbox's kernel whose file server, or another process it can't do without, was killed.
const lostServer = 128 + int(syscall.SIGKILL)

// endOf says who must act when a sandbox's kernel ended and memory was not the reason. Nothing inside can have it sent
// signal 9; it sends it to itself when a process of the host in which the function's code runs was killed (cmd/runsc). If
// nobody saw it, that one was ended too.
func endOf(end launch.End, seen bool) *sandbox.Failure {
	switch {
	case !seen || end.Signal == int(syscall.SIGKILL) || end.Signal == 0 && end.Status == lostServer:
		return sandbox.EndedFromOutside()
	case end.Signal > 0:
		return sandbox.Failed(sandbox.Engine, sandbox.ProtocolError, "the sandbox's kernel was ended by signal %d", end.Signal)
	}
	return sandbox.Failed(sandbox.Engine, sandbox.ProtocolError, "the sandbox ended without a word, with status %d", end.Status)
}

// fault puts what process 1 reported into our words.
func fault(f runtimeapi.Fault, c *sandbox.Call) error {
	switch {
	case f.Type == sandbox.Timedout && c != nil:
		return c.Timedout()
	case f.Exited:
		return sandbox.Exited(f.Status, f.Signal)
	}
	return sandbox.Reported(f.Type)
}

// Memory implements sandbox.Instance.
func (i *instance) Memory() int64 { return i.group.Memory() }

// Close implements sandbox.Instance.
func (i *instance) Close() error {
	i.closing.Lock()
	defer i.closing.Unlock()
	if i.closed {
		return nil
	}
	i.awake()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var problems []error
	if i.group != nil {
		problems = append(problems, i.group.Kill(ctx), i.group.Remove(ctx))
	}
	for _, f := range []*os.File{i.stdin, i.stdout} {
		if f != nil {
			_ = f.Close()
		}
	}
	problems = append(problems, os.RemoveAll(i.box), os.RemoveAll(i.tmp))
	if err := errors.Join(problems...); err != nil {
		return fmt.Errorf("remove a sandbox: %w", err)
	}
	i.closed = true
	return nil
}
