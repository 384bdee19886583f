package logins

import (
	"hash/maphash"
	"time"
)

// A meter counts tries of any number of keys in a fixed table. A key has burst tries at once, then one more
// for each interval. A key has a cell in each row, and its count is the lowest of its cells. Keys that share
// a cell can only make a count higher, so nobody gets more tries by using many keys. The meter never evicts,
// so no key can push out the count of another.
//
// A cell holds the time at which its tries are forgotten (the generic cell rate algorithm). A meter is not
// safe for concurrent use.
type meter struct {
	burst int64
	every int64 // nanoseconds
	seed  maphash.Seed
	cells [meterRows][]int64
}

const (
	meterRows = 3
	// meterCells is the row length of meters that forget within a minute: the number of passwords that can be
	// compared in that time fills a tenth of a row.
	meterCells = 1 << 13
	// meterCellsLong is the row length of meters that forget within hours.
	meterCellsLong = 1 << 16
)

// newMeter returns a meter; cells must be a power of two.
func newMeter(burst int, every time.Duration, cells int) *meter {
	m := &meter{burst: int64(burst), every: int64(every), seed: maphash.MakeSeed()}
	for row := range m.cells {
		m.cells[row] = make([]int64, cells)
	}
	return m
}

// places returns the cells of a key. The seed is random, so nobody can choose keys that share a cell.
func (m *meter) places(key string) (p [meterRows]*int64) {
	h := maphash.String(m.seed, key)
	first, step := uint32(h), uint32(h>>32)|1
	for row := range m.cells {
		cells := m.cells[row]
		p[row] = &cells[(first+uint32(row)*step)&uint32(len(cells)-1)]
	}
	return p
}

// until returns when the tries of the key are forgotten, at most the filling time of an empty bucket from
// now. A later time in a cell is from before the clock was set back, and is cut to that.
func (m *meter) until(key string, now int64) int64 {
	longest := now + m.burst*m.every
	lowest := longest
	for _, cell := range m.places(key) {
		*cell = min(*cell, longest)
		lowest = min(lowest, *cell)
	}
	return max(now, lowest)
}

// has reports whether the key has a try left.
func (m *meter) has(key string, now time.Time) bool {
	n := now.UnixNano()
	return m.until(key, n)+m.every <= n+m.burst*m.every
}

// spend counts a try of the key, even if none is left.
func (m *meter) spend(key string, now time.Time) {
	n := now.UnixNano()
	m.raise(key, n, m.until(key, n)+m.every)
}

// raise makes the key's count at least until, a value that can come from another meter.
func (m *meter) raise(key string, now, until int64) {
	until = min(until, now+m.burst*m.every)
	for _, cell := range m.places(key) {
		*cell = max(*cell, until)
	}
}
