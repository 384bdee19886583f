package bundle

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"she/internal/hat"
	"she/internal/jsonb"
)

// tryDirected makes a plain grant and asks it with exactly one thing otherwise that the check has to notice: a bound, an
// operator, a field, a kind, a window, a limit, an order, a mapping, an endpoint, a query, a link. The records hold values
// on both sides of every bound, so that what is wrongly covered shows.
func tryDirected(t testing.TB, c *choices, count *outcomes) {
	draft := []propertyDraft{c.plain()}
	asks := clone(draft)
	c.otherwise(&asks, draft)
	checkCovers(t, c, draft, asks, c.plainWorld, (*choices).plainChange, count)
}

// The members of the records, and what each holds.
var plainFields = []string{"n", "m", "o.x", "o.y", "t", "e", "s", "l"}

func (c *choices) plainValue(field string) string {
	switch field {
	case "t": // text by time
		return c.one(`"2024-01-01"`, `"2024-02"`, `"2024-02-03"`, `"2024-02-20T00:00:00.000Z"`, `"2024-03-03"`, `"2024-04-01"`, `"2024-05-03"`, `"2024-06-01"`, `"2023-02-03"`)
	case "e": // numbers by time
		return c.one("1706900000", "1707000000", "1710000000", "1714600000", "1714800000", "1706900000000", "1710000000000", "1714800000000", "5", "2000000")
	case "s":
		return c.one(`"run"`, `"run fast"`, `"fast"`, `"a"`, `"1"`, `""`)
	case "l":
		return c.one("[1]", "[1,2]", "[2]", "[]", "[1,2,3]", "[2,3]", "1", "2")
	case "o":
		return `{"x":` + c.plainValue("o.x") + `,"y":` + c.plainValue("o.y") + `}`
	}
	return c.one("0", "1", "2", "3", "4", "5", "2", "3", `"2"`, "null", "true", `"a"`)
}

func (c *choices) plainData() string {
	var all []string
	for _, member := range []string{"n", "m", "o", "t", "e", "s", "l"} {
		if c.n(12) > 0 {
			all = append(all, strconv.Quote(member)+":"+c.plainValue(member))
		}
	}
	return "{" + strings.Join(all, ",") + "}"
}

// plainWorld has records in which each value is likely to occur.
func (c *choices) plainWorld(t testing.TB) *memory {
	m := &memory{}
	for i := range 10 {
		m.records = append(m.records, hat.Record{
			ID: hat.NewRecordID(), Endpoint: endpoint(t, c.one("a/b", "a/b", "c/d")), Data: data(t, c.plainData()),
			Seq: hat.Seq(i + 1), Born: hat.Seq(i + 1),
		})
	}
	for i := range m.records {
		m.groups = append(m.groups, []hat.RecordID{m.records[i].ID, m.records[c.n(len(m.records))].ID})
	}
	return m
}

// plainChange changes one member.
func (c *choices) plainChange(text string) string {
	key := c.one("n", "m", "o", "t", "e", "s", "l", "m", "o")
	var all []string
	for k, v := range jsonb.Members(text) {
		if k == key {
			if v = c.plainValue(key); c.sometimes(8) {
				continue
			}
		}
		all = append(all, `"`+k+`":`+v)
	}
	return "{" + strings.Join(all, ",") + "}"
}

// plainMapping shows one or two fields, all, or none.
func (c *choices) plainMapping() string {
	switch c.n(8) {
	case 0:
		return ""
	case 1:
		return `{}`
	case 2, 3:
		return fmt.Sprintf(`{"d0":"%s","d1":"%s"}`, c.one(plainFields...), c.one(plainFields...))
	}
	return fmt.Sprintf(`{"d0":"%s"}`, c.one(append(plainFields, "o")...))
}

// A plainFilter is one that parts the values of its field.
type plainFilter struct {
	field, transformation, kind string
	lower, upper                string // of between
	operand                     string // of the others
	window                      bool
}

func (f plainFilter) text() string {
	operands := fmt.Sprintf(`"value":%s`, f.operand)
	switch f.kind {
	case "between":
		operands = fmt.Sprintf(`"lower":%s,"upper":%s`, f.lower, f.upper)
	case "find":
		operands = fmt.Sprintf(`"search":%s`, f.operand)
	}
	transformation, window := "", ""
	if f.transformation != "" {
		transformation = `,"transformation":` + f.transformation
	}
	if f.window {
		window = `,"window":true`
	}
	return fmt.Sprintf(`{"field":"%s"%s,"operator":{"operator":"%s",%s}%s}`, f.field, transformation, f.kind, operands, window)
}

