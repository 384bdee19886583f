// Package bundle is the query language of the HAT. It parses, checks, compares and evaluates combinators and
// bundles over records, with the semantics of the original's PostgreSQL queries, over any store (step 6 of
// the walk).
//
// It guarantees that what Parse accepts can be evaluated, that an evaluation reads records only through a
// Source and changes nothing, that the order of results is total, and that a record appears once in a
// property. It does no I/O, knows no permissions and keeps no results.
//
// If two endpoint queries of one property match the same record, the first one wins. The same holds for
// links.
package bundle

import (
	"cmp"
	"crypto/sha256"
	"maps"
	"slices"
	"strings"

	"she/internal/hat"
)

// Bounds of what Parse accepts. They are far above real bundles, and low enough that a hostile one is cheap.
const (
	MaxDocument   = 1 << 20 // bytes of JSON
	MaxProperties = 1000    // in one bundle
	MaxQueries    = 2000    // endpoint queries in one document, links included
	MaxFilters    = 100     // in one endpoint query
	MaxMappings   = 1000    // entries of one mapping, inner ones included
	MaxText       = 1024    // bytes of a name, a field, a path
	MaxValue      = 1 << 16 // bytes of a filter's value
	MaxInner      = 1000    // arrays and objects inside the arrays of a filter's value
	MaxLinkDepth  = 8       // links of links, which are kept and ignored
)

// A Bundle is a named question with one PropertyQuery for each property of the answer.
type Bundle struct {
	Name       string
	Properties map[string]PropertyQuery
}

// A PropertyQuery asks several endpoints for one merged and sorted list.
type PropertyQuery struct {
	Endpoints []EndpointQuery
	OrderBy   string // dotted path, or a destination of the mappings; "": by creation
	Ordering  string // "descending"; any other text means ascending
	Limit     *int   // nil: all
}

// Descending reports whether the property is sorted in descending order.
func (q PropertyQuery) Descending() bool { return q.Ordering == "descending" }

// An EndpointQuery selects the records of one endpoint that pass all filters. Links select records that share
// a group with a selected one; only their first level counts.
type EndpointQuery struct {
	Endpoint hat.Endpoint
	Mapping  Mapping
	Filters  []Filter
	Links    []EndpointQuery
}

// A Filter is one condition on the value at Field, a dotted path into the source data. A record fails it if
// the value is missing or if the transformation can't use it.
type Filter struct {
	Field          string
	Transformation Transformation
	Operator       Operator
	// Window marks a between filter over the dates of the run. Its bounds are examples of the date format.
	// WithWindow must fill the dates in before the evaluation. Only bundles of functions have such filters.
	Window bool
}

// A Transformation is applied to the value before the operator. The zero value means none, like Identity.
type Transformation struct {
	Kind TransformationKind
	Part string // of datetimeExtract and timestampExtract: "hour", "dow", …
}

// TransformationKind is a transformation's name on the wire.
type TransformationKind string

const (
	Identity         TransformationKind = "identity"
	DatetimeExtract  TransformationKind = "datetimeExtract"  // a date as text -> a number
	TimestampExtract TransformationKind = "timestampExtract" // Unix seconds -> a number
	Searchable       TransformationKind = "searchable"       // any value -> words
)

// An Operator is the condition. Value belongs to In and Contains, Lower and Upper to Between, Search to Find.
type Operator struct {
	Kind         OperatorKind
	Value        hat.Data
	Lower, Upper hat.Data
	Search       hat.Data
}

// OperatorKind is an operator's name on the wire.
type OperatorKind string

const (
	In       OperatorKind = "in"       // field <@ value
	Contains OperatorKind = "contains" // field @> value
	Between  OperatorKind = "between"  // lower <= field <= upper
	Find     OperatorKind = "find"     // every word of search is in the field
)

// Names returns the bundle's properties, sorted.
func (b Bundle) Names() []string { return slices.Sorted(maps.Keys(b.Properties)) }

// Endpoints returns all endpoints that the bundle reads, links included, sorted and without duplicates.
func (b Bundle) Endpoints() []hat.Endpoint {
	var all []hat.Endpoint
	for _, p := range b.Properties {
		all = append(all, p.endpoints()...)
	}
	return sortEndpoints(all)
}

