package jsonb

import (
	"cmp"
	"encoding/binary"
	"math"
	"strconv"
	"strings"

	"she/internal/fuel"
)

// Compare orders two JSON values as PostgreSQL orders jsonb: empty array < null < string < number < boolean
// < array < object. Strings are compared by code point. Shorter arrays and smaller objects come first;
// equal ones are compared member by member. An empty array comes first only at the top; inside another
// value it is an array like any other. The result is -1, 0 or 1, and 0 exactly when the values are equal.
func Compare(m *fuel.Meter, a, b string) int {
	if a == b {
		return 0
	}
	switch {
	case a == "[]":
		return -1
	case b == "[]":
		return 1
	}
	return compare(m, a, b)
}

func compare(m *fuel.Meter, a, b string) int {
	if a == b {
		return 0
	}
	ka, kb := KindOf(a), KindOf(b)
	if ka != kb {
		return cmp.Compare(ka, kb)
	}
	switch ka {
	case String:
		return compareStrings(m, a[1:max(1, len(a)-1)], b[1:max(1, len(b)-1)])
	case Number:
		m.Spend(len(a) + len(b))
		return CompareNumbers(a, b)
	case Bool:
		return cmp.Compare(a, b) // "false" < "true"
	case Array, Object:
		m.Spend(2 * (len(a) + len(b))) // each level reads its text once more
		return compareContainers(m, ka, a, b)
	}
	return 0
}

func compareContainers(m *fuel.Meter, k Kind, a, b string) int {
	if c := cmp.Compare(Count(a), Count(b)); c != 0 {
		return c
	}
	// Both have the same number of members, so the second iterator does not end before the first. Object
	// keys are compared as text although they are stored by length, as PostgreSQL does.
	i := 1
	if k == Array {
		for left := range Elements(a) {
			end := ValueEnd(b, i)
			if c := compare(m, left, b[i:end]); c != 0 {
				return c
			}
			i = min(end+1, len(b))
		}
		return 0
	}
	for key, left := range Members(a) {
		keyEnd := StringEnd(b, i)
		if c := compareStrings(m, key, b[i+1:keyEnd-1]); c != 0 {
			return c
		}
		end := ValueEnd(b, keyEnd+1)
		if c := compare(m, left, b[keyEnd+1:end]); c != 0 {
			return c
		}
		i = min(end+1, len(b))
	}
	return 0
}

// compareStrings takes the content between the quotes of two JSON strings. Without escapes, the bytes are
// compared.
func compareStrings(m *fuel.Meter, a, b string) int {
	m.Spend((len(a) + len(b)) / fuel.BytesPerUnit)
	if strings.IndexByte(a, '\\') >= 0 || strings.IndexByte(b, '\\') >= 0 {
		m.Spend(costEscaped * (len(a) + len(b)))
		return cmp.Compare(Unescaped(a), Unescaped(b))
	}
	return cmp.Compare(a, b)
}

// A decimal is ±0.DIGITS × 10^point. The digits are in two parts, so that none have to be copied. Zero has
// none.
type decimal struct {
	negative bool
	whole    string // digits before the text's decimal point
	fraction string
	point    int
}

func parseDecimal(text string) decimal {
	var d decimal
	text, d.negative = strings.CutPrefix(text, "-")
	exponent := 0
	if i := strings.IndexByte(text, 'e'); i >= 0 {
		exponent, _ = strconv.Atoi(text[i+1:])
		text = text[:i]
	}
	d.whole, d.fraction, _ = strings.Cut(text, ".")
	d.whole = strings.TrimLeft(d.whole, "0")
	d.point = len(d.whole) + exponent
	if d.whole == "" {
		trimmed := strings.TrimLeft(d.fraction, "0")
		d.point -= len(d.fraction) - len(trimmed)
		d.fraction = trimmed
	}
	if d.whole == "" && d.fraction == "" {
		return decimal{}
	}
	return d
}

func (d *decimal) zero() bool { return d.whole == "" && d.fraction == "" }

func (d *decimal) len() int { return len(d.whole) + len(d.fraction) }

// digit returns the i-th digit, '0' after the last.
func (d *decimal) digit(i int) byte {
	if i < len(d.whole) {
		return d.whole[i]
	}
	if i -= len(d.whole); i < len(d.fraction) {
		return d.fraction[i]
	}
	return '0'
}

func (d *decimal) sign() int {
	switch {
	case d.zero():
		return 0
	case d.negative:
		return -1
	}
	return 1
}

// CompareNumbers orders two JSON numbers by their exact value.
func CompareNumbers(a, b string) int {
	da, db := parseDecimal(a), parseDecimal(b)
	if c := cmp.Compare(da.sign(), db.sign()); c != 0 || da.zero() {
		return c
	}
	c := cmp.Compare(da.point, db.point)
	for i, n := 0, max(da.len(), db.len()); i < n && c == 0; i++ {
		c = cmp.Compare(da.digit(i), db.digit(i))
	}
	return c * da.sign()
}

// The first byte of a key, in the order of Compare.
const (
	keyEmpty  = 0x01 // an empty array at the top
	keyNull   = 0x02
	keyString = 0x03
	keyNumber = 0x04
	keyFalse  = 0x05
	keyTrue   = 0x06
	keyArray  = 0x07
	keyObject = 0x08
)

