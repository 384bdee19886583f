package main

import (
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"time"
)

// A fix is one usable location point. At is in the local time of the place, as well as it is known.
type fix struct {
	latitude, longitude float64 // degrees
	at                  time.Time
	moving              bool
}

const (
	// A fix that may be further off than this, in metres, says nothing about a place.
	tooVague = 150
	// Faster than this, in metres per second, nobody is at a place; brisk walking is 2.
	walking = 2
)

var (
	errUnreadable = errors.New("no position or no time")
	errVague      = errors.New("not accurate enough")
)

// readFix reads a location record. Numbers may also be written as strings; dateCreated is Unix seconds or
// milliseconds, or ISO 8601.
func readFix(data json.RawMessage) (fix, error) {
	var p struct {
		Latitude, Longitude          value
		Accuracy, HorizontalAccuracy value
		Speed                        value
		DateCreated                  value
		DateCreatedLocal             value
	}
	if json.Unmarshal(data, &p) != nil {
		return fix{}, errUnreadable
	}
	latitude, ok1 := p.Latitude.number()
	longitude, ok2 := p.Longitude.number()
	// Exactly 0, 0 is in the sea off Africa, and what a phone writes that does not know.
	if !ok1 || !ok2 || math.Abs(latitude) > 90 || math.Abs(longitude) > 180 || latitude == 0 && longitude == 0 {
		return fix{}, errUnreadable
	}
	at, ok := when(p.DateCreated, p.DateCreatedLocal, longitude)
	if !ok {
		return fix{}, errUnreadable
	}
	for _, accuracy := range []value{p.Accuracy, p.HorizontalAccuracy} {
		// A negative accuracy marks the position itself as invalid.
		if metres, ok := accuracy.number(); ok && (metres < 0 || metres > tooVague) {
			return fix{}, errVague
		}
	}
	speed, _ := p.Speed.number()
	return fix{latitude, longitude, at, speed > walking}, nil
}

// when gives the moment with the offset of its local form. Without that, the sun's time at the longitude is within
// an hour or two of the clock on the wall, good enough to tell night from office hours.
func when(created, local value, longitude float64) (time.Time, bool) {
	atLocal, hasLocal := local.time()
	at, ok := created.time()
	if !ok {
		at, ok = atLocal, hasLocal
	}
	if !ok || at.Year() < 1990 || at.Year() > 9998 {
		return time.Time{}, false
	}
	if hasLocal {
		_, offset := atLocal.Zone()
		return at.In(time.FixedZone("", offset)), true
	}
	return at.In(time.FixedZone("", int(math.Round(longitude/15))*3600)), true
}

// A value is a JSON value that ought to be a number or a string.
type value json.RawMessage

func (v *value) UnmarshalJSON(b []byte) error {
	*v = append((*v)[:0], b...)
	return nil
}

func (v value) text() string {
	var s string
	if json.Unmarshal(v, &s) != nil {
		return string(v)
	}
	return s
}

func (v value) number() (float64, bool) {
	n, err := strconv.ParseFloat(v.text(), 64)
	return n, err == nil && !math.IsNaN(n) && !math.IsInf(n, 0)
}

func (v value) time() (time.Time, bool) {
	if n, ok := v.number(); ok {
		if math.Abs(n) > 1e11 { // seconds would be in the year 5138
			n /= 1000
		}
		if math.Abs(n) > 1e11 {
			return time.Time{}, false
		}
		return time.UnixMilli(int64(n * 1000)).UTC(), true
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05Z0700"} {
		if t, err := time.Parse(layout, v.text()); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}
