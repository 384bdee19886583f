package httpapi

import (
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"she/internal/hat"
)

// An attribute is the HAT API's little filter on GET data: a query parameter that is none of its own, such as ?k=v.
// A record stays if a string found under the name equals one of the values. A name with a dot is a path from the
// root; one without is looked up at any depth, where arrays of strings count with each of their strings.
type attribute struct {
	name   string
	path   []string // nil: at any depth
	values []string
}

// attributes are the filters of a query, all of which must hold. What the call itself understands is in known.
func attributes(values url.Values, known ...string) []attribute {
	var all []attribute
	for name, wanted := range values {
		if slices.Contains(known, name) || strings.EqualFold(name, tokenHeader) {
			continue
		}
		a := attribute{name: name, values: wanted}
		if strings.Contains(name, ".") {
			a.path = strings.Split(name, ".")
		}
		all = append(all, a)
	}
	return all
}

func matchesAll(all []attribute, data hat.Data) bool {
	if len(all) == 0 {
		return true
	}
	var v any
	if json.Unmarshal(data.Bytes(), &v) != nil {
		return false
	}
	for _, a := range all {
		if !a.matches(v) {
			return false
		}
	}
	return true
}

func (a attribute) matches(v any) bool {
	if a.path == nil {
		return a.anywhere(v)
	}
	for _, part := range a.path {
		switch container := v.(type) {
		case map[string]any:
			v = container[part]
		case []any:
			i, err := strconv.Atoi(part)
			if err != nil || i < 0 || i >= len(container) {
				return false
			}
			v = container[i]
		default:
			return false
		}
	}
	return a.wants(v)
}

func (a attribute) wants(v any) bool {
	s, ok := v.(string)
	return ok && slices.Contains(a.values, s)
}

// anywhere recurses as deep as data nests, which hat.MaxDepth bounds.
func (a attribute) anywhere(v any) bool {
	switch v := v.(type) {
	case map[string]any:
		if found, ok := v[a.name]; ok {
			if a.wants(found) {
				return true
			}
			if list, ok := found.([]any); ok && slices.ContainsFunc(list, a.wants) {
				return true
			}
		}
		for _, inner := range v {
			if a.anywhere(inner) {
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(v, a.anywhere)
	}
	return false
}
