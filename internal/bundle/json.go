package bundle

import (
	"encoding/json"
	"iter"
	"strings"

	"she/internal/jsonb"
)

// The evaluator reads canonical JSON text (hat.Data) in place, without building a tree: a record is passed over once
// for all the paths somebody wants of it. In canonical text equal values are equal bytes, keys included, so that a key
// or a scalar is compared without being decoded. Text that is not JSON, which only a damaged store can hold, is read as
// far as it makes sense and never past its end.

// kind is the type of a JSON value, in the order of jsonb.
type kind byte

const (
	kindMissing kind = iota
	kindNull
	kindString
	kindNumber
	kindBool
	kindArray
	kindObject
)

func kindOf(text string) kind {
	if text == "" {
		return kindMissing
	}
	switch text[0] {
	case 'n':
		return kindNull
	case '"':
		return kindString
	case 't', 'f':
		return kindBool
	case '[':
		return kindArray
	case '{':
		return kindObject
	}
	return kindNumber
}

func (k kind) scalar() bool { return k < kindArray }

// stringEnd is the index behind the string whose opening quote is at i.
func stringEnd(s string, i int) int {
	// Keys and most values are short: a loop finds their end sooner than the search for a byte has begun.
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

// valueEnd is the index behind the value that starts at i.
func valueEnd(s string, i int) int {
	if i >= len(s) {
		return len(s)
	}
	switch s[i] {
	case '"':
		return stringEnd(s, i)
	case '{', '[':
		depth := 0
		for i < len(s) {
			switch s[i] {
			case '"':
				i = stringEnd(s, i)
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

// members yields the keys, as they are written between the quotes, and the values of an object.
func members(object string) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for i := 1; i < len(object) && object[i] == '"'; i++ {
			keyEnd := stringEnd(object, i)
			end := valueEnd(object, keyEnd+1)
			if keyEnd+1 >= len(object) || !yield(object[i+1:keyEnd-1], object[keyEnd+1:end]) {
				return
			}
			i = end
		}
	}
}

// elements yields the values of an array.
func elements(array string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := 1; i < len(array) && array[i] != ']'; i++ {
			end := valueEnd(array, i)
			if end == i || !yield(array[i:end]) {
				return
			}
			i = end
		}
	}
}

// count is the number of members or elements.
func count(container string) (n int) {
	if kindOf(container) == kindObject {
		for range members(container) {
			n++
		}
		return n
	}
	for range elements(container) {
		n++
	}
	return n
}

// quoted is s as it stands between the quotes of a canonical string.
func quoted(s string) string {
	b := jsonb.AppendString(nil, s)
	return string(b[1 : len(b)-1])
}

// unquoted is the content of a JSON string, given with its quotes.
func unquoted(text string) string {
	if len(text) < 2 || text[0] != '"' {
		return ""
	}
	return unescaped(text[1 : len(text)-1])
}

// unescaped is the content of a JSON string, given without its quotes.
func unescaped(inner string) string {
	if strings.IndexByte(inner, '\\') < 0 {
		return inner
	}
	var s string
	if json.Unmarshal([]byte(`"`+inner+`"`), &s) != nil {
		return ""
	}
	return s
}
