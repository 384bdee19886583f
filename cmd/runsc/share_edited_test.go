//go:build edited

package main

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"
	"gvisor.dev/gvisor/pkg/sentry/mm"
)

// TestPagesThatCanChangeAreRefused: a sandbox's kernel takes no pages that somebody could still write, cut off or lengthen.
func TestPagesThatCanChangeAreRefused(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "pages"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	fds := map[string]int{"a file of the disk": int(file.Fd()), "nothing": -1}
	for name, seals := range map[string]int{
		"no seal":           0,
		"may be written":    unix.F_SEAL_SHRINK | unix.F_SEAL_GROW,
		"may be cut off":    unix.F_SEAL_WRITE | unix.F_SEAL_GROW,
		"may be lengthened": unix.F_SEAL_WRITE | unix.F_SEAL_SHRINK,
	} {
		fd, err := unix.MemfdCreate("pages", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		if err := unix.Ftruncate(fd, hostarch.PageSize); err != nil {
			t.Fatal(err)
		}
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
			t.Fatal(err)
		}
		fds[name] = fd
	}
	for name, fd := range fds {
		if err := useSnapshot(fd); err == nil || mm.HasSnapshot() {
			t.Errorf("%s: it is used, %v", name, err)
		}
	}
	args := []string{"runsc-sandbox", snapshotFlag + strconv.Itoa(fds["no seal"]), "boot"}
	if _, err := takeSnapshot(args); err == nil {
		t.Error("the kernel of a sandbox takes pages that are not sealed")
	}
	if _, err := takeSnapshot([]string{"runsc-sandbox", snapshotFlag + "x", "boot"}); err == nil {
		t.Error("the kernel of a sandbox takes a descriptor that is none")
	}
	if rest, err := takeSnapshot([]string{"runsc-sandbox", "boot", snapshotFlag + "5"}); err != nil || len(rest) != 3 {
		t.Errorf("gVisor's own arguments are taken for ours: %v %v", rest, err)
	}
}
