package worker

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A target is what attempts aim at: a process of the prover's own, outside of the walls.
type target struct{ pid, port int }

// An attempt is what a module could try that has taken over its worker: native code, nearly always a system call.
// Without walls it leaves nothing behind that outlives its process and its namespaces.
type attempt struct {
	name, tries string
	do          func(target) error
	// others says that more than the filter of system calls is in its way.
	others bool
	// passes says that the filter lets it through, and something else is in its way.
	passes bool
}

var attempts = []attempt{
	{name: "file-open", tries: "open a file", do: func(target) error { return opens("/etc/passwd") }, others: true},
	{name: "root-list", tries: "open the root directory", do: func(target) error { return opens("/") }, others: true},
	{name: "file-make", tries: "make a directory in /dev/shm", do: makesDirectory, others: true},
	{name: "free-space", tries: "read the free space", do: func(target) error { return unix.Statfs("/", new(unix.Statfs_t)) }},
	{name: "descriptor", tries: "read the file its process was started with", do: readsInherited, passes: true},
	{name: "socket", tries: "make a socket", do: func(target) error { return descriptor(unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)) }, others: true},
	{name: "socket-local", tries: "make a local socket", do: func(target) error { return descriptor(unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)) }, others: true},
	{name: "socket-netlink", tries: "make a netlink socket", do: func(target) error { return descriptor(unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW, 0)) }, others: true},
	{name: "connection", tries: "connect to a listener on loopback", do: connect, others: true},
	{name: "socket-pair", tries: "make a pair of sockets", do: func(target) error { _, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0); return err }, others: true},
	{name: "pipe", tries: "make a pipe", do: func(target) error { return unix.Pipe(make([]int, 2)) }, others: true},
	{name: "memfd", tries: "make memory with a name", do: func(target) error { return descriptor(unix.MemfdCreate("x", 0)) }, others: true},
	{name: "process", tries: "start a process", do: func(target) error { return forkWith(0) }, others: true},
	{name: "thread", tries: "start threads", do: func(target) error { threads(24); return nil }}, // Go ends a program that gets none
	{name: "program", tries: "become another program", do: func(target) error { return unix.Exec("/proc/self/exe", []string{"she-wasm", hasSucceeded}, nil) }, others: true},
	{name: "signal", tries: "signal a process", do: func(t target) error { return unix.Kill(t.pid, 0) }, others: true},
	{name: "pidfd", tries: "get a handle of a process", do: func(t target) error { return descriptor(unix.PidfdOpen(t.pid, 0)) }, others: true},
	{name: "process-memory", tries: "read the memory of a process", do: readsMemory, others: true},
	{name: "ptrace", tries: "be traced", do: func(target) error { return raw(unix.SYS_PTRACE, unix.PTRACE_TRACEME) }},
	{name: "user-namespace", tries: "make a user namespace", do: func(target) error { return forkWith(unix.CLONE_NEWUSER) }, others: true},
	{name: "network-namespace", tries: "make a network namespace", do: func(target) error { return unix.Unshare(unix.CLONE_NEWNET) }, others: true},
	{name: "mount", tries: "mount", do: func(target) error { return unix.Mount("none", "/tmp", "tmpfs", 0, "") }, others: true},
	{name: "chroot", tries: "take another root", do: func(target) error { return unix.Chroot("/") }, others: true},
	{name: "hostname", tries: "set the host's name", do: setsHostName, others: true},
	{name: "setuid", tries: "take another identity", do: func(target) error { return raw(unix.SYS_SETRESUID, 12345, 12345, 12345) }, others: true},
	{name: "capabilities", tries: "take a capability", do: takesCapability, others: true},
	{name: "code", tries: "get memory that is code", do: func(target) error {
		_, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANON)
		return err
	}},
	{name: "code-made", tries: "make memory code", do: makesCode},
	{name: "sysv-shm", tries: "share memory (System V)", do: func(target) error { return raw(unix.SYS_SHMGET, 0, 4096, 0o1600) }},
	{name: "sysv-msg", tries: "make a message queue (System V)", do: func(target) error { return raw(unix.SYS_MSGGET, 0, 0o1600) }},
	{name: "sysv-sem", tries: "make a semaphore (System V)", do: func(target) error { return raw(unix.SYS_SEMGET, 0, 1, 0o1600) }},
	{name: "key", tries: "keep a key in the kernel", do: func(target) error {
		return descriptor(unix.AddKey("user", "she-wasm", []byte("x"), unix.KEY_SPEC_PROCESS_KEYRING))
	}},
	{name: "io-uring", tries: "io_uring_setup", do: func(target) error {
		var p [120]byte
		return raw(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&p)))
	}, others: true},
	{name: "bpf", tries: "bpf", do: func(target) error {
		attr := [4]uint32{2, 4, 4, 1} // an array of one number
		return raw(unix.SYS_BPF, 0, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	}, others: true},
	{name: "perf", tries: "count what the processor does (perf_event_open)", do: func(target) error {
		attr := &unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE, Config: unix.PERF_COUNT_SW_TASK_CLOCK, Size: uint32(unsafe.Sizeof(unix.PerfEventAttr{}))}
		return descriptor(unix.PerfEventOpen(attr, 0, -1, -1, 0))
	}, others: true},
	{name: "userfaultfd", tries: "be told of page faults (userfaultfd)", do: func(target) error { return raw(unix.SYS_USERFAULTFD, unix.O_CLOEXEC) }, others: true},
	{name: "inotify", tries: "be told of files (inotify)", do: func(target) error { return descriptor(unix.InotifyInit()) }, others: true},
	{name: "sysinfo", tries: "read the load of the machine", do: func(target) error { return unix.Sysinfo(new(unix.Sysinfo_t)) }},
	{name: "affinity", tries: "choose its processor", do: func(target) error {
		var s unix.CPUSet
		if err := unix.SchedGetaffinity(0, &s); err != nil {
			return err
		}
		return unix.SchedSetaffinity(0, &s)
	}},
	{name: "getcpu", tries: "ask which processor it is on", do: func(target) error {
		var c, n uint32
		return raw(unix.SYS_GETCPU, uintptr(unsafe.Pointer(&c)), uintptr(unsafe.Pointer(&n)))
	}},
	{name: "rlimit", tries: "change its limits", do: func(target) error { return unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 64, Max: 64}) }, others: true},
	{name: "prctl", tries: "change its name (prctl)", do: func(target) error {
		return raw(unix.SYS_PRCTL, unix.PR_SET_NAME, uintptr(unsafe.Pointer(&[]byte("x\x00")[0])))
	}},
	{name: "ioctl", tries: "ask how much is in a pipe (ioctl)", do: func(target) error {
		return descriptor(unix.IoctlGetInt(1, unix.TIOCINQ))
	}},
}

