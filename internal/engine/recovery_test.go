package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"she/internal/access"
	"she/internal/catalog"
	"she/internal/contract"
	"she/internal/hat"
	"she/internal/invoke"
	"she/internal/vault"
	"she/internal/vault/ledger"
)

// Scenario 67: the server dies at each durable step, before it is on disk or right after. After the
// restart, the record has been processed and the output is stored once.
// Defect B-06.
func Test67WhateverIsKilledWhen(t *testing.T) {
	for _, op := range []string{"claim", "commit", "fail", "due"} {
		for _, persisted := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, persisted %t", op, persisted), func(t *testing.T) {
				inWorld(t, func(t *testing.T, w *world) {
					var fails atomic.Bool
					fails.Store(op == "fail") // only a failed run reaches this step
					w.install("f", individual, []string{"a/x"}, "she/out", func(entry string, event []byte) ([]byte, error) {
						if fails.Load() {
							return failing(entry, event)
						}
						return writing("she/out", "f")(entry, event)
					})
					w.startFor("alice", "f")
					var dead atomic.Bool
					w.breaks(func(at string, after bool) error {
						if at == op && after == persisted {
							dead.Store(true)
						}
						if dead.Load() {
							return errBroken
						}
						return nil
					})
					w.post("alice", "a/x", "1")
					w.stop() // nothing that it does from now on reaches the disk
					if !dead.Load() {
						t.Fatal("it did not come to that")
					}
					w.breaks(nil)
					fails.Store(false)
					w.start()
					w.pass(24 * time.Hour)
					expect(t, w.at("alice", "she/out"), "f1")
					if s := w.state("alice", "f"); s.Front != nil || !s.Started.IsZero() {
						t.Errorf("%+v", s)
					}
					if runs := w.runs("alice", "f"); strings.Count(runs, "committed") > 2 || !strings.HasSuffix(runs, "committed") {
						t.Errorf("runs %s", runs)
					}
				})
			})
		}
	}
}

// An operation that the vault refuses now may succeed later, without a restart of the server.
func TestAPassingFaultOfTheVault(t *testing.T) {
	for _, op := range []string{"claim", "commit", "fail", "due"} {
		t.Run(op, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				var fails atomic.Bool
				fails.Store(op == "fail")
				w.install("f", individual, []string{"a/x"}, "she/out", func(entry string, event []byte) ([]byte, error) {
					if fails.Load() {
						return failing(entry, event)
					}
					return writing("she/out", "f")(entry, event)
				})
				w.startFor("alice", "f")
				w.breaks(func(at string, after bool) error {
					if at == op && !after {
						return errBroken
					}
					return nil
				})
				w.post("alice", "a/x", "1")
				expect(t, w.at("alice", "she/out"), "")
				w.pass(time.Minute)
				w.breaks(nil)
				fails.Store(false)
				w.pass(2 * time.Hour)
				expect(t, w.at("alice", "she/out"), "f1")
			})
		})
	}
}

// The end of a run can't be stored. Once it can, the work goes on within half a minute, not when the lease
// lapses.
func TestTheEndOfARunIsStoredLater(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.install("f", individual, []string{"a/x"}, "she/out", writing("she/out", "f"))
		w.startFor("alice", "f")
		w.breaks(func(at string, after bool) error {
			if (at == "commit" || at == "fail") && !after {
				return errBroken
			}
			return nil
		})
		w.post("alice", "a/x", "1")
		w.pass(5 * time.Minute) // shorter than the lease
		expect(t, w.runs("alice", "f"), "planned")
		w.breaks(nil)
		w.pass(lookAgain + 2*time.Second)
		expect(t, w.at("alice", "she/out"), "f1")
		expect(t, w.runs("alice", "f"), "failed:Engine.Unexpected committed")
		if n := len(w.engine.unended.of); n != 0 {
			t.Errorf("%d ends are kept", n)
		}
	})
}

// Defect B-10.
func Test67AtStartEveryHATIsLookedAt(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.install("f", individual, []string{"a/x"}, "she/out", writing("she/out", "f"))
		w.start()
		ids := []string{"alice", "bob", "carol", "dave", "erin", "frank"}
		for _, id := range ids {
			w.addHAT(hat.ID(id))
			w.enable(id, "f")
			w.write(id, "a/x", id) // without a wake-up
		}
		w.pass(time.Hour)
		expect(t, w.at("alice", "she/out"), "")
		w.stop()
		w.start()
		for _, id := range ids {
			expect(t, w.at(id, "she/out"), "f"+id)
		}
	})
}

