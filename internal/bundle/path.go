package bundle

import (
	"math"
	"strconv"
	"strings"

	"she/internal/hat"
)

// A step goes from a value to one inside it: by key from an object, by index from an array, or, in the paths of filters
// and orderBy, by whichever fits.
type step struct {
	key     string // as written between the quotes of canonical JSON
	index   int    // negative counts from the end
	byKey   bool
	byIndex bool
}

// fieldPath reads the dotted path of filters and orderBy. A part is an object key or, where the value is an array, an
// index; a part between two dots may be empty and is then the empty key.
func fieldPath(field string) []step {
	parts := strings.Split(field, ".")
	path := make([]step, len(parts))
	for i, part := range parts {
		path[i] = step{key: quoted(part), byKey: true}
		path[i].index, path[i].byIndex = arrayIndex(part)
	}
	return path
}

// arrayIndex reads an index as PostgreSQL does in a path: white space before it and a sign are fine.
func arrayIndex(part string) (int, bool) {
	n, err := strconv.ParseInt(strings.TrimLeft(part, " \t\n\v\f\r"), 10, 32)
	return int(n), err == nil
}

// A trie finds the values at many paths in one pass. The zero trie is empty.
type trie struct {
	kids  []edge
	byKey map[string]*trie // the kids by key, if there are many
	slots []int            // which results the value here is
}

// manyKids is from how many on a map beats looking at each.
const manyKids = 12

type edge struct {
	step
	to *trie
}

// add makes the value at path result number slot.
func (t *trie) add(path []step, slot int) {
	for _, s := range path {
		next := (*trie)(nil)
		for _, kid := range t.kids {
			if kid.step == s {
				next = kid.to
			}
		}
		if next == nil {
			next = new(trie)
			t.kids = append(t.kids, edge{s, next})
			t.index()
		}
		t = next
	}
	t.slots = append(t.slots, slot)
}

// index keeps byKey; the last kid is new.
func (t *trie) index() {
	fresh := t.kids[len(t.kids)-1:]
	switch {
	case len(t.kids) < manyKids:
		return
	case t.byKey == nil:
		t.byKey, fresh = make(map[string]*trie), t.kids
	}
	for _, kid := range fresh {
		if kid.byKey {
			t.byKey[kid.key] = kid.to
		}
	}
}

// kid is where the key leads, nil for nowhere.
func (t *trie) kid(key string) *trie {
	if t.byKey != nil {
		return t.byKey[key]
	}
	for i := range t.kids {
		if e := &t.kids[i]; e.key == key && e.byKey {
			return e.to
		}
	}
	return nil
}

// find sets values[slot] to the text at each path, "" where there is nothing; values is long enough for all slots.
func (t *trie) find(m *meter, text string, values []string) {
	m.spend(costQuery + len(text) + len(values)/4)
	clear(values)
	t.walk(text, 0, &finding{meter: m, values: values, left: len(values)})
}

// A finding is one pass of a trie over a text.
type finding struct {
	*meter
	values []string
	left   int
}

// walk reads the value that starts at i and answers where it ends, or, when nothing is left to find, anything.
func (t *trie) walk(s string, i int, f *finding) int {
	end := -1
	if len(t.slots) > 0 {
		end = valueEnd(s, i)
		for _, slot := range t.slots {
			f.values[slot] = s[i:end]
		}
		if f.left -= len(t.slots); f.left == 0 {
			return end
		}
		if len(t.kids) > 0 {
			f.spend(end - i) // it is passed over once more for what is inside
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
		end = valueEnd(s, i)
	}
	return end
}

func (t *trie) walkObject(s string, i int, f *finding) int {
	for i++; i < len(s) && s[i] == '"'; i++ {
		keyEnd := stringEnd(s, i)
		if keyEnd+1 >= len(s) {
			return len(s)
		}
		kid := t.kid(s[i+1 : keyEnd-1])
		if i = keyEnd + 1; kid == nil {
			i = valueEnd(s, i)
		} else if i = kid.walk(s, i, f); f.left == 0 {
			return i
		}
		if i < len(s) && s[i] == '}' {
			return i + 1
		}
	}
	return min(i+1, len(s))
}

func (t *trie) walkArray(s string, i int, f *finding) int {
	end, highest, fromEnd := -1, -1, false
	for _, e := range t.kids {
		if e.byIndex {
			highest, fromEnd = max(highest, e.index), fromEnd || e.index < 0
		}
	}
	size := math.MaxInt
	if fromEnd {
		end = valueEnd(s, i)
		f.spend(2 * (end - i))
		size = count(s[i:end])
		highest = size
	}
	n := 0
	for i++; i < len(s) && s[i] != ']' && n <= highest; i++ {
		from := i
		i = -1
		f.spend(len(t.kids))
		for _, e := range t.kids {
			if e.byIndex && (e.index == n || e.index+size == n) {
				if i >= 0 {
					f.spend(i - from)
				}
				if i = e.to.walk(s, from, f); f.left == 0 {
					return i
				}
			}
		}
		if i < 0 {
			i = valueEnd(s, from)
		}
		if n++; i >= len(s) || s[i] == ']' {
			return min(i+1, len(s))
		}
	}
	if end >= 0 {
		return end
	}
	for ; i < len(s) && s[i] != ']'; i++ {
		i = valueEnd(s, i)
		if i < len(s) && s[i] == ']' {
			break
		}
	}
	return min(i+1, len(s))
}

// ValueAt is the JSON text at a dotted field path of canonical JSON text, found as PostgreSQL's #> finds it: each part
// is an object key or, where the value is an array, an index, from the end if negative.
func ValueAt(canonical, field string) (text string, ok bool) {
	var t trie
	var found [1]string
	t.add(fieldPath(field), 0)
	t.find(nil, canonical, found[:])
	return found[0], found[0] != ""
}

// Lookup is ValueAt for Data.
func Lookup(d hat.Data, field string) (hat.Data, bool) {
	text, ok := ValueAt(d.JSON(), field)
	return hat.DataFromStoredText(strings.Clone(text)), ok
}
