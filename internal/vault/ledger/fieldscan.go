package ledger

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"iter"
	"slices"
	"strings"

	"she/internal/bundle"
	"she/internal/hat"
	"she/internal/jsonb"
)

// Figures for choosing how to read a Scan. Reading a record costs a few µs, whether it is picked by number or
// read in vain.
const (
	// maxPicked is how many records a filter may pick. For more, reading all in order is as good.
	maxPicked = 1 << 16
	// maxPickedLazily replaces maxPicked if the reader will stop early in a stream that is in order already.
	maxPickedLazily = 1 << 12
	// maxCut bounds the bytes of data of records with cut keys, which must be held for sorting.
	maxCut = 4 << 20
	// maxTie and maxTieBytes bound the records with equal keys that are held to reverse their order.
	maxTie      = 64
	maxTieBytes = 1 << 20
	// minSkip is from how many skipped records on it pays to search for the key after them.
	minSkip = 100
)

// A way is how to read a Scan. The zero way uses no index of fields: it reads by creation or, for what is
// new, by change.
type way struct {
	field   int64      // number of the field whose index is read; 0: none
	ordered bool       // read in the order of the field; else read what is in ranges in order of creation
	ranges  []keyRange // if ordered: one range, or none for all
}

// choose picks the way. Records new since a run are read by change, unless they are more than half of all.
// Else it uses the filter that lets the fewest records pass, if those are few, and otherwise the index of the
// sort field.
func (s *source) choose(ctx context.Context, e hat.Endpoint, want bundle.Want) (way, error) {
	if !s.hasFields || want.After > 0 && s.upto-want.After <= want.After {
		return way{}, nil
	}
	type ready struct {
		n   int64
		cut int64
	}
	known := map[string]ready{}
	err := s.conn.Each(ctx, `SELECT path, n, cut FROM fields WHERE endpoint = (SELECT n FROM endpoints WHERE name = ?)
		AND NOT gone AND built >= behind`, []any{e.String()}, func(scan func(...any) error) error {
		var path string
		var f ready
		err := scan(&path, &f.n, &f.cut)
		known[path] = f
		return err
	})
	if err != nil || len(known) == 0 {
		return way{}, err
	}
	var order way
	if want.Order != nil && want.Order.Field != "" {
		if f := known[want.Order.Field]; f.n != 0 && f.cut <= maxCut {
			order = way{field: f.n, ordered: true}
		}
	}
	most := maxPicked
	if want.About > 0 && (order.field != 0 || byCreation(want)) {
		most = maxPickedLazily
	}
	var picked way
	for _, filter := range want.Filters {
		f, ranges := known[filter.Field], keyRanges(filter)
		if f.n == 0 || ranges == nil {
			continue
		}
		if f.n == order.field && len(ranges) == 1 {
			order.ranges = []keyRange{overlap(order.ranges, ranges[0])}
		}
		n, err := s.countKeys(ctx, f.n, ranges, most+1)
		if err != nil {
			return way{}, err
		}
		if n <= most {
			most, picked = n, way{field: f.n, ranges: ranges}
		}
	}
	if picked.field == 0 || picked.field == order.field && order.ranges != nil {
		return order, nil
	}
	return picked, nil
}

func overlap(before []keyRange, r keyRange) keyRange {
	for _, b := range before {
		if bytes.Compare(b.from, r.from) > 0 {
			r.from = b.from
		}
		if bytes.Compare(b.to, r.to) < 0 {
			r.to = b.to
		}
	}
	return r
}

// bornIn returns a query for the records with a key in the ranges.
func bornIn(field int64, ranges []keyRange) (query string, args []any) {
	query = strings.Repeat(" UNION ALL SELECT born FROM field_keys WHERE field = ? AND key BETWEEN ? AND ?", len(ranges))
	for _, r := range ranges {
		args = append(args, field, r.from, r.to)
	}
	return strings.TrimPrefix(query, " UNION ALL "), args
}

// countKeys counts keys, up to limit.
func (s *source) countKeys(ctx context.Context, field int64, ranges []keyRange, limit int) (n int, err error) {
	query, args := bornIn(field, ranges)
	err = s.conn.Get(ctx, "SELECT count(*) FROM ("+query+" LIMIT ?) found", append(args, limit), &n)
	return n, err
}

// within bounds records by change. The plus stops SQLite from reading by change and then sorting everything.
func within(want bundle.Want) (condition string, args []any) {
	if want.After > 0 {
		condition, args = " AND +r.seq > ?", append(args, int64(want.After))
	}
	if want.Upto > 0 {
		condition, args = condition+" AND +r.seq <= ?", append(args, int64(want.Upto))
	}
	return condition, args
}

