package demo

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"she/internal/client"
	"she/internal/sample"
)

// The checks accept a right result, and refuse each result that differs from it in one respect.
func TestOracle(t *testing.T) {
	truth := sample.Generate(1, time.Date(2024, 3, 1, 0, 0, 0, 0, time.UTC), 1).Truth
	type object = map[string]any
	places := func(change func([]object) []object) []client.Record {
		var found []object
		for i, p := range truth.Places {
			found = append(found, object{"latitude": p.Latitude, "longitude": p.Longitude, "likely": map[bool]string{true: "home", false: "work"}[i == 0]})
		}
		return records(t, object{"places": change(found)})
	}
	hours := func(change func(busiest, summary object)) []client.Record {
		c := truth.Calendar
		busiest := object{"hour": c.BusiestHour, "weekday": c.BusiestWeekday.String()}
		summary := object{"timed": c.Timed, "allDay": c.AllDay, "busyMinutes": c.BusyMinutes, "meetingMinutes": c.MeetingMinutes}
		change(busiest, summary)
		return records(t, object{"busiest": busiest, "summary": summary})
	}
	moods := func(says func(n int, m sample.Mood) sample.Mood) []client.Record {
		names := map[sample.Mood]string{sample.Good: "Positive", sample.Bad: "Negative", sample.Plain: "Neutral"}
		var all []any
		for text, m := range truth.Moods {
			all = append(all, object{"text": text, "sentiment": names[says(len(all), m)]})
		}
		return records(t, all...)
	}
	asIs := func(p []object) []object { return p }
	for _, c := range []struct {
		name    string
		right   func(sample.Truth, []client.Record) error
		records []client.Record
		agrees  bool
	}{
		{"places", placesAreRight, places(asIs), true},
		{"one place less", placesAreRight, places(func(p []object) []object { return p[:len(p)-1] }), false},
		{"a place elsewhere", placesAreRight, places(func(p []object) []object {
			p[1]["latitude"] = truth.Places[1].Latitude + 0.01
			return p
		}), false},
		{"home is no home", placesAreRight, places(func(p []object) []object { p[0]["likely"] = "work"; return p }), false},
		{"places in two records", placesAreRight, append(places(asIs), places(asIs)...), false},
		{"hours", busyHoursAreRight, hours(func(busiest, summary object) {}), true},
		{"another hour", busyHoursAreRight, hours(func(busiest, _ object) { busiest["hour"] = truth.Calendar.BusiestHour + 1 }), false},
		{"no hour", busyHoursAreRight, hours(func(busiest, _ object) { delete(busiest, "hour") }), false},
		{"no weekday", busyHoursAreRight, hours(func(busiest, _ object) { delete(busiest, "weekday") }), false},
		{"an event more", busyHoursAreRight, hours(func(_, summary object) { summary["timed"] = truth.Calendar.Timed + 1 }), false},
		{"a minute less", busyHoursAreRight, hours(func(_, summary object) { summary["busyMinutes"] = truth.Calendar.BusyMinutes - 1 }), false},
		{"moods", moodsAreRight, moods(func(_ int, m sample.Mood) sample.Mood { return m }), true},
		{"always neutral", moodsAreRight, moods(func(int, sample.Mood) sample.Mood { return sample.Plain }), false},
		{"a fifth the other way round", moodsAreRight, moods(func(n int, m sample.Mood) sample.Mood {
			opposite := map[sample.Mood]sample.Mood{sample.Good: sample.Bad, sample.Bad: sample.Good, sample.Plain: sample.Plain}
			if n%2 == 0 {
				return opposite[m]
			}
			return m
		}), false},
		{"nothing judged", moodsAreRight, nil, false},
	} {
		if err := c.right(truth, c.records); (err == nil) != c.agrees {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func records(t *testing.T, data ...any) (all []client.Record) {
	t.Helper()
	for i, d := range data {
		text, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, client.Record{RecordID: fmt.Sprint(i), Data: text})
	}
	return all
}
