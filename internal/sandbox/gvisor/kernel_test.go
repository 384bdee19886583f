package gvisor_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"she/internal/sandbox"
	"she/internal/sandbox/gvisor"
)

// onImages opens a mechanism whose sandboxes need no file server, with the program's images made.
func onImages(t *testing.T, state string, p sandbox.Program) (m *gvisor.Mechanism, image string) {
	t.Helper()
	if os.Geteuid() != 0 || testing.Short() {
		t.Skip("needs root, and time for some sandboxes")
	}
	m = closes(t, openIn(t, state, t.TempDir()))
	image = filepath.Join(t.TempDir(), "image")
	if _, err := m.Checkpoint(t.Context(), p, nil, image); err != nil {
		t.Fatal(err)
	}
	return m, image
}

// TestSandboxesAreMadeSideBySide has the making of one sandbox stand still, and others come up meanwhile.
func TestSandboxesAreMadeSideBySide(t *testing.T) {
	p := sleeper(t)
	m, image := onImages(t, t.TempDir(), p)
	reached, held := filepath.Join(t.TempDir(), "root"), filepath.Join(t.TempDir(), "own")
	for _, pipe := range []string{reached, held} { // whoever opens one waits for the other end
		if err := unix.Mkfifo(pipe, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	failed := make(chan error)
	go func() {
		_, err := m.StartOn(t.Context(), p, reached, held)
		failed <- err
	}()
	first, err := os.OpenFile(reached, os.O_WRONLY, 0) // from here on it can't go further than the second
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // where they queue up, this would never end
	defer cancel()
	made := make(chan error)
	const others = 3
	for n := range others {
		go func() {
			var i sandbox.Instance
			var err error
			if n == 0 {
				i, _, err = m.Start(ctx, p)
			} else {
				i, err = m.Restore(ctx, p, image)
			}
			if err == nil {
				err = i.Close()
			}
			made <- err
		}()
	}
	for range others {
		if err := <-made; err != nil {
			t.Errorf("while another is being made: %v", err)
		}
	}
	second, err := os.OpenFile(held, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []*os.File{first, second} {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := <-failed; err == nil {
		t.Error("a sandbox started on what is no image")
	}
}

// launcherMemory is what the launcher of a state directory is charged for.
func launcherMemory(t *testing.T, state string) int64 {
	t.Helper()
	lists := memberLists(t, state, "launcher-*")
	if len(lists) != 1 {
		t.Fatalf("the launchers are %v", lists)
	}
	name := filepath.Base(filepath.Dir(lists[0]))
	groups := strings.Fields(string(content(t, filepath.Join(state, "cgroups"))))
	for _, group := range groups {
		for _, file := range []string{"memory.usage_in_bytes", "memory.current"} {
			if b, err := os.ReadFile(filepath.Join(group, name, file)); err == nil {
				n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
				if err != nil {
					t.Fatal(err)
				}
				return n
			}
		}
	}
	t.Fatal("no cgroup tells the launcher's memory")
	return 0
}

// TestSandboxesAreChargedForThemselves: what the processes of sandboxes use is theirs from the first page on. Charged to
// the launcher, some dozens at once are more than it may have.
func TestSandboxesAreChargedForThemselves(t *testing.T) {
	p, state := sleeper(t), t.TempDir()
	m, image := onImages(t, state, p)
	before := launcherMemory(t, state)
	const copies, each = 8, 4 << 20 // of the 10 MB at least that a kernel has used when it is up
	for range copies {
		i, err := m.Restore(t.Context(), p, image)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := i.Close(); err != nil {
				t.Error(err)
			}
		}()
		if i.Memory() < each {
			t.Errorf("a sandbox is charged for %d bytes", i.Memory())
		}
	}
	if more := launcherMemory(t, state) - before; more > copies*each {
		t.Errorf("%d sandboxes had the launcher charged for %d bytes", copies, more)
	}
}

var tableSize = regexp.MustCompile(`(?m)^FDSize:\s*([0-9]+)$`)

// TestSandboxesGetALargeTable: a sandbox's kernel need not make its table of descriptors larger while it starts, whatever
// table this process has.
func TestSandboxesGetALargeTable(t *testing.T) {
	p, state := sleeper(t), t.TempDir()
	onImages(t, state, p)
	status := content(t, filepath.Join("/proc", strconv.Itoa(launcherOf(t, state)), "status"))
	found := tableSize.FindSubmatch(status)
	if found == nil {
		t.Fatalf("no size of a table in %s", bytes.TrimSpace(status))
	}
	if size, err := strconv.Atoi(string(found[1])); err != nil || size < 256 {
		t.Errorf("the launcher's table of descriptors, and so that of its children, has %d places", size)
	}
}
