package trigger

import (
	"strings"
	"testing"
	"time"

	"she/internal/hat"
)

func TestWhy(t *testing.T) {
	now := time.Date(2024, 3, 1, 12, 0, 0, 0, time.UTC)
	later := now.Add(time.Hour)
	broken := hat.NewFault(hat.Author, "Runtime.Exit", "it ended")
	ready := Situation{Enabled: true, Installed: true, Available: true, Trigger: hat.Trigger{Kind: hat.Individual}}
	with := func(change func(*Situation)) Situation {
		s := ready
		change(&s)
		return s
	}
	waits := func(w Waiting) Situation { return with(func(s *Situation) { s.Waiting = &w }) }
	for _, c := range []struct {
		says  string
		s     Situation
		code  Code
		until time.Time
		fault *hat.Fault
	}{
		{"never switched on", Situation{Installed: true, Available: true}, NotEnabled, time.Time{}, nil},
		{"no server", with(func(s *Situation) { s.Stopped = true }), EngineStopped, time.Time{}, nil},
		{"a run in flight, also with more work waiting", with(func(s *Situation) { s.Running, s.Waiting = now, &Waiting{NotBefore: now} }), Running, time.Time{}, nil},
		{"removed from the server", with(func(s *Situation) { s.Installed = false }), NotInstalled, time.Time{}, nil},
		{"not asked yet", with(func(s *Situation) { s.Available = false }), Loading, time.Time{}, nil},
		{"broken package", with(func(s *Situation) { s.Available, s.Problem = false, broken }), NotAvailable, time.Time{}, broken},
		{"the new version asks for more", with(func(s *Situation) { s.Outdated = broken }), GrantOutdated, time.Time{}, broken},
		{"nothing has come", ready, WaitingForData, time.Time{}, nil},
		{"a limit hides what has come", with(func(s *Situation) { s.Hidden = 3 }), HiddenByLimit, time.Time{}, nil},
		{"something has come now", waits(Waiting{NotBefore: now}), Due, time.Time{}, nil},
		{"its period is not over", waits(Waiting{NotBefore: later}), WaitingForPeriod, later, nil},
		{"it failed and pauses", waits(Waiting{NotBefore: later, Attempt: 2, Fault: broken}), WaitingForRetry, later, broken},
		{"the pause is over", waits(Waiting{NotBefore: now, Attempt: 2, Fault: broken}), Due, time.Time{}, nil},
		{"it failed too often", waits(Waiting{NotBefore: later, Attempt: 5, Fault: broken, Parked: true}), Parked, time.Time{}, broken},
		{"manual, with data", waits(Waiting{}), WaitingForRequest, time.Time{}, nil},
		{"manual, without", with(func(s *Situation) { s.Trigger.Kind = hat.Manual }), WaitingForRequest, time.Time{}, nil},
	} {
		t.Run(c.says, func(t *testing.T) {
			got := Why(c.s, now)
			if got.Code != c.code || !got.Until.Equal(c.until) || got.Fault != c.fault || strings.TrimSpace(got.Text) == "" {
				t.Errorf("got %+v", got)
			}
		})
	}
}
