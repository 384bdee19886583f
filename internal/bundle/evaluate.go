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

// A Source is where records come from: one consistent state of one HAT. While a Scan is being read, Linked and further
// Scans may be called. Errors end the evaluation and come out of it wrapped.
type Source interface {
	// Scan answers the records at exactly this endpoint, each once. want says what will be kept of them; the source may
	// leave out any record want excludes and need not leave out a single one.
	Scan(ctx context.Context, e hat.Endpoint, want Want) Stream
	// Linked yields the records at e that share a group with id, not id itself, in order of creation, each once.
	Linked(ctx context.Context, id hat.RecordID, e hat.Endpoint) iter.Seq2[hat.Record, error]
}

// A Stream is what a Scan answers.
type Stream struct {
	Records iter.Seq2[hat.Record, error]
	// InOrder promises that Records come in the order of Want.Order. Without it they come in order of creation (Born
	// ascending). An evaluation over ordered streams stops as soon as it has what it needs, and fails with ErrDisorder
	// if the promise turns out to be broken.
	InOrder bool
	// Skipped is how many records were left out at the beginning of a stream in order: at most Want.Skip.
	Skipped int
}

// Want says what an evaluation will keep of a Scan. All of it is a hint: the evaluator checks every record itself.
type Want struct {
	After   hat.Seq        // Seq > After
	Upto    hat.Seq        // Seq <= Upto; 0: no bound
	NotBy   hat.FunctionID // not written by this Function; zero: by anybody
	Filters []Filter       // passes all of these
	Order   *Order         // will be sorted so; nil: no one order serves all queries on the endpoint
	// About so many records are needed if they come in order; 0: all. It is for choosing how to read ahead, not for
	// cutting the stream: a record the source lets through may still fail here.
	About int
	// Skip is how many of the first records of a stream in order nobody needs to see, if there is nothing but the order
	// to decide which they are. A source that leaves some of these out says so in Stream.Skipped; one that reads from
	// another and leaves out more than that must not pass Skip on.
	Skip int
}

// An Order sorts records by the value at Field in the order of Compare, ascending or descending, those without a value
// last in both directions; equal ones by Born ascending in both directions. Field "" sorts by Born itself, ascending or
// descending.
type Order struct {
	Field      string // dotted path
	Descending bool
}

// Page cuts a piece out of an ordered list: at most Take records (nil: all) after the first Skip.
type Page struct {
	Skip int
	Take *int
}

// Within narrows an evaluation. All but the page concerns main records only; links are bounded by Upto alone, as
// records that were not there yet.
type Within struct {
	Page
	After hat.Seq        // only records with Seq > After: what is new since a run
	Upto  hat.Seq        // only records with Seq <= Upto: the snapshot of a run; 0: no bound
	NotBy hat.FunctionID // without what this Function wrote; zero: all
	Keep  func(hat.Record) bool
	// Attributes are conditions on the data beside the filters of the query.
	Attributes []Attribute
	// Hold bounds the bytes of data an evaluation holds while it sorts; 0: DefaultHold. Lists that come in order are
	// streamed and hold next to nothing.
	Hold int64
	// Grow is asked for the memory of a sort before it is held, and told with a negative number what is held no more; nil:
	// nobody is. Its error ends the evaluation, unwrapped.
	Grow func(bytes int64) error
}

// DefaultHold is the bound on what one evaluation holds in memory to sort it.
const DefaultHold int64 = 256 << 20

// ErrTooMuch is what an evaluation ends with when it would have to hold more than Within.Hold to sort.
var ErrTooMuch = errors.New("too much data to sort at once; use a limit")

// ErrDisorder says that a source broke the promise of its order: an index that doesn't agree with the data.
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

// Counts says what an evaluation came across.
type Counts struct {
	Rows   int // yielded
	Links  int // yielded with them
	Hidden int // matched, but beyond the query's own limit
	// More says that Hidden is what is known: the evaluation stopped before the end, and there may be more.
	More bool
}

// Evaluate asks a question of one property, which has no name; see Question.Evaluate.
func Evaluate(ctx context.Context, q PropertyQuery, src Source, within Within, yield func(Row) error) (Counts, error) {
	return Ask(map[string]PropertyQuery{"": q}, nil).Evaluate(ctx, "", src, within, yield)
}

// EvaluateBundle evaluates each property by itself, in order of their names. A property without rows yields nothing; it
// is in the answer all the same, as it is in Counts.
func EvaluateBundle(ctx context.Context, b Bundle, src Source, within Within, yield func(property string, r Row) error) (map[string]Counts, error) {
	return Ask(b.Properties, nil).EvaluateAll(ctx, src, within, yield)
}

// EvaluateAll evaluates each property of the question by itself, as EvaluateBundle does.
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

// A place is all there is to ask of one endpoint: queries on it in the order of the property.
type place struct {
	endpoint hat.Endpoint
	queries  []*query
}

// A query is an EndpointQuery ready to be asked, by one goroutine at a time.
type query struct {
	wanted jsonb.Trie // the values the tests read, and last the sort key if sorted
	tests  []test
	shared []int // by test: the number the memo has for the filter; -1: nobody else has it. nil: none is shared
	values []string
	sorted bool
	filter []Filter
	field  string // to sort by; "" for none
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

// matches answers the sort key too, "" if there is none.
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

// known is what is known of the record at hand from queries before: that it fails one of the tests, or that it passes
// those that are known, which may be all.
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

// first is the first query of the place that the record at hand matches, nil if none does.
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

// data is what the query's mapping makes of the record's data.
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
