package bundle

import (
	"slices"

	"she/internal/hat"
)

// Matcher returns a test whether a bundle can show a record by itself, not only as a link: one of its queries
// is on the endpoint and the record passes its filters. Limits are ignored, and so are filters that a window
// may replace (see Covers). The test is for one goroutine at a time.
func (b Bundle) Matcher() (func(r hat.Record) bool, error) { return b.matcher(nil) }

// Matcher is Bundle.Matcher for a source that a question reads from. The test uses the question's fuel and
// can end the evaluation.
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
		// The memo is for the question's own queries only.
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

// Loosened returns the endpoints of both bundles at which asked may show records by themselves that granted
// leaves out, sorted.
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

// letsThrough reports whether every record that passes q passes one of the bundle's queries.
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
