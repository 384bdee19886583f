package engine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"she/internal/access"
	"she/internal/hat"
	"she/internal/plan"
	"she/internal/vault/ledger"
)

type planOf = plan.Plan

// The numbers in test names are those of the acceptance scenarios in the HAT contract.

func Test57TriggerReturnsWhenTheOutputIsThere(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.install("f", manual, []string{"a/x"}, "she/out", writing("she/out", "f"))
		w.startFor("alice", "f")
		w.write("alice", "a/x", "1")
		if err := w.trigger("alice", "f", false); err != nil {
			t.Fatal(err)
		}
		expect(t, w.at("alice", "she/out"), "f1")
		if s := w.state("alice", "f"); s.LastExecution.IsZero() || !s.Started.IsZero() || s.Front != nil {
			t.Errorf("%+v", s)
		}
		expect(t, w.runs("alice", "f"), "committed")
	})
}

// Defect B-08.
func Test58FailuresOfTheFunction(t *testing.T) {
	noLinks := `[{"namespace":"she","endpoint":"out","data":[1]}]`
	for name, c := range map[string]struct {
		do   Func
		code string
	}{
		"throws":          {failing, "Unhandled"},
		"garbage":         {func(string, []byte) ([]byte, error) { return []byte("<html>"), nil }, "Answer.NotJSON"},
		"empty":           {func(string, []byte) ([]byte, error) { return nil, nil }, "Answer.Empty"},
		"no links":        {func(string, []byte) ([]byte, error) { return []byte(noLinks), nil }, "Response.Invalid"},
		"an error answer": {func(string, []byte) ([]byte, error) { return []byte(`{"errorMessage":"x"}`), nil }, "Answer.ErrorMessage"},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.install("f", manual, []string{"a/x"}, "she/out", c.do)
				w.startFor("alice", "f")
				w.write("alice", "a/x", "1")
				var failed *FailedError
				if err := w.trigger("alice", "f", false); !errors.As(err, &failed) || failed.Fault.Code != c.code || failed.Fault.Who != hat.Author {
					t.Errorf("got %v", err)
				}
				if s := w.state("alice", "f"); !s.LastExecution.IsZero() || !s.Started.IsZero() {
					t.Errorf("%+v", s)
				}
				expect(t, w.at("alice", "she/out"), "")
				if runs := w.runs("alice", "f"); !strings.HasSuffix(runs, c.code) {
					t.Errorf("runs %s", runs)
				}
			})
		})
	}
}

func TestTheRunKeepsWhatTheFunctionSaid(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.install("f", manual, []string{"a/x"}, "she/out", failing)
		w.startFor("alice", "f")
		w.write("alice", "a/x", "1")
		var failed *FailedError
		if !errors.As(w.trigger("alice", "f", false), &failed) {
			t.Fatal("it did not fail")
		}
		w.with("alice", func(v *ledger.Vault, owner access.Caller) error {
			r, err := v.Run(t.Context(), owner, failed.Run)
			if err != nil {
				return err
			}
			for _, want := range []string{"--- bundle ---", "log of bundle: " + canary, "--- process ---", "--- process, error ---", "ZeroDivisionError"} {
				if !strings.Contains(string(r.Log), want) {
					t.Errorf("%q is missing in the log:\n%s", want, r.Log)
				}
			}
			if r.Stats.Read != 1 || r.Stats.InBytes == 0 || r.Stats.Start != "cold" || r.Stats.Timing.Process == 0 {
				t.Errorf("%+v", r.Stats)
			}
			return nil
		})
	})
}

// Defects B-02 and B-60.
func Test59BackToBackAndAtOnce(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		hold := make(chan struct{})
		w.install("f", manual, []string{"a/x"}, "she/out", func(string, []byte) ([]byte, error) {
			<-hold
			return []byte(`[]`), nil
		})
		w.startFor("alice", "f")
		w.write("alice", "a/x", "1")
		outcomes := make(chan error, 2)
		for range 2 {
			go func() { outcomes <- w.trigger("alice", "f", false) }()
		}
		w.settle()
		if err := <-outcomes; !errors.Is(err, ErrBusy) {
			t.Errorf("the second says %v", err)
		}
		close(hold)
		if err := <-outcomes; err != nil {
			t.Errorf("the first says %v", err)
		}
		if err := w.trigger("alice", "f", false); err != nil {
			t.Errorf("right after: %v", err)
		}
		expect(t, w.runs("alice", "f"), "committed committed")
	})
}

// Defect B-18.
func Test60WhatTheEntriesReceive(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var bundles []string
		w.install("f", manual, []string{"a/x", "a/y"}, "she/out", silent)
		process := w.funcs["f"]
		w.funcs["f"] = func(entry string, event []byte) ([]byte, error) {
			if entry == "bundle" {
				bundles = append(bundles, string(event))
			}
			return process(entry, event)
		}
		w.startFor("alice", "f")
		w.write("alice", "a/x", "1")
		began := time.Now().UTC()
		for range 2 {
			if err := w.trigger("alice", "f", false); err != nil {
				t.Fatal(err)
			}
			w.pass(time.Hour)
		}
		wire := hat.FormatTime
		expect(t, strings.Join(bundles, " "), fmt.Sprintf(`{"fromDate":%q,"untilDate":%q} {"fromDate":%q,"untilDate":%q}`,
			wire(began.AddDate(0, -6, 0)), wire(began.AddDate(0, 3, 0)), wire(began), wire(began.Add(time.Hour).AddDate(0, 3, 0))))
		expect(t, w.called(), "f:1 f:")
		for i, c := range w.calls {
			status := c.event.FunctionConfiguration.Status
			if len(c.event.Request.Data) != 2 || !c.event.Request.LinkRecords || !status.Available || !status.Enabled || status.ExecutionStarted != nil {
				t.Errorf("event %+v", c.event)
			}
			want := ""
			if i > 0 {
				want = wire(began)
			}
			expect(t, status.LastExecution, want)
		}
	})
}

