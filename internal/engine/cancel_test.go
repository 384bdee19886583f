package engine

import (
	"context"
	"errors"
	"strings"
	"testing"

	"she/internal/access"
	"she/internal/hat"
	"she/internal/vault"
	"she/internal/vault/ledger"
)

// newest returns the newest run of a function.
func (w *world) newest(id, function string) (r vault.Run) {
	w.t.Helper()
	w.with(hat.ID(id), func(v *ledger.Vault, owner access.Caller) error {
		runs, err := v.Runs(w.t.Context(), owner, functionID(function), hat.RunID{}, 1)
		if err == nil && len(runs) == 1 {
			r = runs[0]
		}
		return err
	})
	return r
}

func (w *world) steer(id hat.ID, do func(context.Context, hat.ID, Steered, access.Caller, hat.RunID) error, run hat.RunID) (err error) {
	w.t.Helper()
	w.with(id, func(v *ledger.Vault, owner access.Caller) error {
		err = do(w.t.Context(), id, v, owner, run)
		return nil
	})
	w.settle()
	return err
}

func TestACancelledRunEndsAtOnceAndIsReplayed(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		held := make(chan struct{})
		w.install("f", individual, []string{"a/x"}, "she/out", func(entry string, event []byte) ([]byte, error) {
			<-held
			return writing("she/out", "f")(entry, event)
		})
		w.startFor("alice", "f")
		w.post("alice", "a/x", "1")
		expect(t, w.runs("alice", "f"), "planned")
		run := w.newest("alice", "f").Plan.Run
		if err := w.steer("alice", w.engine.Cancel, run); err != nil {
			t.Fatal(err)
		}
		expect(t, w.runs("alice", "f"), "refused:Run.Cancelled")
		expect(t, w.why("alice", "f"), "parked")
		if err := w.steer("alice", w.engine.Cancel, run); !errors.Is(err, vault.ErrEnded) {
			t.Errorf("a second time: %v", err)
		}
		close(held)
		if err := w.steer("alice", w.engine.Replay, run); err != nil {
			t.Fatal(err)
		}
		expect(t, w.at("alice", "she/out"), "f1")
		expect(t, w.runs("alice", "f"), "refused:Run.Cancelled committed")
		if logs := w.logged.String(); !strings.Contains(logs, "run cancelled") || strings.Contains(logs, "can't be given back") {
			t.Error(logs)
		}
	})
}

func TestWhoeverAskedHearsThatTheRunWasCancelled(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		held := make(chan struct{})
		defer close(held)
		w.install("f", manual, []string{"a/x"}, "she/out", func(entry string, event []byte) ([]byte, error) {
			<-held
			return silent(entry, event)
		})
		w.startFor("alice", "f")
		answer := make(chan error, 1)
		go func() { answer <- w.trigger("alice", "f", false) }()
		w.settle()
		if err := w.steer("alice", w.engine.Cancel, w.newest("alice", "f").Plan.Run); err != nil {
			t.Fatal(err)
		}
		var failed *FailedError
		if err := <-answer; !errors.As(err, &failed) || failed.Fault.Code != vault.CodeCancelled {
			t.Errorf("got %v", err)
		}
	})
}
