package bundle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"she/internal/hat"
	"she/internal/jsonb"
)

// memory is a Source over a slice. With ordered it answers each Scan in the order that is wanted, as a store with an
// index would, and counts what was read.
type memory struct {
	records []hat.Record
	groups  [][]hat.RecordID
	ordered bool
	read    int
}

func (m *memory) Scan(_ context.Context, e hat.Endpoint, want Want) Stream {
	var found []hat.Record
	for _, r := range m.records {
		if r.Endpoint == e {
			found = append(found, r)
		}
	}
	inOrder := m.ordered && want.Order != nil
	if inOrder {
		slices.SortStableFunc(found, func(a, b hat.Record) int { return wanted(*want.Order, a, b) })
	}
	return Stream{InOrder: inOrder, Records: func(yield func(hat.Record, error) bool) {
		for _, r := range found {
			if m.read++; !yield(r, nil) {
				return
			}
		}
	}}
}

// wanted is the order that Order promises, written down a second time.
func wanted(o Order, a, b hat.Record) int {
	c := int(a.Born - b.Born)
	if o.Field != "" {
		va, oka := Lookup(a.Data, o.Field)
		vb, okb := Lookup(b.Data, o.Field)
		switch {
		case oka && okb:
			if c := jsonb.Compare(nil, va.JSON(), vb.JSON()); c != 0 && o.Descending {
				return -c
			} else if c != 0 {
				return c
			}
		case oka:
			return -1
		case okb:
			return 1
		}
	} else if o.Descending {
		return -c
	}
	return c
}

func (m *memory) Linked(_ context.Context, id hat.RecordID, e hat.Endpoint) iter.Seq2[hat.Record, error] {
	return func(yield func(hat.Record, error) bool) {
		for _, r := range m.records {
			for _, g := range m.groups {
				if r.Endpoint == e && r.ID != id && slices.Contains(g, id) && slices.Contains(g, r.ID) {
					if !yield(r, nil) {
						return
					}
					break
				}
			}
		}
	}
}

func data(t testing.TB, text string) hat.Data {
	t.Helper()
	d, err := hat.ParseData([]byte(text))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return d
}