func TestTriggerRefuses(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.install("f", manual, []string{"a/x"}, "she/out", silent)
		w.install("gone", manual, []string{"a/x"}, "she/out", silent)
		w.functions = append(w.functions, unloaded("mute", "she/out"))
		w.funcs["mute"] = failing
		w.startFor("alice", "gone")
		w.stop()
		w.functions = w.functions[:1:1]
		w.functions = append(w.functions, unloaded("mute", "she/out"))
		w.start()
		for function, want := range map[string]error{
			"none": ErrFunctionNotFound, "mute": ErrFunctionNotFound, "gone": ErrNotAvailable, "f": ErrNotEnabled,
		} {
			if err := w.trigger("alice", function, false); !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", function, err, want)
			}
		}
		if err := w.engine.Trigger(t.Context(), "alice", access.Caller{}, functionID("f"), false); !errors.Is(err, access.ErrDenied) {
			t.Errorf("nobody: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		platform := access.User(hat.NewUserID(), []access.Role{{Title: access.TitlePlatform}}, access.TitlePlatform)
		if err := w.engine.Trigger(ctx, "alice", platform, functionID("f"), false); err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, ErrNotEnabled) {
			t.Errorf("a client that went away: %v", err)
		}
	})
}

func Test63IndividualRunsAtOnce(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.install("f", individual, []string{"a/x"}, "she/out", writing("she/out", "f"))
		w.startFor("alice", "f")
		w.forget()
		began := time.Now()
		w.post("alice", "a/x", "1")
		expect(t, w.called(), "f:1")
		if took := time.Since(began); took > 0 {
			t.Errorf("it waited for %s", took)
		}
		w.post("alice", "a/y", "2")
		expect(t, w.called(), "f:1")
		expect(t, w.at("alice", "she/out"), "f1")
	})
}

func Test64PeriodicWaitsForItsPeriod(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.install("f", daily, []string{"a/x"}, "she/out", silent)
		w.startFor("alice", "f")
		w.post("alice", "a/x", "1") // never executed, so it runs at once
		w.forget()
		w.pass(time.Hour)
		w.post("alice", "a/x", "2")
		expect(t, w.called(), "")
		w.pass(22 * time.Hour)
		expect(t, w.called(), "")
		w.pass(time.Hour)
		expect(t, w.called(), "f:2")
		w.pass(30 * 24 * time.Hour)
		expect(t, w.called(), "f:2")
	})
}

func Test65ManualIsNeverRunByData(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.install("f", manual, []string{"a/x"}, "she/out", silent)
		w.startFor("alice", "f")
		w.post("alice", "a/x", "1")
		w.pass(30 * 24 * time.Hour)
		expect(t, w.called(), "")
	})
}

// Defect B-03.
func Test66WhatArrivesDuringARunIsInTheNext(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.install("f", individual, []string{"a/x"}, "she/out", func(string, []byte) ([]byte, error) {
			time.Sleep(3 * time.Second)
			return []byte(`[]`), nil
		})
		w.startFor("alice", "f")
		w.pass(time.Minute)
		w.forget()
		w.post("alice", "a/x", "1")
		w.pass(time.Second)
		w.post("alice", "a/x", "2")
		w.pass(time.Minute)
		expect(t, w.called(), "f:1 f:2")
	})
}

// Scenario 66 at random: writes, the clock and failures interleave. In the end every record was given, in
// order, to exactly one run that committed.
func Test66RandomInterleavings(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		writer, function := rand.New(rand.NewPCG(1, 2)), rand.New(rand.NewPCG(3, 4))
		w.install("f", individual, []string{"a/x"}, "she/out", func(entry string, event []byte) ([]byte, error) {
			time.Sleep(time.Duration(function.IntN(50)) * time.Millisecond)
			if function.IntN(5) == 0 {
				return failing(entry, event)
			}
			return writing("she/out", "")(entry, event)
		})
		w.startFor("alice", "f")
		var want []string
		for n := range 1000 {
			value := fmt.Sprint(n)
			want = append(want, value)
			w.write("alice", "a/x", value)
			w.engine.Wake("alice")
			time.Sleep(time.Duration(writer.IntN(30)) * time.Millisecond)
		}
		for range 1000 {
			if s := w.state("alice", "f"); s.Front == nil && s.Ranges == nil {
				break
			}
			w.pass(time.Hour)
			for _, r := range w.state("alice", "f").Ranges {
				if r.Parked {
					_ = w.steer("alice", w.engine.Replay, r.Run)
				}
			}
		}
		expect(t, w.at("alice", "she/out"), strings.Join(want, ","))
	})
}
