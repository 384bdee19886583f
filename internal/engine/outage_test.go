package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"she/internal/backlog"
	"she/internal/hat"
	"she/internal/invoke"
	"she/internal/vault"
)

// A machine that is out of order for days causes no parked work. The work is tried again all the time, and
// `why` and the figures say so. Other functions of the HAT and other HATs go on. When the machine is
// mended, the work is done without a person.
func TestAnOutageParksNothing(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		const days = 2 // backlog.TestAYearOfOutagesParksNothing covers a year
		var mended atomic.Bool
		w.install("f", individual, []string{"a/x"}, "she/f", func(_ string, event []byte) ([]byte, error) {
			if !mended.Load() {
				return nil, &invoke.Failure{Blame: invoke.Operator, Code: "Sandbox.StartFailed", Text: "a sandbox could not start"}
			}
			return []byte(`[]`), nil
		})
		w.install("g", individual, []string{"a/y"}, "she/g", silent)
		w.start()
		w.addHAT("alice")
		w.addHAT("bob")
		w.enable("alice", "f")
		w.enable("alice", "g")
		w.enable("bob", "g")
		w.post("alice", "a/x", "1")
		w.pass(days * 24 * time.Hour)
		w.post("alice", "a/y", "2")
		w.post("bob", "a/y", "3")
		s, _ := w.stats()
		if s.Parked != 0 || s.Stalled != 1 || s.InFlight != 0 {
			t.Errorf("after %d days: %+v", days, s)
		}
		state := w.state("alice", "f")
		if state.Front == nil || state.Front.Parked || state.Front.Attempt < 100*days || state.Ranges != nil {
			t.Fatalf("after %d days: %+v, %+v", days, state.Front, state.Ranges)
		}
		if pause := time.Until(state.Front.NotBefore); pause > 10*time.Minute {
			t.Errorf("the next attempt is in %v", pause)
		}
		for _, who := range []string{"alice", "bob"} {
			if s := w.state(who, "g"); s.Front != nil || s.LastExecution.IsZero() {
				t.Errorf("%s's other function: %+v", who, s)
			}
		}
		mended.Store(true)
		w.pass(10 * time.Minute)
		if s := w.state("alice", "f"); s.Front != nil || s.Ranges != nil || s.LastExecution.IsZero() {
			t.Errorf("when it is mended: %+v", s)
		}
		if s, _ := w.stats(); s != (Stats{}) {
			t.Errorf("when it is mended: %+v", s)
		}
	})
}

// Errors of the machine are the operator's to mend, wherever they come from.
func TestTheMachinesErrorsAreTheOperators(t *testing.T) {
	for _, err := range []error{
		vault.ErrFull, vault.ErrMachine, vault.ErrDamaged,
		&fs.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC},
		&fs.PathError{Op: "open", Path: "x", Err: syscall.EMFILE},
		fmt.Errorf("fork: %w", syscall.EAGAIN), fmt.Errorf("mmap: %w", syscall.ENOMEM),
		fmt.Errorf("sync: %w", syscall.EIO), fmt.Errorf("write: %w", syscall.EDQUOT), syscall.EROFS, syscall.ENFILE,
		fmt.Errorf("%w after: %w", vault.ErrClosed, vault.ErrMachine),
		context.DeadlineExceeded,
	} {
		if f := faultOf(fmt.Errorf("read the owner: %w", err)); f.Who != hat.Operator {
			t.Errorf("%v: %v", err, f)
		}
	}
	if f := faultOf(errors.New("an index out of range")); f.Who != hat.Engine {
		t.Errorf("a bug: %v", f)
	}
	full := hat.NewFault(hat.Operator, "Vault.Full", "no room left on the disk")
	now := time.Date(2024, 3, 1, 12, 0, 0, 0, time.UTC)
	a := backlog.Why(backlog.Situation{Enabled: true, Installed: true, Available: true, Front: &backlog.Item{
		NotBefore: now.Add(time.Minute), Attempt: 2000, Fault: full}}, now)
	if a.Code != backlog.WaitingForRetry || a.Fault != full || !a.Until.Equal(now.Add(time.Minute)) {
		t.Errorf("why: %+v", a)
	}
}
