package backlog

import (
	"testing"
	"time"

	"she/internal/access"
	"she/internal/hat"
)

// A machine that is out of order for a year parks nothing: each attempt leaves the work due again within minutes.
func TestAYearOfOutagesParksNothing(t *testing.T) {
	now := time.Date(2024, 3, 1, 12, 0, 0, 0, time.UTC)
	over := now.AddDate(1, 0, 0)
	outage := hat.NewFault(hat.Operator, "Sandbox.StartFailed", "a sandbox could not start")
	b := Backlog{
		Enabled: true,
		Grant:   access.Grant{Trigger: hat.Trigger{Kind: hat.Individual}},
		Front:   &Item{Upto: 1, NotBefore: now},
	}
	attempts := 0
	for ; now.Before(over); attempts++ {
		claimed, p, err := b.Claim(Claim{Run: hat.NewRunID(), Now: now, Expires: now.Add(time.Minute), Newest: 1})
		if err != nil {
			t.Fatalf("attempt %d: %v", attempts+1, err)
		}
		b = claimed.Fail(p, outage, now, 0.5).Backlog
		if b.Front == nil || b.Front.Parked || b.Ranges != nil || b.Front.NotBefore.Sub(now) > 10*time.Minute {
			t.Fatalf("after attempt %d: %+v, %+v", attempts+1, b.Front, b.Ranges)
		}
		now = b.Front.NotBefore
	}
	if attempts < 100*365 {
		t.Errorf("%d attempts in a year", attempts)
	}
}
