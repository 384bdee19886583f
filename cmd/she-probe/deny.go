package main

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Attempts to take more than one's share. Each ends by itself, so that it does no harm where nothing stops it.

func spawn(args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if cmd.Start() != nil {
		return nil
	}
	return cmd
}

// child is what this program is when it has started itself.
func child(args []string) {
	switch args[0] {
	case "spin": // milliseconds, threads
		millis, _ := strconv.Atoi(args[1])
		threads, _ := strconv.Atoi(args[2])
		spin(event{Bytes: millis, Threads: threads}, call{})
	case "end":
	case "abort":
		mark := []byte(strings.Join(args[1:], " "))
		signal.Reset(unix.SIGSEGV)
		// The default of the signal, not Go's handler: that would print and exit.
		var action [4]uintptr
		unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(unix.SIGSEGV), uintptr(unsafe.Pointer(&action)), 0, 8, 0, 0)
		unix.Kill(os.Getpid(), unix.SIGSEGV)
		time.Sleep(10 * time.Second)
		fmt.Println(string(mark))
	case "victim":
		victim(args[1])
	default:
		time.Sleep(time.Hour)
	}
}

// victim has the mark in its memory and tells, on its output, where; and it tells of signals.
func victim(mark string) {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGUSR1, unix.SIGUSR2)
	kept := append([]byte("kept "), mark...)
	fmt.Println(uintptr(unsafe.Pointer(&kept[5])))
	for s := range signals {
		fmt.Println("signal", int(s.(syscall.Signal)))
	}
	fmt.Println(string(kept))
}

// fork starts children until it may not, at most e.Bytes unless that is 0. With a time it then holds them that long.
func fork(e event, _ call) any {
	most := e.Bytes
	if most == 0 {
		most = 100_000
	}
	if e.Pid > 0 { // a limit by user id, as outside of the walls
		_ = unix.Setrlimit(unix.RLIMIT_NPROC, &unix.Rlimit{Cur: uint64(e.Pid), Max: uint64(e.Pid)})
	}
	var pids []int
	problem := "none"
	for len(pids) < most {
		pid, _, errno := unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
		if errno != 0 {
			problem = errno.Error()
			break
		}
		if pid == 0 {
			for {
				unix.RawSyscall(unix.SYS_PAUSE, 0, 0, 0)
			}
		}
		pids = append(pids, int(pid))
	}
	from := time.Now()
	time.Sleep(time.Duration(e.Millis) * time.Millisecond)
	to := time.Now()
	if e.Millis > 0 || e.Bytes > 0 {
		for _, pid := range pids {
			_ = unix.Kill(pid, unix.SIGKILL)
			_, _ = syscall.Wait4(pid, nil, 0, nil)
		}
	}
	return map[string]any{"children": len(pids), "error": problem, "from": from, "to": to}
}

func files(e event, _ call) any {
	if e.Bytes > 0 { // more than usual, where one may
		_ = unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(e.Bytes) + 64, Max: uint64(e.Bytes) + 64})
	}
	var open []int
	problem := "none"
	for e.Bytes == 0 || len(open) < e.Bytes {
		fd, err := unix.Open("/dev/null", unix.O_RDONLY, 0)
		if err != nil {
			problem = err.Error()
			break
		}
		open = append(open, fd)
	}
	for _, fd := range open {
		unix.Close(fd)
	}
	return map[string]any{"open": len(open), "error": problem}
}

func fill(e event, _ call) any {
	most := e.Bytes
	if most == 0 {
		most = 64 << 30
	}
	f, err := os.Create(filepath.Join(os.TempDir(), "full"))
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	block, n := make([]byte, 1<<20), 0
	for n < most {
		w, err := f.Write(block)
		n += w
		if err != nil {
			return map[string]any{"bytes": n, "error": err.Error()}
		}
	}
	return map[string]any{"bytes": n, "error": "none"}
}

// inodes makes files without content: they take no room in /tmp but memory of whoever keeps them.
func inodes(e event, _ call) any {
	n := 0
	for ; n < e.Bytes; n++ {
		if err := os.WriteFile(filepath.Join(os.TempDir(), fmt.Sprint("inode", n)), nil, 0o600); err != nil {
			return map[string]any{"files": n, "error": err.Error()}
		}
	}
	return map[string]any{"files": n, "error": "none"}
}

var eaten [][]byte

func eat(most int) any {
	if most == 0 {
		most = 64 << 30
	}
	for n := 0; n < most; n += 8 << 20 {
		b := make([]byte, 8<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = byte(i)
		}
		eaten = append(eaten, b)
	}
	return len(eaten) * 8 << 20
}

// spin computes for e.Bytes milliseconds, in so many threads.
func spin(e event, _ call) any {
	end := time.Now().Add(time.Duration(e.Bytes) * time.Millisecond)
	threads := max(1, e.Threads)
	runtime.GOMAXPROCS(threads)
	var all sync.WaitGroup
	for range threads {
		all.Go(func() {
			for time.Now().Before(end) {
			}
		})
	}
	all.Wait()
	return "dizzy"
}

func suicide() {
	unix.Kill(os.Getpid(), unix.SIGKILL)
	time.Sleep(time.Hour)
}
