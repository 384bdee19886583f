package jsonb

import (
	"cmp"
	"slices"
	"sync"
	"unicode/utf16"
	"unicode/utf8"
	"unsafe"
)

// A canonicaliser writes JSON text in canonical form while it reads it, in one pass and without a tree: text of ten
// megabytes can be a tree of five million values, which take forty times as much. What is wrong it gives up on, and
// encoding/json says what is the matter.
type canonicaliser struct {
	in      []byte
	at      int
	out     []byte
	depth   int
	members []member // of the objects that are open
	sorting []byte
	// asWritten keeps members in the order in which they were written.
	asWritten bool
	err       error // why it gave up, if that is no matter of syntax
}

// A member of an object: its key without escapes, and where it begins and ends in out.
type member struct {
	key      []byte
	from, to int
}

// canonicalisers are kept for their buffers, but not those that grew large.
var canonicalisers = sync.Pool{New: func() any { return new(canonicaliser) }}

const maxKeptBuffer = 64 << 10

func newCanonicaliser(text []byte) *canonicaliser {
	c := canonicalisers.Get().(*canonicaliser)
	c.in = text
	if len(text) > maxKeptBuffer && cap(c.out) < len(text) {
		c.out = make([]byte, 0, len(text)) // not by doubling: what is canonical is mostly no longer
	}
	return c
}

// free lets the next one use the buffers.
func (c *canonicaliser) free() {
	if cap(c.out)+cap(c.sorting) <= maxKeptBuffer {
		clear(c.members[:cap(c.members)])
		*c = canonicaliser{out: c.out[:0], members: c.members[:0], sorting: c.sorting[:0]}
		canonicalisers.Put(c)
	}
}

// Canonical reads one JSON value and puts it in canonical form, so that two texts of one value are equal bytes:
// no white space; object keys in the order of PostgreSQL's jsonb (shorter first, then bytes); of a repeated key
// the last; the character U+0000 removed from strings (in a key, where two could then be one, it is refused); numbers
// exact, without exponent where that is short, without trailing zeros (1.50 is 1.5, 1e2 is 100, -0 is 0).
func Canonical(text []byte) (string, error) { return read(text, false) }

// Compact is Canonical for where the order of members matters: those of objects stay as they were written, repeated ones
// included. What reads canonical text reads this too.
func Compact(text []byte) (string, error) { return read(text, true) }

func read(text []byte, asWritten bool) (string, error) {
	if !utf8.Valid(text) {
		return "", errUTF8
	}
	c := newCanonicaliser(text)
	defer c.free()
	c.asWritten = asWritten
	if !c.value() || !c.ended() {
		return "", c.wrong(MaxDepth)
	}
	return c.made(), nil
}

// CanonicalList reads an array of at most so many elements, each as Canonical reads it, in one pass. isArray is false if the
// text begins as no array does: then nothing else was looked at. The elements share one string, which lives as long as any
// of them.
func CanonicalList(text []byte, most int) (list []string, isArray bool, err error) {
	c := newCanonicaliser(text)
	defer c.free()
	if c.space() != '[' {
		return nil, false, nil
	}
	if !utf8.Valid(text) {
		return nil, true, errUTF8
	}
	c.at++
	var ends []int
	for more := c.space() != ']'; more; {
		if len(ends) == most {
			return nil, true, ErrTooMany
		}
		if !c.value() {
			return nil, true, c.wrong(MaxDepth + 1)
		}
		ends = append(ends, len(c.out))
		switch c.space() {
		case ',':
			c.at++
		case ']':
			more = false
		default:
			return nil, true, c.wrong(MaxDepth + 1)
		}
	}
	if c.at++; !c.ended() {
		return nil, true, c.wrong(MaxDepth + 1)
	}
	all, from := c.made(), 0
	list = make([]string, len(ends))
	for i, end := range ends {
		list[i], from = all[from:end], end
	}
	return list, true, nil
}

// made is what was written. Large text is not copied: its buffer is not used again.
func (c *canonicaliser) made() string {
	if large := cap(c.out) > maxKeptBuffer; large && len(c.out) > cap(c.out)/2 {
		out := c.out
		c.out = nil
		return unsafe.String(unsafe.SliceData(out), len(out))
	}
	return string(c.out)
}

