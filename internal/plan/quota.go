package plan

import (
	"fmt"
	"time"

	"she/internal/hat"
)

// A Quota bounds how much one function may run at one HAT in a day, from midnight to midnight UTC, on request
// too. It protects the machine from a function, and people from each other. Zero: no bound.
type Quota struct {
	Runs    int
	Compute time.Duration // time in the two entries and in evaluating the bundle, by the clock
}

// None reports whether nothing is bounded.
func (q Quota) None() bool { return q == Quota{} }

// Used is what the runs of one function have used of a day. Abandoned runs don't count.
type Used struct {
	Runs    int
	Compute time.Duration
}

// Codes of faults of a used-up quota.
const (
	CodeRuns    = "Quota.Runs"
	CodeCompute = "Quota.Compute"
)

// Day returns the UTC day of now, over which a quota counts.
func Day(now time.Time) (from, until time.Time) {
	y, m, d := now.UTC().Date()
	from = time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
	return from, from.AddDate(0, 0, 1)
}

// Over returns why no further run may begin at now, and until when; nil: one may. The time of a run is known
// only at its end, so the last run of a day may exceed the quota.
func (q Quota) Over(used Used, now time.Time) (*hat.Fault, time.Time) {
	_, until := Day(now)
	end := until.Format(time.RFC3339)
	switch {
	case q.Runs > 0 && used.Runs >= q.Runs:
		return hat.NewFault(hat.Owner, CodeRuns, fmt.Sprintf("it has had the %d runs a day that this server allows; it goes on at %s", q.Runs, end)), until
	case q.Compute > 0 && used.Compute >= q.Compute:
		return hat.NewFault(hat.Owner, CodeCompute, fmt.Sprintf("it has had the %s of computing a day that this server allows; it goes on at %s", q.Compute, end)), until
	}
	return nil, time.Time{}
}
