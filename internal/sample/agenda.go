package sample

import (
	"fmt"
	"time"
)

// An appointment takes place on its weekdays, in each week whose number `every` divides.
type appointment struct {
	summary  string
	location string
	weekdays []time.Weekday
	every    int
	from     float64 // minutes from midnight
	length   float64
	guests   []string // whom the person meets; nil: she is alone
}

// Tuesday is the busiest day and ten o'clock the busiest hour; the rest is spread around.
var routine = []appointment{
	{"Stand-up", "Jacaranda room", []time.Weekday{1, 2, 3, 4, 5}, 1, 9*60 + 30, 15, []string{"ilka", "piet", "oduya"}},
	{"Week planning", "Jacaranda room", []time.Weekday{time.Monday}, 1, 10 * 60, 60, []string{"ilka", "oduya"}},
	{"Steering group", "Board room", []time.Weekday{time.Tuesday}, 1, 10 * 60, 60, []string{"sunniva", "oduya", "piet"}},
	{"Design review", "Jacaranda room", []time.Weekday{time.Tuesday}, 1, 11 * 60, 60, []string{"ilka", "tomasz"}},
	{"Workshop with the library", "Ground floor", []time.Weekday{time.Tuesday}, 1, 14 * 60, 90, []string{"tomasz", "piet"}},
	{"Catch-up with Oduya", "", []time.Weekday{time.Wednesday}, 1, 10 * 60, 45, []string{"oduya"}},
	{"Budget", "Board room", []time.Weekday{time.Thursday}, 2, 10 * 60, 60, []string{"sunniva"}},
	{"Demo", "Kitchen", []time.Weekday{time.Friday}, 1, 10 * 60, 30, []string{"ilka", "piet", "tomasz", "sunniva"}},
	{"Focus time", "", []time.Weekday{time.Thursday}, 1, 13 * 60, 120, nil},
	{"Strength class", "Valley gym", []time.Weekday{time.Tuesday, time.Thursday}, 1, 18*60 + 15, 60, nil},
}

var scattered = []appointment{
	{summary: "Call about the tram exhibition", guests: []string{"sunniva"}},
	{summary: "Interview: junior archivist", location: "Board room", guests: []string{"ilka", "oduya"}},
	{summary: "Scanner vendor", guests: []string{"piet"}},
	{summary: "Pairing on the catalogue import", guests: []string{"tomasz"}},
	{summary: "Map collection: next steps", location: "Jacaranda room", guests: []string{"ilka", "piet"}},
	{summary: "Feedback on the reading-room plan", guests: []string{"oduya"}},
	{summary: "Quick sync on opening hours", guests: []string{"ilka"}},
}

var private = []appointment{
	{summary: "Dentist", location: "Brunswick Street", from: 16 * 60, length: 45},
	{summary: "Haircut", location: "New Farm", from: 17 * 60, length: 45},
	{summary: "Call the insurance", from: 12 * 60, length: 30},
	{summary: "Dinner with Jorun", location: "West End", from: 19*60 + 45, length: 120, guests: []string{"jorun"}},
	{summary: "Choir rehearsal", location: "St Mary's hall", from: 20 * 60, length: 90, guests: []string{"jorun", "nadja"}},
}

func (g *generator) events(p plan) []moment {
	r := g.agenda
	var found []moment
	for _, a := range routine {
		for _, day := range a.weekdays {
			if day == p.date.Weekday() && p.week%a.every == 0 {
				found = append(found, g.event(p, a))
			}
		}
	}
	if p.working() {
		// Over time the weeks get busier.
		for hour := 13.0; hour < 17; hour++ {
			if p.date.Weekday() != time.Tuesday && chance(r, 0.06+0.016*float64(min(p.week, 26))) {
				a := pick(r, scattered)
				a.from, a.length = hour*60+pick(r, []float64{0, 0, 0, 30}), pick(r, []float64{25, 30, 30, 45})
				found = append(found, g.event(p, a))
			}
		}
		if chance(r, 0.14) {
			found = append(found, g.event(p, pick(r, private)))
		}
	}
	if p.trip != nil && p.date.Weekday() == time.Saturday {
		found = append(found, g.allDay(p, "Weekend in "+p.trip.name, 2))
	}
	if chance(r, 0.03) {
		found = append(found, g.allDay(p, pick(r, []string{"Jorun's birthday", "Rent is due", "Bins: paper", "Piet on leave"}), 1))
	}
	return found
}

// event returns a timed calendar entry in the shape of Google's API. Some are cancelled, some she declines.
func (g *generator) event(p plan, a appointment) moment {
	from, until := p.at(a.from), p.at(a.from+a.length)
	f := g.entry(p, a.summary)
	f["start"] = fields{"dateTime": from.Format(time.RFC3339), "timeZone": Zone.String()}
	f["end"] = fields{"dateTime": until.Format(time.RFC3339), "timeZone": Zone.String()}
	if a.location != "" {
		f["location"] = a.location
	}
	skipped := false
	if len(a.guests) > 0 {
		answer := "accepted"
		if chance(g.agenda, 0.03) {
			answer, skipped = "declined", true
		}
		attendees := []any{fields{"email": "mina@example.org", "self": true, "responseStatus": answer}}
		for _, guest := range a.guests {
			attendees = append(attendees, fields{
				"email": guest + "@example.org", "responseStatus": pick(g.agenda, []string{"accepted", "accepted", "tentative", "needsAction"}),
			})
		}
		f["attendees"] = attendees
	}
	if chance(g.agenda, 0.03) {
		f["status"], skipped = "cancelled", true
	}
	return moment{from, Events, f, func(c *truthCount) {
		if skipped {
			c.calendar.Skipped++
		} else {
			c.timed(from, until, len(a.guests) > 0)
		}
	}}
}

func (g *generator) allDay(p plan, summary string, days int) moment {
	f := g.entry(p, summary)
	f["start"] = fields{"date": p.date.Format(time.DateOnly)}
	f["end"] = fields{"date": p.date.AddDate(0, 0, days).Format(time.DateOnly)}
	return moment{p.date, Events, f, func(c *truthCount) { c.calendar.AllDay++ }}
}

func (g *generator) entry(p plan, summary string) fields {
	created := p.date.AddDate(0, 0, -1-g.agenda.IntN(20)).Add(time.Duration(g.agenda.IntN(9*60)+9*60) * time.Minute)
	return fields{
		"kind":     "calendar#event",
		"id":       fmt.Sprintf("%013x%013x", g.agenda.Uint64()>>12, g.agenda.Uint64()>>12),
		"status":   "confirmed",
		"summary":  summary,
		"created":  created.UTC().Format("2006-01-02T15:04:05.000Z"),
		"updated":  created.UTC().Format("2006-01-02T15:04:05.000Z"),
		"calendar": "mina@example.org",
	}
}
