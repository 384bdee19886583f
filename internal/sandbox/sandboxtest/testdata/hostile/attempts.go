package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// dial tries to reach each target and to put the mark there.
func dial(e event, _ call) any {
	reached := []string{}
	for network, address := range e.Targets {
		network, _, _ = strings.Cut(network, "#")
		conn, err := net.DialTimeout(network, address, 500*time.Millisecond)
		if err != nil {
			continue
		}
		if _, err := conn.Write([]byte(e.Mark)); err == nil && !strings.HasPrefix(network, "udp") {
			reached = append(reached, network+" "+address) // a UDP write proves nothing; the catcher does
		}
		conn.Close()
	}
	if addresses, err := net.LookupHost("canary.example"); err == nil {
		reached = append(reached, fmt.Sprint("dns ", addresses))
	}
	return reached
}

// sockets asks for every kind of socket that leads out of a machine.
func sockets(event, call) any {
	got := []string{}
	for name, s := range map[string][3]int{
		"packet": {unix.AF_PACKET, unix.SOCK_RAW, 0x0300}, "raw icmp": {unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP},
		"raw ip": {unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW}, "raw icmp6": {unix.AF_INET6, unix.SOCK_RAW, unix.IPPROTO_ICMPV6},
		"vsock": {unix.AF_VSOCK, unix.SOCK_STREAM, 0}, "alg": {unix.AF_ALG, unix.SOCK_SEQPACKET, 0},
		"bluetooth": {unix.AF_BLUETOOTH, unix.SOCK_RAW, 0}, "can": {unix.AF_CAN, unix.SOCK_RAW, 0},
		"xdp": {unix.AF_XDP, unix.SOCK_RAW, 0}, "tipc": {unix.AF_TIPC, unix.SOCK_STREAM, 0},
		"netlink generic": {unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_GENERIC},
		"netlink audit":   {unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_AUDIT},
	} {
		if fd, err := unix.Socket(s[0], s[1], s[2]); err == nil {
			got = append(got, name)
			unix.Close(fd)
		}
	}
	if interfaces, err := net.Interfaces(); err == nil {
		for _, i := range interfaces {
			if i.Flags&net.FlagLoopback == 0 {
				got = append(got, "interface "+i.Name)
			}
		}
	}
	return got
}

const ipcKey = 0x5e5e5e

var places = []string{"/tmp", "/var/tmp", "/dev/shm", "/run", "/var", "/", "/var/task", "/var/runtime", "/opt", "/etc", "/usr/bin", "/home", "/proc/self", "/sys/fs/cgroup"}

// leave puts the mark everywhere a later run might look.
func leave(e event, _ call) any {
	left := []string{}
	for _, dir := range append(places, os.Getenv("HOME"), ".") {
		if os.WriteFile(filepath.Join(dir, "mark"), []byte(e.Mark), 0o666) == nil {
			left = append(left, dir)
		}
	}
	if shm, _, errno := unix.Syscall(unix.SYS_SHMGET, ipcKey, 4096, unix.IPC_CREAT|0o666); errno == 0 {
		left = append(left, fmt.Sprint("sysv shm ", shm))
	}
	if l, err := net.Listen("unix", "@she-mark"); err == nil {
		left = append(left, "abstract socket "+l.Addr().String())
	}
	if id, err := unix.AddKey("user", "she-mark", []byte(e.Mark), unix.KEY_SPEC_USER_KEYRING); err == nil {
		left = append(left, fmt.Sprint("key ", id))
	}
	if syscall.Sethostname([]byte("marked")) == nil {
		left = append(left, "hostname")
	}
	os.Setenv("SHE_MARK", e.Mark)
	spawn("linger")
	return left
}

// find looks for what leave left.
func find(event, call) any {
	found := []string{}
	for _, dir := range append(places, os.Getenv("HOME"), ".") {
		if _, err := os.Stat(filepath.Join(dir, "mark")); err == nil {
			found = append(found, dir)
		}
	}
	if _, _, errno := unix.Syscall(unix.SYS_SHMGET, ipcKey, 4096, 0); errno == 0 {
		found = append(found, "sysv shm")
	}
	if c, err := net.Dial("unix", "@she-mark"); err == nil {
		c.Close()
		found = append(found, "abstract socket")
	}
	if _, err := unix.RequestKey("user", "she-mark", "", unix.KEY_SPEC_USER_KEYRING); err == nil {
		found = append(found, "key")
	}
	if name, _ := os.Hostname(); name == "marked" {
		found = append(found, "hostname")
	}
	if os.Getenv("SHE_MARK") != "" {
		found = append(found, "environment")
	}
	entries, _ := os.ReadDir("/proc")
	for _, entry := range entries {
		if line, err := os.ReadFile("/proc/" + entry.Name() + "/cmdline"); err == nil && strings.Contains(string(line), "linger") {
			found = append(found, "process "+entry.Name())
		}
	}
	return found
}

