package feed

import (
	"encoding/json"
	"strings"

	"she/internal/hat"
)

// A Profile is where the newest record about a person at some service is: /she/static/<name>.
type Profile struct {
	Name     string
	Endpoint hat.Endpoint
	field    string // the part of the record that is the profile; "": all of it
}

var profiles = []Profile{
	{"facebook/profile", endpoint("facebook/profile"), ""},
	{"twitter/profile", endpoint("twitter/tweets"), "user"}, // every tweet carries it
	{"spotify/profile", endpoint("spotify/profile"), ""},
	{"fitbit/profile", endpoint("fitbit/profile"), ""},
	{"instagram/profile", endpoint("instagram/profile"), ""},
	{"uber/profile", endpoint("uber/profile"), ""},
}

// ProfileMatching is the first profile whose name starts with the prefix.
func ProfileMatching(prefix string) (Profile, bool) {
	for _, p := range profiles {
		if strings.HasPrefix(p.Name, prefix) {
			return p, true
		}
	}
	return Profile{}, false
}

// Values are the record's fields as names and JSON values; those of an object within are named with a dot. ok is false
// for a record that has none.
func (p Profile) Values(d hat.Data) (values map[string]json.RawMessage, ok bool) {
	if d.Len() > maxItemText {
		return nil, false
	}
	text := json.RawMessage(d.Bytes())
	if p.field != "" {
		var record map[string]json.RawMessage
		if json.Unmarshal(text, &record) != nil {
			return nil, false
		}
		text = record[p.field]
	}
	values = map[string]json.RawMessage{}
	flatten(values, "", text)
	return values, len(values) > 0
}

// flatten recurses as deep as data nests, which hat.MaxDepth bounds.
func flatten(into map[string]json.RawMessage, prefix string, object json.RawMessage) {
	if len(object) == 0 || object[0] != '{' {
		return
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal(object, &fields) != nil {
		return
	}
	for name, value := range fields {
		if value[0] == '{' {
			flatten(into, prefix+name+".", value)
		} else {
			into[prefix+name] = value
		}
	}
}
