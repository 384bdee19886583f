package main

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// host goes for the machine's files and devices. Paths are: a secret file, a directory to write in, the secret's file
// handle, and what is found on the machine besides.
func host(e event, _ call) any {
	got := managed{}
	secret, dir, handle := e.Paths[0], e.Paths[1], e.Paths[2]
	look := func(name, path string) {
		if b, err := os.ReadFile(path); err == nil && strings.Contains(string(b), e.Mark) {
			got[name] = "read the secret at " + path
		}
	}
	look("host-file", secret)
	look("host-file-dotdot", "/usr/../../../../.."+secret)
	look("host-file-by-link", "out")
	look("host-file-by-root", "/proc/1/root"+secret)
	look("host-file-by-cwd", "/proc/1/cwd/../../../../../../.."+secret)
	if f, err := byHandle(handle); err == nil {
		b := make([]byte, 200)
		n, _ := f.Read(b)
		f.Close()
		if strings.Contains(string(b[:n]), e.Mark) {
			got["open-by-handle"] = "read the secret"
		}
	}
	// The observer looks in the directory and at the package.
	_ = os.WriteFile(filepath.Join(dir, "written"), []byte(e.Mark), 0o666)
	_ = os.WriteFile("/proc/1/root"+filepath.Join(dir, "written-by-root"), []byte(e.Mark), 0o666)
	_ = os.Chmod("package-file", 0o666)
	if f, err := os.OpenFile("package-file", os.O_WRONLY|os.O_APPEND, 0); err == nil {
		_, _ = f.WriteString(e.Mark)
		f.Close()
	}
	_ = os.WriteFile("package-new", []byte(e.Mark), 0o666)
	_ = os.Rename("package-old", "package-moved")
	if f, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0); err == nil {
		_, _ = f.WriteString("<7>" + e.Mark)
		f.Close()
	}
	groups, _ := filepath.Glob("/sys/fs/cgroup/*/cgroup.procs")
	for _, g := range append(groups, "/sys/fs/cgroup/cgroup.procs") {
		_ = os.Mkdir(filepath.Join(filepath.Dir(g), e.Mark), 0o755)
	}
	for name, path := range map[string]string{"shadow": "/etc/shadow", "kcore": "/proc/kcore", "process-1-environment": "/proc/1/environ", "kernel-log": "/dev/kmsg"} {
		if fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK, 0); err == nil {
			if n, _ := unix.Read(fd, make([]byte, 8192)); n > 0 {
				got[name] = fmt.Sprint(n, " bytes")
			}
			unix.Close(fd)
		}
	}
	// Addresses are zero for those who may not see them.
	if b, err := os.ReadFile("/proc/kallsyms"); err == nil && len(b) > 0 && !strings.HasPrefix(string(b), strings.Repeat("0", 16)) {
		got["kallsyms"] = "addresses of the kernel"
	}
	for _, file := range []string{"/proc/self/mountinfo", "/proc/self/maps", "/proc/self/cgroup", "/proc/cmdline", "/proc/mounts", "/proc/self/environ"} {
		if b, err := os.ReadFile(file); err == nil && strings.Contains(string(b), e.Paths[3]) {
			got["host-paths"] = file + " names a directory of the host"
		}
	}
	if exe, err := os.Readlink("/proc/self/exe"); err == nil && strings.Contains(exe, e.Paths[3]) {
		got["host-paths"] = "/proc/self/exe names a directory of the host"
	}
	if b, err := os.ReadFile("/proc/version"); err == nil && len(e.Paths) > 4 && strings.Contains(string(b), e.Paths[4]) {
		got["kernel-version"] = "the host's"
	}
	for _, device := range []string{"mem", "port", "kvm", "vsock", "vhost-net", "loop-control", "cpu/0/msr", "hpet", "ptp0", "rtc0"} {
		if fd, err := unix.Open("/dev/"+device, unix.O_RDONLY|unix.O_NONBLOCK, 0); err == nil {
			unix.Close(fd)
			got["device-"+strings.ReplaceAll(device, "/", "-")] = "opened"
		}
	}
	if fd, err := unix.Open("/dev/net/tun", unix.O_RDWR, 0); err == nil {
		if request, err := unix.NewIfreq("sheprobe0"); err == nil {
			request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
			if unix.IoctlIfreq(fd, unix.TUNSETIFF, request) == nil {
				got["device-net-tun"] = "made an interface"
			}
		}
		unix.Close(fd)
	}
	if len(e.Paths) > 5 { // the disk's number
		n, _ := strconv.Atoi(e.Paths[5])
		disk := filepath.Join(os.TempDir(), "disk")
		if unix.Mknod(disk, unix.S_IFBLK|0o600, n) == nil {
			if f, err := os.Open(disk); err == nil {
				if k, _ := f.Read(make([]byte, 512)); k > 0 {
					got["mknod-disk"] = "read the disk's first bytes"
				}
				f.Close()
			}
			_ = os.Remove(disk)
		}
	}
	return got
}

