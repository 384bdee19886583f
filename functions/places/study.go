package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"time"
)

// A report is the derived record. It covers the points of one run; hours, visits and points of a place can be added
// to those of earlier reports.
type report struct {
	Timestamp string  `json:"timestamp"`
	Source    string  `json:"source"`
	Summary   summary `json:"summary"`
	Places    []place `json:"places"` // the one with the most hours first
}

type summary struct {
	TotalCount int    `json:"totalCount"` // places
	Points     int    `json:"points"`     // received
	Used       int    `json:"used"`
	AtPlaces   int    `json:"atPlaces"`
	Vague      int    `json:"vague"`
	Unreadable int    `json:"unreadable"`
	Since      string `json:"since,omitempty"` // first and last used point
	Until      string `json:"until,omitempty"`
}

type place struct {
	Latitude  float64 `json:"latitude"` // of the middle, in degrees
	Longitude float64 `json:"longitude"`
	Radius    int     `json:"radius"` // metres; 95 of 100 points lie within
	Points    int     `json:"points"`
	Visits    int     `json:"visits"`
	Hours     float64 `json:"hours"`
	// Hours of them between 22 and 7 o'clock, and on weekdays between 9 and 17.
	NightHours  float64 `json:"nightHours"`
	OfficeHours float64 `json:"officeHours"`
	Likely      string  `json:"likely,omitempty"` // home or work
	FirstSeen   string  `json:"firstSeen"`
	LastSeen    string  `json:"lastSeen"`

	officeDays map[string]bool
}

const (
	// A fix stands for the time half-way to its neighbours, but nobody knows what happened in a longer silence.
	longestSilence = 6 * time.Hour
	// A report is for people, and a record has a size.
	mostPlaces = 100
	// Below these, "home" or "work" would be a guess about one odd day.
	leastNight, leastOffice, leastOfficeDays = 3, 3, 2
)

// study finds the places in location records. It never fails: what can't be used is counted.
func study(points []json.RawMessage) report {
	r := report{Source: "places", Places: []place{}}
	r.Summary.Points = len(points)
	var fixes []fix
	for _, p := range points {
		switch f, err := readFix(p); {
		case err == nil:
			fixes = append(fixes, f)
		case errors.Is(err, errVague):
			r.Summary.Vague++
		default:
			r.Summary.Unreadable++
		}
	}
	r.Summary.Used = len(fixes)
	if len(fixes) == 0 {
		return r
	}
	slices.SortStableFunc(fixes, func(a, b fix) int { return a.at.Compare(b.at) })
	r.Summary.Since, r.Summary.Until = wireTime(fixes[0].at), wireTime(fixes[len(fixes)-1].at)

	members := assign(fixes)
	r.Places = measure(fixes, members)
	for _, p := range r.Places {
		r.Summary.AtPlaces += p.Points
	}
	r.Summary.TotalCount = len(r.Places)
	if len(r.Places) > mostPlaces {
		r.Places = r.Places[:mostPlaces]
	}
	return r
}

// assign gives the cluster of each fix; a fix in motion has none and does not help to form one.
func assign(fixes []fix) []int {
	var still []fix
	var index []int
	for i, f := range fixes {
		if !f.moving {
			still, index = append(still, f), append(index, i)
		}
	}
	of := make([]int, len(fixes))
	for i := range of {
		of[i] = none
	}
	for i, c := range cluster(still) {
		of[index[i]] = c
	}
	return of
}