func (c *choices) plainFilter() plainFilter {
	number := c.one("n", "m", "o.x", "o.y", "n", "m")
	switch c.n(12) {
	case 0:
		return plainFilter{field: number, kind: "in", operand: c.one("[1,2]", "[2,3]", "[1,2,3]", "[2]")}
	case 1:
		return plainFilter{field: "l", kind: "contains", operand: c.one("[1]", "[1,2]", "[2]")}
	case 2:
		return plainFilter{field: "o", kind: "contains", operand: c.one(`{"x":1}`, `{"x":2,"y":2}`, `{"y":2}`)}
	case 3:
		return plainFilter{field: "s", transformation: `{"transformation":"searchable"}`, kind: "find", operand: c.one(`"run"`, `"run fast"`, `"fast"`)}
	case 4:
		return plainFilter{field: "t", transformation: c.extract("datetimeExtract"), kind: "between", lower: "2", upper: "4"}
	case 5:
		return plainFilter{field: "e", transformation: c.extract("timestampExtract"), kind: "between", lower: "2", upper: "4"}
	case 6:
		return plainFilter{field: "t", kind: "between", lower: c.one(`"2024-01-01"`, `"2024-02"`), upper: c.one(`"2024-04-01"`, `"2024-03-03"`)}
	case 7:
		return c.mark(c.one("t", "e", number))
	}
	return plainFilter{field: number, kind: "between", lower: c.one("1", "2"), upper: c.one("3", "4")}
}

func (c *choices) extract(kind string) string {
	return fmt.Sprintf(`{"transformation":"%s","part":"%s"}`, kind, c.one("month", "hour", "day"))
}

// mark is a window that is filled in.
func (c *choices) mark(field string) plainFilter {
	bound := c.one("null", `"2000-01-01"`, `"2000-01"`, "0", "1000000000000")
	return plainFilter{field: field, kind: "between", lower: bound, upper: bound, window: true}
}

// dates is a between of dates, of the run's window or nearly so.
func (c *choices) dates(field string) plainFilter {
	f := plainFilter{field: field, kind: "between"}
	from, until := propertyWindow.From, propertyWindow.Until
	forms := [][2]string{
		{strconv.Quote(hat.FormatTime(from)), strconv.Quote(hat.FormatTime(until))},
		{from.Format(`"2006-01-02"`), until.Format(`"2006-01-02"`)},
		{from.Format(`"2006-01"`), until.Format(`"2006-01"`)},
		{strconv.FormatInt(from.Unix(), 10), strconv.FormatInt(until.Unix(), 10)},
		{strconv.FormatInt(from.UnixMilli(), 10), strconv.FormatInt(until.UnixMilli(), 10)},
	}
	form := forms[c.n(len(forms))]
	f.lower, f.upper = form[0], form[1]
	switch c.n(10) {
	case 0: // what looks like one
		f.lower = c.one(`"2023-02-03"`, `"2020-01-01T00:00:00.000Z"`, "1600000000", "1600000000000", "1000001")
	case 1:
		f.upper = c.one(`"2025-05-03"`, `"2030-01-01T00:00:00.000Z"`, "1800000000", "1800000000000", "2000000")
	case 2: // two ways to write
		f.upper = forms[c.n(len(forms))][1]
	case 3:
		f.lower = c.one("null", `""`, "0")
	case 4:
		f.transformation = c.extract(c.one("datetimeExtract", "timestampExtract"))
	}
	return f
}

func (c *choices) plainQuery(filters int, links bool) (q queryDraft, of []plainFilter) {
	q = queryDraft{endpoint: c.one("a/b", "a/b", "a/b", "c/d"), mapping: c.plainMapping()}
	for range filters {
		of = append(of, c.plainFilter())
		q.filters = append(q.filters, of[len(of)-1].text())
	}
	if len(of) > 0 && c.sometimes(2) { // shown as well
		q.mapping = fmt.Sprintf(`{"d0":"%s"}`, of[0].field)
	}
	if links && c.sometimes(4) {
		link, _ := c.plainQuery(c.n(2), false)
		q.links = []queryDraft{link}
	}
	return q, of
}

func (c *choices) plain() propertyDraft {
	p := propertyDraft{limit: -1}
	for range 1 + c.n(3)/2 {
		q, of := c.plainQuery(c.n(4)/2+c.n(2), true)
		p.queries, p.made = append(p.queries, q), append(p.made, of)
	}
	if c.sometimes(2) {
		p.order, p.ordered = c.one(append(plainFields, "d0")...), c.one("", "descending")
	}
	if c.sometimes(3) {
		p.limit = 1 + c.n(4)
	}
	return p
}

