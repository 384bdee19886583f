package bundle

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"she/internal/hat"
	"she/internal/jsonb"
)

// A window filter chooses the records since the last run: a between whose bounds are the fromDate and the
// untilDate of the run. A function that is asked at each run writes the dates itself; they are recognised by
// comparison with the plan's. A bundle that is written once marks the filter instead, and WithWindow fills
// the dates in:
//
//	{"field":"created_time","operator":{"operator":"between","lower":"2024-01-01","upper":"2024-01-01"},"window":true}
//
// The bounds of a marked filter say how the dates are written, see formOf. A marked filter can't be
// evaluated.

// A scale is the unit of a value: values of different scales are never compared.
type scale byte

const (
	unscaled scale = iota
	asText
	inSeconds
	inMilliseconds
)

// A form is the format of a window's date.
type form struct {
	scale  scale
	layout string // of text
}

// formOf returns the format that a marked bound is an example of: text like 2024-01, 2024-01-08 or
// 2024-01-08T10:00:00.000Z (also for null), or a number of Unix seconds or, from 1e11 on, milliseconds.
// Anything else is unscaled.
func formOf(bound string) form {
	switch jsonb.KindOf(bound) {
	case jsonb.Null:
		return form{asText, hat.WireTime}
	case jsonb.String:
		switch date := jsonb.Unquoted(bound); {
		case !isISODate(date):
		case len(date) == len(time.DateOnly):
			return form{asText, time.DateOnly}
		case len(date) == len(monthOnly):
			return form{asText, monthOnly}
		default:
			return form{asText, hat.WireTime}
		}
	case jsonb.Number:
		if jsonb.CompareNumbers(bound, "100000000000") < 0 {
			return form{scale: inSeconds}
		}
		return form{scale: inMilliseconds}
	}
	return form{}
}

// write formats the date as JSON.
func (f form) write(t time.Time) hat.Data {
	var text []byte
	switch f.scale {
	case inSeconds:
		text = strconv.AppendInt(nil, t.Unix(), 10)
	case inMilliseconds:
		text = strconv.AppendInt(nil, t.UnixMilli(), 10)
	default:
		text = jsonb.AppendString(nil, t.UTC().Format(f.layout))
	}
	return hat.DataFromStore(text)
}

// WithWindow returns the bundle with the dates of the window in place of every mark. It can be evaluated
// then.
func (b Bundle) WithWindow(w hat.Window) Bundle {
	b.Properties = maps.Clone(b.Properties)
	for name, p := range b.Properties {
		p.Endpoints = withWindow(p.Endpoints, w)
		b.Properties[name] = p
	}
	return b
}

func withWindow(queries []EndpointQuery, w hat.Window) []EndpointQuery {
	queries = slices.Clone(queries)
	for i := range queries {
		q := &queries[i]
		q.Filters = slices.Clone(q.Filters)
		for j := range q.Filters {
			if f := &q.Filters[j]; f.Window {
				f.Window = false
				f.Operator.Lower = formOf(f.Operator.Lower.JSON()).write(w.From)
				f.Operator.Upper = formOf(f.Operator.Upper.JSON()).write(w.Until)
			}
		}
		q.Links = withWindow(q.Links, w)
	}
	return queries
}

// scaleIn returns the scale of the filter if both its bounds are dates of the window, else unscaled. A marked
// filter always is one.
func (f Filter) scaleIn(w hat.Window) scale {
	lower, upper := f.Operator.Lower.JSON(), f.Operator.Upper.JSON()
	switch {
	case f.Operator.Kind != Between:
		return unscaled
	case f.Window:
		return formOf(lower).scale
	case w.From.IsZero() || w.Until.IsZero():
		return unscaled
	}
	if s := scaleOf(lower, w); s == scaleOf(upper, w) {
		return s
	}
	return unscaled
}

// scaleOf reports whether a bound is one of the window's dates: the date as the function was told it, or cut
// to the second, day or month, in UTC. It compares and never guesses: 20240108 is not a date just because it
// looks like one.
func scaleOf(bound string, w hat.Window) scale {
	for _, t := range [2]time.Time{w.From, w.Until} {
		t = t.UTC().Truncate(time.Millisecond)
		year, month, day := t.Date()
		starts := [4]time.Time{
			t, t.Truncate(time.Second), time.Date(year, month, day, 0, 0, 0, 0, time.UTC), time.Date(year, month, 1, 0, 0, 0, 0, time.UTC),
		}
		switch jsonb.KindOf(bound) {
		case jsonb.String:
			text := jsonb.Unquoted(bound)
			if text == t.Format(time.DateOnly) || text == t.Format(monthOnly) {
				return asText
			}
			if at, ok := isoTime(text); ok && slices.ContainsFunc(starts[:], at.Equal) {
				return asText
			}
		case jsonb.Number:
			for _, at := range starts {
				ms := strconv.FormatInt(at.UnixMilli(), 10)
				if jsonb.CompareNumbers(bound, ms) == 0 {
					return inMilliseconds
				}
				if jsonb.CompareNumbers(bound, ms+"e-3") == 0 {
					return inSeconds
				}
			}
		}
	}
	return unscaled
}

const (
	monthOnly = "2006-01"
	isoSecond = "2006-01-02T15:04:05" // Parse also accepts a fraction behind it
	isoMinute = "2006-01-02T15:04"    // how Java writes a full minute
)

// isoTime reads a UTC date with a time in ISO 8601: 2024-01-08T10:00:00.000Z and what libraries of other
// languages make of it. It reads no other time zones: bounds are compared as text, and the same instant in
// another zone is another text.
func isoTime(text string) (time.Time, bool) {
	if len(text) > len(time.DateOnly) && text[len(time.DateOnly)] == ' ' {
		text = text[:len(time.DateOnly)] + "T" + text[len(time.DateOnly)+1:]
	}
	for _, utc := range [3]string{"Z", "+00:00", "+0000"} {
		if cut, found := strings.CutSuffix(text, utc); found {
			text = cut
			break
		}
	}
	if strings.Contains(text, ",") {
		return time.Time{}, false
	}
	for _, layout := range [2]string{isoSecond, isoMinute} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

// isISODate reports whether the text is a month, a date or a date with a time, in any zone.
func isISODate(text string) bool {
	for _, layout := range [2]string{time.DateOnly, monthOnly} {
		if _, err := time.Parse(layout, text); err == nil {
			return true
		}
	}
	if n := len(text) - len("+00:00"); n > len(time.DateOnly) && (text[n] == '+' || text[n] == '-') {
		if _, err := time.Parse("-07:00", text[n:]); err != nil {
			return false
		}
		text = text[:n]
	}
	_, ok := isoTime(text)
	return ok
}

// isDates reports whether the filter is a between of two ISO dates. A grant with such a filter licenses the
// window of the run in its place, because a function that states dates when it is installed states those of
// that moment.
func (f Filter) isDates() bool {
	o := f.Operator
	return o.Kind == Between && !f.Window && f.identity() && isDateText(o.Lower.JSON()) && isDateText(o.Upper.JSON())
}

func isDateText(bound string) bool {
	return jsonb.KindOf(bound) == jsonb.String && isISODate(jsonb.Unquoted(bound))
}

func (f Filter) identity() bool {
	return f.Transformation.Kind == "" || f.Transformation.Kind == Identity
}

// moves reports whether a grant with this filter may show other records at each run.
func (f Filter) moves() bool { return f.Window || f.isDates() }
