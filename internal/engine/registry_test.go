package engine

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"she/internal/access"
	"she/internal/catalog"
	"she/internal/contract"
	"she/internal/hat"
	"she/internal/invoke"
	"she/internal/vault/ledger"
)

// The version to run is chosen when every version has answered. Work that comes before waits, whichever
// loads first.
func TestNoVersionIsJudgedBeforeItHasLoaded(t *testing.T) {
	narrow, wide := reading("a/x"), reading("a/x", "a/y")
	broken := func() ([]byte, error) {
		return nil, &invoke.Failure{Blame: invoke.Operator, Code: "NoRuntime", Text: "there is no such runtime"}
	}
	for name, c := range map[string]struct {
		current string // the bundle of the new version
		steps   func(t *testing.T, w *world, answer func(version string, ok bool))
		runs    string
	}{
		"the new one first": {wide, func(t *testing.T, w *world, answer func(string, bool)) {
			answer("f2", true)
			w.post("alice", "a/x", "1")
			expect(t, w.why("alice", "f"), "loading")
			w.pass(time.Minute)
			expect(t, w.runs("alice", "f"), "")
			answer("f1", true)
		}, "1.0.0 committed"},
		"the granted one first": {wide, func(t *testing.T, w *world, answer func(string, bool)) {
			answer("f1", true)
			w.post("alice", "a/x", "1")
			answer("f2", true)
		}, "1.0.0 committed"},
		"the granted one first, the new one asks for no more": {narrow, func(t *testing.T, w *world, answer func(string, bool)) {
			answer("f1", true)
			w.post("alice", "a/x", "1")
			answer("f2", true)
		}, "2.0.0 committed"},
		"the granted one first, the new one can't": {wide, func(t *testing.T, w *world, answer func(string, bool)) {
			answer("f1", true)
			w.post("alice", "a/x", "1")
			answer("f2", false)
		}, "1.0.0 committed"},
		// The work is tried again: it waits neither for the owner's agreement nor for a person.
		"the granted one can't for a day": {wide, func(t *testing.T, w *world, answer func(string, bool)) {
			answer("f2", true)
			w.post("alice", "a/x", "1")
			answer("f1", false)
			expect(t, w.why("alice", "f"), "not-available")
			w.pass(24 * time.Hour)
			expect(t, w.why("alice", "f"), "not-available")
			answer("f1", true)
			w.pass(15 * time.Minute)
		}, "1.0.0 committed"},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.install("f", individual, []string{"a/x"}, "she/out", silent)
				w.startFor("alice", "f")
				w.stop()
				former := w.functions[0]
				current := version(t, former, "2.0.0", c.current)
				answers := make(map[string]chan bool)
				says := map[string]string{
					"f1": configuration("f", individual, narrow),
					"f2": strings.Replace(configuration("f", individual, c.current), "1.0.0", "2.0.0", 1),
				}
				for id, f := range map[string]*catalog.Function{"f1": &former, "f2": &current} {
					f.Manifest = nil
					f.Configuration.Name = "svc-dev-" + id + "-configuration"
					// The last answer is repeated if the function is asked again.
					answers[id] = make(chan bool, 1)
					asked := answers[id]
					w.funcs[id] = func(string, []byte) ([]byte, error) {
						ok := <-asked
						asked <- ok
						if !ok {
							return broken()
						}
						return []byte(says[id]), nil
					}
				}
				w.functions = []catalog.Function{former, current}
				w.start()
				c.steps(t, w, func(id string, ok bool) {
					select {
					case <-answers[id]:
					default:
					}
					answers[id] <- ok
					w.settle()
				})
				var last string
				w.with("alice", func(v *ledger.Vault, owner access.Caller) error {
					runs, err := v.Runs(t.Context(), owner, functionID("f"), hat.RunID{}, 1000)
					if err != nil {
						return err
					}
					for _, r := range runs {
						if r.Fault != nil && (r.Fault.Who != hat.Operator || r.Fault.Code != CodeNotLoaded) {
							t.Errorf("refused: %v", r.Fault)
						}
					}
					if len(runs) > 0 {
						last = runs[0].Plan.Grant.Version.String() + " " + string(runs[0].State)
					}
					return nil
				})
				expect(t, last, c.runs)
			})
		})
	}
}

