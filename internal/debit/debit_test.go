package debit

import (
	"bytes"
	"testing"
	"time"

	"she/internal/bundle"
	"she/internal/hat"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

var (
	start = time.Date(2024, 1, 31, 12, 0, 0, 0, time.UTC)
	week  = must(hat.ParsePeriod("P7D"))
	month = must(hat.ParsePeriod("P1M"))
	asked = must(bundle.Parse([]byte(`{"name":"b","bundle":{"p":{"endpoints":[{"endpoint":"rumpel/notes"}]}}}`)))
)

func day(n int) time.Time { return start.AddDate(0, 0, n) }

func TestEnd(t *testing.T) {
	rolling := Permissions{Start: start, Period: week}
	once := Permissions{Start: start, Period: week, CancelAtPeriodEnd: true}
	cancelled := func(p Permissions, at time.Time, atOnce bool) Permissions {
		p.CanceledAt, p.AtOnce = at, atOnce
		return p
	}
	monthly := rolling
	monthly.Period = month
	for _, c := range []struct {
		name string
		p    Permissions
		want time.Time // zero: none
	}{
		{"rolls on", rolling, time.Time{}},
		{"one period", once, day(7)},
		{"one month from the 31st", Permissions{Start: start, Period: month, CancelAtPeriodEnd: true}, start.AddDate(0, 1, 0)},
		{"cancelled at once", cancelled(rolling, day(3), true), day(3)},
		{"cancelled at period end, in the first", cancelled(rolling, day(3), false), day(7)},
		{"in the second", cancelled(rolling, day(8), false), day(14)},
		{"exactly at an end", cancelled(rolling, day(14), false), day(14)},
		{"a moment after it", cancelled(rolling, day(14).Add(1), false), day(21)},
		{"cancelled before it began", cancelled(rolling, day(-3), false), start},
		{"by the calendar", cancelled(monthly, day(3), false), start.AddDate(0, 1, 0)},
	} {
		end, none := c.p.End()
		if none != c.want.IsZero() || !none && !end.Equal(c.want) {
			t.Errorf("%s: %v, none %v; want %v", c.name, end, none, c.want)
		}
	}
}

func TestActive(t *testing.T) {
	accepted := Permissions{Start: start, Period: week, Accepted: true}
	once := accepted
	once.CancelAtPeriodEnd = true
	for _, c := range []struct {
		name string
		p    Permissions
		at   time.Time
		want bool
	}{
		{"not accepted", Permissions{Start: start, Period: week}, day(1), false},
		{"before it starts", accepted, start.Add(-1), false},
		{"when it starts", accepted, start, true},
		{"years later", accepted, day(2000), true},
		{"one period, in it", once, day(7).Add(-1), true},
		{"one period, over", once, day(7), false},
	} {
		if got := c.p.Active(c.at); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

// The life of a debit, step by step; every step leaves the value before it as it was.
func TestLife(t *testing.T) {
	terms := Permissions{Purpose: "one", Start: start, Period: week, Bundle: asked, Accepted: true}
	d0 := Debit{Key: "dd", Created: start}.Propose(terms, start)
	if d0.Active(day(1)) != nil || d0.Latest().Accepted {
		t.Fatal("a proposal is in force by itself")
	}
	d1 := d0.Accept()
	if p := d1.Active(day(1)); p == nil || p.Purpose != "one" || d0.Latest().Accepted {
		t.Fatal("accepted, and not in force")
	}
	terms.Purpose = "two"
	d2 := d1.Propose(terms, day(1))
	if d2.Active(day(1)).Purpose != "one" || d2.Latest().Purpose != "two" || len(d1.Permissions) != 1 {
		t.Fatal("other terms must wait for the Owner")
	}
	d3 := d2.Accept()
	if d3.Active(day(1)).Purpose != "two" || d3.Permissions[0].Accepted {
		t.Fatal("accepting the newest ends the others")
	}
	if atOnce := d3.Cancel(false, day(2)); atOnce.Active(day(2)) != nil {
		t.Fatal("cancelled at once, and still in force")
	} else if again := atOnce.Accept(); again.Active(day(3)) == nil {
		t.Fatal("the Owner can't change their mind")
	}
	later := d3.Cancel(true, day(2))
	if later.Active(day(6)) == nil || later.Active(day(7)) != nil || d3.Active(day(7)) == nil {
		t.Fatal("cancelled at the period's end")
	}
	if twice := later.Cancel(true, day(3)); !twice.Permissions[1].CanceledAt.Equal(day(3)) {
		t.Fatal("cancelled twice within the period")
	}
}

// What was withdrawn before it began never shares, whichever way it was withdrawn, and however often terms were proposed.
func TestWithdrawnBeforeItBegan(t *testing.T) {
	terms := Permissions{Purpose: "later", Start: day(10), Period: week, Bundle: asked}
	once := terms
	once.CancelAtPeriodEnd = true
	never := func(name string, d Debit) {
		t.Helper()
		for n := range 40 {
			if p := d.Active(day(n)); p != nil {
				t.Fatalf("%s: it shares on day %d as %q", name, n, p.Purpose)
			}
		}
	}
	for _, atPeriodEnd := range []bool{false, true} {
		for name, p := range map[string]Permissions{"rolling": terms, "one period": once} {
			accepted := Debit{Key: "dd"}.Propose(p, day(0)).Accept()
			withdrawn := accepted.Cancel(atPeriodEnd, day(1))
			never(name, withdrawn)
			never(name+", twice", withdrawn.Cancel(!atPeriodEnd, day(2)))
			never(name+", other terms wait", withdrawn.Propose(p, day(3)))
			if withdrawn.Accept().Active(day(11)) == nil {
				t.Errorf("%s: the Owner can't change their mind", name)
			}
			if accepted.Active(day(11)) == nil {
				t.Errorf("%s: the value before was changed", name)
			}
			// Not accepted yet: cancelled too.
			if proposed := (Debit{Key: "dd"}).Propose(p, day(0)).Cancel(atPeriodEnd, day(1)); !proposed.Latest().Ended(day(10)) {
				t.Errorf("%s: what was proposed only goes on", name)
			}
		}
	}
	// Terms in force that were to end with their period end at once when the Owner says so, and those that follow them too.
	running := Debit{Key: "dd"}.Propose(Permissions{Purpose: "now", Start: day(0), Period: week, Bundle: asked}, day(0)).Accept()
	both := running.Propose(terms, day(1)).Cancel(true, day(2))
	if both.Active(day(6)) == nil || both.Active(day(7)) != nil || !both.Latest().Ended(day(10)) {
		t.Error("cancelled at the period's end")
	}
	never("at once after all", both.Cancel(false, day(3)).Propose(terms, day(3)))
	// A clock that is set back revives nothing.
	if running.Cancel(false, day(5)).Active(day(4)) != nil {
		t.Error("cancelled at once, and it shares when the clock is set back")
	}
}

func TestStore(t *testing.T) {
	terms := Permissions{
		Purpose: "p", Start: start, Period: month, Bundle: asked, Conditions: &bundle.Bundle{Name: "c", Properties: asked.Properties},
		CancelAtPeriodEnd: true, TermsURL: "https://terms.test",
	}
	d := Debit{Key: "dd", Created: start, Client: Client{Name: "n", URL: "u", Description: "x"}}.Propose(terms, start).Accept().Cancel(true, day(1))
	text := must(d.Store())
	back := must(FromStore(text))
	if !bytes.Equal(must(back.Store()), text) {
		t.Errorf("%s", text)
	}
	if back.Permissions[0].Period != month || !back.Permissions[0].CanceledAt.Equal(day(1)) || len(back.Permissions[0].Endpoints()) != 2 {
		t.Errorf("%+v", back)
	}
	if names := back.BundleNames(); len(names) != 2 || names[0] != "b" || names[1] != "c" {
		t.Errorf("%v", names)
	}
	for _, bad := range []string{``, `{}`, `[]`, `{"permissions":[]}`, `{"permissions":[{"period":-1}]}`} {
		if _, err := FromStore([]byte(bad)); err == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
}

// An end never lies before the cancellation, and never more than a period after it.
func FuzzEnd(f *testing.F) {
	f.Add(int64(7*24*3600*1000), int64(100000))
	f.Fuzz(func(t *testing.T, ms, after int64) {
		period, err := hat.PeriodOf(ms)
		if err != nil || after < 0 || after > int64(100*365*24*time.Hour/time.Millisecond) {
			t.Skip()
		}
		cancelled := start.Add(time.Duration(after) * time.Millisecond)
		p := Permissions{Start: start, Period: period, CanceledAt: cancelled}
		end, none := p.End()
		if none || end.Before(cancelled) || end.Sub(cancelled) >= time.Duration(ms)*time.Millisecond && after != 0 {
			t.Fatalf("cancelled %v, ends %v, period %v", cancelled, end, period)
		}
	})
}

// Terms that are cancelled at the end of a period end there, however long ago they began.
func TestEndOfTermsThatBeganLongAgo(t *testing.T) {
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	for _, start := range []time.Time{time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(1600, 2, 29, 23, 59, 59, 0, time.UTC), now.Add(-time.Hour)} {
		for _, text := range []string{"PT0.001S", "PT1S", "P7D", "P1M"} {
			period := must(hat.ParsePeriod(text))
			p := Permissions{Start: start, Period: period, CanceledAt: now}
			end, none := p.End()
			if none || end.Before(now) || end.After(period.After(now)) {
				t.Errorf("from %s in steps of %s: ends %s, %v", start, text, end, none)
			}
		}
	}
}

// What the Owner decided is told apart from what a partner proposed.
func TestDecided(t *testing.T) {
	terms := Permissions{Purpose: "one", Bundle: asked, Start: start, Period: week}
	proposed := Debit{Key: "d", Created: start}.Propose(terms, start)
	accepted := proposed.Accept()
	atOnce, atEnd := accepted.Cancel(false, day(3)), accepted.Cancel(true, day(3))
	terms.Purpose = "two"
	again := accepted.Propose(terms, day(1))
	for _, c := range []struct {
		says          string
		before, after Debit
		want          string // "": nothing was decided
	}{
		{"a proposal", Debit{}, proposed, ""},
		{"the same proposal", proposed, proposed, ""},
		{"an agreement", proposed, accepted, "enabled"},
		{"one agreed to as it was made", Debit{}, accepted, "enabled"},
		{"the same agreement", accepted, accepted, ""},
		{"cancelled at once", accepted, atOnce, "disabled"},
		{"cancelled at the period's end", accepted, atEnd, "disabled at the period's end"},
		{"the same cancellation", atOnce, atOnce, ""},
		{"agreed to once more after that", atOnce, atOnce.Accept(), "enabled"},
		{"other terms proposed", accepted, again, ""},
		{"other terms agreed to", again, again.Accept(), "enabled"},
	} {
		got := c.after.Decided(c.before)
		switch {
		case got == nil && c.want != "", got != nil && got.Outcome != c.want:
			t.Errorf("%s: %+v, want %q", c.says, got, c.want)
		case got != nil && (got.Terms == hat.TermsDigest{} || len(got.Endpoints) != 1):
			t.Errorf("%s: %+v", c.says, got)
		}
	}
}