// EndpointsOf returns all endpoints that a list of queries reads, links included, sorted and without
// duplicates.
func EndpointsOf(queries []EndpointQuery) []hat.Endpoint {
	return sortEndpoints(PropertyQuery{Endpoints: queries}.endpoints())
}

func (q PropertyQuery) endpoints() (all []hat.Endpoint) {
	for _, e := range q.Endpoints {
		all = append(all, e.Endpoint)
		for _, link := range e.Links {
			all = append(all, link.Endpoint)
		}
	}
	return all
}

func sortEndpoints(all []hat.Endpoint) []hat.Endpoint {
	slices.SortFunc(all, compareEndpoints)
	return slices.Compact(all)
}

func compareEndpoints(a, b hat.Endpoint) int { return strings.Compare(a.String(), b.String()) }

// Normalised returns the bundle without the parts that have no effect: identity transformations, an ordering
// that isn't descending, links of links, mappings that are not objects. Filters are sorted, and so are
// mapping entries if their order does not matter. The answer stays the same.
func (b Bundle) Normalised() Bundle {
	n := Bundle{Name: b.Name, Properties: make(map[string]PropertyQuery, len(b.Properties))}
	for name, p := range b.Properties {
		if !p.Descending() {
			p.Ordering = ""
		}
		p.Endpoints = normalised(p.Endpoints, true)
		n.Properties[name] = p
	}
	return n
}

func normalised(queries []EndpointQuery, withLinks bool) []EndpointQuery {
	out := make([]EndpointQuery, 0, len(queries))
	for _, q := range queries {
		q.Mapping = q.Mapping.normalised()
		q.Filters = slices.Clone(q.Filters)
		for i := range q.Filters {
			if t := &q.Filters[i].Transformation; t.Kind == Identity {
				t.Kind = ""
			}
		}
		slices.SortStableFunc(q.Filters, func(a, b Filter) int {
			return cmp.Compare(string(a.append(nil)), string(b.append(nil)))
		})
		q.Filters = slices.CompactFunc(q.Filters, equalFilters)
		if q.Links = normalised(q.Links, false); !withLinks {
			q.Links = nil
		}
		out = append(out, q)
	}
	return out
}

// Digest identifies the question. Bundles with the same Normalised form have the same digest.
func (b Bundle) Digest() [sha256.Size]byte {
	return sha256.Sum256(b.Normalised().append(nil))
}

// A Field is a path at an endpoint that a bundle sorts or filters by. A store may keep an index of it.
type Field struct {
	Endpoint hat.Endpoint
	Path     string // dotted
	Ordered  bool   // sorted by
	Ranged   bool   // compared by between
	Matched  bool   // compared by in or contains
}

// Fields returns the fields of all queries, sorted, each endpoint and path once. Fields that are transformed
// before they are compared are left out, because an index of their values does not help.
func (b Bundle) Fields() []Field {
	type place struct {
		endpoint hat.Endpoint
		path     string
	}
	found := make(map[place]Field)
	note := func(e hat.Endpoint, path string, set func(*Field)) {
		f := found[place{e, path}]
		f.Endpoint, f.Path = e, path
		set(&f)
		found[place{e, path}] = f
	}
	filters := func(q EndpointQuery) {
		for _, f := range q.Filters {
			if f.Transformation.Kind != "" && f.Transformation.Kind != Identity {
				continue
			}
			note(q.Endpoint, f.Field, func(field *Field) {
				field.Ranged = field.Ranged || f.Operator.Kind == Between
				field.Matched = field.Matched || f.Operator.Kind == In || f.Operator.Kind == Contains
			})
		}
	}
	for _, p := range b.Properties {
		for _, q := range p.Endpoints {
			if p.OrderBy != "" {
				note(q.Endpoint, q.Mapping.sortField(p.OrderBy), func(f *Field) { f.Ordered = true })
			}
			filters(q)
			for _, link := range q.Links {
				filters(link)
			}
		}
	}
	return slices.SortedFunc(maps.Values(found), func(a, b Field) int {
		return cmp.Or(compareEndpoints(a.Endpoint, b.Endpoint), cmp.Compare(a.Path, b.Path))
	})
}
