// Package jsonb implements PostgreSQL's jsonb on text: one canonical text for each value, and the results
// of PostgreSQL's operators. It knows nothing of HATs.
//
// It guarantees: two values are equal exactly when their canonical texts are equal bytes; reading takes at
// most a few times the memory of the text, however many values it has; no text makes a function recurse
// deeper than MaxDepth.
package jsonb

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// MaxDepth bounds how deeply arrays and objects nest, so that no recursion, here or in a function's
// runtime, exhausts its stack. PostgreSQL's own limit is in the thousands; real data stays below 20.
const MaxDepth = 256

// Units of fuel.
const (
	costVisit   = 1 << 5 // visiting one value or one set of paths
	costEscaped = 8      // one byte of a string with escapes
)

var (
	// ErrNotJSON is wrapped if the text is not a JSON value that can be stored, ErrTooDeep if it nests
	// deeper than MaxDepth.
	ErrNotJSON  = errors.New("not JSON")
	ErrNulInKey = fmt.Errorf("%w: an object key contains the character U+0000", ErrNotJSON)
	errUTF8     = fmt.Errorf("%w: invalid UTF-8", ErrNotJSON)
	ErrTooDeep  = fmt.Errorf("JSON nests deeper than %d levels", MaxDepth)
	// ErrTooMany is the error of CanonicalList for an array with too many elements.
	ErrTooMany = errors.New("the array has too many elements")
)

// complaint returns an error with the position where the text stops being JSON. If it is JSON, it returns
// wrong.
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

// position returns where the text stops being JSON, without quoting any of it.
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

// CompareKeys compares object keys in jsonb's order: by length in bytes, then by bytes.
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

// appendEscaped writes a character that must be escaped in a JSON string.
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
