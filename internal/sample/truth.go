package sample

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"she/internal/hat"
)

// Truth is what holds of a Life. It is counted during generation, not read back from the records.
type Truth struct {
	Records  map[hat.Endpoint]int
	Calendar Calendar
	// Places are the places with at least fewPoints location records, the one with the most hours first.
	Places []Place
	// Moods maps the text of each note, and of each of her own English tweets, to the mood it was written
	// in. Retweets and tweets in other languages are left out.
	Moods map[string]Mood
	// Balance counts the records behind Moods. A text that was written twice counts twice.
	Balance map[Mood]int
}

// Calendar is the sum of the calendar. Times of day and weekdays are in Zone. Time that is booked twice
// counts once.
type Calendar struct {
	Timed, AllDay, Skipped      int // Skipped: cancelled or declined
	BusyMinutes, MeetingMinutes int // a meeting has somebody else in it
	MinutesByHour               [24]int
	MinutesByWeekday            [7]int // from Sunday, as time.Weekday counts
	BusiestHour                 int
	BusiestWeekday              time.Weekday
}

// A Place is a place that she visited.
type Place struct {
	Name                string
	Latitude, Longitude float64
	Points              int     // location records taken there
	Hours               float64 // spent there
}

// Mood is the mood in which a text was written.
type Mood string

const (
	Good  Mood = "good"
	Bad   Mood = "bad"
	Plain Mood = "plain"
)

// fewPoints is the least number of location records that make a place; fewer are a pause on the way.
const fewPoints = 5

type truthCount struct {
	records         map[hat.Endpoint]int
	calendar        Calendar
	busy, inMeeting map[int64]bool // by Unix minute
	places          map[*place]*Place
	moods           map[string]Mood
	balance         map[Mood]int
}

func newTruthCount() *truthCount {
	return &truthCount{
		records: map[hat.Endpoint]int{},
		busy:    map[int64]bool{}, inMeeting: map[int64]bool{},
		places: map[*place]*Place{},
		moods:  map[string]Mood{}, balance: map[Mood]int{},
	}
}

func (c *truthCount) timed(from, until time.Time, meeting bool) {
	c.calendar.Timed++
	for m := from.Unix() / 60; m < until.Unix()/60; m++ {
		c.busy[m] = true
		if meeting {
			c.inMeeting[m] = true
		}
	}
}

func (c *truthCount) point(p *place) { c.place(p).Points++ }

func (c *truthCount) stayed(p *place, hours float64) { c.place(p).Hours += hours }

func (c *truthCount) place(p *place) *Place {
	if c.places[p] == nil {
		c.places[p] = &Place{Name: p.name, Latitude: p.latitude, Longitude: p.longitude}
	}
	return c.places[p]
}

func (c *truthCount) mood(text string, m Mood) {
	c.moods[text] = m
	c.balance[m]++
}

func (c *truthCount) truth() Truth {
	cal := c.calendar
	cal.BusyMinutes, cal.MeetingMinutes = len(c.busy), len(c.inMeeting)
	for m := range c.busy {
		t := time.Unix(m*60, 0).In(Zone)
		cal.MinutesByHour[t.Hour()]++
		cal.MinutesByWeekday[t.Weekday()]++
	}
	cal.BusiestHour = indexOfMax(cal.MinutesByHour[:])
	cal.BusiestWeekday = time.Weekday(indexOfMax(cal.MinutesByWeekday[:]))

	var places []Place
	for p := range maps.Values(c.places) {
		if p.Points >= fewPoints {
			places = append(places, *p)
		}
	}
	slices.SortFunc(places, func(a, b Place) int {
		return cmp.Or(cmp.Compare(b.Hours, a.Hours), cmp.Compare(a.Name, b.Name))
	})
	return Truth{Records: c.records, Calendar: cal, Places: places, Moods: c.moods, Balance: c.balance}
}

func indexOfMax(values []int) int { return slices.Index(values, slices.Max(values)) }
