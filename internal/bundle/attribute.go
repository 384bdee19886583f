package bundle

import (
	"strings"

	"she/internal/hat"
	"she/internal/jsonb"
)

// MaxAttributes is how many attributes an evaluation accepts.
const MaxAttributes = 100

// An Attribute is the filter of GET /data/{namespace}/{endpoint}?name=value. A Name without a dot is a key at
// any depth: a string there, or a string in an array there, must equal one of Values. A Name with a dot is a
// path from the root: the value there must be a string that equals one of Values. Anything else does not
// match.
type Attribute struct {
	Name   string
	Values []string
}

// Match reports whether the data has the attribute. To test many records, use Within, which prepares it once.
func (a Attribute) Match(d hat.Data) bool { return newAttributes([]Attribute{a}).match(nil, d.JSON()) }

// attributes are prepared conditions that must all hold, for one goroutine at a time. One pass over the data
// finds all paths, another one all keys.
type attributes struct {
	paths  jsonb.Trie
	values []string
	texts  []map[string]bool // the accepted strings of each path, as canonical JSON
	keys   map[string][]int  // by key, as written between the quotes: numbers in wanted
	wanted []map[string]bool // the accepted strings for each name
	found  []bool
}

// newAttributes returns nil for no attributes.
func newAttributes(all []Attribute) *attributes {
	if len(all) == 0 {
		return nil
	}
	as := &attributes{keys: make(map[string][]int)}
	for _, a := range all {
		texts := make(map[string]bool, len(a.Values))
		for _, v := range a.Values {
			texts[string(jsonb.AppendString(nil, v))] = true
		}
		if strings.Contains(a.Name, ".") {
			path := jsonb.Path(a.Name)
			for i := range path {
				// Unlike in the paths of bundles, an index here is digits only.
				path[i].ByIndex = path[i].ByIndex && strings.Trim(path[i].Key, "0123456789") == ""
			}
			as.paths.Add(path, len(as.texts))
			as.texts = append(as.texts, texts)
		} else {
			key := jsonb.Quoted(a.Name)
			as.keys[key] = append(as.keys[key], len(as.wanted))
			as.wanted = append(as.wanted, texts)
		}
	}
	as.values, as.found = make([]string, len(as.texts)), make([]bool, len(as.wanted))
	return as
}

func (as *attributes) match(m *meter, text string) bool {
	if as == nil {
		return true
	}
	if len(as.texts) > 0 {
		as.paths.Find(m.fuel(), text, as.values)
		for i, texts := range as.texts {
			if !texts[as.values[i]] {
				return false
			}
		}
	}
	return len(as.wanted) == 0 || as.anywhere(m, text)
}

// anywhere looks at each string that is a key. In canonical text those have a colon behind them.
func (as *attributes) anywhere(m *meter, text string) bool {
	m.spend(costQuery + len(text))
	clear(as.found)
	left := len(as.wanted)
	for i := 0; i < len(text); {
		if text[i] != '"' {
			i++
			continue
		}
		end := jsonb.StringEnd(text, i)
		if end >= len(text) || text[end] != ':' {
			i = end
			continue
		}
		for _, n := range as.keys[text[i+1:end-1]] {
			if !as.found[n] && as.holds(m, as.wanted[n], text, end+1) {
				if as.found[n] = true; left == 1 {
					return true
				}
				left--
			}
		}
		i = end + 1
	}
	return false
}

// holds reports whether the value at i is one of the strings, or an array that contains one.
func (as *attributes) holds(m *meter, texts map[string]bool, s string, i int) bool {
	if i >= len(s) || s[i] != '"' && s[i] != '[' {
		return false
	}
	value := s[i:jsonb.ValueEnd(s, i)]
	if value[0] == '"' {
		return texts[value]
	}
	m.spend(2 * len(value)) // nested arrays are read again for each level
	for e := range jsonb.Elements(value) {
		if e[0] == '"' && texts[e] {
			return true
		}
	}
	return false
}
