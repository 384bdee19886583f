package engine

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"she/internal/access"
	"she/internal/contract"
	"she/internal/hat"
	"she/internal/invoke"
	"she/internal/plan"
	"she/internal/vault"
	"she/internal/vault/ledger"
)

// Package plan compares these codes by their text, because it can't import the packages that define them.
func TestCodesOfAnswersThatAreTooLarge(t *testing.T) {
	for _, code := range []string{contract.CodeAnswerTooLarge, contract.CodeResponseCount, "Function.ResponseSizeTooLarge"} {
		if _, ok := plan.Halve(hat.Trigger{Kind: hat.Individual}, hat.NewFault(hat.Author, code, ""), 2); !ok {
			t.Errorf("%s is not one of them", code)
		}
	}
}

// choking fails on some values, and writes "f<value>" for others.
func choking(on ...string) Func {
	return func(entry string, event []byte) ([]byte, error) {
		var e processEvent
		if err := json.Unmarshal(event, &e); err != nil {
			return nil, err
		}
		for _, v := range e.values() {
			for _, bad := range on {
				if v == bad {
					return failing(entry, event)
				}
			}
		}
		return writing("she/out", "f")(entry, event)
	}
}

func TestWhatFailsForEverHoldsNothingUp(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.install("f", individual, []string{"a/x"}, "she/out", choking("bad", "worse"))
		w.startFor("alice", "f")
		for _, v := range []string{"1", "bad", "2", "3", "worse", "4"} {
			w.post("alice", "a/x", v)
			w.pass(24 * time.Hour)
		}
		expect(t, w.at("alice", "she/out"), "f1,f2,f3,f4")
		if s := w.state("alice", "f"); s.Front != nil || len(s.Ranges) != 2 {
			t.Errorf("%+v", s)
		}
		w.post("alice", "a/x", "5")
		expect(t, w.at("alice", "she/out"), "f1,f2,f3,f4,f5")
		expect(t, w.why("alice", "f"), "parked")
	})
}

// Scenario 87 of the contract, also if the earlier data was parked meanwhile.
func Test87ThinDataIsGivenWhenThereIsMore(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.install("f", individual, []string{"a/x"}, "she/out", func(entry string, event []byte) ([]byte, error) {
			var e processEvent
			if err := json.Unmarshal(event, &e); err != nil {
				return nil, err
			}
			if len(e.values()) < 3 {
				return failing(entry, event)
			}
			return writing("she/out", "f")(entry, event)
		})
		w.startFor("alice", "f")
		for _, v := range []string{"1", "2", "3"} {
			expect(t, w.at("alice", "she/out"), "")
			w.post("alice", "a/x", v)
			w.pass(30 * 24 * time.Hour)
		}
		expect(t, w.at("alice", "she/out"), "f1,f2,f3")
		if s := w.state("alice", "f"); s.Front != nil || s.Ranges != nil {
			t.Errorf("%+v", s)
		}
	})
}

func TestInOrderNothingOvertakes(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.install("f", individual, []string{"a/x"}, "she/out", choking("bad"))
		w.functions[0].InOrder = true
		w.startFor("alice", "f")
		w.post("alice", "a/x", "bad")
		w.pass(30 * 24 * time.Hour)
		w.post("alice", "a/x", "1")
		w.pass(30 * 24 * time.Hour)
		expect(t, w.at("alice", "she/out"), "")
		expect(t, w.why("alice", "f"), "parked")
		if err := w.steer("alice", w.engine.Skip, w.state("alice", "f").Front.Run); err != nil {
			t.Fatal(err)
		}
		expect(t, w.at("alice", "she/out"), "f1")
		expect(t, w.why("alice", "f"), "waiting-for-data")
	})
}

func Test76WhatIsTooLargeAloneHoldsNothingUp(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.install("f", individual, []string{"a/x"}, "she/out", writing("she/out", "f"))
		w.startFor("alice", "f")
		w.write("alice", "a/x", "1")
		w.write("alice", "a/x", strings.Repeat("x", 7<<20))
		w.write("alice", "a/x", "2", "3")
		w.engine.Wake("alice")
		w.settle()
		expect(t, w.at("alice", "she/out"), "f1,f2,f3")
		if s := w.state("alice", "f"); s.Front != nil || len(s.Ranges) != 1 || s.Ranges[0].Upto != s.Ranges[0].After+1 {
			t.Errorf("%+v", s)
		}
	})
}