// The same code registered for another endpoint is another version. An answer of one is not an answer of
// the other.
func TestVersionsOfTheSameCode(t *testing.T) {
	here, there := unloaded("f", "she/here"), unloaded("f", "she/there")
	r := newRegistry([]catalog.Function{here, there})
	m, fault := contract.ParseConfiguration([]byte(configuration("f", individual, reading("a/x"))))
	if fault != nil {
		t.Fatal(fault)
	}
	here.Manifest = &m
	r.set(here)
	for _, f := range r.all() {
		if f.Available() != (f.Output == here.Output) {
			t.Errorf("%s: %t", f.Output, f.Available())
		}
	}
	there.Manifest = &m
	r.set(there)
	for _, output := range []hat.Endpoint{here.Output, there.Output} {
		f, fault := r.fit(access.Grant{Function: here.ID, Bundle: m.Bundle, Output: output, Digest: here.Digest()})
		if fault != nil || f.Output != output {
			t.Errorf("for %s runs what writes to %s: %v", output, f.Output, fault)
		}
	}
}

// After a start, the server shows what the process before it knew last. A Trigger of such a function waits
// until it has answered. A function that was never asked is not available.
func TestFunctionsAreShownAsLastKnown(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var kept []catalog.Function
		w.options.Keep = func(all []catalog.Function) error { kept = all; return nil }
		answers, works := make(chan struct{}), true
		w.install("f", individual, []string{"a/x"}, "she/out", silent)
		inner := w.funcs["f"]
		w.funcs["f"] = func(entry string, event []byte) ([]byte, error) {
			if entry != "configuration" {
				return inner(entry, event)
			}
			<-answers
			if !works {
				return nil, &invoke.Failure{Blame: invoke.Author, Code: "Runtime.ImportModuleError", Text: "it can't be loaded"}
			}
			return []byte(configuration("f", individual, reading("a/x"))), nil
		}
		fresh := w.functions[0]
		fresh.Manifest = nil
		w.functions = []catalog.Function{fresh}
		shown := func() catalog.Function {
			t.Helper()
			f, ok := w.engine.Function(functionID("f"))
			if !ok || len(w.engine.Functions()) != 1 {
				t.Fatal("it is not there")
			}
			return f
		}
		w.start()
		if f := shown(); f.Manifest != nil || f.Problem != nil {
			t.Errorf("never asked: %+v", f)
		}
		close(answers)
		w.settle()
		w.addHAT("alice")
		w.enable("alice", "f")
		w.post("alice", "a/x", "1")
		w.post("alice", "a/x", "2")
		w.stop()
		if len(kept) != 1 || kept[0].Runs.Committed != 2 || kept[0].Runs.LastState != "committed" {
			t.Fatalf("kept %+v", kept)
		}

		again := func(problem *hat.Fault) {
			last := fresh
			last.Last = &catalog.Known{At: time.Now(), Manifest: kept[0].Manifest, Problem: problem}
			last.Runs = kept[0].Runs
			w.functions = []catalog.Function{last}
			answers = make(chan struct{})
			w.start()
		}
		again(nil)
		if f := shown(); !f.Available() || f.AsOf.IsZero() || f.Runs.Committed != 2 {
			t.Errorf("last known as available: %+v", f)
		}
		if _, err := w.engine.GrantFor(functionID("f")); err != nil {
			t.Error(err)
		}
		expect(t, w.why("alice", "f"), "loading") // it does not run yet
		triggered := make(chan error, 1)
		go func() { triggered <- w.trigger("alice", "f", true) }()
		w.settle()
		select {
		case err := <-triggered:
			t.Errorf("it was not waited for: %v", err)
		default:
		}
		close(answers)
		if err := <-triggered; err != nil {
			t.Error(err)
		}
		if f := shown(); !f.Available() || !f.AsOf.IsZero() || f.Runs.Committed != 3 {
			t.Errorf("after it has answered: %+v", f)
		}
		w.stop()

		again(hat.NewFault(hat.Author, "Runtime.ImportModuleError", "No module named x"))
		if f := shown(); f.Available() || f.Problem == nil || f.AsOf.IsZero() {
			t.Errorf("last known as broken: %+v", f)
		}
		if err := w.trigger("alice", "f", true); !errors.Is(err, ErrNotAvailable) {
			t.Errorf("triggered: %v", err)
		}
		close(answers)
		w.settle()
		if f := shown(); !f.Available() || !f.AsOf.IsZero() {
			t.Errorf("mended: %+v", f)
		}
		w.stop()

		works = false
		again(nil)
		go func() { triggered <- w.trigger("alice", "f", true) }()
		w.settle()
		close(answers)
		if err := <-triggered; !errors.Is(err, ErrNotAvailable) {
			t.Errorf("it broke meanwhile: %v", err)
		}
		w.settle()
		if len(kept) != 1 || kept[0].Problem == nil {
			t.Errorf("kept %+v", kept)
		}
	})
}

