package pgtime

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"she/internal/jsonb"
	"she/internal/pgtest"
)

func canon(t testing.TB, number string) string {
	t.Helper()
	canonical, err := jsonb.Canonical([]byte(number))
	if err != nil {
		t.Fatal(err)
	}
	return canonical
}

func float(t testing.TB, number string) float64 {
	t.Helper()
	f, err := strconv.ParseFloat(number, 64)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// This package promises PostgreSQL's semantics, so PostgreSQL is the reference.
func TestAgainstPostgres(t *testing.T) {
	conn := pgtest.Start(t)
	m := pgtest.Random{Rand: rand.New(rand.NewPCG(1, 15))}
	t.Run("dates", func(t *testing.T) { testDates(t, conn, m) })
	t.Run("seconds", func(t *testing.T) { testSeconds(t, conn, m) })
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

func testDates(t *testing.T, conn *pgx.Conn, m pgtest.Random) {
	if _, err := conn.Exec(t.Context(), `CREATE FUNCTION readable(t text) RETURNS timestamptz LANGUAGE plpgsql IMMUTABLE AS
		$$ BEGIN RETURN t::timestamptz; EXCEPTION WHEN others THEN RETURN NULL; END $$`); err != nil {
		t.Fatal(err)
	}
	texts := slices.Clone(dateTexts)
	for zone := range timeZones {
		texts = append(texts, "2024-03-01 09:15:00 "+zone)
	}
	for range 3000 {
		// Valid and invalid dates composed of pieces.
		year, month, day := pgtest.Pick(m, "2024", "1999", "24", "0900", "12024"), pgtest.Pick(m, "3", "12", "02", "Feb", "november", "13"), pgtest.Pick(m, "1", "29", "31", "07")
		sep := pgtest.Pick(m, "-", "/", " ", ".", "")
		day = strings.Join(pgtest.Pick(m, []string{year, month, day}, []string{month, day, year}, []string{day, month, year}), sep)
		clock := pgtest.Pick(m, "", "", "T10:15", " 10:15:30", " 10:15:30.123", "T101530", " 1:5 pm", " 11:59:59.999999 am")
		zone := pgtest.Pick(m, "", "", "Z", " UTC", "+01:30", "-0500", " EST", "+14", " BC")
		texts = append(texts, day+clock+zone)
		texts = append(texts, date(m.Int64N(400_000_000_000)-200_000_000_000))
	}
	columns := make([]string, len(Parts))
	for i, part := range Parts {
		columns[i] = fmt.Sprintf("to_jsonb(extract(%s FROM ts))::text", part)
	}
	got := pgtest.Column(t, conn, `SELECT concat_ws(' ', `+strings.Join(columns, ",")+`) FROM (SELECT readable(t) AS ts, i FROM unnest($1::text[]) WITH ORDINALITY AS u(t, i)) AS v ORDER BY i`, texts)
	read := 0
	for i, text := range texts {
		at, ok := Parse(text)
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

func checkParts(t *testing.T, text string, at Instant, want string) {
	t.Helper()
	for i, value := range strings.Fields(want) {
		ours, ok := at.Part(Parts[i])
		if w := canon(t, value); !ok || ours != w {
			t.Errorf("%q: PostgreSQL's %s is %s, ours %s", text, Parts[i], w, ours)
		}
	}
}

// date formats seconds since 1970.
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

func testSeconds(t *testing.T, conn *pgx.Conn, m pgtest.Random) {
	var numbers []string
	for range 3000 {
		n := strconv.FormatInt(m.Int64N(1<<pgtest.Pick(m, 20, 31, 34, 38, 43))-1<<31, 10)
		if m.IntN(2) == 0 {
			n += "." + strconv.Itoa(m.IntN(1_000_000))
		}
		numbers = append(numbers, n)
	}
	numbers = append(numbers, "0", "-0.5", "-1.25", "1709284500", "1709284500123", "9224318016000", "-210866803200", "-210866803201", "1e30", "1e3", "0.0000005", "0.0000015")
	columns := make([]string, len(Parts))
	for i, part := range Parts {
		columns[i] = fmt.Sprintf("to_jsonb(extract(%s FROM ts))::text", part)
	}
	if _, err := conn.Exec(t.Context(), `CREATE FUNCTION seconds(t text) RETURNS timestamptz LANGUAGE plpgsql IMMUTABLE AS
		$$ BEGIN RETURN to_timestamp(t::double precision); EXCEPTION WHEN others THEN RETURN NULL; END $$`); err != nil {
		t.Fatal(err)
	}
	got := pgtest.Column(t, conn, `SELECT concat_ws(' ', `+strings.Join(columns, ",")+`) FROM (SELECT seconds(t) AS ts, i FROM unnest($1::text[]) WITH ORDINALITY AS u(t, i)) AS v ORDER BY i`, numbers)
	for i, n := range numbers {
		at, ok := Unix(float(t, n))
		if ok != (got[i] != "") {
			t.Errorf("%s: PostgreSQL reads %q, we read %v", n, got[i], ok)
		} else if ok {
			checkParts(t, n, at, got[i])
		}
	}
}
