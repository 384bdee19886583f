package bundle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"she/internal/fuel"
	"she/internal/hat"
	"she/internal/jsonb"
	"she/internal/pgtest"
)

// asked evaluates all of a question and throws the rows away.
func asked(ctx context.Context, q *Question, src Source) error {
	_, err := q.EvaluateAll(ctx, src, Within{}, func(string, Row) error { return nil })
	return err
}

func properties(t testing.TB, text string) map[string]PropertyQuery {
	t.Helper()
	p, err := ParseProperties([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// often is a bundle of n properties, each made from its number.
func often(n int, property string) string {
	parts := make([]string, n)
	for i := range parts {
		parts[i] = fmt.Sprintf(`"p%d":`, i) + strings.ReplaceAll(property, "%d", fmt.Sprint(i))
	}
	return "{" + strings.Join(parts, ",") + "}"
}

const (
	plainOnA = `{"endpoints":[{"endpoint":"a/a"}]}`
	findOnA  = `{"endpoints":[{"endpoint":"a/a","filters":[{"field":"text","transformation":{"transformation":"searchable"},"operator":{"operator":"find","search":"%s"}}]}]}`
)

// prose is a text of about so many bytes.
func prose(bytes int) string {
	return strings.Repeat("The river was quiet before work and the light was lovely. ", bytes/58)
}

// A small bundle can't make a large record cost what it likes: what does too much with each byte ends with an error that
// says so, after work in proportion to the data.
func TestQuestionsThatCostTooMuch(t *testing.T) {
	var numbers, objects []string
	for i := range 100_000 {
		numbers = append(numbers, fmt.Sprint(i*2))
	}
	for i := range 30_000 {
		objects = append(objects, fmt.Sprintf(`{"a":%d,"b":[%d,{"c":[%d]}]}`, i, i, i))
	}
	nested := strings.Repeat("[", 200) + strings.Join(numbers, ",") + strings.Repeat("]", 200)
	wants := make([]string, 400) // all there, at the end
	for i := range wants {
		wants[i] = fmt.Sprintf(`{"a":%d}`, 29_500+i)
	}
	entries := make([]string, 900)
	for i := range entries {
		entries[i] = fmt.Sprintf(`"k%d":"v[%d]"`, i, i+99_000)
	}
	meeting := make([]string, 900)
	for i := range meeting {
		meeting[i] = fmt.Sprintf(`"k.x%d.y":"v","k.x%d":"v"`, i, i)
	}
	duplicates := make([]string, 2000)
	for i := range duplicates {
		duplicates[i] = fmt.Sprintf(`{"endpoint":"a/a","filters":[{"field":"m","operator":{"operator":"between","lower":%d,"upper":0}}]}`, i)
	}
	deep := make([]string, 100)
	for i := range deep {
		deep[i] = fmt.Sprintf(`{"field":"v%s","operator":{"operator":"contains","value":[%%d]}}`, strings.Repeat(".-1", i+90))
	}
	three := `{"text":"` + prose(3<<20) + `","n":1}`
	for name, c := range map[string]struct {
		record, bundle string
		work           string
	}{
		"900 searches for different words": {three, often(900, strings.ReplaceAll(findOnA, "%s", "nothing%d")), "filters"},
		"900 ranges":                       {three, often(900, `{"endpoints":[{"endpoint":"a/a","filters":[{"field":"n","operator":{"operator":"between","lower":%d,"upper":9999}}]}]}`), "reading"},
		"900 times the same":               {three, often(900, plainOnA), "reading"},
		"2000 queries of one property":     {three, `{"p":{"endpoints":[` + strings.Join(duplicates, ",") + `]}}`, "filters"},
		"an array held against objects": {`{"v":[` + strings.Join(objects, ",") + `]}`,
			`{"p":{"endpoints":[{"endpoint":"a/a","filters":[{"field":"v","operator":{"operator":"contains","value":[` +
				strings.Join(wants, ",") + `]}}]}]}}`, "filters"},
		"many indices of a long array": {`{"v":[` + strings.Join(numbers, ",") + `]}`,
			often(60, `{"endpoints":[{"endpoint":"a/a","mapping":{`+strings.Join(entries, ",")+`}}]}`), "mappings"},
		"destinations that meet": {`{"v":{` + strings.ReplaceAll(strings.Join(numbers[:30_000], `":1,"`), "%", "") + `":1}}`,
			`{"p":{"endpoints":[{"endpoint":"a/a","mapping":{` + strings.Join(meeting[:450], ",") + `}}]}}`, "mappings"},
		"indices from the end, deep": {`{"v":` + nested + `}`, often(3, `{"endpoints":[{"endpoint":"a/a","filters":[`+strings.Join(deep, ",")+`]}],"limit":1%d}`), "filters"},
	} {
		t.Run(name, func(t *testing.T) {
			record := c.record
			if name == "destinations that meet" {
				record = `{"v":{"` + strings.TrimPrefix(record, `{"v":{`)
			}
			m := many(t, 1, func(int) string { return record })
			q := Ask(properties(t, c.bundle), nil)
			err := asked(t.Context(), q, m)
			var fuel *FuelError
			if !errors.As(err, &fuel) {
				t.Fatalf("got %v after %d units for %d bytes", err, q.Used(), len(record))
			}
			if most := int64(fuelFloor + fuelTimes*(costRecord+len(record)) + 64*len(record)); q.Used() > most {
				t.Errorf("it ended after %d units, %d were allowed", q.Used(), most)
			}
			if !strings.Contains(fuel.Error(), c.work) || !strings.Contains(fuel.Error(), "fewer properties") {
				t.Errorf("it says %q, which doesn't name %s", fuel, c.work)
			}
			// What is refused once is refused again, and nothing of the first time is left over.
			if again := asked(t.Context(), Ask(properties(t, c.bundle), nil), m); again == nil || again.Error() != err.Error() {
				t.Errorf("the second time it says %v", again)
			}
		})
	}
}

// Nothing runs out because there is much.
func TestLargeHATsNeverRunOut(t *testing.T) {
	const n = 1_000_000
	e, other := endpoint(t, "a/a"), endpoint(t, "b/b")
	records := make(pairs, n)
	for i := range records {
		records[i] = hat.Record{ID: hat.NewRecordID(), Endpoint: e, Data: hat.DataFromStore(fmt.Appendf(nil, `{"n":%d,"text":"ran along river %d"}`, i*7919%n, i)),
			Seq: hat.Seq(i + 1), Born: hat.Seq(i + 1)}
	}
	for name, text := range map[string]string{
		"all":      `{"p":` + plainOnA + `}`,
		"sorted":   `{"p":{"endpoints":[{"endpoint":"a/a"}],"orderBy":"n"}}`,
		"searched": `{"p":` + strings.ReplaceAll(findOnA, "%s", "rivers") + `}`,
		"linked":   `{"p":{"endpoints":[{"endpoint":"a/a","links":[{"endpoint":"b/b"}]}]}}`,
		"mapped, several times": often(12, `{"endpoints":[{"endpoint":"a/a","mapping":{"a.b":"n","t":"text"},
			"filters":[{"field":"n","operator":{"operator":"between","lower":%d,"upper":10}}]}],"orderBy":"n","limit":5}`),
	} {
		records := records
		if name != "all" && name != "sorted" {
			records = records[:20_000]
		}
		n := len(records)
		q := Ask(properties(t, text), nil)
		rows := 0
		if _, err := q.EvaluateAll(t.Context(), records.with(other), Within{Hold: 1 << 40}, func(string, Row) error { rows++; return nil }); err != nil || rows == 0 {
			t.Errorf("%s: %d rows, %v", name, rows, err)
		}
		if allowed := fuelTimes * int64(costRecord+30) * int64(n); name != "linked" && q.Used() > allowed/4 {
			t.Errorf("%s: %d units of %d are used", name, q.Used(), allowed)
		}
	}
}

// pairs is a source in which each record has a partner at another endpoint, which is larger.
type pairs []hat.Record

type paired struct {
	bare
	at      hat.Endpoint
	partner hat.Record
}

func (p pairs) with(at hat.Endpoint) *paired {
	return &paired{bare(p), at, hat.Record{Endpoint: at, Data: hat.DataFromStore([]byte(`{"photo":"` + strings.Repeat("x", 60_000) + `"}`)), Born: hat.Seq(len(p))}}
}

func (p *paired) Linked(context.Context, hat.RecordID, hat.Endpoint) iter.Seq2[hat.Record, error] {
	return func(yield func(hat.Record, error) bool) {
		p.partner.Born++
		p.partner.ID = hat.NewRecordID()
		yield(p.partner, nil)
	}
}

// turns counts the questions to a pace, and ends or cancels the evaluation at one of them.
type turns struct {
	asked  int
	units  int64
	at     int
	cancel func()
	err    error
}

func (p *turns) Turn(_ context.Context, units int64) error {
	p.units += units
	if p.asked++; p.asked != p.at {
		return nil
	}
	if p.cancel != nil {
		p.cancel()
	}
	return p.err
}

// Inside one large record an evaluation that is cancelled goes on for no more than a slice, whatever it is at.
func TestCancelledInsideARecord(t *testing.T) {
	var keys []string
	for i := range 200_000 {
		keys = append(keys, fmt.Sprintf(`{"k%d":[%d]}`, i, i))
	}
	array := "[" + strings.Join(keys, ",") + "]"
	for name, c := range map[string]struct{ record, query string }{
		"a search": {`{"text":"` + prose(9<<20) + `"}`, strings.ReplaceAll(findOnA, "%s", "nothing")},
		"an array held against another": {`{"v":` + array + `}`, `{"endpoints":[{"endpoint":"a/a","filters":[{"field":"v","operator":{"operator":"contains","value":` +
			"[" + strings.Join(keys[199_000:199_900], ",") + "]" + `}}]}]}`},
		"an inner mapping": {`{"v":` + array + `}`, `{"endpoints":[{"endpoint":"a/a","mapping":{"x[]":{"source":"v[]","mappings":{"a":"k1","b.c":"k2","b.d":"k3"}}}}]}`},
	} {
		m := many(t, 1, func(int) string { return c.record })
		ctx, cancel := context.WithCancel(t.Context())
		pace := &turns{at: 3, cancel: cancel}
		q := Ask(map[string]PropertyQuery{"p": property(t, c.query)}, pace)
		if err := asked(ctx, q, m); !errors.Is(err, context.Canceled) {
			t.Fatalf("%s: got %v", name, err)
		}
		// A value is passed over as a whole before the next look.
		if after := q.Used() - pace.units; after > fuel.Slice+2*int64(len(c.record)) {
			t.Errorf("%s: %d units were used after it was cancelled", name, after)
		}
		if pace.asked != 3 {
			t.Errorf("%s: the pace was asked %d times", name, pace.asked)
		}
		cancel()
	}
	// The pace itself may end it, also in the middle of a sort, and its error comes out as it is.
	long := strings.Repeat("x", 2_000)
	m := many(t, 5_000, func(i int) string { return fmt.Sprintf(`{"n":"%s%d"}`, long, i*7919%5_000) })
	over := errors.New("over")
	for at := range 4 {
		q := Ask(map[string]PropertyQuery{"p": property(t, `{"endpoints":[{"endpoint":"a/a"},{"endpoint":"b/b"}],"orderBy":"n"}`)}, &turns{at: at + 1, err: over})
		if err := asked(t.Context(), q, m); err != over {
			t.Errorf("turn %d: got %v", at+1, err)
		}
	}
}

// Merged streams run as coroutines; an evaluation that ends in one leaves nothing behind (TestMain looks for goroutines).
func TestFuelRunsOutInMergedStreams(t *testing.T) {
	m := many(t, 1, func(int) string { return `{"text":"` + prose(1<<20) + `"}` })
	m.ordered = true
	q := Ask(properties(t, often(900, `{"endpoints":[{"endpoint":"a/a"},{"endpoint":"b/b"}]}`)), nil)
	var fuel *FuelError
	if err := asked(t.Context(), q, m); !errors.As(err, &fuel) {
		t.Errorf("got %v", err)
	}
}

// What several properties have in common is worked out once, and the answer is the same.
func TestEqualFiltersAreWorkedOutOnce(t *testing.T) {
	text := `{"text":"` + prose(100_000) + `","n":1}`
	m := many(t, 3, func(i int) string { return strings.Replace(text, `"n":1`, fmt.Sprintf(`"n":%d`, i), 1) })
	once := Ask(properties(t, often(1, strings.ReplaceAll(findOnA, "%s", "river"))), nil)
	if err := asked(t.Context(), once, m); err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string]string{
		"the same filter":          often(100, strings.ReplaceAll(findOnA, "%s", "nothing")),
		"other words, same text":   often(100, strings.ReplaceAll(findOnA, "%s", "nothing%d river")),
		"the same beside another":  often(100, strings.Replace(strings.ReplaceAll(findOnA, "%s", "nothing"), `"filters":[`, `"filters":[{"field":"n","operator":{"operator":"between","lower":-%d,"upper":99}},`, 1)),
		"the same among the links": often(100, strings.Replace(strings.ReplaceAll(findOnA, "%s", "nothing"), `{"endpoint":"a/a"`, `{"endpoint":"a/a","links":[{"endpoint":"b/b"}]`, 1)),
	} {
		q := Ask(properties(t, b), nil)
		if err := asked(t.Context(), q, m); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		// Each property reads the records again, which costs little beside their texts.
		words := int64(20 * 3 * len(text))
		if read := int64(100*3) * int64(3*len(text)+costRecord+costScan); q.Used() > read+2*words {
			t.Errorf("%s: %d units, reading is %d and the words once %d", name, q.Used(), read, words)
		}
	}
}

// With a memo and without, an evaluation answers the same.
func TestMemoChangesNoAnswer(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	words := strings.Fields("running rivers quiet light lovely work and the path 42 node.js a-b")
	some := func() string { return words[r.IntN(len(words))] }
	for range 60 {
		var records []string
		for range 1 + r.IntN(8) {
			records = append(records, fmt.Sprintf(`{"n":%d,"text":"%s %s %s","k":"%s"}`, r.IntN(4), strings.Repeat(some()+" ", r.IntN(300)), some(), some(), some()))
		}
		m := many(t, len(records), func(i int) string { return records[i] })
		all := map[string]PropertyQuery{}
		for i := range 12 {
			var filters []string
			for range r.IntN(3) {
				filters = append(filters, []string{
					fmt.Sprintf(`{"field":"text","transformation":{"transformation":"searchable"},"operator":{"operator":"find","search":"%s %s"}}`, some(), some()),
					fmt.Sprintf(`{"field":"n","operator":{"operator":"between","lower":%d,"upper":%d}}`, r.IntN(2), 1+r.IntN(3)),
					fmt.Sprintf(`{"field":"k","operator":{"operator":"in","value":["%s","%s"]}}`, some(), some()),
				}[r.IntN(3)])
			}
			all[fmt.Sprint("p", i)] = property(t, `{"endpoints":[{"endpoint":"a/a","filters":[`+strings.Join(filters, ",")+`]}],"orderBy":"n"}`)
		}
		together := map[string][]Row{}
		if _, err := Ask(all, nil).EvaluateAll(t.Context(), m, Within{}, func(p string, r Row) error { together[p] = append(together[p], r); return nil }); err != nil {
			t.Fatal(err)
		}
		for name, p := range all {
			var alone []Row
			if _, err := Evaluate(t.Context(), p, m, Within{}, func(r Row) error { alone = append(alone, r); return nil }); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(alone, together[name]) {
				t.Fatalf("%s of %s: %d rows alone, %d together", MarshalProperties(all), name, len(alone), len(together[name]))
			}
		}
	}
}

// A memo forgets rather than grow.
func TestMemoIsBounded(t *testing.T) {
	m := newMeter(nil)
	m.begin(t.Context())
	for i := range 1_000_000 {
		m.record = hat.Seq(i)
		m.keep(i%3, true)
		if m.known.size > maxMemo || len(m.known.verdicts)*memoEntry > maxMemo {
			t.Fatalf("%d verdicts are kept", len(m.known.verdicts))
		}
	}
	if passes, known := m.verdict(999_999 % 3); !passes || !known {
		t.Error("the last verdict is forgotten")
	}
}

// Attributes are looked for in one pass, however many there are and however deep the data nests.
func TestManyAttributesInDeepData(t *testing.T) {
	deep := strings.Repeat(`{"k":[`, 120) + `"x","` + strings.Repeat("y", 1<<20) + `"` + strings.Repeat(`]}`, 120)
	m := many(t, 1, func(int) string { return deep })
	var all []Attribute
	for i := range MaxAttributes {
		all = append(all, Attribute{fmt.Sprint("a", i), []string{"x"}})
	}
	q := Ask(map[string]PropertyQuery{"p": property(t, plainOnA)}, nil)
	if _, err := q.Evaluate(t.Context(), "p", m, Within{Attributes: all}, func(Row) error { return errors.New("it is there") }); err != nil {
		t.Fatal(err)
	}
	if q.Used() > 4*int64(len(deep)) {
		t.Errorf("%d units for %d bytes", q.Used(), len(deep))
	}
	if !(Attribute{"k", []string{"x"}}).Match(m.records[0].Data) {
		t.Error("what is deep down isn't found")
	}
}

// The one pass answers as a walk over decoded data does.
func TestAttributesAgreeWithDecodedData(t *testing.T) {
	mk := pgtest.Random{Rand: rand.New(rand.NewPCG(5, 6))}
	for range 3_000 {
		d := data(t, `{"a":`+mk.Value(3)+`,"b":{"a":`+mk.Value(2)+`,"é\"":[`+mk.Value(1)+`]}}`)
		var v any
		if err := json.Unmarshal(d.Bytes(), &v); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"a", "b", "k", `é"`, "x"} {
			values := []string{"a", "x", ""}
			if got, want := (Attribute{name, values}).Match(d), anywhere(v, name, values); got != want {
				t.Fatalf("%s in %s: got %v", name, d.JSON(), got)
			}
			// Several hold exactly if each does.
			other := Attribute{"b.a", []string{"a", "x"}}
			if got := newAttributes([]Attribute{{name, values}, other}).match(nil, d.JSON()); got != (anywhere(v, name, values) && other.Match(d)) {
				t.Fatalf("%s and b.a in %s: got %v", name, d.JSON(), got)
			}
		}
	}
}

// anywhere is an attribute's meaning, written down a second time.
func anywhere(v any, name string, values []string) bool {
	one := func(v any) bool {
		s, ok := v.(string)
		for _, value := range values {
			if ok && s == value {
				return true
			}
		}
		return false
	}
	switch v := v.(type) {
	case map[string]any:
		for key, inner := range v {
			if key == name {
				list, _ := inner.([]any)
				for _, e := range append(list, inner) {
					if one(e) {
						return true
					}
				}
			}
			if anywhere(inner, name, values) {
				return true
			}
		}
	case []any:
		for _, inner := range v {
			if anywhere(inner, name, values) {
				return true
			}
		}
	}
	return false
}

// What an error says of a place in a document doesn't grow with the document.
func TestPathsInErrorsAreCut(t *testing.T) {
	name := strings.Repeat("n", 50)
	text := strings.Repeat(`{"`+name+`":`, 200) + `[1,{"a":}]` + strings.Repeat(`}`, 200)
	v := value{text: strings.Replace(text, `"a":`, `"a":1`, 1), path: "obj"}
	for jsonb.KindOf(v.text) == jsonb.Object {
		f, err := v.object()
		if err != nil {
			t.Fatal(err)
		}
		for _, inner := range f.values {
			v = inner
		}
		if len(v.path) > 1_200 {
			t.Fatalf("a path of %d bytes", len(v.path))
		}
	}
	if !strings.HasSuffix(v.path, "…") {
		t.Errorf("a path that was cut ends with %s", v.path[len(v.path)-20:])
	}
}

// seeing is a source without what a bundle could show, as a run over what was granted later reads.
type seeing struct {
	Source
	shows func(hat.Record) bool
}

func (s seeing) Scan(ctx context.Context, e hat.Endpoint, want Want) Stream {
	stream := s.Source.Scan(ctx, e, want)
	all := stream.Records
	stream.Records = func(yield func(hat.Record, error) bool) {
		for r, err := range all {
			if (err != nil || !s.shows(r)) && !yield(r, err) {
				return
			}
		}
	}
	return stream
}

// What a source asks about a former grant counts as well, and a large HAT does not run out of it.
func TestSightUsesFuel(t *testing.T) {
	plain := properties(t, `{"p":`+plainOnA+`}`)
	ask := func(former string, src Source) (int64, error) {
		t.Helper()
		q := Ask(plain, nil)
		shows, err := q.Matcher(Bundle{Properties: properties(t, former)})
		if err != nil {
			t.Fatal(err)
		}
		return q.Used(), asked(t.Context(), q, seeing{src, shows})
	}
	large := many(t, 1, func(int) string { return `{"text":"` + prose(1<<20) + `"}` })
	var fuel *FuelError
	if used, err := ask(often(900, strings.ReplaceAll(findOnA, "%s", "nothing%d")), large); !errors.As(err, &fuel) {
		t.Errorf("got %v after %d units", err, used)
	}
	lot := many(t, 200_000, func(i int) string { return fmt.Sprintf(`{"n":%d,"text":"%s"}`, i, prose(120)) })
	former := often(20, `{"endpoints":[{"endpoint":"a/a","filters":[{"field":"n","operator":{"operator":"between","lower":-%d,"upper":1000000}}]}]}`)
	if used, err := ask(former, bare(lot.records)); err != nil {
		t.Errorf("got %v after %d units", err, used)
	}
}
