package plan

import (
	"testing"

	"she/internal/hat"
)

func TestWhatCannotChangeIsParkedAtOnce(t *testing.T) {
	if _, park := Retry(hat.NewFault(hat.Author, CodeRequestTooLarge, ""), Tries{Failed: 1}, 0); !park {
		t.Error("what no request can hold is tried again")
	}
	if _, park := Retry(hat.NewFault(hat.Author, CodeTooMuchWork, ""), Tries{Failed: 1}, 0); !park {
		t.Error("a question that costs too much is asked again")
	}
	if _, park := Retry(hat.NewFault(hat.Author, "Answer.TooLarge", ""), Tries{Failed: 1}, 0); park {
		t.Error("an answer of a function may be another next time")
	}
}

func TestHalve(t *testing.T) {
	tooLarge := hat.NewFault(hat.Author, "Answer.TooLarge", "")
	individual, daily := hat.Trigger{Kind: hat.Individual}, hat.Trigger{Kind: hat.Periodic}
	for _, c := range []struct {
		says    string
		trigger hat.Trigger
		fault   *hat.Fault
		records int
		most    int
	}{
		{"half of many", individual, tooLarge, 9, 4},
		{"what the wall stopped", individual, hat.NewFault(hat.Author, "Function.ResponseSizeTooLarge", ""), 2, 1},
		{"too many records", individual, hat.NewFault(hat.Author, "Response.TooManyRecords", ""), 3, 1},
		{"one is one", individual, tooLarge, 1, 0},
		{"nothing was shown", individual, tooLarge, 0, 0},
		{"a function that takes what there is at once", daily, tooLarge, 9, 0},
		{"another fault", individual, hat.NewFault(hat.Author, "Runtime.Exit", ""), 9, 0},
		{"none", individual, nil, 9, 0},
	} {
		if most, ok := Halve(c.trigger, c.fault, c.records); most != c.most || ok != (c.most > 0) {
			t.Errorf("%s: got %d, %t", c.says, most, ok)
		}
	}
}

func TestTogether(t *testing.T) {
	broken, cancelled := hat.NewFault(hat.Author, "Runtime.Exit", ""), hat.NewFault(hat.Owner, "Run.Cancelled", "")
	tooLarge, costly := hat.NewFault(hat.Author, CodeRequestTooLarge, ""), hat.NewFault(hat.Author, CodeTooMuchWork, "")
	for _, c := range []struct {
		says   string
		parked *hat.Fault
		asked  bool
		failed int
		want   bool
	}{
		{"first alone", broken, false, 0, false},
		{"then together", broken, false, 1, true},
		{"then alone", broken, false, 2, false},
		{"who asks gets all", broken, true, 0, true},
		{"what somebody ended waits for somebody", cancelled, false, 1, false},
		{"who asks gets that too", cancelled, true, 0, true},
		{"but nothing that is too large", tooLarge, true, 1, false},
		{"what costs too much is not tried again beside what is new", costly, false, 1, false},
		{"who asks gets it", costly, true, 1, true},
		{"nothing is parked for no reason", nil, true, 1, false},
	} {
		if got := Together(c.parked, c.asked, c.failed); got != c.want {
			t.Errorf("%s: got %t", c.says, got)
		}
	}
}
