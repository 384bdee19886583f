package jsonb

import (
	"encoding/json"
	"iter"
	"strings"
)

// This file reads canonical text in place, without building a tree. In canonical text equal values are
// equal bytes, keys included, so keys and scalars are compared without decoding them. Text that is not
// JSON, which only a damaged store can contain, is read as far as it makes sense and never past its end.

// A Kind is the type of a JSON value, in the order of jsonb.
type Kind byte

const (
	Missing Kind = iota
	Null
	String
	Number
	Bool
	Array
	Object
)

// KindOf returns the kind of the value. The empty text is Missing.
func KindOf(text string) Kind {
	if text == "" {
		return Missing
	}
	switch text[0] {
	case 'n':
		return Null
	case '"':
		return String
	case 't', 'f':
		return Bool
	case '[':
		return Array
	case '{':
		return Object
	}
	return Number
}

// Scalar reports whether the value is neither an array nor an object.
func (k Kind) Scalar() bool { return k < Array }

// StringEnd returns the index after the string whose opening quote is at i.
func StringEnd(s string, i int) int {
	// Keys and most values are short. For these a loop is faster than a call of the byte search.
	from := i + 1
	for near := min(from+16, len(s)); from < near; from++ {
		if s[from] == '"' {
			return from + 1
		}
		if s[from] == '\\' {
			from++
		}
	}
	for {
		if from >= len(s) {
			return len(s)
		}
		quote := strings.IndexByte(s[from:], '"')
		if quote < 0 {
			return len(s)
		}
		at := from + quote
		backslashes := 0
		for at-1-backslashes > i && s[at-1-backslashes] == '\\' {
			backslashes++
		}
		if backslashes%2 == 0 {
			return at + 1
		}
		from = at + 1
	}
}

// ValueEnd returns the index after the value that starts at i.
func ValueEnd(s string, i int) int {
	if i >= len(s) {
		return len(s)
	}
	switch s[i] {
	case '"':
		return StringEnd(s, i)
	case '{', '[':
		depth := 0
		for i < len(s) {
			switch s[i] {
			case '"':
				i = StringEnd(s, i)
				continue
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return i + 1
				}
			}
			i++
		}
		return len(s)
	}
	for i < len(s) && s[i] != ',' && s[i] != ']' && s[i] != '}' {
		i++
	}
	return i
}

// Members yields the keys, as they are written between the quotes, and the values of an object.
func Members(object string) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for i := 1; i < len(object) && object[i] == '"'; i++ {
			keyEnd := StringEnd(object, i)
			end := ValueEnd(object, keyEnd+1)
			if keyEnd+1 >= len(object) || !yield(object[i+1:keyEnd-1], object[keyEnd+1:end]) {
				return
			}
			i = end
		}
	}
}

// Elements yields the values of an array.
func Elements(array string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := 1; i < len(array) && array[i] != ']'; i++ {
			end := ValueEnd(array, i)
			if end == i || !yield(array[i:end]) {
				return
			}
			i = end
		}
	}
}

// Count returns the number of members or elements.
func Count(container string) (n int) {
	if KindOf(container) == Object {
		for range Members(container) {
			n++
		}
		return n
	}
	for range Elements(container) {
		n++
	}
	return n
}

// Quoted returns s as it is written between the quotes of a canonical string.
func Quoted(s string) string {
	b := AppendString(nil, s)
	return string(b[1 : len(b)-1])
}

// Unquoted returns the content of a JSON string, given with its quotes.
func Unquoted(text string) string {
	if len(text) < 2 || text[0] != '"' {
		return ""
	}
	return Unescaped(text[1 : len(text)-1])
}

// Unescaped returns the content of a JSON string, given without its quotes.
func Unescaped(inner string) string {
	if strings.IndexByte(inner, '\\') < 0 {
		return inner
	}
	var s string
	if json.Unmarshal([]byte(`"`+inner+`"`), &s) != nil {
		return ""
	}
	return s
}

// Text returns the text of a value, as the operator #>> '{}' does: of a string its content; of an array or
// object its JSON as PostgreSQL prints it, keys included; of null nothing. Unlike with #>>, a number below
// 1e-10 or beyond 1e21 keeps its exponent.
func Text(text string) string {
	switch KindOf(text) {
	case Null:
		return ""
	case String:
		return Unquoted(text)
	case Array, Object:
		return spaced(text)
	}
	return text
}

// spaced puts a space after each comma and colon outside strings.
func spaced(text string) string {
	var b strings.Builder
	from := 0
	for i := 0; i < len(text); {
		switch text[i] {
		case '"':
			i = StringEnd(text, i)
			continue
		case ',', ':':
			b.WriteString(text[from : i+1])
			b.WriteByte(' ')
			from = i + 1
		}
		i++
	}
	b.WriteString(text[from:])
	return b.String()
}