// kernel asks for what only a kernel's owner may do.
func kernel(event, call) any {
	managed := []string{}
	attempt := func(name string, err error) {
		if err == nil {
			managed = append(managed, name)
		}
	}
	raw := func(name string, trap, a, b, c, d, e uintptr) {
		_, _, errno := unix.Syscall6(trap, a, b, c, d, e, 0)
		if errno == 0 {
			managed = append(managed, name)
		}
	}
	attempt("mount", unix.Mount("none", "/tmp", "tmpfs", 0, ""))
	attempt("remount", unix.Mount("none", "/usr", "", unix.MS_REMOUNT|unix.MS_BIND, ""))
	attempt("unmount", unix.Unmount("/tmp", unix.MNT_DETACH))
	attempt("pivot_root", unix.PivotRoot("/", "/tmp"))
	attempt("chroot", unix.Chroot("/tmp"))
	attempt("mknod", unix.Mknod("/tmp/sda", unix.S_IFBLK|0o666, int(unix.Mkdev(8, 0))))
	attempt("setuid 0", syscall.Setuid(0))
	attempt("setuid of process 1", syscall.Setuid(992))
	attempt("reboot", unix.Reboot(unix.LINUX_REBOOT_CMD_CAD_OFF))
	attempt("settimeofday", unix.Settimeofday(&unix.Timeval{Sec: 1}))
	attempt("init_module", unix.InitModule([]byte{0}, ""))
	attempt("setns", unix.Setns(0, 0))
	attempt("swapon", errnoOf(unix.SYS_SWAPON, 0))
	var handle [136]byte
	raw("open_by_handle_at", unix.SYS_OPEN_BY_HANDLE_AT, uintptr(unix.AT_FDCWD&0xffffffff), uintptr(unsafe.Pointer(&handle)), 0, 0, 0)
	raw("bpf", unix.SYS_BPF, 0, uintptr(unsafe.Pointer(&handle)), 120, 0, 0)
	raw("perf_event_open", unix.SYS_PERF_EVENT_OPEN, uintptr(unsafe.Pointer(&handle)), 0, ^uintptr(0), ^uintptr(0), 0)
	raw("userfaultfd", unix.SYS_USERFAULTFD, 0, 0, 0, 0, 0)
	raw("io_uring_setup", unix.SYS_IO_URING_SETUP, 8, uintptr(unsafe.Pointer(&handle)), 0, 0, 0)
	raw("kexec_load", unix.SYS_KEXEC_LOAD, 0, 0, 0, 0, 0)
	raw("iopl", unix.SYS_IOPL, 3, 0, 0, 0, 0)
	for _, device := range []string{"/dev/mem", "/dev/kmem", "/dev/kmsg", "/dev/sda", "/dev/vda", "/dev/kvm", "/dev/port"} {
		f, err := os.Open(device)
		attempt("open "+device, err)
		f.Close()
	}
	return managed
}

func errnoOf(trap, a uintptr) error {
	if _, _, errno := unix.Syscall(trap, a, 0, 0); errno != 0 {
		return errno
	}
	return nil
}