// byHandle opens what name_to_handle_at(2) named: type in four bytes, then the handle.
func byHandle(text string) (*os.File, error) {
	b, err := hex.DecodeString(text)
	if err != nil || len(b) < 5 {
		return nil, errors.New("no handle")
	}
	root, err := os.Open("/")
	if err != nil {
		return nil, err
	}
	defer root.Close()
	fd, err := unix.OpenByHandleAt(int(root.Fd()), unix.NewFileHandle(int32(binary.BigEndian.Uint32(b)), b[4:]), unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "by handle"), nil
}

// process goes for another process: Pid, which keeps the mark at Address, in its arguments and its environment, and
// has a pipe at descriptor 3. Names begin with the first of Paths.
func process(e event, _ call) any {
	runtime.LockOSThread() // tracing belongs to a thread
	defer runtime.UnlockOSThread()
	got := managed{}
	name := func(s string) string { return e.Paths[0] + "-" + s }
	dir := fmt.Sprint("/proc/", e.Pid)
	look := func(probe, file string) {
		if b, err := os.ReadFile(dir + "/" + file); err == nil && strings.Contains(string(b), e.Mark) {
			got[name(probe)] = "the mark is in " + file
		}
	}
	look("cmdline", "cmdline")
	look("environ", "environ")
	word := make([]byte, len(e.Mark))
	if f, err := os.Open(dir + "/mem"); err == nil {
		if n, _ := f.ReadAt(word, int64(e.Address)); n > 0 {
			got[name("mem")] = fmt.Sprint(n, " bytes of its memory")
		}
		f.Close()
	}
	iov := []unix.Iovec{{Base: &word[0]}}
	iov[0].SetLen(len(word))
	if n, err := unix.ProcessVMReadv(e.Pid, iov, []unix.RemoteIovec{{Base: uintptr(e.Address), Len: len(word)}}, 0); err == nil && n > 0 {
		got[name("process-vm-readv")] = fmt.Sprint(n, " bytes of its memory")
	}
	if n, err := unix.ProcessVMWritev(e.Pid, iov, []unix.RemoteIovec{{Base: uintptr(e.Address), Len: len(word)}}, 0); err == nil && n > 0 {
		got[name("process-vm-writev")] = fmt.Sprint(n, " bytes into its memory")
	}
	if f, err := os.OpenFile(dir+"/fd/3", os.O_WRONLY|unix.O_NONBLOCK, 0); err == nil {
		_, _ = f.WriteString(e.Mark + " by descriptor\n")
		f.Close()
		got[name("descriptor")] = "opened"
	}
	if pidfd, err := unix.PidfdOpen(e.Pid, 0); err == nil {
		if fd, err := unix.PidfdGetfd(pidfd, 3, 0); err == nil {
			got[name("pidfd-getfd")] = "taken"
			unix.Close(fd)
		}
		if unix.PidfdSendSignal(pidfd, unix.SIGUSR1, nil, 0) == nil {
			got[name("pidfd-signal")] = "sent"
		}
		unix.Close(pidfd)
	}
	if unix.Kill(e.Pid, unix.SIGUSR2) == nil {
		got[name("signal")] = "sent"
	}
	old := unix.Rlimit{}
	if unix.Prlimit(e.Pid, unix.RLIMIT_CORE, nil, &old) == nil {
		got[name("prlimit")] = "read"
	}
	if unix.SchedSetaffinity(e.Pid, &unix.CPUSet{1}) == nil {
		got[name("affinity")] = "set"
	}
	if unix.Setpriority(unix.PRIO_PROCESS, e.Pid, 1) == nil {
		got[name("priority")] = "set"
	}
	for _, ns := range []string{"uts", "net", "ipc", "pid", "mnt"} {
		if f, err := os.Open(dir + "/ns/" + ns); err == nil {
			if unix.Setns(int(f.Fd()), 0) == nil {
				got[name("setns")] = "joined " + ns
			}
			f.Close()
		}
	}
	if r, err := os.Readlink(dir + "/root"); err == nil {
		got[name("root")] = r
	}
	if unix.PtraceAttach(e.Pid) == nil {
		_, _ = syscall.Wait4(e.Pid, nil, unix.WALL, nil)
		_ = unix.PtraceDetach(e.Pid)
		got[name("ptrace")] = "attached"
	}
	if unix.Kill(e.Pid, unix.SIGSTOP) == nil {
		got[name("stop")] = "sent"
		_ = unix.Kill(e.Pid, unix.SIGCONT)
	}
	if unix.Kill(e.Pid, unix.SIGKILL) == nil {
		got[name("kill")] = "sent"
	}
	return got
}

