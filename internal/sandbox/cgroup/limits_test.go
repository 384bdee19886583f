package cgroup_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"she/internal/sandbox/cgroup"
)

// memberEnv makes this test program a member of a group that does what it is told there; the tests use whatever version
// of cgroups the machine has.
const memberEnv = "SHE_TEST_MEMBER"

func TestMain(m *testing.M) {
	if what := os.Getenv(memberEnv); what != "" {
		member(what)
	}
	goleak.VerifyTestMain(m)
}

// member says on standard output when it has begun, and what came of it, and waits to be killed.
func member(what string) {
	fmt.Println("here")
	switch what {
	case "eat":
		const block = 1 << 20
		for kept := [][]byte{}; ; {
			kept = append(kept, bytes.Repeat([]byte{1}, block))
		}
	case "spin":
		for began := time.Now(); time.Since(began) < 3*time.Second; {
		}
		fmt.Println("done")
	case "fork":
		// Threads that wait, because the runtime ends the program if it gets no new one at the limit. Children have one
		// each: a Go program that is started at the limit ends, and makes room for another.
		var have, end sync.WaitGroup
		have.Add(spareThreads)
		for range spareThreads {
			end.Go(func() {
				runtime.LockOSThread()
				defer runtime.UnlockOSThread()
				have.Done()
				have.Wait()
			})
		}
		end.Wait()
		children := 0
		for ; ; children++ {
			child := exec.Command("/bin/sleep", "600")
			child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
			if err := child.Start(); err != nil {
				fmt.Println(children, errors.Is(err, unix.EAGAIN))
				break
			}
		}
	}
	_ = unix.Pause()
}

type fixture struct {
	*testing.T
	tree *cgroup.Tree
	list string
}

func openTree(t *testing.T) fixture {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("cgroups are made by root")
	}
	f := fixture{T: t, list: filepath.Join(t.TempDir(), "cgroups")}
	f.tree = f.open("she-test-" + strconv.Itoa(os.Getpid()))
	return f
}

func (f fixture) open(name string) *cgroup.Tree {
	f.Helper()
	tree, err := cgroup.Open(f.Context(), name, f.list)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		if err := tree.Close(context.Background()); err != nil {
			f.Error(err)
		}
	})
	return tree
}

const roomy, many, spareThreads = 256 << 20, 64, 8

// start makes a group and starts a member in it, which has begun when this returns.
func (f fixture) start(memory int64, pids int, cpus float64, what string) (*cgroup.Group, *exec.Cmd, func() string) {
	f.Helper()
	g, err := f.tree.Create("box", memory, pids)
	if err != nil {
		f.Fatal(err)
	}
	if cpus > 0 {
		if err := g.Throttle(cpus); err != nil {
			f.Fatal(err)
		}
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{memberEnv + "=" + what}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	r, w, err := os.Pipe()
	if err != nil {
		f.Fatal(err)
	}
	cmd.Stdout = w
	err = g.Start(cmd)
	_ = w.Close()
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = r.Close() })
	line := func() string {
		var line []byte
		for b := make([]byte, 1); ; line = append(line, b[0]) {
			if n, err := r.Read(b); n == 0 || b[0] == '\n' {
				if err != nil {
					line = append(line, err.Error()...)
				}
				return string(line)
			}
		}
	}
	if said := line(); said != "here" {
		f.Fatalf("the member said %q", said)
	}
	return g, cmd, line
}

// end kills and removes a group, and looks for what is left of it.
func (f fixture) end(g *cgroup.Group, cmd *exec.Cmd) {
	f.Helper()
	ctx, cancel := context.WithTimeout(f.Context(), 30*time.Second)
	defer cancel()
	if err := g.Kill(ctx); err != nil {
		f.Error(err)
	}
	_ = cmd.Wait()
	if err := g.Remove(ctx); err != nil {
		f.Error(err)
	}
	for _, dir := range g.Dirs() {
		if _, err := os.Stat(dir); err == nil {
			f.Errorf("%s is left", dir)
		}
	}
}

// A member is in the group in every hierarchy from its first instruction on, and so is what it starts; all of it is
// killed at once.
func TestMembersAreBornInTheGroup(t *testing.T) {
	f := openTree(t)
	g, cmd, line := f.start(roomy, many, 0, "fork")
	if said := line(); !strings.HasSuffix(said, " true") {
		t.Errorf("the limit of processes did not show as EAGAIN: %s", said)
	} else if n, _ := strconv.Atoi(strings.Fields(said)[0]); n < 1 || n > many {
		t.Errorf("%d children of at most %d processes and threads", n, many)
	}
	for _, dir := range g.Dirs() {
		b, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		pids := strings.Fields(string(b))
		if err != nil || len(pids) < 2 || !slices.Contains(pids, strconv.Itoa(cmd.Process.Pid)) {
			t.Errorf("in %s are %v, and not process %d and its children: %v", dir, pids, cmd.Process.Pid, err)
		}
	}
	if g.Memory() == 0 {
		t.Error("it takes no memory")
	}
	f.end(g, cmd)
	if err := cmd.ProcessState; err == nil || err.Success() {
		t.Errorf("killed, it ended with %v", err)
	}
}

