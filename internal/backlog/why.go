package backlog

import (
	"fmt"
	"time"

	"she/internal/hat"
)

// A Situation is what the answer to "why does it not run?" depends on: what the vault knows of a function at one HAT,
// and the engine of the function.
type Situation struct {
	Enabled bool
	Stopped bool // no engine is at work

	Installed bool
	Available bool
	Problem   *hat.Fault // why it is not available; nil: it has not been asked yet
	// Outdated says that no installed version may run under the grant.
	Outdated *hat.Fault
	// Wider is an installed version that asks for more than was granted; zero: none. The granted one goes on meanwhile.
	Wider hat.Version
	// Quota is why the HAT may have no run now, however much waits; nil: it may. QuotaEnds is zero if no time ends it: the HAT
	// is full.
	Quota     *hat.Fault
	QuotaEnds time.Time

	Trigger hat.Trigger
	InOrder bool
	Running time.Time // since when; zero: it does not
	Front   *Item     // what has come; nil: nothing
	Ranges  []Item    // what waits besides
	Hidden  int       // new records that its last run was not shown, because of a limit of its own
}

// A Code names an Answer for machines. Each is stable.
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

// An Answer says what a function at one HAT is waiting for. Until is zero unless time alone will end it; Fault is what
// has to be mended, if anything; Run is what may be replayed or skipped.
type Answer struct {
	Code  Code
	Text  string
	Until time.Time
	Fault *hat.Fault
	Run   hat.RunID
	Notes []Note // what keeps nothing from running and still waits for somebody
}

// A Note is beside the answer: what is parked, a newer version that asks for more.
type Note struct {
	Code  Code       `json:"code"`
	Text  string     `json:"text"`
	Fault *hat.Fault `json:"fault,omitempty"`
	Run   string     `json:"run,omitempty"`
}

// mostNotes bounds how many parked ranges are named one by one.
const mostNotes = 5

// Why says why the function does not run at this moment, or that it does. Of several reasons it is the one that has to
// go first.
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

// first is what of all that waits will be done next: by itself the soonest, else the front, else what is parked longest.
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

// byItself says that time alone makes it run.
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
