package metrics

import (
	"math"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// A function chooses how long it runs, how much memory it takes and how long its answer is. If the sums
// were exact, somebody who reads the metrics before and after one run would learn these figures to the
// nanosecond and the byte. So every value is counted as the upper bound of its bucket. The sums then say no
// more than the buckets.

// coarse is a histogram that counts values as the bounds of their buckets.
type coarse struct {
	*prometheus.HistogramVec
	bounds []float64
}

func (h coarse) observe(value float64, labels ...string) {
	h.WithLabelValues(labels...).Observe(roundUp(value, h.bounds))
}

// roundUp returns the first bound that is at least value, or the last bound if value exceeds all.
func roundUp(value float64, bounds []float64) float64 {
	for _, bound := range bounds {
		if value <= bound {
			return bound
		}
	}
	return bounds[len(bounds)-1]
}

// roundCount rounds a number up to a power of two. roundBytes rounds a size up to a power of four, at least
// 1 KiB.
func roundCount(n int) float64 { return roundPower(float64(n), 1) }
func roundBytes(n int) float64 {
	if n == 0 {
		return 0
	}
	return roundPower(math.Max(float64(n), 1<<10), 2)
}

func roundPower(n float64, step float64) float64 {
	if n <= 0 {
		return 0
	}
	return math.Exp2(step * math.Ceil(math.Log2(n)/step))
}

// seldom gathers at most once in each interval, so that a client that asks all the time can't see when a
// run ends.
type seldom struct {
	prometheus.Gatherer
	interval time.Duration
	now      func() time.Time

	mu     sync.Mutex
	period time.Time
	last   []*dto.MetricFamily
	err    error
}

func (s *seldom) Gather() ([]*dto.MetricFamily, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if period := s.now().Truncate(s.interval); !period.Equal(s.period) {
		s.period = period
		s.last, s.err = s.Gatherer.Gather()
	}
	return s.last, s.err
}
