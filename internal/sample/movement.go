package sample

import (
	"math"
	"time"
)

type place struct {
	name                string
	latitude, longitude float64
	spread              float64 // metres within which she moves while she is there
}

var (
	home  = place{"home", -27.467900, 153.049300, 10}
	work  = place{"work", -27.468600, 153.029800, 15}
	gym   = place{"gym", -27.457000, 153.034500, 12}
	cafe  = place{"cafe", -27.481200, 153.010000, 12}
	nadja = place{"sister's flat", -27.460600, 152.999000, 10}
	trips = []place{
		{"Noosa", -26.385000, 153.087000, 20},
		{"Point Lookout", -27.427000, 153.531000, 20},
		{"Tamborine Mountain", -27.966000, 153.195000, 20},
	}
)

// A stay is the time at one place, in minutes from midnight. Between two stays she is travelling.
type stay struct {
	place       *place
	from, until float64
}

const (
	wakes  = 7 * 60
	sleeps = 23 * 60
)

// locations returns her location records of a day. The phone saves its battery. It takes a point about
// every half an hour while she is out, every hour at work, less often at home, and once in the night. Now
// and then a point is inaccurate.
func (g *generator) locations(p plan) []moment {
	var found []moment
	stays := g.itinerary(p)
	for i, s := range stays {
		hours := (s.until - s.from) / 60
		if cut := g.until.Sub(p.date).Hours() - s.from/60; cut < hours {
			hours = max(cut, 0)
		}
		g.truth.stayed(s.place, hours)
		for at := s.from + between(g.movement, 2, 15); at < s.until; at += g.pause(s.place, at) {
			east, north := g.movement.NormFloat64()*s.place.spread, g.movement.NormFloat64()*s.place.spread
			found = append(found, g.fix(p, at, s.place.latitude, s.place.longitude, east, north, s.place))
		}
		if i+1 < len(stays) {
			found = append(found, g.way(p, s, stays[i+1])...)
		}
	}
	return found
}

func (g *generator) pause(at *place, minute float64) float64 {
	switch {
	case minute < wakes || minute > sleeps:
		return between(g.movement, 170, 300)
	case at == &home:
		return between(g.movement, 100, 170)
	case at == &work:
		return between(g.movement, 58, 82)
	}
	return between(g.movement, 25, 35)
}

// way returns one or two points between two stays, more on a long journey.
func (g *generator) way(p plan, from, to stay) []moment {
	var found []moment
	minutes := to.from - from.until
	n := max(1, int(minutes/25))
	for i := range n {
		part := (float64(i) + between(g.movement, 0.2, 0.8)) / float64(n)
		latitude := from.place.latitude + part*(to.place.latitude-from.place.latitude)
		longitude := from.place.longitude + part*(to.place.longitude-from.place.longitude)
		// No road is straight, so the point is up to a few hundred metres off the line.
		east, north := g.movement.NormFloat64()*300, g.movement.NormFloat64()*300
		found = append(found, g.fix(p, from.until+part*minutes, latitude, longitude, east, north, nil))
	}
	return found
}

// fix returns one location record. at is the place that the point belongs to, or nil.
func (g *generator) fix(p plan, minute, latitude, longitude, east, north float64, at *place) moment {
	accuracy := between(g.movement, 5, 65)
	if chance(g.movement, 0.03) { // located by radio cells: inaccurate, and the record says so
		accuracy = between(g.movement, 400, 1500)
		east += g.movement.NormFloat64() * accuracy / 2
		north += g.movement.NormFloat64() * accuracy / 2
		at = nil
	}
	const metresPerDegree = 111_195
	latitude += north / metresPerDegree
	longitude += east / (metresPerDegree * math.Cos(latitude*math.Pi/180))
	speed := -1.0 // the phone's value for an unknown speed
	if at == nil && accuracy < 100 {
		speed = round(between(g.movement, 1, 14), 2)
	}
	when := p.at(minute)
	return moment{when, Locations, fields{
		"latitude":         round(latitude, 6),
		"longitude":        round(longitude, 6),
		"accuracy":         round(accuracy, 1),
		"altitude":         round(between(g.movement, 8, 40), 1),
		"speed":            speed,
		"dateCreated":      when.Unix(),
		"dateCreatedLocal": when.Format(time.RFC3339),
	}, func(c *truthCount) {
		if at != nil {
			c.point(at)
		}
	}}
}

// itinerary returns where she is, from midnight to midnight.
func (g *generator) itinerary(p plan) []stay {
	r := g.movement
	now, at := 0.0, &home
	if p.trip != nil && p.date.Weekday() == time.Sunday {
		at = p.trip
	}
	var stays []stay
	// moveTo ends the present stay at about the given minute and begins the next one after a journey.
	moveTo := func(next *place, leave, journey float64) {
		leave += between(r, -8, 8)
		stays = append(stays, stay{at, now, leave})
		now, at = leave+journey+between(r, 0, 6), next
	}
	switch {
	case p.trip != nil && p.date.Weekday() == time.Saturday:
		moveTo(p.trip, 9*60, 120)
	case p.trip != nil:
		moveTo(&home, 15*60, 120)
	case p.working():
		if !p.fromHome {
			moveTo(&work, 8*60, 25)
			if chance(r, 0.15) {
				moveTo(&cafe, 12*60+15, 15)
				moveTo(&work, 13*60+15, 15)
			}
		}
		switch {
		case p.gym:
			moveTo(&gym, 17*60+35, 20)
			moveTo(&home, 19*60+30, 20)
		case p.withNadja:
			moveTo(&nadja, 17*60+30, 30)
			moveTo(&home, 22*60, 30)
		case !p.fromHome:
			moveTo(&home, 17*60+30, 25)
		}
	case p.date.Weekday() == time.Saturday:
		moveTo(&cafe, 9*60+30, 20)
		if chance(r, 0.4) {
			moveTo(&nadja, 11*60+45, 10)
			moveTo(&home, 15*60, 30)
		} else {
			moveTo(&home, 12*60, 20)
		}
	default:
		moveTo(&gym, 10*60, 20)
		moveTo(&home, 11*60+45, 20)
	}
	return append(stays, stay{at, now, 24 * 60})
}

func round(x float64, digits int) float64 {
	scale := math.Pow10(digits)
	return math.Round(x*scale) / scale
}