func TestMemoryLimit(t *testing.T) {
	f := openTree(t)
	const limit int64 = 64 << 20
	g, cmd, _ := f.start(limit, many, 0, "eat")
	if err := cmd.Wait(); err == nil || cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != unix.SIGKILL {
		t.Fatalf("who eats more than there is ended with %v", err)
	}
	if why := g.OutOfMemory(); why != cgroup.LimitReached {
		t.Errorf("it was killed for %q, want %q", why, cgroup.LimitReached)
	}
	if most, cpu := g.Usage(); most > limit+1<<20 || most != 0 && most < limit/2 || cpu == 0 {
		t.Errorf("of %d bytes it had at most %d, and %s of CPU", limit, most, cpu)
	}
	f.end(g, cmd)

	g, cmd, _ = f.start(limit, many, 0, "wait")
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if why := g.OutOfMemory(); why != cgroup.NoShortage {
		t.Errorf("it was killed by us, and the group says %q", why)
	}
	f.end(g, cmd)
}

// A limit above the group's own stands for the machine's memory, which the kernel treats alike: who keeps to its limit is
// not blamed.
func TestMemoryAboveTheLimit(t *testing.T) {
	f := openTree(t)
	g, cmd, _ := f.start(roomy, many, 0, "wait")
	file := "memory.max"
	var above string
	for _, dir := range g.Dirs() {
		if _, err := os.Stat(filepath.Join(dir, "memory.limit_in_bytes")); err == nil {
			above, file = filepath.Dir(dir), "memory.limit_in_bytes"
		} else if _, err := os.Stat(filepath.Join(dir, file)); err == nil {
			above = filepath.Dir(dir)
		}
	}
	f.end(g, cmd)
	if err := os.WriteFile(filepath.Join(above, file), []byte(strconv.Itoa(roomy/4)), 0); err != nil {
		t.Fatal(err)
	}
	g, cmd, _ = f.start(roomy, many, 0, "eat")
	if err := cmd.Wait(); err == nil || cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != unix.SIGKILL {
		t.Fatalf("who eats more than there is ended with %v", err)
	}
	if why := g.OutOfMemory(); why != cgroup.MachineExceeded {
		t.Errorf("it was killed for %q, want %q", why, cgroup.MachineExceeded)
	}
	f.end(g, cmd)
}

// The share is an upper bound; how much less a busy machine gives can't be tested.
func TestThrottle(t *testing.T) {
	f := openTree(t)
	const share = 0.2
	began := time.Now()
	g, cmd, line := f.start(roomy, many, share, "spin")
	if said := line(); said != "done" {
		t.Fatal(said)
	}
	_, cpu := g.Usage()
	// A period's share may be used at its beginning, by each processor in slices of 5 ms.
	most := time.Duration(share*float64(time.Since(began)+time.Second)) + 50*time.Millisecond
	if cpu == 0 || cpu > most {
		t.Errorf("with %.1f CPUs it used %s in %s, want at most %s", share, cpu, time.Since(began), most)
	}
	f.end(g, cmd)
}

// Two mechanisms have a tree each, in the same place, and a second life finds what the first left in either.
func TestTreesOfTwoLives(t *testing.T) {
	f := openTree(t)
	g, cmd, _ := f.start(roomy, many, 0, "fork")
	if err := os.Rename(f.list, f.list+".first"); err != nil {
		t.Fatal(err)
	}
	other := f.open("she-other-" + strconv.Itoa(os.Getpid()))
	h, err := other.Create("box", roomy, many)
	if err != nil {
		t.Fatal(err)
	}
	for i, dir := range g.Dirs() {
		if place, second := filepath.Dir(filepath.Dir(dir)), filepath.Dir(filepath.Dir(h.Dirs()[i])); place != second {
			t.Errorf("one tree is in %s, the other in %s", place, second)
		}
	}
	if err := os.Rename(f.list+".first", f.list); err != nil {
		t.Fatal(err)
	}
	f.open("she-test-" + strconv.Itoa(os.Getpid()))
	_ = cmd.Wait()
	for _, dir := range g.Dirs() {
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s outlived its server", dir)
		}
	}
	if _, err := os.Stat(h.Dirs()[0]); err != nil {
		t.Errorf("another server's group is gone: %v", err)
	}
}

// What the machine can do is said before any of it is tried.
func TestKind(t *testing.T) {
	openTree(t)
	kind, missing, err := cgroup.Kind()
	if err != nil || len(missing) > 0 {
		t.Errorf("%s without %v, %v, and yet a tree was made", kind, missing, err)
	}
}
