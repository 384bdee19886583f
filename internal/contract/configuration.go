package contract

import (
	"encoding/json"
	"strconv"
	"time"

	"she/internal/access"
	"she/internal/hat"
	"she/internal/jsonb"
)

// A Status is what the engine and the Owner know of a function at one HAT, whatever its author says.
type Status struct {
	Available        bool      // registered, loaded, and as registered
	Enabled          bool      // the Owner's choice
	LastExecution    time.Time // zero: never
	ExecutionStarted time.Time // zero: no run in flight
}

// Configuration returns the FunctionConfiguration that clients of the HAT API and the function itself see:
// the author's manifest with the status at this HAT. Times have milliseconds and Z; options without a value
// are left out.
//
//	{"id":"busy-hours","info":{…},"developer":{…},"trigger":{"triggerType":"periodic","period":"P1D"},
//	 "dataBundle":{"name":"busy-hours","bundle":{…}},
//	 "status":{"available":true,"enabled":false,"lastExecution":"2024-01-08T10:00:00.000Z"}}
//
// ParseConfiguration reads it back to an equal manifest.
func Configuration(m Manifest, s Status) json.RawMessage {
	b := make([]byte, 0, 1024+len(m.Info)+len(m.Developer))
	b = append(b, `{"id":`...)
	b = jsonb.AppendString(b, m.ID.String())
	b = append(append(b, `,"info":`...), m.Info...)
	b = append(append(b, `,"developer":`...), m.Developer...)
	b = append(b, `,"trigger":{"triggerType":`...)
	b = jsonb.AppendString(b, string(m.Trigger.Kind))
	if !m.Trigger.Period.IsZero() {
		b = jsonb.AppendString(append(b, `,"period":`...), m.Trigger.Period.String())
	}
	b = append(b, `},"dataBundle":`...)
	question, _ := m.Bundle.MarshalJSON() // can't fail; json.Marshal would escape it a second time
	b = append(b, question...)
	b = strconv.AppendBool(append(b, `,"status":{"available":`...), s.Available)
	b = strconv.AppendBool(append(b, `,"enabled":`...), s.Enabled)
	for _, t := range []struct {
		name string
		at   time.Time
	}{{"lastExecution", s.LastExecution}, {"executionStarted", s.ExecutionStarted}} {
		if !t.at.IsZero() {
			b = append(append(append(b, `,"`...), t.name...), `":`...)
			b = jsonb.AppendString(b, hat.FormatTime(t.at))
		}
	}
	return append(b, `}}`...)
}

// ManifestOf returns the manifest of a function that was enabled once but is not registered any more, or has
// not answered yet: what the Owner granted, with the author's texts of that time if the grant has them. It is
// shown and never run.
func ManifestOf(g access.Grant) Manifest {
	if m, fault := ParseConfiguration(g.Manifest); fault == nil && m.ID == g.Function {
		return Manifest{ID: g.Function, Version: g.Version, Trigger: g.Trigger, Bundle: g.Bundle, Info: m.Info, Developer: m.Developer}
	}
	info := append([]byte(nil), `{"name":`...)
	info = jsonb.AppendString(info, g.Function.String())
	info = jsonb.AppendString(append(info, `,"version":`...), g.Version.String())
	info = jsonb.AppendString(append(info, `,"versionReleaseDate":`...), hat.FormatTime(g.Given))
	info = append(info, `,"headline":"","termsUrl":"","supportContact":"","description":{"text":""},`+
		`"graphics":{"banner":{"normal":""},"logo":{"normal":""},"screenshots":[]}}`...)
	return Manifest{
		ID: g.Function, Version: g.Version, Trigger: g.Trigger, Bundle: g.Bundle,
		Info: info, Developer: json.RawMessage(`{"id":"","name":"","url":""}`),
	}
}
