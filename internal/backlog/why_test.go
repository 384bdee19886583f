package backlog

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
	waits := func(w Item) Situation { return with(func(s *Situation) { s.Front = &w }) }
	for _, c := range []struct {
		says  string
		s     Situation
		code  Code
		until time.Time
		fault *hat.Fault
	}{
		{"never switched on", Situation{Installed: true, Available: true}, NotEnabled, time.Time{}, nil},
		{"broken, so that it can't be switched on", Situation{Installed: true, Problem: broken}, NotAvailable, time.Time{}, broken},
		{"broken, never switched on, no server", Situation{Installed: true, Problem: broken, Stopped: true}, NotEnabled, time.Time{}, nil},
		{"no server", with(func(s *Situation) { s.Stopped = true }), EngineStopped, time.Time{}, nil},
		{"a run in flight, also with more work waiting", with(func(s *Situation) { s.Running, s.Front = now, &Item{NotBefore: now} }), Running, time.Time{}, nil},
		{"removed from the server", with(func(s *Situation) { s.Installed = false }), NotInstalled, time.Time{}, nil},
		{"not asked yet", with(func(s *Situation) { s.Available = false }), Loading, time.Time{}, nil},
		{"broken package", with(func(s *Situation) { s.Available, s.Problem = false, broken }), NotAvailable, time.Time{}, broken},
		{"the new version asks for more", with(func(s *Situation) { s.Outdated = broken }), GrantOutdated, time.Time{}, broken},
		{"nothing has come", ready, WaitingForData, time.Time{}, nil},
		{"a limit hides what has come", with(func(s *Situation) { s.Hidden = 3 }), HiddenByLimit, time.Time{}, nil},
		{"something has come now", waits(Item{NotBefore: now}), Due, time.Time{}, nil},
		{"its period is not over", waits(Item{NotBefore: later}), WaitingForPeriod, later, nil},
		{"it failed and pauses", waits(Item{NotBefore: later, Attempt: 2, Fault: broken}), WaitingForRetry, later, broken},
		{"the pause is over", waits(Item{NotBefore: now, Attempt: 2, Fault: broken}), Due, time.Time{}, nil},
		{"it failed too often", waits(Item{NotBefore: later, Attempt: 5, Fault: broken, Parked: true}), Parked, time.Time{}, broken},
		{"older data is parked, and nothing new has come", with(func(s *Situation) { s.Ranges = []Item{{Parked: true, Fault: broken}} }), Parked, time.Time{}, broken},
		{"older data is parked, and new data is due", with(func(s *Situation) {
			s.Ranges, s.Front = []Item{{Parked: true, Fault: broken}}, &Item{NotBefore: now}
		}), Due, time.Time{}, nil},
		{"a replay pauses longer than what is new", with(func(s *Situation) {
			s.Ranges, s.Front = []Item{{NotBefore: later.Add(1), Attempt: 1}}, &Item{NotBefore: later}
		}), WaitingForPeriod, later, nil},
		{"a replay is due before what is new", with(func(s *Situation) {
			s.Ranges, s.Front = []Item{{NotBefore: now}}, &Item{NotBefore: later}
		}), Due, time.Time{}, nil},
		{"in order, and parked", with(func(s *Situation) {
			s.InOrder, s.Front = true, &Item{NotBefore: later, Fault: broken, Parked: true}
		}), Parked, time.Time{}, broken},
		{"more than the HAT may have", with(func(s *Situation) { s.Quota, s.QuotaEnds, s.Front = broken, later, &Item{NotBefore: now} }), OverQuota, later, broken},
		{"that, and nothing to do", with(func(s *Situation) { s.Quota = broken }), WaitingForData, time.Time{}, nil},
		{"manual, with data", waits(Item{}), WaitingForRequest, time.Time{}, nil},
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

func TestWhyNotesWhatWaitsForSomebody(t *testing.T) {
	now := time.Date(2024, 3, 1, 12, 0, 0, 0, time.UTC)
	version, err := hat.ParseVersion("2.0.0")
	if err != nil {
		t.Fatal(err)
	}
	s := Situation{Enabled: true, Installed: true, Available: true, Trigger: hat.Trigger{Kind: hat.Individual}, Wider: version}
	for range mostNotes + 3 {
		s.Ranges = append(s.Ranges, Item{Parked: true, Run: hat.NewRunID()})
	}
	s.Ranges = append(s.Ranges, Item{NotBefore: now})
	a := Why(s, now)
	if a.Code != Due || len(a.Notes) != 1+mostNotes+1 || a.Notes[0].Code != GrantOutdated || !strings.Contains(a.Notes[0].Text, "2.0.0") ||
		a.Notes[1].Run != s.Ranges[0].Run.String() || !strings.HasPrefix(a.Notes[mostNotes+1].Text, "3 more") {
		t.Errorf("got %+v", a)
	}
	s.Ranges = s.Ranges[:1]
	if a = Why(s, now); a.Code != Parked || a.Run != s.Ranges[0].Run || len(a.Notes) != 1 {
		t.Errorf("got %+v", a)
	}
	s.Enabled = false
	if a = Why(s, now); a.Code != NotEnabled || len(a.Notes) != 1 {
		t.Errorf("got %+v", a)
	}
}
