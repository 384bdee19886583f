package bundle

import (
	"fmt"
	"slices"
	"strings"

	"she/internal/hat"
)

// A queryScope is what one endpoint query reads or, in a granted bundle, licenses. Both what the Owner is
// shown (Readings) and what is checked (Covers) are made of it, so that they can't disagree.
type queryScope struct {
	endpoint hat.Endpoint
	all      bool   // every field is read
	reads    []read // if not all
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
	text string // equal for equal filters
}

// A propertyScope is what one property reads.
type propertyScope struct {
	name       string
	queries    []*queryScope
	sorted     bool
	descending bool
	limit      *int
}

// scopes returns the scopes of the bundle's properties, sorted by name.
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

// sees reports whether the scope shows the content of the read.
func (s *queryScope) sees(r read) bool { return s.all || s.tree.covers(r) }

// windows reports whether a window on the read may choose records: its field is mapped, sorted by or filtered
// by.
func (s *queryScope) windows(r read) bool {
	return s.sees(r) || s.sorted && slices.Equal(s.sort, r) ||
		slices.ContainsFunc(s.filters, func(c clause) bool { return slices.Equal(c.path, r) })
}

// A Reading says what a bundle reads at one endpoint for one property, in words for the person who agrees.
type Reading struct {
	Property string       `json:"property"`
	Endpoint hat.Endpoint `json:"endpoint"`
	Linked   bool         `json:"linked,omitempty"` // only records linked to those of the query above
	// Fields are source paths in words (see hat.Foreign), sorted; nil: all fields.
	Fields  []string `json:"fields,omitempty"`
	All     bool     `json:"allFields,omitempty"`
	Filters []string `json:"filters,omitempty"` // all must hold: `status in "confirmed"`
	OrderBy string   `json:"orderBy,omitempty"`
	Limit   *int     `json:"limit,omitempty"` // number of records
	// SinceLastRun names the fields by which the function may choose the records since its last run.
	SinceLastRun string `json:"sinceLastRun,omitempty"`
}

// Readings lists all that a bundle reads and, once granted, licenses, by property in the order of the bundle.
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
		// If a field inside it is named, its presence is obvious.
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

// words describes the filter for people. Its values come from the author, and long ones are cut.
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

// windowWords names the fields on which windows are allowed.
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
