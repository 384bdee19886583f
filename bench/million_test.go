package bench

import (
	"bytes"
	"context"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"she/internal/access"
	"she/internal/shetest"
	"she/internal/vault/sqlite"
)

// BenchmarkMillion asks the real server about a million records of about 500 bytes at one endpoint: from the question
// to the last byte of the answer, over HTTP, by the Owner.
func BenchmarkMillion(b *testing.B) {
	const (
		records = 1_000_000
		chunk   = 4000
		wanted  = 5.0 // ms, p50
	)
	tmp := b.TempDir()
	config := filepath.Join(tmp, "she.yaml")
	must(b, os.WriteFile(config, nil, 0o600))
	s := &shetest.Server{Data: filepath.Join(tmp, "data"), Config: config}
	key, owners := manyHATs(b, s.Data, 1)

	// The bundles come first, so that what they ask for is indexed as the records come.
	questions := []struct {
		path, bundle string
	}{
		{"data/bench/records?take=100", ""},
		{"data/bench/records?take=100&skip=500000", ""},
		{"data-bundle/newest", `{"p":{"endpoints":[{"endpoint":"bench/records"}],"ordering":"descending","limit":100}}`},
		{"data-bundle/ordered", `{"p":{"endpoints":[{"endpoint":"bench/records"}],"orderBy":"n","ordering":"descending","limit":100}}`},
		{"data-bundle/between", `{"p":{"endpoints":[{"endpoint":"bench/records","filters":[{"field":"n",
			"operator":{"operator":"between","lower":500001,"upper":500100}}]}]}}`},
	}
	must(b, s.Start())
	ask := connect(b, s, token(b, key, domain(0), owners[0]))
	for _, q := range questions {
		if q.bundle != "" {
			_, err := ask.do("POST", "/api/v2.6/"+q.path, nil, []byte(q.bundle), http.StatusCreated)
			must(b, err)
		}
	}
	must(b, s.Stop())

	store, err := sqlite.NewStore(filepath.Join(s.Data, "vaults"), sqlite.Options{})
	must(b, err)
	ids, err := store.List()
	must(b, err)
	v, release, err := store.Open(context.Background(), ids[0])
	must(b, err)
	begin := time.Now()
	number.Store(0) // so that field n is 1 to a million
	for range records / chunk {
		all := make([][]byte, chunk)
		for i := range all {
			all[i] = record()
		}
		must(b, appendAll(v, access.User(owners[0], []access.Role{{Title: access.TitleOwner}}, access.TitleOwner), all))
	}
	b.Logf("%.0f records a second while filling", records/time.Since(begin).Seconds())
	release()
	must(b, store.Close())

	must(b, s.Start())
	defer func() { must(b, s.Stop()) }()
	ask = connect(b, s, token(b, key, domain(0), owners[0]))
	for _, q := range questions {
		b.Run(q.path, func(b *testing.B) {
			var took []float64
			for b.Loop() {
				at := time.Now()
				answer, err := ask.do("GET", "/api/v2.6/"+q.path, nil, nil, http.StatusOK)
				must(b, err)
				took = append(took, time.Since(at).Seconds()*1000)
				if rows := bytes.Count(answer, []byte(`"recordId"`)); rows != 100 {
					b.Fatalf("%d records, want 100", rows)
				}
			}
			p50 := median(took)
			b.ReportMetric(p50, "p50-ms")
			b.ReportMetric(quantile(took, 0.99), "p99-ms")
			b.ReportMetric(0, "ns/op")
			if p50 > wanted {
				b.Logf("missed: p50 of %d is %.1f ms, want %.0f", len(took), p50, wanted)
			}
		})
	}
}

// connect is a client of the first of manyHATs.
func connect(b *testing.B, s *shetest.Server, token string) *client {
	c, err := dial(s.Address, domain(0), 1)
	must(b, err)
	c.auth, c.refresh, c.token = "X-Auth-Token", "X-Auth-Token", token
	return c
}
