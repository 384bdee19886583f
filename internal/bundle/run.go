package bundle

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"strings"

	"she/internal/hat"
	"she/internal/jsonb"
)

// An evaluation of one property. If all streams come in the wanted order, they are merged and read only as
// far as needed, holding one record of each. Otherwise matching records are collected: all of them, or with a
// limit the best so far in a heap.
type evaluation struct {
	within     Within
	attributes *attributes
	meter      *meter
	places     []*place
	sorted     bool // by a field; else by creation
	descending bool
	end        int  // number of rows, of which the first Skip are not yielded; -1: all
	byLimit    bool // end is the query's own limit, not the page's
	src        Source
	yield      func(Row) error

	at      int // rows so far, skipped ones included
	counts  Counts
	scratch []byte
	looked  int // records read since the end was reached
}

// lookahead is how many more records an evaluation reads after it has all it needs, to learn whether its
// limit hid any.
const lookahead = 256

func prepare(q PropertyQuery, within Within, m *meter) (*evaluation, error) {
	e := &evaluation{
		within:     within,
		attributes: newAttributes(within.Attributes),
		meter:      m,
		sorted:     q.OrderBy != "",
		descending: q.Descending(),
		end:        -1,
	}
	if within.Skip < 0 || within.Take != nil && *within.Take < 0 || q.Limit != nil && *q.Limit < 0 {
		return nil, errors.New("neither skip, take nor limit may be negative")
	}
	if within.Take != nil {
		e.end = within.Skip + min(*within.Take, math.MaxInt-within.Skip)
	}
	if q.Limit != nil && (e.end < 0 || *q.Limit <= e.end) {
		e.end, e.byLimit = *q.Limit, true
	}
	if e.within.Hold <= 0 {
		e.within.Hold = DefaultHold
	}
	var err error
	e.places, err = places(q.Endpoints, q.OrderBy, true, m)
	return e, err
}

func (e *evaluation) run(ctx context.Context) error {
	if e.end >= 0 && e.end <= e.within.Skip {
		e.counts.More = e.byLimit
		return nil
	}
	streams := make([]Stream, len(e.places))
	ordered := true
	for i, p := range e.places {
		want := e.want(p)
		e.meter.spend(costScan)
		streams[i] = e.src.Scan(ctx, p.endpoint, want)
		// Every stream comes in ascending order of creation at least.
		streams[i].InOrder = want.Order != nil && (streams[i].InOrder || *want.Order == Order{})
		ordered = ordered && streams[i].InOrder
	}
	if !ordered {
		return e.collect(ctx, streams)
	}
	if len(streams) == 1 {
		e.at = streams[0].Skipped
		return e.follow(ctx, streams[0])
	}
	return e.merge(ctx, streams)
}

func (e *evaluation) want(p *place) Want {
	w := Want{After: e.within.After, Upto: e.within.Upto, NotBy: e.within.NotBy, About: max(0, e.end)}
	w.Order = &Order{Field: p.queries[0].field, Descending: e.descending}
	for _, q := range p.queries {
		if q.field != w.Order.Field {
			w.Order = nil
			break
		}
	}
	if len(p.queries) == 1 {
		w.Filters = p.queries[0].filter
		if within := e.within; len(e.places) == 1 && len(w.Filters) == 0 && within.NotBy.IsZero() && within.Keep == nil && e.attributes == nil {
			w.Skip = within.Skip
		}
	}
	return w
}

// A candidate is a matching record, with its sort key.
type candidate struct {
	hat.Record
	query  *query
	key    string // "" for none
	mapped bool
}

func (e *evaluation) compare(a, b *candidate) int {
	c := 0
	if !e.sorted {
		c = cmp.Compare(a.Born, b.Born)
	} else if a.key == "" || b.key == "" {
		// Records without a key come last in both directions.
		if c = cmp.Compare(len(b.key), len(a.key)); c != 0 {
			return c
		}
	} else {
		e.meter.spend(costCompare)
		c = jsonb.Compare(e.meter.fuel(), a.key, b.key)
	}
	if c != 0 {
		if e.descending {
			return -c
		}
		return c
	}
	if c = cmp.Compare(a.Born, b.Born); c != 0 {
		return c
	}
	return cmp.Compare(string(a.ID.Bytes()), string(b.ID.Bytes()))
}

func (e *evaluation) keeps(r *hat.Record) bool {
	w := &e.within
	return r.Seq > w.After && (w.Upto == 0 || r.Seq <= w.Upto) &&
		(w.NotBy.IsZero() || r.Function != w.NotBy) && (w.Keep == nil || w.Keep(*r)) &&
		e.attributes.match(e.meter, r.Data.JSON())
}

