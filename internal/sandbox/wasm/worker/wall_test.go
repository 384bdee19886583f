package worker

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Which walls an attempt meets.
const (
	none = "none"
	part = "part" // all but the filter of system calls
	full = "full"
)

// An attempt is what a module could try that has taken over its worker: a system call, made by native code. Without
// walls it must succeed, or it would prove nothing; with all of them the kernel must end the worker for it.
type attempt struct {
	do func(target string) error
	// others says that more than the filter is in its way.
	others bool
}

var attempts = map[string]attempt{
	"open a file":           {func(string) error { return opens("/etc/passwd") }, true},
	"list the root":         {func(string) error { return opens("/") }, true},
	"make a file":           {func(string) error { return unix.Mkdir(fmt.Sprintf("/dev/shm/she-wasm-%d", os.Getpid()), 0o700) }, true},
	"read the free space":   {func(string) error { return unix.Statfs("/", new(unix.Statfs_t)) }, false},
	"a socket":              {func(string) error { return descriptor(unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)) }, true},
	"a local socket":        {func(string) error { return descriptor(unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)) }, true},
	"a netlink socket":      {func(string) error { return descriptor(unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW, 0)) }, true},
	"a connection":          {connect, true},
	"a pair of sockets":     {func(string) error { _, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0); return err }, true},
	"a pipe":                {func(string) error { return unix.Pipe(make([]int, 2)) }, true},
	"memory with a name":    {func(string) error { return descriptor(unix.MemfdCreate("x", 0)) }, true},
	"a process":             {fork, true},
	"a thread":              {func(string) error { threads(40); return nil }, false}, // Go ends a program that gets none
	"a program":             {func(string) error { return unix.Exec("/bin/true", []string{"true"}, nil) }, true},
	"a signal to a process": {func(pid string) error { n, _ := strconv.Atoi(pid); return unix.Kill(n, 0) }, true},
	"a handle of a process": {func(pid string) error { n, _ := strconv.Atoi(pid); return descriptor(unix.PidfdOpen(n, 0)) }, true},
	"memory of a process":   {readMemory, true},
	"tracing":               {func(string) error { return raw(unix.SYS_PTRACE, unix.PTRACE_TRACEME) }, false},
	"a user namespace":      {func(string) error { return forkWith(unix.CLONE_NEWUSER) }, true},
	"a network namespace":   {func(string) error { return unix.Unshare(unix.CLONE_NEWNET) }, true},
	"a mount":               {func(string) error { return unix.Mount("none", "/tmp", "tmpfs", 0, "") }, true},
	"another root":          {func(string) error { return unix.Chroot("/") }, true},
	"the host's name":       {func(string) error { return unix.Sethostname([]byte(hostName())) }, true},
	"another identity":      {func(string) error { return raw(unix.SYS_SETRESUID, 12345, 12345, 12345) }, true},
	"its capabilities":      {func(string) error { return raises() }, true},
	"memory that is code":   {func(string) error { return code() }, false},
	"making memory code":    {func(string) error { return makesCode() }, false},
	"shared memory":         {func(string) error { return raw(unix.SYS_SHMGET, 0, 4096, 0o1600) }, false},
	"a message queue":       {func(string) error { return raw(unix.SYS_MSGGET, 0, 0o1600) }, false},
	"semaphores":            {func(string) error { return raw(unix.SYS_SEMGET, 0, 1, 0o1600) }, false},
	"a kernel key":          {func(string) error { return key() }, false},
	"io_uring": {func(string) error {
		var p [120]byte
		return raw(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&p)))
	}, true},
	"bpf":                       {func(string) error { return bpf() }, true},
	"counters of the processor": {func(string) error { return perf() }, true},
	"page faults":               {func(string) error { return raw(unix.SYS_USERFAULTFD, unix.O_CLOEXEC) }, true},
	"notices of files":          {func(string) error { return descriptor(unix.InotifyInit()) }, true},
	"load of the machine":       {func(string) error { return unix.Sysinfo(new(unix.Sysinfo_t)) }, false},
	"a place on a processor":    {func(string) error { var s unix.CPUSet; s.Set(0); return unix.SchedSetaffinity(0, &s) }, false},
	"which processor it is on": {func(string) error {
		var c, n uint32
		return raw(unix.SYS_GETCPU, uintptr(unsafe.Pointer(&c)), uintptr(unsafe.Pointer(&n)))
	}, false},
	"its limits": {func(string) error { return unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 64, Max: 64}) }, true},
	"a name": {func(string) error {
		return raw(unix.SYS_PRCTL, unix.PR_SET_NAME, uintptr(unsafe.Pointer(&[]byte("x\x00")[0])))
	}, false},
	"a terminal's input": {func(string) error { return ioctl() }, false},
}

func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[0] == "she-wasm-try" { // without walls
		try(none, os.Args[2], os.Args[3])
	}
	if len(os.Args) == 2 && os.Args[0] == "she-wasm" { // where outside has put it
		f := strings.Split(os.Args[1], "|")
		try(f[0], f[1], f[2])
	}
	os.Exit(m.Run())
}

