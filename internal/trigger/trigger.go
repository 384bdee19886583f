// Package trigger decides which functions new data makes due, and when: step 3 of the walk. It is a function of its
// arguments; the vault calls it inside the transaction that stores the data and stores what it says.
package trigger

import (
	"slices"
	"time"

	"she/internal/access"
	"she/internal/hat"
)

// MaxDepth bounds how many functions may stand between what a person wrote and a record that makes another function
// due. Functions that read each other's output end here if they didn't end before.
const MaxDepth = 8

// An Event is one record that was written or changed.
type Event struct {
	Seq      hat.Seq
	Endpoint hat.Endpoint
	Chain    []hat.FunctionID // the functions behind the record, its writer last; empty: a person or plug wrote it
	Created  time.Time        // of the record
	Born     hat.Seq          // its position then
}

// A State is what the decision needs to know of an enabled function.
type State struct {
	Grant         access.Grant
	LastExecution time.Time // zero: never
}

// A Stop says why a record that a function reads does not make it due.
type Stop string

const (
	NotStopped Stop = ""
	// ChainVisited: the function is itself among those behind the record. Running it again would go in circles.
	ChainVisited Stop = "visited"
	// ChainTooLong: MaxDepth functions stand behind the record already.
	ChainTooLong Stop = "too long"
)

// A Verdict is what a set of events means for one function. Both halves may be set: one record can raise work while
// another is stopped.
type Verdict struct {
	// Upto is the newest event the function should see; 0: none of them concerns it.
	Upto hat.Seq
	// NotBefore is when the work becomes due. Zero for a manual function: the work waits until somebody asks.
	NotBefore time.Time
	// Chain is that of the event with the longest one: derived records continue it.
	Chain []hat.FunctionID

	// Stopped says that the newest event of those that would have come too far was at StoppedAt, behind StoppedChain.
	Stopped      Stop
	StoppedAt    hat.Seq
	StoppedChain []hat.FunctionID
}

// Raised says that there is work to remember.
func (v Verdict) Raised() bool { return v.Upto > 0 }

// Judge says what events mean for the function s: individual functions are due now, periodic ones when their period
// since the last execution is over (now, if they never ran), manual ones when somebody asks. What the function wrote
// itself, or may not be shown because of its age, means nothing to it; what it is further up the chain of, or what is
// MaxDepth deep, is stopped.
func Judge(s State, events []Event, now time.Time) Verdict {
	var v Verdict
	reads := s.Grant.Bundle.Endpoints()
	for _, e := range events {
		if !slices.Contains(reads, e.Endpoint) || writer(e.Chain) == s.Grant.Function || !s.Grant.Shows(e.Born, e.Created) {
			continue
		}
		switch stop := stopOf(s.Grant.Function, e.Chain); {
		case stop != NotStopped:
			if e.Seq > v.StoppedAt {
				v.Stopped, v.StoppedAt, v.StoppedChain = stop, e.Seq, e.Chain
			}
		default:
			v.Upto = max(v.Upto, e.Seq)
			if len(e.Chain) > len(v.Chain) {
				v.Chain = e.Chain
			}
		}
	}
	if v.Raised() {
		v.NotBefore = NotBefore(s, now)
	}
	return v
}

// NotBefore is when work that arrives now becomes due; zero: when somebody asks. A last execution ahead of the clock, which
// was set back then, counts as one of now: the next is a period away, neither at once nor a period and a day.
func NotBefore(s State, now time.Time) time.Time {
	switch s.Grant.Trigger.Kind {
	case hat.Individual:
		return now
	case hat.Periodic:
		if s.LastExecution.IsZero() {
			return now
		}
		last := s.LastExecution
		if last.After(now) {
			last = now
		}
		if over := s.Grant.Trigger.Period.After(last); over.After(now) {
			return over
		}
		return now
	case hat.Manual:
	}
	return time.Time{}
}

func stopOf(f hat.FunctionID, chain []hat.FunctionID) Stop {
	switch {
	case slices.Contains(chain, f):
		return ChainVisited
	case len(chain) >= MaxDepth:
		return ChainTooLong
	}
	return NotStopped
}

func writer(chain []hat.FunctionID) hat.FunctionID {
	if len(chain) == 0 {
		return hat.FunctionID{}
	}
	return chain[len(chain)-1]
}