// The log names each problem of a function once: what, why and what to do; and again when it is over. It
// contains nothing that a function printed.
func TestAnUnavailableFunctionIsALineInTheLog(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var says atomic.Pointer[invoke.Failure]
		says.Store(&invoke.Failure{Blame: invoke.Author, Code: "Runtime.ImportModuleError", Text: "it can't be loaded"})
		w.install("f", individual, []string{"a/x"}, "she/out", silent)
		w.funcs["f"] = func(entry string, _ []byte) ([]byte, error) {
			if failure := says.Load(); entry == "configuration" && failure != nil {
				return []byte(canary), failure
			}
			return []byte(configuration("f", individual, reading("a/x"))), nil
		}
		w.functions[0].Manifest = nil
		gone := unloaded("gone", "she/out")
		gone.Problem = hat.NewFault(hat.Operator, catalog.CodeMissing, "there is nothing at the configured package path")
		w.functions = append(w.functions, gone)
		lines := func(function, code, do string) (n int) {
			for line := range strings.Lines(w.logged.String()) {
				if strings.Contains(line, "level=WARN msg=\"function not available\" function="+function+" version=1.0.0 ") &&
					strings.Contains(line, "code="+code+" text=") && strings.Contains(line, " do=\"") && strings.Contains(line, do) {
					n++
				}
			}
			return n
		}
		all := func() int { return strings.Count(w.logged.String(), "function not available") }
		w.start()
		if lines("gone", catalog.CodeMissing, "put the package where she.yaml says it is") != 1 {
			t.Errorf("a package that is missing: %s", w.logged.String())
		}
		if lines("f", "Runtime.ImportModuleError", "install a mended package, then restart the server") != 1 {
			t.Errorf("at first: %s", w.logged.String())
		}
		w.pass(24 * time.Hour)
		if all() != 2 {
			t.Errorf("after a day %d lines", all())
		}
		says.Store(&invoke.Failure{Blame: invoke.Operator, Code: "Sandbox.Start", Text: "no sandbox starts"})
		w.pass(24 * time.Hour)
		if lines("f", "Sandbox.Start", "she doctor") != 1 || all() != 3 {
			t.Errorf("another problem: %s", w.logged.String())
		}
		says.Store(nil)
		w.pass(24 * time.Hour)
		if all() != 3 || strings.Count(w.logged.String(), "msg=\"function available\" function=f ") != 1 {
			t.Errorf("mended: %s", w.logged.String())
		}
	})
}

// For each problem that keeps a function from running, the log says what to do.
func TestEachProblemSaysWhatToDo(t *testing.T) {
	seen := map[string]bool{}
	for _, code := range []string{
		catalog.CodeProject, catalog.CodeRefused, catalog.CodeHandler, catalog.CodeSample, catalog.CodeMissing, catalog.CodeSlow, catalog.CodeStore,
		catalog.CodeRuntime, catalog.CodeDuplicate, CodeWrongID, CodeWrongVersion, CodeWithdrawn, "Other",
	} {
		for _, who := range []hat.Who{hat.Author, hat.Operator, hat.Engine, hat.Owner} {
			do := toDo(hat.NewFault(who, code, "x"))
			if len(do) < 20 {
				t.Errorf("%s %s: %q", who, code, do)
			}
			seen[do] = true
		}
	}
	if len(seen) != 10 {
		t.Errorf("%d different ones", len(seen))
	}
}
