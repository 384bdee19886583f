package main

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/errors/linuxerr"
	"gvisor.dev/gvisor/pkg/sentry/arch"
	"gvisor.dev/gvisor/pkg/sentry/kernel"
	_ "gvisor.dev/gvisor/pkg/sentry/syscalls/linux" // has the tables
)

// TestRefusedSystemCalls asks the tables as the kernel of a sandbox does, by number. That a function is refused too is
// seen by the probes of package seal.
func TestRefusedSystemCalls(t *testing.T) {
	reached := errors.New("gVisor's own clone")
	tables := kernel.SyscallTables()
	if len(tables) == 0 {
		t.Fatal("no tables")
	}
	for _, table := range tables { // to tell what is let through without a task that does it
		if err := replace(table, "clone", func(kernel.SyscallFn) kernel.SyscallFn {
			return func(*kernel.Task, uintptr, arch.SyscallArguments) (uintptr, *kernel.SyscallControl, error) {
				return 0, nil, reached
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := refuseSystemCalls(); err != nil {
		t.Fatal(err)
	}
	clone := func(flags uintptr) (args arch.SyscallArguments) {
		args[0].Value = flags
		return args
	}
	const thread = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND | unix.CLONE_THREAD
	for _, c := range []struct {
		name string
		args arch.SyscallArguments
		want error
	}{
		{"statfs", arch.SyscallArguments{}, linuxerr.ENOSYS},
		{"fstatfs", arch.SyscallArguments{}, linuxerr.ENOSYS},
		{"unshare", clone(0), linuxerr.EPERM},
		{"setns", arch.SyscallArguments{}, linuxerr.EPERM},
		{"clone3", arch.SyscallArguments{}, linuxerr.ENOSYS},
		{"clone", clone(unix.CLONE_NEWUSER), linuxerr.EPERM},
		{"clone", clone(unix.CLONE_NEWNS | uintptr(unix.SIGCHLD)), linuxerr.EPERM},
		{"clone", clone(unix.CLONE_NEWPID | thread), linuxerr.EPERM},
		{"clone", clone(unix.CLONE_NEWNET), linuxerr.EPERM},
		{"clone", clone(unix.CLONE_NEWIPC), linuxerr.EPERM},
		{"clone", clone(unix.CLONE_NEWUTS), linuxerr.EPERM},
		{"clone", clone(unix.CLONE_NEWCGROUP), linuxerr.EPERM},
		{"clone", clone(thread), reached},
		{"clone", clone(uintptr(unix.SIGCHLD)), reached},
	} {
		for _, table := range tables {
			number, err := table.LookupNo(c.name)
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := table.Lookup(number)(nil, number, c.args); !errors.Is(err, c.want) {
				t.Errorf("%s(%#x): %v, want %v", c.name, c.args[0].Value, err, c.want)
			}
		}
	}
	for _, table := range tables {
		if err := replace(table, "no such call", nil); err == nil {
			t.Error("a call that is not there is replaced")
		}
	}
}
