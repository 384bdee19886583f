package plan

import (
	"math"
	"time"

	"she/internal/hat"
)

// A patience is how a kind of fault is met: the first pause, what each further one is multiplied with, the longest,
// and after how many failed attempts nothing more is tried without a person.
type patience struct {
	first, longest time.Duration
	factor         float64
	attempts       int
}

var patienceWith = map[hat.Who]patience{
	// Mostly the same code will fail the same way on the same data; a few more tries catch what was not.
	hat.Author: {first: 10 * time.Second, factor: 6, longest: 2 * time.Hour, attempts: 5},
	// A full disk or a missing runtime passes when somebody has seen to it; the work should then go on by itself.
	hat.Operator: {first: time.Second, factor: 2, longest: 5 * time.Minute, attempts: 40},
	hat.Engine:   {first: time.Second, factor: 3, longest: 10 * time.Minute, attempts: 12},
	// Only the Owner can lift it.
	hat.Owner: {longest: time.Hour, attempts: 1},
}

func patienceOf(f *hat.Fault) patience {
	if p, known := patienceWith[f.Who]; known {
		return p
	}
	return patienceWith[hat.Engine]
}

// Retry says how long to wait after the given failed attempt (1 is the first) and whether to park: to try it no more
// until somebody asks. What is too large for any request is parked at once. random in [0, 1) spreads pauses by ±20 %, so that a common cause
// does not bring everybody back at once.
func Retry(f *hat.Fault, attempt int, random float64) (pause time.Duration, park bool) {
	p := patienceOf(f)
	if attempt >= p.attempts || Oversize(f) {
		return jitter(p.longest, random), true
	}
	return jitter(p.grown(attempt), random), false
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
func Latest(f *hat.Fault, attempt int, next, now time.Time) time.Time {
	switch {
	case attempt > 0 && f != nil:
		return now.Add(jitter(patienceOf(f).grown(attempt), 1))
	case f != nil || next.Before(now):
		return now // in parts, after an answer that was too large; or somebody has asked
	}
	return next
}

func jitter(d time.Duration, random float64) time.Duration {
	return time.Duration(float64(d) * (0.8 + 0.4*random))
}