// kernel asks for what only a kernel's owner may do, with arguments that change nothing: whoever has the right gets
// another error than whoever has not, or success.
func kernel(e event, _ call) any {
	got := managed{}
	attempt := func(name string, err error) {
		if !refused(err) {
			got[name] = fmt.Sprint("the kernel's answer: ", err)
		}
	}
	direct := func(name string, trap uintptr, args ...uintptr) {
		a := append(args, 0, 0, 0, 0, 0, 0)
		_, _, errno := unix.Syscall6(trap, a[0], a[1], a[2], a[3], a[4], a[5])
		attempt(name, errnoOr(errno))
	}
	var zero [256]byte
	at := uintptr(unsafe.Pointer(&zero[0]))
	tmp := os.TempDir()
	attempt("mount", unix.Mount("none", tmp, "tmpfs", 0, ""))
	attempt("remount", unix.Mount("none", tmp, "", unix.MS_REMOUNT, ""))
	attempt("bind-mount", unix.Mount("/proc", tmp, "", unix.MS_BIND, ""))
	attempt("unmount", unix.Unmount(tmp, unix.MNT_DETACH))
	attempt("pivot-root", unix.PivotRoot("/", tmp))
	direct("open-tree", unix.SYS_OPEN_TREE, ^uintptr(99), cString("/"), unix.OPEN_TREE_CLONE)
	direct("fsopen", unix.SYS_FSOPEN, cString("tmpfs"), 0)
	direct("open-by-handle-at", unix.SYS_OPEN_BY_HANDLE_AT, ^uintptr(99), at, 0)
	if fd, _, errno := unix.Syscall(unix.SYS_BPF, 0, uintptr(unsafe.Pointer(&[18]uint32{2, 4, 4, 1})), 72); errno == 0 {
		unix.Close(int(fd))
		got["bpf"] = "made a map"
	}
	perf := unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE, Size: unix.PERF_ATTR_SIZE_VER0, Config: unix.PERF_COUNT_SW_CPU_CLOCK}
	if fd, err := unix.PerfEventOpen(&perf, -1, 0, -1, 0); err == nil {
		unix.Close(fd)
		got["perf"] = "counts the whole of CPU 0"
	}
	if fd, _, errno := unix.Syscall(unix.SYS_USERFAULTFD, unix.O_CLOEXEC, 0, 0); errno == 0 {
		unix.Close(int(fd))
		got["userfaultfd"] = "given"
	}
	if fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 4, at, 0); errno == 0 {
		unix.Close(int(fd))
		got["io-uring"] = "given"
	}
	direct("kexec", unix.SYS_KEXEC_LOAD, 0, 0, 0, 0xffff)
	direct("init-module", unix.SYS_INIT_MODULE, at, 0, cString(""))
	direct("delete-module", unix.SYS_DELETE_MODULE, cString("she_probe_none"), unix.O_NONBLOCK)
	direct("swapon", unix.SYS_SWAPON, cString(tmp), 0)
	direct("quotactl", unix.SYS_QUOTACTL, 0x80000700, cString(tmp), 0, at)
	direct("acct", unix.SYS_ACCT, cString(tmp))
	messages := make([]byte, 1<<20)
	if n, err := unix.Klogctl(unix.SYSLOG_ACTION_READ_ALL, messages); err == nil && strings.Contains(string(messages[:n]), e.Mark) {
		got["syslog"] = "the machine's kernel log"
	}
	direct("iopl", unix.SYS_IOPL, 0)
	direct("ioperm", unix.SYS_IOPERM, 0x80, 1, 0)
	direct("clock-settime", unix.SYS_CLOCK_SETTIME, unix.CLOCK_REALTIME, uintptr(unsafe.Pointer(&unix.Timespec{Sec: -1})))
	direct("adjtimex", unix.SYS_ADJTIMEX, uintptr(unsafe.Pointer(&unix.Timex{Modes: 0x2000})))
	direct("setdomainname", unix.SYS_SETDOMAINNAME, cString("x"), 1)
	direct("fanotify", unix.SYS_FANOTIFY_INIT, 0, 0)
	direct("lookup-dcookie", 212, 1, at, 16)
	direct("move-pages", unix.SYS_MOVE_PAGES, uintptr(e.Pid), 0, 0, 0, 0, 0)
	direct("kcmp", unix.SYS_KCMP, uintptr(e.Pid), uintptr(e.Pid), 0, 0, 0)
	direct("memfd-secret", 447, 0)
	direct("add-swap-priority", unix.SYS_IOPRIO_SET, 1, 0, 1<<13)
	// A namespace of users makes one root in it, and opens far more of a kernel.
	for name, flag := range map[string]uintptr{"user-namespace": unix.CLONE_NEWUSER, "mount-namespace": unix.CLONE_NEWNS, "network-namespace": unix.CLONE_NEWNET, "pid-namespace": unix.CLONE_NEWPID} {
		cmd := exec.Command("/proc/self/exe", "end")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flag}
		if cmd.Run() == nil {
			got[name] = "made"
		}
	}
	// Set-user-ID programs would run as their owner.
	if b, err := os.ReadFile("/proc/self/status"); err == nil && !strings.Contains(string(b), "NoNewPrivs:\t1") {
		got["new-privileges"] = "may be gained"
	}
	for line := range strings.Lines(readAll("/proc/self/status")) {
		if name, value, _ := strings.Cut(line, ":"); name == "CapEff" || name == "CapPrm" || name == "CapInh" || name == "CapAmb" {
			if strings.Trim(value, "\t 0\n") != "" {
				got["capabilities"] = strings.TrimSpace(line)
			}
		}
	}
	attempt("setgroups", syscall.Setgroups([]int{0}))
	attempt("setgid", syscall.Setgid(0))
	attempt("setuid", syscall.Setuid(0))
	attempt("setuid-of-process-1", syscall.Setresuid(992, 992, 992))
	return got
}