// AppendKey appends bytes that compare as Compare orders the values, so that a store can keep an ordered
// index of the values at a path. Keys are equal exactly when the values are.
//
//	string  03 content 00                 (U+0000 is never in Data)
//	number  04 sign [exponent digits 00]  sign 00 negative, 01 zero, 02 positive; all after it inverted if negative
//	array   07 count elements             object 08 count (key 00 value)…
func AppendKey(b []byte, canonical string) []byte {
	if canonical == "[]" {
		return append(b, keyEmpty)
	}
	return appendKey(b, canonical)
}

// AppendKeyUpto is AppendKey for a store that keeps only the first most bytes of a key. It appends at least
// those, perhaps more. However deep a large value nests, it is read at most twice.
func AppendKeyUpto(b []byte, canonical string, most int) []byte {
	const large = 1 << 14
	if len(canonical) < large || KindOf(canonical).Scalar() {
		return AppendKey(b, canonical)
	}
	k := keyWriter{s: canonical, end: len(b) + most}
	// Each container that the key reaches takes five bytes of it.
	k.count(most/5 + 1)
	b, _ = k.append(b, 0)
	return b
}

// A keyWriter writes the key of a value in the order of its text.
type keyWriter struct {
	s      string
	sizes  []uint32 // sizes of the first arrays and objects, in the order in which they begin
	opened int      // how many of these have begun
	end    int      // length at which the key may end
}

// count finds how many elements or members each of the first most arrays and objects has.
func (k *keyWriter) count(most int) {
	type open struct {
		number int
		some   bool
		commas uint32
	}
	var stack []open
	for i := 0; i < len(k.s); i++ {
		switch k.s[i] {
		case ']', '}':
			if len(stack) > 0 {
				if top := stack[len(stack)-1]; top.some && top.number < most {
					k.sizes[top.number] = top.commas + 1
				}
				stack = stack[:len(stack)-1]
			}
			continue
		case ',':
			if len(stack) > 0 {
				stack[len(stack)-1].commas++
			}
			continue
		}
		if len(stack) > 0 {
			stack[len(stack)-1].some = true
		}
		switch k.s[i] {
		case '"':
			i = StringEnd(k.s, i) - 1
		case '[', '{':
			stack = append(stack, open{number: k.opened})
			if k.opened++; k.opened <= most {
				k.sizes = append(k.sizes, 0)
			}
		}
	}
	k.opened = 0
}

// append writes the key of the value that begins at i and returns where the value ends. It may stop earlier
// if the key is long enough.
func (k *keyWriter) append(b []byte, i int) ([]byte, int) {
	if i >= len(k.s) {
		return b, len(k.s)
	}
	first := k.s[i]
	if first != '[' && first != '{' {
		end := ValueEnd(k.s, i)
		return appendKey(b, k.s[i:end]), end
	}
	mark, size := byte(keyArray), uint32(0)
	if first == '{' {
		mark = keyObject
	}
	if k.opened < len(k.sizes) {
		size = k.sizes[k.opened]
	}
	k.opened++
	b = binary.BigEndian.AppendUint32(append(b, mark), size)
	for i++; i < len(k.s) && k.s[i] != ']' && k.s[i] != '}' && len(b) < k.end; {
		if first == '{' {
			keyEnd := StringEnd(k.s, i)
			if keyEnd >= len(k.s) || keyEnd-1 <= i {
				return b, len(k.s)
			}
			b = append(append(b, Unescaped(k.s[i+1:keyEnd-1])...), 0)
			i = keyEnd + 1
		}
		before := i
		if b, i = k.append(b, i); i <= before {
			return b, len(k.s) // not JSON
		}
		if i < len(k.s) && k.s[i] == ',' {
			i++
		}
	}
	return b, min(i+1, len(k.s))
}

func appendKey(b []byte, text string) []byte {
	switch KindOf(text) {
	case Null:
		return append(b, keyNull)
	case String:
		return append(append(append(b, keyString), Unquoted(text)...), 0)
	case Number:
		return appendNumberKey(append(b, keyNumber), parseDecimal(text))
	case Bool:
		if text == "true" {
			return append(b, keyTrue)
		}
		return append(b, keyFalse)
	case Array:
		b = binary.BigEndian.AppendUint32(append(b, keyArray), uint32(Count(text)))
		for e := range Elements(text) {
			b = appendKey(b, e)
		}
	case Object:
		b = binary.BigEndian.AppendUint32(append(b, keyObject), uint32(Count(text)))
		for key, value := range Members(text) {
			b = appendKey(append(append(b, Unescaped(key)...), 0), value)
		}
	}
	return b
}

func appendNumberKey(b []byte, d decimal) []byte {
	if d.zero() {
		return append(b, 1)
	}
	sign, from := byte(2), len(b)+1
	if d.negative {
		sign = 0
	}
	b = append(b, sign)
	b = binary.BigEndian.AppendUint32(b, uint32(int64(d.point)-math.MinInt32))
	digits := len(b)
	b = append(append(b, d.whole...), d.fraction...)
	for len(b) > digits && b[len(b)-1] == '0' {
		b = b[:len(b)-1]
	}
	b = append(b, 0)
	if d.negative {
		for i := from; i < len(b); i++ {
			b[i] = ^b[i]
		}
	}
	return b
}
