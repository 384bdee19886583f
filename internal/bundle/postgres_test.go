package bundle

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"she/internal/hat"
	"she/internal/jsonb"
	"she/internal/pgtest"
)

// What filters, orders and pages of queries mean is PostgreSQL's. The packages jsonb, pgtime and textsearch have tests of
// their own against it.
func TestAgainstPostgres(t *testing.T) {
	conn := pgtest.Start(t)
	m := pgtest.Random{Rand: rand.New(rand.NewPCG(1, 15))}
	t.Run("find", func(t *testing.T) { testFind(t, conn, m) })
	t.Run("queries", func(t *testing.T) { testQueries(t, conn, m) })
}

func testFind(t *testing.T, conn *pgx.Conn, m pgtest.Random) {
	var texts, searches []string
	words := []string{"run", "running", "London", "the", "cities", "city", "happy", "well-known", "42", "known", "not"}
	for range 5000 {
		var text, search []string
		for range m.IntN(6) {
			text = append(text, pgtest.Pick(m, words...))
		}
		for range m.IntN(3) {
			search = append(search, pgtest.Pick(m, words...))
		}
		value := string(jsonb.AppendString(nil, strings.Join(text, " ")))
		switch m.IntN(4) {
		case 0:
			value = `["x",` + value + `,1]`
		case 1:
			value = `{"known":` + value + `}`
		}
		texts, searches = append(texts, value), append(searches, strings.Join(search, " "))
	}
	got := pgtest.Column(t, conn, `SELECT (to_tsvector('english', x::jsonb #>> '{}') @@ plainto_tsquery('english', q))::text FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS u(x, q, i) ORDER BY i`, texts, searches)
	found := 0
	for i := range texts {
		f := Filter{Field: "f", Transformation: Transformation{Kind: Searchable}, Operator: Operator{Kind: Find, Search: data(t, string(jsonb.AppendString(nil, searches[i])))}}
		ok, err := f.Match(data(t, `{"f":`+texts[i]+`}`))
		if err != nil {
			t.Fatal(err)
		}
		if ok != (got[i] == "true") {
			t.Fatalf("%q in %s: PostgreSQL says %s", searches[i], texts[i], got[i])
		}
		if ok {
			found++
		}
	}
	if found < 100 {
		t.Errorf("only %d found", found)
	}
}

// testQueries holds whole queries against their SQL: two filters, an order, a page, over two endpoints.
func testQueries(t *testing.T, conn *pgx.Conn, m pgtest.Random) {
	if _, err := conn.Exec(t.Context(), `CREATE TABLE records (born int PRIMARY KEY, endpoint text, data jsonb)`); err != nil {
		t.Fatal(err)
	}
	src := &memory{}
	for i := range 400 {
		r := hat.Record{ID: hat.NewRecordID(), Endpoint: endpoint(t, pgtest.Pick(m, "a/a", "b/b")), Born: hat.Seq(i + 1), Seq: hat.Seq(i + 1)}
		r.Data = data(t, fmt.Sprintf(`{"k":%s,"v":%s,"s":%s}`, m.Value(1), m.Value(2), m.Scalar()))
		if m.IntN(5) == 0 {
			r.Data = data(t, m.Value(2))
		}
		src.records = append(src.records, r)
		if _, err := conn.Exec(t.Context(), `INSERT INTO records VALUES ($1, $2, $3::jsonb)`, i+1, r.Endpoint.String(), r.Data.JSON()); err != nil {
			t.Fatal(err)
		}
	}
	for range 150 {
		low, high, part := data(t, m.Scalar()), data(t, m.Value(1)), data(t, m.Value(1))
		field, order, descending := pgtest.Pick(m, "k", "v", "s", "v.0", "k.a"), pgtest.Pick(m, "", "k", "v", "s", "v.0", "v.a"), m.IntN(2) == 0
		contained := pgtest.Pick(m, Contains, In)
		q := PropertyQuery{OrderBy: order, Limit: take(m.IntN(60)), Endpoints: []EndpointQuery{
			{Endpoint: endpoint(t, "a/a"), Filters: []Filter{{Field: field, Operator: Operator{Kind: Between, Lower: low, Upper: high}}}},
			{Endpoint: endpoint(t, "b/b"), Filters: []Filter{{Field: field, Operator: Operator{Kind: contained, Value: part}}}},
		}}
		direction := "ASC"
		if descending {
			q.Ordering, direction = "descending", "DESC"
		}
		by := "data #> string_to_array($8, '.') " + direction + " NULLS LAST, born"
		if order == "" {
			by = "born " + direction + ", $8::text"
		}
		operator := map[OperatorKind]string{Contains: "@>", In: "<@"}[contained]
		skip := m.IntN(5)
		sql := `SELECT born::text AS id FROM records WHERE endpoint = $1 AND data #> string_to_array($2, '.') BETWEEN $3::jsonb AND $4::jsonb
			OR endpoint = $5 AND data #> string_to_array($2, '.') ` + operator + ` $6::jsonb ORDER BY ` + by + ` LIMIT $7 OFFSET ` + strconv.Itoa(skip)
		want := pgtest.Column(t, conn, sql, "a/a", field, low.JSON(), high.JSON(), "b/b", part.JSON(), max(0, *q.Limit-skip), order)
		for _, src.ordered = range []bool{false, true} {
			var got []string
			if _, err := Evaluate(t.Context(), q, src, Within{Page: Page{Skip: skip}}, func(r Row) error {
				got = append(got, strconv.Itoa(int(r.Born)))
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got, want) {
				t.Fatalf("%s skip %d, ordered %v: PostgreSQL has %v, we have %v", q.append(nil), skip, src.ordered, want, got)
			}
		}
	}
}
