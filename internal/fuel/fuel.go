// Package fuel counts the work that somebody else's question causes. What evaluates, compares, parses or sorts on behalf of
// a question takes fuel from the question's Meter, in proportion to what it does.
//
// It guarantees: the owner of a Meter is called again after Slice units at most and one step more, and can end the work
// there.
package fuel

// Slice is how many units are used between two calls of a Meter's owner. A unit is about what it takes to pass over one
// byte of JSON text, a nanosecond.
const Slice = 1 << 16

// BytesPerUnit is how many bytes are compared or copied for one unit.
const BytesPerUnit = 8

// A Meter counts units of fuel. Only one goroutine at a time uses it. A nil Meter counts nothing. The zero Meter is invalid.
type Meter struct {
	left int // of the slice; below zero when it is used up
	more func(units int64)
}

// New makes a Meter that tells more how many units were used since it was told last, once for each Slice. more ends the
// work by a panic, which its owner recovers: that is the one way out of the middle of a comparison within a sort.
func New(more func(units int64)) Meter { return Meter{left: Slice, more: more} }

// Spend takes fuel.
func (m *Meter) Spend(units int) {
	if m == nil {
		return
	}
	if m.left -= units; m.left < 0 {
		m.next()
	}
}

// next is the end of a slice.
func (m *Meter) next() {
	units := int64(Slice - m.left)
	m.left = Slice
	m.more(units)
}

// Untold returns how many units were used since more was called last.
func (m *Meter) Untold() int64 { return int64(Slice - m.left) }
