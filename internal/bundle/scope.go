package bundle

import (
	"fmt"
	"slices"
	"strings"

	"she/internal/hat"
)

// A queryScope is what one endpoint query reads, or licenses if the bundle is granted. What the Owner is
// shown (Readings) and what is checked (Covers) are both made of it, so that the words and the check can't
// part.
type queryScope struct {
	endpoint hat.Endpoint
	all      bool   // every field is read
	reads    []read // else these
	tree     *readTree
	filters  []clause
	sorted   bool // by a field
	sort     read
	links    []*queryScope
}

// A clause is a filter in a form that can be compared.
type clause struct {
	Filter
	path read
	text string // equal for filters that are
}

// A propertyScope is what one property reads.
type propertyScope struct {
	name       string
	queries    []*queryScope
	sorted     bool
	descending bool
	limit      *int
}

// scopes are those of the bundle's properties, by name.
func (b Bundle) scopes() []propertyScope {
	all := make([]propertyScope, 0, len(b.Properties))
	for _, name := range b.Names() {
		p := b.Properties[name]
		s := propertyScope{name: name, sorted: p.OrderBy != "", descending: p.Descending(), limit: p.Limit}
		for _, q := range p.Endpoints {
			s.queries = append(s.queries, q.scope(p.OrderBy, true))
		}
		all = append(all, s)
	}
	return all
}

func (q EndpointQuery) scope(orderBy string, withLinks bool) *queryScope {
	s := &queryScope{endpoint: q.Endpoint}
	reads, some := q.Mapping.reads()
	s.all, s.reads, s.tree = !some, reads, treeOf(reads)
	for _, f := range q.Filters {
		if f.identity() {
			f.Transformation = Transformation{}
		}
		f.Transformation.Part = strings.ToLower(f.Transformation.Part)
		s.filters = append(s.filters, clause{f, fieldRead(f.Field), string(f.append(nil))})
	}
	if orderBy != "" {
		s.sorted, s.sort = true, fieldRead(q.Mapping.sortField(orderBy))
	}
	if withLinks {
		for _, link := range q.Links {
			s.links = append(s.links, link.scope("", false))
		}
	}
	return s
}

// sees says whether the content of what the read leads to is shown.
func (s *queryScope) sees(r read) bool { return s.all || s.tree.covers(r) }

// windows says whether records may be chosen by a window on what the read leads to: it is mapped, sorted by
// or filtered by.
func (s *queryScope) windows(r read) bool {
	return s.sees(r) || s.sorted && slices.Equal(s.sort, r) ||
		slices.ContainsFunc(s.filters, func(c clause) bool { return slices.Equal(c.path, r) })
}

// A Reading is what a bundle reads at one endpoint for one of its properties, in words for the person who is
// to agree.
type Reading struct {
	Property string       `json:"property"`
	Endpoint hat.Endpoint `json:"endpoint"`
	Linked   bool         `json:"linked,omitempty"` // only records linked to those of the query before
	// Fields are source paths in words, see hat.Foreign, sorted; nil: all there are.
	Fields  []string `json:"fields,omitempty"`
	All     bool     `json:"allFields,omitempty"`
	Filters []string `json:"filters,omitempty"` // each has to hold: `status in "confirmed"`
	OrderBy string   `json:"orderBy,omitempty"`
	Limit   *int     `json:"limit,omitempty"` // records at a time
	// SinceLastRun says by which fields the function may choose the records since its last run, instead of all
	// of them.
	SinceLastRun string `json:"sinceLastRun,omitempty"`
}

// Readings are all that a bundle reads and, once it is granted, licenses, by property, as it is written
// there.
func (b Bundle) Readings() []Reading {
	all := []Reading{}
	for _, p := range b.scopes() {
		for _, q := range p.queries {
			r := q.reading(p.name)
			r.Limit = p.limit
			all = append(all, r)
			for _, link := range q.links {
				r := link.reading(p.name)
				r.Linked = true
				all = append(all, r)
			}
		}
	}
	return all
}

func (s *queryScope) reading(property string) Reading {
	r := Reading{Property: property, Endpoint: s.endpoint, All: s.all, SinceLastRun: s.windowWords()}
	for i, path := range s.reads {
		// That something is there goes without saying if what is inside of it is named too.
		inside := func(other read) bool {
			return !other.onlyPresence() && len(other) >= len(path) && slices.Equal(other[:len(path)-1], path[:len(path)-1])
		}
		if !path.onlyPresence() || !slices.ContainsFunc(slices.Delete(slices.Clone(s.reads), i, i+1), inside) {
			r.Fields = append(r.Fields, path.words())
		}
	}
	for _, c := range s.filters {
		r.Filters = append(r.Filters, c.licensedWords())
	}
	if s.sorted {
		r.OrderBy = s.sort.words()
	}
	return r
}

const sinceLastRun = "since the last run"

// words is the filter as people read it. Its values are the author's, cut where they are long.
func (f Filter) words() string {
	text := hat.Foreign(f.Field)
	if !f.identity() {
		text = strings.TrimSpace(string(f.Transformation.Kind)+" "+f.Transformation.Part) + " of " + text
	}
	if f.Window {
		return text + " " + sinceLastRun
	}
	text += " " + string(f.Operator.Kind)
	for i, operand := range f.Operator.operands() {
		if i > 0 {
			text += " and"
		}
		text += " " + hat.ForeignJSON(operand.value.JSON())
	}
	return text
}

// licensedWords says what the filter licenses once it is granted.
func (f Filter) licensedWords() string {
	if f.isDates() {
		return f.words() + ", or " + sinceLastRun
	}
	return f.words()
}

// windowWords names the fields that windows allows.
func (s *queryScope) windowWords() string {
	const most = 4
	var names []string
	add := func(r read) {
		if name := r.words(); !r.onlyPresence() && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if s.sorted {
		add(s.sort)
	}
	for _, c := range s.filters {
		add(c.path)
	}
	for _, r := range s.reads {
		add(r)
	}
	switch {
	case s.all:
		return "may ask for those " + sinceLastRun + " only, by any field"
	case len(names) == 0:
		return ""
	case len(names) > most:
		return "may ask for those " + sinceLastRun + " only, by any field it reads, sorts or filters by"
	case len(names) == 1:
		return "may ask for those " + sinceLastRun + " only, by " + names[0]
	}
	return fmt.Sprintf("may ask for those %s only, by %s or %s", sinceLastRun, strings.Join(names[:len(names)-1], ", "), names[len(names)-1])
}
