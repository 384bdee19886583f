// Package rootless lets somebody without root have sandboxes: it runs this program again as the first process
// of a user, a mount and a PID namespace of its own, in which it may do what making a sandbox takes.
//
// On the host that process is whoever started it, and reaches nothing they could not reach. Whatever it
// starts ends with it, however it ends, because it is the first of its PID namespace.
package rootless

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// nobody is who the program is in its user namespace. It is who a sandbox's kernel is made to be, so that one
// mapping, all that somebody without root may have, is enough for both.
const nobody = 65534

// RunDir is a directory of the namespaces' own, in memory, with a name short enough for the paths of sockets.
// It covers /sys, which is everywhere and which nothing here needs.
const RunDir = "/sys"

// Inside says whether this process is the one that Again started.
func Inside() bool {
	if os.Getpid() != 1 || os.Geteuid() != nobody {
		return false
	}
	b, err := os.ReadFile("/proc/self/uid_map")
	f := strings.Fields(string(b))
	return err == nil && len(f) == 3 && f[0] == "65534" && f[2] == "1"
}

// Needed says whether this process lacks what making a sandbox takes: it is not root, or only the root of a user
// namespace that somebody else made, as in a container without root.
func Needed() bool {
	if Inside() {
		return false
	}
	b, err := os.ReadFile("/proc/self/uid_map")
	f := strings.Fields(string(b))
	whole := err != nil || len(f) == 3 && f[0] == "0" && f[1] == "0" && f[2] == "4294967295"
	return os.Geteuid() != 0 || !whole
}

// ErrNoNamespaces says that the kernel lets this person make none; the text says what to do.
var ErrNoNamespaces = errors.New("sandboxes need root, or a kernel that lets you make user namespaces")

// Again runs this program with the same arguments in namespaces of its own, hands on the signals that end a
// program, and gives the status that it ended with. ErrNoNamespaces is wrapped if it can't.
func Again() (status int, err error) {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	// The child dies with the thread that started it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: nobody, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: nobody, HostID: os.Getegid(), Size: 1}},
		AmbientCaps: capabilities(),
		Pdeathsig:   syscall.SIGKILL,
	}
	if err := cmd.Start(); err != nil {
		return 0, refused(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case s := <-signals:
			_ = cmd.Process.Signal(s)
		case err := <-ended:
			var exit *exec.ExitError
			if err != nil && !errors.As(err, &exit) {
				return 0, err
			}
			if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
				return 128 + int(ws.Signal()), nil
			}
			return cmd.ProcessState.ExitCode(), nil
		}
	}
}

// refused puts the kernel's answer into words.
func refused(err error) error {
	text := "run the command as root (sudo)"
	switch {
	case setting("/proc/sys/user/max_user_namespaces") == "0":
		text = "sudo sysctl -w user.max_user_namespaces=10000, or " + text
	case setting("/proc/sys/kernel/unprivileged_userns_clone") == "0":
		text = "sudo sysctl -w kernel.unprivileged_userns_clone=1, or " + text
	case setting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1":
		text = "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or " + text
	}
	return fmt.Errorf("%w: %s (%w)", ErrNoNamespaces, text, err)
}

func setting(file string) string {
	b, _ := os.ReadFile(file)
	return strings.TrimSpace(string(b))
}

// capabilities are all there are; they hold in the user namespace alone.
func capabilities() (all []uintptr) {
	last := unix.CAP_LAST_CAP
	if _, err := fmt.Sscan(setting("/proc/sys/kernel/cap_last_cap"), &last); err != nil {
		last = unix.CAP_LAST_CAP
	}
	for c := 0; c <= last; c++ {
		all = append(all, uintptr(c))
	}
	return all
}

// Settle makes the mounts that sandboxes need. It is for the process that Again started, before it makes any.
func Settle() error {
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"part from the host's mounts", func() error { return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "") }},
		{"mount /proc", func() error {
			return unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
		}},
		{"make a directory for sockets", func() error {
			return unix.Mount("she", RunDir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=700")
		}},
	} {
		if err := step.do(); err != nil {
			return refused(fmt.Errorf("%s: %w", step.what, err))
		}
	}
	return nil
}
