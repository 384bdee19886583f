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

// A function can reveal information by its running time. The Owner sees this time to the millisecond.
// Services that may trigger or list functions see it rounded to steps.

// steps are the times, counted from the request, at which a service may be told that a run is over.
var steps = []time.Duration{
	100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2500 * time.Millisecond,
	5 * time.Second, 10 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute, 15 * time.Minute,
}

// stepAfter returns the first step that is not before d. After the last step it rounds up to a full quarter
// of an hour.
func stepAfter(d time.Duration) time.Duration {
	for _, step := range steps {
		if d <= step {
			return step
		}
	}
	last := steps[len(steps)-1]
	return (d + last - 1) / last * last
}

// inSteps calls do, and returns at the next step after do has ended.
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

// serviceTriggers lets services run functions, but not measure runs by trying again and again. This holds for
// their own runs and for the runs of others. If a try finds the function busy, every later try of that minute
// gets the same answer without a check. While a service waits for the end of its run, all other tries of
// services are told that the function is busy. This lasts until the step at which the first service is told
// that the run is over.
type serviceTriggers struct {
	mu     sync.Mutex
	minute int64
	held   map[seenKey]error    // the answers that hold until the minute is over; at most maxSeenTimes
	under  map[seenKey]struct{} // tries that have no answer yet
}

// try runs the function for a service. ran is true if the function ran for this try.
func (t *serviceTriggers) try(ctx context.Context, k seenKey, now func() time.Time, run func() error) (ran bool, err error) {
	if answer := t.begin(k, now()); answer != nil {
		return false, inSteps(ctx, func() error { return answer })
	}
	err = inSteps(ctx, run)
	var failed *engine.FailedError
	switch {
	case ctx.Err() != nil:
		// The client got no answer, and the run goes on.
		t.end(k, now(), engine.ErrBusy)
		return false, err
	case err == nil, errors.As(err, &failed) && failed.Run != (hat.RunID{}):
		t.end(k, now(), nil)
		return true, err
	case errors.Is(err, engine.ErrBusy), failed != nil: // no run: over a quota, say, that other runs use up
		t.end(k, now(), err)
	default:
		t.end(k, now(), nil)
	}
	return false, err
}

// begin returns the answer if it is known without a check. It returns nil otherwise, and then end must
// follow.
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

// toNextMinute returns the seconds until a service may try again, for Retry-After.
func toNextMinute(now time.Time) string { return strconv.FormatInt(60-now.Unix()%60, 10) }

// seenTimes holds the times of runs as services see them: rounded down to the minute, and unchanged within a
// minute. A service that asks repeatedly can't see when a run ends.
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

// forget drops the stored times, for a service that was told the end of its own run.
func (t *seenTimes) forget(k seenKey) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.of, k)
}

// asSeen returns the state of a function as the caller sees it.
func (s *API) asSeen(q *edge.Request, state *vault.FunctionState) *vault.FunctionState {
	if state == nil || q.Caller.IsOwner() {
		return state
	}
	seen := *state
	at := s.seen.see(seenKey{q.HAT.ID, state.Grant.Function.String()}, q.Now, runTimes{state.LastExecution, state.Started})
	seen.LastExecution, seen.Started = at.last, at.started
	return &seen
}
