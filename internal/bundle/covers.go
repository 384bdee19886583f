package bundle

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"she/internal/hat"
	"she/internal/jsonb"
)

// A Difference is something that a bundle reads beyond the grant.
type Difference struct {
	Endpoint hat.Endpoint
	Field    string // dotted source path; "" if it is about records, not a field
	Text     string // for people: "the field attendees of calendar/google/events"
}

func (d Difference) String() string { return d.Text }

// Covers says whether the bundle asked, at a run that was told the window, reads nothing beyond the bundle
// grant, and if it does, what. The rule behind all others: what is answered to asked could be worked out from
// what Readings shows of the grant, window filters aside. Names of bundles and properties and the shape of
// the answer make no difference. Several properties that are covered tell no more together than the grant
// does.
//
// Each query of asked has to find one of grant on the same endpoint that covers it alone; a link, a link of
// that query.
//
//   - Fields. Without a mapping all are read. With one, each path that is read has to be at or below a
//     granted one.
//   - Filters. Each granted filter is asked too. A stricter one does instead, or a further one may be asked,
//     only where the granted mapping shows the field: otherwise which records pass tells of its content. A
//     stricter between has bounds of the same JSON types, within the granted ones.
//   - Windows. A between of two dates of the window (see window.go) may be asked on any field that the
//     granted query maps, sorts by or filters by, and in the place of a granted window filter or between of
//     two ISO dates.
//   - Order. By a field that the granted mapping shows; by creation; or exactly as the granted property is
//     sorted, all queries being of that one: an order across others would tell more.
//   - Limit. What a limit lets through depends on all that is chosen and on the order. So a property that is
//     to be covered by one with a limit has the same queries, filters and order, and no larger limit. It may
//     add windows, the same ones wherever that granted property is used: else many windows would show many
//     times the records.
func Covers(grant, asked Bundle, w hat.Window) (bool, []Difference) {
	c := comparison{window: w, limited: map[string]string{}}
	return c.compare(grant, asked)
}

// foresees is Covers for bundles written before any run, such as the default bundles of two versions of a
// function. Two dates in the place of two dates count as the windows of two moments. If they are not the
// dates of the run, Covers refuses them later.
func foresees(grant, asked Bundle) (bool, []Difference) {
	c := comparison{ahead: true, limited: map[string]string{}}
	return c.compare(grant, asked)
}

// maxCompared bounds the pairs of reads and filters in one comparison. Real bundles need less than a
// thousandth. Two of the largest bundles that are accepted would take minutes.
const maxCompared = 8 << 20

type comparison struct {
	window   hat.Window
	ahead    bool              // there is no run yet, so no window
	limited  map[string]string // the windows asked so far under each granted property with a limit
	compared int
}

func (c *comparison) compare(grant, asked Bundle) (bool, []Difference) {
	granted := grant.scopes()
	var all []Difference
	for _, p := range asked.scopes() {
		if all = append(all, c.property(granted, p)...); c.compared > maxCompared {
			all = []Difference{{Text: fmt.Sprintf("more than can be compared with the grant, at property %s", hat.Foreign(p.name))}}
			break
		}
	}
	slices.SortFunc(all, func(a, b Difference) int {
		return cmp.Or(compareEndpoints(a.Endpoint, b.Endpoint), cmp.Compare(a.Text, b.Text))
	})
	all = slices.Compact(all)
	return len(all) == 0, all
}

