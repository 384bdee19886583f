package jsonb

import (
	"fmt"
	"iter"
	"strings"
	"unicode/utf8"
)

// This file reads JSON as it was written, value by value, without building a tree. Unlike Canonical it
// accepts values that can't be stored: numbers of any size, keys with U+0000, deeper nesting. A caller
// skips the fields it does not know, and these may hold such values.

// maxSkipped bounds the nesting of a value that is read as written. No function recurses over such a value.
const maxSkipped = 10_000

// ErrFollows says that there is text after the value.
var ErrFollows = fmt.Errorf("%w: something follows the value", ErrNotJSON)

// A SyntaxError says where a text stops being JSON. It quotes nothing of the text.
type SyntaxError struct {
	Offset int // of the first byte that can't stand where it does, counted from 1; 0: the text ends too early
}

func (e *SyntaxError) Error() string {
	if e.Offset == 0 {
		return "not JSON: it ends too early"
	}
	return fmt.Sprintf("not JSON at byte %d", e.Offset)
}

func (e *SyntaxError) Unwrap() error { return ErrNotJSON }

// A Written is the text of one value as it was written. The zero value stands for a missing one.
type Written struct{ text []byte }

// Bytes returns the text without white space around it. The caller must not change it.
func (w Written) Bytes() []byte { return w.text }

// Kind returns the type of the value.
func (w Written) Kind() Kind {
	if len(w.text) == 0 {
		return Missing
	}
	return KindOf(string(w.text[:1]))
}

// Text returns the content of a string; ok is false for any other value. Half of a pair of surrogates
// becomes U+FFFD.
func (w Written) Text() (content string, ok bool) {
	if w.Kind() != String {
		return "", false
	}
	return unquoted(w.text), true
}

// Read reads the one value of a text in valid UTF-8. It returns ErrFollows if there is more text, else a
// SyntaxError.
func Read(text []byte) (Written, error) {
	r := reader{canonicaliser: canonicaliser{in: text}}
	w, err := r.next()
	if err == nil && !r.ended() {
		err = ErrFollows
	}
	return w, err
}

// IsArray reports whether the text begins as an array does.
func IsArray(text []byte) bool { return first(text) == '[' }

// IsObject reports whether the text begins as an object does.
func IsObject(text []byte) bool { return first(text) == '{' }

func first(text []byte) byte { return (&canonicaliser{in: text}).space() }

// ReadElements reads the elements of an array. If the text is not JSON, it yields the elements before the
// fault, then the fault as an error, and then ends. The text must be valid UTF-8 and begin as an array
// does.
func ReadElements(text []byte) iter.Seq2[Written, error] {
	return func(yield func(Written, error) bool) {
		r := reader{canonicaliser: canonicaliser{in: text}}
		r.space()
		r.at++
		for more := r.space() != ']'; more; {
			w, err := r.next()
			if !yield(w, err) || err != nil {
				return
			}
			switch r.space() {
			case ',':
				r.at++
			case ']':
				more = false
			default:
				yield(Written{}, r.wrongHere())
				return
			}
		}
		if r.at++; !r.ended() {
			yield(Written{}, ErrFollows)
		}
	}
}

// ReadMembers reads the members of an object in the order in which they were written, repeated ones
// included. It yields keys without escapes.
func (w Written) ReadMembers() iter.Seq2[string, Written] {
	return func(yield func(string, Written) bool) {
		if w.Kind() != Object {
			return
		}
		r := reader{canonicaliser: canonicaliser{in: w.text, at: 1}}
		for r.space() == '"' {
			from := r.at
			if !r.skipString() {
				return
			}
			key := unquoted(r.in[from:r.at])
			r.space()
			r.at++
			value, err := r.next()
			if err != nil || !yield(key, value) || r.space() != ',' {
				return
			}
			r.at++
		}
	}
}

// A reader moves over JSON text.
type reader struct {
	canonicaliser
	open []byte // the closing brackets that must follow, innermost last
}