// pickedQuery reads what the way picks, in order of creation.
func pickedQuery(w way, want bundle.Want) (query string, args []any) {
	inner, args := bornIn(w.field, w.ranges)
	bounds, more := within(want)
	query = recordColumns + "WHERE r.born IN (" + inner + ")" + bounds + " ORDER BY r.born"
	if byCreation(want) && want.Order.Descending {
		query += " DESC"
	}
	return query, append(args, more...)
}

// orderedQuery reads the keys of a field from from (included) to before (excluded). Records with equal keys
// come in the same direction.
func orderedQuery(field int64, from, before []byte, descending bool, want bundle.Want) (query string, args []any) {
	bounds, more := within(want)
	query = "SELECT " + recordFields + `, k.key FROM field_keys k CROSS JOIN records r ON r.born = k.born
		WHERE k.field = ? AND k.key >= ? AND k.key < ?` + bounds
	if descending {
		query += " ORDER BY k.key DESC, k.born DESC"
	} else {
		query += " ORDER BY k.key, k.born"
	}
	return query, append([]any{field, from, before}, more...)
}

// after returns the least key after this one.
func after(key []byte) []byte { return append(slices.Clip(key), 0) }

// Keys of values lie between firstKey and beyondKeys.
var firstKey, beyondKeys = []byte{0x01}, []byte{0xff}

// inOrder reads the records in the wanted order by a field: all, or those in the way's range. It holds at
// most the records of one key. It must compare them if the key was cut; the way was chosen because those are
// few. In descending order it must reverse equal ones; if they are many, it reads them again in the other
// direction.
func (s *source) inOrder(ctx context.Context, w way, want bundle.Want) bundle.Stream {
	from, before := firstKey, beyondKeys
	for _, r := range w.ranges {
		from, before = r.from, after(r.to)
	}
	skipped := 0
	if w.ranges == nil && want.Skip >= minSkip {
		var err error
		if from, before, skipped, err = s.skip(ctx, w.field, want); err != nil {
			return bundle.Stream{Records: failing(err)}
		}
	}
	return bundle.Stream{InOrder: true, Skipped: skipped, Records: func(yield func(hat.Record, error) bool) {
		o := ordering{s, ctx, w.field, want, yield}
		read := o.ascending
		if want.Order.Descending {
			read = o.descending
		}
		if read(from, before) && w.ranges == nil {
			o.ascending(noKey, firstKey)
		}
	}}
}

// skip returns between which keys to read if the first want.Skip records are not needed, and how many records
// that leaves out. It leaves out whole keys only, because the records of one key may still have to be sorted.
func (s *source) skip(ctx context.Context, field int64, want bundle.Want) (from, before []byte, skipped int, err error) {
	from, before = firstKey, beyondKeys
	at := "SELECT key FROM field_keys WHERE field = ? AND key >= ? ORDER BY key, born LIMIT 1 OFFSET ?"
	if want.Order.Descending {
		at = "SELECT key FROM field_keys WHERE field = ? AND key >= ? ORDER BY key DESC, born DESC LIMIT 1 OFFSET ?"
	}
	passed, bounds := "SELECT count(*) FROM field_keys WHERE field = ? AND key >= ? AND key < ?", []any{field, firstKey, beyondKeys}
	var key []byte
	err = s.conn.Get(ctx, at, []any{field, firstKey, want.Skip}, &key)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		// Only records without a value are left. They come after all keys in both directions.
		from, before, err = beyondKeys, beyondKeys, nil
	case want.Order.Descending:
		before = after(key)
		passed, bounds = "SELECT count(*) FROM field_keys WHERE field = ? AND key > ?", []any{field, key}
	default:
		from, bounds[2] = key, key
	}
	if err == nil {
		err = s.conn.Get(ctx, passed, bounds, &skipped)
	}
	return from, before, skipped, err
}

// An ordering is one reading of a field. Its methods return false to stop.
type ordering struct {
	*source
	ctx   context.Context
	field int64
	want  bundle.Want
	yield func(hat.Record, error) bool
}

// rows yields the records between two keys, each with its key.
func (o ordering) rows(from, before []byte, descending bool) iter.Seq2[keyed, error] {
	return func(yield func(keyed, error) bool) {
		query, args := orderedQuery(o.field, from, before, descending, o.want)
		var key []byte
		for r, err := range o.records(o.ctx, query, args, &key) {
			if !yield(keyed{r, key}, err) {
				return
			}
		}
	}
}

