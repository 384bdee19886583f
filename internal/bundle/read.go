package bundle

import (
	"slices"
	"strconv"
	"strings"

	"she/internal/hat"
	"she/internal/jsonb"
)

// A read is a path into a record's data that an answer depends on. Everything below it is read.
type read []part

// A part of a read is a step by key, by index or by either, or one of the special parts below. Mappings use a
// key or an index; filters and orders use whichever fits. So a.0 in a filter reads more than a[0] in a
// mapping.
type part struct {
	jsonb.Step
	special special
}

type special byte

const (
	noSpecial   special = iota
	eachElement         // all elements of an array, and their number
	presence            // only whether something is there, and whether it is an array if eachElement comes before
)

func steps(path []jsonb.Step) read {
	r := make(read, len(path))
	for i, s := range path {
		if !s.ByIndex {
			s.Index = 0
		}
		r[i] = part{Step: s}
	}
	return r
}

// fieldRead returns the read of a filter's field or of an order.
func fieldRead(field string) read { return steps(jsonb.Path(field)) }

// String writes the path in the form of mappings. The path of a filter or an order looks as it was written.
func (r read) String() string {
	var b strings.Builder
	for i, p := range r {
		switch {
		case p.special == eachElement:
			b.WriteString("[]")
		case p.special == presence:
		case p.ByKey:
			if i > 0 {
				b.WriteByte('.')
			}
			b.WriteString(jsonb.Unescaped(p.Key))
		default:
			b.WriteString("[" + strconv.Itoa(p.Index) + "]")
		}
	}
	return b.String()
}

// onlyPresence reports whether the content is not read, only that there is some.
func (r read) onlyPresence() bool { return len(r) > 0 && r[len(r)-1].special == presence }

// words describes the read for people.
func (r read) words() string {
	if !r.onlyPresence() {
		return hat.Foreign(r.String())
	}
	if len(r) > 1 && r[len(r)-2].special == eachElement {
		return "how many " + hat.Foreign(r.String())
	}
	return "whether there is " + hat.Foreign(r.String())
}

// A readTree is a set of reads by their parts.
type readTree struct {
	ends bool
	kids map[part]*readTree
}

func treeOf(reads []read) *readTree {
	root := &readTree{}
	for _, r := range reads {
		t := root
		for _, p := range r {
			next := t.kids[p]
			if next == nil {
				if t.kids == nil {
					t.kids = map[part]*readTree{}
				}
				next = &readTree{}
				t.kids[p] = next
			}
			t = next
		}
		t.ends = true
	}
	return root
}

// covers reports whether one of the reads leads to r or to something that contains r. A read of all elements
// of an array covers each of them.
func (t *readTree) covers(r read) bool {
	switch {
	case t == nil:
		return false
	case t.ends:
		return true
	case len(r) == 0:
		return false
	}
	p := r[0]
	if t.kids[p].covers(r[1:]) {
		return true
	}
	element := p.special == noSpecial && p.ByIndex && !p.ByKey && p.Index >= 0
	return element && t.kids[part{special: eachElement}].covers(r[1:])
}

// reads returns what the mapping reads, sorted and without duplicates; false if it reads everything.
func (m Mapping) reads() (reads []read, some bool) {
	compiled, err := m.compile()
	if err != nil || compiled == nil {
		return nil, false
	}
	compiled.addReads(&reads, nil)
	compare := func(a, b read) int { return strings.Compare(a.key(), b.key()) }
	slices.SortFunc(reads, compare)
	return slices.CompactFunc(reads, func(a, b read) bool { return compare(a, b) == 0 }), true
}

// key identifies a read and sorts like its path.
func (r read) key() string {
	text := r.String()
	for _, p := range r {
		switch {
		case p.special != noSpecial:
			text += "\x00" + strconv.Itoa(int(p.special))
		case p.ByKey && p.ByIndex:
			text += "\x00?"
		case p.ByIndex:
			text += "\x00#"
		default:
			text += "\x00."
		}
	}
	return text
}

func (m *mapper) addReads(reads *[]read, below read) {
	for _, e := range m.entries {
		path := append(slices.Clone(below), steps(e.from)...)
		if e.list {
			path = append(path, part{special: eachElement})
		}
		if e.inner == nil {
			*reads = append(*reads, path)
			continue
		}
		// Its presence shows even if no mapped value is inside.
		*reads = append(*reads, append(slices.Clone(path), part{special: presence}))
		e.inner.addReads(reads, path)
	}
}
