// Package trigger decides which functions new data makes due, and when: step 3 of the walk. Its functions are
// pure. The vault calls them inside the transaction that stores the data, and stores the verdict.
package trigger

import (
	"slices"
	"time"

	"she/internal/access"
	"she/internal/hat"
)

// MaxDepth bounds how many functions may stand between a person's record and a record that makes a function
// due. Functions that read each other's output end here at the latest.
const MaxDepth = 8

// An Event is one record that was written or changed.
type Event struct {
	Seq      hat.Seq
	Endpoint hat.Endpoint
	Chain    []hat.FunctionID // the functions that the record derives from, its writer last; empty: a person or plug wrote it
	Created  time.Time        // of the record
	Born     hat.Seq          // the record's position when it was created
}

// A State is what the decision needs to know about an enabled function.
type State struct {
	Grant         access.Grant
	LastExecution time.Time // zero: never
}

// A Stop is the reason why a record that a function reads does not make it due.
type Stop string

const (
	NotStopped Stop = ""
	// ChainVisited: the function is itself in the record's chain, so running it would close a circle.
	ChainVisited Stop = "visited"
	// ChainTooLong: the record's chain has MaxDepth functions already.
	ChainTooLong Stop = "too long"
)

// A Verdict says what a set of events means for one function. Both halves may be set: one record can raise
// work while another is stopped.
type Verdict struct {
	// Upto is the newest event that the function should see; 0: no event concerns it.
	Upto hat.Seq
	// NotBefore is when the work becomes due; zero for a manual function, which waits for a request.
	NotBefore time.Time
	// Chain is the longest chain among the events. Derived records continue it.
	Chain []hat.FunctionID

	// Stopped is why events were stopped; StoppedAt and StoppedChain are those of the newest one.
	Stopped      Stop
	StoppedAt    hat.Seq
	StoppedChain []hat.FunctionID
}

// Raised reports whether there is new work.
func (v Verdict) Raised() bool { return v.Upto > 0 }

// Judge decides what events mean for the function s. An individual function is due now. A periodic one is due
// a period after its last execution, or now if it never ran. A manual one waits for a request. The function's
// own records, and those too old for its grant, are ignored. A record is stopped if the function is in its
// chain, or if the chain has MaxDepth functions.
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

// NotBefore returns when work that arrives now becomes due; zero: on request. If the last execution lies
// ahead of the clock, which was set back, it counts as now: the next is one period away.
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
