package bundle

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"she/internal/hat"
	"she/internal/jsonb"
)

// choices makes everything random out of bytes, so that a fuzzer can steer it. After the last byte it answers
// 0.
type choices struct{ left []byte }

func (c *choices) n(most int) int {
	if len(c.left) == 0 {
		return 0
	}
	b := int(c.left[0])
	c.left = c.left[1:]
	return b % most
}

func (c *choices) one(of ...string) string { return of[c.n(len(of))] }
func (c *choices) sometimes(in int) bool   { return c.n(in) == 1 }

// The window of the run, with a fraction of a second.
var propertyWindow = hat.Window{
	From:  time.Date(2024, 2, 3, 4, 5, 6, 700e6, time.UTC),
	Until: time.Date(2024, 5, 3, 4, 5, 6, 700e6, time.UTC),
}

func (c *choices) value(depth int) string {
	switch c.n(12) {
	case 0, 1, 2:
		return strconv.Itoa(c.n(4))
	case 3:
		return c.one(`"a"`, `"b"`, `"run fast"`, `"[0]"`)
	case 4:
		return c.one(`"2024-02-03T04:05:06.700Z"`, `"2024-03-01"`, `"2024-01-01T00:00:00Z"`, `"2024-05"`, `"2025-01-01"`)
	case 5:
		return c.one("1706933106", "1706933106700", "1709000000", "1709000000000", "1e9", "100000000")
	case 6:
		return c.one("null", "true", "false", `""`, "{}", "[]")
	case 7, 8:
		if depth > 0 {
			return c.array(depth - 1)
		}
	case 9, 10, 11:
		if depth > 0 {
			return c.object(depth-1, "x", "y", "n", "m", "0", "[0]")
		}
	}
	return "1"
}

func (c *choices) array(depth int) string {
	var all []string
	for range c.n(4) {
		all = append(all, c.value(depth))
	}
	return "[" + strings.Join(all, ",") + "]"
}

func (c *choices) object(depth int, keys ...string) string {
	var all []string
	for _, key := range keys {
		if c.n(3) > 0 {
			all = append(all, strconv.Quote(key)+":"+c.value(depth))
		}
	}
	return "{" + strings.Join(all, ",") + "}"
}

func (c *choices) data() string {
	if c.sometimes(20) {
		return c.value(1)
	}
	return c.object(2, "n", "s", "t", "o", "l", "l[0]")
}

func (c *choices) source() string {
	return c.one("n", "s", "t", "o", "o.x", "o.y", "l", "l[0]", "l[1].n", "l.0", "l[0].x", "o.x[0]")
}

func (c *choices) mapping() string {
	if c.sometimes(4) {
		return ""
	}
	var all []string
	for i := range c.n(4) {
		to := "d" + strconv.Itoa(i)
		switch c.n(6) {
		case 0:
			all = append(all, fmt.Sprintf(`"%s[]":{"source":"l[]","mappings":%s}`, to, c.inner()))
		case 1:
			all = append(all, fmt.Sprintf(`"%s":{"source":"%s","mappings":%s}`, to, c.one("o", "l[0]", "l", "n"), c.inner()))
		default:
			all = append(all, fmt.Sprintf(`"%s":"%s"`, to, c.source()))
		}
	}
	return "{" + strings.Join(all, ",") + "}"
}

func (c *choices) inner() string {
	return c.one(`{}`, `{"x":"x"}`, `{"n":"n"}`, `{"x":"x","y":"y"}`)
}

func (c *choices) field() string {
	return c.one("n", "s", "t", "o", "o.x", "o.y", "l", "l.0", "l.0.n", "l.1.n", "l.-1", "l.[0]", "l[0]", "o.x.0", "l. 0")
}

