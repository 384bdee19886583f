package hatapi

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"she/internal/engine"
	"she/internal/hat"
)

// A service gets the answers of all runs that end within one step at the same moment.
func TestServicesAreToldOfRunsInSteps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failed := errors.New("failed")
		for took, want := range map[time.Duration]time.Duration{
			0:                        100 * time.Millisecond,
			time.Nanosecond:          100 * time.Millisecond,
			100 * time.Millisecond:   100 * time.Millisecond,
			101 * time.Millisecond:   250 * time.Millisecond,
			249 * time.Millisecond:   250 * time.Millisecond,
			11 * time.Second:         30 * time.Second,
			29 * time.Second:         30 * time.Second,
			300 * time.Second:        300 * time.Second,
			301 * time.Second:        15 * time.Minute,
			16 * time.Minute:         30 * time.Minute,
			30*time.Minute + 1:       45 * time.Minute,
			24*time.Hour - time.Hour: 23 * time.Hour,
		} {
			began := time.Now()
			err := inSteps(t.Context(), func() error { time.Sleep(took); return failed })
			if got := time.Since(began); got != want || !errors.Is(err, failed) {
				t.Errorf("a run of %s is told after %s (%v), want %s", took, got, err, want)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		began := time.Now()
		_ = inSteps(ctx, func() error { time.Sleep(time.Minute + 1); cancel(); return nil })
		if time.Since(began) > time.Minute+1 {
			t.Error("who has gone away is waited for")
		}
	})
}

func TestSeenTimesAreBounded(t *testing.T) {
	var s seenTimes
	for i := range maxSeenTimes + 10 {
		s.see(seenKey{"hat", time.Duration(i).String()}, morning, runTimes{morning, time.Time{}})
	}
	if len(s.of) != maxSeenTimes {
		t.Errorf("%d are kept", len(s.of))
	}
	if got := s.see(seenKey{"hat", "one more"}, morning, runTimes{morning, morning}); got != (runTimes{}) {
		t.Errorf("over the bound: %+v", got)
	}
	if s.see(seenKey{"hat", "one more"}, morning.Add(time.Minute), runTimes{morning, morning}); len(s.of) != 1 {
		t.Error("the last minute is kept")
	}
}

// A service that tries again and again during a run does not learn when the run ends. Of its own run it
// learns this only with the answer, of another's run only when the minute is over.
func TestServicesDoNotTimeRunsByTrying(t *testing.T) {
	own, others := seenKey{"hat", "own"}, seenKey{"hat", "others"}
	over := &engine.FailedError{Fault: &hat.Fault{Code: "Quota.Runs"}} // no run: the quota is used up
	for name, c := range map[string]struct {
		key    seenKey
		before time.Duration // how long the run has gone on at the first try
		busy   error         // the result of a check during the run; nil: the first try is the run
		want   time.Duration // when a try may check again
	}{
		"its own run":       {own, 0, nil, 2500 * time.Millisecond},
		"another's run":     {others, time.Second, engine.ErrBusy, time.Minute},
		"another's amounts": {others, time.Second, over, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			for _, takes := range []time.Duration{1130 * time.Millisecond, 1310 * time.Millisecond, 1690 * time.Millisecond, 2410 * time.Millisecond} {
				synctest.Test(t, func(t *testing.T) {
					time.Sleep(time.Until(time.Now().Truncate(time.Minute).Add(time.Minute))) // synctest's clock
					began := time.Now()
					var (
						triggers serviceTriggers
						mu       sync.Mutex
						looks    int
						wg       sync.WaitGroup
					)
					run := func() error {
						mu.Lock()
						looks++
						first := looks == 1
						mu.Unlock()
						if c.busy == nil && first {
							time.Sleep(takes)
							return nil
						}
						if time.Since(began) < takes {
							return cmp.Or(c.busy, engine.ErrBusy)
						}
						return nil
					}
					if c.busy != nil {
						time.Sleep(c.before)
					}
					told := time.Hour // the first try with another answer than busy
					for time.Since(began) < 2*time.Minute {
						wg.Go(func() {
							at := time.Since(began)
							ran, err := triggers.try(t.Context(), c.key, time.Now, run)
							mu.Lock()
							defer mu.Unlock()
							if own := c.busy == nil && at == 0; ran && !own {
								told = min(told, at)
							} else if !own && !ran && !errors.Is(err, engine.ErrBusy) && (c.busy == nil || !errors.Is(err, c.busy)) {
								t.Errorf("a try after %s: %v", at, err)
							}
						})
						time.Sleep(10 * time.Millisecond)
					}
					wg.Wait()
					if told < c.want || told > c.want+10*time.Millisecond {
						t.Errorf("a run of %s is over to a service after %s, want %s", takes, told, c.want)
					}
				})
			}
		})
	}
}

// A service that hangs up during its own run gets no answer about it, and may check once in a minute.
func TestServicesThatHangUpDoNotTimeTheirRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Now().Truncate(time.Minute).Add(time.Minute)))
		began := time.Now()
		var triggers serviceTriggers
		ctx, hangUp := context.WithTimeout(t.Context(), time.Second)
		defer hangUp()
		_, err := triggers.try(ctx, seenKey{"hat", "f"}, time.Now, func() error { <-ctx.Done(); return ctx.Err() })
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		for {
			ran, err := triggers.try(t.Context(), seenKey{"hat", "f"}, time.Now, func() error { return nil })
			at := time.Since(began) - steps[0]
			if ran != (at >= time.Minute) || !ran && !errors.Is(err, engine.ErrBusy) {
				t.Fatalf("after %s: %v, %v", at, ran, err)
			}
			if ran {
				return
			}
		}
	})
}
