package bundle

import (
	"context"
	"fmt"

	"she/internal/fuel"
	"she/internal/hat"
)

// Fuel is what an evaluation may use. How much there is grows with each record that is read for the first time, so that a
// large HAT alone never runs out: what runs out is a question that does too much with each byte.
const (
	fuelFloor = 1 << 28 // any question may use
	fuelTimes = 256     // and so much for each unit of a record that is read for the first time

	costScan    = 1 << 14 // to begin a Scan
	costLinked  = 1 << 11 // to look for linked records
	costRecord  = 1 << 9  // a record beside its data
	costQuery   = 1 << 5  // to hold a record against a query
	costCompare = 1 << 5  // to compare two sort keys
	costTime    = 1 << 9  // to read a text as a time

	costEntry    = 8   // an entry of a mapping
	costNode     = 200 // a member of an object that is opened to be merged into
	costSearched = 4   // a byte of text that is cut into words
	costEscaped  = 8   // a byte of a string whose escapes have to be read

	// turn is how much is used between two questions to the Pace. At the end of each fuel.Slice is a look at the context.
	turn = 1 << 22
)

// A Pace is asked whether a question that takes long may go on. It may let the evaluation wait for its turn; an error ends
// the evaluation.
type Pace interface {
	// Turn is told how many units of fuel were used since it was asked last.
	Turn(ctx context.Context, units int64) error
}

// A FuelError is what an evaluation ends with when its question costs too much for what it reads. Its text is for who wrote
// the question; nothing in it is data.
type FuelError struct {
	Property string // of a bundle; "" for a question of one part
	Work     string // what used most
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

// A meter counts what a question uses. Only one goroutine at a time uses it. A nil meter counts nothing.
//
// When fuel runs out, or the context or the pace ends the evaluation, the meter panics with a stopped: that is the one way
// out of the middle of a comparison within a sort. Question.Evaluate recovers it.
type meter struct {
	fuel.Meter
	used, allowed int64
	turned        int64 // of used, what the pace was told
	doing         work
	by            [works]int64
	read          births
	record        hat.Seq // the record at hand
	known         memo

	pace     Pace
	property string
	look     func() error            // at the context of the evaluation under way
	wait     func(units int64) error // for the pace
}

type stopped struct{ error }

func newMeter(pace Pace) *meter {
	m := &meter{allowed: fuelFloor, pace: pace}
	m.Meter = fuel.New(m.more)
	return m
}

// fuel is the meter for what knows nothing of questions.
func (m *meter) fuel() *fuel.Meter {
	if m == nil {
		return nil
	}
	return &m.Meter
}

// begin is the beginning of an evaluation under ctx.
func (m *meter) begin(ctx context.Context) {
	m.look = ctx.Err
	if m.pace != nil {
		m.wait = func(units int64) error { return m.pace.Turn(ctx, units) }
	}
	m.doing = reading
}

// spend takes fuel.
func (m *meter) spend(units int) {
	if m != nil {
		m.Spend(units)
	}
}

// begins changes what fuel is used for, and answers what it was used for before.
func (m *meter) begins(w work) (before work) {
	if m != nil {
		before, m.doing = m.doing, w
	}
	return before
}

// more is the end of a slice.
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

// take notes that a record was read.
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

// births is a set of records by their number of birth, which are dense: a bit each.
type births struct {
	pages map[uint64]*[64]uint64
	last  uint64 // the page at hand
	page  *[64]uint64
}

// add answers whether the record is new.
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
