package trigger

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

	Trigger hat.Trigger
	Running time.Time // since when; zero: it does not
	Waiting *Waiting  // nil: there is nothing to do
	Hidden  int       // new records that its last run was not shown, because of a limit of its own
}

// Waiting is work that is not done yet.
type Waiting struct {
	NotBefore time.Time // zero: until somebody asks
	Attempt   int       // failed ones so far
	Fault     *hat.Fault
	Parked    bool
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
	WaitingForData    Code = "waiting-for-data"
	WaitingForRequest Code = "waiting-for-request"
	WaitingForPeriod  Code = "waiting-for-period"
	WaitingForRetry   Code = "waiting-for-retry"
	Parked            Code = "parked"
	HiddenByLimit     Code = "hidden-by-limit"
	Due               Code = "due"
)

// An Answer says what a function at one HAT is waiting for. Until is zero unless time alone will end it; Fault is what
// has to be mended, if anything.
type Answer struct {
	Code  Code
	Text  string
	Until time.Time
	Fault *hat.Fault
}

// Why says why the function does not run at this moment, or that it does. Of several reasons it is the one that has to
// go first.
func Why(s Situation, now time.Time) Answer {
	switch {
	case !s.Enabled:
		return Answer{Code: NotEnabled, Text: "the owner has not switched it on"}
	case s.Stopped:
		return Answer{Code: EngineStopped, Text: "no server is running over this data directory"}
	case !s.Running.IsZero():
		return Answer{Code: Running, Text: "it is running now"}
	case !s.Installed:
		return Answer{Code: NotInstalled, Text: "it is switched on, but not installed on this server any more"}
	case !s.Available && s.Problem != nil:
		return Answer{Code: NotAvailable, Text: "it is installed, but can't run: " + s.Problem.Text, Fault: s.Problem}
	case !s.Available:
		return Answer{Code: Loading, Text: "the server is still asking it for its configuration"}
	case s.Outdated != nil:
		return Answer{Code: GrantOutdated, Text: s.Outdated.Text, Fault: s.Outdated}
	}
	if s.Waiting == nil {
		return idle(s)
	}
	w := *s.Waiting
	switch {
	case w.Parked:
		return Answer{Code: Parked, Fault: w.Fault,
			Text: fmt.Sprintf("it failed %s and waits for new data, or for somebody to run it again", times(w.Attempt))}
	case w.NotBefore.IsZero():
		return Answer{Code: WaitingForRequest, Text: "there is data for it; it runs when somebody asks"}
	case !w.NotBefore.After(now):
		return Answer{Code: Due, Text: "it is due and waits for its turn"}
	case w.Attempt > 0:
		return Answer{Code: WaitingForRetry, Until: w.NotBefore, Fault: w.Fault,
			Text: fmt.Sprintf("it failed %s and is tried again after a pause", times(w.Attempt))}
	}
	return Answer{Code: WaitingForPeriod, Until: w.NotBefore, Text: "there is data for it; its period is not over yet"}
}

func idle(s Situation) Answer {
	switch {
	case s.Hidden > 0:
		return Answer{Code: HiddenByLimit, Text: fmt.Sprintf(
			"nothing new has come; its last run was not shown %d new records, because of a limit in its own bundle", s.Hidden)}
	case s.Trigger.Kind == hat.Manual:
		return Answer{Code: WaitingForRequest, Text: "it runs when somebody asks; there is nothing new for it"}
	}
	return Answer{Code: WaitingForData, Text: "nothing that it reads has come since it last ran"}
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}
