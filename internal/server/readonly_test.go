package server

import (
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"she/internal/config"
)

// On a read-only file system, a command that has to write fails with an error that says so and what to do.
func TestReadOnlyFileSystem(t *testing.T) {
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	_, end, err := Command(t.Context(), data, config.Config{}, Creates)
	if err != nil {
		t.Fatal(err)
	}
	if err := end(); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
		t.Skipf("no mounts here: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
		t.Skipf("no mounts here: %v", err)
	}
	if _, _, err := Command(t.Context(), data, config.Config{}, Changes); err == nil || !strings.Contains(err.Error(), "on a read-only file system, and this needs to write there") {
		t.Errorf("got %v", err)
	}
	_, end, err = Command(t.Context(), data, config.Config{}, Reads)
	if err != nil {
		t.Fatalf("reading: %v", err)
	}
	if err := end(); err != nil {
		t.Error(err)
	}
}