func TestAnAnswerThatIsTooLargeIsAskedForInParts(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		for _, blame := range []func() ([]byte, error){
			func() ([]byte, error) { return []byte(`"` + strings.Repeat("x", 6<<20) + `"`), nil },
			func() ([]byte, error) {
				return nil, &invoke.Failure{Blame: invoke.Author, Code: "Function.ResponseSizeTooLarge", Text: "too large"}
			},
		} {
			id := fmt.Sprintf("f%d", len(w.functions))
			w.install(hat.ID(id), individual, []string{"a/x"}, "she/"+id, func(entry string, event []byte) ([]byte, error) {
				var e processEvent
				if err := json.Unmarshal(event, &e); err != nil {
					return nil, err
				}
				if values := e.values(); len(values) > 2 || strings.Contains(strings.Join(values, ","), "never") {
					return blame()
				}
				return writing("she/"+id, "")(entry, event)
			})
		}
		w.startFor("alice", "f0", "f1")
		w.forget()
		w.post("alice", "a/x", "0", "1", "2", "3", "4", "5", "6", "7", "8")
		for _, id := range []string{"f0", "f1"} {
			expect(t, w.at("alice", "she/"+id), "0,1,2,3,4,5,6,7,8")
			if s := w.state("alice", id); s.Front != nil || s.Ranges != nil {
				t.Errorf("%s: %+v", id, s)
			}
			// It tries nine at once, then four, then two. The number that fits is kept for the rest.
			if runs := w.runs("alice", id); strings.Count(runs, ":") != 2 {
				t.Errorf("%s: %s", id, runs)
			}
		}
		w.post("alice", "a/x", "9", "never", "10", "11")
		w.pass(30 * 24 * time.Hour)
		for _, id := range []string{"f0", "f1"} {
			expect(t, w.at("alice", "she/"+id), "0,1,2,3,4,5,6,7,8,9,10,11")
			if s := w.state("alice", id); s.Front != nil || len(s.Ranges) != 1 || s.Ranges[0].Upto != s.Ranges[0].After+1 {
				t.Errorf("%s: %+v", id, s)
			}
		}
	})
}

func TestWhatIsGrantedLaterIsShownOnItsOwn(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.install("f", individual, []string{"a/x"}, "she/out", writing("she/out", "f"))
		w.startFor("alice", "f")
		w.write("alice", "b/x", "old")
		w.pass(40 * 24 * time.Hour)
		w.write("alice", "b/x", "before")
		w.post("alice", "a/x", "1")
		expect(t, w.at("alice", "she/out"), "f1")
		w.stop()

		w.functions = nil
		w.install("f", individual, []string{"a/x", "b/x"}, "she/out", writing("she/out", "f"))
		w.functions[0].Version, w.functions[0].Package.Digest = mustVersion("2.0.0"), "sha256:f2"
		w.functions[0].Process.Package.Digest = "sha256:f2"
		w.start()
		w.with("alice", func(v *ledger.Vault, owner access.Caller) error {
			g, err := w.engine.GrantFor(functionID("f"))
			if err != nil {
				return err
			}
			g.Since = time.Now().AddDate(0, -1, 0).UTC()
			_, err = v.Enable(t.Context(), owner, g)
			return err
		})
		w.engine.Wake("alice")
		w.settle()
		expect(t, w.at("alice", "she/out"), "f1,fbefore")
		if s := w.state("alice", "f"); s.Ranges != nil || s.Front != nil {
			t.Errorf("%+v", s)
		}
		w.enable("alice", "f") // over all data
		expect(t, w.at("alice", "she/out"), "f1,fbefore,fold")
	})
}

func TestAReplaySupersedes(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var prefix atomic.Value
		prefix.Store("a")
		w.install("f", individual, []string{"a/x"}, "she/out", func(entry string, event []byte) ([]byte, error) {
			return writing("she/out", prefix.Load().(string))(entry, event)
		})
		w.startFor("alice", "f")
		w.post("alice", "a/x", "1", "2")
		run := w.newest("alice", "f").Plan
		w.pass(time.Hour)
		w.post("alice", "a/x", "3")
		expect(t, w.at("alice", "she/out"), "a1,a2,a3")
		prefix.Store("b")
		w.pass(time.Hour)
		if err := w.steer("alice", w.engine.Replay, run.Run); err != nil {
			t.Fatal(err)
		}
		expect(t, w.at("alice", "she/out"), "a3,b1,b2")
		again := w.newest("alice", "f").Plan
		if again.Cause != plan.ByReplay || !again.Window.From.Equal(run.Window.From) || !again.LastExecution.Equal(run.LastExecution) {
			t.Errorf("it was told %v since %v, at first %v since %v", again.Window, again.LastExecution, run.Window, run.LastExecution)
		}
		w.with("alice", func(v *ledger.Vault, owner access.Caller) error {
			due, err := w.engine.ReplayMany(t.Context(), "alice", v, owner, functionID("f"), vault.ReplayFilter{Since: run.Claimed})
			if due != 2 {
				t.Errorf("%d are replayed", due)
			}
			return err
		})
		w.settle()
		expect(t, w.at("alice", "she/out"), "b1,b2,b3")
	})
}

func TestAResultReplacesTheFormer(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.install("f", individual, []string{"a/x"}, "she/out", writing("she/out", "f"))
		w.functions[0].Mode = hat.ReplaceOutput
		w.startFor("alice", "f")
		w.post("alice", "a/x", "1")
		w.post("alice", "a/x", "2")
		expect(t, w.at("alice", "she/out"), "f2")
	})
}
