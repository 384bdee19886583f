package invoke_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"she/internal/invoke"
	"she/internal/sandbox"
)

var soakFor = flag.Duration("soak", 20*time.Second, "how long TestSoak keeps many tenants' functions running; 10m is the whole of it")

// TestSoak calls five functions, one in each language, for a hundred tenants: most calls are answered, others flood their
// log, fill their disk, eat their memory, sleep with a busy child, are cancelled. After each quarter, with nothing waiting
// any more, whatever the walls take on the host is counted: at the end it must be no more than after the first, and the
// memory little more than half way.
func TestSoak(t *testing.T) {
	slow(t)
	const rounds = 4
	s := &soak{outcomes: map[string]int{}}
	for _, f := range edgeFunctions {
		c := f.code(t)
		c.Package, c.Timeout, c.TmpMB = "sha256:soak-"+f.language, 2*time.Minute, 16
		s.functions = append(s.functions, c)
	}
	s.v = openInvoker(t, invoke.Config{Images: t.TempDir(), WaitingBytes: 1 << 30, Find: testDotnet})
	host := host(filepath.Dir(t.TempDir()))
	var after []census
	for n := range rounds {
		s.round(t, *soakFor/rounds)
		after = append(after, s.drain(t, host, after))
		t.Logf("after quarter %d: %s", n+1, after[n])
		// An image that is being made while its package is forgotten stays until nobody has used it for some time.
		if most := 3 * len(s.functions); after[n].images > most {
			t.Errorf("%d files are images of packages; for %d packages there may be %d", after[n].images, len(s.functions), most)
		}
		if after[n].skeleton > 200 { // some dozens, each once
			t.Errorf("the skeleton has %d entries", after[n].skeleton)
		}
	}
	t.Logf("calls: %v", s.outcomes)
	first, half, last := after[0], after[rounds/2-1], after[rounds-1]
	if more := last.beyond(first); more != "" {
		t.Errorf("more than after the first quarter: %s", more)
	}
	const room = 4 << 20 // what a garbage collector leaves now and not then
	for what, n := range last.bytes {
		if n > half.bytes[what]*5/4+room {
			t.Errorf("%s: %d KiB half way, %d at the end", what, half.bytes[what]>>10, n>>10)
		}
	}
}

// drain lets nothing wait any more, and counts when that is done: what is discarded goes away beside everything else.
// Who looks at a process from outside can only look again.
func (s *soak) drain(t *testing.T, h host, before []census) (c census) {
	for _, f := range s.functions {
		s.v.Forget(f.Package)
	}
	s.v.Settle()
	deadline, tick := time.After(time.Minute), time.NewTicker(100*time.Millisecond)
	defer tick.Stop()
	for {
		if c = h.count(t); len(before) > 0 && c.beyond(before[0]) == "" || len(before) == 0 && c.counts["sandboxes"] == 0 {
			return c
		}
		select {
		case <-deadline:
			return c
		case <-tick.C:
		}
	}
}

type soak struct {
	v         *invoke.Invoker
	functions []invoke.Code

	mu       sync.Mutex
	outcomes map[string]int
}

// round has more callers than there are places, for a time, and at least one call of each function.
func (s *soak) round(t *testing.T, d time.Duration) {
	end := time.Now().Add(d)
	var callers sync.WaitGroup
	for i := range len(s.functions) * 2 {
		callers.Go(func() {
			for c := s.functions[i%len(s.functions)]; ; c = s.functions[rand.IntN(len(s.functions))] {
				s.call(t, c, invoke.Tenant(fmt.Sprint("tenant", rand.IntN(100))))
				if time.Now().After(end) {
					return
				}
			}
		})
	}
	callers.Wait()
}

