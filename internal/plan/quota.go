package plan

import (
	"fmt"
	"time"

	"she/internal/hat"
)

// A Quota is how much one function may do at one HAT in a day, from midnight to midnight UTC, whoever asked for it. It
// protects the machine from a function, and other people's runs from one person's. Zero: no bound.
type Quota struct {
	Runs    int
	Compute time.Duration // of the bundle and the process entry and of evaluating the bundle in between, by the clock
}

// None says that nothing is bounded.
func (q Quota) None() bool { return q == Quota{} }

// Used is what runs of one function have taken since a Day began; those that were given back don't count.
type Used struct {
	Runs    int
	Compute time.Duration
}

// Codes of what is over quota.
const (
	CodeRuns    = "Quota.Runs"
	CodeCompute = "Quota.Compute"
)

// Day is the window of a quota that now lies in.
func Day(now time.Time) (from, until time.Time) {
	y, m, d := now.UTC().Date()
	from = time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
	return from, from.AddDate(0, 0, 1)
}

// Over says why there may be no further run at now, and until when; nil: there may. What a run takes is known when it is
// over, so the last one of a day may go beyond.
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
