package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"she/internal/access"
	"she/internal/bundle"
	"she/internal/contract"
	"she/internal/hat"
	"she/internal/plan"
	"she/internal/vault"
	"she/internal/vault/ledger"
	"she/internal/vault/vaulttest"
)

// positions returns what the file says of each position, in order: its number, its kind, the position at
// which the record was created, and its chain of functions. The creation of an unchanged record has no row
// in table log; it is read from table records.
func positions(t testing.TB, s *Store) (all []string) {
	t.Helper()
	err := s.fileOf("alice").Read(t.Context(), func(c ledger.Reader) error {
		return c.Each(t.Context(), `SELECT l.seq, l.kind, l.born, coalesce(c.path, 'person') FROM (
				SELECT seq, kind, born, chain FROM log
				UNION ALL SELECT seq, 1, born, chain FROM records WHERE seq = born AND born NOT IN (SELECT seq FROM log)
			) l LEFT JOIN chains c ON c.n = l.chain ORDER BY l.seq`, nil, func(scan func(...any) error) error {
			var seq, kind, born int64
			var by string
			err := scan(&seq, &kind, &born, &by)
			all = append(all, fmt.Sprint(seq, " ", map[int64]string{1: "created", 2: "changed", 3: "erased"}[kind], " ", born, " ", by))
			return err
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func wantPositions(t testing.TB, s *Store, want ...string) {
	t.Helper()
	if got := positions(t, s); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestEveryPositionIsAccountedFor(t *testing.T) {
	s := newStore(t, t.TempDir(), Options{})
	alice := vaulttest.Create(t, s, "alice")
	opened, _ := vaulttest.Open(t, s, "alice")
	v, ctx := opened, t.Context()
	f, _ := hat.ParseFunctionID("f")
	version, _ := hat.ParseVersion("1.0.0")
	out := vaulttest.Endpoint(t, "she/f")
	_, err := v.Enable(ctx, alice, access.Grant{
		Function: f, Version: version, Output: out, Trigger: hat.Trigger{Kind: hat.Individual},
		Bundle: bundle.Bundle{Name: "f", Properties: map[string]bundle.PropertyQuery{
			"p": {Endpoints: []bundle.EndpointQuery{{Endpoint: vaulttest.Note(t, `1`).Endpoint}}},
		}},
	})
	vaulttest.Must(t, 0, err)
	records, err := v.Append(ctx, alice, []hat.Draft{vaulttest.Note(t, `1`), vaulttest.Note(t, `2`), vaulttest.Note(t, `3`)}, false)
	vaulttest.Must(t, 0, err)
	p, err := v.Claim(ctx, vault.Claim{Function: f, Run: hat.NewRunID(), Cause: plan.ByData, Now: time.Now(), Expires: time.Now().Add(time.Minute)})
	vaulttest.Must(t, 0, err)
	done, err := v.Commit(ctx, p, vault.Output{Responses: []contract.Response{{Drafts: []hat.Draft{
		{Endpoint: out, Data: vaulttest.Data(t, `"a"`)}, {Endpoint: out, Data: vaulttest.Data(t, `"b"`)},
	}}}})
	vaulttest.Must(t, 0, err)
	for _, text := range []string{`10`, `11`} {
		_, err = v.Update(ctx, alice, []vault.Change{{ID: records[0].ID, Data: vaulttest.Data(t, text)}, {ID: done.Written[0].ID, Data: vaulttest.Data(t, text)}})
		vaulttest.Must(t, 0, err)
	}
	vaulttest.Must(t, 0, v.Erase(ctx, alice, []hat.RecordID{records[1].ID, done.Written[1].ID, records[0].ID}))
	want := []string{
		"1 created 1 person", "2 created 2 person", "3 created 3 person",
		"4 created 4 f", "5 created 5 f",
		"6 changed 1 person", "7 changed 4 person", "8 changed 1 person", "9 changed 4 person",
		"10 erased 2 person", "11 erased 5 f", "12 erased 1 person",
	}
	wantPositions(t, s, want...)
	vaulttest.CheckHAT(t, v)
}

// oldSchema is the number of migrations in files of the first published version.
const oldSchema = 5

// A file of an earlier version, which had separate rows for creations, keeps its content and can be written
// to.
func TestAFileOfAnEarlierVersionIsBroughtUp(t *testing.T) {
	s := newStore(t, t.TempDir(), Options{})
	alice := vaulttest.Create(t, s, "alice")
	opened, release := vaulttest.Open(t, s, "alice")
	ctx := context.Background()
	records, err := opened.Append(ctx, alice, []hat.Draft{vaulttest.Note(t, `1`), vaulttest.Note(t, `2`), vaulttest.Note(t, `3`), vaulttest.Note(t, `4`)}, false)
	vaulttest.Must(t, 0, err)
	_, err = opened.Update(ctx, alice, []vault.Change{{ID: records[0].ID, Data: vaulttest.Data(t, `10`)}})
	vaulttest.Must(t, 0, err)
	release()
	vaulttest.Must(t, 0, s.Close())

	db, err := sql.Open("sqlite", s.path("alice"))
	vaulttest.Must(t, 0, err)
	_, err = db.Exec(fmt.Sprintf(`DROP INDEX records_changed; CREATE INDEX records_by_change ON records (endpoint, seq);
		INSERT INTO log (seq, kind, born, endpoint, chain, at) SELECT born, 1, born, endpoint, chain, created FROM records
			WHERE born NOT IN (SELECT seq FROM log);
		DROP TABLE ranges; DROP TABLE generations; DROP TABLE superseded; ALTER TABLE grants DROP COLUMN manifest;
		ALTER TABLE pending DROP COLUMN tried; ALTER TABLE pending DROP COLUMN most; ALTER TABLE pending DROP COLUMN last_run;
		ALTER TABLE pending DROP COLUMN outages; ALTER TABLE hat DROP COLUMN records; DROP TABLE erasures;
		ALTER TABLE records DROP COLUMN salt; DROP TABLE debits; DROP TABLE debit_bundles; DROP INDEX documents_of_kind;
		DELETE FROM migrations WHERE version > %d; PRAGMA user_version = %[1]d`, oldSchema))
	vaulttest.Must(t, 0, err)
	vaulttest.Must(t, 0, db.Close())
	withoutCommitments(t, s.path("alice"))

	s = newStore(t, s.dir, Options{})
	opened, _ = vaulttest.Open(t, s, "alice")
	v := opened
	wantPositions(t, s, "1 created 1 person", "2 created 2 person", "3 created 3 person", "4 created 4 person", "5 changed 1 person")
	_, err = v.Update(ctx, alice, []vault.Change{{ID: records[2].ID, Data: vaulttest.Data(t, `30`)}})
	vaulttest.Must(t, 0, err)
	vaulttest.Must(t, 0, v.Erase(ctx, alice, []hat.RecordID{records[1].ID}))
	vaulttest.Must(t, 0, write(t, v, alice, `8`))
	wantPositions(t, s, "1 created 1 person", "2 created 2 person", "3 created 3 person", "4 created 4 person", "5 changed 1 person",
		"6 changed 3 person", "7 erased 2 person", "8 created 8 person")
	var fresh []hat.Seq
	vaulttest.Must(t, 0, v.Read(ctx, alice, func(src bundle.Source, _ hat.Seq) error {
		for r, err := range src.Scan(ctx, vaulttest.Note(t, `1`).Endpoint, bundle.Want{After: 3}).Records {
			vaulttest.Must(t, 0, err)
			fresh = append(fresh, r.Born)
		}
		return nil
	}))
	if want := []hat.Seq{1, 3, 4, 8}; !slices.Equal(fresh, want) {
		t.Errorf("new behind 3 are %v, want %v", fresh, want)
	}
	vaulttest.CheckHAT(t, v)
}