// property returns what p reads beyond the granted property that comes closest.
func (c *comparison) property(granted []propertyScope, p propertyScope) (least []Difference) {
	// The property of the same name comes first. It is the likely one, and then properties with the same
	// limit don't compete.
	granted = slices.Clone(granted)
	slices.SortStableFunc(granted, func(a, b propertyScope) int {
		return cmp.Compare(btoi(a.name != p.name), btoi(b.name != p.name))
	})
	var free []*queryScope
	fewest := -1
	consider := func(among []*queryScope, beyond []Difference) {
		missing := 0
		for _, q := range p.queries {
			missing += btoi(!slices.ContainsFunc(among, func(g *queryScope) bool { return g.endpoint == q.endpoint }))
		}
		// A property that lacks an endpoint is not close, however few its differences.
		if fewest < 0 || cmp.Or(cmp.Compare(missing, fewest), cmp.Compare(len(beyond), len(least))) < 0 {
			least, fewest = beyond, missing
		}
	}
	for _, g := range granted {
		var beyond []Difference
		if g.limit != nil {
			beyond = c.underLimit(g, p)
		} else {
			free = append(free, g.queries...)
			beyond = c.underProperty(g, p)
		}
		if len(beyond) == 0 || c.compared > maxCompared {
			return beyond
		}
		consider(g.queries, beyond)
	}
	apart := c.apart(free, p, (*queryScope).seesSort)
	if len(apart) == 0 {
		return nil
	}
	consider(free, apart)
	return least
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// underProperty returns what p reads beyond a property without a limit.
func (c *comparison) underProperty(g, p propertyScope) []Difference {
	beyond := c.apart(g.queries, p, (*queryScope).seesSort)
	if len(beyond) == 0 || !p.sorted || !g.sorted || p.descending != g.descending {
		return beyond
	}
	// Each query has its place in the one granted list. A record takes the place of the first query it
	// matches. If two queries on one endpoint sort by different fields, that may not be the query that covers
	// it.
	same := func(granted, asked *queryScope) bool {
		return slices.Equal(granted.sort, asked.sort) && !slices.ContainsFunc(g.queries, func(other *queryScope) bool {
			return other.endpoint == granted.endpoint && !slices.Equal(other.sort, granted.sort)
		})
	}
	if listed := c.apart(g.queries, p, same); len(listed) < len(beyond) {
		beyond = listed
	}
	if len(beyond) > 0 {
		if list, _ := c.list(g, p); len(list) < len(beyond) {
			beyond = list
		}
	}
	return beyond
}

// seesSort reports whether the grant shows the field that asked is sorted by.
func (s *queryScope) seesSort(asked *queryScope) bool { return s.sees(asked.sort) }

// apart returns what the queries of p read beyond the granted ones, each by itself. order reports whether a
// granted query reveals the order of an asked one.
func (c *comparison) apart(granted []*queryScope, p propertyScope, order func(granted, asked *queryScope) bool) (all []Difference) {
	for _, q := range p.queries {
		var least []Difference
		found := false
		for _, g := range granted {
			if g.endpoint != q.endpoint {
				continue
			}
			beyond := c.query(g, q)
			if p.sorted && !order(g, q) {
				beyond = append(beyond, Difference{q.endpoint, q.sort.String(), fmt.Sprintf("the order by %s of %s", q.sort.words(), q.endpoint)})
			}
			if !found || len(beyond) < len(least) {
				least, found = beyond, true
			}
			if len(beyond) == 0 || c.compared > maxCompared {
				break
			}
		}
		if !found {
			least = everything(q)
			for _, link := range q.links {
				least = append(least, everything(link)...)
			}
		}
		all = append(all, least...)
	}
	return all
}

// underLimit returns what p reads beyond a property with a limit.
func (c *comparison) underLimit(g, p propertyScope) (beyond []Difference) {
	if len(p.queries) == 0 {
		return nil
	}
	for _, q := range p.queries {
		if p.limit == nil || *p.limit > *g.limit {
			beyond = append(beyond, records(q.endpoint, fmt.Sprintf("more than %d records at a time of %s", *g.limit, q.endpoint)))
		}
	}
	list, windows := c.list(g, p)
	if beyond = append(beyond, list...); len(beyond) > 0 {
		return beyond
	}
	if before, used := c.limited[g.name]; used && before != windows {
		first := p.queries[0].endpoint
		return []Difference{records(first, fmt.Sprintf("more than one choice of the %d records at a time of %s", *g.limit, first))}
	}
	c.limited[g.name] = windows
	return nil
}

// list returns what p reads beyond g, with the same queries in the same order and perhaps fewer fields. It
// also returns the windows by which p chooses records.
func (c *comparison) list(g, p propertyScope) (beyond []Difference, windows string) {
	granted, asked := byEndpoint(g.queries), byEndpoint(p.queries)
	if !slices.EqualFunc(granted, asked, func(g, q *queryScope) bool { return g.endpoint == q.endpoint }) {
		always := func(_, _ *queryScope) bool { return true }
		beyond = c.apart(granted, p, always)
		for _, q := range p.queries {
			if slices.ContainsFunc(granted, func(g *queryScope) bool { return g.endpoint == q.endpoint }) {
				beyond = append(beyond, records(q.endpoint, fmt.Sprintf("other records of %s than those of the granted list", q.endpoint)))
			}
		}
		return beyond, ""
	}
	var by []string
	for i, q := range asked {
		g := granted[i]
		beyond = append(beyond, c.query(g, q)...)
		for _, a := range q.filters {
			switch {
			case slices.ContainsFunc(g.filters, a.equals):
			case c.mayMove(g, a):
				by = append(by, fmt.Sprintf("%d %s", i, a.text))
			default:
				beyond = append(beyond, Difference{q.endpoint, a.Field, fmt.Sprintf("a choice by %s of %s before the limit", hat.Foreign(a.Field), q.endpoint)})
			}
		}
	}
	if p.sorted != g.sorted || p.descending != g.descending ||
		!slices.EqualFunc(granted, asked, func(g, q *queryScope) bool { return slices.Equal(g.sort, q.sort) }) {
		first := p.queries[0].endpoint
		beyond = append(beyond, records(first, fmt.Sprintf("another order of %s than that of the granted list", first)))
	}
	slices.Sort(by)
	return beyond, strings.Join(slices.Compact(by), "\n")
}

func byEndpoint(queries []*queryScope) []*queryScope {
	return slices.SortedStableFunc(slices.Values(queries), func(a, b *queryScope) int { return compareEndpoints(a.endpoint, b.endpoint) })
}

func records(e hat.Endpoint, text string) Difference { return Difference{Endpoint: e, Text: text} }

func field(e hat.Endpoint, r read) Difference {
	if r.onlyPresence() {
		return Difference{e, r.String(), fmt.Sprintf("%s of %s", r.words(), e)}
	}
	return Difference{e, r.String(), fmt.Sprintf("the field %s of %s", r.words(), e)}
}

// everything returns all that a query reads, if nothing of it is granted.
func everything(q *queryScope) (all []Difference) {
	if q.all {
		return []Difference{records(q.endpoint, fmt.Sprintf("all fields of %s", q.endpoint))}
	}
	for _, r := range q.reads {
		all = append(all, field(q.endpoint, r))
	}
	if len(all) == 0 {
		all = append(all, records(q.endpoint, fmt.Sprintf("how many records there are of %s", q.endpoint)))
	}
	return all
}

// query returns what q reads beyond g, apart from its order and limit.
func (c *comparison) query(g, q *queryScope) (beyond []Difference) {
	c.compared += 1 + len(q.reads) + len(q.filters)*len(g.filters)
	switch {
	case g.all:
	case q.all:
		beyond = append(beyond, records(q.endpoint, fmt.Sprintf("all fields of %s", q.endpoint)))
	default:
		for _, r := range q.reads {
			if !g.tree.covers(r) {
				beyond = append(beyond, field(q.endpoint, r))
			}
		}
	}
	for _, f := range g.filters {
		if !slices.ContainsFunc(q.filters, func(a clause) bool { return c.keeps(g, f, a) }) {
			text := fmt.Sprintf("records of %s that the filter on %s left out", q.endpoint, hat.Foreign(f.Field))
			if i := slices.IndexFunc(q.filters, func(a clause) bool { return slices.Equal(a.path, f.path) }); i >= 0 {
				text += fmt.Sprintf(" (granted: %s; asked: %s)", f.licensedWords(), q.filters[i].words())
			}
			beyond = append(beyond, Difference{q.endpoint, f.Field, text})
		}
	}
	for _, a := range q.filters {
		if !g.sees(a.path) && !slices.ContainsFunc(g.filters, a.equals) && !c.mayMove(g, a) {
			beyond = append(beyond, Difference{q.endpoint, a.Field, fmt.Sprintf("a choice by %s of %s", hat.Foreign(a.Field), q.endpoint)})
		}
	}
	for _, link := range q.links {
		least, found := everything(link), false
		for _, granted := range g.links {
			if granted.endpoint != link.endpoint {
				continue
			}
			if further := c.query(granted, link); !found || len(further) < len(least) {
				least, found = further, true
			}
		}
		beyond = append(beyond, least...)
	}
	return beyond
}

func (c clause) equals(other clause) bool { return c.text == other.text }

// keeps reports whether every record that passes the asked filter passes the granted one, windows aside, and
// whether the choice of records reveals nothing new.
func (c *comparison) keeps(g *queryScope, granted, asked clause) bool {
	return granted.equals(asked) || c.replaces(granted, asked) || g.sees(granted.path) && implies(asked.Filter, granted.Filter)
}

// replaces reports whether the asked filter is a window that may replace the granted one.
func (c *comparison) replaces(granted, asked clause) bool {
	if !slices.Equal(granted.path, asked.path) || !asked.identity() {
		return false
	}
	s := asked.scaleIn(c.window)
	switch {
	case granted.isDates():
		return s == asText || c.ahead && asked.isDates()
	case granted.Window:
		return s != unscaled && s == granted.scaleIn(c.window)
	}
	return false
}

// mayMove reports whether the asked filter is a window that is allowed under the granted query, on any field.
func (c *comparison) mayMove(g *queryScope, asked clause) bool {
	return asked.identity() && asked.scaleIn(c.window) != unscaled && g.windows(asked.path) ||
		slices.ContainsFunc(g.filters, func(f clause) bool { return c.replaces(f, asked) })
}

// implies reports whether every record that passes asked also passes granted. Neither may be a marked window.
func implies(asked, granted Filter) bool {
	kind := func(f Filter) TransformationKind { return cmp.Or(f.Transformation.Kind, Identity) }
	if asked.Field != granted.Field || asked.Window || granted.Window ||
		kind(asked) != kind(granted) || !strings.EqualFold(asked.Transformation.Part, granted.Transformation.Part) ||
		asked.Operator.Kind != granted.Operator.Kind {
		return false
	}
	a, g := asked.Operator, granted.Operator
	switch a.Kind {
	case In:
		return jsonb.NewConstant(g.Value.JSON()).Has(nil, a.Value.JSON())
	case Contains:
		return jsonb.NewConstant(g.Value.JSON()).In(nil, a.Value.JSON())
	case Between:
		return within(g.Lower, a.Lower) && within(a.Upper, g.Upper)
	case Find:
		wanted, words := newSearch(g.Search), newSearch(a.Search)
		for lexeme := range wanted.lexemes {
			if _, ok := words.lexemes[lexeme]; !ok {
				return false
			}
		}
		// A search without words finds nothing.
		return len(wanted.lexemes) > 0 || len(words.lexemes) == 0
	}
	return false
}

// within reports whether upper is not before lower and has the same JSON type.
func within(lower, upper hat.Data) bool {
	return jsonb.KindOf(lower.JSON()) == jsonb.KindOf(upper.JSON()) && jsonb.Compare(nil, lower.JSON(), upper.JSON()) <= 0
}
