package bundle

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"she/internal/hat"
)

// A Difference is something a bundle would read beyond what was granted.
type Difference struct {
	Endpoint hat.Endpoint
	Field    string // dotted source path; "" where it is about records, not a field
	Text     string // for people: "the field attendees of calendar/google/events"
}

func (d Difference) String() string { return d.Text }

// Covers says whether the bundle asked reads nothing beyond the bundle grant, and if it does, what. Names of bundles and
// properties and the shape of the answer make no difference; what counts is which records and which of their fields are
// read. Each endpoint query of asked has to find one of grant that covers it alone:
//
//   - Both are on the same endpoint; a link is covered by a link of the query that covers its main query.
//   - Fields. Without a mapping all are read. With one, each source path asked is at or below a granted source path.
//     What is sorted by, and what is filtered by beyond the granted filters, has to be a field that is granted, sorted
//     by or filtered by in the grant: an order, or a yes or no, tells of the field's content.
//   - Filters. Each granted filter has one in asked on the same field with the same transformation that is at least as
//     strict: equal; in a value that is within the granted one; containing a value that contains the granted one;
//     finding all granted words; between bounds that lie within the granted ones. More filters may be added.
//   - Moving windows. Functions put the dates of the run into between. So bounds also count as covered, wherever they
//     lie, if granted and asked bounds all are dates (a text that reads as a time, Unix seconds or milliseconds of this
//     age, as number or text) or null. A granted span of dates is therefore a field to filter by, no bound in time; a
//     between that is left out is not covered.
//   - Limit. If the grant's property has a limit, the asked one has it too and no larger. A limit is compared as a
//     number of records per run; which records it lets through may differ.
func Covers(grant, asked Bundle) (bool, []Difference) {
	var all []Difference
	for _, name := range asked.Names() {
		p := asked.Properties[name]
		for _, q := range p.Endpoints {
			all = append(all, beyondBundle(grant, p, q)...)
		}
	}
	slices.SortFunc(all, func(a, b Difference) int {
		return cmp.Or(compareEndpoints(a.Endpoint, b.Endpoint), cmp.Compare(a.Text, b.Text))
	})
	all = slices.Compact(all)
	return len(all) == 0, all
}

// beyondBundle is what q reads beyond the query of grant that comes closest to it.
func beyondBundle(grant Bundle, p PropertyQuery, q EndpointQuery) (least []Difference) {
	found := false
	for _, name := range grant.Names() {
		granted := grant.Properties[name]
		for _, g := range granted.Endpoints {
			if g.Endpoint != q.Endpoint {
				continue
			}
			beyond := beyondQuery(g, q, granted.OrderBy, p.OrderBy)
			if granted.Limit != nil && (p.Limit == nil || *p.Limit > *granted.Limit) {
				beyond = append(beyond, records(q.Endpoint, fmt.Sprintf("more than %d records at a time of %s", *granted.Limit, q.Endpoint)))
			}
			if !found || len(beyond) < len(least) {
				least, found = beyond, true
			}
		}
	}
	if !found {
		least = everything(q)
		for _, link := range q.Links {
			least = append(least, everything(link)...)
		}
	}
	return least
}

func records(e hat.Endpoint, text string) Difference { return Difference{Endpoint: e, Text: text} }

func field(e hat.Endpoint, path string) Difference {
	return Difference{Endpoint: e, Field: path, Text: fmt.Sprintf("the field %s of %s", brief(path), e)}
}

// everything that a query reads, of which nothing is granted.
func everything(q EndpointQuery) (all []Difference) {
	reads, some := q.Mapping.reads()
	if !some {
		return []Difference{records(q.Endpoint, fmt.Sprintf("all fields of %s", q.Endpoint))}
	}
	for _, r := range reads {
		all = append(all, field(q.Endpoint, r.String()))
	}
	if len(all) == 0 {
		all = append(all, records(q.Endpoint, fmt.Sprintf("how many records there are of %s", q.Endpoint)))
	}
	return all
}

func beyondQuery(g, q EndpointQuery, grantedOrder, order string) (beyond []Difference) {
	granted, some := g.Mapping.reads()
	asked, narrowed := q.Mapping.reads()
	switch {
	case some && !narrowed:
		beyond = append(beyond, records(q.Endpoint, fmt.Sprintf("all fields of %s", q.Endpoint)))
	case some:
		for _, r := range asked {
			if !r.below(granted) {
				beyond = append(beyond, field(q.Endpoint, r.String()))
			}
		}
	}
	// Fields whose content shows in the order or the choice of records.
	shown := slices.Clone(granted)
	for _, f := range g.Filters {
		shown = append(shown, readOf(f.Field))
	}
	if grantedOrder != "" {
		shown = append(shown, readOf(g.Mapping.sortField(grantedOrder)))
	}
	if order != "" && some && !readOf(q.Mapping.sortField(order)).below(shown) {
		by := q.Mapping.sortField(order)
		beyond = append(beyond, Difference{q.Endpoint, by, fmt.Sprintf("the order by %s of %s", brief(by), q.Endpoint)})
	}
	for _, f := range q.Filters {
		if some && !readOf(f.Field).below(shown) {
			beyond = append(beyond, Difference{q.Endpoint, f.Field, fmt.Sprintf("a choice by %s of %s", brief(f.Field), q.Endpoint)})
		}
	}
	for _, f := range g.Filters {
		if !slices.ContainsFunc(q.Filters, func(a Filter) bool { return atLeastAsStrict(a, f) }) {
			beyond = append(beyond, Difference{q.Endpoint, f.Field, fmt.Sprintf("records of %s that the filter on %s left out", q.Endpoint, brief(f.Field))})
		}
	}
	for _, link := range q.Links {
		beyond = append(beyond, beyondLinks(g.Links, link)...)
	}
	return beyond
}

