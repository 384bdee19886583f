package bundle

import (
	"slices"

	"she/internal/hat"
)

// A Reading is what a bundle reads at one endpoint for one of its properties, in words for the person who is to agree.
type Reading struct {
	Property string       `json:"property"`
	Endpoint hat.Endpoint `json:"endpoint"`
	Linked   bool         `json:"linked,omitempty"` // only records linked to those of the query before
	// Fields are source paths, sorted; nil: all there are.
	Fields  []string `json:"fields,omitempty"`
	All     bool     `json:"allFields,omitempty"`
	Filters []string `json:"filters,omitempty"` // each has to hold: `status in "confirmed"`
	OrderBy string   `json:"orderBy,omitempty"`
	Limit   *int     `json:"limit,omitempty"` // records at a time
}

// Readings are all that a bundle reads, by property, as it is written there.
func (b Bundle) Readings() []Reading {
	all := []Reading{}
	for _, name := range b.Names() {
		p := b.Properties[name]
		for _, q := range p.Endpoints {
			r := q.reading(name)
			r.Limit = p.Limit
			if p.OrderBy != "" {
				r.OrderBy = brief(q.Mapping.sortField(p.OrderBy))
			}
			all = append(all, r)
			for _, link := range q.Links {
				r := link.reading(name)
				r.Linked = true
				all = append(all, r)
			}
		}
	}
	return all
}

func (q EndpointQuery) reading(property string) Reading {
	r := Reading{Property: property, Endpoint: q.Endpoint}
	paths, some := q.Mapping.reads()
	r.All = !some
	for _, path := range paths {
		r.Fields = append(r.Fields, brief(path.String()))
	}
	for _, f := range q.Filters {
		r.Filters = append(r.Filters, f.words())
	}
	return r
}

// words is the filter as people read it. Its values are the author's, cut where they are long.
func (f Filter) words() string {
	text := brief(f.Field)
	if kind := f.Transformation.Kind; kind != "" && kind != Identity {
		text = string(kind) + " " + f.Transformation.Part + " of " + text
	}
	text += " " + string(f.Operator.Kind)
	for i, operand := range f.Operator.operands() {
		if i > 0 {
			text += " and"
		}
		text += " " + brief(operand.value.JSON())
	}
	return text
}

// A Diff says how what one bundle reads differs from what another does.
type Diff struct {
	NewEndpoints     []hat.Endpoint // named by asked alone
	DroppedEndpoints []hat.Endpoint // named by granted alone
	Added            []Difference   // what asked reads beyond granted
	Removed          []Difference   // what granted reads beyond asked
}

// IsZero says that both read the same.
func (d Diff) IsZero() bool { return len(d.Added) == 0 && len(d.Removed) == 0 }

// Differs compares two bundles by the rules of Covers, in both directions: granted covers asked where nothing was added.
func Differs(granted, asked Bundle) (d Diff) {
	_, d.Added = Covers(granted, asked)
	_, d.Removed = Covers(asked, granted)
	had, wants := granted.Endpoints(), asked.Endpoints()
	d.NewEndpoints, d.DroppedEndpoints = without(wants, had), without(had, wants)
	return d
}

func without(all, some []hat.Endpoint) []hat.Endpoint {
	return slices.DeleteFunc(slices.Clone(all), func(e hat.Endpoint) bool { return slices.Contains(some, e) })
}