func endpoint(t testing.TB, text string) hat.Endpoint {
	t.Helper()
	e, err := hat.ParseEndpoint(text)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// demo holds the seven records of the worked examples.
func demo(t testing.TB) *memory {
	m := &memory{}
	for i, r := range [][2]string{
		{"demo/a", `{"id":1,"kind":"note","tags":["red","blue"],"score":10,"at":"2024-03-01T09:15:00Z","ts":1709284500,"author":{"name":"Ada","age":36},"items":[{"n":"x","q":1},{"n":"y"}]}`},
		{"demo/a", `{"id":2,"kind":"Note","tags":["blue"],"score":9.5,"at":"2024-03-02T18:45:00Z","ts":1709405100,"author":{"name":"Bob"}}`},
		{"demo/a", `{"id":3,"kind":"photo","tags":[],"score":"10","at":"2024-03-03T07:05:00+02:00","ts":1709442300,"author":{"name":null}}`},
		{"demo/a", `{"id":4,"kind":"photo","score":null,"text":"Running shoes in London"}`},
		{"demo/b", `{"ref":"b1","created":"2024-03-02T00:00:00Z","title":"from b"}`},
		{"demo/b", `{"ref":"b2","title":"no date"}`},
		{"demo/n", `{"remind":"tomorrow"}`},
	} {
		seq := hat.Seq(i + 1)
		m.records = append(m.records, hat.Record{ID: hat.NewRecordID(), Endpoint: endpoint(t, r[0]), Data: data(t, r[1]),
			Seq: seq, Born: seq, Created: time.Date(2024, 3, 5, 10, 0, 0, int(seq)*1e6, time.UTC)})
	}
	m.groups = [][]hat.RecordID{{m.records[0].ID, m.records[6].ID}}
	return m
}

// answer evaluates and tells the rows by their place in the demo: "r1 r2".
func answer(t *testing.T, m *memory, q PropertyQuery, within Within) (ids string, rows []Row) {
	t.Helper()
	counts, err := Evaluate(t.Context(), q, m, within, func(r Row) error {
		rows = append(rows, r)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if counts.Rows != len(rows) {
		t.Errorf("counted %d rows, yielded %d", counts.Rows, len(rows))
	}
	var names []string
	for _, r := range rows {
		i := slices.IndexFunc(m.records, func(o hat.Record) bool { return o.ID == r.ID })
		names = append(names, fmt.Sprintf("r%d", i+1))
	}
	return strings.Join(names, " "), rows
}

func take(n int) *int { return &n }

func TestWorkedExamples(t *testing.T) {
	two := func(rest string) string {
		return `{"endpoints":[{"endpoint":"demo/a","mapping":{"when":"at","what":"kind"}},
			{"endpoint":"demo/b","mapping":{"when":"created","what":"title"}}]` + rest + `}`
	}
	rest := func(rest string) string { return `{"endpoints":[{"endpoint":"demo/a"}]` + rest + `}` }
	with := func(more string) string { return `{"endpoints":[{"endpoint":"demo/a",` + more + `}]}` }
	filter := func(field, operator string) string {
		return with(`"filters":[{"field":"` + field + `","operator":{"operator":` + operator + `}}]`)
	}
	transform := func(field, transformation, operator string) string {
		return with(`"filters":[{"field":"` + field + `","transformation":{"transformation":` + transformation + `},"operator":{"operator":` + operator + `}}]`)
	}
	mapping := func(m string) string { return with(`"mapping":` + m) }
	all := "r1 r2 r3 r4"
	for _, c := range []struct {
		name, query string
		within      Within
		ids         string
		data        []string // of the rows, if it matters
	}{
		{"E1", rest(""), Within{}, all, nil},
		{"E2 descending", rest(`,"ordering":"descending"`), Within{}, "r4 r3 r2 r1", nil},
		{"E2 DESC", rest(`,"ordering":"DESC"`), Within{}, all, nil},
		{"E3 asc", rest(`,"orderBy":"score"`), Within{}, "r4 r3 r2 r1", nil},
		{"E3 desc", rest(`,"orderBy":"score","ordering":"descending"`), Within{}, "r1 r2 r3 r4", nil},
		{"E4 asc", rest(`,"orderBy":"author.name"`), Within{}, "r3 r1 r2 r4", nil},
		{"E4 desc", rest(`,"orderBy":"author.name","ordering":"descending"`), Within{}, "r2 r1 r3 r4", nil},
		{"E5", filter("kind", `"contains","value":"note"`), Within{}, "r1", nil},
		{"E6 one", filter("tags", `"contains","value":"blue"`), Within{}, "r1 r2", nil},
		{"E6 both", filter("tags", `"contains","value":["blue","red"]`), Within{}, "r1", nil},
		{"E7", filter("author", `"contains","value":{"name":"Ada"}`), Within{}, "r1", nil},
		{"E8", filter("kind", `"in","value":["note","photo"]`), Within{}, "r1 r3 r4", nil},
		{"E9", filter("tags", `"in","value":["blue","green"]`), Within{}, "r2 r3", nil},
		{"E10 9 to 10", filter("score", `"between","lower":9,"upper":10`), Within{}, "r1 r2", nil},
		{"E10 9.5", filter("score", `"between","lower":9.5,"upper":9.5`), Within{}, "r2", nil},
		{"E10 null to text", filter("score", `"between","lower":null,"upper":"10"`), Within{}, "r3 r4", nil},
		{"E11", filter("at", `"between","lower":"2024-03-01T09:15:00Z","upper":"2024-03-02T18:45:00Z"`), Within{}, "r1 r2", nil},
		{"E11b", filter("at", `"between","lower":"2024-03-03T05:00:00Z","upper":"2024-03-03T06:00:00Z"`), Within{}, "", nil},
		{"E12 between", transform("at", `"datetimeExtract","part":"hour"`, `"between","lower":5,"upper":9`), Within{}, "r1 r3", nil},
		{"E12 contains", transform("at", `"datetimeExtract","part":"hour"`, `"contains","value":18`), Within{}, "r2", nil},
		{"E13", transform("ts", `"timestampExtract","part":"dow"`, `"in","value":[0,6]`), Within{}, "r2 r3", nil},
		{"E14 stems", transform("text", `"searchable"`, `"find","search":"run london"`), Within{}, "r4", nil},
		{"E14 prefix", transform("text", `"searchable"`, `"find","search":"Lond"`), Within{}, "", nil},
		{"E16", mapping(`{"who.name":"author.name","who.years":"author.age","firstTag":"tags[0]","second":"items[1].n","ghost":"nope.nope"}`), Within{}, all,
			[]string{`{"who":{"name":"Ada","years":36},"firstTag":"red","second":"y"}`, `{"who":{"name":"Bob"},"firstTag":"blue"}`, `{"who":{"name":null}}`, `{}`}},
		{"E17", mapping(`{"label":"kind","things[]":{"source":"items[]","mappings":{"name":"n","qty":"q"}},"person":{"source":"author","mappings":{"n":"name"}}}`), Within{}, all,
			[]string{`{"label":"note","things":[{"name":"x","qty":1},{"name":"y"}],"person":{"n":"Ada"}}`, `{"label":"Note","person":{"n":"Bob"}}`, `{"label":"photo","person":{"n":null}}`, `{"label":"photo"}`}},
		{"E18", mapping(`{}`), Within{}, all, []string{`{}`, `{}`, `{}`, `{}`}},
		{"E19 bad entry", mapping(`{"label":"kind","bad":true}`), Within{}, all, []string{`{}`, `{}`, `{}`, `{}`}},
		{"E19 no object", `{"endpoints":[{"endpoint":"demo/n","mapping":"kind"}]}`, Within{}, "r7", []string{`{"remind":"tomorrow"}`}},
		{"E20", two(`,"orderBy":"when"`), Within{}, "r1 r5 r2 r3 r4 r6",
			[]string{`{"when":"2024-03-01T09:15:00Z","what":"note"}`, `{"when":"2024-03-02T00:00:00Z","what":"from b"}`, `{"when":"2024-03-02T18:45:00Z","what":"Note"}`, `{"when":"2024-03-03T07:05:00+02:00","what":"photo"}`, `{"what":"photo"}`, `{"what":"no date"}`}},
		{"E20b", two(`,"orderBy":"when","ordering":"descending"`), Within{Page: Page{1, take(2)}}, "r2 r5", nil},
		{"E20c", two(`,"orderBy":"created"`), Within{}, "r5 r1 r2 r3 r4 r6", nil},
		{"E21 page", rest(""), Within{Page: Page{1, take(2)}}, "r2 r3", nil},
		{"E21 skip of limit", rest(`,"limit":2`), Within{Page: Page{Skip: 1}}, "r2", nil},
		{"E21 limit 0", rest(`,"limit":0`), Within{}, "", nil},
		{"E23", rest(""), Within{After: 2}, "r3 r4", nil},
		{"E24 dotted", filter("items.0.n", `"contains","value":"x"`), Within{}, "r1", nil},
		{"E24 brackets", filter("items[0].n", `"contains","value":"x"`), Within{}, "", nil},
		{"E25", `{"endpoints":[{"endpoint":"demo/a","mapping":{"first":"id"},"filters":[{"field":"id","operator":{"operator":"contains","value":1}}]},
			{"endpoint":"demo/a","mapping":{"second":"id"},"filters":[{"field":"id","operator":{"operator":"between","lower":1,"upper":2}}]}]}`, Within{}, "r1 r2", []string{`{"first":1}`, `{"second":2}`}},
		{"E26", with(`"filters":[{"field":"kind","operator":{"operator":"contains","value":"photo"}},{"field":"score","operator":{"operator":"contains","value":null}}]`), Within{}, "r4", nil},
		{"E27", transform("kind", `"datetimeExtract","part":"hour"`, `"between","lower":0,"upper":23`), Within{}, "", nil},
		{"E28", mapping(`{"a":"first-name"}`), Within{}, all, []string{`{}`, `{}`, `{}`, `{}`}},
		{"E30", mapping(`{"s":"score"}`), Within{}, all, []string{`{"s":10}`, `{"s":9.5}`, `{"s":"10"}`, `{"s":null}`}},
		{"E31", `{"endpoints":[{"endpoint":"demo/a","mapping":{"x.a":"kind","x.b":"id","x":"author"}}],"limit":1}`, Within{}, "r1", []string{`{"x":{"a":"note","b":1,"age":36,"name":"Ada"}}`}},
		{"E32", filter("author", `"in","value":{"name":"Ada","age":36,"z":1}`), Within{}, "r1", nil},
		{"E10 null bound, text", filter("kind", `"between","lower":"a","upper":null`), Within{}, "", nil},
		{"limit 1 oldest", rest(`,"limit":1`), Within{}, "r1", nil},
		{"limit 1 newest", rest(`,"limit":1,"ordering":"descending"`), Within{}, "r4", nil},
		{"snapshot", rest(""), Within{Upto: 3}, "r1 r2 r3", nil},
		{"two endpoints by age", `{"endpoints":[{"endpoint":"demo/b"},{"endpoint":"demo/a"}],"ordering":"descending","limit":4}`, Within{}, "r6 r5 r4 r3", nil},
		{"no endpoints", `{"endpoints":[]}`, Within{}, "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			properties, err := ParseProperties([]byte(`{"p":` + c.query + `}`))
			if err != nil {
				t.Fatal(err)
			}
			for _, ordered := range []bool{false, true} {
				m := demo(t)
				m.ordered = ordered
				ids, rows := answer(t, m, properties["p"], c.within)
				if ids != c.ids {
					t.Errorf("ordered %v: got %q, want %q", ordered, ids, c.ids)
				}
				for i, want := range c.data {
					if i < len(rows) && rows[i].Data != data(t, want) {
						t.Errorf("row %d: got %s, want %s", i+1, rows[i].Data.JSON(), want)
					}
				}
			}
		})
	}
}

func TestWorkedExamplesRefused(t *testing.T) {
	for name, c := range map[string][3]string{
		"E15 find alone":        {`{"endpoint":"demo/a","filters":[{"field":"x","operator":{"operator":"find","search":"x"}}]}`, "obj[0].filters[0].operator", "find needs the transformation searchable"},
		"E15 searchable alone":  {`{"endpoint":"demo/a","filters":[{"field":"x","transformation":{"transformation":"searchable"},"operator":{"operator":"contains","value":"x"}}]}`, "obj[0].filters[0].operator", "the transformation searchable needs the operator find"},
		"E29":                   {`{"endpoint":"demo/a","mapping":{"a[0]":"kind"}}`, "obj[0].mapping.a[0]", "Mapping destination may not have an index"},
		"unknown part":          {`{"endpoint":"demo/a","filters":[{"field":"x","transformation":{"transformation":"datetimeExtract","part":"fortnight"},"operator":{"operator":"contains","value":1}}]}`, "obj[0].filters[0].transformation.part", "Unknown date part fortnight"},
		"unknown operator":      {`{"endpoint":"demo/a","filters":[{"field":"x","operator":{"operator":"like","value":"secret"}}]}`, "obj[0].filters[0].operator", "Unexpected JSON value like in {…}"},
		"no discriminator":      {`{"endpoint":"demo/a","filters":[{"field":"x","operator":{"value":1}}]}`, "obj[0].filters[0].operator.operator", "error.path.missing"},
		"no value":              {`{"endpoint":"demo/a","filters":[{"field":"x","operator":{"operator":"in"}}]}`, "obj[0].filters[0].operator.value", "error.path.missing"},
		"no endpoint":           {`{"mapping":{}}`, "obj[0].endpoint", "error.path.missing"},
		"bad endpoint":          {`{"endpoint":"Demo/A"}`, "obj[0].endpoint", "Endpoint invalid"},
		"endpoint of one part":  {`{"endpoint":"demo"}`, "obj[0].endpoint", "Endpoint invalid"},
		"endpoint is a number":  {`{"endpoint":1}`, "obj[0].endpoint", "error.expected.jsstring"},
		"filters are an object": {`{"endpoint":"demo/a","filters":{}}`, "obj[0].filters", "error.expected.jsarray"},
		"a bad mapping path":    {`{"endpoint":"demo/a","mapping":{"a":"b..c"}}`, "obj[0].mapping.a", "Mapping path invalid"},
	} {
		_, err := ParseCombinator([]byte("[" + c[0] + "]"))
		var fault *hat.FieldError
		if !errors.As(err, &fault) || fault.Path != c[1] || fault.Message != c[2] {
			t.Errorf("%s: got %v, want %s: %s", name, err, c[1], c[2])
		}
	}
	if _, err := Parse([]byte(`{"name":"b","bundle":{"p":{"endpoints":[],"limit":-1}}}`)); err == nil || !strings.HasPrefix(err.Error(), "obj.bundle.p.limit: ") {
		t.Errorf("E21 negative limit: %v", err)
	}
}

func TestLinks(t *testing.T) {
	m := demo(t)
	// A second group of the same two records: the link is there once.
	m.groups = append(m.groups, slices.Clone(m.groups[0]))
	for _, c := range []struct{ name, link, want string }{
		{"E22", `{"endpoint":"demo/n"}`, `{"remind":"tomorrow"}`},
		{"mapped", `{"endpoint":"demo/n","mapping":{"r":"remind"}}`, `{"r":"tomorrow"}`},
		{"filtered away", `{"endpoint":"demo/n","filters":[{"field":"remind","operator":{"operator":"contains","value":"today"}}]}`, ""},
		{"first of two queries", `{"endpoint":"demo/n","mapping":{"a":"remind"}},{"endpoint":"demo/n"}`, `{"a":"tomorrow"}`},
		{"links of links are ignored", `{"endpoint":"demo/n","links":[{"endpoint":"demo/a"}]}`, `{"remind":"tomorrow"}`},
	} {
		queries, err := ParseCombinator([]byte(`[{"endpoint":"demo/a","links":[` + c.link + `]}]`))
		if err != nil {
			t.Fatal(err)
		}
		_, rows := answer(t, m, PropertyQuery{Endpoints: queries}, Within{})
		var found []string
		for i, r := range rows {
			for _, l := range r.Links {
				if i != 0 || l.ID != m.records[6].ID {
					t.Errorf("%s: wrong link at row %d", c.name, i+1)
				}
				found = append(found, l.Data.JSON())
			}
		}
		if got := strings.Join(found, " "); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
	// r7 sees r1 in turn.
	queries, _ := ParseCombinator([]byte(`[{"endpoint":"demo/n","links":[{"endpoint":"demo/a","mapping":{"id":"id"}}]}]`))
	_, rows := answer(t, m, PropertyQuery{Endpoints: queries}, Within{})
	want := fmt.Sprintf(`{"endpoint":"demo/n","recordId":"%s","data":{"remind":"tomorrow"},"links":[{"endpoint":"demo/a","recordId":"%s","data":{"id":1}}]}`, m.records[6].ID, m.records[0].ID)
	if got := string(rows[0].AppendJSON(nil)); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if !json.Valid(rows[0].AppendJSON(nil)) {
		t.Error("the row is no JSON")
	}
}