// otherFilter changes one thing of a filter that is of its kind.
func (c *choices) otherFilter(f *plainFilter) {
	switch {
	case c.sometimes(5):
		f.field = c.one(plainFields...)
	case c.sometimes(5):
		f.kind = c.one("in", "contains", "between")
		f.lower, f.upper, f.operand = "2", "2", c.one("2", "[2]", "[1,2]")
	case f.transformation != "" && c.sometimes(2):
		f.transformation = c.one("", c.extract("datetimeExtract"), c.extract("timestampExtract"), c.extract("timestampExtract"),
			c.extract("datetimeExtract"), `{"transformation":"identity"}`)
	case f.kind == "between" && c.sometimes(2):
		f.lower = c.one("0", "1", "2", "3", "null", `"1"`, `"2023-01-01"`, `"2024-02-10"`, "true")
	case f.kind == "between":
		f.upper = c.one("2", "3", "4", "5", "null", `"4"`, `"2024-03-03"`, `"2025-01-01"`, "true", "{}")
	case f.kind == "find":
		f.operand = c.one(`"run"`, `"run fast"`, `"slow"`, `"a"`, `"fast"`, `"fast slow"`)
	default:
		f.operand = c.one("[1]", "[2]", "[1,2,3]", "[1,2,3,4]", "2", `{"x":1}`, `{"x":1,"y":2}`, `{}`, "[]")
	}
}

// otherwise changes one thing of asks, which are the same as the grant's draft.
func (c *choices) otherwise(asks *[]propertyDraft, draft []propertyDraft) {
	p := &(*asks)[0]
	at := c.n(len(p.queries))
	q := &p.queries[at]
	change := func(of func(f *plainFilter)) {
		if len(q.filters) == 0 {
			q.filters = append(q.filters, c.dates(c.one(plainFields...)).text())
			return
		}
		i := c.n(len(q.filters))
		f := draft[0].made[at][i]
		of(&f)
		q.filters[i] = f.text()
	}
	switch c.n(20) {
	case 0, 1, 2, 3, 4, 5:
		change(c.otherFilter)
	case 6:
		if i := len(q.filters); i > 0 {
			q.filters = q.filters[:i-1]
		}
	case 7:
		q.filters = append(q.filters, c.plainFilter().text())
	case 8:
		q.filters = append(q.filters, c.dates(c.one(plainFields...)).text())
	case 9: // dates in the place of a granted filter
		change(func(f *plainFilter) { *f = c.dates(c.one(f.field, f.field, "t", "e")) })
	case 10:
		p.order = c.one(append(plainFields, "d0", "")...)
	case 11:
		if p.ordered = "descending"; draft[0].ordered != "" {
			p.ordered = ""
		}
	case 12:
		p.limit = c.n(6) - 1
	case 13:
		q.mapping = c.plainMapping()
	case 14:
		q.endpoint = c.one("a/b", "c/d")
	case 15: // one more query, or one less
		if len(p.queries) > 1 {
			p.queries = p.queries[:1]
		} else {
			more, _ := c.plainQuery(c.n(2), false)
			p.queries = append(p.queries, more)
		}
	case 16: // the same queries otherwise
		if len(p.queries) > 1 {
			p.queries[0], p.queries[1] = p.queries[1], p.queries[0]
		} else {
			p.queries = append(p.queries, p.clone().queries[0])
		}
	case 17: // twice, by two windows
		two := p.clone()
		field := c.one(plainFields...)
		for i := range two.queries {
			two.queries[i].filters = append(two.queries[i].filters, c.dates(field).text())
		}
		if c.sometimes(2) {
			q.filters = append(q.filters, c.dates(c.one(field, "t", "e")).text())
		}
		*asks = append(*asks, two)
	case 18:
		if len(q.links) > 0 {
			link := &q.links[0]
			switch c.n(3) {
			case 0:
				link.endpoint = c.one("a/b", "c/d")
			case 1:
				link.mapping = c.plainMapping()
			case 2:
				link.filters = nil
			}
		} else {
			link, _ := c.plainQuery(0, false)
			q.links = append(q.links, link)
		}
	case 19: // without the part that the order of each query was
		if len(p.queries) > 1 {
			p.queries[1].mapping = c.plainMapping()
		}
		p.order = c.one("d0", "d1")
	}
}
