// Command enter is what a sandbox's kernel does before it is one: it makes itself an empty root, leaves behind a child
// that will unmount /proc, gives up its capabilities and becomes gVisor's program. gVisor does all that itself, but in a
// program of 80 MB which it starts for the first half, for the child and again for the second half; this one is small.
// gVisor starts whatever is called gvisor-sentry-prewarmer in the directory gvisor-bin beside it, ahead of each
// sandbox's kernel:
//
//	gvisor-sentry-prewarmer PROGRAM ARG0 flags… boot flags… --setup-root … ID
//
// It starts as the first process of new namespaces (user, mount, PID, network, IPC, UTS), as nobody, with the
// capabilities of that user namespace this takes. What it leaves is what gVisor's runsc/cmd/sentry/sentrycmd leaves;
// TestEnterLeavesWhatGVisorLeaves compares the two.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

func main() {
	runtime.LockOSThread() // identities, and what exec takes along, are a thread's
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "enter:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 3 {
		return fmt.Errorf("%d arguments", len(args))
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	// The first argument names the program as gVisor sees itself, which would be us.
	program, err := unix.Open(filepath.Join(filepath.Dir(filepath.Dir(self)), "runsc"), unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open gVisor's program: %w", err)
	}
	args = args[1:]
	boot := slices.Index(args, "boot")
	setUp := slices.Index(args, "--setup-root")
	if boot > 0 && setUp > boot && os.Getuid() != 0 { // else it is not a sandbox as ours are
		if err := emptyRoot(); err != nil {
			return err
		}
		unmounter, err := leaveUnmounter()
		if err != nil {
			return err
		}
		if err := giveUp(); err != nil {
			return err
		}
		args[setUp] = "--setup-root=false"
		args = slices.Insert(args, boot+1, "--proc-mount-sync-fd="+strconv.Itoa(unmounter))
	}
	return fmt.Errorf("become gVisor's program: %w", syscall.Exec("/proc/self/fd/"+strconv.Itoa(program), args, os.Environ()))
}

const locked = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

// emptyRoot changes to a root with nothing in it but the local time and a /proc of this process; read-only.
func emptyRoot() error {
	const root, proc = "/tmp", "/tmp/proc"
	for _, step := range []struct {
		what string
		err  func() error
	}{
		{"stop propagation", func() error { return unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, "") }},
		{"mount the root", func() error { return unix.Mount("runsc-root", root, "tmpfs", locked, "") }},
		{"make /etc", func() error { return os.Mkdir(root+"/etc", 0o755) }},
		{"copy the local time", func() error {
			if err := copyFile(root, "/etc/localtime"); err != unix.ENOENT {
				return err
			}
			return nil // then it is UTC
		}},
		{"make /proc", func() error { return os.Mkdir(proc, 0o755) }},
		{"mount /proc", func() error { return unix.Mount("runsc-proc", proc, "tmpfs", locked, "") }},
		{"mount the processes", func() error { return mountProcesses(proc) }},
		{"make /proc/sys/kernel", func() error { return os.MkdirAll(proc+"/sys/kernel", 0o755) }},
		{"make /proc/sys/vm", func() error { return os.Mkdir(proc+"/sys/vm", 0o755) }},
		{"copy a setting", func() error { return copyFile(root, "/proc/sys/vm/mmap_min_addr") }},
		{"copy a setting", func() error { return copyFile(root, "/proc/sys/kernel/cap_last_cap") }},
		{"close /proc", func() error { return os.Chmod(proc, 0o111) }},
		{"make the root read-only", func() error {
			return unix.Mount("", root, "", unix.MS_REMOUNT|unix.MS_RDONLY|unix.MS_BIND, "")
		}},
		{"go there", func() error { return unix.Chdir(root) }},
		{"change the root", func() error { return unix.PivotRoot(".", ".") }}, // the old one is above the new one then
		{"leave the old root", func() error { return unix.Unmount(".", unix.MNT_DETACH) }},
	} {
		if err := step.err(); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
	}
	return nil
}

// mountProcesses mounts a procfs of this PID namespace below proc. Where parts of the machine's are covered, as in many
// containers, the kernel allows no new one; then it is the one there is, with what covers it.
func mountProcesses(proc string) error {
	name := "sandbox-proc"
	if err := os.Mkdir(filepath.Join(proc, name), 0o755); err != nil {
		return err
	}
	if err := unix.Mount("proc", filepath.Join(proc, name), "proc", locked|unix.MS_RDONLY, ""); err != nil {
		name = "host-proc"
		if err := os.Mkdir(filepath.Join(proc, name), 0o755); err != nil {
			return err
		}
		if err := unix.Mount("/proc", filepath.Join(proc, name), "bind", locked|unix.MS_RDONLY|unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return err
		}
	}
	for _, link := range []string{"self", "cpuinfo"} {
		if err := os.Symlink(name+"/"+link, filepath.Join(proc, link)); err != nil {
			return err
		}
	}
	return nil
}

// copyFile copies a small file to the same path below root.
func copyFile(root, file string) error {
	content, err := read(file)
	if err != nil {
		return err
	}
	out, err := unix.Open(filepath.Join(root, file), unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return err
	}
	defer unix.Close(out)
	if n, err := unix.Write(out, content); err != nil || n < len(content) {
		return fmt.Errorf("write %d bytes: %w", len(content), err)
	}
	return nil
}

// maxFile bounds what is read here in bytes: settings of the kernel, and a time zone.
const maxFile = 64 << 10

// read reads a small file. That of package os would start a poller, and threads, for it.
func read(file string) ([]byte, error) {
	in, err := unix.Open(file, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(in)
	content := make([]byte, maxFile)
	all := 0
	for all < maxFile {
		n, err := unix.Read(in, content[all:])
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return content[:all], nil
		}
		all += n
	}
	return nil, unix.EFBIG
}

// leaveUnmounter forks a child that unmounts /proc, with the capabilities of now, when a byte is written to the
// descriptor it returns. gVisor does that once its kernel is up, and waits for the child.
func leaveUnmounter() (descriptor int, err error) {
	var ends [2]int
	if err := unix.Pipe2(ends[:], 0); err != nil {
		return 0, err
	}
	path, err := unix.BytePtrFromString("/proc")
	if err != nil {
		return 0, err
	}
	if errno := forkUnmounter(uintptr(ends[0]), path); errno != 0 {
		return 0, fmt.Errorf("fork: %w", errno)
	}
	return ends[1], unix.Close(ends[0])
}

// giveUp drops every capability, and the possibility to have one again.
func giveUp() error {
	for c := uintptr(0); ; c++ {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err == unix.EINVAL && c > unix.CAP_AUDIT_READ {
			break // the kernel knows no more
		} else if err != nil {
			return fmt.Errorf("drop capability %d: %w", c, err)
		}
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("drop ambient capabilities: %w", err)
	}
	var none [2]unix.CapUserData
	if err := unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &none[0]); err != nil {
		return fmt.Errorf("drop capabilities: %w", err)
	}
	status, err := read("/proc/self/task/" + strconv.Itoa(unix.Gettid()) + "/status")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(status)) {
		if f := strings.Fields(line); len(f) == 2 && strings.HasPrefix(f[0], "Cap") && strings.Trim(f[1], "0") != "" {
			return fmt.Errorf("a capability is left: %s %s", f[0], f[1])
		}
	}
	return nil
}
