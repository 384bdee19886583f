// Package contract is the three questions to a function and the checks on its answers: steps 5 and 8 of the walk.
// It turns values into request bytes and hostile bytes into values; it runs nothing and stores nothing.
//
// The three entries and their wire forms are those of the HAT's Smart HAT Engine, the direct form: bare JSON in,
// bare JSON out.
//
//	configuration  ""                                                          → FunctionConfiguration
//	bundle         {"fromDate":"<time>","untilDate":"<time>"}                  → {"name":…,"bundle":{…}}
//	process        {"functionConfiguration":{…},"request":{"data":{…},"linkRecords":true}} → [Response]
package contract

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"she/internal/bundle"
	"she/internal/hat"
)

// A Manifest is what a function's author claims about it: the answer of its configuration entry. It allows
// nothing.
type Manifest struct {
	ID        hat.FunctionID
	Version   hat.Version
	Info      json.RawMessage // as answered: canonical, known fields checked, times in wire form, without nulls
	Developer json.RawMessage
	Trigger   hat.Trigger
	Bundle    bundle.Bundle // the default bundle; its endpoints say which data makes the function due
	// Available is the author's own statement; false takes the function out of use.
	Available bool
}

// ParseConfiguration reads the answer of the configuration entry (see Configuration for its form). It checks
// every required field. Unknown fields stay inside info and developer and are dropped elsewhere. Claims about
// being enabled or executed are dropped too, because only the Owner and the engine know that.
//
// Every fault is the author's, and tells all that does not fit.
func ParseConfiguration(answer []byte) (Manifest, *hat.Fault) {
	m, faults := CheckConfiguration(answer)
	return m, together(faults)
}

// CheckConfiguration is ParseConfiguration with one fault for each thing that does not fit, of at most mostFaults.
func CheckConfiguration(answer []byte) (Manifest, []*hat.Fault) {
	if f := checkAnswer(answer, maxConfiguration); f != nil {
		return Manifest{}, []*hat.Fault{f}
	}
	canonical, err := hat.ParseData(answer)
	if err != nil {
		return Manifest{}, []*hat.Fault{authorFault(CodeAnswerNotJSON, "the answer can't be read: %s", err)}
	}
	dec := json.NewDecoder(bytes.NewReader(canonical.Bytes()))
	dec.UseNumber()
	var tree any
	if err := dec.Decode(&tree); err != nil {
		return Manifest{}, []*hat.Fault{authorFault(CodeAnswerNotJSON, "the answer can't be read: %s", err)}
	}
	// The bundle is read from the text and not from the tree, because its nulls have a meaning
	// ("upper":null).
	var texts map[string]json.RawMessage
	_ = json.Unmarshal(canonical.Bytes(), &texts) // if it is not an object, the check of the tree reports it

	var c checker
	root := c.object(field{path: "configuration", value: withoutNulls(tree)})
	m := Manifest{
		Version: c.version(root.at("info").at("version")),
		Trigger: c.trigger(root.at("trigger")),
	}
	if m.ID, err = hat.ParseFunctionID(c.text(root.at("id"))); err != nil {
		c.fail(root.at("id"), "is not a function id")
	}
	m.Info = c.info(root.at("info"))
	m.Developer = c.developer(root.at("developer"))
	status := c.object(root.at("status"))
	m.Available = c.boolean(status.at("available"))
	c.boolean(status.at("enabled"))
	if question := root.at("dataBundle"); need[map[string]any](&c, question, "an object") != nil {
		if m.Bundle, err = bundle.ParseFunctionBundle(texts["dataBundle"]); err != nil {
			c.add(authorFault(CodeConfigurationInvalid, "dataBundle: %s", inWords(err)))
		}
	}
	if len(c.faults) > 0 {
		return Manifest{}, c.faults
	}
	return m, nil
}

// A field is a value of the answer with its path. A missing one is nil. A field of something that is missing
// itself, or is not an object, is nowhere: the check of that something reports it.
type field struct {
	path    string
	value   any
	nowhere bool
}

func (f field) at(key string) field {
	members, ok := f.value.(map[string]any)
	return field{f.path + "." + key, members[key], !ok}
}

// A checker reads fields and keeps the faults, so that the readers above need one line each.
type checker struct{ faults []*hat.Fault }

func (c *checker) fail(f field, what string) {
	if f.nowhere {
		return
	}
	c.add(authorFault(CodeConfigurationInvalid, "%s %s", f.path, what))
}

// add keeps one fault of a field: that it is missing, not that it is no version besides.
func (c *checker) add(f *hat.Fault) {
	field, _, _ := strings.Cut(f.Text, " ")
	known := func(other *hat.Fault) bool { return strings.HasPrefix(other.Text, field+" ") }
	if len(c.faults) < mostFaults && (field == "dataBundle:" || !slices.ContainsFunc(c.faults, known)) {
		c.faults = append(c.faults, f)
	}
}

