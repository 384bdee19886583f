package engine

import (
	"errors"
	"strings"
	"testing"
	"time"

	"she/internal/access"
	"she/internal/backlog"
	"she/internal/hat"
	"she/internal/plan"
	"she/internal/vault/ledger"
)

func TestOverQuotaWaitsForTheNextDay(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.install("f", individual, []string{"a/x"}, "she/out", writing("she/out", "did "))
		w.install("g", individual, []string{"a/x"}, "she/other", silent)
		w.options.Quota = plan.Quota{Runs: 2}
		w.start()
		w.addHAT("one")
		w.addHAT("two")
		w.enable("one", "f")
		w.enable("two", "f")
		w.pass(20 * time.Hour) // time since midnight
		w.post("one", "a/x", "1")
		w.post("one", "a/x", "2")
		w.post("one", "a/x", "3")
		w.post("one", "a/x", "4")
		if got, want := w.called(), "f:1 f:2"; got != want {
			t.Errorf("ran %s, want %s", got, want)
		}
		why := func(id string) (a backlog.Answer) {
			t.Helper()
			w.with(hat.ID(id), func(v *ledger.Vault, owner access.Caller) error {
				reasons, err := w.engine.Why(t.Context(), v, owner, functionID("f"))
				if err == nil {
					a = reasons[0].Answer
				}
				return err
			})
			return a
		}
		_, midnight := plan.Day(time.Now())
		if a := why("one"); a.Code != backlog.OverQuota || !a.Until.Equal(midnight) || a.Fault.Code != plan.CodeRuns {
			t.Errorf("why: %+v", a)
		}
		var failed *FailedError
		if err := w.trigger("one", "f", false); !errors.As(err, &failed) || failed.Fault.Code != plan.CodeRuns {
			t.Errorf("a trigger over quota: %v", err)
		}
		// Nothing else is delayed: not another HAT, not another function, not the loop.
		w.forget()
		w.post("two", "a/x", "5")
		w.enable("one", "g")
		if got := w.called(); !strings.Contains(got, "f:5") || !strings.Contains(got, "g:1,2,3,4") {
			t.Errorf("others ran %s", got)
		}
		if runs := w.runs("one", "f"); runs != "committed committed" {
			t.Errorf("refusals left runs: %s", runs)
		}

		// The server is restarted while the function is over its quota. The end of the day is enough to go
		// on.
		w.forget()
		w.stop()
		w.start()
		if got := w.called(); got != "" {
			t.Errorf("a restart ran %s", got)
		}
		w.pass(4*time.Hour + time.Second)
		if got, want := w.called(), "f:3,4"; got != want {
			t.Errorf("the next day ran %s, want %s", got, want)
		}
		if got, want := w.at("one", "she/out"), "did 1,did 2,did 3,did 4"; got != want {
			t.Errorf("stored %s, want %s", got, want)
		}
	})
}