// refused says that an error is that of a wall: no permission, or no such thing.
func refused(err error) bool {
	for _, e := range []error{unix.EPERM, unix.EACCES, unix.ENOSYS, unix.ENODEV, unix.EOPNOTSUPP} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func errnoOr(errno syscall.Errno) error {
	if errno == 0 {
		return nil
	}
	return errno
}

func cString(s string) uintptr { return uintptr(unsafe.Pointer(&append([]byte(s), 0)[0])) }

func readAll(file string) string {
	b, _ := os.ReadFile(file)
	return string(b)
}

// read gives the start of each path that can be read or listed.
func read(e event, _ call) any {
	got := map[string]string{}
	for _, p := range e.Paths {
		if b, err := os.ReadFile(p); err == nil {
			got[p] = string(b[:min(len(b), 200)])
		} else if entries, err := os.ReadDir(p); err == nil {
			got[p] = fmt.Sprint(len(entries), " entries")
		}
	}
	return got
}

// self tells what could tell one run from another, and what was inherited.
func self(event, call) any {
	out := map[string]string{}
	for _, f := range []string{"/proc/self/cgroup", "/proc/sys/kernel/hostname", "/proc/self/status"} {
		out[f] = readAll(f)
	}
	entries, _ := os.ReadDir("/proc/self/fd")
	for _, e := range entries {
		to, _ := os.Readlink("/proc/self/fd/" + e.Name())
		out["fd "+e.Name()] = to
	}
	out["env"] = strings.Join(os.Environ(), "\n")
	out["pid"] = strconv.Itoa(os.Getpid())
	out["ids"] = fmt.Sprint(os.Getuid(), os.Getgid(), os.Geteuid(), os.Getegid())
	out["time"] = time.Now().UTC().Format(time.RFC3339Nano)
	cwd, _ := os.Getwd()
	out["cwd"] = cwd
	return out
}
