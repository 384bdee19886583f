package ledger_test

import (
	"fmt"
	"strings"
	"testing"

	"she/internal/access"
	"she/internal/bundle"
	"she/internal/hat"
	"she/internal/vault"
	"she/internal/vault/ledger"
	"she/internal/vault/sqlite"
	"she/internal/vault/vaulttest"
)

// asked creates a vault with an index of the field n of notes.
func asked(t testing.TB, s *sqlite.Store) (*ledger.Vault, access.Caller) {
	t.Helper()
	alice := vaulttest.Create(t, s, "alice")
	opened, _ := vaulttest.Open(t, s, "alice")
	place := vaulttest.Note(t, `1`).Endpoint
	vaulttest.Must(t, 0, opened.EditDocuments(t.Context(), alice, func(e vault.Edit) error {
		return e.Put(vault.Bundles, "b", bundle.MarshalProperties(vaulttest.AskingFor([]hat.Endpoint{place}, "n")))
	}))
	settle(t, opened)
	return opened, alice
}

// Records that a page skips are not read, except those with the same key as the page's first record.
func TestWhatIsSkippedIsNotRead(t *testing.T) {
	const records, equal, without = 600, 3, 150 // records with a value; records of each value; records without a value
	v, alice := asked(t, newStore(t, t.TempDir(), sqlite.Options{}))
	var drafts []hat.Draft
	for i := range records {
		drafts = append(drafts, vaulttest.Note(t, fmt.Sprintf(`{"n":%d,"i":%d}`, i/equal, i)))
		if i%(records/without) == 0 {
			drafts = append(drafts, vaulttest.Note(t, fmt.Sprintf(`{"i":%d}`, -i-1)))
		}
	}
	_, err := v.Append(t.Context(), alice, drafts, false)
	vaulttest.Must(t, 0, err)
	for _, order := range []bundle.Order{{}, {Descending: true}, {Field: "n"}, {Field: "n", Descending: true}} {
		for _, skip := range []int{0, 1, ledger.MinSkip, ledger.MinSkip + 1, 302, records - 1, records, records + 1, records + without, 10_000} {
			vaulttest.Must(t, 0, v.Read(t.Context(), alice, func(src bundle.Source, _ hat.Seq) error {
				stream := src.Scan(t.Context(), drafts[0].Endpoint, bundle.Want{Order: &order, Skip: skip})
				read := 0
				for _, err := range stream.Records {
					vaulttest.Must(t, 0, err)
					read++
				}
				least := min(skip, records+without)
				switch {
				case order.Field != "" && skip < ledger.MinSkip:
					least = 0
				case order.Field != "" && skip < records:
					least = skip / equal * equal
				case order.Field != "":
					least = records // only records without a value are read
				}
				if stream.Skipped > skip || stream.Skipped < least || !stream.InOrder ||
					read != max(0, records+without-stream.Skipped) {
					t.Errorf("%+v: of %d, %d were left out and %d read", order, skip, stream.Skipped, read)
				}
				return nil
			}))
		}
	}
	for _, want := range []bundle.Want{{After: 5}, {Upto: 500}} {
		want.Skip, want.Order = 200, &bundle.Order{}
		vaulttest.Must(t, 0, v.Read(t.Context(), alice, func(src bundle.Source, _ hat.Seq) error {
			if s := src.Scan(t.Context(), drafts[0].Endpoint, want); s.Skipped != 0 {
				t.Errorf("%+v: %d left out, and nobody knows which count", want, s.Skipped)
			}
			return nil
		}))
	}
}

func BenchmarkSkip(b *testing.B) {
	v, alice := asked(b, newStore(b, b.TempDir(), sqlite.Options{}))
	const records = 100_000
	for from := 0; from < records; from += 1000 {
		var drafts []hat.Draft
		for i := range 1000 {
			drafts = append(drafts, vaulttest.Note(b, fmt.Sprintf(`{"n":%d,"x":"%s"}`, from+i, strings.Repeat("x", 480))))
		}
		_, err := v.Append(b.Context(), alice, drafts, false)
		vaulttest.Must(b, 0, err)
	}
	take := 100
	for _, orderBy := range []string{"", "n"} {
		b.Run(fmt.Sprintf("by=%s", orderBy), func(b *testing.B) {
			for b.Loop() {
				rows := 0
				vaulttest.Must(b, 0, v.Read(b.Context(), alice, func(src bundle.Source, _ hat.Seq) error {
					_, err := bundle.Evaluate(b.Context(), bundle.PropertyQuery{
						Endpoints: []bundle.EndpointQuery{{Endpoint: vaulttest.Note(b, `1`).Endpoint}}, OrderBy: orderBy,
					}, src, bundle.Within{Page: bundle.Page{Skip: records / 2, Take: &take}}, func(bundle.Row) error { rows++; return nil })
					return err
				}))
				if rows != take {
					b.Fatalf("%d rows", rows)
				}
			}
		})
	}
}
