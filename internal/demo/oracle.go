package demo

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"

	"she/internal/client"
	"she/internal/sample"
)

// This file checks derived records against the truth from which the invented life was made.

func busyHoursAreRight(truth sample.Truth, records []client.Record) error {
	var got struct {
		Busiest struct {
			Hour    *int
			Weekday *string
		}
		Summary struct{ Timed, AllDay, BusyMinutes, MeetingMinutes int }
	}
	if err := decodeOnly(records, &got); err != nil {
		return err
	}
	want := truth.Calendar
	switch {
	case got.Busiest.Hour == nil || *got.Busiest.Hour != want.BusiestHour:
		return fmt.Errorf("the busiest hour is %d, found %v", want.BusiestHour, number(got.Busiest.Hour))
	case got.Busiest.Weekday == nil || *got.Busiest.Weekday != want.BusiestWeekday.String():
		return fmt.Errorf("the busiest weekday is %s", want.BusiestWeekday)
	case got.Summary.Timed != want.Timed || got.Summary.AllDay != want.AllDay:
		return fmt.Errorf("there are %d timed and %d whole-day events, found %d and %d", want.Timed, want.AllDay, got.Summary.Timed, got.Summary.AllDay)
	case got.Summary.BusyMinutes != want.BusyMinutes || got.Summary.MeetingMinutes != want.MeetingMinutes:
		return fmt.Errorf("%d minutes are busy, %d in meetings; found %d and %d",
			want.BusyMinutes, want.MeetingMinutes, got.Summary.BusyMinutes, got.Summary.MeetingMinutes)
	}
	return nil
}

func number(n *int) any {
	if n == nil {
		return "none"
	}
	return *n
}

func placesAreRight(truth sample.Truth, records []client.Record) error {
	var got struct {
		Places []struct {
			Latitude, Longitude, Hours float64
			Likely                     string
		}
	}
	if err := decodeOnly(records, &got); err != nil {
		return err
	}
	// A place counts as found if a place in the answer lies within its noise.
	const near = 250 // metres
	for _, want := range truth.Places {
		found := false
		for _, p := range got.Places {
			found = found || metres(want.Latitude, want.Longitude, p.Latitude, p.Longitude) < near
		}
		if !found {
			return fmt.Errorf("%s was not found", want.Name)
		}
	}
	if len(got.Places) > 2*len(truth.Places) {
		return fmt.Errorf("%d places found, there are %d", len(got.Places), len(truth.Places))
	}
	if len(got.Places) == 0 || got.Places[0].Likely != "home" ||
		metres(truth.Places[0].Latitude, truth.Places[0].Longitude, got.Places[0].Latitude, got.Places[0].Longitude) > near {
		return errors.New("home was not recognised")
	}
	return nil
}

// metres returns the distance between two points, accurate enough for a city.
func metres(lat1, lon1, lat2, lon2 float64) float64 {
	const perDegree = 111_195
	return perDegree * math.Hypot(lat1-lat2, (lon1-lon2)*math.Cos(lat1*math.Pi/180))
}

// A trained model makes errors. A broken one is right no more often than chance.
func moodsAreRight(truth sample.Truth, records []client.Record) error {
	names := map[string]sample.Mood{"Positive": sample.Good, "Negative": sample.Bad, "Neutral": sample.Plain}
	judged, right, opposite := 0, 0, 0
	for _, r := range records {
		var got struct{ Text, Sentiment string }
		if err := json.Unmarshal(r.Data, &got); err != nil {
			return err
		}
		want, known := truth.Moods[got.Text]
		if !known {
			continue // the text was shortened
		}
		judged++
		switch mood := names[got.Sentiment]; {
		case mood == want:
			right++
		case mood != sample.Plain && want != sample.Plain:
			opposite++
		}
	}
	texts := 0
	for _, n := range truth.Balance {
		texts += n
	}
	const enough = 0.7
	switch {
	case judged < texts*9/10:
		return fmt.Errorf("%d of %d texts were judged", judged, texts)
	case float64(right) < enough*float64(judged) || opposite > judged/10:
		return fmt.Errorf("of %d texts %d were judged right and %d the opposite", judged, right, opposite)
	}
	return nil
}

// decodeOnly decodes the record if there is exactly one.
func decodeOnly(records []client.Record, into any) error {
	if len(records) != 1 {
		return fmt.Errorf("%d derived records, want 1", len(records))
	}
	return json.Unmarshal(records[0].Data, into)
}
