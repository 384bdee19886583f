package bundle

import (
	"context"
	"fmt"
)

// A Question is a bundle, or a part of one, that is evaluated over one snapshot of the store. Its properties
// share one budget of fuel, and work that they have in common is done once. It is for one goroutine at a
// time.
type Question struct {
	properties map[string]PropertyQuery
	meter      *meter
}

// Ask begins a question. pace is called while it takes long; nil: never.
func Ask(properties map[string]PropertyQuery, pace Pace) *Question {
	q := &Question{properties: properties, meter: newMeter(pace)}
	q.meter.known = newMemo(properties)
	return q
}

// Names returns the question's properties, sorted.
func (q *Question) Names() []string { return Bundle{Properties: q.properties}.Names() }

// Evaluate yields the rows of one property in order. The query's limit applies before the page: of the rows
// up to the limit, it yields at most Take from Skip on. After an error it yields nothing more. The error
// comes from the source, ctx, the pace or yield (unwrapped), or is a *FuelError, ErrTooMuch or
// ErrMappedTooLarge.
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

// Spend counts the caller's work on a row, as if the evaluation had read that many bytes. Only yield may call
// it; it can end the evaluation.
func (q *Question) Spend(bytes int) {
	before := q.meter.begins(using)
	q.meter.spend(bytes)
	q.meter.begins(before)
}

// Used returns how much fuel the question has used.
func (q *Question) Used() int64 { return q.meter.used + q.meter.Untold() }
