package bench

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"she/internal/access"
	"she/internal/hat"
	"she/internal/vault"
	"she/internal/vault/ledger"
	"she/internal/vault/sqlite"
)

const (
	batchSize = 100
	batchTime = 2 * time.Second // of each contender in each round
)

// bare is a table and nothing else, on the settings of a vault: what database/sql with this driver can do at best for
// records that are known by a digest.
func bare(b *testing.B) (insert func(records [][]byte) error) {
	path := filepath.Join(b.TempDir(), "bare.db")
	dsn := url.URL{Scheme: "file", Opaque: path, RawQuery: url.Values{"_pragma": {
		"journal_mode(wal)", "synchronous(full)", "foreign_keys(on)", "secure_delete(on)", "trusted_schema(off)",
		"cell_size_check(on)", "temp_store(memory)", "cache_size(-1000)", "journal_size_limit(4194304)",
	}}.Encode()}
	db, err := sql.Open("sqlite", dsn.String())
	must(b, err)
	b.Cleanup(func() { must(b, db.Close()) })
	db.SetMaxOpenConns(1)
	_, err = db.Exec("CREATE TABLE r (n INTEGER PRIMARY KEY, digest BLOB UNIQUE, data TEXT)")
	must(b, err)
	statement, err := db.Prepare("INSERT INTO r (digest, data) VALUES (?, ?)")
	must(b, err)
	b.Cleanup(func() { must(b, statement.Close()) })
	return func(records [][]byte) error {
		tx, err := db.Begin()
		if err != nil {
			return err
		}
		defer tx.Rollback() //nolint:errcheck // after Commit it has nothing to do
		for _, r := range records {
			digest := sha256.Sum256(r)
			if _, err := tx.Stmt(statement).Exec(digest[:], string(r)); err != nil {
				return err
			}
		}
		return tx.Commit()
	}
}

// newVault makes an empty vault; c is its Owner.
func newVault(b *testing.B) (v *ledger.Vault, c access.Caller) {
	store, err := sqlite.NewStore(b.TempDir(), sqlite.Options{})
	must(b, err)
	b.Cleanup(func() { must(b, store.Close()) })
	owner := vault.User{ID: hat.NewUserID(), Username: "owner", Roles: []access.Role{{Title: access.TitleOwner}}, Enabled: true}
	must(b, store.Create(context.Background(), "bench", owner))
	v, release, err := store.Open(context.Background(), "bench")
	must(b, err)
	b.Cleanup(release)
	return v, access.User(owner.ID, owner.Roles, access.TitleOwner)
}

func appendAll(v *ledger.Vault, c access.Caller, records [][]byte) error {
	endpoint, err := hat.ParseEndpoint("bench/records")
	if err != nil {
		return err
	}
	drafts := make([]hat.Draft, len(records))
	for i, r := range records {
		data, err := hat.ParseData(r)
		if err != nil {
			return err
		}
		drafts[i] = hat.Draft{Endpoint: endpoint, Data: data}
	}
	_, err = v.Append(context.Background(), c, drafts, false)
	return err
}

// BenchmarkBatch measures durable batches of 100 records, one after the other: into a bare table by database/sql, into
// a vault, and over HTTP into the real server.
func BenchmarkBatch(b *testing.B) {
	const wanted = 0.6 // of the bare loop
	v, c := newVault(b)
	she := startShe(b, 1)
	contenders := []struct {
		name   string
		pid    int // whose processor time it takes
		insert func([][]byte) error
	}{
		{"bare", os.Getpid(), bare(b)},
		{"vault", os.Getpid(), func(records [][]byte) error { return appendAll(v, c, records) }},
		{"http", she.pid, func(records [][]byte) error {
			body := []byte{'['}
			for i, r := range records {
				if i > 0 {
					body = append(body, ',')
				}
				body = append(body, r...)
			}
			_, err := she.clients[0].do("POST", "/api/v2.6/data/bench/records", nil, append(body, ']'), http.StatusCreated)
			return err
		}},
	}
	rates, used := map[string][]float64{}, map[string][]float64{}
	for range rounds {
		for _, c := range contenders {
			n, begin, before := 0, time.Now(), cpu(b, c.pid)
			for time.Since(begin) < batchTime {
				records := make([][]byte, batchSize)
				for i := range records {
					records[i] = record()
				}
				must(b, c.insert(records))
				n += batchSize
			}
			rates[c.name] = append(rates[c.name], float64(n)/time.Since(begin).Seconds())
			used[c.name] = append(used[c.name], (cpu(b, c.pid)-before)*1000/float64(n))
		}
	}
	for _, c := range contenders {
		b.ReportMetric(median(rates[c.name]), c.name+"-rows/s")
		b.ReportMetric(median(used[c.name]), c.name+"-cpu-us/row")
	}
	for _, name := range []string{"vault", "http"} {
		ratio := median(rates[name]) / median(rates["bare"])
		b.ReportMetric(ratio, name+"/bare")
		if ratio < wanted {
			b.Logf("missed: %s stores %.0f records a second at %.0f µs of processor time each, %.2f of the bare loop's %.0f at %.0f; want %.2f",
				name, median(rates[name]), median(used[name]), ratio, median(rates["bare"]), median(used["bare"]), wanted)
		}
	}
	b.ReportMetric(0, "ns/op")
}
