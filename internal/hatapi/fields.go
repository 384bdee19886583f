package hatapi

import (
	"fmt"
	"strings"

	"she/internal/hat"
	"she/internal/jsonb"
)

// An object is a JSON object of a request and the way to it, so that what does not fit can be named as clients know
// it: {"obj[0].endpoint":[{"msg":["error.path.missing"],"args":[]}]}.
type object struct {
	path   string
	fields map[string]string // by name, as jsonb has the values
}

// rootPath is what the framework calls the document itself.
const rootPath = "obj"

// maxText bounds a text that is kept as a setting, in bytes.
const maxText = 16 << 10

// document reads an object. Its members keep their order, which matters in the mappings of bundles.
func document(text []byte) (object, error) {
	compact, err := jsonb.Compact(text)
	if err != nil {
		return object{}, err
	}
	return objectAt(rootPath, compact)
}

// objectAt reads an object inside a document that jsonb has read.
func objectAt(path, text string) (object, error) {
	o := object{path: path}
	if jsonb.KindOf(text) != jsonb.Object {
		return o, o.wrong("error.expected.jsobject")
	}
	o.fields = map[string]string{}
	for key, value := range jsonb.Members(text) {
		if o.fields[jsonb.Unescaped(key)] = value; len(o.fields) > MaxFields {
			return o, o.wrong(fmt.Sprintf("more than %d fields", MaxFields))
		}
	}
	return o, nil
}

// MaxFields bounds the fields of an object that says what a request wants; of data that is stored nothing does. The
// largest has a dozen.
const MaxFields = 256

func (o object) wrong(why string) error { return &hat.FieldError{Path: o.path, Message: why} }

func (o object) wrongAt(name, why string) error {
	return &hat.FieldError{Path: o.path + "." + name, Message: why}
}

// optional answers false for a field that is absent or null.
func (o object) optional(name string) (string, bool) {
	raw, found := o.fields[name]
	return raw, found && jsonb.KindOf(raw) != jsonb.Null
}

// required may be null.
func (o object) required(name string) (string, error) {
	raw, found := o.fields[name]
	if !found {
		return "", o.wrongAt(name, "error.path.missing")
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

func (o object) textOf(name string, raw string) (string, error) {
	if jsonb.KindOf(raw) != jsonb.String {
		return "", o.wrongAt(name, "error.expected.jsstring")
	}
	s := jsonb.Unquoted(raw)
	if len(s) > maxText {
		return "", o.wrongAt(name, fmt.Sprintf("more than %d bytes", maxText))
	}
	return s, nil
}

func (o object) boolean(name string) (bool, error) {
	raw, err := o.required(name)
	if err != nil {
		return false, err
	}
	if jsonb.KindOf(raw) != jsonb.Bool {
		return false, o.wrongAt(name, "error.expected.jsboolean")
	}
	return raw == "true", nil
}

// within puts a FieldError of a part, whose path begins at the part's own root, under the name it has here.
func (o object) within(name string, err error) error {
	if field, ok := err.(*hat.FieldError); ok {
		return &hat.FieldError{Path: o.path + "." + name + strings.TrimPrefix(field.Path, rootPath), Message: field.Message}
	}
	return err
}