// measure turns clusters into places. fixes are sorted by time.
func measure(fixes []fix, of []int) []place {
	groups := make([][]fix, slices.Max(of)+1)
	places := make([]place, len(groups))
	last := none
	for i, f := range fixes {
		c := of[i]
		if i > 0 && f.at.Sub(fixes[i-1].at) > longestSilence {
			last = none
		}
		if c != none {
			groups[c] = append(groups[c], f)
			if c != last {
				places[c].Visits++
			}
			from, until := f.at, f.at
			if i > 0 {
				from = f.at.Add(-half(fixes[i-1].at, f.at))
			}
			if i+1 < len(fixes) {
				until = f.at.Add(half(f.at, fixes[i+1].at))
			}
			places[c].spend(from, until)
		}
		last = c
	}
	for c := range places {
		places[c].locate(groups[c])
	}
	slices.SortFunc(places, func(a, b place) int {
		return cmp.Or(cmp.Compare(b.Hours, a.Hours), cmp.Compare(b.Points, a.Points), cmp.Compare(a.FirstSeen, b.FirstSeen))
	})
	guess(places)
	for i := range places {
		p := &places[i]
		p.Hours, p.NightHours, p.OfficeHours = round(p.Hours, 2), round(p.NightHours, 2), round(p.OfficeHours, 2)
	}
	return places
}

func half(from, until time.Time) time.Duration {
	if gap := until.Sub(from); gap <= longestSilence {
		return gap / 2
	}
	return 0
}

// spend adds a stretch of local time, cut at each full hour. It is at most longestSilence long.
func (p *place) spend(from, until time.Time) {
	for from.Before(until) {
		_, offset := from.Zone()
		intoHour := time.Duration((from.Unix()+int64(offset))%3600)*time.Second + time.Duration(from.Nanosecond())
		next := from.Add(time.Hour - intoHour)
		if next.After(until) {
			next = until
		}
		hours := next.Sub(from).Hours()
		p.Hours += hours
		weekday := from.Weekday() != time.Saturday && from.Weekday() != time.Sunday
		switch hour := from.Hour(); {
		case hour >= 22 || hour < 7:
			p.NightHours += hours
		case hour >= 9 && hour < 17 && weekday:
			p.OfficeHours += hours
			if p.officeDays == nil {
				p.officeDays = map[string]bool{}
			}
			p.officeDays[from.Format(time.DateOnly)] = true
		}
		from = next
	}
}

// locate sets the middle, the radius and the dates from the fixes of a place, sorted by time.
func (p *place) locate(fixes []fix) {
	n := float64(len(fixes))
	for _, f := range fixes {
		p.Latitude += f.latitude / n
		// Relative to the first, so that a place on the date line stays in one piece.
		p.Longitude += wrap(f.longitude-fixes[0].longitude) / n
	}
	p.Longitude = wrap(fixes[0].longitude + p.Longitude)
	distances := make([]float64, len(fixes))
	for i, f := range fixes {
		distances[i] = haversine(p.Latitude, p.Longitude, f.latitude, f.longitude)
	}
	slices.Sort(distances)
	p.Radius = int(math.Ceil(distances[(len(distances)-1)*95/100]))
	p.Latitude, p.Longitude = round(p.Latitude, 5), round(p.Longitude, 5)
	p.Points = len(fixes)
	p.FirstSeen, p.LastSeen = wireTime(fixes[0].at), wireTime(fixes[len(fixes)-1].at)
}

// wrap brings degrees of longitude into [-180, 180].
func wrap(degrees float64) float64 { return math.Remainder(degrees, 360) }

// guess marks home, where the nights are spent, and work, where else the office hours of several days are.
func guess(places []place) {
	home := best(places, func(p place) float64 { return p.NightHours })
	if home != nil && home.NightHours >= leastNight {
		home.Likely = "home"
	}
	work := best(places, func(p place) float64 {
		if p.Likely != "" || len(p.officeDays) < leastOfficeDays {
			return 0
		}
		return p.OfficeHours
	})
	if work != nil && work.OfficeHours >= leastOffice && len(work.officeDays) >= leastOfficeDays && work.Likely == "" {
		work.Likely = "work"
	}
}

func best(places []place, score func(place) float64) *place {
	var found *place
	for i := range places {
		if found == nil || score(places[i]) > score(*found) {
			found = &places[i]
		}
	}
	return found
}

func round(x float64, digits int) float64 {
	scale := math.Pow10(digits)
	return math.Round(x*scale) / scale
}