func TestATickFindsWhatNobodyWokeFor(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.install("f", individual, []string{"a/x"}, "she/out", writing("she/out", "f"))
		w.options.Tick = time.Minute
		w.startFor("alice", "f")
		w.write("alice", "a/x", "1")
		w.pass(59 * time.Second)
		expect(t, w.at("alice", "she/out"), "")
		w.pass(2 * time.Second)
		expect(t, w.at("alice", "she/out"), "f1")
	})
}

func TestACleanStop(t *testing.T) {
	for name, c := range map[string]struct {
		takes time.Duration
		runs  string
	}{
		"waits for what ends soon":     {5 * time.Second, "committed"},
		"gives back what takes longer": {5 * time.Minute, "abandoned committed"},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.install("f", manual, []string{"a/x"}, "she/out", func(string, []byte) ([]byte, error) {
					time.Sleep(c.takes)
					return []byte("[" + respond("she/out", []string{"1"}) + "]"), nil
				})
				w.startFor("alice", "f")
				w.write("alice", "a/x", "1")
				outcome := make(chan error, 1)
				go func() { outcome <- w.trigger("alice", "f", false) }()
				w.settle()
				began := time.Now()
				w.stop()
				if took := time.Since(began); took > 11*time.Second {
					t.Errorf("it took %s", took)
				}
				err := <-outcome
				if (err == nil) != (c.takes < 10*time.Second) || err != nil && !errors.Is(err, ErrStopped) {
					t.Error(err)
				}
				w.pass(c.takes) // the abandoned Go function ends too
				w.start()
				if err != nil {
					if err := w.trigger("alice", "f", false); err != nil {
						t.Error(err)
					}
				}
				expect(t, w.runs("alice", "f"), c.runs)
				if w.store == nil {
					return
				}
				engine := w.engine
				w.stop()
				owner := access.User(hat.NewUserID(), []access.Role{{Title: access.TitleOwner}}, access.TitleOwner)
				if err := engine.Trigger(t.Context(), "alice", owner, functionID("f"), false); !errors.Is(err, ErrStopped) {
					t.Errorf("after the end: %v", err)
				}
			})
		})
	}
}

// A vault that can't be opened affects its own HAT only (B-11).
func TestABrokenHATDisturbsNobody(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.install("f", individual, []string{"a/x"}, "she/out", writing("she/out", "f"))
		w.start()
		w.hats = append(w.hats, "missing")
		w.addHAT("alice")
		w.enable("alice", "f")
		for range 3 {
			w.engine.Wake("missing")
			w.settle()
		}
		w.post("alice", "a/x", "1")
		expect(t, w.at("alice", "she/out"), "f1")
	})
}

// Scenario 53: g's configuration entry fails when the server starts. f is available at once, g when it
// answers.
// Defect B-14.
func Test53FunctionsLoadInTheBackground(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		tries := 0
		w.install("f", individual, []string{"a/x"}, "she/out", silent)
		w.functions = append(w.functions, unloaded("g", "she/g"))
		w.funcs["g"] = func(entry string, event []byte) ([]byte, error) {
			switch entry {
			case "bundle":
				return []byte(reading("a/x")), nil
			case "process":
				return writing("she/g", "g")(entry, event)
			}
			expect(t, string(event), `""`)
			if tries++; tries < 4 {
				return failing(entry, event)
			}
			return []byte(configuration("g", individual, reading("a/x"))), nil
		}
		w.start()
		var ids []string
		for _, f := range w.engine.Functions() {
			ids = append(ids, fmt.Sprintf("%s %t", f.ID, f.Available()))
		}
		expect(t, strings.Join(ids, ", "), "f true, g false")
		if _, err := w.engine.GrantFor(functionID("g")); !errors.Is(err, ErrNotAvailable) {
			t.Error(err)
		}
		if f, ok := w.engine.Function(functionID("g")); !ok || f.Problem == nil || f.Problem.Code != "Unhandled" {
			t.Errorf("%+v", f.Problem)
		}
		w.pass(time.Minute)
		if f, _ := w.engine.Function(functionID("g")); !f.Available() || tries != 4 {
			t.Errorf("after %d tries: %v", tries, f.Problem)
		}
	})
}

