package bundle

import (
	"slices"

	"she/internal/hat"
)

// Matcher answers whether a bundle can show a record by itself, not as another's link: one of its queries is on the endpoint
// and the record passes its filters. Limits are no matter, and neither are filters that a window may replace (see
// Covers). The answer may be asked by one goroutine at a time.
func (b Bundle) Matcher() (func(r hat.Record) bool, error) { return b.matcher(nil) }

// Matcher is the bundle's for a source that the question is asked of: it uses the question's fuel, and the evaluation may end
// in it.
func (q *Question) Matcher(b Bundle) (func(r hat.Record) bool, error) { return b.matcher(q.meter) }

func (b Bundle) matcher(m *meter) (func(r hat.Record) bool, error) {
	queries := map[hat.Endpoint][]*query{}
	for _, p := range b.Properties {
		for _, q := range p.Endpoints {
			compiled, err := newQuery(EndpointQuery{Filters: slices.DeleteFunc(slices.Clone(q.Filters), Filter.moves)}, "", false, nil)
			if err != nil {
				return nil, err
			}
			queries[q.Endpoint] = append(queries[q.Endpoint], compiled)
		}
	}
	return func(r hat.Record) bool {
		// Without the memo, which belongs to the question's own queries.
		m.take(r.Born, r.Data.Len())
		before := m.begins(filtering)
		defer m.begins(before)
		return slices.ContainsFunc(queries[r.Endpoint], func(q *query) bool {
			m.spend(costQuery)
			_, ok := q.matches(m, r.Data.JSON())
			return ok
		})
	}, nil
}

// Loosened are endpoints of both bundles at which asked may show records by themselves that granted leaves out, sorted.
func Loosened(granted, asked Bundle) (all []hat.Endpoint) {
	had := granted.Endpoints()
	for _, p := range asked.Properties {
		for _, q := range p.Endpoints {
			if slices.Contains(had, q.Endpoint) && !granted.letsThrough(q) {
				all = append(all, q.Endpoint)
			}
		}
	}
	return sortEndpoints(all)
}

// letsThrough says that whatever passes q passes one of the bundle's queries.
func (b Bundle) letsThrough(q EndpointQuery) bool {
	for _, p := range b.Properties {
		for _, g := range p.Endpoints {
			if g.Endpoint == q.Endpoint && !slices.ContainsFunc(g.Filters, func(f Filter) bool {
				return !f.moves() && !slices.ContainsFunc(q.Filters, func(a Filter) bool { return implies(a, f) })
			}) {
				return true
			}
		}
	}
	return false
}
