package sqlite

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"she/internal/access"
	"she/internal/bundle"
	"she/internal/hat"
	"she/internal/plan"
	"she/internal/vault/ledger"
	"she/internal/vault/vaulttest"
)

var filler = strings.Repeat("x", 480) // with the number, a record of about 500 bytes

// BenchmarkAppend measures a durable append, by one and by many writers, to one vault and to many.
func BenchmarkAppend(b *testing.B) {
	for _, c := range []struct{ vaults, writers int }{{1, 1}, {1, 32}, {32, 32}} {
		b.Run(fmt.Sprintf("vaults=%d/writers=%d", c.vaults, c.writers), func(b *testing.B) {
			var commits, shared atomic.Int64
			// A server sets a limit too.
			limit := func(hat.ID) plan.Storage { return plan.Storage{Bytes: 1 << 40, Records: 1 << 40} }
			s := newStore(b, b.TempDir(), Options{Storage: limit, AtCommit: func(ops []string, persisted bool) error {
				if persisted {
					commits.Add(1)
					shared.Add(int64(len(ops)))
				}
				return nil
			}})
			var (
				vaults  []*ledger.Vault
				callers []access.Caller
				next    atomic.Int64
			)
			for i := range c.vaults {
				id := fmt.Sprintf("hat%d", i)
				callers = append(callers, vaulttest.Create(b, s, hat.ID(id)))
				v, _ := vaulttest.Open(b, s, hat.ID(id))
				vaults = append(vaults, v)
			}
			b.SetParallelism(max(1, c.writers/2)) // a multiple of GOMAXPROCS, here 2
			if c.writers == 1 {
				for b.Loop() {
					if err := write(b, vaults[0], callers[0], fmt.Sprintf(`{"n":%d,"x":"%s"}`, next.Add(1), filler)); err != nil {
						b.Fatal(err)
					}
				}
			} else {
				b.ResetTimer()
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						n := next.Add(1)
						i := int(n) % c.vaults
						if err := write(b, vaults[i], callers[i], fmt.Sprintf(`{"n":%d,"x":"%s"}`, n, filler)); err != nil {
							b.Error(err)
						}
					}
				})
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "rows/s")
			b.ReportMetric(float64(shared.Load())/float64(commits.Load()), "rows/commit")
		})
	}
}

// BenchmarkBareInsert measures what database/sql with the same driver and settings takes to insert one row
// with a digest and an index, and nothing else.
func BenchmarkBareInsert(b *testing.B) {
	for _, rows := range []int{1, 32} {
		b.Run(fmt.Sprintf("rows=%d", rows), func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "bare.db")
			db, err := sql.Open("sqlite", strings.Replace(dsn(path, 0, false), "mode=rw", "mode=rwc", 1))
			if err != nil {
				b.Fatal(err)
			}
			defer db.Close()
			db.SetMaxOpenConns(1)
			if _, err := db.Exec("PRAGMA journal_mode = wal; CREATE TABLE r (n INTEGER PRIMARY KEY, digest BLOB UNIQUE, data TEXT)"); err != nil {
				b.Fatal(err)
			}
			insert, err := db.Prepare("INSERT INTO r (digest, data) VALUES (?, ?)")
			if err != nil {
				b.Fatal(err)
			}
			defer insert.Close()
			n := 0
			for b.Loop() {
				tx, err := db.Begin()
				if err != nil {
					b.Fatal(err)
				}
				for range rows {
					n++
					text := fmt.Sprintf(`{"n":%d,"x":"%s"}`, n, filler)
					digest := sha256.Sum256([]byte(text))
					if _, err := tx.Stmt(insert).Exec(digest[:], text); err != nil {
						b.Fatal(err)
					}
				}
				if err := tx.Commit(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}

// BenchmarkColdOpen measures opening a closed vault and reading its Owner.
func BenchmarkColdOpen(b *testing.B) {
	s := newStore(b, b.TempDir(), Options{MaxOpen: 1})
	for _, id := range []string{"a", "b"} {
		c := vaulttest.Create(b, s, hat.ID(id))
		v, release := vaulttest.Open(b, s, hat.ID(id))
		for i := range 100 {
			if err := write(b, v, c, fmt.Sprintf(`{"n":%d,"x":"%s"}`, i, filler)); err != nil {
				b.Fatal(err)
			}
		}
		release()
	}
	ids := []string{"a", "b"}
	for i := 0; b.Loop(); i++ {
		v, release, err := s.Open(context.Background(), hat.ID(ids[i%2])) // closes the other vault
		if err != nil {
			b.Fatal(err)
		}
		if _, err := v.Owner(context.Background()); err != nil {
			b.Fatal(err)
		}
		release()
	}
}

func BenchmarkCreate(b *testing.B) {
	s := newStore(b, b.TempDir(), Options{})
	for i := 0; b.Loop(); i++ {
		vaulttest.Create(b, s, hat.ID(fmt.Sprintf("hat%d", i)))
	}
}

// BenchmarkScan reads from 20,000 records: all, the newest hundred, and a hundred new ones.
func BenchmarkScan(b *testing.B) {
	s := newStore(b, b.TempDir(), Options{})
	c := vaulttest.Create(b, s, "alice")
	v, _ := vaulttest.Open(b, s, "alice")
	var drafts []hat.Draft
	for i := range 20_000 {
		drafts = append(drafts, vaulttest.Note(b, fmt.Sprintf(`{"n":%d,"x":"%s"}`, i, filler)))
	}
	if _, err := v.Append(context.Background(), c, drafts, false); err != nil {
		b.Fatal(err)
	}
	for _, bc := range []struct {
		name string
		want bundle.Want
		stop int
	}{
		{"all", bundle.Want{}, 20_000},
		{"newest=100", bundle.Want{Order: &bundle.Order{Descending: true}}, 100},
		{"new=100", bundle.Want{After: 19_900, Upto: 20_000}, 100},
	} {
		b.Run(bc.name, func(b *testing.B) {
			n := 0
			for b.Loop() {
				err := v.Read(context.Background(), c, func(src bundle.Source, _ hat.Seq) error {
					for _, err := range src.Scan(context.Background(), drafts[0].Endpoint, bc.want).Records {
						if err != nil {
							return err
						}
						if n++; n%bc.stop == 0 {
							break
						}
					}
					return nil
				})
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(n), "µs/record")
		})
	}
}

// BenchmarkEraseGroup erases a group of linked records. The time per record does not grow with the group.
func BenchmarkEraseGroup(b *testing.B) {
	for _, n := range []int{1000, 40_000} {
		b.Run(fmt.Sprintf("records=%d", n), func(b *testing.B) {
			s := newStore(b, b.TempDir(), Options{})
			alice := vaulttest.Create(b, s, "alice")
			v, release := vaulttest.Open(b, s, "alice")
			defer release()
			for b.Loop() {
				b.StopTimer()
				all := many(b, v, alice, "a/group", n)
				group := make([]int, n)
				for i := range group {
					group[i] = i
				}
				linked(b, s, all, group)
				b.StartTimer()
				vaulttest.Must(b, 0, v.EraseEndpoint(b.Context(), alice, all[0].Endpoint))
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*n), "µs/record")
		})
	}
}
