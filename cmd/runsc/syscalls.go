package main

import (
	"fmt"
	"strings"

	"gvisor.dev/gvisor/pkg/abi/linux"
	"gvisor.dev/gvisor/pkg/errors"
	"gvisor.dev/gvisor/pkg/errors/linuxerr"
	"gvisor.dev/gvisor/pkg/sentry/arch"
	"gvisor.dev/gvisor/pkg/sentry/kernel"
)

// refused are the system calls the kernel of a sandbox would do for a function and must not, and what they are answered
// with: the free space of the machine's disk, which two tenants share and one of them can change; and namespaces, in
// which a function would be root and reach far more of that kernel. Where clone3 is missing C libraries use clone.
var refused = map[string]*errors.Error{
	"statfs": linuxerr.ENOSYS, "fstatfs": linuxerr.ENOSYS,
	"unshare": linuxerr.EPERM, "setns": linuxerr.EPERM, "clone3": linuxerr.ENOSYS,
}

const namespaces = linux.CLONE_NEWNS | linux.CLONE_NEWUSER | linux.CLONE_NEWPID | linux.CLONE_NEWNET |
	linux.CLONE_NEWIPC | linux.CLONE_NEWUTS | linux.CLONE_NEWCGROUP

// refuseSystemCalls takes them out of the kernel's tables, for every process inside. A filter inside (seccomp) said the
// same until its price was seen: gVisor keeps its verdict on each of 2,001 numbers for each thread, saves them, and after
// a restore asks the filter for all of them again.
func refuseSystemCalls() error {
	for _, table := range kernel.SyscallTables() {
		for name, answer := range refused {
			err := replace(table, name, func(kernel.SyscallFn) kernel.SyscallFn {
				return func(*kernel.Task, uintptr, arch.SyscallArguments) (uintptr, *kernel.SyscallControl, error) {
					return 0, nil, answer
				}
			})
			if err != nil {
				return err
			}
		}
		err := replace(table, "clone", func(clone kernel.SyscallFn) kernel.SyscallFn {
			return func(t *kernel.Task, number uintptr, args arch.SyscallArguments) (uintptr, *kernel.SyscallControl, error) {
				if args[0].Uint64()&namespaces != 0 { // flags come first on amd64 and arm64
					return 0, nil, linuxerr.EPERM
				}
				return clone(t, number, args)
			}
		})
		if err != nil {
			return err
		}
		if err := refuseSharedMemory(table); err != nil {
			return err
		}
		table.Init() // for its table by number
	}
	return nil
}

// sharedMemory is where a C library keeps named semaphores and shared memory. Lambda has none.
const sharedMemory = "/dev/shm/"

// refuseSharedMemory answers the making of a file there as Lambda does, with ENOSYS: programs ask for that error, such as
// Python's multiprocessing, and do without. Where the flags are, by the number of the argument, and the path before them.
func refuseSharedMemory(table *kernel.SyscallTable) error {
	for name, flags := range map[string]int{"open": 1, "openat": 2} {
		if _, err := table.LookupNo(name); err != nil {
			continue // arm64 has no open
		}
		err := replace(table, name, func(open kernel.SyscallFn) kernel.SyscallFn {
			return func(t *kernel.Task, number uintptr, args arch.SyscallArguments) (uintptr, *kernel.SyscallControl, error) {
				if args[flags].Uint()&linux.O_CREAT != 0 {
					path, err := t.CopyInString(args[flags-1].Pointer(), linux.PATH_MAX)
					if err == nil && strings.HasPrefix(path, sharedMemory) {
						return 0, nil, linuxerr.ENOSYS
					}
				}
				return open(t, number, args)
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func replace(table *kernel.SyscallTable, name string, with func(kernel.SyscallFn) kernel.SyscallFn) error {
	number, err := table.LookupNo(name)
	if err != nil {
		return fmt.Errorf("take out a system call: %w", err) // a wall that is not there must not go unnoticed
	}
	call := table.Table[number]
	call.Fn = with(call.Fn)
	table.Table[number] = call
	return nil
}