func (s *soak) call(t *testing.T, c invoke.Code, tenant invoke.Tenant) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n := 10_000 + rand.IntN(8_000)
	event, want, code := fmt.Sprintf(`{"do":"length","text":"%s"}`, strings.Repeat("e", n)), fmt.Sprint(n), ""
	switch chance := rand.IntN(100); {
	case chance < 3:
		event, want, code = `{"do":"eat"}`, "", sandbox.OutOfMemory
	case chance < 6:
		event, want, code, c.Timeout = `{"do":"sleep"}`, "", sandbox.Timedout, time.Second
	case chance < 9:
		time.AfterFunc(time.Duration(rand.IntN(300))*time.Millisecond, cancel)
		event, want, code = `{"do":"sleep"}`, "", "cancelled"
	case chance < 12:
		event, want, code = `{"do":"size","size":6291457}`, "", sandbox.ResponseSizeTooLarge
	case chance < 16:
		event, want = `{"do":"fill"}`, `[16777216,"ENOSPC"]`
	case chance < 20:
		event, want = `{"do":"log","size":1000000}`, "null"
	case chance < 24:
		event, want = `{"do":"size","size":100}`, `"`+strings.Repeat("x", 98)+`"`
	}
	a, err := s.v.Invoke(ctx, request(c, tenant, event))
	var f *invoke.Failure
	got := ""
	switch {
	case errors.As(err, &f):
		got = f.Code
	case errors.Is(err, context.Canceled):
		got = "cancelled"
	case err != nil:
		got = err.Error()
	}
	if got != code || code == "" && strings.ReplaceAll(string(a.Payload), ", ", ",") != want {
		t.Errorf("%s %.20s: %q, want %q: %v %.100s", c.Runtime, event, got, code, err, a.Payload)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.outcomes["all"]++
	if a.Start != "" { // else it was cancelled before
		s.outcomes[string(a.Start)]++
	}
	if code == "" {
		code = "answered"
	}
	s.outcomes[code]++
}

// A census is what this process, its descendants and its sandboxes take on the host.
type census struct {
	counts, bytes map[string]int
	images        int // files that are images of packages, three for each: as many as were asked for last
	skeleton      int // entries of the skeleton: a mount point is made once, when a sandbox without images first needs it
}

func (c census) String() string {
	return fmt.Sprintf("%v, images %d, skeleton %d, heap %d KiB, resident %d KiB", c.counts, c.images, c.skeleton, c.bytes["heap"]>>10, c.bytes["resident"]>>10)
}

// beyond names what there is more of than there was. A few descriptors and goroutines come and go with what the
// launcher and the runtimes of Go do for themselves; a leak is one for each of hundreds of calls.
func (c census) beyond(earlier census) (more string) {
	for what, n := range c.counts {
		few := 0
		if what == "descriptors" || what == "goroutines" {
			few = 8
		}
		if n > earlier.counts[what]+few {
			more += fmt.Sprintf(" %s %d > %d", what, n, earlier.counts[what])
		}
	}
	return more
}

func (h host) count(t *testing.T) census {
	t.Helper()
	c := census{
		counts: map[string]int{"goroutines": runtime.NumGoroutine(), "in cgroups": h.processes(t)},
		bytes:  map[string]int{},
	}
	for _, group := range h.groups(t) {
		c.counts["cgroups"] += entries(group, fs.FileMode.IsDir)
		run := filepath.Join("/run", filepath.Base(group))
		c.counts["files"] += entries(run, nil)
		c.counts["sandboxes"] += max(0, entries(filepath.Join(run, "box"), nil)-1)
	}
	states, _ := filepath.Glob(filepath.Join(string(h), "*/state"))
	for _, state := range states {
		images := entries(filepath.Join(state, "files"), fs.FileMode.IsRegular)
		skeleton := entries(filepath.Join(state, "skeleton"), nil)
		c.counts["files"] += entries(state, nil) - images - skeleton
		c.images += images
		c.skeleton = max(c.skeleton, skeleton)
	}
	for _, pid := range append(descendants(t, os.Getpid()), os.Getpid()) {
		proc := filepath.Join("/proc", strconv.Itoa(pid))
		c.counts["processes"]++
		fds, _ := os.ReadDir(filepath.Join(proc, "fd")) // it may have ended
		c.counts["descriptors"] += len(fds)
		mounts, _ := os.ReadFile(filepath.Join(proc, "mountinfo"))
		c.counts["mounts"] += strings.Count(string(mounts), string(h))
		var pages int
		statm, _ := os.ReadFile(filepath.Join(proc, "statm"))
		_, _ = fmt.Sscan(string(statm), new(int), &pages)
		c.bytes["resident"] += pages * os.Getpagesize()
	}
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	c.bytes["heap"] = int(m.HeapAlloc)
	return c
}

// entries counts what is below a directory; is may say of what kind.
func entries(dir string, is func(fs.FileMode) bool) (n int) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && (is == nil || is(d.Type())) {
			n++
		}
		return nil
	})
	return n
}

// descendants of a process, by proc_pid_stat(5).
func descendants(t testing.TB, of int) (all []int) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	children := map[int][]int{}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		var state string
		var parent int
		if _, err := fmt.Sscan(string(b[strings.LastIndexByte(string(b), ')')+1:]), &state, &parent); err == nil {
			children[parent] = append(children[parent], pid)
		}
	}
	for next := []int{of}; len(next) > 0; next = next[1:] {
		all = append(all, children[next[0]]...)
		next = append(next, children[next[0]]...)
	}
	return all
}