// wrong says why reading was given up.
func (c *canonicaliser) wrong(deepest int) error {
	if tooDeep(c.in, deepest) {
		return ErrTooDeep
	}
	return complaint(c.in, c.err)
}

// ended says that nothing follows.
func (c *canonicaliser) ended() bool {
	c.space()
	return c.at == len(c.in)
}

// space moves to the next character that is none; 0 is the end.
func (c *canonicaliser) space() byte {
	for ; c.at < len(c.in); c.at++ {
		switch ch := c.in[c.at]; ch {
		case ' ', '\t', '\r', '\n':
		default:
			return ch
		}
	}
	return 0
}

func (c *canonicaliser) value() bool {
	switch c.space() {
	case '{':
		return c.object()
	case '[':
		return c.array()
	case '"':
		return c.text()
	case 't':
		return c.literal("true")
	case 'f':
		return c.literal("false")
	case 'n':
		return c.literal("null")
	}
	return c.number()
}

func (c *canonicaliser) literal(word string) bool {
	if len(c.in)-c.at < len(word) || string(c.in[c.at:c.at+len(word)]) != word {
		return false
	}
	c.at += len(word)
	c.out = append(c.out, word...)
	return true
}

// plain is what stands in the string that begins here, if it has no escapes, and moves behind it.
func (c *canonicaliser) plain() (content []byte, ok bool) {
	from := c.at + 1
	for i := from; i < len(c.in); i++ {
		switch ch := c.in[i]; {
		case ch == '"':
			c.at = i + 1
			return c.in[from:i], true
		case ch == '\\' || ch < 0x20:
			return nil, false
		}
	}
	return nil, false
}

func (c *canonicaliser) text() bool {
	if content, ok := c.plain(); ok {
		c.out = append(append(append(c.out, '"'), content...), '"')
		return true
	}
	c.out = append(c.out, '"')
	for i := c.at + 1; i < len(c.in); i++ {
		switch ch := c.in[i]; {
		case ch == '"':
			c.at = i + 1
			c.out = append(c.out, '"')
			return true
		case ch < 0x20:
			return false
		case ch != '\\':
			c.out = append(c.out, ch)
		default:
			r, size := unescape(c.in[i:])
			if r < 0 {
				return false
			}
			i += size - 1
			switch {
			case r == 0: // left out
			case r < 0x20 || r == '"' || r == '\\':
				c.out = appendEscaped(c.out, byte(r))
			default:
				c.out = utf8.AppendRune(c.out, r)
			}
		}
	}
	return false
}

// key reads the string that begins here, without escapes.
func (c *canonicaliser) key() (key []byte, escaped, ok bool) {
	if key, ok := c.plain(); ok {
		return key, false, true
	}
	for i := c.at + 1; i < len(c.in); i++ {
		switch ch := c.in[i]; {
		case ch == '"':
			c.at = i + 1
			return key, true, true
		case ch < 0x20:
			return nil, false, false
		case ch != '\\':
			key = append(key, ch)
		default:
			r, size := unescape(c.in[i:])
			if r <= 0 {
				if r == 0 {
					c.err = ErrNulInKey
				}
				return nil, false, false
			}
			i += size - 1
			key = utf8.AppendRune(key, r)
		}
	}
	return nil, false, false
}

// unescape reads the escape that text begins with; -1 if there is none. Half of a pair of surrogates is U+FFFD.
func unescape(text []byte) (r rune, size int) {
	if len(text) < 2 {
		return -1, 0
	}
	switch text[1] {
	case '"', '\\', '/':
		return rune(text[1]), 2
	case 'b':
		return '\b', 2
	case 'f':
		return '\f', 2
	case 'n':
		return '\n', 2
	case 'r':
		return '\r', 2
	case 't':
		return '\t', 2
	case 'u':
		r, size = hexRune(text), 6
		if utf16.IsSurrogate(r) {
			if r = utf16.DecodeRune(r, hexRune(text[6:])); r != utf8.RuneError {
				size = 12
			}
		}
		return r, size
	}
	return -1, 0
}

