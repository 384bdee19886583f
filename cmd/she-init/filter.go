package main

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What the sandbox's kernel would do for a function and must not: tell the free space of the machine's disk, which two
// tenants share and one of them can change; and make namespaces, in which a function would be root and reach far more of
// that kernel. clone3 hides its flags from filters; C libraries fall back to clone.
//
// The filter holds for this process and all it starts. Its form is that of seccomp(2): classic BPF over struct
// seccomp_data, {int nr; u32 arch; u64 ip; u64 args[6]}.
func filterSystemCalls() error {
	const (
		nr       = 0
		argument = 16 // the low half of the first one
		refuse   = unix.SECCOMP_RET_ERRNO
	)
	namespaces := uint32(unix.CLONE_NEWNS | unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP)
	program := []unix.SockFilter{load(nr)}
	for _, call := range []struct {
		number uint32
		errno  uint32
	}{
		{unix.SYS_STATFS, uint32(unix.ENOSYS)}, {unix.SYS_FSTATFS, uint32(unix.ENOSYS)}, {unix.SYS_CLONE3, uint32(unix.ENOSYS)},
		{unix.SYS_UNSHARE, uint32(unix.EPERM)}, {unix.SYS_SETNS, uint32(unix.EPERM)},
	} {
		program = append(program, skipUnless(call.number, 1), answer(refuse|call.errno))
	}
	program = append(program,
		skipUnless(unix.SYS_CLONE, 3), load(argument), jump(unix.BPF_JSET, namespaces, 0, 1), answer(refuse|uint32(unix.EPERM)),
		answer(unix.SECCOMP_RET_ALLOW))
	p := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&p)))
	runtime.KeepAlive(program)
	if errno != 0 {
		return fmt.Errorf("filter system calls: %w", errno)
	}
	return nil
}

func load(offset uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
}

func jump(op uint16, k uint32, yes, no uint8) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | op | unix.BPF_K, K: k, Jt: yes, Jf: no}
}

func skipUnless(number uint32, n uint8) unix.SockFilter { return jump(unix.BPF_JEQ, number, 0, n) }

func answer(k uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k} }
