package ledger_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"she/internal/access"
	"she/internal/bundle"
	"she/internal/hat"
	"she/internal/vault/ledger"
	"she/internal/vault/sqlite"
	"she/internal/vault/vaulttest"
)

const million = 1_000_000

// BenchmarkMillion queries a million records of 500 bytes at one endpoint, with and without an index of
// fields. Field at is a time that rises with the position; field mixed is a number in random order.
func BenchmarkMillion(b *testing.B) {
	s := newStore(b, b.TempDir(), sqlite.Options{})
	c := vaulttest.Create(b, s, "alice")
	v, _ := vaulttest.Open(b, s, "alice")
	fill(b, v, c, 0, million)
	ask := func(name string) {
		for _, q := range []struct {
			name     string
			property bundle.PropertyQuery
		}{
			{"page", bundle.PropertyQuery{Ordering: "descending"}},
			{"by=at", bundle.PropertyQuery{OrderBy: "at", Ordering: "descending"}},
			{"by=mixed", bundle.PropertyQuery{OrderBy: "mixed", Ordering: "descending"}},
			{"by=mixed,ascending", bundle.PropertyQuery{OrderBy: "mixed"}},
			{"between=100", bundle.PropertyQuery{Endpoints: []bundle.EndpointQuery{{Filters: []bundle.Filter{between(b, "mixed", "5000", "5099")}}}}},
			{"between=10000,by=at", bundle.PropertyQuery{OrderBy: "at", Ordering: "descending", Endpoints: []bundle.EndpointQuery{
				{Filters: []bundle.Filter{between(b, "mixed", "50000", "59999")}}}}},
		} {
			if len(q.property.Endpoints) == 0 {
				q.property.Endpoints = []bundle.EndpointQuery{{}}
			}
			q.property.Endpoints[0].Endpoint = vaulttest.Endpoint(b, "rumpel/notes")
			limit := 100
			q.property.Limit = &limit
			b.Run(name+"/"+q.name, func(b *testing.B) { askOften(b, v, c, q.property) })
		}
	}
	number := million
	fillOn := func(b *testing.B) {
		for b.Loop() {
			fill(b, v, c, number, 1000)
			number += 1000
		}
		b.ReportMetric(1000*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
	}
	ask("without")
	b.Run("without/append=1000", fillOn)

	// Build two indexes at once while somebody writes, and remove them again.
	b.Run("build", func(b *testing.B) {
		var waits []time.Duration
		for b.Loop() {
			vaulttest.SortBy(b, v, c, "b", "at", "mixed")
			for more := true; more; number++ {
				began := time.Now()
				if _, err := v.Append(b.Context(), c, []hat.Draft{vaulttest.Note(b, fmt.Sprintf(`{"during":%d}`, number))}, false); err != nil {
					b.Fatal(err)
				}
				waits = append(waits, time.Since(began))
				var err error
				if more, err = busy(v); err != nil {
					b.Fatal(err)
				}
			}
		}
		slices.Sort(waits)
		b.ReportMetric(float64(len(waits)), "writes")
		b.ReportMetric(float64(waits[len(waits)/2].Microseconds())/1000, "wait-p50-ms")
		b.ReportMetric(float64(waits[len(waits)-1].Microseconds())/1000, "wait-max-ms")
		began := time.Now()
		vaulttest.SortBy(b, v, c, "b")
		settle(b, v)
		b.ReportMetric(time.Since(began).Seconds(), "drop-s")
	})
	vaulttest.SortBy(b, v, c, "b", "at", "mixed")
	settle(b, v)
	ask("with")
	b.Run("with/append=1000", fillOn)
}

func fill(b *testing.B, v *ledger.Vault, c access.Caller, from, count int) {
	b.Helper()
	const batch = 1000
	start := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	x := strings.Repeat("x", 430)
	drafts := make([]hat.Draft, 0, batch)
	for i := from; i < from+count; i++ {
		at := start.Add(time.Duration(i) * time.Minute).Format(time.RFC3339)
		drafts = append(drafts, vaulttest.Note(b, fmt.Sprintf(`{"at":"%s","mixed":%d,"x":"%s"}`, at, i*7_368_787%million, x)))
		if len(drafts) == batch {
			vaulttest.Append(b, v, c, drafts)
			drafts = drafts[:0]
		}
	}
}

// askOften reports the median time, and the most memory that the process used meanwhile.
func askOften(b *testing.B, v *ledger.Vault, c access.Caller, q bundle.PropertyQuery) {
	_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) // resets the peak
	var took []time.Duration
	for b.Loop() {
		began := time.Now()
		rows := 0
		err := v.Read(context.Background(), c, func(src bundle.Source, _ hat.Seq) error {
			_, err := bundle.Evaluate(context.Background(), q, src, bundle.Within{}, func(bundle.Row) error { rows++; return nil })
			return err
		})
		if err != nil || rows != 100 {
			b.Fatal(rows, err)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
	if mb, ok := peak(); ok {
		b.ReportMetric(mb, "peak-MB")
	}
}

func peak() (mb float64, ok bool) {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, false
	}
	_, after, found := strings.Cut(string(text), "VmHWM:")
	var kb float64
	if _, err := fmt.Sscan(after, &kb); err != nil {
		return 0, false
	}
	return kb / 1024, found
}
