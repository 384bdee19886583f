package edge

import (
	"net/http/httptest"
	"net/url"
	"testing"

	"she/internal/hat"
)

func TestQueryParameters(t *testing.T) {
	id1, id2 := hat.NewRecordID(), hat.NewRecordID()
	values := func(q string) url.Values { return must(url.ParseQuery(q)) }
	if n, err := IntParam(values("take=7"), "take", 1000); n != 7 || err != nil {
		t.Errorf("take=7: %d, %v", n, err)
	}
	if n, err := IntParam(values("take="), "take", 1000); n != 1000 || err != nil {
		t.Errorf("take=: %d, %v", n, err)
	}
	for _, bad := range []string{"take=-1", "take=x", "take=1.5", "take=99999999999", "take=+x", "take=0x10"} {
		if _, err := IntParam(values(bad), "take", 1000); err == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
	for text, want := range map[string]bool{"true": true, "1": true, "false": false, "0": false} {
		if got, found, err := BoolParam(values("b="+text), "b"); got != want || !found || err != nil {
			t.Errorf("b=%s: %v, %v, %v", text, got, found, err)
		}
	}
	if _, _, err := BoolParam(values("b=yes"), "b"); err == nil {
		t.Error("b=yes is accepted")
	}
	for _, q := range []string{
		"records=" + id1.String() + "&records=" + id2.String(),
		"records=" + id1.String() + "," + id2.String(),
		"records=" + id1.String() + "," + id2.String() + "&records=" + id1.String(),
		"records=," + id1.String() + ",," + id2.String() + ",",
	} {
		ids, err := RecordsParam(values(q))
		if err != nil || len(ids) != 2 || ids[0] != id1 || ids[1] != id2 {
			t.Errorf("%s: %v, %v", q, ids, err)
		}
	}
	if _, err := RecordsParam(values("records=abc")); err == nil {
		t.Error("records=abc is accepted")
	}
}

func FuzzQueryParameters(f *testing.F) {
	f.Add("take=1&skip=2&records=a,b&skipErrors=true")
	f.Fuzz(func(t *testing.T, raw string) {
		q := &Request{Request: httptest.NewRequest("GET", "/", nil)}
		q.URL.RawQuery = raw
		values, err := q.Query()
		if err != nil {
			return
		}
		if n, err := IntParam(values, "take", 5); err == nil && n < 0 {
			t.Fatalf("take = %d", n)
		}
		if ids, err := RecordsParam(values); err == nil {
			seen := map[hat.RecordID]bool{}
			for _, id := range ids {
				if seen[id] {
					t.Fatal("an id comes twice")
				}
				seen[id] = true
			}
		}
	})
}