func (c *choices) filter() string {
	field := c.field()
	operator, transformation := "", ""
	switch c.n(7) {
	case 0, 1:
		operator = fmt.Sprintf(`"between","lower":%s,"upper":%s`, c.value(1), c.value(1))
	case 2:
		operator = `"in","value":` + c.value(2)
	case 3:
		operator = `"contains","value":` + c.value(2)
	case 4:
		operator = fmt.Sprintf(`"between","lower":%d,"upper":%d`, c.n(3), 1+c.n(3))
	case 5:
		transformation = fmt.Sprintf(`,"transformation":{"transformation":"%s","part":"%s"}`,
			c.one("datetimeExtract", "timestampExtract"), c.one("hour", "month", "epoch", "Year"))
		operator = fmt.Sprintf(`"between","lower":%d,"upper":%s`, c.n(3), c.one("5", "10", "2024", "1e10"))
	case 6:
		transformation = `,"transformation":{"transformation":"searchable"}`
		operator = `"find","search":` + c.one(`"run"`, `"running fast"`, `"a"`, `"b"`)
	}
	if c.sometimes(3) {
		return c.windowFilter(field)
	}
	return fmt.Sprintf(`{"field":"%s"%s,"operator":{"operator":%s}}`, field, transformation, operator)
}

func (c *choices) windowFilter(field string) string {
	from, until := propertyWindow.From, propertyWindow.Until
	lower, upper := strconv.Quote(hat.FormatTime(from)), strconv.Quote(hat.FormatTime(until))
	switch c.n(6) {
	case 0:
		lower, upper = from.Format(`"2006-01-02"`), until.Format(`"2006-01-02"`)
	case 1:
		lower, upper = strconv.FormatInt(from.Unix(), 10), strconv.FormatInt(until.Unix(), 10)
	case 2:
		lower, upper = strconv.FormatInt(from.UnixMilli(), 10), strconv.FormatInt(until.UnixMilli(), 10)
	case 3:
		return fmt.Sprintf(`{"field":"%s","operator":{"operator":"between","lower":%s,"upper":%s},"window":true}`, field, c.one("null", "0", `"2000-01"`), "null")
	case 4:
		lower, upper = upper, lower
	}
	return fmt.Sprintf(`{"field":"%s","operator":{"operator":"between","lower":%s,"upper":%s}}`, field, lower, upper)
}

// A draft of a bundle that is still to be changed.
type queryDraft struct {
	endpoint, mapping string
	filters           []string
	links             []queryDraft
}

type propertyDraft struct {
	queries        []queryDraft
	order, ordered string
	limit          int             // -1: none
	made           [][]plainFilter // of each query, if it is a plain one
}

func (c *choices) query(links bool) queryDraft {
	q := queryDraft{endpoint: c.one("a/b", "a/b", "c/d"), mapping: c.mapping()}
	for range c.n(3) {
		q.filters = append(q.filters, c.filter())
	}
	if links && c.sometimes(3) {
		q.links = append(q.links, c.query(false))
	}
	return q
}

func (c *choices) property() propertyDraft {
	p := propertyDraft{limit: -1}
	for range 1 + c.n(2) {
		p.queries = append(p.queries, c.query(true))
	}
	c.setOrder(&p)
	if c.sometimes(4) {
		p.limit = c.n(4)
	}
	return p
}

func (c *choices) setOrder(p *propertyDraft) {
	p.order, p.ordered = "", c.one("", "descending")
	if c.n(3) > 0 {
		p.order = c.one(c.field(), "d0", "d1")
	}
}

func (q queryDraft) clone() queryDraft {
	q.filters = slices.Clone(q.filters)
	links := q.links
	q.links = nil
	for _, l := range links {
		q.links = append(q.links, l.clone())
	}
	return q
}

func clone(all []propertyDraft) []propertyDraft {
	out := slices.Clone(all)
	for i := range out {
		queries := out[i].queries
		out[i].queries = nil
		for _, q := range queries {
			out[i].queries = append(out[i].queries, q.clone())
		}
	}
	return out
}

