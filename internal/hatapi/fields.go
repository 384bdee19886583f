package hatapi

import (
	"fmt"
	"strings"

	"she/internal/hat"
	"she/internal/jsonb"
)

// An object is a JSON object of a request, with its path. Errors name a wrong field by this path, in the form
// that clients know: {"obj[0].endpoint":[{"msg":["error.path.missing"],"args":[]}]}.
type object struct {
	path   string
	fields map[string]string // by name, with values as jsonb returns them
}

// rootPath is the framework's name for the document itself.
const rootPath = "obj"

// maxText is the maximum length in bytes of a text stored as a setting.
const maxText = 16 << 10

// document reads an object. Its members keep their order, which matters in the mappings of bundles.
func document(text []byte) (object, error) {
	compact, err := jsonb.Compact(text)
	if err != nil {
		return object{}, err
	}
	return objectAt(rootPath, compact)
}

// objectAt reads an object inside a document that jsonb has already read.
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

// MaxFields bounds the number of fields of a request object. It does not apply to stored data. The largest
// request object of the API has a dozen.
const MaxFields = 256

func (o object) wrong(why string) error { return &hat.FieldError{Path: o.path, Message: why} }

func (o object) wrongAt(name, why string) error {
	return &hat.FieldError{Path: o.path + "." + name, Message: why}
}

// optional returns false if the field is absent or null.
func (o object) optional(name string) (string, bool) {
	raw, found := o.fields[name]
	return raw, found && jsonb.KindOf(raw) != jsonb.Null
}

// required returns an error if the field is absent. The value may be null.
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

// within adds this object's path and the name to a FieldError of a part, whose path begins at the part.
func (o object) within(name string, err error) error {
	if field, ok := err.(*hat.FieldError); ok {
		return &hat.FieldError{Path: o.path + "." + name + strings.TrimPrefix(field.Path, rootPath), Message: field.Message}
	}
	return err
}
