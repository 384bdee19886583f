package shetest_test

import (
	"slices"
	"sync"
	"testing"
)

// A scenario is one of the acceptance scenarios of the HAT contract, or a part of one, with its number. It
// runs over HTTP, with the real server, real vaults, and functions in real sandboxes. Each has its own
// functions, named after it.
type scenario struct {
	name      string // "Scenario", its number, and the behaviour
	functions []function
	do        func(p, bob *person)
	alone     bool // it measures time, so nothing runs beside it
}

// whole skips a test with real sandboxes in a short run.
func whole(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("real sandboxes: make test")
	}
}

// TestScenarios runs the scenarios that can share a server and a person, because each has its own functions
// and endpoints. They run side by side, because they mostly wait.
func TestScenarios(t *testing.T) {
	whole(t)
	all := slices.Concat(registryScenarios, triggerScenarios, safetyScenarios)
	var functions []function
	for _, s := range all {
		functions = append(functions, s.functions...)
	}
	w := newWorld(t, functions, "alice", "bob")
	for _, name := range []string{"alice", "bob"} {
		_, err := w.server.CreatePlatform("platform", name)
		check(t, err)
	}
	w.start()
	alice, bob := w.owner("alice"), w.owner("bob")
	for _, f := range functions {
		alice.available(f.id)
	}
	do := func(s scenario) {
		t.Run(s.name, func(t *testing.T) { s.do(alice.in(t), bob.in(t)) })
	}
	// t.Parallel would run no more at once than there are processors.
	var together sync.WaitGroup
	defer together.Wait()
	for _, s := range all {
		if s.alone {
			do(s)
		}
	}
	for _, s := range all {
		if !s.alone {
			together.Go(func() { do(s) })
		}
	}
}
