package engine

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"she/internal/access"
	"she/internal/hat"
	"she/internal/plan"
	"she/internal/vault/ledger"
)

const day = 24 * time.Hour

// A wallClock can be set; time passes in any case.
type wallClock struct{ off atomic.Int64 }

func (c *wallClock) now() time.Time { return time.Now().Add(time.Duration(c.off.Load())).Round(0) }

// setClock sets the clock forward or back and then wakes another HAT, as happens all the time on a real
// server: the engine reads its clock only when something happens.
func (w *world) setClock(c *wallClock, by time.Duration) {
	w.t.Helper()
	c.off.Add(int64(by))
	w.engine.Wake("bob")
	w.settle()
}

// The clock is set by a day while work waits, runs, or can't be done. Nothing is lost or done twice. From
// then on, nothing waits longer than it would have without the change.
// Defect B-23.
func TestTheClockIsSet(t *testing.T) {
	for name, c := range map[string]struct {
		trigger string
		quota   plan.Quota
		// before brings f to its state. It may set f.then, which is called after the clock was set.
		before func(w *world, f *clocked)
		by     time.Duration
		within time.Duration // f has done all its work by then, and not before
		sooner time.Duration
		want   string // its output
		runs   string
	}{
		"forward, when nothing waits": {
			trigger: individual, before: func(w *world, f *clocked) { w.post("alice", "a/x", "1") },
			by: day, want: "1", runs: "committed",
		},
		"back, when nothing waits": {
			trigger: individual, before: func(w *world, f *clocked) { w.post("alice", "a/x", "1") },
			by: -day, want: "1", runs: "committed",
		},
		"forward, when a retry waits": {trigger: individual, before: fails, by: day, want: "1", runs: "failed:Unhandled committed"},
		"back, when a retry waits": {
			trigger: individual, before: fails, by: -day, within: 12 * time.Second, sooner: time.Second,
			want: "1", runs: "failed:Unhandled committed",
		},
		"back by an hour, when a retry waits": {
			trigger: individual, before: fails, by: -time.Hour, within: 12 * time.Second, sooner: time.Second,
			want: "1", runs: "failed:Unhandled committed",
		},
		"forward, when a period waits": {trigger: daily, before: ranToday, by: day, want: "1,2", runs: "committed committed"},
		"back, when a period waits": {
			trigger: daily, before: ranToday, by: -day, within: day, sooner: day - time.Hour, want: "1,2", runs: "committed committed",
		},
		"back, before data comes in a period": {
			trigger: daily, before: func(w *world, f *clocked) {
				w.post("alice", "a/x", "1")
				f.then = func() { w.post("alice", "a/x", "2") }
			}, by: -day, within: day, sooner: day - time.Hour, want: "1,2", runs: "committed committed",
		},
		"back, when a period was over while nobody could run it": {
			trigger: daily, before: func(w *world, f *clocked) {
				w.post("alice", "a/x", "1")
				w.pass(2 * day)
				w.write("alice", "a/x", "2") // without a wake-up
			}, by: -day, want: "1,2", runs: "committed committed",
		},
		"forward, during a run":                {trigger: individual, before: runs, by: day, within: 2 * time.Minute, want: "1", runs: "committed"},
		"back, during a run":                   {trigger: individual, before: runs, by: -day, within: 2 * time.Minute, want: "1", runs: "committed"},
		"forward, between a claim and its run": {trigger: individual, before: claimed, by: day, within: time.Minute, want: "1", runs: "committed"},
		"back, between a claim and its run": { // its time limit ends when it would have ended
			trigger: individual, before: func(w *world, f *clocked) {
				claimed(w, f)
				w.pass(11 * time.Minute) // of the lease's twelve
				f.takes.Store(0)
			}, by: -day, within: 2 * time.Minute, want: "1", runs: "failed:Run.OutOfTime committed",
		},
		"forward, when work is parked": {
			trigger: individual, before: parks, by: day, want: "2,1", runs: parkedRuns + " committed committed",
		},
		"back, when work is parked": {
			trigger: individual, before: parks, by: -day, want: "2,1", runs: parkedRuns + " committed committed",
		},
		"forward, after the server died in a run": {
			trigger: individual, before: dies, by: day, want: "1", runs: "abandoned:Run.Interrupted committed",
		},
		"back, after the server died in a run": {
			trigger: individual, before: dies, by: -day, want: "1", runs: "abandoned:Run.Interrupted committed",
		},
		"forward, when the end of a run could not be stored": {
			trigger: individual, before: endless, by: day, within: time.Minute, want: "1", runs: "failed:Engine.Unexpected committed",
		},
		"back, when the end of a run could not be stored": {
			trigger: individual, before: endless, by: -day, within: time.Minute, want: "1", runs: "failed:Engine.Unexpected committed",
		},
		"forward, when a quota is used up": {
			trigger: individual, quota: plan.Quota{Runs: 1}, before: overQuota, by: day, want: "1,2", runs: "committed committed",
		},
		"back, when a quota is used up": { // the previous day has a quota of its own
			trigger: individual, quota: plan.Quota{Runs: 1}, before: overQuota, by: -day, want: "1,2", runs: "committed committed",
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				f := &clocked{by: c.by}
				w.options.Now, w.options.Quota = f.clock.now, c.quota
				w.install("f", c.trigger, []string{"a/x"}, "she/out", f.do)
				w.start()
				w.addHAT("alice")
				w.addHAT("bob")
				w.enable("alice", "f")
				c.before(w, f)
				w.setClock(&f.clock, f.by)
				if f.then != nil {
					f.then()
				}
				if c.sooner > 0 {
					was := w.at("alice", "she/out")
					if w.pass(c.sooner); w.at("alice", "she/out") != was {
						t.Errorf("within %s it wrote %s", c.sooner, w.at("alice", "she/out"))
					}
				}
				w.pass(c.within - c.sooner)
				expect(t, w.at("alice", "she/out"), c.want)
				expect(t, w.runs("alice", "f"), c.runs)
				w.pass(3 * day)
				expect(t, w.at("alice", "she/out"), c.want)
				expect(t, w.runs("alice", "f"), c.runs)
				if s := w.state("alice", "f"); s.Front != nil || s.Ranges != nil {
					t.Errorf("at the end: %+v", s)
				}
			})
		})
	}
}

