package bundle

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"she/internal/fuel"
	"she/internal/hat"
	"she/internal/jsonb"
)

// MaxMapped bounds the mapped data of one record, because a mapping may copy a large value many times.
const MaxMapped = 16 << 20

// ErrMappedTooLarge ends an evaluation in which a mapping makes more than MaxMapped bytes of one record.
var ErrMappedTooLarge = errors.New("a mapping makes too much of one record")

// A Mapping defines the data of an answer: an object {destination: source}. The zero Mapping, and one that is
// not an object, leave the data unchanged. Entries apply in the order in which they were written.
type Mapping struct {
	text string // compact JSON, canonical except for the order of keys
}

// JSON returns the mapping as it was written, or "".
func (m Mapping) JSON() string { return m.text }

func (v value) mapping() (Mapping, error) {
	text, err := appendOrdered(nil, v)
	if err != nil {
		return Mapping{}, err
	}
	m := Mapping{string(text)}
	if jsonb.KindOf(m.text) == jsonb.Object {
		_, err = compileMapping(value{m.text, v.path}, nil)
	}
	return m, err
}

// appendOrdered writes canonical JSON, except that the keys of objects keep the order of their first
// appearance.
func appendOrdered(b []byte, v value) ([]byte, error) {
	switch jsonb.KindOf(v.text) {
	case jsonb.Array:
		b = append(b, '[')
		for e := range jsonb.Elements(v.text) {
			var err error
			if b[len(b)-1] != '[' {
				b = append(b, ',')
			}
			if b, err = appendOrdered(b, value{e, v.path}); err != nil {
				return nil, err
			}
		}
		return append(b, ']'), nil
	case jsonb.Object:
		f, err := v.object()
		if err != nil {
			return nil, err
		}
		b = append(b, '{')
		for i, name := range f.names {
			if i > 0 {
				b = append(b, ',')
			}
			if b, err = appendOrdered(append(jsonb.AppendString(b, name), ':'), f.values[name]); err != nil {
				return nil, err
			}
		}
		return append(b, '}'), nil
	}
	return append(b, v.text...), nil
}

// sortField returns the dotted source path that orderBy refers to under this mapping.
func (m Mapping) sortField(orderBy string) string {
	field := orderBy
	if jsonb.KindOf(m.text) == jsonb.Object {
		for key, source := range jsonb.Members(m.text) {
			if jsonb.Unescaped(key) == orderBy && jsonb.KindOf(source) == jsonb.String {
				field = jsonb.Unquoted(source)
			}
		}
	}
	return field
}

// normalised drops a mapping without effect, and sorts entries whose order doesn't matter.
func (m Mapping) normalised() Mapping {
	if jsonb.KindOf(m.text) != jsonb.Object {
		return Mapping{}
	}
	compiled, err := m.compile()
	if err != nil || compiled.shape == nil {
		return m
	}
	d, err := hat.ParseData([]byte(m.text))
	if err != nil {
		return m
	}
	return Mapping{d.JSON()}
}

// A mapper is a prepared Mapping, for one goroutine at a time.
type mapper struct {
	nothing  bool // the mapping is malformed: every answer is {}
	entries  []entry
	sources  jsonb.Trie
	values   []string // by entry, what its source found in the current record
	shape    *shape   // nil if two destinations overlap, so that order matters
	tooLarge *bool    // shared with inner mappers
	meter    *meter
}

// An entry copies the value it reads, or applies inner to it, or to each of its elements.
type entry struct {
	to    []string // keys, as written between the quotes
	from  []jsonb.Step
	inner *mapper
	list  bool
}

// compile returns nil for a mapping that changes nothing.
func (m Mapping) compile() (*mapper, error) { return m.compileFor(nil) }

// compileFor is compile for an evaluation with a meter.
func (m Mapping) compileFor(meter *meter) (*mapper, error) {
	if jsonb.KindOf(m.text) != jsonb.Object {
		return nil, nil
	}
	return compileMapping(value{m.text, "mapping"}, meter)
}

func compileMapping(v value, m *meter) (*mapper, error) {
	c := &compiler{tooLarge: new(bool), meter: m}
	compiled, err := c.mapper(v, 0)
	if err != nil {
		return nil, err
	}
	if c.malformed {
		return &mapper{nothing: true, tooLarge: c.tooLarge}, nil
	}
	return compiled, nil
}

type compiler struct {
	entries   int
	malformed bool
	tooLarge  *bool
	meter     *meter
}

const maxMappingDepth = 16

