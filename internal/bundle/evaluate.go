package bundle

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"she/internal/hat"
	"she/internal/jsonb"
)

// A Source gives records from one consistent state of one HAT. Linked and further Scans may be called while a
// Scan is being read. Errors end the evaluation, which returns them wrapped.
type Source interface {
	// Scan returns the records at exactly this endpoint, each once. The source may leave out records that
	// want excludes, but does not have to.
	Scan(ctx context.Context, e hat.Endpoint, want Want) Stream
	// Linked yields the records at e that share a group with id, without id itself, in order of creation,
	// each once.
	Linked(ctx context.Context, id hat.RecordID, e hat.Endpoint) iter.Seq2[hat.Record, error]
}

// A Stream is the result of a Scan.
type Stream struct {
	Records iter.Seq2[hat.Record, error]
	// InOrder promises that Records come in the order of Want.Order; otherwise they come in order of creation
	// (Born ascending). An evaluation over ordered streams stops as soon as it has what it needs. It fails
	// with ErrDisorder if the promise is broken.
	InOrder bool
	// Skipped is how many records were left out at the beginning of an ordered stream: at most Want.Skip.
	Skipped int
}

// Want says what an evaluation needs of a Scan. All of it is a hint: the evaluator checks every record
// itself.
type Want struct {
	After   hat.Seq        // Seq > After
	Upto    hat.Seq        // Seq <= Upto; 0: no bound
	NotBy   hat.FunctionID // not written by this Function; zero: any writer
	Filters []Filter       // passes all of these
	Order   *Order         // the wanted order; nil: no single order serves all queries on the endpoint
	// About is how many records are needed if they come in order; 0: all. It helps to choose how to read
	// ahead. The stream must not be cut there, because a record that the source lets through may still fail.
	About int
	// Skip is how many records at the beginning of an ordered stream are not needed, if the order alone
	// decides which. A source that leaves some out reports it in Stream.Skipped. A source that reads from
	// another and filters further must not pass Skip on.
	Skip int
}

// An Order sorts records by the value at Field in the order of Compare, ascending or descending. In both
// directions records without a value come last, and equal ones are sorted by Born ascending. Field "" sorts
// by Born itself.
type Order struct {
	Field      string // dotted path
	Descending bool
}

// Page selects a part of an ordered list: at most Take records (nil: all) after the first Skip.
type Page struct {
	Skip int
	Take *int
}

// Within narrows an evaluation. Apart from the page it applies to main records. Links are bounded by Upto
// alone, because later records did not exist yet.
type Within struct {
	Page
	After hat.Seq        // only records with Seq > After, those new since a run
	Upto  hat.Seq        // only records with Seq <= Upto, the state that a run sees; 0: no bound
	NotBy hat.FunctionID // without what this Function wrote; zero: all
	Keep  func(hat.Record) bool
	// Attributes are conditions on the data beside the filters of the query.
	Attributes []Attribute
	// Hold bounds the bytes of data held for sorting; 0: DefaultHold. Lists that come in order are streamed
	// and hold next to nothing.
	Hold int64
	// Grow is called before memory for a sort is held, and with a negative number after it is freed; nil: not
	// called. Its error ends the evaluation, unwrapped.
	Grow func(bytes int64) error
}

// DefaultHold bounds the memory that one evaluation may hold for sorting.
const DefaultHold int64 = 256 << 20

// ErrTooMuch ends an evaluation that would have to hold more than Within.Hold for sorting.
var ErrTooMuch = errors.New("too much data to sort at once; use a limit")

// ErrDisorder says that a source broke its promise of order: an index does not agree with the data.
var ErrDisorder = errors.New("records come in the wrong order")

// A Row is one record of an answer.
type Row struct {
	Endpoint hat.Endpoint
	ID       hat.RecordID
	Seq      hat.Seq
	Born     hat.Seq
	Data     hat.Data // mapped; canonical
	Links    []Row    // without links of their own
}

// AppendJSON appends {"endpoint","recordId","data"[,"links"]}.
func (r Row) AppendJSON(b []byte) []byte {
	b = jsonb.AppendString(append(b, `{"endpoint":`...), r.Endpoint.String())
	b = jsonb.AppendString(append(b, `,"recordId":`...), r.ID.String())
	b = append(append(b, `,"data":`...), r.Data.JSON()...)
	for i, link := range r.Links {
		if i == 0 {
			b = append(b, `,"links":[`...)
		} else {
			b = append(b, ',')
		}
		b = link.AppendJSON(b)
	}
	if len(r.Links) > 0 {
		b = append(b, ']')
	}
	return append(b, '}')
}

// Counts counts what an evaluation found.
type Counts struct {
	Rows   int // yielded
	Links  int // yielded with them
	Hidden int // matched, but beyond the query's own limit
	// More is true if the evaluation stopped early, so that more records than Hidden may be hidden.
	More bool
}

// Evaluate evaluates a single property without a name; see Question.Evaluate.
func Evaluate(ctx context.Context, q PropertyQuery, src Source, within Within, yield func(Row) error) (Counts, error) {
	return Ask(map[string]PropertyQuery{"": q}, nil).Evaluate(ctx, "", src, within, yield)
}

// EvaluateBundle evaluates each property by itself, in order of names. A property without rows yields
// nothing, but is in Counts and in the answer.
func EvaluateBundle(ctx context.Context, b Bundle, src Source, within Within, yield func(property string, r Row) error) (map[string]Counts, error) {
	return Ask(b.Properties, nil).EvaluateAll(ctx, src, within, yield)
}

