package bundle

import (
	"context"
	"fmt"

	"she/internal/fuel"
	"she/internal/hat"
)

// Fuel bounds what an evaluation may use. It grows with each record that is read for the first time, so that
// a large HAT alone never runs out. A question that does too much with each byte does.
const (
	fuelFloor = 1 << 28 // for any question
	fuelTimes = 256     // and this much for each unit of a record that is read for the first time

	costScan    = 1 << 14 // to begin a Scan
	costLinked  = 1 << 11 // to look for linked records
	costRecord  = 1 << 9  // of a record, apart from its data
	costQuery   = 1 << 5  // to test a record with a query
	costCompare = 1 << 5  // to compare two sort keys
	costTime    = 1 << 9  // to read a text as a time

	costEntry    = 8   // an entry of a mapping
	costNode     = 200 // to open an object for merging, for each member
	costSearched = 4   // to cut text into words, for each byte
	costEscaped  = 8   // to read a string with escapes, for each byte

	// turn is how much fuel is used between two calls of the Pace. The context is checked at the end of each
	// fuel.Slice.
	turn = 1 << 22
)

// A Pace is asked whether a long question may go on. It may make the evaluation wait for a slot. An error
// ends the evaluation.
type Pace interface {
	// Turn receives how many units of fuel were used since the last call.
	Turn(ctx context.Context, units int64) error
}

// A FuelError ends an evaluation whose question costs too much for what it reads. Its text is for the
// question's author and contains no data.
type FuelError struct {
	Property string // of a bundle; "" if the question has one property
	Work     string // the kind of work that used most
	Used     int64  // units of fuel
}

func (e *FuelError) Error() string {
	what := "the question"
	if e.Property != "" {
		what = "the bundle, at property " + hat.Foreign(e.Property) + ","
	}
	return fmt.Sprintf("%s costs too much for the data it reads, most of it for %s: "+
		"ask for fewer properties at one endpoint, or with fewer filters, links and mapping entries", what, e.Work)
}

// Kinds of work, for a FuelError.
type work byte

const (
	reading work = iota
	filtering
	mapping
	sorting
	linking
	using // what the caller does with the rows
	works
)

var workNames = [works]string{"reading the same records again", "filters", "mappings", "sorting", "links", "rows"}

// A meter counts the fuel that a question uses, for one goroutine at a time. A nil meter counts nothing.
//
// When fuel runs out, or the context or the pace ends the evaluation, the meter panics with a stopped. That
// is the only way out of a comparison in the middle of a sort. Question.Evaluate recovers it.
type meter struct {
	fuel.Meter
	used, allowed int64
	turned        int64 // how much of used the pace knows of
	doing         work
	by            [works]int64
	read          births
	record        hat.Seq // the current record
	known         memo

	pace     Pace
	property string
	look     func() error            // checks the context of the current evaluation
	wait     func(units int64) error // asks the pace
}

type stopped struct{ error }

func newMeter(pace Pace) *meter {
	m := &meter{allowed: fuelFloor, pace: pace}
	m.Meter = fuel.New(m.more)
	return m
}

// fuel returns the part of the meter for packages that know nothing of questions.
func (m *meter) fuel() *fuel.Meter {
	if m == nil {
		return nil
	}
	return &m.Meter
}

// begin starts an evaluation under ctx.
func (m *meter) begin(ctx context.Context) {
	m.look = ctx.Err
	if m.pace != nil {
		m.wait = func(units int64) error { return m.pace.Turn(ctx, units) }
	}
	m.doing = reading
}

// spend uses fuel.
func (m *meter) spend(units int) {
	if m != nil {
		m.Spend(units)
	}
}

// begins sets the kind of work, and returns the former one.
func (m *meter) begins(w work) (before work) {
	if m != nil {
		before, m.doing = m.doing, w
	}
	return before
}

// more is called at the end of a slice.
func (m *meter) more(units int64) {
	m.used += units
	m.by[m.doing] += units
	if m.used > m.allowed {
		most := reading
		for w := range works {
			if m.by[w] > m.by[most] {
				most = w
			}
		}
		panic(stopped{&FuelError{Property: m.property, Work: workNames[most], Used: m.used}})
	}
	if err := m.look(); err != nil {
		panic(stopped{err})
	}
	if m.wait != nil && m.used-m.turned >= turn {
		units, m.turned = m.used-m.turned, m.used
		if err := m.wait(units); err != nil {
			panic(stopped{err})
		}
	}
}

// take counts a record that was read.
func (m *meter) take(born hat.Seq, bytes int) {
	if m == nil {
		return
	}
	m.record = born
	units := costRecord + bytes
	if m.read.add(uint64(born)) {
		m.allowed += fuelTimes * int64(units)
	}
	m.spend(units)
}

// births is a set of records by their Born, one bit each: these numbers are dense.
type births struct {
	pages map[uint64]*[64]uint64
	last  uint64 // the number of the page in use
	page  *[64]uint64
}

// add reports whether the record is new.
func (b *births) add(born uint64) bool {
	const perPage = 64 * 64
	if n := born / perPage; b.page == nil || n != b.last {
		if b.pages == nil {
			b.pages = make(map[uint64]*[64]uint64)
		}
		if b.page = b.pages[n]; b.page == nil {
			b.page = new([64]uint64)
			b.pages[n] = b.page
		}
		b.last = n
	}
	word, bit := &b.page[born%perPage/64], uint64(1)<<(born%64)
	if *word&bit != 0 {
		return false
	}
	*word |= bit
	return true
}
