package bundle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	"she/internal/hat"
	"she/internal/pgtest"
)

// many records at one endpoint, as the store would number them.
func many(t testing.TB, n int, text func(i int) string) *memory {
	m := &memory{}
	e := endpoint(t, "a/a")
	for i := range n {
		m.records = append(m.records, hat.Record{ID: hat.NewRecordID(), Endpoint: e, Data: data(t, text(i)), Seq: hat.Seq(i + 1), Born: hat.Seq(i + 1)})
	}
	return m
}

func property(t testing.TB, text string) PropertyQuery {
	t.Helper()
	p, err := ParseProperties([]byte(`{"p":` + text + `}`))
	if err != nil {
		t.Fatal(err)
	}
	return p["p"]
}

func borns(t testing.TB, q PropertyQuery, src Source, within Within) (got []int, counts Counts) {
	t.Helper()
	counts, err := Evaluate(t.Context(), q, src, within, func(r Row) error {
		got = append(got, int(r.Born))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got, counts
}

func TestOrderedSourceIsReadOnlyAsFarAsNeeded(t *testing.T) {
	m := many(t, 20_000, func(i int) string { return fmt.Sprintf(`{"at":%d}`, i*7919%20_000) })
	m.ordered = true
	got, counts := borns(t, property(t, `{"endpoints":[{"endpoint":"a/a"}],"orderBy":"at","ordering":"descending","limit":100}`), m, Within{})
	if len(got) != 100 || m.read > 102 {
		t.Errorf("%d rows of %d records read", len(got), m.read)
	}
	if counts.Hidden != 1 || !counts.More {
		t.Errorf("what the limit hides is counted as %+v", counts)
	}
	// The same by age, newest first, and with a filter few pass: the look ahead is short.
	m.read = 0
	got, _ = borns(t, property(t, `{"endpoints":[{"endpoint":"a/a","filters":[{"field":"at","operator":{"operator":"between","lower":0,"upper":19990}}]}],"ordering":"descending","limit":10}`), m, Within{})
	if len(got) != 10 || got[0] < 19_000 || m.read > 10+lookahead+20 {
		t.Errorf("%v of %d records read", got, m.read)
	}
	// A page needs no look ahead at all.
	m.read = 0
	if got, counts = borns(t, property(t, `{"endpoints":[{"endpoint":"a/a"}]}`), m, Within{Page: Page{5, take(3)}}); fmt.Sprint(got) != "[6 7 8]" || m.read > 9 || counts.Hidden != 0 || counts.More {
		t.Errorf("%v of %d records read, %+v", got, m.read, counts)
	}
}

func TestCounts(t *testing.T) {
	m := many(t, 50, func(i int) string { return fmt.Sprintf(`{"at":%d}`, i) })
	for _, c := range []struct {
		query  string
		within Within
		want   Counts
	}{
		{`{"endpoints":[{"endpoint":"a/a"}],"orderBy":"at","limit":20}`, Within{}, Counts{Rows: 20, Hidden: 30}},
		{`{"endpoints":[{"endpoint":"a/a"}],"orderBy":"at","limit":20}`, Within{After: 30}, Counts{Rows: 20}},
		{`{"endpoints":[{"endpoint":"a/a"}],"orderBy":"at"}`, Within{Page: Page{0, take(5)}}, Counts{Rows: 5}},
		{`{"endpoints":[{"endpoint":"a/a"}],"limit":50}`, Within{}, Counts{Rows: 50}},
		{`{"endpoints":[{"endpoint":"a/a"}],"limit":0}`, Within{}, Counts{More: true}},
		{`{"endpoints":[{"endpoint":"a/a"}],"limit":49}`, Within{}, Counts{Rows: 49, Hidden: 1, More: true}},
	} {
		if _, got := borns(t, property(t, c.query), m, c.within); got != c.want {
			t.Errorf("%s %+v: got %+v, want %+v", c.query, c.within, got, c.want)
		}
	}
}

// 100 records of one sort key, read in pages of 7: each exactly once.
func TestPagesOverEqualKeys(t *testing.T) {
	m := many(t, 100, func(int) string { return `{"k":1}` })
	for _, m.ordered = range []bool{false, true} {
		seen := map[int]int{}
		for skip := 0; skip < 105; skip += 7 {
			got, _ := borns(t, property(t, `{"endpoints":[{"endpoint":"a/a"}],"orderBy":"k","ordering":"descending"}`), m, Within{Page: Page{skip, take(7)}})
			for _, b := range got {
				seen[b]++
			}
		}
		for b := 1; b <= 100; b++ {
			if seen[b] != 1 {
				t.Fatalf("ordered %v: record %d came %d times", m.ordered, b, seen[b])
			}
		}
	}
}

func TestWithin(t *testing.T) {
	m := many(t, 6, func(i int) string { return fmt.Sprintf(`{"name":"n%d","deep":[{"name":["x","n%d"]}]}`, i, i+1) })
	f, _ := hat.ParseFunctionID("writer")
	m.records[2].Function = f
	m.records[0].Seq = 9 // changed after all others were written
	q := property(t, `{"endpoints":[{"endpoint":"a/a"}]}`)
	attribute := func(name string, values ...string) func(hat.Record) bool {
		a := Attribute{name, values}
		return func(r hat.Record) bool { return a.Match(r.Data) }
	}
	for name, c := range map[string]struct {
		within Within
		want   string
	}{
		"without own output":       {Within{NotBy: f}, "[1 2 4 5 6]"},
		"new since 3":              {Within{After: 3}, "[1 4 5 6]"},
		"snapshot":                 {Within{After: 2, Upto: 5}, "[3 4 5]"},
		"attribute at any depth":   {Within{Keep: attribute("name", "n3")}, "[3 4]"},
		"one of two values":        {Within{Keep: attribute("name", "n0", "n6")}, "[1 6]"},
		"attribute by path":        {Within{Keep: attribute("deep.0.name", "n3")}, "[]"}, // an array there
		"path to a text":           {Within{Keep: attribute("deep.0.name.1", "n3")}, "[3]"},
		"attribute nobody has":     {Within{Keep: attribute("none", "n3")}, "[]"},
		"attribute that is object": {Within{Keep: attribute("deep", "n3")}, "[]"},
	} {
		got, _ := borns(t, q, m, c.within)
		if s := strings.ReplaceAll(fmt.Sprint(got), "<nil>", ""); s != c.want {
			t.Errorf("%s: got %s, want %s", name, s, c.want)
		}
	}
}

// broken is a source that does what it must not.
type broken struct {
	*memory
	after int // records until err
	err   error
	lies  bool
}

func (b broken) Scan(ctx context.Context, e hat.Endpoint, want Want) Stream {
	s := b.memory.Scan(ctx, e, want)
	s.InOrder = s.InOrder || b.lies
	records := s.Records
	s.Records = func(yield func(hat.Record, error) bool) {
		n := 0
		for r, err := range records {
			if n++; b.err != nil && n > b.after {
				err = b.err
			}
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
	return s
}

func (b broken) Linked(ctx context.Context, id hat.RecordID, e hat.Endpoint) iter.Seq2[hat.Record, error] {
	return func(yield func(hat.Record, error) bool) { yield(hat.Record{}, b.err) }
}

func TestFailures(t *testing.T) {
	m := many(t, 1000, func(i int) string { return fmt.Sprintf(`{"at":%d}`, (i*7)%1000) })
	none := func(Row) error { return nil }
	plain := property(t, `{"endpoints":[{"endpoint":"a/a"}]}`)
	sorted := property(t, `{"endpoints":[{"endpoint":"a/a"}],"orderBy":"at"}`)
	merged := property(t, `{"endpoints":[{"endpoint":"a/a"},{"endpoint":"b/b"}]}`)
	linked := property(t, `{"endpoints":[{"endpoint":"a/a","links":[{"endpoint":"b/b"}]}]}`)
	disk := errors.New("disk")
	full := errors.New("full")
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		ctx    context.Context
		query  PropertyQuery
		src    Source
		within Within
		yield  func(Row) error
		want   error
	}{
		"source, streamed":  {t.Context(), plain, broken{m, 10, disk, false}, Within{}, none, disk},
		"source, sorted":    {t.Context(), sorted, broken{m, 10, disk, false}, Within{}, none, disk},
		"source, merged":    {t.Context(), merged, broken{m, 10, disk, false}, Within{}, none, disk},
		"source, at once":   {t.Context(), merged, broken{m, 0, disk, false}, Within{}, none, disk},
		"links":             {t.Context(), linked, broken{m, 5000, disk, false}, Within{}, none, disk},
		"yield":             {t.Context(), plain, m, Within{}, func(Row) error { return full }, full},
		"yield, sorted":     {t.Context(), sorted, m, Within{}, func(Row) error { return full }, full},
		"a lie about order": {t.Context(), sorted, broken{m, 0, nil, true}, Within{}, none, ErrDisorder},
		"too much to sort":  {t.Context(), sorted, m, Within{Hold: 100_000}, none, ErrTooMuch},
		"cancelled":         {cancelled, plain, m, Within{}, none, context.Canceled},
		"cancelled, sorted": {cancelled, sorted, m, Within{}, none, context.Canceled},
	} {
		if _, err := Evaluate(c.ctx, c.query, c.src, c.within, c.yield); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
	// With a limit the same fits.
	sorted.Limit = take(10)
	if _, err := Evaluate(t.Context(), sorted, m, Within{Hold: 100_000}, none); err != nil {
		t.Error(err)
	}
	for _, w := range []Within{{Page: Page{Skip: -1}}, {Page: Page{Take: take(-1)}}} {
		if _, err := Evaluate(t.Context(), plain, m, w, none); err == nil {
			t.Errorf("%+v is accepted", w)
		}
	}
}

func TestMappingMayNotMultiply(t *testing.T) {
	m := many(t, 1, func(int) string { return `{"big":"` + strings.Repeat("x", 1<<20) + `"}` })
	entry := func(n int) string {
		var parts []string
		for i := range n {
			parts = append(parts, fmt.Sprintf(`"k%d":"big"`, i))
		}
		return `{"endpoints":[{"endpoint":"a/a","mapping":{` + strings.Join(parts, ",") + `}}]}`
	}
	none := func(Row) error { return nil }
	if _, err := Evaluate(t.Context(), property(t, entry(15)), m, Within{}, none); err != nil {
		t.Error(err)
	}
	if _, err := Evaluate(t.Context(), property(t, entry(17)), m, Within{}, none); !errors.Is(err, ErrMappedTooLarge) {
		t.Errorf("got %v", err)
	}
	// Also where destinations meet.
	meeting := strings.Replace(entry(17), `"k0":`, `"k1.x":"none","k0":`, 1)
	if _, err := Evaluate(t.Context(), property(t, meeting), m, Within{}, none); !errors.Is(err, ErrMappedTooLarge) {
		t.Errorf("got %v", err)
	}
}

// Whichever way an evaluation takes, the answer is the same: sorted, streamed from an ordered source, and by the
// simplest code there is.
func TestWaysAgree(t *testing.T) {
	m := pgtest.Random{Rand: rand.New(rand.NewPCG(7, 7))}
	for round := range 300 {
		src := &memory{}
		for i := range m.IntN(40) {
			src.records = append(src.records, hat.Record{ID: hat.NewRecordID(), Endpoint: endpoint(t, pgtest.Pick(m, "a/a", "b/b", "c/c")),
				Data: data(t, `{"k":`+m.Value(1)+`}`), Seq: hat.Seq(i + 1), Born: hat.Seq(i + 1)})
		}
		order := pgtest.Pick(m, `"orderBy":"k",`, ``) + pgtest.Pick(m, `"ordering":"descending",`, ``)
		q := property(t, `{`+order+`"endpoints":[{"endpoint":"a/a"},{"endpoint":"b/b"},{"endpoint":"a/a"},{"endpoint":"c/c","filters":[{"field":"k","operator":{"operator":"between","lower":1,"upper":[]}}]}]}`)
		all, _ := borns(t, q, src, Within{})
		for _, src.ordered = range []bool{false, true} {
			skip, n, limit := m.IntN(20), m.IntN(20), m.IntN(40)
			q.Limit = &limit
			got, counts := borns(t, q, src, Within{Page: Page{skip, &n}})
			want := all[min(skip, len(all)):min(max(skip, min(limit, skip+n)), len(all))]
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Fatalf("round %d, ordered %v, skip %d take %d limit %d: got %v, want %v", round, src.ordered, skip, n, limit, got, want)
			}
			if beyond := max(0, len(all)-limit); counts.Hidden > beyond || counts.Hidden > 0 && !counts.More && counts.Hidden != beyond {
				t.Fatalf("round %d: %d are hidden, counted %+v", round, beyond, counts)
			}
			q.Limit = nil
		}
	}
}

func TestEvaluateBundleHasEachProperty(t *testing.T) {
	b, err := Parse([]byte(`{"name":"b","bundle":{"some":{"endpoints":[{"endpoint":"demo/b"}]},"none":{"endpoints":[{"endpoint":"x/y"}]}}}`))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	counts, err := EvaluateBundle(t.Context(), b, demo(t), Within{}, func(property string, r Row) error {
		got = append(got, property)
		return nil
	})
	if err != nil || fmt.Sprint(got) != "[some some]" || len(counts) != 2 || counts["some"].Rows != 2 {
		t.Errorf("%v %v %v", got, counts, err)
	}
}

// More sources than are looked at one by one, some of which begin alike.
func TestManySources(t *testing.T) {
	var pairs, parts, want []string
	for i := range 40 {
		pairs = append(pairs, fmt.Sprintf(`"k%02d":{"v":%d}`, i, i))
		parts = append(parts, fmt.Sprintf(`"m%02d":"k%02d.v"`, i, i))
		want = append(want, fmt.Sprintf(`"m%02d":%d`, i, i))
	}
	m := many(t, 1, func(int) string { return "{" + strings.Join(pairs, ",") + "}" })
	q := property(t, `{"endpoints":[{"endpoint":"a/a","mapping":{`+strings.Join(parts, ",")+`}}]}`)
	if _, err := Evaluate(t.Context(), q, m, Within{}, func(r Row) error {
		if r.Data != data(t, "{"+strings.Join(want, ",")+"}") {
			t.Errorf("got %s", r.Data.JSON())
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// typical is a record of about 500 bytes, as plugs write them.
const typical = `{"id":"%08d","kind":"status","text":"Went for a run along the river before work, the first time this spring; the light was lovely and the path nearly empty.","author":{"id":"77120","name":"Ada Lovelace","verified":true},"tags":["running","morning","river"],"likes":%d,"created_time":"2024-03-%02dT09:15:00.000Z","location":{"lat":51.507351,"lon":-0.127758,"city":"London"},"lang":"en","source":"web","shared":false,"privacy":{"kind":"friends","allow":[],"deny":[]},"updated_time":"2024-03-02T09:15:00.000Z"}`

var (
	mapped = `{"endpoints":[{"endpoint":"a/a","mapping":{"message":"text","who.name":"author.name","when":"created_time","city":"location.city"},
		"filters":[{"field":"created_time","operator":{"operator":"between","lower":"2024-03-01","upper":"2024-04-01"}}]}]}`
	sorted100 = strings.TrimSuffix(mapped, "}") + `,"orderBy":"when","ordering":"descending","limit":100}`
)

// cpu is the processor time this process has used, which other work on the machine doesn't change much.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// bare is a source that costs next to nothing.
type bare []hat.Record

func (s bare) Scan(context.Context, hat.Endpoint, Want) Stream {
	return Stream{Records: func(yield func(hat.Record, error) bool) {
		for i := range s {
			if !yield(s[i], nil) {
				return
			}
		}
	}}
}

func (s bare) Linked(context.Context, hat.RecordID, hat.Endpoint) iter.Seq2[hat.Record, error] {
	return func(func(hat.Record, error) bool) {}
}

func BenchmarkEvaluate(b *testing.B) {
	const n = 20_000
	m := many(b, n, func(i int) string { return fmt.Sprintf(typical, i, i%977, i%28+1) })
	for name, query := range map[string]string{"map": mapped, "sort100": sorted100} {
		q := property(b, query)
		b.Run(name, func(b *testing.B) {
			start := cpu()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Evaluate(b.Context(), q, bare(m.records), Within{}, func(r Row) error { return nil }); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(n)*float64(b.N)/(cpu()-start).Seconds(), "records/cpu-s")
		})
	}
	b.Run("encoding-json", func(b *testing.B) {
		start := cpu()
		b.ReportAllocs()
		for b.Loop() {
			for _, r := range m.records {
				var v map[string]any
				if err := json.Unmarshal([]byte(r.Data.JSON()), &v); err != nil {
					b.Fatal(err)
				}
				if at := v["created_time"].(string); at < "2024-03-01" || at > "2024-04-01" {
					continue
				}
				out, err := json.Marshal(map[string]any{"message": v["text"], "when": v["created_time"],
					"who": map[string]any{"name": v["author"].(map[string]any)["name"]}, "city": v["location"].(map[string]any)["city"]})
				if err != nil || len(out) == 0 {
					b.Fatal(err)
				}
			}
		}
		b.ReportMetric(float64(n)*float64(b.N)/(cpu()-start).Seconds(), "records/cpu-s")
	})
}
