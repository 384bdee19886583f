package plan

import (
	"math"
	"time"

	"she/internal/hat"
)

// A patience is how a kind of fault is met: the first pause, what each further one is multiplied with, the longest,
// and after how many failed attempts nothing more is tried without a person; 0: after any number it is tried again.
type patience struct {
	first, longest time.Duration
	factor         float64
	attempts       int
}

var patienceWith = map[hat.Who]patience{
	// Mostly the same code will fail the same way on the same data; a few more tries catch what was not.
	hat.Author: {first: 10 * time.Second, factor: 6, longest: 2 * time.Hour, attempts: 5},
	// A full disk or a missing runtime passes when somebody has seen to it, in a minute or after a long weekend. The work
	// then goes on by itself: no data waits for a person because of a machine.
	hat.Operator: {first: time.Second, factor: 2, longest: 5 * time.Minute},
	hat.Engine:   {first: time.Second, factor: 3, longest: 10 * time.Minute, attempts: 12},
	// Only the Owner can lift it. What a HAT has no room for is another matter: see forRoom.
	hat.Owner: {longest: time.Hour, attempts: 1},
}

// forRoom is for output that a HAT has no room for. Erasing makes it due at once; a higher limit is found soon.
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

// Tries says how often an item of work has failed, and how many of these failures were for want of something around the
// function: the operator's faults, and a HAT without room. A full disk says nothing about a function: its failures don't
// use up the attempts that the function has.
type Tries struct {
	Failed  int
	Outages int
}

// outage says that a fault is of the kind that Outages counts.
func outage(f *hat.Fault) bool { return f.Who == hat.Operator || OverStorage(f) }

// After counts one more failure.
func (t Tries) After(f *hat.Fault) Tries {
	t.Failed++
	if outage(f) {
		t.Outages++
	}
	return t
}

// of is how many failures count for a fault.
func (t Tries) of(f *hat.Fault) int {
	if outage(f) {
		return t.Outages
	}
	return t.Failed - t.Outages
}

// Retry says how long to wait after the last of these failures, f, and whether to park: to try it no more until
// somebody asks. What the operator must mend, and what
// waits for room in the HAT, is never parked. What is too large for any request, or out of fuel, is parked at once.
// random in [0, 1) spreads pauses by ±20 %, so that a common cause does not bring everybody back at once.
func Retry(f *hat.Fault, tries Tries, random float64) (pause time.Duration, park bool) {
	p := patienceOf(f)
	if p.attempts > 0 && tries.of(f) >= p.attempts || Foregone(f) {
		return jitter(p.longest, random), true
	}
	return jitter(p.grown(tries.of(f)), random), false
}

// grown is the pause after so many failures, before jitter.
func (p patience) grown(attempt int) time.Duration {
	// In floating point: a thousandth attempt must not overflow into a pause of nothing.
	grown := float64(p.first) * math.Pow(p.factor, float64(max(attempt, 1)-1))
	return time.Duration(math.Min(grown, float64(p.longest)))
}

// Latest is the latest time that work can have been told to wait for, having failed so many times, the last time with f:
// what a store says beyond it was written by a clock that has been set back since, and is cut to it. next is when the work
// would be due had it only come now (trigger.NotBefore); zero: by itself never.
func Latest(f *hat.Fault, tries Tries, next, now time.Time) time.Time {
	switch {
	case tries.Failed > 0 && f != nil:
		return now.Add(jitter(patienceOf(f).grown(tries.of(f)), 1))
	case f != nil || next.Before(now):
		return now // in parts, after an answer that was too large; or somebody has asked
	}
	return next
}

func jitter(d time.Duration, random float64) time.Duration {
	return time.Duration(float64(d) * (0.8 + 0.4*random))
}
