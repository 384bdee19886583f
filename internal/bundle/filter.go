package bundle

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"she/internal/hat"
	"she/internal/jsonb"
	"she/internal/pgtime"
)

// A test reports whether the value at a filter's field passes. The evaluator calls it only if there is a
// value.
type test func(m *meter, value string) bool

// compile checks a filter again, because it may have been made in code, and returns its test. words are the
// words that other searches look for in the same field; nil: none.
func (f Filter) compile(words *dictionary) (test, error) {
	if f.Window {
		return nil, fmt.Errorf("the filter on %.60q is a window, which only a run of a function has", f.Field)
	}
	operator, err := f.Operator.compile(words)
	if err != nil {
		return nil, err
	}
	if (f.Transformation.Kind == Searchable) != (f.Operator.Kind == Find) {
		return nil, fmt.Errorf("the transformation searchable and the operator find need each other")
	}
	part := strings.ToLower(f.Transformation.Part)
	switch f.Transformation.Kind {
	case "", Identity, Searchable:
		return operator, nil
	case DatetimeExtract, TimestampExtract:
		if !slices.Contains(pgtime.Parts, part) {
			return nil, fmt.Errorf("unknown date part %.60q", part)
		}
	default:
		return nil, fmt.Errorf("unknown transformation %.60q", string(f.Transformation.Kind))
	}
	read := timeOfText
	if f.Transformation.Kind == TimestampExtract {
		read = timeOfNumber
	}
	return func(m *meter, value string) bool {
		m.spend(costTime)
		t, ok := read(value)
		if !ok {
			return false
		}
		number, ok := t.Part(part)
		return ok && operator(m, number)
	}, nil
}

// timeOfText reads a JSON string as PostgreSQL reads a timestamp with time zone.
func timeOfText(value string) (pgtime.Instant, bool) {
	const longestEscape = len(`\u0000`)
	if jsonb.KindOf(value) != jsonb.String || len(value) > longestEscape*pgtime.MaxText+len(`""`) {
		return 0, false
	}
	return pgtime.Parse(jsonb.Unquoted(value))
}

// timeOfNumber reads a JSON number as Unix seconds.
func timeOfNumber(value string) (pgtime.Instant, bool) {
	if jsonb.KindOf(value) != jsonb.Number {
		return 0, false
	}
	seconds, err := strconv.ParseFloat(value, 64)
	if err != nil {
		return 0, false
	}
	return pgtime.Unix(seconds)
}

func (o Operator) compile(words *dictionary) (test, error) {
	for _, operand := range o.operands() {
		if operand.value.IsZero() {
			return nil, fmt.Errorf("operator %s has no %s", o.Kind, operand.name)
		}
	}
	switch o.Kind {
	case Contains:
		c := jsonb.NewConstant(o.Value.JSON())
		return func(m *meter, value string) bool { return c.In(m.fuel(), value) }, nil
	case In:
		c := jsonb.NewConstant(o.Value.JSON())
		return func(m *meter, value string) bool { return c.Has(m.fuel(), value) }, nil
	case Between:
		lower, upper := o.Lower.JSON(), o.Upper.JSON()
		return func(m *meter, value string) bool {
			return jsonb.Compare(m.fuel(), value, lower) >= 0 && jsonb.Compare(m.fuel(), value, upper) <= 0
		}, nil
	case Find:
		if s := newSearch(o.Search); words != nil {
			return words.among(s), nil
		} else {
			return s.matches, nil
		}
	}
	return nil, fmt.Errorf("unknown operator %.60q", string(o.Kind))
}

// Match reports whether the data passes the filter. To test many records, evaluate a query, which prepares
// its filters once.
func (f Filter) Match(d hat.Data) (bool, error) {
	passes, err := f.compile(nil)
	if err != nil {
		return false, err
	}
	value, ok := jsonb.ValueAt(d.JSON(), f.Field)
	return ok && passes(nil, value), nil
}
