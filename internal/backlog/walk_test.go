package backlog_test

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"she/internal/backlog/backlogtest"
)

var walked = flag.Int("walked", 0, "random steps of TestWalk; 0: 50,000 with -short, a million without")

// A million random steps: every record that is granted is given once, or skipped, or waits in one place.
func TestWalk(t *testing.T) {
	steps := *walked
	if steps == 0 {
		if steps = 1_000_000; testing.Short() {
			steps = 50_000
		}
	}
	const each, parts = 250, 4
	now := time.Date(2024, 3, 1, 12, 0, 0, 0, time.UTC)
	var (
		mu   sync.Mutex
		seen = map[backlogtest.Edge]bool{}
	)
	t.Run("steps", func(t *testing.T) {
		for part := range uint64(parts) {
			t.Run(fmt.Sprint(part), func(t *testing.T) {
				t.Parallel()
				for seed := range uint64(steps / each / parts) {
					edges := backlogtest.Walk(t, rand.New(rand.NewPCG(part, seed)), each, now, nil)
					mu.Lock()
					maps.Copy(seen, edges)
					mu.Unlock()
				}
			})
		}
	})
	// Each edge that is drawn is one of the code, and the other way round.
	drawn := drawnEdges(t)
	for e := range seen {
		if !drawn[e] {
			t.Errorf("docs/runs.md lacks the edge %s → %s", e.From, e.To)
		}
	}
	for e := range drawn {
		if !seen[e] {
			t.Errorf("docs/runs.md draws the edge %s → %s, and nothing takes it", e.From, e.To)
		}
	}
}

// drawnEdges are those of the table in docs/runs.md, "from → to, to". What the engine does in memory is left out.
func drawnEdges(t *testing.T) map[backlogtest.Edge]bool {
	text, err := os.ReadFile("../../docs/runs.md")
	if err != nil {
		t.Fatal(err)
	}
	drawn := map[backlogtest.Edge]bool{}
	for line := range strings.Lines(string(text)) {
		cell, isRow := strings.CutPrefix(line, "| ")
		cell, _, _ = strings.Cut(cell, " |")
		from, to, isEdge := strings.Cut(cell, " → ")
		if !isRow || !isEdge || strings.Contains(to, "→") {
			continue
		}
		for to := range strings.SplitSeq(to, ", ") {
			drawn[backlogtest.Edge{From: from, To: to}] = true
		}
	}
	return drawn
}
