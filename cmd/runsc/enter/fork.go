package main

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// forkUnmounter forks. The child, which has one thread of Go's and no scheduler, makes system calls and nothing else: no
// allocation, no growth of the stack, no lock. It keeps nothing open but the pipe, waits for a byte and exits.
//
//go:norace
//go:nosplit
func forkUnmounter(pipe uintptr, path *byte) syscall.Errno {
	pid, _, errno := syscall.RawSyscall6(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 || pid != 0 {
		return errno
	}
	var b byte
	status := uintptr(1)
	if _, _, errno = syscall.RawSyscall(syscall.SYS_DUP3, pipe, 0, 0); errno == 0 {
		syscall.RawSyscall(unix.SYS_CLOSE_RANGE, 1, ^uintptr(0), 0)
		var n uintptr
		for {
			if n, _, errno = syscall.RawSyscall(syscall.SYS_READ, 0, uintptr(unsafe.Pointer(&b)), 1); errno != syscall.EINTR {
				break
			}
		}
		if n == 1 && errno == 0 {
			if _, _, errno = syscall.RawSyscall(syscall.SYS_UMOUNT2, uintptr(unsafe.Pointer(path)), unix.MNT_DETACH, 0); errno == 0 {
				status = 0
			}
		}
	}
	for {
		syscall.RawSyscall(syscall.SYS_EXIT_GROUP, status, 0, 0)
	}
}
