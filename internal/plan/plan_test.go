package plan

import (
	"testing"
	"time"

	"she/internal/hat"
)

func TestRetryPausesGrowThenPark(t *testing.T) {
	for _, who := range []hat.Who{hat.Author, hat.Engine, hat.Owner, "somebody new"} {
		t.Run(string(who), func(t *testing.T) {
			f := hat.NewFault(who, "Test", "a test")
			last, parked := time.Duration(0), false
			for attempt := 1; attempt <= 100; attempt++ {
				pause, park := Retry(f, Tries{Failed: attempt}, 0.5)
				if pause <= 0 {
					t.Fatalf("attempt %d: no pause at all", attempt)
				}
				if pause < last {
					t.Errorf("attempt %d: pause %v after %v", attempt, pause, last)
				}
				if parked && !park {
					t.Errorf("attempt %d: no longer parked", attempt)
				}
				last, parked = pause, park
			}
			if !parked {
				t.Error("never parks")
			}
		})
	}
}

// What the operator must mend is tried again for as long as it takes, at least every ten minutes.
func TestTheOperatorsFaultsNeverPark(t *testing.T) {
	f, last := hat.NewFault(hat.Operator, "Vault.Full", "no room left on the disk"), time.Duration(0)
	var tries Tries
	for range 10_000 {
		tries = tries.After(f)
		pause, park := Retry(f, tries, 0.5)
		if park || pause < last || pause > 10*time.Minute {
			t.Fatalf("after %d attempts: parked %t, pause %v after %v", tries.Failed, park, pause, last)
		}
		last = pause
	}
}

// A function has as many attempts of its own whether or not the disk was full in between.
func TestFailuresAreCountedApart(t *testing.T) {
	author, operator := hat.NewFault(hat.Author, "Runtime.ExitError", ""), hat.NewFault(hat.Operator, "Vault.Full", "")
	parks := func(outages int) (after int) {
		var tries Tries
		for after = 1; after < 100; after++ {
			for range outages {
				tries = tries.After(operator)
			}
			tries = tries.After(author)
			if _, park := Retry(author, tries, 0); park {
				break
			}
		}
		return after
	}
	if without, with := parks(0), parks(50); with != without {
		t.Errorf("it is parked after %d attempts of its own, beside a full disk after %d", without, with)
	}
	tries := Tries{Failed: 4}.After(operator)
	if pause, _ := Retry(operator, tries, 0.5); pause != time.Second {
		t.Errorf("the first of the operator's failures after others pauses %v", pause)
	}
}

func TestRetryIsSoonerWhereTheAuthorIsNotToBlame(t *testing.T) {
	author, _ := Retry(hat.NewFault(hat.Author, "", ""), Tries{Failed: 1}, 0)
	for _, who := range []hat.Who{hat.Operator, hat.Engine} {
		if soon, park := Retry(hat.NewFault(who, "", ""), Tries{}.After(hat.NewFault(who, "", "")), 0.999); soon >= author || park {
			t.Errorf("%s: first pause %v (parked %t), author's is %v", who, soon, park, author)
		}
	}
	if _, park := Retry(hat.NewFault(hat.Owner, "", ""), Tries{Failed: 1}, 0); !park {
		t.Error("what only the Owner can mend is retried by itself")
	}
}

func TestRetrySpreads(t *testing.T) {
	f := hat.NewFault(hat.Engine, "", "")
	low, _ := Retry(f, Tries{Failed: 3}, 0)
	high, _ := Retry(f, Tries{Failed: 3}, 0.999)
	if spread := high - low; spread < low/3 {
		t.Errorf("pauses lie between %v and %v: too close together", low, high)
	}
}

func TestLatest(t *testing.T) {
	now := time.Date(2024, 3, 1, 12, 0, 0, 0, time.UTC)
	author, operator := hat.NewFault(hat.Author, "", ""), hat.NewFault(hat.Operator, "", "")
	for _, c := range []struct {
		says    string
		fault   *hat.Fault
		attempt int
		next    time.Time
		want    time.Duration // from now
	}{
		{"what has come waits as long as it would from now", nil, 0, now.Add(time.Hour), time.Hour},
		{"or not at all", nil, 0, now, 0},
		{"what somebody asked for neither", nil, 0, time.Time{}, 0},
		{"nor what is tried in parts", author, 0, now.Add(time.Hour), 0},
		{"a first failure waits for a first pause", author, 1, now.Add(time.Hour), 12 * time.Second},
		{"a second for a longer one", author, 2, now, 72 * time.Second},
		{"never for longer than the longest", operator, 30, now, 6 * time.Minute},
	} {
		tries := Tries{Failed: c.attempt}
		if c.fault == operator {
			tries.Outages = c.attempt
		}
		if got := Latest(c.fault, tries, c.next, now).Sub(now); got != c.want {
			t.Errorf("%s: %v, want %v", c.says, got, c.want)
		}
		if c.attempt > 0 {
			if longest, park := Retry(c.fault, tries, 0.999999); park || longest > c.want || longest < c.want*99/100 {
				t.Errorf("%s: a pause is up to %v", c.says, longest)
			}
		}
	}
}

// Defect B-17.
func TestWindow(t *testing.T) {
	day := func(s string) time.Time {
		d, err := time.Parse(time.DateOnly, s)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	now := day("2024-08-31")
	for _, c := range []struct {
		says     string
		last     time.Time
		useAll   bool
		from, to time.Time
	}{
		{"a first run is asked about six months", time.Time{}, false, day("2024-03-02"), day("2024-12-01")},
		{"a later one since the last execution", day("2024-08-30"), false, day("2024-08-30"), day("2024-12-01")},
		{"one ahead of the clock says nothing", day("2024-09-01"), false, day("2024-03-02"), day("2024-12-01")},
		{"all of it is six months again", day("2024-08-30"), true, day("2024-03-02"), day("2024-12-01")},
	} {
		if w := Window(now, c.last, c.useAll); !w.From.Equal(c.from) || !w.Until.Equal(c.to) {
			t.Errorf("%s: got %v to %v", c.says, w.From, w.Until)
		}
	}
}
