package bundle

import (
	"fmt"
	"slices"
	"strings"

	"she/internal/hat"
)

// A test says whether the value a filter's field has in one record passes. The value is there: a missing one never
// passes, and the evaluator sees to that.
type test func(value string) bool

// compile checks a filter once more, because one may have been made in code, and makes its test.
func (f Filter) compile() (test, error) {
	operator, err := f.Operator.compile()
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
		if !slices.Contains(dateParts, part) {
			return nil, fmt.Errorf("unknown date part %.60q", part)
		}
	default:
		return nil, fmt.Errorf("unknown transformation %.60q", string(f.Transformation.Kind))
	}
	read := readTimeText
	if f.Transformation.Kind == TimestampExtract {
		read = readTimeNumber
	}
	return func(value string) bool {
		t, ok := read(value)
		if !ok {
			return false
		}
		number, ok := t.part(part)
		return ok && operator(number)
	}, nil
}

func (o Operator) compile() (test, error) {
	for _, operand := range o.operands() {
		if operand.value.IsZero() {
			return nil, fmt.Errorf("operator %s has no %s", o.Kind, operand.name)
		}
	}
	switch o.Kind {
	case Contains:
		return newConstant(o.Value.JSON()).in, nil
	case In:
		return newConstant(o.Value.JSON()).has, nil
	case Between:
		lower, upper := o.Lower.JSON(), o.Upper.JSON()
		return func(value string) bool {
			return compareTop(value, lower) >= 0 && compareTop(value, upper) <= 0
		}, nil
	case Find:
		return newSearch(o.Search).matches, nil
	}
	return nil, fmt.Errorf("unknown operator %.60q", string(o.Kind))
}

// Match says whether the data passes the filter. To test many records, evaluate a query instead: it prepares its
// filters once.
func (f Filter) Match(d hat.Data) (bool, error) {
	passes, err := f.compile()
	if err != nil {
		return false, err
	}
	value, ok := ValueAt(d.JSON(), f.Field)
	return ok && passes(value), nil
}

// An Attribute is the filter of GET /data/{namespace}/{endpoint}?name=value. A Name without a dot is looked up as a key
// at any depth; a string found there, or one in an array found there, must equal one of Values. A Name with a dot is a
// path from the root; the value must be a string and equal one of Values. Whatever else is found doesn't match.
type Attribute struct {
	Name   string
	Values []string
}

// Match says whether the data has the attribute.
func (a Attribute) Match(d hat.Data) bool {
	if strings.Contains(a.Name, ".") {
		text, ok := ValueAt(d.JSON(), a.Name)
		return ok && a.equals(text)
	}
	return a.search(d.JSON(), quoted(a.Name))
}

func (a Attribute) search(text, key string) bool {
	switch kindOf(text) {
	case kindObject:
		for k, value := range members(text) {
			if k == key && a.equalsAny(value) || a.search(value, key) {
				return true
			}
		}
	case kindArray:
		for value := range elements(text) {
			if a.search(value, key) {
				return true
			}
		}
	}
	return false
}

func (a Attribute) equalsAny(text string) bool {
	if kindOf(text) != kindArray {
		return a.equals(text)
	}
	for e := range elements(text) {
		if a.equals(e) {
			return true
		}
	}
	return false
}

func (a Attribute) equals(text string) bool {
	return kindOf(text) == kindString && slices.Contains(a.Values, unquoted(text))
}