// EvaluateAll evaluates each property of the question by itself; see EvaluateBundle.
func (q *Question) EvaluateAll(ctx context.Context, src Source, within Within, yield func(property string, r Row) error) (map[string]Counts, error) {
	counts := make(map[string]Counts, len(q.properties))
	for _, name := range q.Names() {
		c, err := q.Evaluate(ctx, name, src, within, func(r Row) error { return yield(name, r) })
		counts[name] = c
		if err != nil {
			return counts, err
		}
	}
	return counts, nil
}

// A place holds the queries of a property on one endpoint, in their order.
type place struct {
	endpoint hat.Endpoint
	queries  []*query
}

// A query is a prepared EndpointQuery, for one goroutine at a time.
type query struct {
	wanted jsonb.Trie // the values that the tests read; the last one is the sort key if sorted
	tests  []test
	shared []int // for each test the number of its filter in the memo, or -1 if no other query has it; nil: none is shared
	values []string
	sorted bool
	filter []Filter
	field  string // the field to sort by, or ""
	mapper *mapper
	links  []*place
}

func places(queries []EndpointQuery, orderBy string, withLinks bool, m *meter) ([]*place, error) {
	var all []*place
	for _, q := range queries {
		if q.Endpoint.IsZero() {
			return nil, errors.New("a query has no endpoint")
		}
		compiled, err := newQuery(q, orderBy, withLinks, m)
		if err != nil {
			return nil, fmt.Errorf("query on %s: %w", q.Endpoint, err)
		}
		i := slices.IndexFunc(all, func(p *place) bool { return p.endpoint == q.Endpoint })
		if i < 0 {
			i = len(all)
			all = append(all, &place{endpoint: q.Endpoint})
		}
		all[i].queries = append(all[i].queries, compiled)
	}
	return all, nil
}

func newQuery(q EndpointQuery, orderBy string, withLinks bool, m *meter) (*query, error) {
	c := &query{filter: q.Filters}
	for i, f := range q.Filters {
		var words *dictionary
		if m != nil {
			words = m.known.words[f.Field]
			if n := m.known.number(f); n >= 0 {
				if c.shared == nil {
					c.shared = slices.Repeat([]int{-1}, len(q.Filters))
				}
				c.shared[i] = n
			}
		}
		t, err := f.compile(words)
		if err != nil {
			return nil, err
		}
		c.wanted.Add(jsonb.Path(f.Field), i)
		c.tests = append(c.tests, t)
	}
	if orderBy != "" {
		c.sorted, c.field = true, q.Mapping.sortField(orderBy)
		c.wanted.Add(jsonb.Path(c.field), len(c.tests))
	}
	c.values = make([]string, len(c.tests))
	if c.sorted {
		c.values = append(c.values, "")
	}
	var err error
	if c.mapper, err = q.Mapping.compileFor(m); err != nil {
		return nil, err
	}
	if withLinks {
		c.links, err = places(q.Links, "", false, m)
	}
	return c, err
}

// matches also returns the sort key, or "" if there is none.
func (q *query) matches(m *meter, text string) (key string, ok bool) {
	if len(q.values) == 0 {
		return "", true
	}
	shared := q.shared
	if len(text) < memoFrom {
		shared = nil
	}
	if shared != nil {
		if passes, all := q.known(m); !passes || all && !q.sorted {
			return "", passes
		}
	}
	q.wanted.Find(m.fuel(), text, q.values)
	for i, test := range q.tests {
		number := -1
		if shared != nil {
			number = shared[i]
		}
		passes, known := m.verdict(number)
		if !known {
			v := q.values[i]
			passes = v != "" && test(m, v)
			m.keep(number, passes)
		}
		if !passes {
			return "", false
		}
	}
	if q.sorted {
		key = q.values[len(q.values)-1]
	}
	return key, true
}

// known returns what earlier queries have found out about the current record: whether the known tests pass,
// and whether all tests are known.
func (q *query) known(m *meter) (passes, all bool) {
	all = true
	for _, n := range q.shared {
		passed, known := m.verdict(n)
		if known && !passed {
			return false, false
		}
		all = all && known
	}
	return true, all
}

// first returns the first query of the place that the current record matches, or nil.
func (p *place) first(m *meter, text string) (q *query, key string) {
	before := m.begins(filtering)
	for _, q := range p.queries {
		m.spend(costQuery)
		if key, ok := q.matches(m, text); ok {
			m.begins(before)
			return q, key
		}
	}
	m.begins(before)
	return nil, ""
}

// data applies the query's mapping to the record's data.
func (q *query) data(d hat.Data, scratch *[]byte) (hat.Data, error) {
	if q.mapper == nil {
		return d, nil
	}
	before := q.mapper.meter.begins(mapping)
	*scratch = q.mapper.apply((*scratch)[:0], d.JSON())
	q.mapper.meter.begins(before)
	if *q.mapper.tooLarge {
		return hat.Data{}, ErrMappedTooLarge
	}
	return hat.DataFromStore(*scratch), nil
}

// Lookup returns the value at a dotted field path of the data; see jsonb.ValueAt.
func Lookup(d hat.Data, field string) (hat.Data, bool) {
	text, ok := jsonb.ValueAt(d.JSON(), field)
	return hat.DataFromStoredText(strings.Clone(text)), ok
}
