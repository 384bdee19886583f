package invoke_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"she/internal/invoke"
	"she/internal/sandbox"
)

// edgeFunctions are the same function in each language: it goes to one limit and says how far it came. What counts
// against the limit of processes are threads, where the language has them, and else processes, of which 1024 would be a
// minute of work for each.
var edgeFunctions = []struct {
	language  string
	processes int // the limit; 0 means the default
	code      func(t *testing.T) invoke.Code
}{
	{"python", 0, func(t *testing.T) invoke.Code {
		return function(t, "python3.11", "edges.handler", map[string]string{"edges.py": source(t, "testdata/edges/edges.py")})
	}},
	{"nodejs", 128, func(t *testing.T) invoke.Code {
		return function(t, "nodejs20.x", "edges.handler", map[string]string{"edges.js": source(t, "testdata/edges/edges.js")})
	}},
	{"java", 0, func(t *testing.T) invoke.Code { return javaCode(t, javaClasses(t))("edges.Edges::handle") }},
	{"dotnet", 0, func(t *testing.T) invoke.Code { return dotnetCode(t, dotnetPackage(t), "Edges::Tests.Edges::Handle") }},
	{"go", 128, func(t *testing.T) invoke.Code { return golambda(t) }},
}

// TestEdges holds the limits at their exact edge, in every language: at it all is well, one beyond is refused.
func TestEdges(t *testing.T) {
	slow(t)
	t.Parallel()
	for _, f := range edgeFunctions {
		t.Run(f.language, func(t *testing.T) {
			t.Parallel()
			v := openInvoker(t, invoke.Config{WaitingBytes: -1, Find: testDotnet})
			host := host(filepath.Dir(t.TempDir()))
			c := f.code(t)
			c.Timeout, c.MemoryMB, c.Processes = time.Minute, 512, f.processes
			for name, test := range map[string]func(*testing.T, *invoke.Invoker, invoke.Code){
				"answer": edgeOfAnswer, "request": edgeOfRequest, "tmp": host.edgeOfTmp, "files": edgeOfFiles,
				"processes": edgeOfProcesses, "memory": edgeOfMemory, "time": host.edgeOfTime, "log": edgeOfLog,
			} {
				t.Run(name, func(t *testing.T) { test(t, v, c) })
			}
		})
	}
}

func edgeOfAnswer(t *testing.T, v *invoke.Invoker, c invoke.Code) {
	a, err := ask(t, v, c, fmt.Sprintf(`{"do":"size","size":%d}`, sandbox.MaxAnswer))
	if err != nil || len(a.Payload) != sandbox.MaxAnswer {
		t.Errorf("the largest answer: %d bytes, %v", len(a.Payload), err)
	}
	a, err = ask(t, v, c, fmt.Sprintf(`{"do":"size","size":%d}`, sandbox.MaxAnswer+1))
	var f *invoke.Failure
	if !errors.As(err, &f) || f.Blame != invoke.Author || f.Code != sandbox.ResponseSizeTooLarge {
		t.Errorf("one byte more: %v", err)
	}
	if len(a.Payload) > 1000 {
		t.Errorf("%d bytes of an answer that is too large came through", len(a.Payload))
	}
}

func edgeOfRequest(t *testing.T, v *invoke.Invoker, c invoke.Code) {
	const head, tail = `{"do":"length","text":"`, `"}`
	n := sandbox.MaxEvent - len(head+tail)
	wantAnswer(t, v, c, head+strings.Repeat("e", n)+tail, fmt.Sprint(n))
	wantFailure(t, v, c, head+strings.Repeat("e", n+1)+tail, invoke.Author, sandbox.RequestTooLarge, "")
}

// edgeOfTmp: full inside; outside, the space it took is free again.
func (h host) edgeOfTmp(t *testing.T, v *invoke.Invoker, c invoke.Code) {
	c.TmpMB = 48
	wantAnswer(t, v, c, `{"do":"length","text":"e"}`, "1") // from now on the image of its package is there
	v.Settle()
	before := h.stateBytes(t)
	if n, said := edge(t, v, c, `{"do":"fill"}`); said != "ENOSPC" || n > 48<<20 || n < 47<<20 {
		t.Errorf("48 MiB of /tmp took %d bytes, then %q", n, said)
	}
	v.Settle()
	if left := h.stateBytes(t) - before; left > 1<<20 {
		t.Errorf("%d bytes of it are left on the host", left)
	}
}

func edgeOfFiles(t *testing.T, v *invoke.Invoker, c invoke.Code) {
	// The runtime has some open itself; a JVM and .NET the files their classes are in.
	if n, said := edge(t, v, c, `{"do":"files"}`); said != "EMFILE" || n > invoke.DefaultFiles-3 || n < invoke.DefaultFiles-200 {
		t.Errorf("%d files could be opened, then %q; the limit is %d", n, said, invoke.DefaultFiles)
	}
}