// A clocked function writes its input, fails, or takes a minute.
type clocked struct {
	clock wallClock
	fails atomic.Bool
	takes atomic.Int64
	by    time.Duration // the change of the clock that is still to come
	then  func()
}

func (f *clocked) do(entry string, event []byte) ([]byte, error) {
	if f.fails.Load() {
		return failing(entry, event)
	}
	time.Sleep(time.Duration(f.takes.Load())) // time of the synctest bubble
	return writing("she/out", "")(entry, event)
}

func fails(w *world, f *clocked) {
	f.fails.Store(true)
	w.post("alice", "a/x", "1")
	f.fails.Store(false)
}

func ranToday(w *world, _ *clocked) {
	w.post("alice", "a/x", "1")
	w.pass(time.Hour)
	w.post("alice", "a/x", "2")
}

func runs(w *world, f *clocked) {
	f.takes.Store(int64(time.Minute))
	w.post("alice", "a/x", "1")
}

// claimed sets the clock when the claim is stored, before the run knows how much time it has.
func claimed(w *world, f *clocked) {
	f.takes.Store(int64(time.Minute))
	if f.by < 0 {
		f.takes.Store(int64(20 * time.Minute))
	}
	w.breaks(func(op string, persisted bool) error {
		if op == "claim" && persisted {
			f.clock.off.Add(int64(f.by))
			f.by = 0
		}
		return nil
	})
	w.post("alice", "a/x", "1")
}

const parkedRuns = "failed:Unhandled failed:Unhandled failed:Unhandled failed:Unhandled failed:Unhandled"

// parks lets record 1 be parked. Afterwards record 2 arrives, and then somebody replays.
func parks(w *world, f *clocked) {
	fails(w, f)
	f.fails.Store(true)
	w.pass(2 * day)
	f.fails.Store(false)
	f.then = func() {
		// The first run takes record 2 alone. Work parked right before the front is added at every second
		// attempt only.
		w.post("alice", "a/x", "2")
		w.with("alice", func(v *ledger.Vault, owner access.Caller) error {
			all, err := v.Runs(w.t.Context(), owner, functionID("f"), hat.RunID{}, 10)
			if err != nil {
				return err
			}
			for _, r := range all {
				if r.Plan.Upto == 1 {
					return w.engine.Replay(w.t.Context(), "alice", v, owner, r.Plan.Run)
				}
			}
			return errors.New("no run was parked")
		})
		w.settle()
	}
}