// vary changes one thing of a bundle, in a way that may or may not be within what is granted.
func (c *choices) vary(all []propertyDraft) []propertyDraft {
	p := &all[c.n(len(all))]
	q := &p.queries[c.n(len(p.queries))]
	if len(q.links) > 0 && c.sometimes(4) {
		q = &q.links[0]
	}
	switch c.n(13) {
	case 0:
		q.filters = append(q.filters, c.filter())
	case 1:
		if len(q.filters) > 0 {
			i := c.n(len(q.filters))
			q.filters = slices.Delete(q.filters, i, i+1)
		}
	case 2:
		if len(q.filters) > 0 {
			q.filters[c.n(len(q.filters))] = c.filter()
		}
	case 3:
		q.mapping = c.mapping()
	case 4:
		q.mapping = c.one(`{}`, `{"d0":"n"}`, `{"d0":"o.x"}`, `{"d0":"l[0].n"}`, `{"d1":"t"}`)
	case 5:
		c.setOrder(p)
	case 6:
		p.limit = c.n(5) - 1
	case 7: // one property for all
		if len(all) > 1 {
			p.queries = append(p.queries, all[0].clone().queries...)
		}
	case 8: // one more
		all = append(all, clone(all[:1])...)
	case 9:
		p.queries = p.queries[:1]
	case 10:
		q.filters = append(q.filters, c.windowFilter(c.field()))
	case 11:
		if len(q.links) > 0 {
			q.links = nil
		} else {
			q.links = append(q.links, c.query(false))
		}
	case 12:
		field := c.field()
		q.filters = append(q.filters, fmt.Sprintf(`{"field":"%s","operator":{"operator":"between","lower":%d,"upper":%d}}`, field, c.n(2), c.n(3)))
	}
	return all
}

func (p propertyDraft) clone() propertyDraft { return clone([]propertyDraft{p})[0] }

func (q queryDraft) text() string {
	s := `{"endpoint":"` + q.endpoint + `"`
	if q.mapping != "" {
		s += `,"mapping":` + q.mapping
	}
	if len(q.filters) > 0 {
		s += `,"filters":[` + strings.Join(q.filters, ",") + `]`
	}
	if len(q.links) > 0 {
		s += `,"links":[` + q.links[0].text() + `]`
	}
	return s + "}"
}

func bundleOf(all []propertyDraft) (Bundle, error) {
	var properties []string
	for i, p := range all {
		var queries []string
		for _, q := range p.queries {
			queries = append(queries, q.text())
		}
		s := fmt.Sprintf(`"p%d":{"endpoints":[%s]`, i, strings.Join(queries, ","))
		if p.order != "" {
			s += `,"orderBy":"` + p.order + `"`
		}
		if p.ordered != "" {
			s += `,"ordering":"` + p.ordered + `"`
		}
		if p.limit >= 0 {
			s += `,"limit":` + strconv.Itoa(p.limit)
		}
		properties = append(properties, s+"}")
	}
	return ParseFunctionBundle([]byte(`{"name":"b","bundle":{` + strings.Join(properties, ",") + `}}`))
}

func (c *choices) world(t testing.TB) *memory {
	m := &memory{}
	for i := range 4 + c.n(5) {
		m.records = append(m.records, hat.Record{
			ID: hat.NewRecordID(), Endpoint: endpoint(t, c.one("a/b", "a/b", "c/d")), Data: data(t, c.data()),
			Seq: hat.Seq(i + 1), Born: hat.Seq(i + 1),
		})
	}
	for i := range m.records {
		m.groups = append(m.groups, []hat.RecordID{m.records[i].ID, m.records[c.n(len(m.records))].ID})
	}
	return m
}

// shown is what a bundle shows: each answer as it is, and which records and which linked pairs are in it.
type shown struct {
	answer  string
	records map[string]bool
}

