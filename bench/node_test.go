package bench

import (
	"bytes"
	"context"
	"crypto/rsa"
	"database/sql"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"she/internal/access"
	"she/internal/directory"
	"she/internal/hat"
	"she/internal/shetest"
	"she/internal/vault"
	"she/internal/vault/sqlite"
)

// BenchmarkColdOpen measures the opening of a vault that nobody has open, until its Owner is read. The first time in a
// server's life a check of the whole file runs beside it, up to a size; after that none does.
func BenchmarkColdOpen(b *testing.B) {
	const vaults, wanted = 20, 3 * time.Millisecond // p50
	ctx := context.Background()
	for _, records := range []int{0, 100, 1000, 5000} {
		dir := b.TempDir()
		store, err := sqlite.NewStore(dir, sqlite.Options{})
		must(b, err)
		owner := vault.User{ID: hat.NewUserID(), Username: "owner", Roles: []access.Role{{Title: access.TitleOwner}}, Enabled: true}
		for i := range vaults {
			id := hat.ID(fmt.Sprint("hat", i))
			must(b, store.Create(ctx, id, owner))
			v, release, err := store.Open(ctx, id)
			must(b, err)
			for left := records; left > 0; left -= batchSize {
				all := make([][]byte, batchSize)
				for i := range all {
					all[i] = record()
				}
				must(b, appendAll(v, access.User(owner.ID, owner.Roles, access.TitleOwner), all))
			}
			release()
		}
		must(b, store.Close())
		for _, life := range []string{"first", "again"} {
			b.Run(fmt.Sprintf("records=%d/%s", records, life), func(b *testing.B) {
				var took []float64
				var store *sqlite.Store
				open := func(i int) {
					v, release, err := store.Open(ctx, hat.ID(fmt.Sprint("hat", i%vaults))) // closes the one before
					must(b, err)
					_, err = v.Owner(ctx)
					must(b, err)
					release()
				}
				for n := 0; b.Loop(); n++ {
					if n == 0 || life == "first" && n%vaults == 0 {
						b.StopTimer()
						if store != nil {
							must(b, store.Close())
						}
						store, err = sqlite.NewStore(dir, sqlite.Options{MaxOpen: 1})
						must(b, err)
						for i := range vaults {
							if life == "again" {
								open(i)
							}
						}
						b.StartTimer()
					}
					at := time.Now()
					open(n)
					took = append(took, time.Since(at).Seconds()*1000)
				}
				must(b, store.Close())
				p50 := median(took)
				b.ReportMetric(p50, "p50-ms")
				b.ReportMetric(quantile(took, 0.99), "p99-ms")
				b.ReportMetric(0, "ns/op")
				if limit := wanted.Seconds() * 1000; p50 > limit {
					b.Logf("missed: p50 of %d is %.2f ms, want %.0f", len(took), p50, limit)
				}
			})
		}
	}
}

