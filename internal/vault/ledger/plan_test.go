package ledger_test

import (
	"context"
	"strings"
	"testing"

	"she/internal/bundle"
	"she/internal/vault/ledger"
	"she/internal/vault/sqlite"
	"she/internal/vault/vaulttest"
)

// Reading must use the indexes made for it: it never reads a whole table and never sorts whole records.
func TestReadingUsesTheIndexes(t *testing.T) {
	s := newStore(t, t.TempDir(), sqlite.Options{})
	vaulttest.Create(t, s, "alice")
	v, _ := vaulttest.Open(t, s, "alice")
	e := vaulttest.Note(t, `1`).Endpoint
	ctx := context.Background()
	for _, c := range []struct {
		says string
		want bundle.Want
		uses string
	}{
		{"all in order", bundle.Want{}, "records_in_order"},
		{"newest first", bundle.Want{Order: &bundle.Order{Descending: true}}, "records_in_order"},
		{"a snapshot", bundle.Want{Upto: 9}, "records_in_order"},
		{"what is new", bundle.Want{After: 7}, "records_changed"},
		{"what is new in a snapshot", bundle.Want{After: 7, Upto: 9}, "records_changed"},
	} {
		query, args := ledger.ScanQuery(e, c.want)
		var steps []string
		err := v.Rows().Read(ctx, func(conn ledger.Reader) error {
			return conn.Each(ctx, "EXPLAIN QUERY PLAN "+query, args, func(scan func(...any) error) error {
				var id, parent, unused int
				var detail string
				err := scan(&id, &parent, &unused, &detail)
				steps = append(steps, detail)
				return err
			})
		})
		if err != nil {
			t.Fatal(err)
		}
		plan := strings.Join(steps, "\n")
		if !strings.Contains(plan, c.uses) || strings.Contains(plan, "SCAN") || strings.Contains(plan, "TEMP B-TREE") {
			t.Errorf("%s:\n%s", c.says, plan)
		}
	}
}