// process1 goes for the one process that can speak to the host.
func process1(event, call) any {
	managed := []string{}
	attempt := func(name string, err error) {
		if err == nil {
			managed = append(managed, name)
		}
	}
	attempt("kill", unix.Kill(1, unix.SIGKILL))
	attempt("stop", unix.Kill(1, unix.SIGSTOP))
	attempt("terminate", unix.Kill(1, unix.SIGTERM))
	attempt("attach", unix.PtraceAttach(1))
	for _, file := range []string{"mem", "fd/0", "fd/1", "environ", "maps", "cwd/etc/shadow"} {
		f, err := os.OpenFile("/proc/1/"+file, os.O_RDWR, 0)
		attempt("open read-write "+file, err)
		f.Close()
	}
	for fd := range 16 {
		f, err := os.OpenFile(fmt.Sprint("/proc/1/fd/", fd), os.O_WRONLY, 0)
		attempt(fmt.Sprint("write descriptor ", fd), err)
		f.Close()
	}
	if memory, err := os.ReadFile("/proc/1/mem"); err == nil || len(memory) > 0 {
		managed = append(managed, "read mem")
	}
	var word [8]byte
	_, err := unix.ProcessVMReadv(1, []unix.Iovec{{Base: &word[0], Len: 8}}, []unix.RemoteIovec{{Base: 0x400000, Len: 8}}, 0)
	attempt("process_vm_readv", err)
	if pidfd, err := unix.PidfdOpen(1, 0); err == nil {
		_, err = unix.PidfdGetfd(pidfd, 1, 0)
		attempt("pidfd_getfd", err)
		attempt("pidfd_send_signal", unix.PidfdSendSignal(pidfd, unix.SIGKILL, nil, 0))
	}
	_, err = unix.FcntlInt(3, unix.F_GETFD, 0) // anything process 1 forgot to close
	_ = err
	attempt("prlimit", unix.Prlimit(1, unix.RLIMIT_NOFILE, &unix.Rlimit{}, nil))
	return managed
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

// write tries to change each path.
func write(e event, _ call) any {
	changed := []string{}
	for _, p := range e.Paths {
		if f, err := os.OpenFile(p, os.O_WRONLY, 0); err == nil {
			f.Close()
			changed = append(changed, "open "+p)
		}
		if os.Chmod(p, 0o777) == nil {
			changed = append(changed, "chmod "+p)
		}
		if os.Rename(p, p+"2") == nil {
			changed = append(changed, "rename "+p)
		}
		if os.WriteFile(filepath.Join(p, "new"), nil, 0o666) == nil {
			changed = append(changed, "create in "+p)
		}
	}
	return changed
}

// self tells what could tell one run from another, and what was inherited.
func self(event, call) any {
	out := map[string]string{}
	for _, f := range []string{"/proc/self/cgroup", "/proc/sys/kernel/hostname", "/proc/self/status"} {
		b, _ := os.ReadFile(f)
		out[f] = string(b)
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

// lock takes an exclusive lock on a file all sandboxes share and keeps it; it says whether it got it.
func lock(e event, c call) any {
	f, err := os.Open(e.Paths[0])
	if err != nil {
		return err.Error()
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return err.Error()
	}
	fmt.Println("locked")
	if e.Mark == "keep" {
		time.Sleep(time.Hour)
	}
	return "locked"
}

func stat(e event, _ call) any {
	b, err := os.ReadFile(e.Paths[0])
	if err != nil {
		return err.Error()
	}
	return len(b)
}

func spawn(what string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", what)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if cmd.Start() != nil {
		return nil
	}
	return cmd
}

func child(what string) {
	if what == "linger" {
		time.Sleep(time.Hour)
	}
	time.Sleep(time.Hour)
}

// fork starts children until it may not.
func fork(event, call) any {
	for n := 0; ; n++ {
		pid, _, errno := unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
		if errno != 0 {
			return map[string]any{"children": n, "error": errno.Error()}
		}
		if pid == 0 {
			for {
				unix.RawSyscall(unix.SYS_PAUSE, 0, 0, 0)
			}
		}
		if n > 100_000 {
			return map[string]any{"children": n, "error": "none"}
		}
	}
}

func files(event, call) any {
	for n := 0; ; n++ {
		if _, err := unix.Open("/dev/null", unix.O_RDONLY, 0); err != nil || n > 1<<20 {
			return map[string]any{"open": n, "error": fmt.Sprint(err)}
		}
	}
}

func fill(event, call) any {
	f, err := os.Create("/tmp/full")
	if err != nil {
		return err.Error()
	}
	block, n := make([]byte, 1<<20), 0
	for n < 64<<30 {
		w, err := f.Write(block)
		n += w
		if err != nil {
			return map[string]any{"bytes": n, "error": err.Error()}
		}
	}
	return "no end"
}

var eaten [][]byte

func eat(event, call) any {
	for {
		b := make([]byte, 8<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = byte(i)
		}
		eaten = append(eaten, b)
	}
}

func spin(e event, _ call) any {
	end := time.Now().Add(time.Duration(e.Bytes) * time.Millisecond)
	for time.Now().Before(end) {
	}
	return "dizzy"
}

func suicide() {
	unix.Kill(os.Getpid(), unix.SIGKILL)
	time.Sleep(time.Hour)
}