// next returns the next value.
func (r *reader) next() (Written, error) {
	r.space()
	from := r.at
	if !r.skip() {
		return Written{}, r.wrongHere()
	}
	return Written{r.in[from:r.at]}, nil
}

func (r *reader) wrongHere() error {
	if r.at >= len(r.in) {
		return &SyntaxError{}
	}
	return &SyntaxError{r.at + 1}
}

// skip moves past a value. If it returns false, at is the first wrong byte.
func (r *reader) skip() bool {
	r.open = r.open[:0]
	for {
		begun, ok := r.begin()
		if !ok {
			return false
		}
		if begun {
			continue
		}
		// A value has ended: close the containers that end here too.
		for {
			if len(r.open) == 0 {
				return true
			}
			closes := r.open[len(r.open)-1]
			switch r.space() {
			case closes:
				r.at++
				r.open = r.open[:len(r.open)-1]
				continue
			case ',':
				r.at++
				if closes == '}' && !r.skipKey() {
					return false
				}
			default:
				return false
			}
			break
		}
	}
}

// begin moves past a scalar or an empty container. It moves into any other container, up to its first
// value, and then begun is true.
func (r *reader) begin() (begun, ok bool) {
	switch ch := r.space(); ch {
	case '{', '[':
		closes := ch + 2 // '{' and '}', '[' and ']' are two apart
		if len(r.open) == maxSkipped {
			return false, false
		}
		r.at++
		if r.space() == closes {
			r.at++
			return false, true
		}
		r.open = append(r.open, closes)
		return true, ch == '[' || r.skipKey()
	case '"':
		return false, r.skipString()
	case 't':
		return false, r.skipWord("true")
	case 'f':
		return false, r.skipWord("false")
	case 'n':
		return false, r.skipWord("null")
	}
	return false, r.skipNumber()
}

func (r *reader) skipKey() bool {
	if r.space() != '"' || !r.skipString() || r.space() != ':' {
		return false
	}
	r.at++
	return true
}

func (r *reader) skipString() bool {
	for r.at++; r.at < len(r.in); r.at++ {
		switch ch := r.in[r.at]; {
		case ch == '"':
			r.at++
			return true
		case ch < 0x20:
			return false
		case ch == '\\':
			symbol, size := unescape(r.in[r.at:])
			if symbol < 0 {
				r.intoEscape()
				return false
			}
			r.at += size - 1
		}
	}
	return false
}

// intoEscape moves to the wrong byte in the escape that begins here.
func (r *reader) intoEscape() {
	if r.at++; r.sees('u') {
		for r.at < len(r.in) && strings.IndexByte("0123456789abcdefABCDEF", r.in[r.at]) >= 0 {
			r.at++
		}
	}
}

func (r *reader) skipWord(word string) bool {
	for i := range len(word) {
		if !r.sees(word[i]) {
			return false
		}
	}
	return true
}

func (r *reader) skipNumber() bool {
	r.sees('-')
	if !r.sees('0') && r.digits() == 0 {
		return false
	}
	if r.sees('.') && r.digits() == 0 {
		return false
	}
	if r.sees('e') || r.sees('E') {
		if !r.sees('-') {
			r.sees('+')
		}
		return r.digits() > 0
	}
	return true
}

// unquoted returns the content of a string, without escapes.
func unquoted(text []byte) string {
	inner := text[1 : len(text)-1]
	for i := 0; i < len(inner); i++ {
		if inner[i] == '\\' {
			return unescaped(inner, i)
		}
	}
	return string(inner)
}

func unescaped(inner []byte, i int) string {
	content := append(make([]byte, 0, len(inner)), inner[:i]...)
	for i < len(inner) {
		if inner[i] != '\\' {
			content = append(content, inner[i])
			i++
			continue
		}
		r, size := unescape(inner[i:])
		content = utf8.AppendRune(content, r)
		i += size
	}
	return string(content)
}
