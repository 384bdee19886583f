package textsearch

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"she/internal/pgtest"
)

// This package promises PostgreSQL's semantics, so PostgreSQL is the reference.
func TestAgainstPostgres(t *testing.T) {
	conn := pgtest.Start(t)
	testWords(t, conn, pgtest.Random{Rand: rand.New(rand.NewPCG(1, 15))})
}

var wordList = strings.Fields(`the The running runs RUN runner shoes London cities happily generously dying lies news inning
	skis sky national rational organization organisation connected connections don't it's I'm can't O'Neil naïve café Ärger
	straße über Москва 東京 résumé 5 42 3.14 -7 +8 1e5 2.5E-3 1.2.3 10km 4x4 b2b covid19 R2D2 state-of-the-art well-known
	Foo-Bar x-ray e-mail mother-in-law 12-foo foo-12 a-1b 1-2-3 2024-03-01 09:15:00 and/or either/or C++ C# .NET node.js
	foo@example.com a.b@c-d.co.uk http://example.com/a/b?c=d#e https://x.y example.com www.example.com:8080/path /usr/bin/x
	~/file.txt ./a ../b ... .. . - -- & &amp; < > <b>bold</b> <br/> "quoted" 'single' (paren) [x] {y} a_b _c d_ $100 50% @home
	#tag x=y a;b c:d e,f g|h \back ^ * yes! no? über-cool naïve-x don’t “smart” — … 🏃 run🏃ning æther ﬁnd İstanbul ÀÉÎ`)

func text(m pgtest.Random) string {
	var words []string
	for range 1 + m.IntN(7) {
		words = append(words, wordList[m.IntN(len(wordList))])
	}
	return strings.Join(words, pgtest.Pick(m, " ", " ", " ", ", ", "\n", ". ", "", "-", ".", "/"))
}

// testWords checks that texts of words, numbers and hyphens are split exactly as PostgreSQL splits them,
// and other texts nearly always.
func testWords(t *testing.T, conn *pgx.Conn, m pgtest.Random) {
	var plain, wild []string
	letters := []string{"a", "b", "run", "ing", "1", "22", "-", "-", " ", " ", "é", "the", "S", "'", ",", "+"}
	for range 8000 {
		var b strings.Builder
		for range 1 + m.IntN(9) {
			b.WriteString(pgtest.Pick(m, letters...))
		}
		plain = append(plain, b.String())
	}
	plain = append(plain, strings.Fields(`the The running runs RUN runner shoes London cities happily generously dying lies news
		inning skis sky national organization connected connections covid19 R2D2 state-of-the-art mother-in-law 12-foo foo-12`)...)
	for range 8000 {
		wild = append(wild, text(m))
	}
	different := func(texts []string) (n int) {
		got := pgtest.Column(t, conn, `SELECT array_to_json(tsvector_to_array(to_tsvector('english', x)))::text FROM unnest($1::text[]) WITH ORDINALITY AS u(x, i) ORDER BY i`, texts)
		for i, text := range texts {
			var want []string
			if err := json.Unmarshal([]byte(got[i]), &want); err != nil {
				t.Fatal(err)
			}
			ours := slices.Compact(slices.Sorted(Lexemes(nil, text)))
			slices.Sort(want)
			if !slices.Equal(ours, want) {
				if n++; n <= 25 {
					t.Logf("%q: PostgreSQL has %q, we have %q", text, want, ours)
				}
			}
		}
		return n
	}
	if n := different(plain); n > 0 {
		t.Errorf("%d of %d plain texts are cut differently", n, len(plain))
	}
	n := different(wild)
	t.Logf("%d of %d wild texts are cut differently", n, len(wild))
	if n > len(wild)/500 {
		t.Errorf("%d of %d wild texts are cut differently", n, len(wild))
	}
}
