// Package jsonb is PostgreSQL's jsonb on text: one canonical text for each value, and what PostgreSQL's operators answer for
// it. It knows nothing of HATs.
//
// It guarantees: two values are equal exactly when their canonical texts are equal bytes; reading takes no more memory than
// a few times the text, however many values are in it; no text drives the recursion beyond MaxDepth.
package jsonb

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// MaxDepth bounds how deeply arrays and objects nest, so that no recursion of ours or of a function's runtime can
// be driven to the end of its stack. PostgreSQL's own limit is in the thousands; real data stays below 20.
const MaxDepth = 256

// Units of fuel.
const (
	costVisit   = 1 << 5 // to look at one value or one set of paths
	costEscaped = 8      // a byte of a string whose escapes have to be read
)

var (
	// ErrNotJSON is wrapped when the text is no JSON value we can keep; ErrTooDeep when it nests beyond MaxDepth.
	ErrNotJSON  = errors.New("not JSON")
	ErrNulInKey = fmt.Errorf("%w: an object key contains the character U+0000", ErrNotJSON)
	errUTF8     = fmt.Errorf("%w: invalid UTF-8", ErrNotJSON)
	ErrTooDeep  = fmt.Errorf("JSON nests deeper than %d levels", MaxDepth)
	// ErrTooMany is what CanonicalList answers to a longer array.
	ErrTooMany = errors.New("the array has too many elements")
)

// complaint says where a text is no JSON, or else what is wrong with it.
func complaint(text []byte, wrong error) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	var v json.RawMessage
	if err := dec.Decode(&v); err != nil {
		return fmt.Errorf("%w: %s", ErrNotJSON, position(err))
	}
	if _, err := dec.Token(); err != io.EOF {
		return fmt.Errorf("%w: something follows the value at byte %d", ErrNotJSON, dec.InputOffset())
	}
	if wrong == nil {
		return fmt.Errorf("%w: unreadable", ErrNotJSON)
	}
	return wrong
}

// position says where the text stops being JSON, without quoting any of it.
func position(err error) string {
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		return fmt.Sprintf("at byte %d", syntax.Offset)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "it ends too early"
	}
	return "unreadable"
}

// tooDeep counts brackets outside strings; it need not understand the rest.
func tooDeep(text []byte, deepest int) bool {
	depth, inString := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			if depth++; depth > deepest {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}

// CompareKeys is jsonb's order of object keys: by length in bytes, then by bytes.
func CompareKeys(a, b string) int {
	if c := cmp.Compare(len(a), len(b)); c != 0 {
		return c
	}
	return cmp.Compare(a, b)
}

// AppendString writes a JSON string with only the escapes JSON demands; valid UTF-8 stays as it is.
func AppendString(b []byte, s string) []byte {
	b = append(b, '"')
	from := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		b = appendEscaped(append(b, s[from:i]...), c)
		from = i + 1
	}
	return append(append(b, s[from:]...), '"')
}

// appendEscaped writes a character that may not stand in a JSON string.
func appendEscaped(b []byte, c byte) []byte {
	const hex = "0123456789abcdef"
	switch c {
	case '"', '\\':
		return append(b, '\\', c)
	case '\n':
		return append(b, '\\', 'n')
	case '\r':
		return append(b, '\\', 'r')
	case '\t':
		return append(b, '\\', 't')
	case '\b':
		return append(b, '\\', 'b')
	case '\f':
		return append(b, '\\', 'f')
	}
	return append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
}