// hexRune reads \uXXXX; -1 if that is not what text begins with.
func hexRune(text []byte) rune {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return -1
	}
	var r rune
	for _, ch := range text[2:6] {
		switch {
		case '0' <= ch && ch <= '9':
			ch -= '0'
		case 'a' <= ch && ch <= 'f':
			ch -= 'a' - 10
		case 'A' <= ch && ch <= 'F':
			ch -= 'A' - 10
		default:
			return -1
		}
		r = r<<4 | rune(ch)
	}
	return r
}

// digits moves behind digits and says how many there were.
func (c *canonicaliser) digits() int {
	from := c.at
	for c.at < len(c.in) && '0' <= c.in[c.at] && c.in[c.at] <= '9' {
		c.at++
	}
	return c.at - from
}

// sees moves behind the character if it is next.
func (c *canonicaliser) sees(ch byte) bool {
	if c.at < len(c.in) && c.in[c.at] == ch {
		c.at++
		return true
	}
	return false
}

func (c *canonicaliser) number() bool {
	// A whole number of so many digits stays as it is.
	const short = 18
	from := c.at
	negative := c.sees('-')
	first := c.at
	whole := c.digits()
	if whole == 0 || whole > 1 && c.in[first] == '0' {
		return false
	}
	plain := whole <= short && (!negative || c.in[first] != '0')
	if c.sees('.') {
		if plain = false; c.digits() == 0 {
			return false
		}
	}
	if c.sees('e') || c.sees('E') {
		if plain = false; !c.sees('-') {
			c.sees('+')
		}
		if c.digits() == 0 {
			return false
		}
	}
	if plain {
		c.out = append(c.out, c.in[from:c.at]...)
		return true
	}
	b, err := appendNumber(c.out, string(c.in[from:c.at]))
	if err != nil {
		c.err = err
		return false
	}
	c.out = b
	return true
}

func (c *canonicaliser) array() bool {
	if c.depth++; c.depth > MaxDepth {
		return false
	}
	c.at++
	c.out = append(c.out, '[')
	for more := c.space() != ']'; more; {
		if !c.value() {
			return false
		}
		switch c.space() {
		case ',':
			c.out = append(c.out, ',')
			c.at++
		case ']':
			more = false
		default:
			return false
		}
	}
	c.at++
	c.out = append(c.out, ']')
	c.depth--
	return true
}

func (c *canonicaliser) object() bool {
	if c.depth++; c.depth > MaxDepth {
		return false
	}
	c.at++
	c.out = append(c.out, '{')
	mine, begin, sorted := len(c.members), len(c.out), true
	for more := c.space() != '}'; more; {
		if c.space() != '"' {
			return false
		}
		key, escaped, ok := c.key()
		if !ok || c.space() != ':' {
			return false
		}
		c.at++
		if len(c.members) > mine && CompareKeys(string(c.members[len(c.members)-1].key), string(key)) >= 0 {
			sorted = false
		}
		from := len(c.out)
		if escaped {
			c.out = append(AppendString(c.out, string(key)), ':')
		} else {
			c.out = append(append(append(c.out, '"'), key...), '"', ':')
		}
		if !c.value() {
			return false
		}
		c.members = append(c.members, member{key, from, len(c.out)})
		switch c.space() {
		case ',':
			c.out = append(c.out, ',')
			c.at++
		case '}':
			more = false
		default:
			return false
		}
	}
	if !sorted && !c.asWritten {
		c.sort(c.members[mine:], begin)
	}
	c.at++
	c.members, c.out = c.members[:mine], append(c.out, '}')
	c.depth--
	return true
}

// sort puts the members, which are all that out holds from begin on, into their order; of a repeated key the last stays.
func (c *canonicaliser) sort(members []member, begin int) {
	slices.SortFunc(members, func(a, b member) int {
		return cmp.Or(CompareKeys(string(a.key), string(b.key)), cmp.Compare(a.from, b.from))
	})
	c.sorting = append(c.sorting[:0], c.out[begin:]...)
	c.out = c.out[:begin]
	for i, m := range members {
		if i+1 < len(members) && string(m.key) == string(members[i+1].key) {
			continue
		}
		if len(c.out) > begin {
			c.out = append(c.out, ',')
		}
		c.out = append(c.out, c.sorting[m.from-begin:m.to-begin]...)
	}
}
