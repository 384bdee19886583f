package metrics

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"she/internal/hat"
	"she/internal/invoke"
	"she/internal/plan"
	"she/internal/vault"
)

// oneRun returns what /metrics says after one run with these figures, without the metrics of Go and of the
// process.
func oneRun(t *testing.T, a invoke.Answer, requestTook time.Duration, out vault.Output, done vault.Committed) string {
	t.Helper()
	m := New()
	m.invoked("f", a, nil)
	m.Request("GET", "/she/function/{function}/trigger", 200, requestTook)
	m.committed(plan.Plan{}, out, done)
	rec := httptest.NewRecorder()
	m.Handler().ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	var lines []string
	for line := range strings.Lines(rec.Body.String()) {
		if strings.HasPrefix(line, "faas_") || strings.HasPrefix(line, "she_") {
			lines = append(lines, line)
		}
	}
	if len(lines) < 50 {
		t.Fatalf("only %d lines of metrics", len(lines))
	}
	return strings.Join(lines, "")
}

// Runs whose figures lie in the same steps can't be told apart by reading the metrics before and after,
// sums included. In other steps they can.
func TestMetricsDoNotTellExactFigures(t *testing.T) {
	run := func(ms time.Duration, kb int64, bytes, records int) string {
		d := ms * time.Millisecond
		return oneRun(t,
			invoke.Answer{
				Start:  invoke.Cold,
				Timing: invoke.Timing{Queue: d, Init: d, Run: d},
				Usage:  invoke.Usage{MaxMemory: kb << 10, CPU: d},
			},
			d, vault.Output{Stats: vault.Stats{InBytes: bytes, OutBytes: bytes}},
			vault.Committed{Written: make([]hat.Record, records), Duplicates: records},
		)
	}
	first := run(110, 40_000, 70_000, 5)
	for name, other := range map[string]string{
		"longer":  run(249, 40_000, 70_000, 5),
		"larger":  run(110, 60_000, 70_000, 5),
		"more":    run(110, 40_000, 200_000, 5),
		"records": run(110, 40_000, 70_000, 8),
	} {
		if other != first {
			t.Errorf("%s, by less than a step, shows: %s", name, differing(first, other))
		}
	}
	for name, other := range map[string]string{
		"longer":  run(251, 40_000, 70_000, 5),
		"larger":  run(110, 70_000, 70_000, 5),
		"more":    run(110, 40_000, 300_000, 5),
		"records": run(110, 40_000, 70_000, 9),
	} {
		if other == first {
			t.Errorf("%s, by a step, does not show", name)
		}
	}
}

func differing(a, b string) string {
	lines := strings.Split(b, "\n")
	for i, line := range strings.Split(a, "\n") {
		if line != lines[i] {
			return line + " / " + lines[i]
		}
	}
	return ""
}

func TestRounding(t *testing.T) {
	for n, want := range map[int]float64{0: 0, 1: 1, 2: 2, 3: 4, 4: 4, 5: 8, 1000: 1024} {
		if got := roundCount(n); got != want {
			t.Errorf("count %d becomes %v, want %v", n, got, want)
		}
	}
	for n, want := range map[int]float64{0: 0, 1: 1024, 1024: 1024, 1025: 4096, 4097: 16384, 6 << 20: 16 << 20} {
		if got := roundBytes(n); got != want {
			t.Errorf("%d bytes become %v, want %v", n, got, want)
		}
	}
	if got := roundUp(1e9, runSeconds); got != 300 {
		t.Errorf("beyond the last bound: %v", got)
	}
}

// An open address shows new figures every few seconds only, however often it is asked.
func TestOpenFiguresChangeSeldom(t *testing.T) {
	m := New()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	s := &seldom{Gatherer: m.registry, interval: openInterval, now: func() time.Time { return now }}
	runs := func() (n float64) {
		t.Helper()
		families, err := s.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if f.GetName() == "she_runs_claimed_total" {
				n = f.GetMetric()[0].GetCounter().GetValue()
			}
		}
		return n
	}
	before := runs()
	m.claimed.Inc()
	now = now.Add(openInterval - time.Nanosecond)
	if got := runs(); got != before {
		t.Errorf("within an interval: %v, then %v", before, got)
	}
	now = now.Add(time.Nanosecond)
	if got := runs(); got != before+1 {
		t.Errorf("in the next: %v, then %v", before, got)
	}
	var _ prometheus.Gatherer = s
}