// Data that arrived while the function could not be loaded is run when it can.
func TestWorkWaitsForItsFunction(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.install("f", individual, []string{"a/x"}, "she/out", writing("she/out", "f"))
		w.startFor("alice", "f")
		w.stop()
		ask := w.funcs["f"]
		var up atomic.Bool
		w.funcs["f"] = func(entry string, event []byte) ([]byte, error) {
			switch {
			case entry == "configuration" && up.Load():
				return []byte(configuration("f", individual, reading("a/x"))), nil
			case entry == "configuration":
				return failing(entry, event)
			}
			return ask(entry, event)
		}
		w.functions[0].Manifest = nil
		w.start()
		w.forget()
		w.post("alice", "a/x", "1")
		w.pass(time.Hour)
		expect(t, w.called(), "")
		up.Store(true)
		w.pass(6 * time.Minute)
		expect(t, w.called(), "f:1")
	})
}

// Defect B-01.
func TestWhatKeepsAFunctionFromLoading(t *testing.T) {
	wrongVersion := strings.Replace(configuration("f", manual, reading("a/x")), "1.0.0", "1.0.1", 1)
	withdrawn := strings.Replace(configuration("f", manual, reading("a/x")), `"available":true`, `"available":false`, 1)
	for name, c := range map[string]struct {
		answer, code string
		manifest     bool
	}{
		"another id":      {configuration("g", manual, reading("a/x")), CodeWrongID, false},
		"another version": {wrongVersion, CodeWrongVersion, true},
		"withdrawn":       {withdrawn, CodeWithdrawn, true},
		"nonsense":        {`{}`, contract.CodeConfigurationInvalid, false},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.functions = append(w.functions, unloaded("f", "she/out"))
				w.funcs["f"] = func(string, []byte) ([]byte, error) { return []byte(c.answer), nil }
				w.start()
				f, ok := w.engine.Function(functionID("f"))
				if !ok || f.Available() || f.Problem == nil || f.Problem.Code != c.code || (f.Manifest != nil) != c.manifest {
					t.Errorf("%+v %+v", f.Manifest, f.Problem)
				}
				w.addHAT("alice")
				want := ErrFunctionNotFound
				if c.manifest {
					want = ErrNotAvailable
				}
				if err := w.trigger("alice", "f", false); !errors.Is(err, want) {
					t.Errorf("trigger: %v", err)
				}
			})
		})
	}
}

// version returns the function at another version: other code, another default bundle.
func version(t *testing.T, f catalog.Function, v, question string) catalog.Function {
	t.Helper()
	m, fault := contract.ParseConfiguration([]byte(strings.Replace(configuration(f.ID.String(), individual, question), "1.0.0", v, 1)))
	if fault != nil {
		t.Fatal(fault)
	}
	f.Version, f.Manifest = m.Version, &m
	f.Package.Digest += v
	for _, e := range []*catalog.Entry{&f.Configuration, &f.Bundle, &f.Process} {
		e.Package = f.Package
	}
	return f
}

func TestNewVersions(t *testing.T) {
	narrow := `{"name":"b","bundle":{"a/x":{"endpoints":[{"endpoint":"a/x"}],"limit":5}}}`
	for name, c := range map[string]struct {
		installed []string // bundles of versions 1.0.0, 1.0.1, …
		runs      string   // the version that runs; "": none
	}{
		"asks for less":                      {[]string{reading("a/x"), narrow}, "1.0.1"},
		"asks for more, the old one is gone": {[]string{reading("a/x", "a/y")}, ""},
		"asks for more, the old one is kept": {[]string{reading("a/x"), reading("a/x", "a/y")}, "1.0.0"},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.install("f", individual, []string{"a/x"}, "she/out", silent)
				w.startFor("alice", "f")
				w.stop()
				first := w.functions[0]
				w.functions = nil
				for i, question := range c.installed {
					f := version(t, first, fmt.Sprintf("1.0.%d", i), question)
					if i == 0 && len(c.installed) > 1 {
						f = first
					} else if i == 0 {
						f = version(t, first, "1.0.1", question)
					}
					w.functions = append(w.functions, f)
				}
				w.start()
				w.forget()
				w.post("alice", "a/x", "1")
				var ran string
				w.with("alice", func(v *ledger.Vault, owner access.Caller) error {
					runs, err := v.Runs(t.Context(), owner, functionID("f"), hat.RunID{}, 1)
					if err == nil && runs[0].State == vault.RunCommitted {
						ran = runs[0].Plan.Grant.Version.String()
					} else if err == nil && runs[0].Fault.Code != CodeOutdated {
						t.Error(runs[0].Fault)
					}
					return err
				})
				expect(t, ran, c.runs)
			})
		})
	}
}

