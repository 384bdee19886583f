package bundle

import (
	"strings"

	"she/internal/hat"
	"she/internal/jsonb"
)

// MaxAttributes is how many an evaluation takes at once.
const MaxAttributes = 100

// An Attribute is the filter of GET /data/{namespace}/{endpoint}?name=value. A Name without a dot is looked up as a key
// at any depth; a string found there, or one in an array found there, must equal one of Values. A Name with a dot is a
// path from the root; the value must be a string and equal one of Values. Whatever else is found doesn't match.
type Attribute struct {
	Name   string
	Values []string
}

// Match says whether the data has the attribute. To test many records, put it into Within: it is prepared once then.
func (a Attribute) Match(d hat.Data) bool { return newAttributes([]Attribute{a}).match(nil, d.JSON()) }

// attributes are conditions that all have to hold, ready to be asked by one goroutine at a time. One pass over the data
// finds the paths, another one the keys, however many there are.
type attributes struct {
	paths  jsonb.Trie
	values []string
	texts  []map[string]bool // of each path the strings that will do, as canonical JSON
	keys   map[string][]int  // by key, as written between the quotes: numbers in wanted
	wanted []map[string]bool // the strings that will do there
	found  []bool
}

// newAttributes answers nil for none.
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
				// Unlike in the paths of bundles, an index is digits alone.
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

// anywhere looks at each string that is a key: in canonical text, one with a colon behind it.
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

// holds says whether the value that begins at i is one of the strings, or an array with one in it.
func (as *attributes) holds(m *meter, texts map[string]bool, s string, i int) bool {
	if i >= len(s) || s[i] != '"' && s[i] != '[' {
		return false
	}
	value := s[i:jsonb.ValueEnd(s, i)]
	if value[0] == '"' {
		return texts[value]
	}
	m.spend(2 * len(value)) // read here beside the pass over all, as often as arrays nest
	for e := range jsonb.Elements(value) {
		if e[0] == '"' && texts[e] {
			return true
		}
	}
	return false
}
