package worker

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"she/internal/sandbox"
)

// identity is who a worker is on the host: a user nothing else runs as. In there it has no name.
const identity = 1<<31 - 20994

// namespaces of a worker; all are its own.
const namespaces = unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS

// apart is how a process is started in namespaces of its own. It dies with the thread that starts it.
func apart() *syscall.SysProcAttr {
	identity := identity
	if me := os.Geteuid(); me != 0 {
		identity = me // without root there is no other
	}
	return &syscall.SysProcAttr{
		Cloneflags:  namespaces,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: identity, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: identity, Size: 1}},
		Credential:  &syscall.Credential{Uid: 0, Gid: 0, NoSetGroups: true},
		Pdeathsig:   syscall.SIGKILL,
	}
}

// scratch is where a worker may keep files until they are taken from it.
const scratch = "/scratch"

// enter makes the namespaces a worker is started in its own: a root with nothing in it but scratch, and no right that a
// program it would start could get.
func enter() error {
	if err := boundCapabilities(); err != nil {
		return err
	}
	const at = "/proc" // it is everywhere, and nobody in these namespaces needs it
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"part from the host's mounts", func() error { return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "") }},
		{"make a root", func() error {
			return unix.Mount("none", at, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=755,size=64k")
		}},
		{"go there", func() error { return unix.Chdir(at) }},
		{"take it as root", func() error { return unix.PivotRoot(".", ".") }},
		{"leave the host's files", func() error { return unix.Unmount(".", unix.MNT_DETACH) }},
		{"go to it", func() error { return unix.Chdir("/") }},
		{"make a place for files", func() error { return unix.Mkdir(scratch, 0o700) }},
		// Its pages count as the cgroup's memory.
		{"mount it", func() error {
			return unix.Mount("none", scratch, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=700")
		}},
	} {
		if err := step.do(); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
	}
	return nil
}

// frozen makes scratch read-only.
func frozen() error {
	return unix.Mount("none", scratch, "", unix.MS_REMOUNT|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
}

// seal gives up all that is left, and then every system call but those of sealed. What follows runs code of strangers.
func seal() error {
	if err := giveUp(); err != nil {
		return err
	}
	return filterSystemCalls(sealed())
}

// giveUp gives up files, descriptors but standard input and output, rights, and threads to come.
func giveUp() error {
	if err := errors.Join(unix.Unmount(scratch, unix.MNT_DETACH), unix.Rmdir(scratch),
		unix.Mount("none", "/", "", unix.MS_REMOUNT|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")); err != nil {
		return fmt.Errorf("give up files: %w", err)
	}
	if err := closeDescriptors(); err != nil {
		return err
	}
	if err := giveUpCapabilities(); err != nil {
		return err
	}
	threads(6)
	return limitResources()
}

// closeDescriptors leaves standard input and output, and what Go's runtime waits with (an epoll and an eventfd, which
// name nothing outside).
func closeDescriptors() error {
	for fd := 2; fd < 64; fd++ { // it has a handful; outside has passed on four
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); errors.Is(err, unix.EBADF) {
			continue
		}
		if fd > 2 && st.Mode&unix.S_IFMT == 0 { // an anonymous inode
			continue
		}
		if err := unix.Close(fd); err != nil {
			return fmt.Errorf("close descriptor %d: %w", fd, err)
		}
	}
	return nil
}

// threads has the runtime start some now; it keeps them. When the filter holds no more can be made.
func threads(n int) {
	var started sync.WaitGroup
	leave := make(chan struct{})
	started.Add(n)
	var left sync.WaitGroup
	for range n {
		left.Go(func() {
			runtime.LockOSThread() // so that each has one of its own
			defer runtime.UnlockOSThread()
			started.Done()
			<-leave
		})
	}
	started.Wait()
	close(leave)
	left.Wait()
}

func limitResources() error {
	for resource, most := range map[int]uint64{
		unix.RLIMIT_CORE: 0, unix.RLIMIT_FSIZE: 0, unix.RLIMIT_NOFILE: 0, unix.RLIMIT_NPROC: 0, unix.RLIMIT_MEMLOCK: 0,
		unix.RLIMIT_MSGQUEUE: 0,
	} {
		if err := unix.Setrlimit(resource, &unix.Rlimit{Cur: most, Max: most}); err != nil {
			return fmt.Errorf("limit resource %d: %w", resource, err)
		}
	}
	return nil
}

// allThreads makes a system call in each thread: rights are a thread's.
func allThreads(what string, trap, a, b, c uintptr) error {
	if _, _, errno := syscall.AllThreadsSyscall6(trap, a, b, c, 0, 0, 0); errno != 0 {
		return fmt.Errorf("%s: %w", what, errno)
	}
	return nil
}

// boundCapabilities leaves a program it would start no capabilities. It comes first, while there are few threads.
func boundCapabilities() error {
	for capability := uintptr(0); ; capability++ {
		if set, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, capability, 0, 0, 0); err != nil || set < 0 {
			break // the kernel knows no more
		}
		if err := allThreads("give up a capability", unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, capability, 0); err != nil {
			return err
		}
	}
	return nil
}

