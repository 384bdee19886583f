package bundle

import (
	"slices"
	"strconv"

	"she/internal/hat"
	"she/internal/jsonb"
)

// MarshalJSON writes {"name","bundle"} as parsed: without unknown fields and absent options, with null
// bounds, properties sorted by name.
func (b Bundle) MarshalJSON() ([]byte, error) { return b.append(nil), nil }

// UnmarshalJSON reads what MarshalJSON writes: like Parse, but with window filters.
func (b *Bundle) UnmarshalJSON(text []byte) (err error) {
	*b, err = parseBundle(text, &parser{windows: true})
	return err
}

func (q PropertyQuery) MarshalJSON() ([]byte, error) { return q.append(nil), nil }
func (q EndpointQuery) MarshalJSON() ([]byte, error) { return q.append(nil), nil }
func (f Filter) MarshalJSON() ([]byte, error)        { return f.append(nil), nil }

// MarshalProperties writes the inner map of a bundle, the body of POST data-bundle.
func MarshalProperties(properties map[string]PropertyQuery) []byte {
	return Bundle{Properties: properties}.appendProperties(nil)
}

// MarshalCombinator writes a list of queries, the body of POST combinator.
func MarshalCombinator(queries []EndpointQuery) []byte { return appendQueries(nil, queries) }

func (b Bundle) append(out []byte) []byte {
	out = jsonb.AppendString(append(out, `{"name":`...), b.Name)
	return append(b.appendProperties(append(out, `,"bundle":`...)), '}')
}

func (b Bundle) appendProperties(out []byte) []byte {
	out = append(out, '{')
	for i, name := range b.Names() {
		if i > 0 {
			out = append(out, ',')
		}
		out = b.Properties[name].append(append(jsonb.AppendString(out, name), ':'))
	}
	return append(out, '}')
}

func (q PropertyQuery) append(out []byte) []byte {
	out = appendQueries(append(out, `{"endpoints":`...), q.Endpoints)
	if q.OrderBy != "" {
		out = jsonb.AppendString(append(out, `,"orderBy":`...), q.OrderBy)
	}
	if q.Ordering != "" {
		out = jsonb.AppendString(append(out, `,"ordering":`...), q.Ordering)
	}
	if q.Limit != nil {
		out = strconv.AppendInt(append(out, `,"limit":`...), int64(*q.Limit), 10)
	}
	return append(out, '}')
}

func appendQueries(out []byte, queries []EndpointQuery) []byte {
	out = append(out, '[')
	for i, q := range queries {
		if i > 0 {
			out = append(out, ',')
		}
		out = q.append(out)
	}
	return append(out, ']')
}

func (q EndpointQuery) append(out []byte) []byte {
	out = jsonb.AppendString(append(out, `{"endpoint":`...), q.Endpoint.String())
	if q.Mapping.text != "" {
		out = append(append(out, `,"mapping":`...), q.Mapping.text...)
	}
	if len(q.Filters) > 0 {
		out = append(out, `,"filters":[`...)
		for i, f := range q.Filters {
			if i > 0 {
				out = append(out, ',')
			}
			out = f.append(out)
		}
		out = append(out, ']')
	}
	if len(q.Links) > 0 {
		out = appendQueries(append(out, `,"links":`...), q.Links)
	}
	return append(out, '}')
}

func (f Filter) append(out []byte) []byte {
	out = jsonb.AppendString(append(out, `{"field":`...), f.Field)
	if t := f.Transformation; t.Kind != "" {
		out = jsonb.AppendString(append(out, `,"transformation":{"transformation":`...), string(t.Kind))
		if t.Part != "" {
			out = jsonb.AppendString(append(out, `,"part":`...), t.Part)
		}
		out = append(out, '}')
	}
	out = jsonb.AppendString(append(out, `,"operator":{"operator":`...), string(f.Operator.Kind))
	for _, operand := range f.Operator.operands() {
		out = append(jsonb.AppendString(append(out, ','), operand.name), ':')
		out = append(out, operand.value.JSON()...)
	}
	if f.Window {
		return append(out, `},"window":true}`...)
	}
	return append(out, "}}"...)
}

type operand struct {
	name  string
	value *hat.Data
}

// operands returns the values that belong to the operator's kind, in wire order; nil for an unknown kind.
func (o *Operator) operands() []operand {
	switch o.Kind {
	case In, Contains:
		return []operand{{"value", &o.Value}}
	case Between:
		return []operand{{"lower", &o.Lower}, {"upper", &o.Upper}}
	case Find:
		return []operand{{"search", &o.Search}}
	}
	return nil
}

func equalFilters(a, b Filter) bool { return slices.Equal(a.append(nil), b.append(nil)) }
