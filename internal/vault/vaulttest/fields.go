package vaulttest

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"she/internal/access"
	"she/internal/bundle"
	"she/internal/hat"
	"she/internal/jsonb"
	"she/internal/vault"
	"she/internal/vault/ledger"
)

// held is a source in memory with the records of a scan without hints. It makes no promises about order.
// The evaluator's answer over it is the reference for the answers of any store.
type held map[hat.Endpoint][]hat.Record

func (h held) Scan(_ context.Context, e hat.Endpoint, _ bundle.Want) bundle.Stream {
	return bundle.Stream{Records: func(yield func(hat.Record, error) bool) {
		for _, r := range h[e] {
			if !yield(r, nil) {
				return
			}
		}
	}}
}

func (h held) Linked(context.Context, hat.RecordID, hat.Endpoint) iter.Seq2[hat.Record, error] {
	return func(func(hat.Record, error) bool) {}
}

// CheckAnswers asks the vault random questions about the records of RandomText. It reports to t each answer
// that differs from that of a store without indexes.
func CheckAnswers(t testing.TB, v *ledger.Vault, c access.Caller, places []hat.Endpoint, random *rand.Rand, questions int) {
	t.Helper()
	ctx := context.Background()
	err := v.Read(ctx, c, func(src bundle.Source, upto hat.Seq) error {
		all := held{}
		for _, e := range places {
			for r, err := range src.Scan(ctx, e, bundle.Want{}).Records {
				if err != nil {
					return err
				}
				all[e] = append(all[e], r)
			}
		}
		for range questions {
			q, w := randomQuestion(t, random, places, upto)
			want, err := answer(ctx, q, all, w)
			if err != nil {
				return err
			}
			got, err := answer(ctx, q, src, w)
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("got %d rows, want %d, the same for %d; error %v: %s in %+v",
					len(got), len(want), common(got, want), err, bundle.MarshalProperties(map[string]bundle.PropertyQuery{"p": q}), w)
				return nil
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func common(a, b []hat.RecordID) (n int) {
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}

func answer(ctx context.Context, q bundle.PropertyQuery, src bundle.Source, w bundle.Within) (ids []hat.RecordID, err error) {
	_, err = bundle.Evaluate(ctx, q, src, w, func(r bundle.Row) error {
		ids = append(ids, r.ID)
		return nil
	})
	return ids, err
}

// RandomPaths are paths at which the records of RandomText have values of every kind, or none.
var RandomPaths = []string{"a", "b.c", "list.0", "long"}

var prefix = strings.Repeat("the same beginning ", 30) // longer than a store's keys may be

// RandomText returns a record that differs from those of other numbers in a field that no query uses.
func RandomText(random *rand.Rand, number int) string {
	fields := []string{fmt.Sprintf(`"number":%d`, number)}
	maybe := func(format string, value func(*rand.Rand) string) {
		if random.IntN(6) > 0 {
			fields = append(fields, fmt.Sprintf(format, value(random)))
		}
	}
	maybe(`"a":%s`, randomValue)
	maybe(`"b":{"c":%s}`, randomValue)
	maybe(`"list":[%s,7]`, randomValue)
	maybe(`"long":%s`, func(random *rand.Rand) string {
		if random.IntN(4) == 0 {
			return randomValue(random)
		}
		return fmt.Sprintf(`"%s%d"`, prefix, random.IntN(20))
	})
	return "{" + strings.Join(fields, ",") + "}"
}

func randomValue(random *rand.Rand) string {
	switch random.IntN(12) {
	case 0:
		return "null"
	case 1:
		return []string{"true", "false"}[random.IntN(2)]
	case 2, 3, 4, 5:
		return fmt.Sprint(random.IntN(12) - 4)
	case 6:
		return fmt.Sprintf("%d.%de%d", random.IntN(30)-15, random.IntN(100), random.IntN(8)-4)
	case 7, 8:
		return fmt.Sprintf(`"%s"`, string(rune('a'+random.IntN(5))))
	case 9:
		return []string{"[]", "[null]", "[1,2]", `["a",1]`, `[[]]`}[random.IntN(5)]
	case 10:
		return []string{"{}", `{"c":1}`, `{"c":[]}`}[random.IntN(3)]
	}
	return fmt.Sprintf(`"2024-0%d-01T00:00:00Z"`, 1+random.IntN(9))
}

func randomQuestion(t testing.TB, random *rand.Rand, places []hat.Endpoint, upto hat.Seq) (q bundle.PropertyQuery, w bundle.Within) {
	for range 1 + random.IntN(2) {
		e := bundle.EndpointQuery{Endpoint: places[random.IntN(len(places))]}
		for range random.IntN(3) {
			e.Filters = append(e.Filters, randomFilter(t, random))
		}
		q.Endpoints = append(q.Endpoints, e)
	}
	if random.IntN(4) > 0 {
		q.OrderBy = RandomPaths[random.IntN(len(RandomPaths))]
	}
	if random.IntN(2) == 0 {
		q.Ordering = "descending"
	}
	if random.IntN(2) == 0 {
		limit := random.IntN(40)
		q.Limit = &limit
	}
	if random.IntN(4) == 0 {
		w.After = hat.Seq(random.IntN(int(upto) + 1))
	}
	if random.IntN(4) == 0 {
		w.Upto = hat.Seq(1 + random.IntN(int(upto)+1))
	}
	if random.IntN(4) == 0 {
		take := random.IntN(50)
		w.Skip, w.Take = random.IntN(10), &take
		if random.IntN(2) == 0 {
			w.Skip = random.IntN(int(upto) + 10)
		}
	}
	return q, w
}

func randomFilter(t testing.TB, random *rand.Rand) bundle.Filter {
	value := func() hat.Data {
		if random.IntN(10) == 0 {
			return Data(t, fmt.Sprintf(`"%s%d"`, prefix, random.IntN(20)))
		}
		return Data(t, randomValue(random))
	}
	f := bundle.Filter{Field: RandomPaths[random.IntN(len(RandomPaths))]}
	switch random.IntN(4) {
	case 0:
		f.Operator = bundle.Operator{Kind: bundle.Contains, Value: value()}
	case 1:
		f.Operator = bundle.Operator{Kind: bundle.In, Value: Data(t, "["+value().JSON()+","+value().JSON()+"]")}
	case 2:
		f.Operator = bundle.Operator{Kind: bundle.In, Value: value()}
	default:
		bounds := []hat.Data{value(), value()}
		if random.IntN(8) > 0 {
			slices.SortFunc(bounds, func(a, b hat.Data) int { return jsonb.Compare(nil, a.JSON(), b.JSON()) })
		}
		f.Operator = bundle.Operator{Kind: bundle.Between, Lower: bounds[0], Upper: bounds[1]}
	}
	return f
}

// AskingFor returns a bundle that sorts by each of the paths at each of the endpoints.
func AskingFor(places []hat.Endpoint, paths ...string) map[string]bundle.PropertyQuery {
	all := map[string]bundle.PropertyQuery{}
	for _, path := range paths {
		q := bundle.PropertyQuery{OrderBy: path}
		for _, e := range places {
			q.Endpoints = append(q.Endpoints, bundle.EndpointQuery{Endpoint: e})
		}
		all[path] = q
	}
	return all
}

// ChangeAtRandom writes, replaces and erases some records of RandomText. number is the first free number;
// it returns the next one.
func ChangeAtRandom(t testing.TB, v *ledger.Vault, c access.Caller, places []hat.Endpoint, random *rand.Rand, number int) int {
	t.Helper()
	ctx := context.Background()
	fatal := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var drafts []hat.Draft
	for range 20 + random.IntN(60) {
		drafts = append(drafts, hat.Draft{Endpoint: places[random.IntN(len(places))], Data: Data(t, RandomText(random, number))})
		number++
	}
	_, err := v.Append(ctx, c, drafts, false)
	fatal(err)
	var stored []hat.Record
	fatal(v.Read(ctx, c, func(src bundle.Source, _ hat.Seq) error {
		for _, e := range places {
			for r, err := range src.Scan(ctx, e, bundle.Want{}).Records {
				if err != nil {
					return err
				}
				stored = append(stored, r)
			}
		}
		return nil
	}))
	random.Shuffle(len(stored), func(i, j int) { stored[i], stored[j] = stored[j], stored[i] })
	n := len(stored) / 10
	var changes []vault.Change
	for _, r := range stored[:n] {
		changes = append(changes, vault.Change{ID: r.ID, Data: Data(t, RandomText(random, number))})
		number++
	}
	_, err = v.Update(ctx, c, changes)
	fatal(err)
	var gone []hat.RecordID
	for _, r := range stored[n/2 : n+n/2] {
		gone = append(gone, r.ID)
	}
	fatal(v.Erase(ctx, c, gone))
	return number
}

// testFields declares the fields that queries sort and filter by: never, before there is data, after it, or
// in between. No answer depends on that.
func testFields(t *testing.T, fresh func(testing.TB) Opener) {
	for seed := range uint64(2) {
		t.Run(fmt.Sprintf("answers are the same with and without, %d", seed), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seed, 1))
			p := newPerson(t, fresh)
			places := []hat.Endpoint{Endpoint(p, "a/x"), Endpoint(p, "a/y")}
			store := func(k vault.DocumentKind, text []byte) {
				p.must(p.v.EditDocuments(p.ctx(), p.owner, func(e vault.Edit) error { return e.Put(k, "d", text) }))
			}
			g := p.grant("f", manual, "she/f", "a/x")
			number := 0
			for step := range 12 {
				number = ChangeAtRandom(p, p.v, p.owner, places, random, number)
				switch step {
				case 2:
					store(vault.Bundles, bundle.MarshalProperties(AskingFor(places, "a", "long")))
				case 4:
					g.Bundle.Properties = AskingFor(places, "b.c", "a", "list.0")
					p.enable(g)
				case 6:
					store(vault.Bundles, []byte(`{}`))
				case 7:
					f := bundle.Filter{Field: "long", Operator: bundle.Operator{Kind: bundle.In, Value: Data(p, `[1]`)}}
					store(vault.Combinators, bundle.MarshalCombinator([]bundle.EndpointQuery{
						{Endpoint: places[0], Filters: []bundle.Filter{f}}, {Endpoint: places[1], Filters: []bundle.Filter{f}},
					}))
				case 9:
					p.restart()
				case 10:
					_, err := p.v.Disable(p.ctx(), p.owner, g.Function)
					p.must(err)
				}
				CheckAnswers(p, p.v, p.owner, places, random, 15)
			}
			CheckHAT(t, p.v)
		})
	}

	t.Run("of equal values the older record comes first, those without a value come last", func(t *testing.T) {
		p := newPerson(t, fresh)
		p.enable(func() access.Grant {
			g := p.grant("f", manual, "she/f", "a/x")
			g.Bundle.Properties = AskingFor(g.Bundle.Endpoints(), "v")
			return g
		}())
		p.write("a/x", `{"v":2,"n":1}`, `{"n":2}`, `{"v":"b","n":3}`, `{"v":2,"n":4}`, `{"v":null,"n":5}`, `{"n":6}`, `{"v":[],"n":7}`)
		for _, c := range []struct{ ordering, want string }{
			{"", "7 5 3 1 4 2 6"}, {"descending", "1 4 3 5 7 2 6"},
		} {
			q := bundle.PropertyQuery{OrderBy: "v", Ordering: c.ordering,
				Endpoints: []bundle.EndpointQuery{{Endpoint: Endpoint(p, "a/x")}}}
			var got []string
			p.must(p.v.Read(p.ctx(), p.owner, func(src bundle.Source, _ hat.Seq) error {
				_, err := bundle.Evaluate(p.ctx(), q, src, bundle.Within{}, func(r bundle.Row) error {
					n, _ := bundle.Lookup(r.Data, "n")
					got = append(got, n.JSON())
					return nil
				})
				return err
			}))
			if s := strings.Join(got, " "); s != c.want {
				t.Errorf("%s: %s, want %s", cmp.Or(c.ordering, "ascending"), s, c.want)
			}
		}
	})
}
