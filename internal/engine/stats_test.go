package engine

import (
	"testing"
	"time"

	"she/internal/hat"
	"she/internal/invoke"
)

// stats returns the figures of the running engine, and the age of the oldest event.
func (w *world) stats() (s Stats, age time.Duration) {
	w.t.Helper()
	s, ok := w.engine.Stats()
	if !ok {
		w.t.Fatal("no stats of an engine at work")
	}
	if !s.Oldest.IsZero() {
		age = time.Since(s.Oldest)
	}
	return s, age
}

func TestStatsOfWhatWaits(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		hold := make(chan struct{})
		w.install("held", individual, []string{"a/x"}, "she/held", func(string, []byte) ([]byte, error) {
			<-hold
			return []byte(`[]`), nil
		})
		w.install("fails", individual, []string{"a/z"}, "she/fails", func(string, []byte) ([]byte, error) {
			return nil, &invoke.Failure{Blame: invoke.Author, Code: "Unhandled", Text: "it failed"}
		})
		w.install("nightly", daily, []string{"a/p"}, "she/nightly", silent)
		w.install("asked", manual, []string{"a/m"}, "she/asked", silent)
		w.options.Parallel = 1
		w.start()
		w.addHAT("one")
		w.addHAT("two")
		if s, age := w.stats(); s != (Stats{}) || age != 0 {
			t.Errorf("of an idle engine: %+v", s)
		}
		for _, f := range []string{"held", "fails", "nightly", "asked"} {
			w.enable("one", f)
			w.enable("two", f)
		}

		// Work that waits for a period or for a person is not due.
		w.post("one", "a/p", "1") // the first run starts at once
		w.post("one", "a/p", "2")
		w.post("one", "a/m", "3")
		w.pass(time.Hour)
		if s, age := w.stats(); s != (Stats{}) || age != 0 {
			t.Errorf("with work that is not due: %+v", s)
		}

		// Work in a run in flight still counts; work of another HAT waits behind it.
		w.post("one", "a/x", "4")
		w.pass(time.Minute)
		w.post("two", "a/x", "5")
		w.pass(time.Minute)
		if s, age := w.stats(); s.InFlight != 1 || s.Due != 1 || age != 2*time.Minute {
			t.Errorf("with one running and one due: %+v, %s", s, age)
		}
		close(hold)
		w.settle()
		if s, age := w.stats(); s != (Stats{}) || age != 0 {
			t.Errorf("when all is done: %+v", s)
		}

		// Between two attempts, failed work waits for its pause; after too many, for a person.
		w.post("two", "a/z", "6")
		if s, age := w.stats(); s != (Stats{}) || age != 0 {
			t.Errorf("after a failure: %+v", s)
		}
		w.pass(24 * time.Hour)
		if s, age := w.stats(); s != (Stats{Parked: 1}) || age != 0 {
			t.Errorf("with parked work: %+v", s)
		}

		// After a restart the figures are the same without any event. A function that is not available
		// blocks its work.
		w.write("one", "a/x", "7") // nobody is woken
		w.stop()
		w.functions[0].Problem = hat.NewFault(hat.Operator, "Runtime.Missing", "it is gone")
		w.start()
		w.pass(time.Hour)
		if s, age := w.stats(); s.Parked != 1 || s.Blocked != 1 || s.Due != 0 || age != time.Hour {
			t.Errorf("with a function that is gone: %+v, %s", s, age)
		}
		w.stop()
		if _, ok := w.engine.Stats(); ok {
			t.Error("an engine that has stopped has stats")
		}
	})
}