func beyondLinks(granted []EndpointQuery, link EndpointQuery) (least []Difference) {
	least = everything(link)
	found := false
	for _, g := range granted {
		if g.Endpoint != link.Endpoint {
			continue
		}
		link := link
		link.Links = nil // of no effect
		if beyond := beyondQuery(g, link, "", ""); !found || len(beyond) < len(least) {
			least, found = beyond, true
		}
	}
	return least
}

// A read is a path that is read, its parts as people write them: keys, and indices in brackets.
type read []string

func readOf(field string) read { return strings.Split(field, ".") }

func (r read) String() string {
	return strings.ReplaceAll(strings.Join(r, "."), ".[", "[")
}

// below says whether one of the paths leads to r or to something r is inside of. A path that goes through an array
// without an index, as inner mappings do, covers each of its elements.
func (r read) below(paths []read) bool {
	return slices.ContainsFunc(paths, func(p read) bool { return p.covers(r) })
}

func (r read) covers(asked read) bool {
	for len(r) > 0 {
		switch {
		case len(asked) == 0:
			return false
		case r[0] == asked[0], r[0] == eachElement && isIndex(asked[0]):
			r, asked = r[1:], asked[1:]
		default:
			return false
		}
	}
	return true
}

const eachElement = "[]"

// isIndex takes both spellings, [0] of mappings and 0 of fields.
func isIndex(part string) bool {
	_, ok := arrayIndex(strings.TrimSuffix(strings.TrimPrefix(part, "["), "]"))
	return ok
}

// reads are the source paths of the mapping, sorted; false if it reads all.
func (m Mapping) reads() (paths []read, some bool) {
	compiled, err := m.compile()
	if err != nil || compiled == nil {
		return nil, false
	}
	compiled.addReads(&paths, nil)
	slices.SortFunc(paths, func(a, b read) int { return slices.Compare(a, b) })
	return slices.CompactFunc(paths, func(a, b read) bool { return slices.Equal(a, b) }), true
}

func (m *mapper) addReads(paths *[]read, below read) {
	for _, e := range m.entries {
		path := slices.Clone(below)
		for _, s := range e.from {
			if s.byKey {
				path = append(path, unescaped(s.key))
			} else {
				path = append(path, fmt.Sprintf("[%d]", s.index))
			}
		}
		if e.list {
			path = append(path, eachElement)
		}
		if e.inner == nil {
			*paths = append(*paths, path)
		} else {
			// That the value is there shows even if nothing inside is mapped.
			if len(e.inner.entries) == 0 {
				*paths = append(*paths, append(path, ""))
			}
			e.inner.addReads(paths, path)
		}
	}
}

// atLeastAsStrict says whether every record that passes asked passes granted too, windows of dates aside.
func atLeastAsStrict(asked, granted Filter) bool {
	if kind := func(f Filter) TransformationKind { return cmp.Or(f.Transformation.Kind, Identity) }; asked.Field != granted.Field ||
		kind(asked) != kind(granted) || !strings.EqualFold(asked.Transformation.Part, granted.Transformation.Part) ||
		asked.Operator.Kind != granted.Operator.Kind {
		return false
	}
	a, g := asked.Operator, granted.Operator
	switch a.Kind {
	case In:
		return newConstant(g.Value.JSON()).has(a.Value.JSON())
	case Contains:
		return newConstant(g.Value.JSON()).in(a.Value.JSON())
	case Between:
		within := Compare(a.Lower, g.Lower) >= 0 && Compare(a.Upper, g.Upper) <= 0
		return within || moves(a) && moves(g)
	case Find:
		wanted, words := newSearch(g.Search), newSearch(a.Search)
		for lexeme := range wanted.lexemes {
			if _, ok := words.lexemes[lexeme]; !ok {
				return false
			}
		}
		// Nothing passes a search without words.
		return len(wanted.lexemes) > 0 || len(words.lexemes) == 0
	}
	return false
}

// moves says whether the bounds look like a window of dates.
func moves(between Operator) bool {
	lower, upper := kindOf(between.Lower.JSON()), kindOf(between.Upper.JSON())
	return isDate(between.Lower.JSON()) && isDate(between.Upper.JSON()) && (lower != kindNull || upper != kindNull)
}

func isDate(text string) bool {
	switch kindOf(text) {
	case kindNull:
		return true
	case kindString:
		if _, ok := readTimeText(text); ok {
			return true
		}
		text = unquoted(text)
		if strings.Trim(text, "0123456789") != "" {
			return isMonth(text)
		}
	case kindNumber:
	default:
		return false
	}
	// Unix seconds between 1973 and 5138, or the same in milliseconds.
	whole, _, _ := strings.Cut(text, ".")
	return len(whole) >= 9 && len(whole) <= 14 && strings.Trim(whole, "0123456789") == ""
}

// isMonth knows 2024-03, which is enough of a bound for texts that begin with a date.
func isMonth(text string) bool {
	_, ok := parseTime(text + "-01")
	return len(text) == len("2024-03") && ok
}
