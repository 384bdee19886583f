package plan

import (
	"math"
	"time"

	"she/internal/hat"
)

// A patience says how a kind of fault is retried: the first pause, the factor between pauses, the longest
// pause, and the number of failed attempts after which the work is parked; 0: never.
type patience struct {
	first, longest time.Duration
	factor         float64
	attempts       int
}

var patienceWith = map[hat.Who]patience{
	// Usually the same code fails the same way on the same data. A few more attempts catch the rest.
	hat.Author: {first: 10 * time.Second, factor: 6, longest: 2 * time.Hour, attempts: 5},
	// A full disk or a missing runtime is mended in a minute or after a long weekend. The work then goes on
	// by itself: no data waits for a person because of the machine.
	hat.Operator: {first: time.Second, factor: 2, longest: 5 * time.Minute},
	hat.Engine:   {first: time.Second, factor: 3, longest: 10 * time.Minute, attempts: 12},
	// Only the Owner can act. forRoom is for a HAT without room.
	hat.Owner: {longest: time.Hour, attempts: 1},
}

// forRoom is for output for which a HAT has no room. Erasing makes the work due at once. A raised limit is
// noticed after the pause.
var forRoom = patience{first: 10 * time.Second, factor: 6, longest: StoragePause}

func patienceOf(f *hat.Fault) patience {
	if OverStorage(f) {
		return forRoom
	}
	if p, known := patienceWith[f.Who]; known {
		return p
	}
	return patienceWith[hat.Engine]
}

// Tries counts how often an item of work has failed, and how many of these failures were not the function's:
// the operator's faults, and a HAT without room. Those don't use up the function's own attempts, because a
// full disk says nothing about a function.
type Tries struct {
	Failed  int
	Outages int
}

// outage reports whether Outages counts the fault.
func outage(f *hat.Fault) bool { return f.Who == hat.Operator || OverStorage(f) }

// After returns the count with one more failure.
func (t Tries) After(f *hat.Fault) Tries {
	t.Failed++
	if outage(f) {
		t.Outages++
	}
	return t
}

// of returns how many failures count for a fault of this kind.
func (t Tries) of(f *hat.Fault) int {
	if outage(f) {
		return t.Outages
	}
	return t.Failed - t.Outages
}

// Retry returns how long to wait after the failure f, the last of these, or that the work is to be parked.
// Work is never parked because of the operator's faults or because the HAT has no room. It is parked at once
// if it is too large for any request or out of fuel. random in [0, 1) spreads pauses by ±20 %, so that not
// all work comes back at once after a common cause.
func Retry(f *hat.Fault, tries Tries, random float64) (pause time.Duration, park bool) {
	p := patienceOf(f)
	if p.attempts > 0 && tries.of(f) >= p.attempts || Foregone(f) {
		return jitter(p.longest, random), true
	}
	return jitter(p.grown(tries.of(f)), random), false
}

// grown returns the pause after so many failures, before it is spread.
func (p patience) grown(attempt int) time.Duration {
	// In floating point, so that the thousandth attempt does not overflow to a pause of zero.
	grown := float64(p.first) * math.Pow(p.factor, float64(max(attempt, 1)-1))
	return time.Duration(math.Min(grown, float64(p.longest)))
}

// Latest returns the latest time until which failed work can be told to wait; f is its last fault. A later
// stored time was written before the clock was set back, and is cut to this one. next is when the work would
// be due if it arrived now (trigger.NotBefore), or zero if never by itself.
func Latest(f *hat.Fault, tries Tries, next, now time.Time) time.Time {
	switch {
	case tries.Failed > 0 && f != nil:
		return now.Add(jitter(patienceOf(f).grown(tries.of(f)), 1))
	case f != nil || next.Before(now):
		return now // in smaller parts after a response that was too large, or on request
	}
	return next
}

func jitter(d time.Duration, random float64) time.Duration {
	return time.Duration(float64(d) * (0.8 + 0.4*random))
}