type keyed struct {
	hat.Record
	key []byte
}

func (k keyed) cut() bool { return len(k.key) == maxKey }

func (o ordering) ascending(from, before []byte) bool {
	var tie []keyed // records of a cut key
	for k, err := range o.rows(from, before, false) {
		if err != nil {
			o.yield(hat.Record{}, err)
			return false
		}
		if len(tie) > 0 && !bytes.Equal(tie[0].key, k.key) {
			if !o.settle(tie) {
				return false
			}
			tie = tie[:0]
		}
		if k.cut() {
			tie = append(tie, k)
		} else if !o.yield(k.Record, nil) {
			return false
		}
	}
	return o.settle(tie)
}

func (o ordering) descending(from, before []byte) bool {
	for before != nil {
		var (
			tie  []keyed
			size int
			many []byte // a key with more records than may be held
		)
		for k, err := range o.rows(from, before, true) {
			if err != nil {
				o.yield(hat.Record{}, err)
				return false
			}
			if len(tie) > 0 && !bytes.Equal(tie[0].key, k.key) {
				if !o.settle(tie) {
					return false
				}
				tie, size = tie[:0], 0
			}
			tie, size = append(tie, k), size+k.Data.Len()
			if !k.cut() && len(tie) > 1 && (len(tie) > maxTie || size > maxTieBytes) {
				many = k.key
				break
			}
		}
		if many == nil {
			return o.settle(tie)
		}
		if !o.ascending(many, after(many)) {
			return false
		}
		before = many
	}
	return true
}

// settle yields the records of one key in their order.
func (o ordering) settle(tie []keyed) bool {
	if len(tie) > 1 {
		o.sort(tie)
	}
	for _, k := range tie {
		if !o.yield(k.Record, nil) {
			return false
		}
	}
	return true
}

func (o ordering) sort(tie []keyed) {
	if !tie[0].cut() {
		slices.SortFunc(tie, func(a, b keyed) int { return cmp.Compare(a.Born, b.Born) })
		return
	}
	values := make(map[hat.Seq]hat.Data, len(tie))
	for _, k := range tie {
		values[k.Born], _ = bundle.Lookup(k.Data, o.want.Order.Field)
	}
	slices.SortFunc(tie, func(a, b keyed) int {
		c := jsonb.Compare(nil, values[a.Born].JSON(), values[b.Born].JSON())
		if o.want.Order.Descending {
			c = -c
		}
		return cmp.Or(c, cmp.Compare(a.Born, b.Born))
	})
}

// A keyRange is all keys between two, both included.
type keyRange struct{ from, to []byte }

// maxRanges bounds the ranges made of one filter.
const maxRanges = 64

// keyRanges returns ranges that contain the keys of all values that pass the filter, and perhaps others; nil:
// the index does not help. A record without a value passes no filter.
func keyRanges(f bundle.Filter) []keyRange {
	if f.Transformation.Kind != "" && f.Transformation.Kind != bundle.Identity {
		return nil
	}
	var ranges []keyRange
	add := func(from, to string) {
		low, _ := cutKey(jsonb.AppendKeyUpto(nil, from, maxKey))
		high, _ := cutKey(jsonb.AppendKeyUpto(nil, to, maxKey))
		ranges = append(ranges, keyRange{low, high})
	}
	const leastArray, beyondArrays = "[null]", "{}" // bounds of the keys of non-empty arrays
	o := f.Operator
	switch o.Kind {
	case bundle.Between:
		if o.Lower.IsZero() || o.Upper.IsZero() {
			return nil
		}
		add(o.Lower.JSON(), o.Upper.JSON())
	case bundle.Contains:
		value := o.Value.JSON()
		if !isScalar(value) {
			return nil
		}
		add(value, value)
		add(leastArray, beyondArrays)
	case bundle.In:
		value := o.Value.JSON()
		switch {
		case isScalar(value):
			add(value, value)
		case value != "" && value[0] == '[':
			var elements []json.RawMessage
			if json.Unmarshal([]byte(value), &elements) != nil || len(elements) > maxRanges {
				return nil
			}
			for _, e := range elements {
				if isScalar(string(e)) {
					add(string(e), string(e))
				}
			}
			add("[]", "[]")
			add(leastArray, beyondArrays)
		}
	}
	return ranges
}

// isScalar takes canonical JSON text.
func isScalar(text string) bool { return text != "" && text[0] != '[' && text[0] != '{' }
