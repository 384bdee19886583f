package httpapi

import (
	"context"
	"sync"
	"time"

	"she/internal/vault"
)

// A function can say something by how long it runs. The Owner sees that to the millisecond; services that may trigger a
// function or list functions see it in steps.

// steps are when a service is told that a run is over, from when it asked for it.
var steps = []time.Duration{
	100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2500 * time.Millisecond,
	5 * time.Second, 10 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute, 15 * time.Minute,
}

// stepAfter is the first step that is not before d; past the last one, full quarters of an hour.
func stepAfter(d time.Duration) time.Duration {
	for _, step := range steps {
		if d <= step {
			return step
		}
	}
	last := steps[len(steps)-1]
	return (d + last - 1) / last * last
}

// inSteps does something, and answers at the next step after it.
func inSteps(ctx context.Context, do func() error) error {
	began := time.Now()
	err := do()
	took := time.Since(began)
	wait := time.NewTimer(stepAfter(took) - took)
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-ctx.Done():
	}
	return err
}

// seenTimes are the times of runs as services see them: to the minute, and within a minute always the same, so that
// whoever asks all the time sees no run end.
type seenTimes struct {
	mu     sync.Mutex
	minute int64
	of     map[seenKey]runTimes // at most maxSeenTimes
}

type seenKey struct{ hatID, function string }

type runTimes struct{ last, started time.Time }

const maxSeenTimes = 10_000

func (t *seenTimes) see(k seenKey, now time.Time, at runTimes) runTimes {
	t.mu.Lock()
	defer t.mu.Unlock()
	if minute := now.Unix() / 60; minute != t.minute || t.of == nil {
		t.minute, t.of = minute, map[seenKey]runTimes{}
	}
	if seen, found := t.of[k]; found {
		return seen
	}
	if len(t.of) >= maxSeenTimes {
		return runTimes{}
	}
	seen := runTimes{at.last.Truncate(time.Minute), at.started.Truncate(time.Minute)}
	t.of[k] = seen
	return seen
}

// forget is for a service whose own run is over, which it has been told.
func (t *seenTimes) forget(k seenKey) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.of, k)
}

// asSeen is the state of a function as the caller sees it.
func (s *server) asSeen(q *request, state *vault.FunctionState) *vault.FunctionState {
	if state == nil || q.caller.IsOwner() {
		return state
	}
	seen := *state
	at := s.seen.see(seenKey{q.hat.ID, state.Grant.Function.String()}, q.now, runTimes{state.LastExecution, state.Started})
	seen.LastExecution, seen.Started = at.last, at.started
	return &seen
}
