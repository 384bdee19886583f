package invoke_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"she/internal/invoke"
)

// BenchmarkCopy measures what a copy costs, from being made to nothing being left: CPU of everything that belongs to
// sandboxes, gVisor's launcher too (target 80 ms); how long an event waits for its answer when a copy waits (target
// 5 ms in Go, 10 in other languages) and when none does, after an INIT of two seconds (target 150 ms); and the host's
// memory for one that waits.
func BenchmarkCopy(b *testing.B) {
	for name, code := range benchFunctions {
		b.Run(name+"/warm", func(b *testing.B) {
			c := code(b)
			c.WarmUp = []byte(benchEvent)
			benchCopy(b, c, invoke.Warm, 0)
		})
	}
	slow := function(b, "python3.11", "app.handler", map[string]string{"app.py": `
import time
time.sleep(2)
def handler(event, context):
    return len(event["data"]["notes"])
`})
	slow.WarmUp = []byte(benchEvent)
	for _, megabytes := range []int{20, 200} {
		c := function(b, "python3.11", "app.handler", map[string]string{"app.py": fmt.Sprintf(`
import os
model = os.urandom(%d << 20)
def handler(event, context):
    return sum(model[n * 100003 %% len(model)] for n in range(100)) and len(event["data"]["notes"])
`, megabytes)})
		c.WarmUp, c.MemoryMB = []byte(benchEvent), 1024
		b.Run(fmt.Sprintf("python/nothing warm, a model of %d MB", megabytes), func(b *testing.B) { benchCopy(b, c, invoke.Restored, -1) })
		b.Run(fmt.Sprintf("python/warm, a model of %d MB", megabytes), func(b *testing.B) { benchCopy(b, c, invoke.Warm, 0) })
	}
	b.Run("python/nothing warm, INIT 2 s", func(b *testing.B) { benchCopy(b, slow, invoke.Restored, -1) })
}

func benchCopy(b *testing.B, c invoke.Code, want invoke.Start, waiting int64) {
	dir := b.TempDir()
	v := openIn(b, dir, invoke.Config{Find: testDotnet, Images: b.TempDir(), WaitingBytes: waiting})
	prepare(b, v, c)
	var took []time.Duration
	stats, anonymous := v.Stats(), int64(0)
	before := sandboxCPU(b, dir)
	for b.Loop() {
		began := time.Now()
		a, err := ask(b, v, c, benchEvent)
		if err != nil || a.Start != want {
			b.Fatalf("started %s, want %s: %v", a.Start, want, err)
		}
		if want == invoke.Warm {
			took = append(took, a.Timing.Run)
		} else {
			took = append(took, time.Since(began))
		}
		v.Settle()
		if anonymous == 0 {
			anonymous = sandboxAnonymous(b, dir) / int64(max(1, v.Stats().Waiting))
		}
	}
	slices.Sort(took)
	b.ReportMetric(float64((sandboxCPU(b, dir)-before).Microseconds())/1000/float64(len(took)), "cpu-ms/copy")
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "answer-p50-ms")
	b.ReportMetric(float64(stats.WaitingBytes)/float64(max(1, stats.Waiting))/(1<<20), "MB-waiting")
	if waiting >= 0 {
		b.ReportMetric(float64(anonymous)/(1<<20), "MB-anonymous")
	}
	b.ReportMetric(0, "ns/op")
}

// sandboxAnonymous is the memory of the processes of all sandboxes there are that no file backs: what a host without
// swap can't take back. The memory of what runs inside is in it, as shared memory.
func sandboxAnonymous(b *testing.B, dir string) (bytes int64) {
	b.Helper()
	groups, err := os.ReadFile(filepath.Join(dir, "state", "cgroups"))
	if err != nil {
		b.Fatal(err)
	}
	for group := range strings.FieldsSeq(string(groups)) {
		stats, _ := filepath.Glob(filepath.Join(group, "*", "memory.stat"))
		for _, stat := range stats {
			if strings.HasPrefix(filepath.Base(filepath.Dir(stat)), "launcher-") {
				continue
			}
			text, _ := os.ReadFile(stat)
			for line := range strings.Lines(string(text)) {
				var name string
				var n int64
				if _, err := fmt.Sscan(line, &name, &n); err == nil && (name == "anon" || name == "rss" || name == "shmem") {
					bytes += n
				}
			}
		}
	}
	return bytes
}

// sandboxCPU is the CPU time of all sandboxes of a mechanism so far, those gone too: its cgroup is above theirs.
func sandboxCPU(b *testing.B, dir string) time.Duration {
	b.Helper()
	groups, err := os.ReadFile(filepath.Join(dir, "state", "cgroups"))
	if err != nil {
		b.Fatal(err)
	}
	for group := range strings.FieldsSeq(string(groups)) {
		if text, err := os.ReadFile(filepath.Join(group, "cpuacct.usage")); err == nil { // version 1
			n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
			if err != nil {
				b.Fatal(err)
			}
			return time.Duration(n)
		}
		text, err := os.ReadFile(filepath.Join(group, "cpu.stat"))
		if usage, ok := strings.CutPrefix(string(text), "usage_usec "); ok && err == nil { // version 2
			first, _, _ := strings.Cut(usage, "\n")
			n, err := strconv.ParseInt(first, 10, 64)
			if err != nil {
				b.Fatal(err)
			}
			return time.Duration(n) * time.Microsecond
		}
	}
	b.Fatal("no cgroup tells the CPU time")
	return 0
}