// full reports whether no further row is needed.
func (e *evaluation) full() bool { return e.end >= 0 && e.at >= e.end }

// matching yields the candidates of one stream. Once the evaluation is full, it stops after a short look
// ahead.
func (e *evaluation) matching(ctx context.Context, p *place, s Stream) iter.Seq2[*candidate, error] {
	return func(yield func(*candidate, error) bool) {
		var last, c candidate
		for r, err := range s.Records {
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				yield(nil, fmt.Errorf("scan %s: %w", p.endpoint, err))
				return
			}
			if e.full() {
				if e.looked++; e.looked > lookahead || !e.byLimit {
					e.counts.More = e.byLimit
					return
				}
			}
			e.meter.take(r.Born, r.Data.Len())
			if r.Endpoint != p.endpoint || !e.keeps(&r) {
				continue
			}
			q, key := p.first(e.meter, r.Data.JSON())
			if q == nil {
				continue
			}
			c = candidate{Record: r, query: q, key: key}
			if s.InOrder {
				if last.query != nil && e.compare(&last, &c) > 0 {
					yield(nil, fmt.Errorf("scan %s: %w", p.endpoint, ErrDisorder))
					return
				}
				last = c
			}
			if !yield(&c, nil) {
				return
			}
		}
		if err := ctx.Err(); err != nil {
			yield(nil, fmt.Errorf("scan %s: %w", p.endpoint, err))
		}
	}
}

