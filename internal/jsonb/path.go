package jsonb

import (
	"math"
	"strconv"
	"strings"

	"she/internal/fuel"
)

// A Step leads from a value to one inside it: by key from an object, by index from an array. In the paths
// of filters and orderBy it is either, whichever fits the value.
type Step struct {
	Key     string // as written between the quotes of canonical JSON
	Index   int    // negative counts from the end
	ByKey   bool
	ByIndex bool
}

// Path reads the dotted path of a filter or of orderBy. A part is an object key or, if the value is an
// array, an index. An empty part between two dots is the empty key.
func Path(field string) []Step {
	parts := strings.Split(field, ".")
	path := make([]Step, len(parts))
	for i, part := range parts {
		path[i] = Step{Key: Quoted(part), ByKey: true}
		path[i].Index, path[i].ByIndex = arrayIndex(part)
	}
	return path
}

// arrayIndex reads an index as PostgreSQL does in a path: white space before it and a sign are allowed.
func arrayIndex(part string) (int, bool) {
	n, err := strconv.ParseInt(strings.TrimLeft(part, " \t\n\v\f\r"), 10, 32)
	return int(n), err == nil
}

// A Trie finds the values at many paths in one pass. The zero Trie is empty.
type Trie struct {
	kids  []edge
	byKey map[string]*Trie // the children by key, if there are many
	slots []int            // the result slots of the value here
}

// manyKids is the number of children from which a map is faster than comparing each.
const manyKids = 12

type edge struct {
	Step
	to *Trie
}

// Add makes Find store the value at path as result number slot.
func (t *Trie) Add(path []Step, slot int) {
	for _, s := range path {
		next := (*Trie)(nil)
		for _, kid := range t.kids {
			if kid.Step == s {
				next = kid.to
			}
		}
		if next == nil {
			next = new(Trie)
			t.kids = append(t.kids, edge{s, next})
			t.index()
		}
		t = next
	}
	t.slots = append(t.slots, slot)
}

// index updates byKey; the last child is new.
func (t *Trie) index() {
	fresh := t.kids[len(t.kids)-1:]
	switch {
	case len(t.kids) < manyKids:
		return
	case t.byKey == nil:
		t.byKey, fresh = make(map[string]*Trie), t.kids
	}
	for _, kid := range fresh {
		if kid.ByKey {
			t.byKey[kid.Key] = kid.to
		}
	}
}

// kid returns the child for the key, or nil.
func (t *Trie) kid(key string) *Trie {
	if t.byKey != nil {
		return t.byKey[key]
	}
	for i := range t.kids {
		if e := &t.kids[i]; e.Key == key && e.ByKey {
			return e.to
		}
	}
	return nil
}

// Find sets values[slot] to the text at each path, or to "" if there is none. values must have an element
// for each slot.
func (t *Trie) Find(m *fuel.Meter, text string, values []string) {
	m.Spend(costVisit + len(text) + len(values)/4)
	clear(values)
	t.walk(text, 0, &finding{Meter: m, values: values, left: len(values)})
}

// A finding is one pass of a Trie over a text.
type finding struct {
	*fuel.Meter
	values []string
	left   int
}

// walk reads the value that starts at i and returns where it ends. If nothing is left to find, the result
// is undefined.
func (t *Trie) walk(s string, i int, f *finding) int {
	end := -1
	if len(t.slots) > 0 {
		end = ValueEnd(s, i)
		for _, slot := range t.slots {
			f.values[slot] = s[i:end]
		}
		if f.left -= len(t.slots); f.left == 0 {
			return end
		}
		if len(t.kids) > 0 {
			f.Spend(end - i) // its content is read once more
		}
	}
	if i < len(s) && len(t.kids) > 0 {
		switch s[i] {
		case '{':
			end = t.walkObject(s, i, f)
		case '[':
			end = t.walkArray(s, i, f)
		}
	}
	if end < 0 {
		end = ValueEnd(s, i)
	}
	return end
}

func (t *Trie) walkObject(s string, i int, f *finding) int {
	for i++; i < len(s) && s[i] == '"'; i++ {
		keyEnd := StringEnd(s, i)
		if keyEnd+1 >= len(s) {
			return len(s)
		}
		kid := t.kid(s[i+1 : keyEnd-1])
		if i = keyEnd + 1; kid == nil {
			i = ValueEnd(s, i)
		} else if i = kid.walk(s, i, f); f.left == 0 {
			return i
		}
		if i < len(s) && s[i] == '}' {
			return i + 1
		}
	}
	return min(i+1, len(s))
}

func (t *Trie) walkArray(s string, i int, f *finding) int {
	end, highest, fromEnd := -1, -1, false
	for _, e := range t.kids {
		if e.ByIndex {
			highest, fromEnd = max(highest, e.Index), fromEnd || e.Index < 0
		}
	}
	size := math.MaxInt
	if fromEnd {
		end = ValueEnd(s, i)
		f.Spend(2 * (end - i))
		size = Count(s[i:end])
		highest = size
	}
	n := 0
	for i++; i < len(s) && s[i] != ']' && n <= highest; i++ {
		from := i
		i = -1
		f.Spend(len(t.kids))
		for _, e := range t.kids {
			if e.ByIndex && (e.Index == n || e.Index+size == n) {
				if i >= 0 {
					f.Spend(i - from)
				}
				if i = e.to.walk(s, from, f); f.left == 0 {
					return i
				}
			}
		}
		if i < 0 {
			i = ValueEnd(s, from)
		}
		if n++; i >= len(s) || s[i] == ']' {
			return min(i+1, len(s))
		}
	}
	if end >= 0 {
		return end
	}
	for ; i < len(s) && s[i] != ']'; i++ {
		i = ValueEnd(s, i)
		if i < len(s) && s[i] == ']' {
			break
		}
	}
	return min(i+1, len(s))
}

// ValueAt returns the JSON text at a dotted field path of canonical JSON text, as PostgreSQL's #> does.
// Each part is an object key or, if the value is an array, an index, which counts from the end if negative.
func ValueAt(canonical, field string) (text string, ok bool) {
	var t Trie
	var found [1]string
	t.Add(Path(field), 0)
	t.Find(nil, canonical, found[:])
	return found[0], found[0] != ""
}
