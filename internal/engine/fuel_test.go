package engine

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"she/internal/access"
	"she/internal/hat"
	"she/internal/plan"
	"she/internal/vault/ledger"
)

// costly returns a bundle that does far too much work for each byte at one endpoint.
func costly(endpoint string) string {
	parts := make([]string, 900)
	for i := range parts {
		parts[i] = fmt.Sprintf(`"p%d":{"endpoints":[{"endpoint":%q,"filters":[{"field":"v","transformation":{"transformation":"searchable"},`+
			`"operator":{"operator":"find","search":"nothing%d"}}]}]}`, i, endpoint, i)
	}
	return `{"name":"b","bundle":{` + strings.Join(parts, ",") + `}}`
}

// A bundle of 257 KB over one record of 3 MB is the author's fault, with a code and a message, and other
// functions run.
func TestBundleThatCostsTooMuch(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.installBundle("greedy", manual, costly("a/x"), "she/greedy", silent)
		w.install("innocent", individual, []string{"a/y"}, "she/out", writing("she/out", "did "))
		w.startFor("alice", "greedy", "innocent")
		w.write("alice", "a/x", strings.Repeat("the river was quiet ", 150_000))
		var failed *FailedError
		if err := w.trigger("alice", "greedy", false); !errors.As(err, &failed) || failed.Fault.Who != hat.Author || failed.Fault.Code != CodeFuel {
			t.Fatalf("got %v", err)
		}
		if text := failed.Fault.Text; !strings.Contains(text, "filters") || !strings.Contains(text, "fewer properties") || strings.Contains(text, "river") {
			t.Errorf("its author reads %q", text)
		}
		if runs := w.runs("alice", "greedy"); runs != "refused:"+CodeFuel {
			t.Errorf("its runs: %s", runs)
		}
		w.post("alice", "a/y", "1")
		expect(t, w.at("alice", "she/out"), "did 1")
	})
}

// Work that costs too much does so at each attempt. It is parked after the first one, and newer data is
// still run.
func TestOutOfFuelIsNotTriedAgain(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.installBundle("greedy", individual, costly("a/x"), "she/greedy", silent)
		w.startFor("alice", "greedy")
		w.post("alice", "a/x", strings.Repeat("the river was quiet ", 150_000))
		expect(t, w.runs("alice", "greedy"), "refused:"+CodeFuel)
		expect(t, w.why("alice", "greedy"), "parked")
		w.pass(24 * time.Hour)
		expect(t, w.runs("alice", "greedy"), "refused:"+CodeFuel)
		w.post("alice", "a/x", "small")
		expect(t, w.runs("alice", "greedy"), "refused:"+CodeFuel+" committed")
	})
}

// The time limit of a run also bounds its evaluation, without the time spent waiting for others.
func TestEvaluationWithinTheTimeLimitOfARun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewShares(1)
		l := limited{s.Of("alice"), time.Now(), time.Minute}
		other := s.Of("bob")
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		must(l.Turn(t.Context(), 10))
		time.Sleep(50 * time.Second)
		go func() {
			must(other.Turn(t.Context(), 0))
			time.Sleep(time.Hour)
			must(other.Turn(t.Context(), 100))
			other.Rest()
		}()
		synctest.Wait()
		must(l.Turn(t.Context(), 10))
		if l.used() != 50*time.Second || l.Waited() != time.Hour {
			t.Errorf("it used %v and waited %v", l.used(), l.Waited())
		}
		time.Sleep(11 * time.Second)
		if err := l.Turn(t.Context(), 10); err != errTooLong {
			t.Errorf("after 61 s of its own: %v", err)
		}
		l.Rest()
		synctest.Wait()
	})
}

// An evaluation that takes too long is the author's fault. Its time counts, even if the run fails.
func TestEvaluationThatTakesTooLong(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.installBundle("slow", manual, strings.Replace(reading("a/x"), `"a/x"}]`, `"a/x","filters":[{"field":"v","transformation":{"transformation":"searchable"},"operator":{"operator":"find","search":"nothing"}}]}]`, 1), "she/out", silent)
		for i := range w.functions {
			w.functions[i].Process.Timeout = time.Second
		}
		w.options.Shares = NewShares(1)
		w.startFor("alice", "slow")
		w.write("alice", "a/x", strings.Repeat("the river was quiet ", 50_000))
		w.breaks(func(op string, _ bool) error { // a slow disk
			if op == "read" {
				time.Sleep(5 * time.Second)
			}
			return nil
		})
		var failed *FailedError
		if err := w.trigger("alice", "slow", false); !errors.As(err, &failed) || failed.Fault.Who != hat.Author || failed.Fault.Code != CodeTooLong {
			t.Errorf("got %v", err)
		}
		w.with("alice", func(v *ledger.Vault, owner access.Caller) error {
			runs, err := v.Runs(t.Context(), owner, functionID("slow"), hat.RunID{}, 0)
			if err == nil && (len(runs) != 1 || runs[0].Stats.Timing.Query < 5*time.Second) {
				t.Errorf("its run: %+v", runs)
			}
			from, _ := plan.Day(time.Now())
			used, err := v.Used(t.Context(), owner, functionID("slow"), from)
			if used.Compute < 5*time.Second {
				t.Errorf("used is %+v", used)
			}
			return err
		})
	})
}