// try makes one attempt behind walls, says what came of it, and ends.
func try(walls, name, target string) {
	runtime.LockOSThread()
	var err error
	if walls != none {
		if err = enter(); err == nil {
			err = giveUp()
		}
		if err == nil && walls == full {
			err = filterSystemCalls(sealed())
		}
	}
	if err != nil {
		fmt.Print("no walls: ", err)
		os.Exit(0)
	}
	if err = attempts[name].do(target); err != nil {
		fmt.Print("failed: ", err)
	} else {
		fmt.Print("succeeded")
	}
	os.Exit(0)
}

// TestWall proves the walls a module meets that broke out of the engine: native code in the worker.
func TestWall(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("walls are built as root")
	}
	if testing.Short() {
		t.Skip("it builds itself once more")
	}
	dir, err := os.MkdirTemp("", "she-wasm-") // where anybody may walk: a worker is nobody
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "walled")
	build := exec.Command("go", "test", "-c", "-o", program, ".") // like she-wasm, and not like a test with -race
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for name, a := range attempts {
		target := strconv.Itoa(os.Getpid())
		if name == "a connection" {
			target = strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
		}
		t.Run(name, func(t *testing.T) {
			if said, status := meets(t, program, none, name, target); said != "succeeded" && name != "a program" {
				t.Skipf("not provable here: without walls it %s (status %d)", said, status)
			}
			if said, status := meets(t, program, full, name, target); said != "" || status != 128+int(syscall.SIGSYS) {
				t.Errorf("behind all walls it %s (status %d)", said, status)
			}
			if said, status := meets(t, program, part, name, target); a.others && !strings.HasPrefix(said, "failed: ") {
				t.Errorf("behind the walls without the filter it %s (status %d)", said, status)
			}
		})
	}
}

// meets makes an attempt in a process of its own.
func meets(t *testing.T, program, walls, name, target string) (said string, status int) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	arguments, sys := []string{"she-wasm", walls + "|" + name + "|" + target}, apart()
	if walls == none {
		arguments, sys = []string{"she-wasm-try", walls, name, target}, &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS | unix.CLONE_NEWUTS}
	}
	runtime.LockOSThread() // it dies with the thread that starts it
	defer runtime.UnlockOSThread()
	process, err := os.StartProcess(program, arguments, &os.ProcAttr{Env: environment, Files: []*os.File{nil, w, w}, Sys: sys})
	_ = w.Close()
	if err != nil {
		t.Fatal(err)
	}
	state, err := process.Wait()
	if err != nil {
		t.Fatal(err)
	}
	out := make([]byte, 300)
	n, _ := r.Read(out)
	if ended := state.Sys().(syscall.WaitStatus); ended.Signaled() {
		return string(out[:n]), 128 + int(ended.Signal())
	}
	return string(out[:n]), state.ExitCode()
}

func raw(call uintptr, arguments ...uintptr) error {
	var a [6]uintptr
	copy(a[:], arguments)
	if _, _, errno := unix.Syscall6(call, a[0], a[1], a[2], a[3], a[4], a[5]); errno != 0 {
		return errno
	}
	return nil
}

func descriptor(_ int, err error) error { return err }

func opens(path string) error { return descriptor(unix.Open(path, unix.O_RDONLY, 0)) }

func connect(port string) error {
	n, err := strconv.Atoi(port)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	return unix.Connect(fd, &unix.SockaddrInet4{Port: n, Addr: [4]byte{127, 0, 0, 1}})
}

func fork(string) error { return forkWith(0) }

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

// readMemory reads the beginning of its own program in another process that runs it too, or fails for want of it.
func readMemory(pid string) error {
	n, err := strconv.Atoi(pid)
	if err != nil {
		return err
	}
	f, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", n))
	var from uintptr
	if err == nil {
		_, err = fmt.Sscanf(string(f), "%x-", &from)
	}
	if err != nil {
		from = 0x400000
	}
	into := make([]byte, 4)
	_, err = unix.ProcessVMReadv(n, []unix.Iovec{{Base: &into[0], Len: 4}}, []unix.RemoteIovec{{Base: from, Len: 4}}, 0)
	return err
}

func hostName() string {
	var name unix.Utsname
	_ = unix.Uname(&name)
	return unix.ByteSliceToString(name.Nodename[:])
}

// raises asks for a capability back.
func raises() error {
	header := &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	all := [2]unix.CapUserData{{Effective: 1 << unix.CAP_SYS_CHROOT, Permitted: 1 << unix.CAP_SYS_CHROOT}}
	return unix.Capset(header, &all[0])
}

func code() error {
	_, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANON)
	return err
}

func makesCode() error {
	b, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return err
	}
	return unix.Mprotect(b, unix.PROT_READ|unix.PROT_EXEC)
}

func key() error {
	_, err := unix.AddKey("user", "she-wasm", []byte("x"), unix.KEY_SPEC_PROCESS_KEYRING)
	return err
}

func bpf() error {
	attr := [4]uint32{2, 4, 4, 1} // an array of one number
	return raw(unix.SYS_BPF, 0, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
}

func perf() error {
	attr := &unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE, Config: unix.PERF_COUNT_SW_TASK_CLOCK, Size: uint32(unsafe.Sizeof(unix.PerfEventAttr{}))}
	return descriptor(unix.PerfEventOpen(attr, 0, -1, -1, 0))
}

// ioctl asks how much is in a pipe: the smallest of ioctls.
func ioctl() error {
	_, err := unix.IoctlGetInt(1, unix.TIOCINQ)
	if errors.Is(err, unix.ENOTTY) {
		return nil
	}
	return err
}
