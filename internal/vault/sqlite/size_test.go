package sqlite

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"she/internal/access"
	"she/internal/bundle"
	"she/internal/hat"
	"she/internal/plan"
	"she/internal/vault"
	"she/internal/vault/ledger"
	"she/internal/vault/vaulttest"
)

// mostTrees, which rowPages uses, is at least the number of trees that a row is in.
func TestNoRowIsInMoreTreesThanAreCounted(t *testing.T) {
	s := newStore(t, t.TempDir(), Options{})
	vaulttest.Create(t, s, "alice")
	vaulttest.Open(t, s, "alice")
	for _, table := range texts(t, s.fileOf("alice"), `SELECT tbl_name || ': ' || count(*) FROM sqlite_schema
		WHERE rootpage > 0 GROUP BY tbl_name HAVING count(*) > `+fmt.Sprint(mostTrees)) {
		t.Error(table, "trees")
	}
}

func TestTextsCountAsPages(t *testing.T) {
	for _, c := range []struct {
		rows  int64
		args  []any
		least int64
	}{
		{1, []any{strings.Repeat("x", 10<<20)}, 10 << 20 / (pageSize - 4)},
		{1, []any{int64(1), nil, make([]byte, 10<<20)}, 10 << 20 / (pageSize - 4)},
		{64, []any{1, true}, 64 * mostTrees},
		{1, []any{hat.Seq(1)}, unknownPages},
	} {
		if got := mostPages(c.rows, c.args); got < c.least {
			t.Errorf("%d rows of %T: %d pages, want %d at least", c.rows, c.args, got, c.least)
		}
	}
}

// sizes returns the bound of the file's pages and their real number.
func sizes(t testing.TB, f *file) (bound, pages int64) {
	t.Helper()
	f.writerLock <- struct{}{}
	defer func() { <-f.writerLock }()
	err := f.Read(context.Background(), func(c ledger.Reader) error { return c.Get(context.Background(), "PRAGMA page_count", nil, &pages) })
	return vaulttest.Must(t, f.pages, err), pages
}

// After any append, the file has no more pages than the bound. Far from the limit, the real number is never
// read.
func TestAppendsAreCounted(t *testing.T) {
	s := newStore(t, t.TempDir(), Options{Storage: func(hat.ID) plan.Storage { return plan.Storage{Bytes: 1 << 40} }})
	alice := vaulttest.Create(t, s, "alice")
	opened, _ := vaulttest.Open(t, s, "alice")
	v := opened
	vaulttest.SortBy(t, v, alice, "sorted", "n", "text")
	settle(t, s.fileOf("alice"))
	_, err := v.Enable(t.Context(), alice, access.Grant{
		Function: vaulttest.Parsed(hat.ParseFunctionID("f")), Version: vaulttest.Parsed(hat.ParseVersion("1.0.0")), Output: vaulttest.Endpoint(t, "she/f"),
		Trigger: hat.Trigger{Kind: hat.Individual},
		Bundle: bundle.Bundle{Name: "f", Properties: map[string]bundle.PropertyQuery{
			"p": {Endpoints: []bundle.EndpointQuery{{Endpoint: vaulttest.Endpoint(t, "rumpel/notes")}}},
		}},
	})
	vaulttest.Must(t, 0, err)
	n := 0
	draft := func(size int) hat.Draft {
		n++
		return vaulttest.Note(t, fmt.Sprintf(`{"n":%d,"text":"%s"}`, n, strings.Repeat("x", size)))
	}
	vaulttest.Append(t, v, alice, []hat.Draft{draft(1)}) // reads the number once
	asked := 0
	for round := range 60 {
		var drafts []hat.Draft
		skip := false
		switch round % 6 {
		case 0:
			drafts = []hat.Draft{draft(500)}
		case 1:
			for range 1 + round*3 {
				drafts = append(drafts, draft(300))
			}
		case 2:
			drafts = []hat.Draft{draft(1 << 20)}
		case 3:
			parent := draft(10)
			for range 5 {
				parent.Links = append(parent.Links, draft(5000))
			}
			drafts = []hat.Draft{parent}
		case 4:
			again := draft(100)
			drafts, skip = []hat.Draft{again, again, draft(100)}, true
		case 5:
			d := draft(100)
			d.Endpoint = vaulttest.Endpoint(t, fmt.Sprintf("a/place-%d", round))
			drafts = []hat.Draft{d}
		}
		before, _ := sizes(t, s.fileOf("alice"))
		if _, err := v.Append(t.Context(), alice, drafts, skip); err != nil {
			t.Fatal(err)
		}
		bound, pages := sizes(t, s.fileOf("alice"))
		if bound < pages {
			t.Fatalf("round %d: %d pages, at most %d were counted", round, pages, bound)
		}
		if bound < before {
			asked++
		}
	}
	if bound, pages := sizes(t, s.fileOf("alice")); asked > 0 || bound >= unknownPages || bound == pages {
		t.Errorf("the file was asked: %d pages, %d counted, asked again %d times", pages, bound, asked)
	}
	// A transaction that is not counted makes the bound unknown.
	erased, err := v.Append(t.Context(), alice, []hat.Draft{draft(1)}, false)
	vaulttest.Must(t, 0, err)
	vaulttest.Must(t, 0, v.Erase(t.Context(), alice, []hat.RecordID{erased[0].ID}))
	if bound, _ := sizes(t, s.fileOf("alice")); bound != unknownPages {
		t.Errorf("after an erasure %d pages are counted", bound)
	}
}

// A HAT that is filled by counted appends only is full at its limit, neither earlier nor later.
func TestAHATIsFullAtItsLimit(t *testing.T) {
	const limit, size = 64 << 20, 700_000
	s := newStore(t, t.TempDir(), Options{Storage: func(hat.ID) plan.Storage { return plan.Storage{Bytes: limit} }})
	alice := vaulttest.Create(t, s, "alice")
	opened, _ := vaulttest.Open(t, s, "alice")
	v := opened
	for n := 0; ; n++ {
		err := write(t, v, alice, fmt.Sprintf(`{"n":%d,"text":"%s"}`, n, strings.Repeat("x", size)))
		_, pages := sizes(t, s.fileOf("alice"))
		if pages*pageSize > limit {
			t.Fatalf("after %d records it holds %d bytes of %d", n, pages*pageSize, limit)
		}
		var over *vault.QuotaError
		if errors.As(err, &over) {
			if free := limit - pages*pageSize; free > size+64<<10 {
				t.Errorf("refused with %d bytes free", free)
			}
			return
		}
		vaulttest.Must(t, 0, err)
	}
}