// follow yields the rows of a single stream as they come.
func (e *evaluation) follow(ctx context.Context, s Stream) error {
	for c, err := range e.matching(ctx, e.places[0], s) {
		if err != nil {
			return err
		}
		if e.full() {
			e.counts.Hidden, e.counts.More = 1, true
			return nil
		}
		if err := e.row(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// A head is the next candidate of one of several streams.
type head struct {
	c    candidate
	next func() (*candidate, error, bool)
}

// merge yields the rows of several streams, each time the first of their heads.
func (e *evaluation) merge(ctx context.Context, streams []Stream) error {
	heads := heap[head]{before: func(a, b *head) bool { return e.compare(&a.c, &b.c) < 0 }}
	for i, s := range streams {
		next, stop := iter.Pull2(e.matching(ctx, e.places[i], s))
		defer stop()
		c, err, ok := next()
		if err != nil {
			return err
		}
		if ok {
			heads.push(head{*c, next})
		}
	}
	for len(heads.items) > 0 {
		if e.full() {
			if e.byLimit {
				e.counts.Hidden, e.counts.More = len(heads.items), true
			}
			return nil
		}
		top := &heads.items[0]
		if err := e.row(ctx, &top.c); err != nil {
			return err
		}
		c, err, ok := top.next()
		switch {
		case err != nil:
			return err
		case ok:
			top.c = *c
			heads.fix()
		default:
			heads.pop()
		}
	}
	return nil
}

// collect sorts what the streams yield.
func (e *evaluation) collect(ctx context.Context, streams []Stream) error {
	worst := heap[candidate]{before: func(a, b *candidate) bool { return e.compare(a, b) > 0 }}
	var held int64
	memory := sortMemory{grow: e.within.Grow}
	defer memory.end()
	matched := 0
	for i, s := range streams {
		for c, err := range e.matching(ctx, e.places[i], s) {
			if err != nil {
				return err
			}
			matched++
			if e.end >= 0 && len(worst.items) == e.end {
				top := &worst.items[0]
				if e.compare(c, top) < 0 {
					held += size(c) - size(top)
					*top = *c
					worst.fix()
				} else if s.InOrder {
					e.counts.More = e.byLimit
					break // the rest of this stream is no better
				}
			} else {
				if e.end < 0 {
					// All rows are yielded in the end, and mapped data is mostly smaller.
					if err := e.mapEarly(c); err != nil {
						return err
					}
				}
				held += size(c)
				if worst.items = append(worst.items, *c); e.end >= 0 {
					worst.up()
				}
			}
			if held > e.within.Hold {
				return ErrTooMuch
			}
			if err := memory.hold(held + candidateSize*int64(len(worst.items))); err != nil {
				return err
			}
		}
	}
	e.meter.begins(sorting)
	slices.SortFunc(worst.items, func(a, b candidate) int { return e.compare(&a, &b) })
	e.meter.begins(reading)
	if e.byLimit {
		e.counts.Hidden = matched - len(worst.items)
	}
	for i := range worst.items {
		c := &worst.items[i]
		gone := size(c)
		if err := e.row(ctx, c); err != nil {
			return err
		}
		*c = candidate{} // sent rows are freed, because a slow client can take long
		memory.free(gone)
	}
	return nil
}

// candidateSize is what a candidate takes apart from its data while its list grows.
const candidateSize = 512

// sortMemory is the memory of a sort, acquired in steps.
type sortMemory struct {
	grow        func(int64) error
	asked, gone int64
}

const (
	sortFree = 32 << 10 // a smaller sort does not ask
	sortStep = 256 << 10
)

// hold asks for that many bytes in all.
func (s *sortMemory) hold(bytes int64) error {
	if s.grow == nil || bytes <= s.asked+sortFree {
		return nil
	}
	more := max(bytes-s.asked, sortStep, s.asked/4)
	if err := s.grow(more); err != nil {
		return err
	}
	s.asked += more
	return nil
}

// end gives everything back.
func (s *sortMemory) end() {
	if s.asked > 0 {
		_ = s.grow(-s.asked)
	}
}

func (s *sortMemory) free(bytes int64) {
	if s.gone += bytes; s.grow != nil && s.gone >= 1<<20 && s.asked > 0 {
		given := min(s.gone, s.asked)
		s.asked, s.gone = s.asked-given, 0
		_ = s.grow(-given) // freeing never fails
	}
}

// size is about the memory of a candidate.
func size(c *candidate) int64 { return int64(c.Data.Len()) + 256 }

func (e *evaluation) mapEarly(c *candidate) (err error) {
	if c.query.mapper == nil {
		return nil
	}
	// The key is a part of data that is freed now.
	c.key, c.mapped = strings.Clone(c.key), true
	c.Data, err = c.query.data(c.Data, &e.scratch)
	return err
}

// row yields the candidate, unless it comes before the page.
func (e *evaluation) row(ctx context.Context, c *candidate) error {
	if e.at++; e.at <= e.within.Skip {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	row := Row{Endpoint: c.Endpoint, ID: c.ID, Seq: c.Seq, Born: c.Born, Data: c.Data}
	var err error
	if !c.mapped {
		if row.Data, err = c.query.data(c.Data, &e.scratch); err != nil {
			return err
		}
	}
	if len(c.query.links) > 0 {
		if row.Links, err = e.links(ctx, c); err != nil {
			return err
		}
	}
	e.counts.Rows++
	e.counts.Links += len(row.Links)
	return e.yield(row)
}

func (e *evaluation) links(ctx context.Context, c *candidate) (rows []Row, err error) {
	before := e.meter.begins(linking)
	defer e.meter.begins(before)
	for _, p := range c.query.links {
		e.meter.spend(costLinked)
		for r, err := range e.src.Linked(ctx, c.ID, p.endpoint) {
			if err != nil {
				return nil, fmt.Errorf("links of %s at %s: %w", c.ID, p.endpoint, err)
			}
			e.meter.take(r.Born, r.Data.Len())
			if r.Endpoint != p.endpoint || r.ID == c.ID || e.within.Upto > 0 && r.Born > e.within.Upto {
				continue
			}
			q, _ := p.first(e.meter, r.Data.JSON())
			if q == nil {
				continue
			}
			row := Row{Endpoint: r.Endpoint, ID: r.ID, Seq: r.Seq, Born: r.Born}
			if row.Data, err = q.data(r.Data, &e.scratch); err != nil {
				return nil, err
			}
			rows = append(rows, row)
		}
	}
	slices.SortFunc(rows, func(a, b Row) int {
		return cmp.Or(cmp.Compare(a.Born, b.Born), cmp.Compare(string(a.ID.Bytes()), string(b.ID.Bytes())))
	})
	return slices.CompactFunc(rows, func(a, b Row) bool { return a.ID == b.ID }), nil
}

// A heap keeps the smallest item at index 0.
type heap[T any] struct {
	items  []T
	before func(a, b *T) bool
}

func (h *heap[T]) push(item T) {
	h.items = append(h.items, item)
	h.up()
}

// up restores the heap after an append.
func (h *heap[T]) up() {
	for i := len(h.items) - 1; i > 0; {
		parent := (i - 1) / 2
		if !h.before(&h.items[i], &h.items[parent]) {
			return
		}
		h.items[i], h.items[parent] = h.items[parent], h.items[i]
		i = parent
	}
}

// fix restores the heap after a change of the first item.
func (h *heap[T]) fix() {
	for i := 0; ; {
		first := i
		for _, child := range [2]int{2*i + 1, 2*i + 2} {
			if child < len(h.items) && h.before(&h.items[child], &h.items[first]) {
				first = child
			}
		}
		if first == i {
			return
		}
		h.items[i], h.items[first] = h.items[first], h.items[i]
		i = first
	}
}

func (h *heap[T]) pop() {
	last := len(h.items) - 1
	h.items[0] = h.items[last]
	var none T
	h.items[last] = none
	h.items = h.items[:last]
	h.fix()
}
