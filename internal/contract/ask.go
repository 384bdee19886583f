package contract

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"she/internal/bundle"
	"she/internal/hat"
	"she/internal/jsonb"
)

// ConfigurationEvent returns the event of the configuration entry: the JSON text "", as the original sends
// it.
func ConfigurationEvent() []byte { return []byte(`""`) }

// BundleEvent returns the event of the bundle entry:
//
//	{"fromDate":"2024-01-08T10:00:00.000Z","untilDate":"2024-04-08T10:00:00.000Z"}
func BundleEvent(w hat.Window) []byte {
	b := jsonb.AppendString([]byte(`{"fromDate":`), hat.FormatTime(w.From))
	return append(jsonb.AppendString(append(b, `,"untilDate":`...), hat.FormatTime(w.Until)), '}')
}

// ParseBundle reads the answer of the bundle entry. Every fault is the author's.
func ParseBundle(answer []byte) (bundle.Bundle, *hat.Fault) {
	if f := checkAnswer(answer, maxBundle); f != nil {
		return bundle.Bundle{}, f
	}
	b, err := bundle.ParseFunctionBundle(answer)
	if err != nil {
		return bundle.Bundle{}, authorFault(CodeBundleInvalid, "%s", inWords(err))
	}
	return b, nil
}

// CheckBundle is ParseBundle for an author: it tells what is wrong with each property.
func CheckBundle(answer []byte) (bundle.Bundle, []*hat.Fault) {
	b, fault := ParseBundle(answer)
	if fault == nil {
		return b, nil
	}
	var whole struct {
		Name   json.RawMessage
		Bundle map[string]json.RawMessage
	}
	if fault.Code != CodeBundleInvalid || json.Unmarshal(answer, &whole) != nil || len(whole.Bundle) < 2 {
		return b, []*hat.Fault{fault}
	}
	var faults []*hat.Fault
	for _, property := range slices.Sorted(maps.Keys(whole.Bundle)) {
		alone, err := json.Marshal(map[string]any{"name": whole.Name, "bundle": map[string]json.RawMessage{property: whole.Bundle[property]}})
		if err != nil {
			continue
		}
		_, f := ParseBundle(alone)
		same := func(other *hat.Fault) bool { return other.Text == f.Text }
		if f != nil && len(faults) < mostFaults && !slices.ContainsFunc(faults, same) {
			faults = append(faults, f)
		}
	}
	if len(faults) == 0 { // it is wrong as a whole
		faults = append(faults, fault)
	}
	return b, faults
}

// An Event is what the process entry is given, written row by row in the order of evaluation:
//
//	{"functionConfiguration":{…},"request":{"data":{"<property>":[{"endpoint","recordId","data"[,"links"]}…]},"linkRecords":true}}
//
// Every property of the bundle is there, also an empty one. Past MaxPayload only the size is counted, so that a
// question with a huge answer costs no memory, and the size can be named.
type Event struct {
	properties []string // not opened yet, the current one excepted
	open       bool     // a property's list is open
	first      bool     // the current list is empty
	text       []byte   // nil if it would be larger than MaxPayload
	size       int
	row        []byte // scratch
}

const eventEnd = `},"linkRecords":true}}`

// NewEvent begins an event for a bundle with these properties, in this order. configuration is the result of
// Configuration for the state before this run.
func NewEvent(configuration json.RawMessage, properties []string) *Event {
	e := &Event{properties: properties, text: make([]byte, 0, 64<<10)}
	e.append(`{"functionConfiguration":`)
	e.append(string(configuration))
	e.append(`,"request":{"data":{`)
	return e
}

// Add writes a row and returns its size in bytes with its comma. Rows come property by property, in the order
// given to NewEvent.
func (e *Event) Add(property string, r bundle.Row) int {
	for !e.open || e.properties[0] != property {
		e.openNext()
	}
	if !e.first {
		e.append(",")
	}
	e.first = false
	e.row = r.AppendJSON(e.row[:0])
	e.append(string(e.row))
	return len(e.row) + 1
}

// openNext closes the current property, if any, and opens the next.
func (e *Event) openNext() {
	if e.open {
		e.append(`],`)
		e.properties = e.properties[1:]
	}
	e.append(string(jsonb.AppendString(nil, e.properties[0])))
	e.append(`:[`)
	e.open, e.first = true, true
}

// TooLarge reports whether the event is larger than MaxPayload already.
func (e *Event) TooLarge() bool { return e.size > MaxPayload }

// Bytes ends the event and returns its exact size. text is nil if that is more than MaxPayload.
func (e *Event) Bytes() (text []byte, size int) {
	for e.open && len(e.properties) > 1 || !e.open && len(e.properties) > 0 {
		e.openNext()
	}
	if e.open {
		e.append(`]`)
	}
	e.append(eventEnd)
	return e.text, e.size
}

func (e *Event) append(s string) {
	if e.size += len(s); e.TooLarge() {
		e.text = nil
		return
	}
	e.text = append(e.text, s...)
}

// inWords turns a parser's error into a text for the bundle's author; the parser uses the codes of the HAT
// API. The text may quote names in the bundle, which are no data but can be long, so it is cut.
func inWords(err error) string {
	text := "the bundle can't be read: " + err.Error()
	if field, ok := errors.AsType[*hat.FieldError](err); ok {
		where := strings.TrimPrefix(strings.TrimPrefix(field.Path, "obj"), ".")
		if where == "" {
			where = "the answer"
		}
		if said, ok := codeWords[field.Message]; ok {
			text = where + " " + said
		} else {
			text = where + ": " + field.Message
		}
	}
	const most = 200
	if len(text) <= most {
		return text
	}
	cut := most
	for cut > 0 && !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + "…"
}

var codeWords = map[string]string{
	"error.path.missing":      "is missing",
	"error.expected.jsobject": "is not an object",
	"error.expected.jsarray":  "is not a list",
	"error.expected.jsstring": "is not text",
	"error.expected.jsnumber": "is not a number",
	"error.expected.int":      "is not a whole number",
}
