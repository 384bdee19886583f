package jsonb

import (
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"she/internal/pgtest"
)

func canon(t testing.TB, text string) string {
	t.Helper()
	canonical, err := Canonical([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return canonical
}

// This package promises PostgreSQL's semantics, so PostgreSQL is the reference.
func TestAgainstPostgres(t *testing.T) {
	conn := pgtest.Start(t)
	m := pgtest.Random{Rand: rand.New(rand.NewPCG(1, 15))}
	t.Run("operators", func(t *testing.T) { testOperators(t, conn, m) })
	t.Run("paths", func(t *testing.T) { testPaths(t, conn, m) })
	t.Run("text", func(t *testing.T) { testText(t, conn, m) })
}

func testOperators(t *testing.T, conn *pgx.Conn, m pgtest.Random) {
	const n = 10_000
	var values [3][]string
	for range n {
		a, b, c := m.Value(3), m.Value(3), m.Value(2)
		if m.IntN(4) == 0 {
			b = a
		} else if m.IntN(3) == 0 {
			a, b = m.Value(1), m.Value(1)
		}
		values[0], values[1], values[2] = append(values[0], a), append(values[1], b), append(values[2], c)
	}
	got := pgtest.Column(t, conn, `SELECT format('%s %s %s %s %s', jsonb_cmp(a, b), a @> b, a <@ b, a BETWEEN b AND c, a)
		FROM (SELECT a::jsonb, b::jsonb, c::jsonb, i FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS u(a, b, c, i)) AS v ORDER BY i`, values[0], values[1], values[2])
	letter := map[bool]string{true: "t", false: "f"}
	for i := range n {
		a, b, c := canon(t, values[0][i]), canon(t, values[1][i]), canon(t, values[2][i])
		want := strings.SplitN(got[i], " ", 5)
		cmp := Compare(nil, a, b)
		pgCmp, _ := strconv.Atoi(want[0])
		between := Compare(nil, a, b) >= 0 && Compare(nil, a, c) <= 0
		ours := []string{want[0], letter[NewConstant(b).In(nil, a)], letter[NewConstant(b).Has(nil, a)], letter[between]}
		if sign(pgCmp) != cmp || !slices.Equal(ours, want[:4]) {
			t.Fatalf("a=%s b=%s c=%s: PostgreSQL says %v, we say %d %v", a, b, c, want[:4], cmp, ours)
		}
		if key := strings.Compare(string(AppendKey(nil, a)), string(AppendKey(nil, b))); key != cmp {
			t.Fatalf("a=%s b=%s: keys compare %d, values %d", a, b, key, cmp)
		}
		if stored := canon(t, want[4]); stored != a {
			t.Fatalf("PostgreSQL keeps %s as %s", a, want[4])
		}
	}
}

func sign(n int) int {
	switch {
	case n < 0:
		return -1
	case n > 0:
		return 1
	}
	return 0
}

func testPaths(t *testing.T, conn *pgx.Conn, m pgtest.Random) {
	const n = 10_000
	var values, paths []string
	for range n {
		var parts []string
		for range 1 + m.IntN(3) {
			parts = append(parts, pgtest.Pick(m, "a", "b", "aa", "0", "1", "2", "-1", "-2", "-9", "+1", " 1", "1 ", "01", "", "é", `a"b`, "1x", "99999999999", "-", "0x1"))
		}
		values, paths = append(values, m.Value(4)), append(paths, strings.Join(parts, "."))
	}
	// string_to_array returns an empty array for an empty text, but a dotted path has at least one part.
	got := pgtest.Column(t, conn, `SELECT (v::jsonb #> CASE p WHEN '' THEN '{""}' ELSE string_to_array(p, '.') END)::text FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS u(v, p, i) ORDER BY i`, values, paths)
	found := 0
	for i := range n {
		text, ok := ValueAt(canon(t, values[i]), paths[i])
		if ok != (got[i] != "") || ok && text != canon(t, got[i]) {
			t.Fatalf("%s at %q: PostgreSQL finds %q, we find %q", values[i], paths[i], got[i], text)
		}
		if ok {
			found++
		}
	}
	if found < n/50 {
		t.Errorf("only %d of %d paths lead anywhere: the test says little", found, n)
	}
}

// testText compares Text with the operator #>> '{}'. PostgreSQL writes no number with an exponent.
var exponent = regexp.MustCompile(`\de-?\d`)

func testText(t *testing.T, conn *pgx.Conn, m pgtest.Random) {
	var values []string
	for range 5_000 {
		if v := canon(t, m.Value(3)); !exponent.MatchString(v) {
			values = append(values, v)
		}
	}
	got := pgtest.Column(t, conn, `SELECT v::jsonb #>> '{}' FROM unnest($1::text[]) WITH ORDINALITY AS u(v, i) ORDER BY i`, values)
	for i, v := range values {
		if ours := Text(v); ours != got[i] {
			t.Fatalf("%s: PostgreSQL has the text %q, we have %q", v, got[i], ours)
		}
	}
}
