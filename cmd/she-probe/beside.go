package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Two tenants at once: one holds, the other watches. Both say when, so that the suite knows they were at it together.

// shared are the package's files both see.
const (
	sharedFile = markFile
	sharedData = "she-probe-pages"
)

type span struct{ From, To time.Time }

// hold waits a third of its time, then makes itself felt in every way for a third.
func hold(e event, _ call) any {
	third := time.Duration(e.Millis) * time.Millisecond / 3
	time.Sleep(third)
	from := time.Now()
	var undo []func()
	_, _ = os.ReadFile(sharedFile) // first: a process that closes a file loses its POSIX locks on it
	_, _ = os.ReadFile(sharedData)
	if f, err := os.Open(sharedFile); err == nil {
		for range 100 { // who watches takes it for moments
			if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
				break
			}
			time.Sleep(time.Millisecond)
		}
		_ = unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_RDLCK, Len: 1})
		if g, err := os.Open(sharedFile); err == nil {
			_ = unix.FcntlFlock(g.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_RDLCK, Start: 10, Len: 10})
			undo = append(undo, func() { g.Close() })
		}
		undo = append(undo, func() { f.Close() })
	}
	if l, err := net.Listen("unix", "@she-probe-beside"); err == nil {
		undo = append(undo, func() { l.Close() })
	}
	if id, _, errno := unix.Syscall(unix.SYS_SHMGET, ipcKey+1, 4096, unix.IPC_CREAT|0o666); errno == 0 {
		undo = append(undo, func() { unix.Syscall(unix.SYS_SHMCTL, id, unix.IPC_RMID, 0) })
	}
	if id, err := unix.AddKey("user", "she-probe-beside", []byte(e.Mark), unix.KEY_SPEC_USER_KEYRING); err == nil {
		undo = append(undo, func() { _, _ = unix.KeyctlInt(unix.KEYCTL_UNLINK, id, unix.KEY_SPEC_USER_KEYRING, 0, 0) })
	}
	memory := make([]byte, 64<<20)
	for i := 0; i < len(memory); i += 4096 {
		memory[i] = 1
	}
	if f, err := os.Create(filepath.Join(os.TempDir(), "held")); err == nil {
		_, _ = f.Write(memory[:12<<20])
		_ = f.Sync()
		undo = append(undo, func() { f.Close(); _ = os.Remove(f.Name()) })
	}
	var many []string
	for i := range 2000 {
		name := filepath.Join(os.TempDir(), fmt.Sprint("held", i))
		if os.WriteFile(name, nil, 0o600) != nil {
			break
		}
		many = append(many, name)
	}
	var children []*exec.Cmd
	for range 20 {
		if cmd := spawn("linger", e.Mark); cmd != nil {
			children = append(children, cmd)
		}
	}
	for end := from.Add(third); time.Now().Before(end); {
	}
	to := time.Now()
	for _, cmd := range children {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	for _, name := range many {
		_ = os.Remove(name)
	}
	for _, f := range undo {
		f()
	}
	return struct {
		span
		Memory byte
	}{span{from, to}, memory[4096]}
}

// watch looks again and again. A number that moves by more than its threshold is another's doing: this one only looks.
func watch(e event, _ call) any {
	seen := managed{}
	from := time.Now()
	resident := residency() // before the notices: it opens the file
	notes := map[string]int{}
	if fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC); err == nil {
		if _, err := unix.InotifyAddWatch(fd, sharedData, unix.IN_OPEN|unix.IN_ACCESS); err == nil {
			notes["inotify"] = fd
		}
	}
	if fd, err := unix.FanotifyInit(unix.FAN_NONBLOCK|unix.FAN_CLOEXEC, unix.O_RDONLY); err == nil {
		if unix.FanotifyMark(fd, unix.FAN_MARK_ADD, unix.FAN_OPEN|unix.FAN_ACCESS, unix.AT_FDCWD, sharedData) == nil {
			notes["fanotify"] = fd
		}
	}
	least, most := map[string]int64{}, map[string]int64{}
	for end := from.Add(time.Duration(e.Millis) * time.Millisecond); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		for name, n := range figures(resident) {
			if v, ok := least[name]; !ok || n < v {
				least[name] = n
			}
			if v, ok := most[name]; !ok || n > v {
				most[name] = n
			}
		}
		locks(seen)
		if c, err := net.Dial("unix", "@she-probe-beside"); err == nil {
			c.Close()
			seen["beside-abstract-socket"] = "connected"
		}
		if _, _, errno := unix.Syscall(unix.SYS_SHMGET, ipcKey+1, 4096, 0); errno == 0 {
			seen["beside-sysv-shm"] = "found"
		}
		if _, err := unix.KeyctlSearch(unix.KEY_SPEC_USER_KEYRING, "user", "she-probe-beside", 0); err == nil {
			seen["beside-key"] = "found"
		}
		for name, fd := range notes {
			if n, err := unix.Read(fd, make([]byte, 4096)); err == nil && n > 0 {
				seen[name] = fmt.Sprint(n, " bytes of notices")
			}
		}
		entries, _ := os.ReadDir("/proc")
		for _, entry := range entries {
			if line, err := os.ReadFile("/proc/" + entry.Name() + "/cmdline"); err == nil && strings.Contains(string(line), e.Mark) {
				seen["beside-processes"] = "process " + entry.Name()
			}
		}
	}
	for name, threshold := range map[string]int64{
		"memory-free": 40 << 20, "memory-sysinfo": 40 << 20, "memory-vmstat": 40 << 8, "cpu-stat": 50, "processes-loadavg": 15, "processes-sysinfo": 15,
		"disk-free": 10 << 20, "disk-free-package": 10 << 20, "files-free": 1500, "files-free-package": 1500, "files-open": 15, "interrupts": 100, "pressure": 1000,
		"schedstat": 1 << 28, "page-cache": 64, "atime": 1, "disk-io": 8 << 10,
	} {
		if moved := most[name] - least[name]; moved >= threshold {
			seen[name] = fmt.Sprint("moved by ", moved)
		}
	}
	return struct {
		span
		Seen managed
	}{span{from, time.Now()}, seen}
}

