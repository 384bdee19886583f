package httpapi

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// Runs that end within one step are told to a service at one moment.
func TestServicesAreToldOfRunsInSteps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failed := errors.New("failed")
		for took, want := range map[time.Duration]time.Duration{
			0:                        100 * time.Millisecond,
			time.Nanosecond:          100 * time.Millisecond,
			100 * time.Millisecond:   100 * time.Millisecond,
			101 * time.Millisecond:   250 * time.Millisecond,
			249 * time.Millisecond:   250 * time.Millisecond,
			11 * time.Second:         30 * time.Second,
			29 * time.Second:         30 * time.Second,
			300 * time.Second:        300 * time.Second,
			301 * time.Second:        15 * time.Minute,
			16 * time.Minute:         30 * time.Minute,
			30*time.Minute + 1:       45 * time.Minute,
			24*time.Hour - time.Hour: 23 * time.Hour,
		} {
			began := time.Now()
			err := inSteps(t.Context(), func() error { time.Sleep(took); return failed })
			if got := time.Since(began); got != want || !errors.Is(err, failed) {
				t.Errorf("a run of %s is told after %s (%v), want %s", took, got, err, want)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		began := time.Now()
		_ = inSteps(ctx, func() error { time.Sleep(time.Minute + 1); cancel(); return nil })
		if time.Since(began) > time.Minute+1 {
			t.Error("who has gone away is waited for")
		}
	})
}

// A service sees when a function ran to the minute, and within a minute always the same: it can't watch a run end. The
// Owner sees it as it is.
func TestServicesSeeTimesOfRunsToTheMinute(t *testing.T) {
	w := newWorld(t, withFunctions(count, functionNamed("counter")))
	w.get("bob", functions+"/counter/enable").want(200)
	w.advance(10*time.Minute + 7*time.Second + 123*time.Millisecond)
	seen := func(who string) string {
		t.Helper()
		at := func(p *string) string {
			if p == nil {
				return ""
			}
			return *p
		}
		s := w.get(who, functions+"/counter").want(200).functionStatus()
		var list []struct{ Status wireStatus }
		w.get(who, functions).want(200).decode(&list)
		if at(list[0].Status.LastExecution) != at(s.LastExecution) || s.ExecutionStarted != nil {
			t.Errorf("%s: the list says otherwise than the function", who)
		}
		return at(s.LastExecution)
	}
	if got := seen("hpp"); got != "" {
		t.Errorf("before any run: %s", got)
	}
	w.get("bob", functions+"/counter/trigger").want(200)
	exact := w.clock().UTC().Format("2006-01-02T15:04:05.000Z")
	if got := seen("bob"); got != exact {
		t.Errorf("the owner sees %s, want %s", got, exact)
	}
	if got := seen("hpp"); got != "" {
		t.Errorf("in the same minute a service sees %s", got)
	}
	w.advance(time.Minute)
	minute := w.clock().Add(-time.Minute).UTC().Truncate(time.Minute).Format("2006-01-02T15:04:05.000Z")
	if got := seen("hpp"); got != minute {
		t.Errorf("a minute later a service sees %s, want %s", got, minute)
	}
	// A run of its own is over when it is told so, and never sooner than the first step.
	began := time.Now()
	w.get("hpp", functions+"/counter/trigger").want(200)
	if time.Since(began) < steps[0] {
		t.Error("a service learns how long a run took")
	}
	if got, want := seen("hpp"), w.clock().UTC().Truncate(time.Minute).Format("2006-01-02T15:04:05.000Z"); got != want {
		t.Errorf("after its own run a service sees %s, want %s", got, want)
	}
}

func TestSeenTimesAreBounded(t *testing.T) {
	var s seenTimes
	for i := range maxSeenTimes + 10 {
		s.see(seenKey{"hat", time.Duration(i).String()}, morning, runTimes{morning, time.Time{}})
	}
	if len(s.of) != maxSeenTimes {
		t.Errorf("%d are kept", len(s.of))
	}
	if got := s.see(seenKey{"hat", "one more"}, morning, runTimes{morning, morning}); got != (runTimes{}) {
		t.Errorf("over the bound: %+v", got)
	}
	if s.see(seenKey{"hat", "one more"}, morning.Add(time.Minute), runTimes{morning, morning}); len(s.of) != 1 {
		t.Error("the last minute is kept")
	}
}