func (c *compiler) mapper(v value, depth int) (*mapper, error) {
	f, err := v.object()
	if err != nil {
		return nil, err
	}
	if c.entries += len(f.names); c.entries > MaxMappings {
		return nil, v.wrong(fmt.Sprintf("more than %d entries", MaxMappings))
	}
	if depth > maxMappingDepth {
		return nil, v.wrong(fmt.Sprintf("mappings nest deeper than %d levels", maxMappingDepth))
	}
	m := &mapper{tooLarge: c.tooLarge, meter: c.meter}
	for _, name := range f.names {
		e, err := c.entry(name, f.values[name], depth)
		if err != nil {
			return nil, err
		}
		m.sources.Add(e.from, len(m.entries))
		m.entries = append(m.entries, e)
	}
	m.values = make([]string, len(m.entries))
	m.shape = shapeOf(m.entries)
	return m, nil
}

// entry reads "to": "from" and "to": {"source","mappings"}. Anything else makes the mapping malformed. That
// is no error: the original answers {} then.
func (c *compiler) entry(name string, v value, depth int) (e entry, err error) {
	if len(name) > MaxText {
		return e, v.wrong(fmt.Sprintf("more than %d bytes", MaxText))
	}
	if e.to, e.list, err = destination(name); err != nil {
		return e, v.wrong(err.Error())
	}
	switch jsonb.KindOf(v.text) {
	case jsonb.String:
		e.list = false
		e.from, err = v.source()
		return e, err
	case jsonb.Object:
		f, err := v.object()
		if err != nil {
			return e, err
		}
		source, inner := f.values["source"], f.values["mappings"]
		if jsonb.KindOf(source.text) != jsonb.String || jsonb.KindOf(inner.text) != jsonb.Object {
			break
		}
		if e.from, err = source.source(); err != nil {
			return e, err
		}
		e.inner, err = c.mapper(inner, depth+1)
		return e, err
	}
	c.malformed = true
	return e, nil
}

// pathNode is an object key, optionally followed by an index, or by [] for an array.
var pathNode = regexp.MustCompile(`^([^.\[\]]+)(?:\[([0-9]{0,9})\])?$`)

var (
	errPath  = errors.New("Mapping path invalid") //nolint:staticcheck // wire text, beside "Endpoint invalid"
	errIndex = errors.New("Mapping destination may not have an index")
)

func destination(name string) (to []string, list bool, err error) {
	nodes := strings.Split(name, ".")
	for i, node := range nodes {
		m := pathNode.FindStringSubmatch(node)
		switch {
		case m == nil:
			return nil, false, errPath
		case m[2] != "", m[1] != node && i < len(nodes)-1:
			return nil, false, errIndex
		}
		list = m[1] != node
		to = append(to, jsonb.Quoted(m[1]))
	}
	return to, list, nil
}

func (v value) source() (from []jsonb.Step, err error) {
	text, err := v.string()
	if err != nil {
		return nil, err
	}
	for node := range strings.SplitSeq(text, ".") {
		m := pathNode.FindStringSubmatch(node)
		if m == nil {
			return nil, v.wrong(errPath.Error())
		}
		from = append(from, jsonb.Step{Key: jsonb.Quoted(m[1]), ByKey: true})
		if m[2] != "" {
			index, err := strconv.Atoi(m[2])
			if err != nil {
				return nil, v.wrong(errPath.Error())
			}
			from = append(from, jsonb.Step{Index: index, ByIndex: true})
		}
	}
	return from, nil
}

// A shape is the answer as a tree whose leaves write an entry. Keys are in canonical order, so the output is
// canonical without being sorted for each record.
type shape struct {
	label string // `"key":`
	entry int    // of a leaf
	kids  []*shape
}

// shapeOf returns nil if two destinations overlap.
func shapeOf(entries []entry) *shape {
	root := &shape{entry: -1}
	for n, e := range entries {
		at := root
		for i, key := range e.to {
			label := `"` + key + `":`
			k := slices.IndexFunc(at.kids, func(s *shape) bool { return s.label == label })
			if k < 0 {
				at.kids = append(at.kids, &shape{label: label, entry: -1})
				k = len(at.kids) - 1
			} else if i == len(e.to)-1 {
				return nil
			}
			if at = at.kids[k]; at.entry >= 0 {
				return nil
			}
		}
		at.entry = n
	}
	root.sort()
	return root
}

func (s *shape) sort() {
	slices.SortFunc(s.kids, func(a, b *shape) int { return compareRawKeys(a.label[1:len(a.label)-2], b.label[1:len(b.label)-2]) })
	for _, kid := range s.kids {
		kid.sort()
	}
}