func raw(call uintptr, arguments ...uintptr) error {
	var a [6]uintptr
	copy(a[:], arguments)
	if _, _, errno := unix.Syscall6(call, a[0], a[1], a[2], a[3], a[4], a[5]); errno != 0 {
		return errno
	}
	return nil
}

// descriptor keeps only whether one was given.
func descriptor(_ int, err error) error { return err }

func opens(path string) error { return descriptor(unix.Open(path, unix.O_RDONLY, 0)) }

func makesDirectory(target) error {
	dir := fmt.Sprintf("/dev/shm/she-wasm-%d", os.Getpid())
	if err := unix.Mkdir(dir, 0o700); err != nil {
		return err
	}
	return unix.Rmdir(dir)
}

// readsInherited reads what descriptor 3 has, as an image would be there; it is given up before a module runs.
func readsInherited(target) error {
	b := make([]byte, 4)
	n, err := unix.Read(3, b)
	if err == nil && n == 0 {
		return errors.New("it is at its end")
	}
	return err
}

func connect(t target) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	return unix.Connect(fd, &unix.SockaddrInet4{Port: t.port, Addr: [4]byte{127, 0, 0, 1}})
}

// forkWith makes a process that ends at once.
func forkWith(flags uintptr) error {
	pid, _, errno := unix.RawSyscall6(unix.SYS_CLONE, flags|uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 {
		return errno
	}
	if pid == 0 {
		unix.RawSyscall(unix.SYS_EXIT, 0, 0, 0)
	}
	return nil
}

// readsMemory reads the beginning of its own program in another process that runs it too.
func readsMemory(t target) error {
	into := make([]byte, 4)
	_, err := unix.ProcessVMReadv(t.pid, []unix.Iovec{{Base: &into[0], Len: 4}}, []unix.RemoteIovec{{Base: programText(), Len: 4}}, 0)
	return err
}

func setsHostName(target) error {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return err
	}
	return unix.Sethostname([]byte(unix.ByteSliceToString(name.Nodename[:])))
}

func takesCapability(target) error {
	header := &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	all := [2]unix.CapUserData{{Effective: 1 << unix.CAP_SYS_CHROOT, Permitted: 1 << unix.CAP_SYS_CHROOT}}
	return unix.Capset(header, &all[0])
}

func makesCode(target) error {
	b, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return err
	}
	return unix.Mprotect(b, unix.PROT_READ|unix.PROT_EXEC)
}
