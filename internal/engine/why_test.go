package engine

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"she/internal/access"
	"she/internal/hat"
	"she/internal/vault/ledger"
)

// why returns the reason's code for a function, and how long it lasts if it ends with time.
func (w *world) why(id, function string) string {
	w.t.Helper()
	var code string
	w.with(hat.ID(id), func(v *ledger.Vault, owner access.Caller) error {
		reasons, err := w.engine.Why(w.t.Context(), v, owner, functionID(function))
		if err != nil {
			return err
		}
		if len(reasons) != 1 || reasons[0].Function != functionID(function) {
			return fmt.Errorf("%+v", reasons)
		}
		code = string(reasons[0].Code)
		if until := reasons[0].Until; !until.IsZero() {
			code += " " + time.Until(until).Round(time.Hour).String()
		}
		return nil
	})
	return code
}

func TestWhyFollowsWhatHappens(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		held := make(chan struct{})
		w.install("f", daily, []string{"a/x"}, "she/out", func(entry string, event []byte) ([]byte, error) {
			<-held
			return silent(entry, event)
		})
		w.start()
		w.addHAT("alice")
		expect(t, w.why("alice", "f"), "not-enabled")
		w.enable("alice", "f")
		expect(t, w.why("alice", "f"), "waiting-for-data")
		w.post("alice", "a/x", "1")
		expect(t, w.why("alice", "f"), "running")
		close(held)
		w.settle()
		expect(t, w.why("alice", "f"), "waiting-for-data")
		w.post("alice", "a/x", "2")
		expect(t, w.why("alice", "f"), "waiting-for-period 24h0m0s")
		w.with("alice", func(v *ledger.Vault, owner access.Caller) error {
			_, err := w.engine.Why(t.Context(), v, owner, functionID("nobody"))
			if !errors.Is(err, ErrFunctionNotFound) {
				t.Errorf("got %v", err)
			}
			return nil
		})
	})
}

func TestWhyOfAFunctionThatFails(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.install("f", individual, []string{"a/x"}, "she/out", failing)
		w.startFor("alice", "f")
		w.post("alice", "a/x", "1")
		if got := w.why("alice", "f"); !strings.HasPrefix(got, "waiting-for-retry") {
			t.Errorf("after the first failure %s", got)
		}
		for range 5 {
			w.pass(3 * time.Hour)
		}
		expect(t, w.why("alice", "f"), "parked")
	})
}

// Defect B-16.
func TestWhyOfALimitAndOfAnOutdatedGrant(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		question := `{"name":"b","bundle":{"x":{"endpoints":[{"endpoint":"a/x"}],"limit":1}}}`
		w.installBundle("f", manual, question, "she/out", silent)
		w.startFor("alice", "f")
		w.write("alice", "a/x", "1", "2", "3")
		expect(t, w.why("alice", "f"), "waiting-for-request")
		if err := w.trigger("alice", "f", false); err != nil {
			t.Fatal(err)
		}
		expect(t, w.why("alice", "f"), "hidden-by-limit")
		w.stop()

		w.functions = nil
		w.installBundle("f", manual, reading("a/x", "a/more"), "she/out", silent)
		w.functions[0].Version, w.functions[0].Package.Digest = mustVersion("2.0.0"), "sha256:f2"
		w.functions[0].Process.Package.Digest = "sha256:f2"
		w.start()
		expect(t, w.why("alice", "f"), "grant-outdated")
	})
}

func mustVersion(s string) hat.Version {
	v, err := hat.ParseVersion(s)
	if err != nil {
		panic(err)
	}
	return v
}