// dies leaves a lease of the previous process for a server that starts with another clock.
func dies(w *world, f *clocked) {
	w.breaks(func(op string, _ bool) error {
		if op == "claim" || op == "due" {
			return nil
		}
		return errBroken
	})
	w.post("alice", "a/x", "1")
	w.stop()
	w.breaks(nil)
	f.clock.off.Add(int64(f.by))
	f.by = 0
	w.start()
}

// endless keeps the end of a run from being stored, so its lease remains in the same process.
func endless(w *world, _ *clocked) {
	w.breaks(func(op string, _ bool) error {
		if op == "commit" || op == "fail" {
			return errBroken
		}
		return nil
	})
	w.post("alice", "a/x", "1")
	w.breaks(nil)
	expect(w.t, w.at("alice", "she/out"), "")
}

func overQuota(w *world, _ *clocked) {
	w.pass(12 * time.Hour)
	w.post("alice", "a/x", "1")
	w.post("alice", "a/x", "2")
	expect(w.t, w.at("alice", "she/out"), "1")
}

// The owner granted data from now on. After the clock was set back, new records have earlier times, but
// they are new.
func TestNewDataIsShownWhateverTheClockSays(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		f := &clocked{}
		w.options.Now = f.clock.now
		w.install("f", individual, []string{"a/x"}, "she/out", f.do)
		w.start()
		w.addHAT("alice")
		w.addHAT("bob")
		w.write("alice", "a/x", "old")
		w.pass(time.Hour)
		w.with("alice", func(v *ledger.Vault, owner access.Caller) error {
			g, err := w.engine.GrantFor(functionID("f"))
			if err == nil {
				g.Since = f.clock.now().UTC()
				_, err = v.Enable(t.Context(), owner, g)
			}
			return err
		})
		w.setClock(&f.clock, -day)
		w.post("alice", "a/x", "new")
		expect(t, w.at("alice", "she/out"), "new")
	})
}

// Under load, a HAT that was served before the clock was set back must not wait for all others until that
// time.
func TestALaneIsNotLeftBehindWhenTheClockIsSetBack(t *testing.T) {
	q := newQueue(4)
	noon := time.Date(2024, 3, 2, 12, 0, 0, 0, time.UTC)
	at := func(id string, since time.Time) {
		q.add(task{hat: hat.ID(id), function: functionID("f"), since: since})
	}
	at("served", noon)
	served, _ := q.next(noon)
	at("served", noon)
	q.done(served)
	yesterday := noon.Add(-day)
	q.setBack(yesterday)
	var order []string
	for i := range 3 {
		at(fmt.Sprint("other", i), yesterday.Add(time.Duration(i+1)*time.Minute))
	}
	for range 4 {
		next, _ := q.next(yesterday.Add(time.Hour))
		order = append(order, string(next.hat))
	}
	expect(t, strings.Join(order, " "), "served other0 other1 other2")
}

func TestPendulum(t *testing.T) {
	start := time.Now()
	for name, c := range map[string]struct {
		clock, passed time.Duration
		want          bool
	}{
		"goes on":                       {time.Hour, time.Hour, false},
		"is set forward":                {day, time.Second, false},
		"is set back":                   {-day, time.Second, true},
		"goes back a little":            {-time.Second, time.Second, false},
		"is set back while time passes": {time.Hour, 2 * time.Hour, true},
	} {
		var p clockWatch
		if p.setBack(start, start) {
			t.Error("at first")
		}
		if got := p.setBack(start.Add(c.clock), start.Add(c.passed)); got != c.want {
			t.Errorf("a clock that %s was set back: %t", name, got)
		}
		if p.setBack(start.Add(c.clock), start.Add(c.passed)) {
			t.Errorf("a clock that %s: twice", name)
		}
	}
}
