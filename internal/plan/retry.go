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

// Retry says how long to wait after the given failed attempt (1 is the first) and whether to park: to try it no more
// until somebody asks. What is too large for any request is parked at once. random in [0, 1) spreads pauses by ±20 %, so that a common cause
// does not bring everybody back at once.
func Retry(f *hat.Fault, attempt int, random float64) (pause time.Duration, park bool) {
	p, known := patienceWith[f.Who]
	if !known {
		p = patienceWith[hat.Engine]
	}
	if attempt >= p.attempts || Oversize(f) {
		return jitter(p.longest, random), true
	}
	// In floating point: a thousandth attempt must not overflow into a pause of nothing.
	grown := float64(p.first) * math.Pow(p.factor, float64(max(attempt, 1)-1))
	return jitter(time.Duration(math.Min(grown, float64(p.longest))), random), false
}

func jitter(d time.Duration, random float64) time.Duration {
	return time.Duration(float64(d) * (0.8 + 0.4*random))
}
