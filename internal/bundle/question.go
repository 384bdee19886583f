package bundle

import (
	"context"
	"fmt"
)

// A Question is a bundle, or a part of one, on its way through one snapshot: its properties share one budget of fuel, and
// what several of them have in common is worked out once. It is for one goroutine at a time.
type Question struct {
	properties map[string]PropertyQuery
	meter      *meter
}

// Ask begins a question. pace is asked while it takes long; nil: nobody is.
func Ask(properties map[string]PropertyQuery, pace Pace) *Question {
	q := &Question{properties: properties, meter: newMeter(pace)}
	q.meter.known = newMemo(properties)
	return q
}

// Names are the question's properties, sorted.
func (q *Question) Names() []string { return Bundle{Properties: q.properties}.Names() }

// Evaluate yields the rows of one property in order. Nothing is yielded after an error, which is the source's, ctx's, the
// pace's, yield's own (unwrapped), a *FuelError, ErrTooMuch, or ErrMappedTooLarge. The limit of the query applies before the
// page: of the rows up to limit, those from Skip on, at most Take.
func (q *Question) Evaluate(ctx context.Context, name string, src Source, within Within, yield func(Row) error) (counts Counts, err error) {
	property, ok := q.properties[name]
	if !ok {
		return Counts{}, fmt.Errorf("the question has no property %s", brief(name))
	}
	m := q.meter
	m.property = name
	m.begin(ctx)
	var e *evaluation
	defer func() {
		if e != nil {
			counts = e.counts
		}
		switch r := recover().(type) {
		case nil:
		case stopped:
			err = r.error
		default:
			panic(r)
		}
	}()
	if e, err = prepare(property, within, m); err != nil {
		return Counts{}, err
	}
	e.src, e.yield = src, yield
	return counts, e.run(ctx)
}

// Spend counts what whoever asks does with a row, as if the evaluation had passed over so many bytes. It is for yield to
// call; the evaluation may end in it.
func (q *Question) Spend(bytes int) {
	before := q.meter.begins(using)
	q.meter.spend(bytes)
	q.meter.begins(before)
}

// Used is how much fuel the question has used.
func (q *Question) Used() int64 { return q.meter.used + q.meter.Untold() }