// need returns the field as a T. It reports a fault if the field is missing or has another type.
func need[T any](c *checker, f field, kind string) T {
	v, ok := f.value.(T)
	switch {
	case f.value == nil:
		c.fail(f, "is missing")
	case !ok:
		c.fail(f, "is not "+kind)
	}
	return v
}

func (c *checker) object(f field) field {
	need[map[string]any](c, f, "an object")
	return f
}

func (c *checker) text(f field) string  { return need[string](c, f, "text") }
func (c *checker) boolean(f field) bool { return need[bool](c, f, "true or false") }

// texts checks required members that are texts; optionalTexts checks those that may be missing.
func (c *checker) texts(f field, keys ...string) {
	for _, k := range keys {
		c.text(f.at(k))
	}
}

func (c *checker) optionalTexts(f field, keys ...string) {
	for _, k := range keys {
		if f.at(k).value != nil {
			c.text(f.at(k))
		}
	}
}

func (c *checker) version(f field) hat.Version {
	v, err := hat.ParseVersion(c.text(f))
	if err != nil {
		c.fail(f, "is not a version such as 1.0.0")
	}
	return v
}

func (c *checker) trigger(f field) hat.Trigger {
	c.object(f)
	t := hat.Trigger{Kind: hat.TriggerKind(c.text(f.at("triggerType")))}
	switch t.Kind {
	case hat.Individual, hat.Manual:
	case hat.Periodic:
		period := f.at("period")
		text, _ := json.Marshal(period.value)
		if period.value == nil {
			c.fail(period, "is missing, and the trigger is periodic")
		} else if t.Period.UnmarshalJSON(text) != nil {
			c.fail(period, "is neither an ISO 8601 period such as P1D nor a number of milliseconds")
		}
	default:
		c.fail(f.at("triggerType"), "is not individual, periodic or manual")
	}
	return t
}

func (c *checker) info(f field) json.RawMessage {
	c.object(f)
	c.texts(f, "name", "headline", "termsUrl", "supportContact")
	c.optionalTexts(f, "dataPreviewEndpoint")

	description := c.object(f.at("description"))
	c.texts(description, "text")
	c.optionalTexts(description, "markdown", "html")

	graphics := c.object(f.at("graphics"))
	c.picture(graphics.at("banner"))
	c.picture(graphics.at("logo"))
	c.each(graphics.at("screenshots"), c.picture)

	if notes := f.at("updateNotes"); notes.value != nil {
		c.texts(notes, "header")
		if list := notes.at("notes"); list.value != nil {
			c.each(list, func(f field) { c.text(f) })
		}
	}
	if preview := f.at("dataPreview"); preview.value != nil {
		c.each(preview, func(f field) { c.object(f) })
	}

	released := f.at("versionReleaseDate")
	t, err := parseTime(c.text(released))
	if err != nil {
		c.fail(released, "is not a time such as 2024-01-08T10:00:00.000Z")
	}
	if members, ok := f.value.(map[string]any); ok {
		members["versionReleaseDate"] = hat.FormatTime(t)
	}
	return c.encode(f)
}

func (c *checker) developer(f field) json.RawMessage {
	c.object(f)
	c.texts(f, "id", "name", "url")
	c.optionalTexts(f, "country")
	if logo := f.at("logo"); logo.value != nil {
		c.picture(logo)
	}
	return c.encode(f)
}

// A picture is {small?, normal, large?, xlarge?}: addresses that the server never fetches.
func (c *checker) picture(f field) {
	c.object(f)
	c.texts(f, "normal")
	c.optionalTexts(f, "small", "large", "xlarge")
}

func (c *checker) each(f field, check func(field)) {
	for i, v := range need[[]any](c, f, "a list") {
		check(field{path: fmt.Sprintf("%s[%d]", f.path, i), value: v})
	}
}

func (c *checker) encode(f field) json.RawMessage {
	text, err := json.Marshal(f.value)
	if err != nil {
		c.fail(f, "can't be written again")
		return nil
	}
	d, err := hat.ParseData(text) // undoes json.Marshal's escaping of < > &
	if err != nil {
		c.fail(f, "can't be written again")
		return nil
	}
	return d.Bytes()
}

// withoutNulls removes members that are null. Here null means missing, and functions in Scala accept only
// missing members.
func withoutNulls(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, member := range v {
			if member == nil {
				delete(v, k)
			} else {
				v[k] = withoutNulls(member)
			}
		}
	case []any:
		for i := range v {
			v[i] = withoutNulls(v[i])
		}
	}
	return v
}

// parseTime reads ISO 8601 as functions write it: with or without a fraction; zone Z, +01:00, +0100, or none
// for UTC.
func parseTime(s string) (time.Time, error) {
	var err error
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999Z0700", "2006-01-02T15:04:05.999999999"} {
		var t time.Time
		if t, err = time.Parse(layout, s); err == nil {
			if y := t.UTC().Year(); y < 1 || y > 9999 {
				return time.Time{}, fmt.Errorf("year out of range")
			}
			return t, nil
		}
	}
	return time.Time{}, err
}
