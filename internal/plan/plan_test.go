package plan

import (
	"testing"
	"time"

	"she/internal/hat"
)

func TestRetryPausesGrowThenPark(t *testing.T) {
	for _, who := range []hat.Who{hat.Author, hat.Operator, hat.Engine, hat.Owner, "somebody new"} {
		t.Run(string(who), func(t *testing.T) {
			f := hat.NewFault(who, "Test", "a test")
			last, parked := time.Duration(0), false
			for attempt := 1; attempt <= 100; attempt++ {
				pause, park := Retry(f, attempt, 0.5)
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

func TestRetryIsSoonerWhereTheAuthorIsNotToBlame(t *testing.T) {
	author, _ := Retry(hat.NewFault(hat.Author, "", ""), 1, 0)
	for _, who := range []hat.Who{hat.Operator, hat.Engine} {
		if soon, park := Retry(hat.NewFault(who, "", ""), 1, 0.999); soon >= author || park {
			t.Errorf("%s: first pause %v (parked %t), author's is %v", who, soon, park, author)
		}
	}
	if _, park := Retry(hat.NewFault(hat.Owner, "", ""), 1, 0); !park {
		t.Error("what only the Owner can mend is retried by itself")
	}
}

func TestRetrySpreads(t *testing.T) {
	f := hat.NewFault(hat.Engine, "", "")
	low, _ := Retry(f, 3, 0)
	high, _ := Retry(f, 3, 0.999)
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
		if got := Latest(c.fault, c.attempt, c.next, now).Sub(now); got != c.want {
			t.Errorf("%s: %v, want %v", c.says, got, c.want)
		}
		if c.attempt > 0 {
			if longest, park := Retry(c.fault, c.attempt, 0.999999); park || longest > c.want || longest < c.want*99/100 {
				t.Errorf("%s: a pause is up to %v", c.says, longest)
			}
		}
	}
}

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
