package jsonb

import (
	"cmp"
	"slices"
	"sync"
	"unicode/utf16"
	"unicode/utf8"
	"unsafe"
)

// A canonicaliser writes JSON text in canonical form while it reads it, in one pass. It builds no tree: ten
// megabytes of text can become a tree of five million values, which takes forty times as much memory. At
// the first fault it stops, and encoding/json is then asked for the error.
type canonicaliser struct {
	in      []byte
	at      int
	out     []byte
	depth   int
	members []member // of the objects that are being read
	sorting []byte
	// asWritten keeps members in the order in which they were written.
	asWritten bool
	err       error // why it stopped; nil if the syntax is wrong
}

// A member is a member of an object: its key without escapes, and where it begins and ends in out.
type member struct {
	key      []byte
	from, to int
}

// canonicalisers keeps canonicalisers to reuse their buffers, except those whose buffers grew large.
var canonicalisers = sync.Pool{New: func() any { return new(canonicaliser) }}

const maxKeptBuffer = 64 << 10

func newCanonicaliser(text []byte) *canonicaliser {
	c := canonicalisers.Get().(*canonicaliser)
	c.in = text
	if len(text) > maxKeptBuffer && cap(c.out) < len(text) {
		c.out = make([]byte, 0, len(text)) // at once, not by doubling: canonical text is rarely longer than the input
	}
	return c
}

// free returns the canonicaliser to the pool.
func (c *canonicaliser) free() {
	if cap(c.out)+cap(c.sorting) <= maxKeptBuffer {
		clear(c.members[:cap(c.members)])
		*c = canonicaliser{out: c.out[:0], members: c.members[:0], sorting: c.sorting[:0]}
		canonicalisers.Put(c)
	}
}

// Canonical reads one JSON value and returns its canonical form. Two texts of the same value become equal
// bytes:
//   - no white space;
//   - object keys in the order of PostgreSQL's jsonb: shorter first, then by bytes;
//   - of a repeated key only the last member;
//   - the character U+0000 removed from strings. In a key it is an error, because two keys could become one;
//   - exact numbers, without an exponent where that is short, without trailing zeros: 1.50 is 1.5, 1e2 is
//     100, -0 is 0.
func Canonical(text []byte) (string, error) { return read(text, false) }

// Compact is Canonical, but keeps the members of objects in the order in which they were written, repeated
// ones included. Functions that read canonical text read this text too.
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

// CanonicalList reads an array of at most that many elements in one pass, each as Canonical reads it. If
// the text does not begin as an array does, isArray is false and nothing else was checked. The elements
// share one string, which stays in memory as long as any of them.
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

// made returns the text that was written. Large text is not copied; its buffer is not used again.
func (c *canonicaliser) made() string {
	if large := cap(c.out) > maxKeptBuffer; large && len(c.out) > cap(c.out)/2 {
		out := c.out
		c.out = nil
		return unsafe.String(unsafe.SliceData(out), len(out))
	}
	return string(c.out)
}

// wrong returns the reason why reading stopped.
func (c *canonicaliser) wrong(deepest int) error {
	if tooDeep(c.in, deepest) {
		return ErrTooDeep
	}
	return complaint(c.in, c.err)
}

// ended reports whether nothing but white space follows.
func (c *canonicaliser) ended() bool {
	c.space()
	return c.at == len(c.in)
}

// space moves to the next character that is not white space, and returns it; 0 at the end.
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

// plain returns the content of the string that begins here and moves past it; ok is false if it has
// escapes.
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
			case r == 0: // removed
			case r < 0x20 || r == '"' || r == '\\':
				c.out = appendEscaped(c.out, byte(r))
			default:
				c.out = utf8.AppendRune(c.out, r)
			}
		}
	}
	return false
}

// key reads the string that begins here and returns its content without escapes.
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

// unescape reads the escape that text begins with. r is -1 if there is none. An unpaired surrogate becomes
// U+FFFD.
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

// hexRune reads \uXXXX. It returns -1 if text does not begin with that.
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

// digits moves past digits and returns how many there were.
func (c *canonicaliser) digits() int {
	from := c.at
	for c.at < len(c.in) && '0' <= c.in[c.at] && c.in[c.at] <= '9' {
		c.at++
	}
	return c.at - from
}

// sees reports whether the character is next, and moves past it.
func (c *canonicaliser) sees(ch byte) bool {
	if c.at < len(c.in) && c.in[c.at] == ch {
		c.at++
		return true
	}
	return false
}

func (c *canonicaliser) number() bool {
	// A whole number with at most this many digits stays as it is.
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

// sort puts the members into their order. From begin on, out holds only them. Of a repeated key the last
// stays.
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
