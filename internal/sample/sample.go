// Package sample invents one person's data: some months of tweets, calendar events, places and notes. The
// same seed gives the same data. Demonstrations and tests use it when they need realistic data. It also
// returns the Truth behind the data, so that a test can check that a function's results are right, not only
// that there are some.
//
// The person, Mina Tallowfield of Brisbane, does not exist; her city does, in a zone (UTC+10) without
// daylight saving time, so that hours and weekdays differ from UTC's and no check depends on zone data of
// the machine.
package sample

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"time"

	"she/internal/hat"
)

// The endpoints of the records of a Life.
var (
	Tweets    = endpoint("twitter/tweets")
	Events    = endpoint("calendar/google/events")
	Locations = endpoint("rumpel/locations/ios")
	Notes     = endpoint("rumpel/notablesv1")
)

// Zone is the time zone of the Life.
var Zone = time.FixedZone("Australia/Brisbane", 10*60*60)

// A Life is everything that was generated.
type Life struct {
	Days  []Day
	Truth Truth
}

// A Day is one day's records in the order in which they were created; a calendar event is created at its
// start. There are at most a hundred, so that a Day fits into one request.
type Day struct {
	Date   time.Time // midnight in Zone
	Drafts []hat.Draft
}

// Generate invents the days of the last months before until; nothing is later than until. Equal arguments
// give equal lives. A month has about 700 records. For less than one month the life is empty.
func Generate(seed uint64, until time.Time, months int) Life {
	until = until.In(Zone)
	first := midnight(until.AddDate(0, -months, 0))
	g := generator{
		until:    until,
		movement: stream(seed, 1),
		agenda:   stream(seed, 2),
		tweeting: newWriter(stream(seed, 3)),
		noting:   newWriter(stream(seed, 4)),
		truth:    newTruthCount(),
	}
	var life Life
	for date := first; months > 0 && !date.After(until); date = date.AddDate(0, 0, 1) {
		p := planFor(first, date)
		var all []moment
		all = append(all, g.locations(p)...)
		all = append(all, g.events(p)...)
		all = append(all, g.tweets(p)...)
		all = append(all, g.notes(p)...)
		slices.SortStableFunc(all, func(a, b moment) int { return a.at.Compare(b.at) })
		day := Day{Date: date}
		for _, m := range all {
			if m.at.After(until) {
				break
			}
			day.Drafts = append(day.Drafts, hat.Draft{Endpoint: m.endpoint, Data: data(m.fields)})
			g.truth.records[m.endpoint]++
			m.count(g.truth)
		}
		life.Days = append(life.Days, day)
	}
	life.Truth = g.truth.truth()
	return life
}

// generator has a separate random stream for each kind of data, so that a change to one kind leaves the
// others unchanged.
type generator struct {
	until            time.Time
	movement, agenda *rand.Rand
	tweeting, noting *writer
	truth            *truthCount
}

// A moment is a record that may be created, the time of its creation, and what it then adds to the Truth.
type moment struct {
	at       time.Time
	endpoint hat.Endpoint
	fields   fields
	count    func(*truthCount)
}

type fields = map[string]any

// A plan is the kind of a day. Where she goes and what her calendar contains both follow from it.
type plan struct {
	date      time.Time
	week      int    // number of the week, from 0 at the first day
	trip      *place // where the weekend is spent; nil: at home
	fromHome  bool   // a working day at home
	gym       bool
	withNadja bool // an evening at the sister's
}

func (p plan) working() bool {
	return p.date.Weekday() != time.Saturday && p.date.Weekday() != time.Sunday
}

// at returns a time of the day, given in minutes from midnight. A day in this zone always has 1440 minutes.
func (p plan) at(minutes float64) time.Time {
	return p.date.Add(time.Duration(minutes * float64(time.Minute))).Truncate(time.Second)
}

func planFor(first, date time.Time) plan {
	// Weeks begin on Monday, so that a weekend is in one week.
	week := int(date.Sub(first).Hours()/24+float64((int(first.Weekday())+6)%7)) / 7
	p := plan{date: date, week: week}
	switch date.Weekday() {
	case time.Tuesday, time.Thursday:
		p.gym = true
	case time.Wednesday:
		p.withNadja = week%2 == 0
	case time.Friday:
		p.fromHome = week%2 == 1
	case time.Saturday, time.Sunday:
		if week%4 == 2 {
			p.trip = &trips[week/4%len(trips)]
		}
		p.gym = date.Weekday() == time.Sunday && p.trip == nil
	}
	return p
}

func stream(seed, kind uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, kind)) }

func midnight(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, t.Location())
}

// chance returns true with probability p.
func chance(r *rand.Rand, p float64) bool { return r.Float64() < p }

// between returns a number that is evenly distributed in [low, high).
func between(r *rand.Rand, low, high float64) float64 { return low + (high-low)*r.Float64() }

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

func data(f fields) hat.Data {
	text, err := json.Marshal(f)
	if err != nil {
		panic("sample: " + err.Error()) // can't happen: the fields are strings, numbers and lists of this package
	}
	d, err := hat.ParseData(text)
	if err != nil {
		panic("sample: " + err.Error())
	}
	return d
}

func endpoint(s string) hat.Endpoint {
	e, err := hat.ParseEndpoint(s)
	if err != nil {
		panic(err)
	}
	return e
}