func show(t testing.TB, b Bundle, m *memory) shown {
	t.Helper()
	s := shown{records: map[string]bool{}}
	var out strings.Builder
	_, err := EvaluateBundle(t.Context(), b.WithWindow(propertyWindow), m, Within{}, func(property string, r Row) error {
		fmt.Fprintf(&out, "%s %s\n", property, r.AppendJSON(nil))
		s.records[r.ID.String()] = true
		for _, l := range r.Links {
			s.records[r.ID.String()+" with "+l.ID.String()] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	s.answer = out.String()
	return s
}

// asRead is a grant as Readings puts it: each query of a property without a limit stands for itself too,
// whatever an earlier query of the property takes.
func asRead(b Bundle) Bundle {
	out := Bundle{Name: b.Name, Properties: maps.Clone(b.Properties)}
	for name, p := range b.Properties {
		if p.Limit == nil {
			for i, q := range p.Endpoints {
				out.Properties[fmt.Sprintf("%s, %d", name, i)] = PropertyQuery{Endpoints: []EndpointQuery{q}, OrderBy: p.OrderBy, Ordering: p.Ordering}
			}
		}
		for i, q := range p.Endpoints { // links too
			for j, l := range q.Links {
				q.Links = []EndpointQuery{l}
				if p.Limit == nil {
					out.Properties[fmt.Sprintf("%s, %d, %d", name, i, j)] = PropertyQuery{Endpoints: []EndpointQuery{q}}
				}
			}
		}
	}
	return out
}

// unbound is a grant without what windows set aside: filters they may replace, and limits.
func unbound(b Bundle) Bundle {
	out := Bundle{Name: b.Name, Properties: maps.Clone(b.Properties)}
	var loose func(queries []EndpointQuery) []EndpointQuery
	loose = func(queries []EndpointQuery) []EndpointQuery {
		queries = slices.Clone(queries)
		for i := range queries {
			queries[i].Filters = slices.DeleteFunc(slices.Clone(queries[i].Filters), Filter.moves)
			queries[i].Links = loose(queries[i].Links)
		}
		return queries
	}
	for name, p := range out.Properties {
		p.Limit, p.Endpoints = nil, loose(p.Endpoints)
		out.Properties[name] = p
	}
	return out
}

func usesWindow(b Bundle) bool {
	for _, p := range b.scopes() {
		for _, q := range p.queries {
			for _, s := range append([]*queryScope{q}, q.links...) {
				if slices.ContainsFunc(s.filters, func(f clause) bool { return f.scaleIn(propertyWindow) != unscaled }) {
					return true
				}
			}
		}
	}
	return false
}

// windowed are the values by which windows may choose: what the granted queries sort and filter by.
func windowed(b Bundle, m *memory) string {
	var out strings.Builder
	for _, p := range b.Properties {
		for _, q := range p.Endpoints {
			for i, s := range append([]EndpointQuery{q}, q.Links...) {
				for _, r := range m.records {
					if r.Endpoint != s.Endpoint {
						continue
					}
					for _, f := range s.Filters {
						v, ok := jsonb.ValueAt(r.Data.JSON(), f.Field)
						fmt.Fprintln(&out, r.ID, f.Field, v, ok)
					}
					if i == 0 && p.OrderBy != "" {
						v, ok := jsonb.ValueAt(r.Data.JSON(), q.Mapping.sortField(p.OrderBy))
						fmt.Fprintln(&out, r.ID, "sorted", v, ok)
					}
				}
			}
		}
	}
	lines := strings.Split(out.String(), "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// outcomes count what a search came across, so that a test can say that it looked at something.
type outcomes struct{ cases, covered, refused, kept, changed, windows int }

// tryCovers makes a grant, something asked that resembles it, and records; see checkCovers.
func tryCovers(t testing.TB, c *choices, count *outcomes) {
	draft := []propertyDraft{c.property()}
	if c.sometimes(2) {
		draft = append(draft, c.property())
	}
	asks := clone(draft)
	for range c.n(4) {
		asks = c.vary(asks)
	}
	checkCovers(t, c, draft, asks, c.world, (*choices).changed, count)
}

// checkCovers: where the grant covers what is asked, every record that is shown has to be one the grant shows; and if the
// records are changed so that the grant's answers stay the same, the answer to what is asked has to stay the same too. That
// includes fields that are sorted or filtered by.
func checkCovers(t testing.TB, c *choices, draft, asks []propertyDraft, world func(testing.TB) *memory, changed func(*choices, string) string, count *outcomes) {
	count.cases++
	grant, err := bundleOf(draft)
	if err != nil {
		return // such as a window by a mix of text and numbers
	}
	asked, err := bundleOf(asks)
	if err != nil {
		return
	}
	if ok, beyond := Covers(grant, grant.WithWindow(propertyWindow), propertyWindow); !ok {
		t.Fatalf("%s does not cover itself: %v", grant.append(nil), beyond)
	}
	if foreseen, beyond := foresees(grant, grant); !foreseen {
		t.Fatalf("%s does not foresee itself: %v", grant.append(nil), beyond)
	}
	asked = asked.WithWindow(propertyWindow)
	ok, _ := Covers(grant, asked, propertyWindow)
	if stored, _ := Covers(grant.Normalised(), asked, propertyWindow); stored != ok {
		t.Fatalf("%s covers %s: %t, and in its normal form %t", grant.append(nil), asked.append(nil), ok, stored)
	}
	if !ok {
		count.refused++
		return
	}
	count.covered++
	m := world(t)
	aside := usesWindow(asked)
	reads := asRead(grant)
	if aside {
		count.windows++
		reads = asRead(unbound(grant))
	}
	granted, answered := show(t, reads, m), show(t, asked, m)
	fail := func(says string, more ...any) {
		t.Helper()
		var records []string
		for _, r := range m.records {
			records = append(records, fmt.Sprintf("%s at %s: %s", r.ID, r.Endpoint, r.Data.JSON()))
		}
		t.Fatalf("case %d: %s: %v\ngranted %s\nasked   %s\nrecords\n%s\ngroups %v", count.cases, says, more, grant.append(nil), asked.append(nil), strings.Join(records, "\n"), m.groups)
	}
	for id := range answered.records {
		if !granted.records[id] {
			fail("a record is shown that was not granted", id)
		}
	}
	fields := windowed(grant, m)
	for range 12 {
		i := c.n(len(m.records))
		former := m.records[i].Data
		m.records[i].Data = data(t, changed(c, former.JSON()))
		if m.records[i].Data != former && show(t, reads, m).answer == granted.answer && (!aside || windowed(grant, m) == fields) {
			count.kept++
			if again := show(t, asked, m); again.answer != answered.answer {
				fail("what was not granted changes the answer", former.JSON(), "became", m.records[i].Data.JSON(), "\nbefore\n"+answered.answer+"after\n"+again.answer)
			}
			continue // further from here
		}
		count.changed++
		m.records[i].Data = former
	}
}

// changed is the data with one member, at some depth, set, changed or taken out.
func (c *choices) changed(text string) string {
	if jsonb.KindOf(text) != jsonb.Object || c.sometimes(12) {
		return c.data()
	}
	key := jsonb.Quoted(c.one("n", "s", "t", "o", "o", "l", "l", "l[0]", "x", "y", "m", "0", "[0]"))
	var all []string
	found := false
	for k, v := range jsonb.Members(text) {
		if k == key {
			found = true
			switch {
			case c.sometimes(4):
				continue
			case jsonb.KindOf(v) == jsonb.Object && c.n(2) > 0:
				v = c.changed(v)
			case jsonb.KindOf(v) == jsonb.Array && c.n(3) > 0:
				var items []string
				for e := range jsonb.Elements(v) {
					if jsonb.KindOf(e) == jsonb.Object && c.n(2) > 0 {
						e = c.changed(e)
					} else if c.sometimes(3) {
						e = c.value(1)
					}
					items = append(items, e)
				}
				v = "[" + strings.Join(items, ",") + "]"
			default:
				v = c.value(2)
			}
		}
		all = append(all, `"`+k+`":`+v)
	}
	if !found {
		all = append(all, `"`+key+`":`+c.value(2))
	}
	return "{" + strings.Join(all, ",") + "}"
}

func TestCoveredTellsNoMoreThanGranted(t *testing.T) {
	cases := 20_000
	if testing.Short() {
		cases = 1_000
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	var count outcomes
	for i := range cases {
		c := &choices{left: make([]byte, 900)}
		for i := range c.left {
			c.left[i] = byte(random.Uint32())
		}
		if i%2 == 0 {
			tryCovers(t, c, &count)
		} else {
			tryDirected(t, c, &count)
		}
	}
	t.Logf("%+v", count)
	if count.covered < cases/20 || count.refused < cases/20 || count.kept < cases/20 || count.windows < cases/200 {
		t.Errorf("of %d cases only %+v: the generator has gone blind", cases, count)
	}
}

func FuzzCovers(f *testing.F) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		seed := make([]byte, 700)
		for i := range seed {
			seed[i] = byte(random.Uint32())
		}
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, left []byte) {
		tryCovers(t, &choices{left: left}, new(outcomes))
		tryDirected(t, &choices{left: left}, new(outcomes))
	})
}
