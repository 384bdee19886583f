package hatapi

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"she/internal/edge"
	"she/internal/engine"
	"she/internal/hat"
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

// serviceTriggers lets services run functions without watching the runs of others, or their own, by trying again and again.
// A try that finds the function taken is the only look of its minute: until the next full one the answer stays the
// same, and nobody looks. While a service waits for the end of its run, every other try of a service is told that the
// function is busy, up to the step at which the first is told: only then may anybody know that the run is over.
type serviceTriggers struct {
	mu     sync.Mutex
	minute int64
	held   map[seenKey]error    // what is answered until the minute is over; at most maxSeenTimes
	under  map[seenKey]struct{} // tries that are not answered yet
}

// try runs the function as a service may, and says whether it ran for this try.
func (t *serviceTriggers) try(ctx context.Context, k seenKey, now func() time.Time, run func() error) (ran bool, err error) {
	if answer := t.begin(k, now()); answer != nil {
		return false, inSteps(ctx, func() error { return answer })
	}
	err = inSteps(ctx, run)
	var failed *engine.FailedError
	switch {
	case ctx.Err() != nil:
		// Nobody was told anything, and the run goes on.
		t.end(k, now(), engine.ErrBusy)
		return false, err
	case err == nil, errors.As(err, &failed) && failed.Run != (hat.RunID{}):
		t.end(k, now(), nil)
		return true, err
	case errors.Is(err, engine.ErrBusy), failed != nil: // failed without a run: over its quota, say, which other runs use up
		t.end(k, now(), err)
	default:
		t.end(k, now(), nil)
	}
	return false, err
}

// begin gives the answer if there is one without a look, else nil: then end must follow.
func (t *serviceTriggers) begin(k seenKey, now time.Time) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.turn(now)
	if err := t.held[k]; err != nil {
		return err
	}
	if _, under := t.under[k]; under || len(t.held) >= maxSeenTimes {
		return engine.ErrBusy
	}
	t.under[k] = struct{}{}
	return nil
}

func (t *serviceTriggers) end(k seenKey, now time.Time, hold error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.turn(now)
	delete(t.under, k)
	if hold != nil {
		t.held[k] = hold
	}
}

func (t *serviceTriggers) turn(now time.Time) {
	if t.under == nil {
		t.under = map[seenKey]struct{}{}
	}
	if minute := now.Unix() / 60; minute != t.minute || t.held == nil {
		t.minute, t.held = minute, map[seenKey]error{}
	}
}

// toNextMinute is when a service may look again, as seconds for Retry-After.
func toNextMinute(now time.Time) string { return strconv.FormatInt(60-now.Unix()%60, 10) }

// seenTimes are the times of runs as services see them: to the minute, and within a minute always the same, so that
// whoever asks all the time sees no run end.
type seenTimes struct {
	mu     sync.Mutex
	minute int64
	of     map[seenKey]runTimes // at most maxSeenTimes
}

type seenKey struct {
	hatID    hat.ID
	function string
}

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
func (s *API) asSeen(q *edge.Request, state *vault.FunctionState) *vault.FunctionState {
	if state == nil || q.Caller.IsOwner() {
		return state
	}
	seen := *state
	at := s.seen.see(seenKey{q.HAT.ID, state.Grant.Function.String()}, q.Now, runTimes{state.LastExecution, state.Started})
	seen.LastExecution, seen.Started = at.last, at.started
	return &seen
}
