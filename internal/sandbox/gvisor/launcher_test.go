package gvisor_test

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"she/internal/sandbox"
	"she/internal/sandbox/gvisor"
	"she/internal/sandbox/gvisor/launch"
)

// memberLists are the files that list the processes of a state directory's cgroups, of those whose name fits pattern.
func memberLists(t *testing.T, state, pattern string) []string {
	t.Helper()
	groups, err := os.ReadFile(filepath.Join(state, "cgroups"))
	if err != nil {
		t.Fatal(err)
	}
	lists, err := filepath.Glob(filepath.Join(strings.Fields(string(groups))[0], pattern, "cgroup.procs"))
	if err != nil {
		t.Fatal(err)
	}
	return lists
}

// launcherOf finds the process that brings up the sandboxes of a state directory; 0 if there is none.
func launcherOf(t *testing.T, state string) int {
	t.Helper()
	for _, list := range memberLists(t, state, "launcher-*") {
		b, err := os.ReadFile(list)
		if err != nil {
			t.Fatal(err)
		}
		if pids := strings.Fields(string(b)); len(pids) == 1 {
			pid, err := strconv.Atoi(pids[0])
			if err != nil {
				t.Fatal(err)
			}
			return pid
		}
	}
	return 0
}

// TestLauncherKilled kills what brings sandboxes up: those that run go on, one that is being made fails as the
// operator's matter, and the next has a new one.
func TestLauncherKilled(t *testing.T) {
	if os.Geteuid() != 0 || testing.Short() {
		t.Skip("needs root, and time for some sandboxes")
	}
	state := t.TempDir()
	m := openIn(t, state, "")
	p := sleeper(t)
	first, _, err := m.Start(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	was := launcherOf(t, state)
	if was == 0 {
		t.Fatal("no launcher runs")
	}
	failed := make(chan error)
	go func() {
		for {
			i, _, err := m.Start(t.Context(), p)
			if err != nil {
				failed <- err
				return
			}
			if err := i.Close(); err != nil {
				t.Error(err)
			}
			if launcherOf(t, state) != was && launcherOf(t, state) != 0 {
				failed <- nil // it was killed between two
				return
			}
		}
	}()
	if err := unix.Kill(was, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	var failure *sandbox.Failure
	if err := <-failed; err != nil && (!errors.As(err, &failure) || failure.Blame != sandbox.Operator || failure.Code != sandbox.StartFailed) {
		t.Errorf("a sandbox whose launcher was killed: %v", err)
	}
	second, _, err := m.Start(t.Context(), p)
	if err != nil {
		t.Fatalf("after its launcher was killed no sandbox starts: %v", err)
	}
	if now := launcherOf(t, state); now == 0 || now == was {
		t.Errorf("the launcher is process %d, before it was %d", now, was)
	}
	if first.Memory() == 0 {
		t.Error("the sandbox that ran ended with its launcher")
	}
	for _, i := range []sandbox.Instance{first, second} {
		if err := i.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	if left := leftovers(t, state); len(left) > 0 {
		t.Errorf("after Close: %s", strings.Join(left, "\n"))
	}
}

// TestSandboxKilled ends a sandbox's processes from outside, as a machine without memory does: before the event, which
// another instance may have then, and in the run. Another sandbox does not notice.
func TestSandboxKilled(t *testing.T) {
	if os.Geteuid() != 0 || testing.Short() {
		t.Skip("needs root, and time for some sandboxes")
	}
	state := t.TempDir()
	m := openIn(t, state, "")
	defer func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
		if left := leftovers(t, state); len(left) > 0 {
			t.Errorf("after Close: %s", strings.Join(left, "\n"))
		}
	}()
	p := sleeper(t)
	start := func() (sandbox.Instance, []int) {
		t.Helper()
		before := sandboxed(t, state)
		i, _, err := m.Start(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		return i, slices.DeleteFunc(sandboxed(t, state), func(pid int) bool { return slices.Contains(before, pid) })
	}
	kill := func(pids []int) {
		if len(pids) == 0 {
			t.Error("a sandbox without processes")
		}
		for _, pid := range pids {
			_ = unix.Kill(pid, unix.SIGKILL) // one may end with another
		}
	}
	other, _ := start()
	for _, when := range []string{"before", "during"} {
		i, pids := start()
		if when == "before" {
			kill(pids)
		} else {
			timer := time.AfterFunc(500*time.Millisecond, func() { kill(pids) })
			defer timer.Stop()
		}
		_, err := i.Run(t.Context(), sandbox.Call{ID: "1", Deadline: time.Now().Add(20 * time.Second), Event: []byte("{}")})
		var failure *sandbox.Failure
		if !errors.As(err, &failure) || failure.Blame != sandbox.Operator || failure.Code != sandbox.Killed {
			t.Errorf("killed %s its event: %v", when, err)
		}
		if err := i.Close(); err != nil {
			t.Error(err)
		}
	}
	if other.Memory() == 0 {
		t.Error("another sandbox ended too")
	}
	if err := other.Close(); err != nil {
		t.Error(err)
	}
}

// working is sleeper's program with an answer: it computes, and makes system calls, for a while. It makes no processes,
// whose memory is new: gVisor says "segmentation fault" to a program that touches new memory just when the process of the
// host that it runs in is lost, and then its author seems to be at fault.
const working = `#!/bin/bash
exec 3<>/dev/tcp/127.0.0.1/9001
printf 'GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\n\r\n' >&3
read -r -u 3 line
end=$((SECONDS + 2))
while [ $SECONDS -lt $end ]; do for n in 1 2 3 4 5 6 7 8 9; do [ -e /var/task/bootstrap ]; done; done
exec 4<>/dev/tcp/127.0.0.1/9001
printf 'POST /2018-06-01/runtime/invocation/1/response HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n1' >&4
sleep 1000
`

// TestOneProcessOfASandboxKilled ends one process after the other, each of another sandbox, while the function works: its
// kernel, its file server, those its code runs in. Whichever it is, the function answers or the operator must act.
func TestOneProcessOfASandboxKilled(t *testing.T) {
	if os.Geteuid() != 0 || testing.Short() {
		t.Skip("needs root, and time for some sandboxes")
	}
	state := t.TempDir()
	m := closes(t, openIn(t, state, ""))
	p := sleeper(t)
	if err := os.WriteFile(filepath.Join(p.Dir, "bootstrap"), []byte(working), 0o755); err != nil {
		t.Fatal(err)
	}
	killed := 0
	for which, of := 0, 1; which < of; which++ {
		i, _, err := m.Start(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		pids := sandboxed(t, state)
		if of = len(pids); of < 4 { // a kernel, a file server, process 1, the function
			t.Errorf("a sandbox has the processes %v", pids)
		}
		pid := pids[min(which, of-1)]
		name := commandOf(pid)
		timer := time.AfterFunc(500*time.Millisecond, func() { _ = unix.Kill(pid, unix.SIGKILL) })
		_, err = i.Run(t.Context(), sandbox.Call{ID: "1", Deadline: time.Now().Add(20 * time.Second), Limit: 20 * time.Second, Event: []byte("{}")})
		timer.Stop()
		var failure *sandbox.Failure
		switch {
		case err == nil:
		case errors.As(err, &failure) && failure.Blame == sandbox.Operator && failure.Code == sandbox.Killed:
			killed++
		default:
			t.Errorf("process %d of %d, %.40q, is killed: %v", which, of, name, err)
		}
		if err := i.Close(); err != nil {
			t.Error(err)
		}
	}
	if killed < 3 { // the kernel, process 1, the function
		t.Errorf("only %d of the sandboxes ended", killed)
	}
}

// TestSandboxesLeaveNoCore: what crashes leaves no image of its memory, neither in a file nor with a program of the machine.
func TestSandboxesLeaveNoCore(t *testing.T) {
	if os.Geteuid() != 0 || testing.Short() {
		t.Skip("needs root, and time for a sandbox")
	}
	state := t.TempDir()
	m := openIn(t, state, "")
	i, _, err := m.Start(t.Context(), sleeper(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range append(sandboxed(t, state), launcherOf(t, state)) {
		dir := filepath.Join("/proc", strconv.Itoa(pid))
		limits, filter := string(content(t, filepath.Join(dir, "limits"))), content(t, filepath.Join(dir, "coredump_filter"))
		if !regexp.MustCompile(`Max core file size +0 +0 `).MatchString(limits) || strings.Trim(string(filter), "0\n") != "" {
			t.Errorf("%q may leave its memory: filter %s%s", content(t, filepath.Join(dir, "cmdline")), filter, limits)
		}
	}
	if err := errors.Join(i.Close(), m.Close()); err != nil {
		t.Error(err)
	}
}

// sandboxed are the processes in the cgroups of a state directory's sandboxes; the launcher's is not among them.
func sandboxed(t *testing.T, state string) (pids []int) {
	t.Helper()
	for _, list := range memberLists(t, state, "*") {
		b, err := os.ReadFile(list)
		if err != nil || strings.Contains(list, "/launcher-") {
			continue
		}
		for _, field := range strings.Fields(string(b)) {
			pid, err := strconv.Atoi(field)
			if err != nil {
				t.Fatal(err)
			}
			pids = append(pids, pid)
		}
	}
	return pids
}

// TestSandboxesGoFirst: when the machine is out of memory its kernel ends sandboxes, and what makes them, before anything
// that has not asked for the same; the server's own score is nobody's business but its operator's.
func TestSandboxesGoFirst(t *testing.T) {
	if os.Geteuid() != 0 || testing.Short() {
		t.Skip("needs root, and time for a sandbox")
	}
	state := t.TempDir()
	score := func(pid int) string {
		b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "oom_score_adj"))
		if err != nil {
			t.Error(err)
		}
		return strings.TrimSpace(string(b))
	}
	own := score(os.Getpid())
	m := openIn(t, state, "")
	i, _, err := m.Start(t.Context(), sleeper(t))
	if err != nil {
		t.Fatal(err)
	}
	pids := append(sandboxed(t, state), launcherOf(t, state))
	if len(pids) < 4 { // the launcher, the sandbox's kernel, its file server, the function's
		t.Errorf("a sandbox has the processes %v", pids)
	}
	for _, pid := range pids {
		if got := score(pid); got != strconv.Itoa(sandbox.Expendable) {
			name := commandOf(pid)
			t.Errorf("oom_score_adj of %q is %s", name, got)
		}
	}
	if now := score(os.Getpid()); now != own {
		t.Errorf("the server's was %s and is %s", own, now)
	}
	if err := errors.Join(i.Close(), m.Close()); err != nil {
		t.Error(err)
	}
}

// TestForeignProgram uses something for gVisor's program that is not ours, from the start or put there later.
func TestForeignProgram(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("sandboxes need root")
	}
	c := gvisor.Config{Runsc: "/bin/true", Init: helpers.init, State: t.TempDir()}
	if _, err := gvisor.New(c); err == nil || !strings.Contains(err.Error(), "/bin/true was not built for this version of she") || !strings.Contains(err.Error(), "make build") {
		t.Errorf("with a program that does not fit: %v", err)
	}
	c.Runsc = filepath.Join(t.TempDir(), "runsc")
	if err := os.WriteFile(c.Runsc, []byte("#!/bin/sh\n[ \"$2\" = version ] && echo "+launch.Stamp()), 0o755); err != nil {
		t.Fatal(err)
	}
	m, err := gvisor.New(c)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	var failure *sandbox.Failure
	if _, _, err := m.Start(t.Context(), sleeper(t)); !errors.As(err, &failure) || failure.Code != sandbox.StartFailed || !strings.Contains(failure.Text, "make build") {
		t.Errorf("with another program in runsc's place: %v", err)
	}
}