func compareRawKeys(a, b string) int {
	return jsonb.CompareKeys(jsonb.Unescaped(a), jsonb.Unescaped(b))
}

// apply appends the mapped data.
func (m *mapper) apply(b []byte, text string) []byte {
	if m.nothing || jsonb.KindOf(text) != jsonb.Object {
		return append(b, "{}"...)
	}
	m.sources.Find(m.meter.fuel(), text, m.values)
	m.meter.spend(costEntry * len(m.entries))
	if m.shape != nil {
		return m.appendShape(b, m.shape)
	}
	root := &node{kids: map[string]*node{}, meter: m.meter}
	for i := range m.entries {
		if got, ok := m.appendEntry(nil, i); ok {
			m.meter.spend(len(got))
			root.put(m.entries[i].to, &node{text: string(got), meter: m.meter})
		}
	}
	return root.append(b, m)
}

func (m *mapper) appendShape(b []byte, s *shape) []byte {
	b = append(b, '{')
	start := len(b)
	for _, kid := range s.kids {
		before := len(b)
		if before > start {
			b = append(b, ',')
		}
		b = append(b, kid.label...)
		written := false
		if kid.entry >= 0 {
			b, written = m.appendEntry(b, kid.entry)
		} else {
			empty := len(b) + len("{}")
			b = m.appendShape(b, kid)
			written = len(b) > empty
		}
		if !written {
			b = b[:before]
		}
	}
	return append(b, '}')
}

// appendEntry returns false, and b unchanged, if the source isn't there.
func (m *mapper) appendEntry(b []byte, n int) ([]byte, bool) {
	e, text := &m.entries[n], m.values[n]
	switch {
	case text == "" || e.list && jsonb.KindOf(text) != jsonb.Array:
		return b, false
	case len(b)+len(text) > MaxMapped:
		*m.tooLarge = true
		return append(b, "null"...), true
	case e.inner == nil:
		m.meter.spend(len(text) / fuel.BytesPerUnit)
		return append(b, text...), true
	case !e.list:
		return e.inner.apply(b, text), true
	}
	m.meter.spend(len(text))
	b = append(b, '[')
	first := true
	for element := range jsonb.Elements(text) {
		if *m.tooLarge {
			break
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = e.inner.apply(b, element)
	}
	return append(b, ']'), true
}

// A node is an unfinished answer whose destinations overlap: JSON text, or an object opened for merging.
type node struct {
	text  string
	kids  map[string]*node // by key as written between the quotes
	meter *meter
}

// open turns an object's text into kids. It returns false for anything else.
func (n *node) open() bool {
	if n.kids == nil && jsonb.KindOf(n.text) == jsonb.Object {
		n.kids = make(map[string]*node)
		n.meter.spend(len(n.text))
		for key, text := range jsonb.Members(n.text) {
			n.meter.spend(costNode)
			n.kids[key] = &node{text: text, meter: n.meter}
		}
	}
	return n.kids != nil
}

// put merges v into the object n at the path.
func (n *node) put(path []string, v *node) {
	for _, key := range path[:len(path)-1] {
		next := n.kids[key]
		if next == nil || !next.open() {
			next = &node{kids: make(map[string]*node), meter: n.meter}
			n.kids[key] = next
		}
		n = next
	}
	n.merge(path[len(path)-1], v)
}

// merge sets one member. Two objects are merged member by member; anything else is replaced.
func (n *node) merge(key string, v *node) {
	old := n.kids[key]
	if old == nil || jsonb.KindOf(old.text) != jsonb.Object && old.kids == nil || !v.open() {
		n.kids[key] = v
		return
	}
	old.open()
	for k, member := range v.kids {
		n.meter.spend(costNode)
		old.merge(k, member)
	}
}

func (n *node) append(b []byte, m *mapper) []byte {
	if n.kids == nil {
		if len(b)+len(n.text) > MaxMapped {
			*m.tooLarge = true
			return append(b, "null"...)
		}
		return append(b, n.text...)
	}
	keys := make([]string, 0, len(n.kids))
	m.meter.spend(costNode * len(n.kids))
	for key := range n.kids {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, compareRawKeys)
	b = append(b, '{')
	for i, key := range keys {
		if i > 0 {
			b = append(b, ',')
		}
		b = n.kids[key].append(append(append(append(b, '"'), key...), `":`...), m)
	}
	return append(b, '}')
}