// giveUpCapabilities leaves no thread a right in its namespaces, nor a way to get one.
func giveUpCapabilities() error {
	header := &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	return errors.Join(
		allThreads("give up ambient capabilities", unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0),
		allThreads("give up capabilities", unix.SYS_CAPSET, uintptr(unsafe.Pointer(header)), uintptr(unsafe.Pointer(&none[0])), 0),
		allThreads("give up new privileges", unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0),
		allThreads("be opaque to others", unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0, 0))
}

// outside runs this program again, as mode, in namespaces of its own, on the same descriptors, and gives the status it
// ended with.
func outside(mode string) (int, error) {
	runtime.LockOSThread() // the worker dies with this thread
	if err := beOuter(); err != nil {
		return 0, err
	}
	pid, err := spawn([]uintptr{0, 1, 2, 3}, apart(), mode)
	if err != nil {
		return 0, err
	}
	for fd := range 4 {
		_ = unix.Close(fd) // they are the worker's
	}
	return await(pid)
}

// beOuter prepares a process for starting others that give up more than it does.
func beOuter() error {
	// Whoever started the server may have left it descriptors that pass on.
	if err := unix.CloseRange(4, 1<<32-1, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fmt.Errorf("keep descriptors back (Linux 5.11 or newer can): %w", err)
	}
	return errors.Join(sandbox.BeExpendable(), sandbox.LeaveNoCore()) // the inner half can't be reached for that before it has started
}

// spawn starts this program again.
func spawn(files []uintptr, sys *syscall.SysProcAttr, arguments ...string) (pid int, err error) {
	return syscall.ForkExec("/proc/self/exe", append([]string{"she-wasm"}, arguments...), &syscall.ProcAttr{Env: environment, Files: files, Sys: sys})
}

// await gives the status a process ends with: 128 and the signal, if one ended it.
func await(pid int) (int, error) {
	for {
		var status syscall.WaitStatus
		switch _, err := syscall.Wait4(pid, &status, 0, nil); {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return 0, err
		case status.Stopped(): // it asked to be traced
			if err := unix.Kill(pid, unix.SIGKILL); err != nil {
				return 0, err
			}
		case status.Signaled():
			return 128 + int(status.Signal()), nil
		default:
			return status.ExitStatus(), nil
		}
	}
}

// environment is that of a worker: one processor, as a module has one thread; no signals to its own threads, which the
// filter would not let through; no names for its memory, which would be system calls of their own.
var environment = []string{"GOMAXPROCS=1", "GOTRACEBACK=none", "GODEBUG=asyncpreemptoff=1,decoratemappings=0"}
