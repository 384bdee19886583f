package httpapi

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"she/internal/access"
	"she/internal/engine"
	"she/internal/hat"
	"she/internal/plan"
)

// Runs that end within one step are told to a service at one moment.
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

// A service sees when a function ran to the minute, and within a minute always the same: it can't watch a run end. The
// Owner sees it as it is.
func TestServicesSeeTimesOfRunsToTheMinute(t *testing.T) {
	w := newWorld(t, withFunctions(count, functionNamed("counter")))
	w.get("bob", functions+"/counter/enable").want(200)
	w.advance(10*time.Minute + 7*time.Second + 123*time.Millisecond)
	seen := func(who string) string {
		t.Helper()
		at := func(p *string) string {
			if p == nil {
				return ""
			}
			return *p
		}
		s := w.get(who, functions+"/counter").want(200).functionStatus()
		var list []struct{ Status wireStatus }
		w.get(who, functions).want(200).decode(&list)
		if at(list[0].Status.LastExecution) != at(s.LastExecution) || s.ExecutionStarted != nil {
			t.Errorf("%s: the list says otherwise than the function", who)
		}
		return at(s.LastExecution)
	}
	if got := seen("hpp"); got != "" {
		t.Errorf("before any run: %s", got)
	}
	w.get("bob", functions+"/counter/trigger").want(200)
	exact := w.clock().UTC().Format("2006-01-02T15:04:05.000Z")
	if got := seen("bob"); got != exact {
		t.Errorf("the owner sees %s, want %s", got, exact)
	}
	if got := seen("hpp"); got != "" {
		t.Errorf("in the same minute a service sees %s", got)
	}
	w.advance(time.Minute)
	minute := w.clock().Add(-time.Minute).UTC().Truncate(time.Minute).Format("2006-01-02T15:04:05.000Z")
	if got := seen("hpp"); got != minute {
		t.Errorf("a minute later a service sees %s, want %s", got, minute)
	}
	// A run of its own is over when it is told so, and never sooner than the first step.
	began := time.Now()
	w.get("hpp", functions+"/counter/trigger").want(200)
	if time.Since(began) < steps[0] {
		t.Error("a service learns how long a run took")
	}
	if got, want := seen("hpp"), w.clock().UTC().Truncate(time.Minute).Format("2006-01-02T15:04:05.000Z"); got != want {
		t.Errorf("after its own run a service sees %s, want %s", got, want)
	}
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

// A service that tries over and over while a run goes on does not learn when it ends: neither of its own, before it is told,
// nor of another's, before the minute is over.
func TestServicesDoNotTimeRunsByTrying(t *testing.T) {
	own, others := seenKey{"hat", "own"}, seenKey{"hat", "others"}
	over := &engine.FailedError{Fault: &hat.Fault{Code: "Quota.Runs"}} // no run: others have used the day's up
	for name, c := range map[string]struct {
		key    seenKey
		before time.Duration // the run has gone on when the first try comes
		busy   error         // what a look finds while it goes on; nil: the first try is the run
		want   time.Duration // from when on a try may look again
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
					told := time.Hour // the first try that is not answered as the busy ones are
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

// Who goes away from a run of their own is told nothing of it, and may look once in a minute.
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

// Over HTTP: the owner's run, which a service tries to see the end of; and the service's own.
func TestAServiceThatTriesWhileARunGoesOn(t *testing.T) {
	started, goOn := make(chan struct{}), make(chan struct{})
	var waits atomic.Bool // the next run does
	w := newWorld(t, withFunctions(func(ctx context.Context, name string, event []byte) ([]byte, error) {
		if name == "counter" && waits.Swap(false) {
			started <- struct{}{}
			<-goOn
		}
		return count(ctx, name, event)
	}, functionNamed("counter")))
	w.get("bob", functions+"/counter/enable").want(200)
	w.advance(time.Minute - w.clock().Sub(w.clock().Truncate(time.Minute)) + 20*time.Second)
	ends := make(chan answer, 1)
	busy := func(who string) {
		t.Helper()
		a := w.get(who, functions+"/counter/trigger").want(500)
		if a.header.Get("Retry-After") != "40" {
			t.Errorf("busy: Retry-After is %s, want the rest of the minute", a.header.Get("Retry-After"))
		}
	}
	trigger := func(who string) {
		waits.Store(true)
		go func() { ends <- w.get(who, functions+"/counter/trigger") }()
		<-started
	}
	w.addUser("hpp2", access.Role{Title: access.TitlePlatform})

	trigger("bob")
	busy("hpp")
	goOn <- struct{}{}
	(<-ends).want(200)
	busy("hpp")
	busy("hpp2") // two services know no more than one
	trigger("bob")
	goOn <- struct{}{} // the owner is not held to it
	(<-ends).want(200)

	w.advance(time.Minute)
	trigger("hpp")
	busy("hpp2")
	goOn <- struct{}{}
	(<-ends).want(200)
	trigger("hpp2") // it has not looked while the run went on
	goOn <- struct{}{}
	(<-ends).want(200)
}

// What a run stores is known to services in steps: to the MB and the thousand, and not when.
func TestServicesSeeWhatAHATHoldsInSteps(t *testing.T) {
	w := newWorld(t)
	w.post("bob", "/api/v2.6/data/a/x", `{"v":1}`).want(201)
	var owner, before, after storageOf
	w.get("hpp", own+"/storage").want(200).decode(&before)
	status := w.get("hpp", "/api/v2.6/system/status").want(200).body
	w.get("bob", own+"/storage").want(200).decode(&owner)
	if owner.Used.Records != 1 || owner.Used.Bytes%(1<<20) == 0 {
		t.Errorf("the owner sees %+v", owner.Used)
	}
	if before.Used != (plan.Held{Bytes: 1 << 20, Records: 1000}) || !strings.Contains(status, `"metric":1,"units":"MB"`) {
		t.Errorf("a service sees %+v and %s", before.Used, status)
	}
	w.post("bob", "/api/v2.6/data/a/x", `{"v":"`+strings.Repeat("x", 2<<20)+`"}`).want(201)
	w.get("hpp", own+"/storage").want(200).decode(&after)
	if after.Used != before.Used || w.get("hpp", "/api/v2.6/system/status").body != status {
		t.Error("a service sees within a minute when something is stored")
	}
	w.advance(time.Minute)
	w.get("hpp", own+"/storage").want(200).decode(&after)
	if after.Used != (plan.Held{Bytes: 3 << 20, Records: 1000}) {
		t.Errorf("a minute later a service sees %+v", after.Used)
	}
}