func edgeOfProcesses(t *testing.T, v *invoke.Invoker, c invoke.Code) {
	limit := c.Processes
	if limit == 0 {
		limit = invoke.DefaultProcesses
	}
	c.MemoryMB = invoke.MaxMemoryMB // a process costs a few MB in the walls, and memory is not to end first
	// The runtime has threads of its own, and a few are allowed for process 1.
	if n, said := edge(t, v, c, fmt.Sprintf(`{"do":"processes","size":%d}`, limit)); said != "EAGAIN" || n > limit+16 || n < limit-64 {
		t.Errorf("%d processes or threads could be started, then %q; the limit is %d", n, said, limit)
	}
}

func edgeOfMemory(t *testing.T, v *invoke.Invoker, c invoke.Code) {
	c.MemoryMB = 256
	wantFailure(t, v, c, `{"do":"eat"}`, invoke.Author, sandbox.OutOfMemory, "")
}

// edgeOfTime: at the deadline all is killed, a child in a session of its own that is deaf to signals too.
func (h host) edgeOfTime(t *testing.T, v *invoke.Invoker, c invoke.Code) {
	// What the mechanism itself keeps from the first call on is not the sandbox's.
	wantAnswer(t, v, c, `{"do":"size","size":2}`, `""`)
	v.Settle()
	before := h.processes(t)
	c.Timeout = 2 * time.Second
	during := make(chan int, 1)
	timer := time.AfterFunc(c.Timeout/2, func() { during <- h.processes(t) })
	defer timer.Stop()
	a, err := ask(t, v, c, `{"do":"sleep"}`)
	var f *invoke.Failure
	if !errors.As(err, &f) || f.Blame != invoke.Author || f.Code != sandbox.Timedout {
		t.Errorf("got %v", err)
	}
	if a.Timing.Run < c.Timeout {
		t.Errorf("ended after %s, the limit is %s", a.Timing.Run, c.Timeout)
	}
	// Only a child that is there and busy can have used so much.
	if a.Usage.CPU < c.Timeout/20 {
		t.Errorf("the child used %s of processor time", a.Usage.CPU)
	}
	if n := <-during; n <= before {
		t.Error("no process of the sandbox was seen while it ran: this test would not notice one that is left")
	}
	v.Settle()
	if n := h.processes(t) - before; n > 0 {
		t.Errorf("%d processes of the sandbox are left", n)
	}
}

func edgeOfLog(t *testing.T, v *invoke.Invoker, c invoke.Code) {
	flood := func(size int) []byte {
		a, err := ask(t, v, c, fmt.Sprintf(`{"do":"log","size":%d}`, size))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.HasPrefix(a.Log, []byte("head.")) || !bytes.HasSuffix(a.Log, []byte(".tail")) {
			t.Errorf("of %d bytes of log, head or tail is missing", size)
		}
		return a.Log
	}
	dropped := []byte("bytes dropped here]\n")
	if log := flood(sandbox.MaxLog); len(log) != sandbox.MaxLog || bytes.Contains(log, dropped) {
		t.Errorf("of the largest log, %d bytes of %d were kept", len(log), sandbox.MaxLog)
	}
	for _, size := range []int{sandbox.MaxLog + 1, 16 * sandbox.MaxLog} {
		if log := flood(size); len(log) > sandbox.MaxLog+100 || len(log) < sandbox.MaxLog-100 || !bytes.Contains(log, dropped) {
			t.Errorf("of %d bytes of log, %d were kept, and it may not say so", size, len(log))
		}
	}
}

// edge decodes how far a function came, and what stopped it.
func edge(t *testing.T, v *invoke.Invoker, c invoke.Code, event string) (n int, said string) {
	t.Helper()
	a, err := ask(t, v, c, event)
	if err == nil {
		err = json.Unmarshal(a.Payload, &[]any{&n, &said})
	}
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, a.Payload, a.Log)
	}
	return n, said
}

// host is what can be seen of the mechanism of a test from outside. It is the folder of its temporary directories.
type host string

// stateBytes is what it keeps on the disk.
func (h host) stateBytes(t *testing.T) (n int64) {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(string(h), "*/state"))
	if err != nil || len(dirs) == 0 {
		t.Fatalf("no state of a sandbox mechanism below %s: %v", h, err)
	}
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err == nil {
				n += info.Size()
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return n
}

// processes counts those in cgroups of its sandboxes.
func (h host) processes(t *testing.T) int {
	seen := map[string]bool{}
	for _, group := range h.groups(t) {
		_ = filepath.WalkDir(group, func(p string, d fs.DirEntry, err error) error { // groups come and go
			if b, err := os.ReadFile(p); err == nil && d.Name() == "cgroup.procs" {
				for _, pid := range strings.Fields(string(b)) {
					seen[pid] = true
				}
			}
			return nil
		})
	}
	return len(seen)
}

// groups are the cgroups its sandboxes have theirs in.
func (h host) groups(t *testing.T) (all []string) {
	lists, _ := filepath.Glob(filepath.Join(string(h), "*/state/cgroups"))
	if len(lists) == 0 {
		t.Errorf("no list of cgroups below %s", h)
	}
	for _, list := range lists {
		groups, err := os.ReadFile(list)
		if err != nil {
			t.Error(err)
		}
		all = append(all, strings.Fields(string(groups))...)
	}
	return all
}

func source(t testing.TB, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
