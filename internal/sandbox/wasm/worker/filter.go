package worker

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A rule lets a system call through; with bits in without, only when that argument (its low half) has none of them.
type rule struct {
	call     uint32
	argument int
	without  uint32
}

// sealed are the system calls of a worker that runs a module: reading and writing (its pipes: it has no other
// descriptors, and no call makes one), memory that is not code, time, random numbers, what Go's threads wait for each
// other with, and ending. Anything else ends it.
func sealed() []rule {
	rules := []rule{{call: unix.SYS_MMAP, argument: 2, without: unix.PROT_EXEC}}
	for _, call := range []uint32{
		unix.SYS_READ, unix.SYS_WRITE, unix.SYS_MUNMAP, unix.SYS_MADVISE,
		unix.SYS_FUTEX, unix.SYS_NANOSLEEP, unix.SYS_CLOCK_GETTIME, unix.SYS_GETRANDOM, unix.SYS_SCHED_YIELD, unix.SYS_EPOLL_PWAIT,
		unix.SYS_RT_SIGRETURN, unix.SYS_RT_SIGPROCMASK, unix.SYS_SIGALTSTACK, unix.SYS_RESTART_SYSCALL,
		unix.SYS_EXIT, unix.SYS_EXIT_GROUP,
	} {
		rules = append(rules, rule{call: call})
	}
	return rules
}

// filterSystemCalls lets nothing through but what a rule names, in all threads. Its form is that of seccomp(2): classic
// BPF over struct seccomp_data, {int nr; u32 arch; u64 ip; u64 args[6]}.
func filterSystemCalls(rules []rule) error {
	const nr, arch, arguments = 0, 4, 16
	load := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	jump := func(op uint16, k uint32, yes, no uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | op | unix.BPF_K, K: k, Jt: yes, Jf: no}
	}
	end := func(k uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k} }
	allow, kill := end(unix.SECCOMP_RET_ALLOW), end(unix.SECCOMP_RET_KILL_PROCESS)

	// The numbers below are those of this architecture's own table; another table of the same kernel (i386, x32) has
	// others.
	program := []unix.SockFilter{load(arch), jump(unix.BPF_JEQ, auditArch[runtime.GOARCH], 1, 0), kill, load(nr)}
	for _, r := range rules {
		if r.without == 0 {
			program = append(program, jump(unix.BPF_JEQ, r.call, 0, 1), allow)
			continue
		}
		program = append(program, jump(unix.BPF_JEQ, r.call, 0, 4), load(arguments+8*uint32(r.argument)), jump(unix.BPF_JSET, r.without, 1, 0), allow, kill)
	}
	program = append(program, kill)
	p := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&p)))
	runtime.KeepAlive(program)
	if errno != 0 {
		return fmt.Errorf("filter system calls: %w", errno)
	}
	return nil
}

// auditArch is what seccomp calls the architectures wazero compiles for.
var auditArch = map[string]uint32{"amd64": unix.AUDIT_ARCH_X86_64, "arm64": unix.AUDIT_ARCH_AARCH64}