// BenchmarkManyHATs runs one real server with ten thousand HATs and writes to each of them once: every request opens a
// vault that is closed, and has another one closed. What the process holds open and in memory must not follow the
// number of HATs.
func BenchmarkManyHATs(b *testing.B) {
	const (
		hats, clients = 10_000, 32
		mostFiles     = 2000      // 256 vaults with five descriptors each, and connections
		mostMemory    = 768 << 10 // KiB resident
	)
	tmp := b.TempDir()
	config := filepath.Join(tmp, "she.yaml")
	must(b, os.WriteFile(config, []byte("limits: {vaults: 256}\n"), 0o600))
	s := &shetest.Server{Data: filepath.Join(tmp, "data"), Config: config}
	begin := time.Now()
	key, owners := manyHATs(b, s.Data, hats)
	b.ReportMetric(time.Since(begin).Seconds()*1000/hats, "create-ms")

	tokens := make([]string, hats)
	for i := range tokens {
		tokens[i] = token(b, key, domain(i), owners[i])
	}
	begin = time.Now()
	must(b, s.Start())
	defer func() { must(b, s.Stop()) }()
	b.ReportMetric(time.Since(begin).Seconds()*1000, "start-ms")

	pid := s.PID()
	done := make(chan struct{})
	files := make(chan int)
	go func() {
		most := 0
		for tick := time.NewTicker(50 * time.Millisecond); ; {
			fds, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
			most = max(most, len(fds))
			select {
			case <-tick.C:
			case <-done:
				files <- most
				return
			}
		}
	}()
	var all []*client
	for i := range clients {
		c, err := dial(s.Address, "", i+1)
		must(b, err)
		c.auth = "X-Auth-Token"
		all = append(all, c)
	}
	var (
		next    atomic.Int64
		mu      sync.Mutex
		took    []float64
		failed  error
		workers sync.WaitGroup
	)
	begin = time.Now()
	for _, c := range all {
		workers.Go(func() {
			for i := next.Add(1) - 1; i < hats; i = next.Add(1) - 1 {
				c.host, c.token = domain(int(i)), tokens[i]
				at := time.Now()
				_, err := c.do("POST", "/api/v2.6/data/bench/records", nil, record(), http.StatusCreated)
				mu.Lock()
				took = append(took, time.Since(at).Seconds()*1000)
				if err != nil {
					failed = err
				}
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	elapsed := time.Since(begin)
	must(b, failed)
	close(done)
	most := <-files
	memory := statusKiB(b, pid, "VmHWM")
	b.ReportMetric(hats/elapsed.Seconds(), "HATs/s")
	b.ReportMetric(quantile(took, 0.5), "p50-ms")
	b.ReportMetric(quantile(took, 0.99), "p99-ms")
	b.ReportMetric(float64(most), "files")
	b.ReportMetric(float64(memory)/1024, "peak-MiB")
	b.ReportMetric(0, "ns/op")
	if most > mostFiles || memory > mostMemory {
		b.Logf("missed: %d files open, %d KiB in memory; want at most %d and %d", most, memory, mostFiles, mostMemory)
	}
}

func domain(i int) string { return fmt.Sprintf("hat%d.test", i) }

// manyHATs fills a data directory. All HATs have one key, because making 2048-bit keys for ten thousand takes half an
// hour, and no password.
func manyHATs(b *testing.B, data string, n int) (*rsa.PrivateKey, []hat.UserID) {
	ctx := context.Background()
	d, err := directory.Open(data)
	must(b, err)
	first, err := hat.ParseDomain(domain(0))
	must(b, err)
	h, err := d.Create(ctx, first)
	must(b, err)
	vaults := d.Vaults()
	must(b, d.Close())

	db, err := sql.Open("sqlite", filepath.Join(data, "node.db"))
	must(b, err)
	defer db.Close()
	store, err := sqlite.NewStore(vaults, sqlite.Options{})
	must(b, err)
	tx, err := db.Begin()
	must(b, err)
	owners := make([]hat.UserID, n)
	for i := range n {
		id := hat.ID(fmt.Sprintf("hat%d", i))
		if i == 0 {
			id = h.ID
		} else {
			_, err := tx.Exec("INSERT INTO hats (id, domain, key, created) SELECT ?, ?, key, created FROM hats WHERE id = ?", id, domain(i), h.ID)
			must(b, err)
		}
		owners[i] = hat.NewUserID()
		must(b, store.Create(ctx, id, vault.User{
			ID: owners[i], Username: "owner", Roles: []access.Role{{Title: access.TitleOwner}}, Enabled: true,
		}))
	}
	must(b, tx.Commit())
	must(b, store.Close())
	return h.Key, owners
}

// token is what a login at the HAT would have given.
func token(b *testing.B, key *rsa.PrivateKey, domain string, owner hat.UserID) string {
	now := time.Now()
	text, err := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{
		"iss": domain, "sub": owner.String(), "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(), "jti": "bench",
		"resource": domain, "accessScope": access.TitleOwner,
	}).SignedString(key)
	must(b, err)
	return text
}

// statusKiB is a line of /proc/PID/status.
func statusKiB(b *testing.B, pid int, name string) (kib int) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	must(b, err)
	for line := range bytes.Lines(text) {
		if rest, found := strings.CutPrefix(string(line), name+":"); found {
			_, err := fmt.Sscan(rest, &kib)
			must(b, err)
			return kib
		}
	}
	b.Fatalf("no %s in the status of the server", name)
	return 0
}
