package httpapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"iter"
	"strings"
	"unicode/utf8"

	"she/internal/hat"
	"she/internal/jsonb"
)

// An object is a JSON object of a request and the way to it, so that what does not fit can be named as clients know
// it: {"obj[0].endpoint":[{"msg":["error.path.missing"],"args":[]}]}.
type object struct {
	path   string
	fields map[string]json.RawMessage
}

// rootPath is what the framework calls the document itself.
const rootPath = "obj"

// maxText bounds a text that is kept as a setting, in bytes.
const maxText = 16 << 10

// document checks that text is JSON we can keep, and is an object.
func document(text []byte) (object, error) {
	if _, err := hat.ParseData(text); err != nil {
		return object{}, err
	}
	return objectAt(rootPath, text)
}

// objectAt reads an object inside a document that has been found to be JSON.
func objectAt(path string, text json.RawMessage) (object, error) {
	o := object{path: path}
	if t := bytes.TrimSpace(text); len(t) == 0 || t[0] != '{' {
		return o, o.wrong("error.expected.jsobject")
	}
	o.fields = map[string]json.RawMessage{}
	for key, value := range members(text) {
		var name string
		if json.Unmarshal(key, &name) != nil {
			return o, jsonb.ErrNotJSON
		}
		if o.fields[name] = value; len(o.fields) > maxFields {
			return o, o.wrong(fmt.Sprintf("more than %d fields", maxFields))
		}
	}
	return o, nil
}

// maxFields bounds the fields of an object that says what a request wants; of data that is stored nothing does. The
// largest has a dozen.
const maxFields = 256

// members yields the keys, with their quotes, and the values of an object, all pieces of the text, which must be JSON.
func members(text []byte) iter.Seq2[[]byte, json.RawMessage] {
	return func(yield func([]byte, json.RawMessage) bool) {
		at := bytes.IndexByte(text, '{')
		for at >= 0 {
			from := at + 1 + bytes.IndexByte(text[at+1:], '"')
			if from == at || bytes.IndexByte(text[at+1:from], '}') >= 0 {
				return // there is no key any more
			}
			end := valueEnd(text, from)
			value := end + bytes.IndexByte(text[end:], ':') + 1
			for value < len(text) && isSpace(text[value]) {
				value++
			}
			if at = valueEnd(text, value); !yield(text[from:end], text[value:at:at]) {
				return
			}
			for at < len(text) && isSpace(text[at]) {
				at++
			}
			if at >= len(text) || text[at] != ',' {
				return
			}
		}
	}
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// valueEnd is the index behind the JSON value that begins at i.
func valueEnd(text []byte, i int) int {
	depth := 0
	for ; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			for i++; i < len(text) && text[i] != '"'; i++ {
				if text[i] == '\\' {
					i++
				}
			}
			if depth == 0 {
				return min(i+1, len(text))
			}
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			if depth--; depth <= 0 {
				return i + max(0, depth+1)
			}
		case depth == 0 && (c == ',' || isSpace(c)):
			return i
		}
	}
	return len(text)
}

func (o object) wrong(why string) error { return &hat.FieldError{Path: o.path, Message: why} }

func (o object) wrongAt(name, why string) error {
	return &hat.FieldError{Path: o.path + "." + name, Message: why}
}

// optional answers false for a field that is absent or null.
func (o object) optional(name string) (json.RawMessage, bool) {
	raw, found := o.fields[name]
	return raw, found && !bytes.Equal(bytes.TrimSpace(raw), []byte("null"))
}

// required may be null.
func (o object) required(name string) (json.RawMessage, error) {
	raw, found := o.fields[name]
	if !found {
		return nil, o.wrongAt(name, "error.path.missing")
	}
	return raw, nil
}

func (o object) text(name string) (string, error) {
	raw, err := o.required(name)
	if err != nil {
		return "", err
	}
	return o.textOf(name, raw)
}

func (o object) optionalText(name string) (string, error) {
	raw, found := o.optional(name)
	if !found {
		return "", nil
	}
	return o.textOf(name, raw)
}

func (o object) textOf(name string, raw json.RawMessage) (string, error) {
	if raw[0] != '"' {
		return "", o.wrongAt(name, "error.expected.jsstring")
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil || !utf8.ValidString(s) {
		return "", o.wrongAt(name, "error.expected.jsstring")
	}
	if len(s) > maxText {
		return "", o.wrongAt(name, fmt.Sprintf("more than %d bytes", maxText))
	}
	return strings.ReplaceAll(s, "\x00", ""), nil
}

func (o object) boolean(name string) (bool, error) {
	raw, err := o.required(name)
	if err != nil {
		return false, err
	}
	var b *bool
	if json.Unmarshal(raw, &b) != nil || b == nil {
		return false, o.wrongAt(name, "error.expected.jsboolean")
	}
	return *b, nil
}

// within puts a FieldError of a part, whose path begins at the part's own root, under the name it has here.
func (o object) within(name string, err error) error {
	if field, ok := err.(*hat.FieldError); ok {
		return &hat.FieldError{Path: o.path + "." + name + strings.TrimPrefix(field.Path, rootPath), Message: field.Message}
	}
	return err
}