// A bug of the engine that hostile input triggers fails its run, not the server.
func TestAPanicCostsItsRunOnly(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.install("f", manual, []string{"a/x"}, "she/out", silent)
		w.startFor("alice", "f")
		w.engine.invoker = panicking{}
		var failed *FailedError
		if err := w.trigger("alice", "f", false); !errors.As(err, &failed) || failed.Fault.Code != CodePanic || failed.Fault.Who != hat.Engine {
			t.Error(err)
		}
		w.engine.invoker = w
		if err := w.trigger("alice", "f", false); err != nil {
			t.Error(err)
		}
	})
}

type panicking struct{}

func (panicking) Init(context.Context, invoke.Request) (invoke.Answer, error) { panic(canary) }

func (panicking) Invoke(context.Context, invoke.Request) (invoke.Answer, error) { panic(canary) }

// repackage installs a function again: the same bundle, another package.
func (w *world) repackage(id, digest, question string, do Func) {
	w.t.Helper()
	for i := range w.functions {
		if w.functions[i].ID != functionID(id) {
			continue
		}
		w.functions = append(w.functions[:i], w.functions[i+1:]...)
		break
	}
	w.installBundle(id, individual, question, "she/out", do)
	f := &w.functions[len(w.functions)-1]
	for _, p := range []*catalog.Package{&f.Package, &f.Configuration.Package, &f.Bundle.Package, &f.Process.Package} {
		p.Digest = digest
	}
}

// Work that failed with a package that was replaced since is due as soon as the server is up with the new
// one, with all its attempts.
func TestANewPackageEndsThePauseOfWhatFailed(t *testing.T) {
	for _, c := range []struct {
		name    string
		change  func(w *world)
		at      string // output right after the start
		attempt int    // attempts of the work that still waits
	}{
		{"the same package", func(*world) {}, "", 3},
		{"another package", func(w *world) { w.repackage("f", "sha256:two", reading("a/x"), writing("she/out", "f")) }, "f1", 0},
		{"another package that fails too", func(w *world) { w.repackage("f", "sha256:two", reading("a/x"), failing) }, "", 1},
		{"a package that waits for consent", func(w *world) {
			w.repackage("f", "sha256:two", reading("a/x", "a/y"), writing("she/out", "f"))
			old := w.functions[len(w.functions)-1]
			w.installBundle("f", individual, reading("a/x"), "she/out", failing)
			w.functions[len(w.functions)-2], w.functions[len(w.functions)-1] = w.functions[len(w.functions)-1], old
		}, "", 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.install("f", individual, []string{"a/x"}, "she/out", failing)
				w.startFor("alice", "f")
				w.post("alice", "a/x", "1")
				w.pass(2 * time.Minute) // 10 s, 1 min: three attempts
				if s := w.state("alice", "f"); s.Front == nil || s.Front.Attempt != 3 {
					t.Fatalf("%+v", s.Front)
				}
				w.stop()
				c.change(w)
				w.start()
				expect(t, w.at("alice", "she/out"), c.at)
				s := w.state("alice", "f")
				if attempt := 0; s.Front != nil {
					attempt = s.Front.Attempt
					if attempt != c.attempt || s.Front.Parked {
						t.Errorf("%+v", s.Front)
					}
				} else if c.attempt != 0 {
					t.Error("nothing waits")
				}
				w.pass(24 * time.Hour)
				if c.at != "" {
					expect(t, w.at("alice", "she/out"), c.at) // stored once
					expect(t, w.runs("alice", "f"), "failed:Unhandled failed:Unhandled failed:Unhandled committed")
				}
			})
		})
	}
}

// Parked work waits for a person: a new package does not start it.
func TestANewPackageLeavesParkedWork(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.install("f", individual, []string{"a/x"}, "she/out", failing)
		w.startFor("alice", "f")
		w.post("alice", "a/x", "1")
		w.pass(24 * time.Hour)
		w.stop()
		w.repackage("f", "sha256:two", reading("a/x"), writing("she/out", "f"))
		w.start()
		w.pass(24 * time.Hour)
		expect(t, w.at("alice", "she/out"), "")
		if s := w.state("alice", "f"); len(s.Ranges) != 1 || !s.Ranges[0].Parked {
			t.Errorf("%+v", s.Ranges)
		}
	})
}
