package contract

import (
	"encoding/json"
	"errors"
	"strings"
	"unicode/utf8"

	"she/internal/bundle"
	"she/internal/hat"
	"she/internal/jsonb"
)

// ConfigurationEvent is what the configuration entry is given: the JSON text "", as the original sends it.
func ConfigurationEvent() []byte { return []byte(`""`) }

// BundleEvent is what the bundle entry is given:
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

// An Event is what the process entry is given, written row by row in the order of evaluation:
//
//	{"functionConfiguration":{…},"request":{"data":{"<property>":[{"endpoint","recordId","data"[,"links"]}…]},"linkRecords":true}}
//
// Every property of the bundle is there, also an empty one. Past MaxPayload only the size is counted, so that a
// question with a huge answer costs no memory, and the size can be named.
type Event struct {
	properties []string // still to be opened; the current one is open
	open       bool     // a property's list is open
	first      bool     // nothing is in it yet
	text       []byte   // nil when it would be larger than MaxPayload
	size       int
	row        []byte // scratch
}

const eventEnd = `},"linkRecords":true}}`

// NewEvent begins an event for a bundle with these properties, in this order. configuration is what Configuration
// gives for the state before this run.
func NewEvent(configuration json.RawMessage, properties []string) *Event {
	e := &Event{properties: properties, text: make([]byte, 0, 64<<10)}
	e.append(`{"functionConfiguration":`)
	e.append(string(configuration))
	e.append(`,"request":{"data":{`)
	return e
}

// Add writes a row and answers how many bytes it takes, its comma included. Rows come property by property, in the
// order given to NewEvent.
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

// TooLarge says that the event is larger than MaxPayload already.
func (e *Event) TooLarge() bool { return e.size > MaxPayload }

// Bytes ends the event. Its exact size is known in any case; text is nil if that is more than MaxPayload.
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

// inWords is an error about a bundle as its author reads it: the parser speaks in the codes that clients of the HAT API
// know. It may name parts of the bundle: no data, but as long as the author likes, so it is cut.
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