// locks asks whether somebody else has a lock on the shared file, or has it open.
func locks(seen managed) {
	f, err := os.Open(sharedFile)
	if err != nil {
		return
	}
	defer f.Close()
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		seen["flock"] = "is held"
	} else {
		_ = unix.Flock(int(f.Fd()), unix.LOCK_UN)
	}
	lock := unix.Flock_t{Type: unix.F_WRLCK, Len: 1}
	if unix.FcntlFlock(f.Fd(), unix.F_GETLK, &lock) == nil && lock.Type != unix.F_UNLCK && lock.Pid > 0 {
		seen["posix-lock"] = fmt.Sprint("is held by ", lock.Pid)
	}
	lock = unix.Flock_t{Type: unix.F_WRLCK, Start: 10, Len: 10}
	if unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &lock) == nil && lock.Type != unix.F_UNLCK && lock.Pid == -1 {
		seen["ofd-lock"] = "is held"
	}
	// A write lease is given only to who has the file alone.
	if _, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_WRLCK); err == unix.EAGAIN {
		seen["lease"] = "somebody has the file open"
	} else if err == nil {
		_, _ = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_UNLCK)
	}
}

// residency maps the shared data without touching it; the function it gives counts pages in memory.
func residency() func() int64 {
	f, err := os.Open(sharedData)
	if err != nil {
		return func() int64 { return 0 }
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return func() int64 { return 0 }
	}
	data, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return func() int64 { return 0 }
	}
	vec := make([]byte, (len(data)+4095)/4096)
	return func() (n int64) {
		if _, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&data[0])), uintptr(len(data)), uintptr(unsafe.Pointer(&vec[0]))); errno != 0 {
			return 0
		}
		for _, b := range vec {
			n += int64(b & 1)
		}
		return n
	}
}

// figures are what the machine tells about itself.
func figures(resident func() int64) map[string]int64 {
	out := map[string]int64{"page-cache": resident()}
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		out["memory-sysinfo"], out["processes-sysinfo"] = int64(info.Freeram)*int64(info.Unit), int64(info.Procs)
	}
	for name, dir := range map[string]string{"-free": os.TempDir(), "-free-package": "."} {
		var st unix.Statfs_t
		if unix.Statfs(dir, &st) == nil {
			out["disk"+name], out["files"+name] = int64(st.Bfree)*st.Bsize, int64(st.Ffree)
		}
	}
	var st unix.Stat_t
	if unix.Stat(sharedData, &st) == nil {
		out["atime"] = st.Atim.Nano()
	}
	out["memory-free"] = sum("/proc/meminfo", "MemFree:", 1) << 10
	out["memory-vmstat"] = sum("/proc/vmstat", "nr_free_pages", 1)
	out["cpu-stat"] = sum("/proc/stat", "cpu", 1) + sum("/proc/stat", "cpu", 3) - ownTicks()
	out["interrupts"] = sum("/proc/stat", "ctxt", 1)
	out["schedstat"] = sum("/proc/schedstat", "cpu0", 7)
	out["pressure"] = total("/proc/pressure/cpu") + total("/proc/pressure/io") + total("/proc/pressure/memory")
	out["files-open"] = sum("/proc/sys/fs/file-nr", "", 0)
	out["disk-io"] = sum("/proc/vmstat", "pgpgout", 1)
	if b, err := os.ReadFile("/proc/loadavg"); err == nil {
		if f := strings.Fields(string(b)); len(f) > 3 {
			_, all, _ := strings.Cut(f[3], "/")
			out["processes-loadavg"], _ = strconv.ParseInt(all, 10, 64)
		}
	}
	return out
}

// ownTicks is this process's own CPU time, in hundredths of a second.
func ownTicks() int64 {
	var own unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &own) != nil {
		return 0
	}
	return (own.Utime.Nano() + own.Stime.Nano()) / 1e7
}

// sum is the field at that place of the first line that begins with word.
func sum(file, word string, at int) int64 {
	f, err := os.Open(file)
	if err != nil {
		return 0
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) > at && (word == "" || fields[0] == word) {
			n, _ := strconv.ParseInt(fields[at], 10, 64)
			return n
		}
	}
	return 0
}

func total(file string) (n int64) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	for field := range strings.FieldsSeq(string(b)) {
		if v, ok := strings.CutPrefix(field, "total="); ok {
			t, _ := strconv.ParseInt(v, 10, 64)
			n += t
		}
	}
	return n
}
