// Command she-init is process 1 of a sandbox. It starts the function's runtime, speaks the Runtime API to it on
// loopback and the channel of runtimeapi to the host over its standard input and output, collects orphans, and ends
// when there is an answer, a fault, or when the host hangs up; with it ends everything in the sandbox.
//
// It begins as the sandbox's root with the right to change its identity and nothing else, starts the function under
// an unprivileged identity, and then becomes a third one. So the function can neither signal nor trace it, nor reach
// its descriptors, which are the only way to the host.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"she/internal/runtimeapi"
)

// maxEvent bounds an event in bytes; the host is trusted and checks the exact limit.
const maxEvent = 16 << 20

func main() {
	// What happens here is a chain: the event comes, a connection gets it, an answer comes, the host gets it. On one
	// processor each step wakes the next without a system call, of which each costs more in a sandbox than the step.
	runtime.GOMAXPROCS(1)
	// And the host is waited for where the connections are, rather than in a thread of its own.
	err := unix.SetNonblock(syscall.Stdin, true)
	if err == nil {
		err = run(os.NewFile(uintptr(syscall.Stdin), "host"), os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "she-init:", err)
		os.Exit(1)
	}
}

func run(stdin io.Reader, stdout io.Writer) error {
	in := runtimeapi.NewInside(stdin, stdout)
	setup, err := in.Setup()
	if err != nil {
		return err
	}
	if err := limitProcesses(setup.Processes); err != nil {
		return err
	}
	// Nobody is far away here, so no probes whether he is still there.
	listener, err := (&net.ListenConfig{KeepAlive: -1}).Listen(context.Background(), "tcp4", runtimeapi.Address)
	if err != nil {
		return fmt.Errorf("listen for the runtime: %w", err)
	}
	server := runtimeapi.NewServer(setup.MaxAnswer)
	go func() { _ = server.Serve(listener) }()

	output, err := start(setup, in.Log(), server)
	if err != nil {
		return err
	}
	events := make(chan given)
	go listen(in, stdin, events)
	for {
		select {
		case <-server.Ready():
		case <-server.Ended(): // INIT failed
			output.drain()
			return in.Finish(server.End())
		}
		if err := in.Ready(); err != nil {
			return err
		}
		var e given
		select {
		case e = <-events:
		case <-server.Ended(): // it died while it waited
			output.drain()
			return in.Finish(server.End())
		}
		timer := time.AfterFunc(time.Until(e.invocation.Deadline()), func() {
			server.Finish(runtimeapi.Fault{Type: "Sandbox.Timedout"})
		})
		server.Give(e.invocation, e.event)
		<-server.Ended()
		timer.Stop()
		output.drain()
		switch end := server.End(); {
		case e.invocation.Again && end.Fault == nil:
			if err := in.Answer(end.Answer); err != nil {
				return err
			}
		case !e.invocation.Warm:
			return in.Finish(end)
		}
		server.Rewind()
	}
}

type given struct {
	invocation runtimeapi.Invocation
	event      []byte
}

// listen passes on what the host sends. The end of its stream means it is gone, and so are we then.
func listen(in *runtimeapi.Inside, stdin io.Reader, events chan<- given) {
	for {
		invocation, event, err := in.Event(maxEvent)
		if err != nil {
			os.Exit(1)
		}
		events <- given{invocation, event}
		if !invocation.Warm && !invocation.Again {
			_, _ = io.Copy(io.Discard, stdin)
			os.Exit(1)
		}
	}
}

// limitProcesses bounds processes and threads where the sandbox offers cgroups; fork then fails with EAGAIN inside.
func limitProcesses(n int) error {
	const dir = "/sys/fs/cgroup"
	err := os.WriteFile(dir+"/pids/pids.max", []byte(strconv.Itoa(n)), 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil // another mechanism bounds them from outside
	}
	if err != nil {
		return fmt.Errorf("limit processes: %w", err)
	}
	return os.Chmod(dir, 0o755) // gVisor mounts it writable for all
}

// start runs the function's runtime and gives away the right to be anyone else. What it prints goes to logTo.
func start(s runtimeapi.Setup, logTo io.Writer, server *runtimeapi.Server) (*output, error) {
	var out *output
	err := as(s.UID, func() (err error) { out, err = newOutput(logTo); return err })
	if err != nil {
		return nil, err
	}
	// On Lambda there is none: a C library says then that it has no named semaphores, which Python's multiprocessing meets.
	if err := os.Remove("/dev/shm"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	if len(s.Command) == 0 {
		return nil, errors.New("setup has no command")
	}
	child, err := os.StartProcess(s.Command[0], s.Command, &os.ProcAttr{
		Dir: s.Dir, Env: s.Env,
		Files: []*os.File{null, out.write, out.write},
		Sys: &syscall.SysProcAttr{
			Credential: &syscall.Credential{Uid: uint32(s.UID), Gid: uint32(s.GID)},
			Setsid:     true,
		},
	})
	// A process started now would carry the descriptors above 2 that are not close-on-exec: there are none.
	_ = null.Close()
	_ = out.write.Close()
	if err := become(s.OwnUID); err != nil {
		return nil, err
	}
	if err != nil {
		server.Finish(runtimeapi.Fault{Type: "Runtime.InvalidEntrypoint"})
		return out, nil
	}
	go func() {
		status := reapUntil(child.Pid)
		server.Finish(runtimeapi.Fault{
			Type: "Runtime.ExitError", Exited: true, Status: max(0, status.ExitStatus()), Signal: max(0, int(status.Signal())),
		})
		reapUntil(-1)
	}()
	return out, nil
}

// as does something under another effective identity, so that what it makes is that user's: a pipe can be opened again,
// as /dev/stdout, only by its owner. It holds for this thread alone, and for no longer than do.
func as(uid int, do func() error) error {
	const same = ^uintptr(0)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, same, uintptr(uid), same); errno != 0 {
		return fmt.Errorf("act as the function: %w", errno)
	}
	err := do()
	if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, same, uintptr(os.Getuid()), same); errno != 0 {
		return fmt.Errorf("act as process 1 again: %w", errno)
	}
	return err
}

// become drops every capability by leaving root for good; it holds for all threads.
func become(uid int) error {
	if err := syscall.Setgroups(nil); err != nil {
		return fmt.Errorf("drop groups: %w", err)
	}
	if err := syscall.Setresgid(uid, uid, uid); err != nil {
		return fmt.Errorf("leave root's group: %w", err)
	}
	if err := syscall.Setresuid(uid, uid, uid); err != nil {
		return fmt.Errorf("leave root: %w", err)
	}
	return unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
}

// reapUntil collects dead children until it has met pid, or for good.
func reapUntil(pid int) syscall.WaitStatus {
	for {
		var status syscall.WaitStatus
		got, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil: // ECHILD: there is nobody left
			return status
		case got == pid:
			return status
		}
	}
}
