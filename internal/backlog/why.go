package backlog

import (
	"fmt"
	"time"

	"she/internal/hat"
)

// A Situation holds everything that the answer to "why does it not run?" depends on: what the vault knows of
// a function at one HAT, and what the engine knows of the function.
type Situation struct {
	Enabled bool
	Stopped bool // the engine is stopped

	Installed bool
	Available bool
	Problem   *hat.Fault // why it is not available; nil: it has not been asked yet
	// Outdated is set if no installed version may run under the grant.
	Outdated *hat.Fault
	// Wider is an installed version that asks for more than was granted; zero: none. The granted version
	// still runs.
	Wider hat.Version
	// Quota says why the HAT may have no run now; nil: it may. QuotaEnds is when that ends, or zero if the
	// HAT is full.
	Quota     *hat.Fault
	QuotaEnds time.Time

	Trigger hat.Trigger
	InOrder bool
	Running time.Time // since when a run is in flight; zero: none is
	Front   *Item     // data since the cursor; nil: none
	Ranges  []Item    // other pending work
	Hidden  int       // new records that a limit in the function's own bundle kept from its last run
}

// A Code names the reason for machines. Codes are stable.
type Code string

const (
	NotEnabled        Code = "not-enabled"
	EngineStopped     Code = "engine-stopped"
	Running           Code = "running"
	NotInstalled      Code = "not-installed"
	NotAvailable      Code = "not-available"
	Loading           Code = "loading"
	GrantOutdated     Code = "grant-outdated"
	OverQuota         Code = "over-quota"
	WaitingForData    Code = "waiting-for-data"
	WaitingForRequest Code = "waiting-for-request"
	WaitingForPeriod  Code = "waiting-for-period"
	WaitingForRetry   Code = "waiting-for-retry"
	Parked            Code = "parked"
	HiddenByLimit     Code = "hidden-by-limit"
	Due               Code = "due"
)

// An Answer says what a function at one HAT is waiting for. Until is zero unless it ends by time alone. Fault
// is what must be mended, if anything. Run can be replayed or skipped.
type Answer struct {
	Code  Code
	Text  string
	Until time.Time
	Fault *hat.Fault
	Run   hat.RunID
	Notes []Note // what needs a person's attention but keeps nothing from running
}

// A Note accompanies the answer: parked work, or a newer version that asks for more.
type Note struct {
	Code  Code       `json:"code"`
	Text  string     `json:"text"`
	Fault *hat.Fault `json:"fault,omitempty"`
	Run   string     `json:"run,omitempty"`
}

// mostNotes is how many parked ranges are listed.
const mostNotes = 5

// Why returns the reason why the function does not run now, or that it runs. Of several reasons it returns
// the one that must be removed first.
func Why(s Situation, now time.Time) Answer {
	a := why(s, now)
	if s.Enabled && s.Outdated == nil && s.Wider != (hat.Version{}) {
		a.Notes = append(a.Notes, Note{Code: GrantOutdated, Text: fmt.Sprintf(
			"version %s waits for the owner: it asks for more than was granted; the granted version goes on", s.Wider)})
	}
	parked := 0
	for _, w := range s.Ranges {
		if !w.Parked {
			continue
		}
		if parked++; parked <= mostNotes && w.Run != a.Run {
			a.Notes = append(a.Notes, Note{Code: Parked, Fault: w.Fault, Run: w.Run.String(),
				Text: fmt.Sprintf("older data is parked: it failed %s; somebody may replay or skip it", times(w.Attempt))})
		}
	}
	if more := parked - mostNotes; more > 0 {
		a.Notes = append(a.Notes, Note{Code: Parked, Text: fmt.Sprintf("%d more ranges are parked", more)})
	}
	return a
}

func why(s Situation, now time.Time) Answer {
	broken := s.Installed && !s.Available && s.Problem != nil
	switch {
	case !s.Enabled && broken && !s.Stopped:
		return Answer{Code: NotAvailable, Text: "it can't be switched on: " + s.Problem.Text, Fault: s.Problem}
	case !s.Enabled:
		return Answer{Code: NotEnabled, Text: "the owner has not switched it on"}
	case s.Stopped:
		return Answer{Code: EngineStopped, Text: "no server is running over this data directory"}
	case !s.Running.IsZero():
		return Answer{Code: Running, Text: "it is running now"}
	case !s.Installed:
		return Answer{Code: NotInstalled, Text: "it is switched on, but not installed on this server any more"}
	case broken:
		return Answer{Code: NotAvailable, Text: "it is installed, but can't run: " + s.Problem.Text, Fault: s.Problem}
	case !s.Available:
		return Answer{Code: Loading, Text: "the server is still asking it for its configuration"}
	case s.Outdated != nil:
		return Answer{Code: GrantOutdated, Text: s.Outdated.Text, Fault: s.Outdated}
	}
	w := first(s)
	if w == nil {
		return idle(s)
	}
	switch {
	case s.Quota != nil && !w.Parked && !w.NotBefore.IsZero():
		return Answer{Code: OverQuota, Text: s.Quota.Text, Until: s.QuotaEnds, Fault: s.Quota}
	case w.Parked && w == s.Front && s.InOrder:
		return Answer{Code: Parked, Fault: w.Fault, Run: w.Run, Text: fmt.Sprintf(
			"it failed %s, and takes its data in order: what is newer waits until somebody replays or skips the run", times(w.Attempt))}
	case w.Parked:
		return Answer{Code: Parked, Fault: w.Fault, Run: w.Run, Text: fmt.Sprintf(
			"it failed %s on data that waits until somebody replays or skips the run; newer data runs when it comes", times(w.Attempt))}
	case w.NotBefore.IsZero():
		return Answer{Code: WaitingForRequest, Text: "there is data for it; it runs when somebody asks"}
	case !w.NotBefore.After(now):
		return Answer{Code: Due, Text: "it is due and waits for its turn"}
	case w.Attempt > 0 && w.Fault != nil && w.Fault.Who == hat.Operator:
		return Answer{Code: WaitingForRetry, Until: w.NotBefore, Fault: w.Fault, Run: w.Run, Text: fmt.Sprintf(
			"it failed %s and is tried again after a pause, until the operator has mended the reason: %s", times(w.Attempt), w.Fault.Text)}
	case w.Attempt > 0:
		return Answer{Code: WaitingForRetry, Until: w.NotBefore, Fault: w.Fault, Run: w.Run,
			Text: fmt.Sprintf("it failed %s and is tried again after a pause", times(w.Attempt))}
	}
	return Answer{Code: WaitingForPeriod, Until: w.NotBefore, Text: "there is data for it; its period is not over yet"}
}

// first returns the item that will run next: the one with the earliest time, else the front, else the one
// parked longest.
func first(s Situation) *Item {
	w := s.Front
	for i := range s.Ranges {
		r := &s.Ranges[i]
		if w == nil || r.byItself() && (!w.byItself() || r.NotBefore.Before(w.NotBefore)) {
			w = r
		}
	}
	return w
}

// byItself reports whether the item will run without a person.
func (w *Item) byItself() bool { return !w.Parked && !w.NotBefore.IsZero() }

func idle(s Situation) Answer {
	switch {
	case s.Hidden > 0:
		return Answer{Code: HiddenByLimit, Text: fmt.Sprintf(
			"nothing new has come; its last run was not shown %d new records, because of a limit in its own bundle", s.Hidden)}
	case s.Trigger.Kind == hat.Manual:
		return Answer{Code: WaitingForRequest, Text: "it runs when somebody asks; there is nothing new for it"}
	}
	return Answer{Code: WaitingForData, Text: "nothing new has come that it reads"}
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}
