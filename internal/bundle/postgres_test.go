package bundle

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"she/internal/hat"
	"she/internal/jsonb"
)

// postgres starts a PostgreSQL that lives as long as the test, on a socket in a directory of its own, and connects to
// it. The semantics promised here are PostgreSQL's, so that it is the one to ask.
func postgres(t *testing.T) *pgx.Conn {
	bin := postgresBin()
	if bin == "" {
		const missing = "no PostgreSQL server found: apt-get install postgresql-15"
		if os.Getenv("SHE_TEST_ALL") == "1" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
	// Not t.TempDir: the server runs as another user, who could not pass through it.
	dir, err := os.MkdirTemp("", "pg")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	attr := unprivileged(t, dir)
	run := func(name string, args ...string) *exec.Cmd {
		cmd := exec.Command(filepath.Join(bin, name), args...)
		cmd.Dir, cmd.SysProcAttr = dir, attr
		cmd.Env = []string{"PATH=" + bin + ":/usr/bin:/bin", "LC_ALL=C.UTF-8", "TZ=UTC"}
		return cmd
	}
	data := filepath.Join(dir, "data")
	if out, err := run("initdb", "-D", data, "-U", "she", "--auth=trust", "--encoding=UTF8", "--lc-collate=C", "--lc-ctype=C.UTF-8", "--no-sync").CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	// pg_ctl -w returns when the server takes connections.
	start := run("pg_ctl", "-D", data, "-w", "-t", "60", "-l", filepath.Join(dir, "log"), "start", "-o",
		"-c listen_addresses='' -c fsync=off -c timezone=UTC -c datestyle=ISO,MDY -k "+dir)
	if err := start.Run(); err != nil {
		log, _ := os.ReadFile(filepath.Join(dir, "log"))
		t.Fatalf("pg_ctl start: %v\n%s", err, log)
	}
	t.Cleanup(func() {
		if out, err := run("pg_ctl", "-D", data, "-w", "-m", "immediate", "stop").CombinedOutput(); err != nil {
			t.Errorf("pg_ctl stop: %v\n%s", err, out)
		}
	})
	conn, err := pgx.Connect(t.Context(), "host="+dir+" user=she dbname=postgres")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func postgresBin() string {
	var dirs []string
	if out, err := exec.Command("pg_config", "--bindir").Output(); err == nil {
		dirs = append(dirs, strings.TrimSpace(string(out)))
	}
	known, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	slices.Reverse(known)
	dirs = append(append(dirs, known...), "/usr/local/pgsql/bin", "/usr/local/bin", "/opt/homebrew/bin")
	for _, dir := range dirs {
		if _, err := os.Stat(filepath.Join(dir, "initdb")); err == nil {
			if _, err := os.Stat(filepath.Join(dir, "pg_ctl")); err == nil {
				return dir
			}
		}
	}
	return ""
}

// unprivileged gives the directory to a user PostgreSQL is willing to run as: it refuses root.
func unprivileged(t *testing.T, dir string) *syscall.SysProcAttr {
	if os.Getuid() != 0 {
		return nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		if err := os.Chown(dir, uid, gid); err != nil {
			t.Fatal(err)
		}
		return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	}
	t.Fatal("neither the user postgres nor nobody exists")
	return nil
}

// column collects the rows of one column of text, "" for NULL.
func column(t *testing.T, conn *pgx.Conn, sql string, args ...any) []string {
	t.Helper()
	rows, err := conn.Query(t.Context(), sql, args...)
	if err != nil {
		t.Fatal(err)
	}
	got, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (string, error) {
		var s *string
		err := row.Scan(&s)
		if s == nil {
			s = new(string)
		}
		return *s, err
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// A maker makes random JSON out of few parts, so that values often meet.
type maker struct{ *rand.Rand }

func pick[T any](m maker, from ...T) T { return from[m.IntN(len(from))] }

func (m maker) scalar() string {
	return pick(m, `null`, `true`, `false`, `0`, `1`, `10`, `1.5`, `-1`, `-10`, `-1.5`, `9.5`, `0.1`, `1e2`, `1E-3`, `1.50`,
		`12345678901234567890`, `12345678901234567891`, `1e30`, `-1e30`, `1e-30`, `1e300`, `0.00001`, `123.456`,
		`""`, `"a"`, `"b"`, `"ab"`, `"A"`, `"10"`, `"é"`, `"z"`, `"𝄞"`, `"a\"b"`, `"a\\b"`, `"a\nb"`, `"\u0041"`, `"~"`, `"\u0001"`)
}

func (m maker) value(depth int) string {
	if depth == 0 || m.IntN(3) == 0 {
		return m.scalar()
	}
	n := m.IntN(4)
	parts := make([]string, n)
	if m.IntN(2) == 0 {
		for i := range parts {
			parts[i] = m.value(depth - 1)
		}
		return "[" + strings.Join(parts, ",") + "]"
	}
	for i := range parts {
		parts[i] = pick(m, `"a"`, `"b"`, `"aa"`, `"0"`, `"1"`, `""`, `"é"`, `"a\"b"`) + ":" + m.value(depth-1)
	}
	return "{" + strings.Join(parts, ",") + "}"
}

func TestAgainstPostgres(t *testing.T) {
	conn := postgres(t)
	m := maker{rand.New(rand.NewPCG(1, 15))}
	t.Run("operators", func(t *testing.T) { testOperators(t, conn, m) })
	t.Run("paths", func(t *testing.T) { testPaths(t, conn, m) })
	t.Run("dates", func(t *testing.T) { testDates(t, conn, m) })
	t.Run("seconds", func(t *testing.T) { testSeconds(t, conn, m) })
	t.Run("words", func(t *testing.T) { testWords(t, conn, m) })
	t.Run("find", func(t *testing.T) { testFind(t, conn, m) })
	t.Run("queries", func(t *testing.T) { testQueries(t, conn, m) })
}

func testOperators(t *testing.T, conn *pgx.Conn, m maker) {
	const n = 10_000
	var values [3][]string
	for range n {
		a, b, c := m.value(3), m.value(3), m.value(2)
		if m.IntN(4) == 0 {
			b = a
		} else if m.IntN(3) == 0 {
			a, b = m.value(1), m.value(1)
		}
		values[0], values[1], values[2] = append(values[0], a), append(values[1], b), append(values[2], c)
	}
	got := column(t, conn, `SELECT format('%s %s %s %s %s', jsonb_cmp(a, b), a @> b, a <@ b, a BETWEEN b AND c, a)
		FROM (SELECT a::jsonb, b::jsonb, c::jsonb, i FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS u(a, b, c, i)) AS v ORDER BY i`, values[0], values[1], values[2])
	letter := map[bool]string{true: "t", false: "f"}
	for i := range n {
		a, b, c := data(t, values[0][i]), data(t, values[1][i]), data(t, values[2][i])
		holds := func(o Operator) string {
			passes, err := o.compile(nil)
			if err != nil {
				t.Fatal(err)
			}
			return letter[passes(nil, a.JSON())]
		}
		want := strings.SplitN(got[i], " ", 5)
		cmp := jsonb.Compare(nil, a.JSON(), b.JSON())
		pgCmp, _ := strconv.Atoi(want[0])
		ours := []string{want[0], holds(Operator{Kind: Contains, Value: b}), holds(Operator{Kind: In, Value: b}), holds(Operator{Kind: Between, Lower: b, Upper: c})}
		if sign(pgCmp) != cmp || !slices.Equal(ours, want[:4]) {
			t.Fatalf("a=%s b=%s c=%s: PostgreSQL says %v, we say %d %v", a.JSON(), b.JSON(), c.JSON(), want[:4], cmp, ours)
		}
		if key := strings.Compare(string(jsonb.AppendKey(nil, a.JSON())), string(jsonb.AppendKey(nil, b.JSON()))); key != cmp {
			t.Fatalf("a=%s b=%s: keys compare %d, values %d", a.JSON(), b.JSON(), key, cmp)
		}
		if stored := data(t, want[4]); stored != a {
			t.Fatalf("PostgreSQL keeps %s as %s", a.JSON(), want[4])
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

func testPaths(t *testing.T, conn *pgx.Conn, m maker) {
	const n = 10_000
	var values, paths []string
	for range n {
		var parts []string
		for range 1 + m.IntN(3) {
			parts = append(parts, pick(m, "a", "b", "aa", "0", "1", "2", "-1", "-2", "-9", "+1", " 1", "1 ", "01", "", "é", `a"b`, "1x", "99999999999", "-", "0x1"))
		}
		values, paths = append(values, m.value(4)), append(paths, strings.Join(parts, "."))
	}
	// string_to_array makes nothing of an empty text; a dotted path has at least one part.
	got := column(t, conn, `SELECT (v::jsonb #> CASE p WHEN '' THEN '{""}' ELSE string_to_array(p, '.') END)::text FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS u(v, p, i) ORDER BY i`, values, paths)
	found := 0
	for i := range n {
		text, ok := jsonb.ValueAt(data(t, values[i]).JSON(), paths[i])
		if ok != (got[i] != "") || ok && text != data(t, got[i]).JSON() {
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

var dateTexts = strings.Split(`2024-03-01T09:15:00Z
2024-03-01T09:15:00z
2024-03-01t09:15:00.123456789Z
2024-03-03T07:05:00+02:00
2024-03-03T07:05:00+0200
2024-03-03T07:05:00+02
2024-03-03T07:05:00-11:30
2024-03-03T07:05:00 -0330
2024-03-03T07:05:00 +02:30:15
2024-03-03T07:05:00+15:59
2024-03-03T07:05:00+16:00
2024-03-03T07:05:00+123
2024-03-03 07:05
2024-03-03 07:05:59.9999999
2024-03-03 24:00:00
2024-03-03 24:00:01
2024-03-03 23:59:60
2024-03-03 23:60:00
2024-03-03 25:00
2024-03-03
2024-3-3
2024-03
2024
202
20240303
20240303T070500
20240303T070500Z
20240303T0705
20240303 070500.5
240303
240303 0705
20240303T0705+01
2024-060
2024.060
2024.366
2023.366
2024-366 10:00
2024-W09-5
3/1/2024
3/1/24
3/1/70
3/1/69
13/1/2024
1/13/2024 9:15 PM
1/13/2024 12:00 AM
1/13/2024 12:00 PM
1/13/2024 0:30 PM
1/13/2024 13:00 PM
1.3.2024
1-3-2024
01-Mar-2024
1-mar-24
1 Mar 2024
1 March 2024 10:00
Mar 1 2024
Mar 1, 2024
March 1, 2024 9:15 PM
march 1st 2024
Mar-01-2024
2024-Mar-01
2024 Mar 1
Fri, 01 Mar 2024 09:15:00 GMT
Fri, 01 Mar 2024 09:15:00 +0000
Fri, 1 Mar 2024 09:15:00 -0500
Fri Mar 01 09:15:00 2024
Fri Mar 01 09:15:00 +0000 2024
Fri Mar  1 09:15:00 UTC 2024
Friday, March 01, 2024
Sun Mar 01 2024
Fri Mar 01 2024 09:15:00 GMT+0000 (Coordinated Universal Time)
2024-03-01 09:15:00 UTC
2024-03-01 09:15:00 EST
2024-03-01 09:15:00 PDT
2024-03-01 09:15:00 CET
2024-03-01 09:15:00 CEST
2024-03-01 09:15:00 BST
2024-03-01 09:15:00 JST
2024-03-01 09:15:00 IST
2024-03-01 09:15:00 AEST
2024-03-01 09:15:00 XYZ
0044-03-15 BC
44-03-15 BC
0001-01-01
0001-01-01 BC
0000-01-01
4714-11-24 BC
4714-11-23 BC
4713-01-01 BC
10000-01-01
12024-03-01T00:00:00Z
294246-12-31 23:59:59.999999
294276-12-31 23:59:59.9999999
294277-01-01
294276-12-31 23:59:59-01
1969-12-31T23:59:59.25Z
1582-10-10
1900-02-29
2000-02-29
2023-02-29
2024-02-29
2024-04-31
2024-13-01
2024-00-10
2024-01-00
99-12-31
00-01-01
31-12-99

 2024-03-01 
2024-03-01,10:00
2024-03-01T10:00:00,5
2024-03-01T10
2024-03-01 10
2024-03-01 1000
2024-03-01 10:00:00 AD
2024-03-01 10:00 AM Z
10:00
10:00 2024-03-01
10:00:00.5 2024-03-01 Z
T10:00 2024-03-01
2024-03-01T
2024-03-01 T 10:00
2024-03-01 at 10:00
noon
tomorrowx
not a date
note
12
1709284500
1709284500.5
20240303101500
2024-03-01T09:15:00ZZ
2024-03-01 2024-03-02
2024-03-01T09:15 10:00
2024/03/01
2024/03/01 10:00:00+00
2024-03/01
03-2024
2024-03-01_10:00
2024-03-01T09:15:00.Z
2024-03-01T09:15:.5Z
2024-03-01T:15
2024-03-01T9:5
2024-03-01T09:15:00.000+0000
2024-03-01T09-05
20240301T091500-05
2024-03-01 091500-05
2024-03-01 09:15:00 -05:00 Z
2024-03-01 10:61
2024-03-01 10:15.5
+2024-03-01
-2024-03-01
2024--03-01
2024-03-01-
2024-03-01-05
may 5 2024
5 may
may 2024
Thu 2024-03-01
2024-03-01 Thursday 10:00
2024-03-01 sept
Sept 5, 2024
sep 5, 2024 5pm
sep 5, 2024 5:00pm
sep 5, 2024 5:00 p.m.
2024-03-01T00:00:00é
２０２４-03-01`, "\n")

func testDates(t *testing.T, conn *pgx.Conn, m maker) {
	if _, err := conn.Exec(t.Context(), `CREATE FUNCTION readable(t text) RETURNS timestamptz LANGUAGE plpgsql IMMUTABLE AS
		$$ BEGIN RETURN t::timestamptz; EXCEPTION WHEN others THEN RETURN NULL; END $$`); err != nil {
		t.Fatal(err)
	}
	texts := slices.Clone(dateTexts)
	for zone := range timeZones {
		texts = append(texts, "2024-03-01 09:15:00 "+zone)
	}
	for range 3000 {
		// Dates made of pieces, good and bad.
		year, month, day := pick(m, "2024", "1999", "24", "0900", "12024"), pick(m, "3", "12", "02", "Feb", "november", "13"), pick(m, "1", "29", "31", "07")
		sep := pick(m, "-", "/", " ", ".", "")
		day = strings.Join(pick(m, []string{year, month, day}, []string{month, day, year}, []string{day, month, year}), sep)
		clock := pick(m, "", "", "T10:15", " 10:15:30", " 10:15:30.123", "T101530", " 1:5 pm", " 11:59:59.999999 am")
		zone := pick(m, "", "", "Z", " UTC", "+01:30", "-0500", " EST", "+14", " BC")
		texts = append(texts, day+clock+zone)
		texts = append(texts, date(m.Int64N(400_000_000_000)-200_000_000_000))
	}
	columns := make([]string, len(dateParts))
	for i, part := range dateParts {
		columns[i] = fmt.Sprintf("to_jsonb(extract(%s FROM ts))::text", part)
	}
	got := column(t, conn, `SELECT concat_ws(' ', `+strings.Join(columns, ",")+`) FROM (SELECT readable(t) AS ts, i FROM unnest($1::text[]) WITH ORDINALITY AS u(t, i)) AS v ORDER BY i`, texts)
	read := 0
	for i, text := range texts {
		at, ok := parseTime(text)
		if ok != (got[i] != "") {
			t.Errorf("%q: PostgreSQL reads %q, we read %v", text, got[i], ok)
			continue
		}
		if !ok {
			continue
		}
		read++
		checkParts(t, text, at, got[i])
	}
	if read < len(texts)/2 {
		t.Errorf("only %d of %d texts are dates", read, len(texts))
	}
}

func checkParts(t *testing.T, text string, at instant, want string) {
	t.Helper()
	for i, value := range strings.Fields(want) {
		ours, ok := at.part(dateParts[i])
		if w := data(t, value).JSON(); !ok || ours != w {
			t.Errorf("%q: PostgreSQL's %s is %s, ours %s", text, dateParts[i], w, ours)
		}
	}
}

// date writes seconds since 1970.
func date(at int64) string {
	days := floorDiv(at, 86_400)
	y, mo, d := civilFromDays(days)
	s := at - days*86_400
	era := ""
	if y <= 0 {
		y, era = 1-y, " BC"
	}
	return fmt.Sprintf("%04d-%02d-%02d %02d:%02d:%02d%s", y, mo, d, s/3600, s/60%60, s%60, era)
}

func testSeconds(t *testing.T, conn *pgx.Conn, m maker) {
	var numbers []string
	for range 3000 {
		n := strconv.FormatInt(m.Int64N(1<<pick(m, 20, 31, 34, 38, 43))-1<<31, 10)
		if m.IntN(2) == 0 {
			n += "." + strconv.Itoa(m.IntN(1_000_000))
		}
		numbers = append(numbers, n)
	}
	numbers = append(numbers, "0", "-0.5", "-1.25", "1709284500", "1709284500123", "9224318016000", "-210866803200", "-210866803201", "1e30", "1e3", "0.0000005", "0.0000015")
	columns := make([]string, len(dateParts))
	for i, part := range dateParts {
		columns[i] = fmt.Sprintf("to_jsonb(extract(%s FROM ts))::text", part)
	}
	if _, err := conn.Exec(t.Context(), `CREATE FUNCTION seconds(t text) RETURNS timestamptz LANGUAGE plpgsql IMMUTABLE AS
		$$ BEGIN RETURN to_timestamp(t::double precision); EXCEPTION WHEN others THEN RETURN NULL; END $$`); err != nil {
		t.Fatal(err)
	}
	got := column(t, conn, `SELECT concat_ws(' ', `+strings.Join(columns, ",")+`) FROM (SELECT seconds(t) AS ts, i FROM unnest($1::text[]) WITH ORDINALITY AS u(t, i)) AS v ORDER BY i`, numbers)
	for i, n := range numbers {
		at, ok := readTimeNumber(data(t, n).JSON())
		if ok != (got[i] != "") {
			t.Errorf("%s: PostgreSQL reads %q, we read %v", n, got[i], ok)
		} else if ok {
			checkParts(t, n, at, got[i])
		}
	}
}

var wordList = strings.Fields(`the The running runs RUN runner shoes London cities happily generously dying lies news inning
	skis sky national rational organization organisation connected connections don't it's I'm can't O'Neil naïve café Ärger
	straße über Москва 東京 résumé 5 42 3.14 -7 +8 1e5 2.5E-3 1.2.3 10km 4x4 b2b covid19 R2D2 state-of-the-art well-known
	Foo-Bar x-ray e-mail mother-in-law 12-foo foo-12 a-1b 1-2-3 2024-03-01 09:15:00 and/or either/or C++ C# .NET node.js
	foo@example.com a.b@c-d.co.uk http://example.com/a/b?c=d#e https://x.y example.com www.example.com:8080/path /usr/bin/x
	~/file.txt ./a ../b ... .. . - -- & &amp; < > <b>bold</b> <br/> "quoted" 'single' (paren) [x] {y} a_b _c d_ $100 50% @home
	#tag x=y a;b c:d e,f g|h \back ^ * yes! no? über-cool naïve-x don’t “smart” — … 🏃 run🏃ning æther ﬁnd İstanbul ÀÉÎ`)

func (m maker) text() string {
	var words []string
	for range 1 + m.IntN(7) {
		words = append(words, wordList[m.IntN(len(wordList))])
	}
	return strings.Join(words, pick(m, " ", " ", " ", ", ", "\n", ". ", "", "-", ".", "/"))
}

// testWords holds texts of words, numbers and hyphens to be cut exactly as PostgreSQL cuts them, and everything else
// nearly always.
func testWords(t *testing.T, conn *pgx.Conn, m maker) {
	var plain, wild []string
	letters := []string{"a", "b", "run", "ing", "1", "22", "-", "-", " ", " ", "é", "the", "S", "'", ",", "+"}
	for range 8000 {
		var b strings.Builder
		for range 1 + m.IntN(9) {
			b.WriteString(pick(m, letters...))
		}
		plain = append(plain, b.String())
	}
	plain = append(plain, strings.Fields(`the The running runs RUN runner shoes London cities happily generously dying lies news
		inning skis sky national organization connected connections covid19 R2D2 state-of-the-art mother-in-law 12-foo foo-12`)...)
	for range 8000 {
		wild = append(wild, m.text())
	}
	different := func(texts []string) (n int) {
		got := column(t, conn, `SELECT array_to_json(tsvector_to_array(to_tsvector('english', x)))::text FROM unnest($1::text[]) WITH ORDINALITY AS u(x, i) ORDER BY i`, texts)
		for i, text := range texts {
			var want []string
			for e := range jsonb.Elements(data(t, got[i]).JSON()) {
				want = append(want, jsonb.Unquoted(e))
			}
			ours := slices.Compact(slices.Sorted(lexemes(text)))
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

func testFind(t *testing.T, conn *pgx.Conn, m maker) {
	var texts, searches []string
	words := []string{"run", "running", "London", "the", "cities", "city", "happy", "well-known", "42", "known", "not"}
	for range 5000 {
		var text, search []string
		for range m.IntN(6) {
			text = append(text, pick(m, words...))
		}
		for range m.IntN(3) {
			search = append(search, pick(m, words...))
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
	got := column(t, conn, `SELECT (to_tsvector('english', x::jsonb #>> '{}') @@ plainto_tsquery('english', q))::text FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS u(x, q, i) ORDER BY i`, texts, searches)
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
func testQueries(t *testing.T, conn *pgx.Conn, m maker) {
	if _, err := conn.Exec(t.Context(), `CREATE TABLE records (born int PRIMARY KEY, endpoint text, data jsonb)`); err != nil {
		t.Fatal(err)
	}
	src := &memory{}
	for i := range 400 {
		r := hat.Record{ID: hat.NewRecordID(), Endpoint: endpoint(t, pick(m, "a/a", "b/b")), Born: hat.Seq(i + 1), Seq: hat.Seq(i + 1)}
		r.Data = data(t, fmt.Sprintf(`{"k":%s,"v":%s,"s":%s}`, m.value(1), m.value(2), m.scalar()))
		if m.IntN(5) == 0 {
			r.Data = data(t, m.value(2))
		}
		src.records = append(src.records, r)
		if _, err := conn.Exec(t.Context(), `INSERT INTO records VALUES ($1, $2, $3::jsonb)`, i+1, r.Endpoint.String(), r.Data.JSON()); err != nil {
			t.Fatal(err)
		}
	}
	for range 150 {
		low, high, part := data(t, m.scalar()), data(t, m.value(1)), data(t, m.value(1))
		field, order, descending := pick(m, "k", "v", "s", "v.0", "k.a"), pick(m, "", "k", "v", "s", "v.0", "v.a"), m.IntN(2) == 0
		contained := pick(m, Contains, In)
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
		want := column(t, conn, sql, "a/a", field, low.JSON(), high.JSON(), "b/b", part.JSON(), max(0, *q.Limit-skip), order)
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
