package trigger

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"she/internal/access"
	"she/internal/bundle"
	"she/internal/hat"
)

var noon = time.Date(2024, 3, 31, 12, 0, 0, 0, time.UTC)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func function(s string) hat.FunctionID { return must(hat.ParseFunctionID(s)) }

// mood reads a/x and its own output, with links to a/tags.
func mood(trigger hat.Trigger, last time.Time) State {
	at := func(s string) hat.Endpoint { return must(hat.ParseEndpoint(s)) }
	return State{LastExecution: last, Grant: access.Grant{
		Function: function("mood"), Trigger: trigger, Output: at("she/mood"), Since: noon.AddDate(-1, 0, 0),
		Bundle: bundle.Bundle{Properties: map[string]bundle.PropertyQuery{
			"p": {Endpoints: []bundle.EndpointQuery{
				{Endpoint: at("a/x"), Links: []bundle.EndpointQuery{{Endpoint: at("a/tags")}}}, {Endpoint: at("she/mood")}}},
		}},
	}}
}

func individually() State { return mood(hat.Trigger{Kind: hat.Individual}, time.Time{}) }
func whenAsked() State    { return mood(hat.Trigger{Kind: hat.Manual}, time.Time{}) }
func every(period string, last time.Time) State {
	return mood(hat.Trigger{Kind: hat.Periodic, Period: must(hat.ParsePeriod(period))}, last)
}

var never time.Time

// at is an event at a position: who stands behind the record, its writer last.
func at(seq hat.Seq, endpoint string, behind ...string) Event {
	e := Event{Seq: seq, Endpoint: must(hat.ParseEndpoint(endpoint)), Created: noon}
	for _, f := range behind {
		e.Chain = append(e.Chain, function(f))
	}
	return e
}

func old(e Event) Event {
	e.Created = noon.AddDate(-2, 0, 0)
	return e
}

func others(n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprintf("f%d", i))
	}
	return names
}

func due(upto hat.Seq, when time.Time) Verdict { return Verdict{Upto: upto, NotBefore: when} }
func waits(upto hat.Seq) Verdict               { return Verdict{Upto: upto} }
func nothing() Verdict                         { return Verdict{} }
func stops(why Stop, at hat.Seq) Verdict       { return Verdict{Stopped: why, StoppedAt: at} }
func (v Verdict) and(o Verdict) Verdict {
	v.Stopped, v.StoppedAt = o.Stopped, o.StoppedAt
	return v
}

func TestJudge(t *testing.T) {
	hour, yesterday := time.Hour, noon.AddDate(0, 0, -1)
	for _, c := range []struct {
		says   string
		state  State
		events []Event
		want   Verdict
	}{
		{"no data makes nothing due", individually(), nil, nothing()},
		{"what it reads makes it due at once", individually(), []Event{at(7, "a/x")}, due(7, noon)},
		{"what it links to does too", individually(), []Event{at(7, "a/tags")}, due(7, noon)},
		{"what it doesn't read does not", individually(), []Event{at(7, "a/y")}, nothing()},
		{"a longer path is another endpoint", individually(), []Event{at(7, "a/x/y")}, nothing()},
		{"of several the newest counts", individually(), []Event{at(7, "a/x"), at(9, "a/x"), at(10, "a/y"), at(8, "a/x")}, due(9, noon)},
		{"records from before its grant do not count", individually(), []Event{old(at(7, "a/x"))}, nothing()},

		{"periodic, never run: at once", every("P1D", never), []Event{at(7, "a/x")}, due(7, noon)},
		{"periodic, its day not over: when it is", every("P1D", noon.Add(-hour)), []Event{at(7, "a/x")}, due(7, noon.Add(23*hour))},
		{"periodic, its day just over: now", every("P1D", yesterday), []Event{at(7, "a/x")}, due(7, noon)},
		{"periodic, long over: now", every("P1D", yesterday.AddDate(-1, 0, 0)), []Event{at(7, "a/x")}, due(7, noon)},
		{"a month is the calendar's", every("P1M", noon.AddDate(0, 0, -3)), []Event{at(7, "a/x")}, due(7, time.Date(2024, 4, 28, 12, 0, 0, 0, time.UTC))},
		{"periodic, last run in what lies ahead since the clock was set back: a period from now", every("P1D", noon.Add(20*hour)), []Event{at(7, "a/x")}, due(7, noon.Add(24*hour))},
		{"periodic without data: never", every("PT1H", yesterday), nil, nothing()},

		{"manual: the data waits", whenAsked(), []Event{at(7, "a/x")}, waits(7)},

		{"its own record is nothing to it", individually(), []Event{at(7, "she/mood", "mood")}, nothing()},
		{"its own record further on neither", individually(), []Event{at(7, "she/mood", "other", "mood")}, nothing()},
		{"another's record is data", individually(), []Event{at(7, "she/mood", "other")}, due(7, noon)},
		{"a record it stands behind stops", individually(), []Event{at(7, "a/x", "mood", "other")}, stops(ChainVisited, 7)},
		{"one below the limit is data", individually(), []Event{at(7, "a/x", others(MaxDepth-1)...)}, due(7, noon)},
		{"one at the limit stops", individually(), []Event{at(7, "a/x", others(MaxDepth)...)}, stops(ChainTooLong, 7)},
		{"what stops hides nothing else", individually(), []Event{at(7, "a/x"), at(8, "a/x", "mood", "other")}, due(7, noon).and(stops(ChainVisited, 8))},
		{"what stops where nobody reads is nothing", individually(), []Event{at(7, "a/y", "mood", "other")}, nothing()},
	} {
		got := Judge(c.state, c.events, noon)
		if got.Upto != c.want.Upto || !got.NotBefore.Equal(c.want.NotBefore) || got.Stopped != c.want.Stopped || got.StoppedAt != c.want.StoppedAt {
			t.Errorf("%s: got %+v", c.says, got)
		}
	}
}

func TestTheLongestChainGoesOn(t *testing.T) {
	v := Judge(individually(), []Event{at(7, "a/x", "f0"), at(8, "a/x", "f0", "f1"), at(9, "a/x")}, noon)
	if want := at(0, "a/x", "f0", "f1").Chain; !slices.Equal(v.Chain, want) {
		t.Errorf("got %v, want %v", v.Chain, want)
	}
}
