// Package fuel counts the work that other people's questions cause. Code that evaluates, compares, parses or
// sorts for a question takes fuel from the question's Meter, in proportion to its work.
//
// It guarantees that the owner of a Meter is called again after at most Slice units and one step, and can end
// the work there.
package fuel

// Slice is how many units are used between two calls of a Meter's owner. A unit is about the cost of reading
// one byte of JSON text: a nanosecond.
const Slice = 1 << 16

// BytesPerUnit is how many bytes are compared or copied for one unit.
const BytesPerUnit = 8

// A Meter counts units of fuel, for one goroutine at a time. A nil Meter counts nothing. The zero Meter is
// invalid.
type Meter struct {
	left int // of the slice; negative when it is used up
	more func(units int64)
}

// New returns a Meter that calls more after each Slice with the units used since the last call. more ends the
// work by a panic, which its owner recovers: that is the only way out of a comparison in the middle of a
// sort.
func New(more func(units int64)) Meter { return Meter{left: Slice, more: more} }

// Spend uses fuel.
func (m *Meter) Spend(units int) {
	if m == nil {
		return
	}
	if m.left -= units; m.left < 0 {
		m.next()
	}
}

// next is called at the end of a slice.
func (m *Meter) next() {
	units := int64(Slice - m.left)
	m.left = Slice
	m.more(units)
}

// Untold returns how many units were used since the last call of more.
func (m *Meter) Untold() int64 { return int64(Slice - m.left) }
