package main

import (
	"fmt"
	"math/rand"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What an invocation can leave for the next one in the same place.

// ipcKey is the address of what is left in System V IPC.
const ipcKey = 0x5e5e5e

// places are directories, by the name of their probe. TMPDIR is /tmp inside.
func places() map[string]string {
	return map[string]string{
		"left-in-tmp": os.TempDir(), "left-in-home": os.Getenv("HOME"), "left-in-cwd": ".", "left-in-var-tmp": "/var/tmp",
		"left-in-shm": "/dev/shm", "left-in-dev": "/dev", "left-in-run": "/run", "left-in-var": "/var", "left-in-root": "/",
		"left-in-opt": "/opt", "left-in-etc": "/etc", "left-in-usr": "/usr/bin", "left-in-homes": "/home", "left-in-mnt": "/mnt",
	}
}

// covered are the places that a run outside of the walls gets to itself, so that nothing is left on the machine.
var covered = []string{"/dev/shm", "/run", "/opt", "/etc", "/usr/bin", "/home", "/mnt"}

const markFile = "she-probe-mark"

var (
	global    string
	generator = rand.New(rand.NewSource(1))
	kept      []any // so that nothing of it is collected, and closed
)

// leave puts the mark everywhere a later run might look.
func leave(e event, _ call) any {
	if e.Bytes > 0 { // outside: on file systems of its own
		for _, dir := range append([]string{"/var"}, covered...) {
			if strings.HasPrefix(os.TempDir(), dir+"/") {
				continue
			}
			_ = unix.Mount("none", dir, "tmpfs", 0, "")
		}
		for _, dir := range []string{"/var/tmp", os.Getenv("HOME")} {
			_ = os.MkdirAll(dir, 0o777)
		}
	}
	left := managed{}
	for name, dir := range places() {
		if os.WriteFile(filepath.Join(dir, markFile), []byte(e.Mark), 0o666) == nil {
			left[name] = dir
		}
	}
	ipc := func(name string, trap uintptr, args ...uintptr) {
		a := append(args, 0, 0)
		if id, _, errno := unix.Syscall(trap, a[0], a[1], a[2]); errno == 0 {
			left[name] = fmt.Sprint("id ", id)
		}
	}
	ipc("sysv-shm", unix.SYS_SHMGET, ipcKey, 4096, unix.IPC_CREAT|0o666)
	ipc("sysv-sem", unix.SYS_SEMGET, ipcKey, 1, unix.IPC_CREAT|0o666)
	ipc("sysv-msg", unix.SYS_MSGGET, ipcKey, unix.IPC_CREAT|0o666)
	if fd, err := mqOpen(unix.O_CREAT | unix.O_RDWR); err == nil {
		left["posix-mq"] = fmt.Sprint("descriptor ", fd)
	}
	if l, err := net.Listen("unix", "@"+markFile); err == nil {
		kept = append(kept, l)
		left["abstract-socket"] = "listening"
	}
	for name, ring := range keyrings {
		if _, err := unix.AddKey("user", markFile, []byte(e.Mark), ring); err == nil {
			left[name] = "added"
		}
	}
	if syscall.Sethostname([]byte("marked")) == nil {
		left["hostname"] = "marked"
	}
	if fd, err := unix.MemfdCreate(markFile, 0); err == nil {
		_, _ = unix.Write(fd, []byte(e.Mark))
		left["memfd"] = "open"
	}
	if f, err := os.CreateTemp("", markFile); err == nil {
		kept = append(kept, f)
		_, _ = f.WriteString(e.Mark)
		_ = os.Remove(f.Name())
		left["open-file"] = "open"
	}
	os.Setenv("SHE_PROBE_MARK", e.Mark)
	global = e.Mark
	unix.Umask(0o123)
	_ = unix.Setpriority(unix.PRIO_PROCESS, os.Getpid(), 17)
	_, _ = unix.Setitimer(unix.ItimerVirtual, unix.Itimerval{Value: unix.Timeval{Sec: 3600}})
	if spawn("linger", e.Mark) != nil {
		left["background-process"] = "started"
	}
	for range 1000 {
		generator.Int63()
	}
	return left
}

var keyrings = map[string]int{"key-of-user": unix.KEY_SPEC_USER_KEYRING, "key-of-session": unix.KEY_SPEC_SESSION_KEYRING, "key-of-user-session": unix.KEY_SPEC_USER_SESSION_KEYRING}

// mqOpen opens the message queue of mq_overview(7) that is named after the mark.
func mqOpen(flags int) (int, error) {
	name := append([]byte(markFile), 0)
	fd, _, errno := unix.Syscall6(unix.SYS_MQ_OPEN, uintptr(unsafe.Pointer(&name[0])), uintptr(flags), 0o666, 0, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(fd), nil
}

// find looks for what leave left, and clears it away.
func find(e event, _ call) any {
	found := managed{}
	for name, dir := range places() {
		file := filepath.Join(dir, markFile)
		if b, err := os.ReadFile(file); err == nil && string(b) == e.Mark {
			found[name] = file
			_ = os.Remove(file)
		}
	}
	if id, _, errno := unix.Syscall(unix.SYS_SHMGET, ipcKey, 4096, 0); errno == 0 {
		found["sysv-shm"] = fmt.Sprint("id ", id)
		unix.Syscall(unix.SYS_SHMCTL, id, unix.IPC_RMID, 0)
	}
	if id, _, errno := unix.Syscall(unix.SYS_SEMGET, ipcKey, 1, 0); errno == 0 {
		found["sysv-sem"] = fmt.Sprint("id ", id)
		unix.Syscall6(unix.SYS_SEMCTL, id, 0, unix.IPC_RMID, 0, 0, 0)
	}
	if id, _, errno := unix.Syscall(unix.SYS_MSGGET, ipcKey, 0, 0); errno == 0 {
		found["sysv-msg"] = fmt.Sprint("id ", id)
		unix.Syscall(unix.SYS_MSGCTL, id, unix.IPC_RMID, 0)
	}
	if fd, err := mqOpen(unix.O_RDWR); err == nil {
		found["posix-mq"] = "open"
		unix.Close(fd)
		name := append([]byte(markFile), 0)
		unix.Syscall(unix.SYS_MQ_UNLINK, uintptr(unsafe.Pointer(&name[0])), 0, 0)
	}
	if c, err := net.Dial("unix", "@"+markFile); err == nil {
		c.Close()
		found["abstract-socket"] = "somebody listens"
	}
	for name, ring := range keyrings {
		if id, err := unix.KeyctlSearch(ring, "user", markFile, 0); err == nil {
			found[name] = fmt.Sprint("key ", id)
			_, _ = unix.KeyctlInt(unix.KEYCTL_UNLINK, id, ring, 0, 0)
		}
	}
	if name, _ := os.Hostname(); name == "marked" {
		found["hostname"] = name
	}
	if v := os.Getenv("SHE_PROBE_MARK"); v != "" {
		found["environment"] = v
	}
	if global != "" {
		found["module-global"] = global
	}
	if mask := unix.Umask(0o22); mask == 0o123 {
		found["umask"] = "0123"
	}
	if nice, err := unix.Getpriority(unix.PRIO_PROCESS, os.Getpid()); err == nil && 20-nice == 17 {
		found["priority"] = "nice 17"
	}
	if timer, err := unix.Getitimer(unix.ItimerVirtual); err == nil && timer.Value.Sec > 0 {
		found["timer"] = fmt.Sprint(timer.Value.Sec, " s left")
	}
	if own := rand.New(rand.NewSource(1)); own.Int63() != generator.Int63() {
		found["generator"] = "is not at its beginning"
	}
	entries, _ := os.ReadDir("/proc")
	for _, entry := range entries {
		dir := "/proc/" + entry.Name()
		if line, err := os.ReadFile(dir + "/cmdline"); err == nil && strings.Contains(string(line), "linger") && strings.Contains(string(line), e.Mark) {
			found["background-process"] = "process " + entry.Name()
		}
		fds, _ := os.ReadDir(dir + "/fd")
		for _, fd := range fds {
			to, _ := os.Readlink(dir + "/fd/" + fd.Name())
			if strings.Contains(to, "memfd:"+markFile) {
				found["memfd"] = to
			} else if strings.Contains(to, "/"+markFile) && strings.Contains(to, "deleted") {
				found["open-file"] = to
			}
		}
	}
	return found
}

// counters tells numbers that a run uses up, so that a later one could see how many an earlier one took.
func counters(event, call) any {
	out := map[string]int64{}
	if cmd := spawn("end"); cmd != nil {
		out["pid-numbers"] = int64(cmd.Process.Pid)
		_ = cmd.Wait()
	}
	if f, err := os.CreateTemp("", "counter"); err == nil {
		var st unix.Stat_t
		_ = unix.Fstat(int(f.Fd()), &st)
		out["inode-numbers"] = int64(st.Ino)
		f.Close()
		_ = os.Remove(f.Name())
	}
	if fds, err := pipeInode(); err == nil {
		out["pipe-numbers"] = fds
	}
	if id, _, errno := unix.Syscall(unix.SYS_SHMGET, unix.IPC_PRIVATE, 4096, unix.IPC_CREAT|0o600); errno == 0 {
		out["ipc-numbers"] = int64(id)
		unix.Syscall(unix.SYS_SHMCTL, id, unix.IPC_RMID, 0)
	}
	var usage unix.Rusage
	if unix.Getrusage(unix.RUSAGE_CHILDREN, &usage) == nil {
		out["accounting"] = usage.Minflt
	}
	if f, err := os.Open(markFile); err == nil { // the package's file of that name
		var st unix.Stat_t
		_ = unix.Fstat(int(f.Fd()), &st)
		out["access-time"] = st.Atim.Nano() / 1e6
		f.Close()
	}
	return out
}

func pipeInode() (int64, error) {
	var p [2]int
	if err := unix.Pipe(p[:]); err != nil {
		return 0, err
	}
	defer unix.Close(p[0])
	defer unix.Close(p[1])
	var st unix.Stat_t
	err := unix.Fstat(p[0], &st)
	return int64(st.Ino), err
}

// busy uses up what counters counts.
func busy(e event, _ call) any {
	for range e.Bytes {
		if cmd := spawn("end"); cmd != nil {
			_ = cmd.Wait()
		}
		if f, err := os.CreateTemp("", "busy"); err == nil {
			f.Close()
		}
		for range 50 { // they are given out in portions, to each processor
			_, _ = pipeInode()
		}
		if id, _, errno := unix.Syscall(unix.SYS_SHMGET, unix.IPC_PRIVATE, 4096, unix.IPC_CREAT|0o600); errno == 0 {
			unix.Syscall(unix.SYS_SHMCTL, id, unix.IPC_RMID, 0)
		}
	}
	if b, err := os.ReadFile(markFile); err == nil {
		return len(b)
	}
	return 0
}

func init() { time.Local = time.UTC }
