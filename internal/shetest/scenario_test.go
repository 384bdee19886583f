package shetest_test

import (
	"slices"
	"testing"
)

// A scenario is one of the acceptance scenarios of the HAT contract, or a part of one, by its number: over HTTP, with
// the real server, real vaults, and functions in real sandboxes. Each has functions of its own, named after it.
type scenario struct {
	name      string // Scenario, the number, what the behaviour is
	functions []function
	do        func(p *person)
}

// TestScenarios are those that can share a server and a person, as each has its own functions and endpoints. They run
// side by side, because most of them wait.
func TestScenarios(t *testing.T) {
	if testing.Short() {
		t.Skip("real sandboxes: make test")
	}
	all := slices.Concat(registryScenarios)
	var functions []function
	for _, s := range all {
		functions = append(functions, s.functions...)
	}
	w := newWorld(t, functions, "alice")
	w.addPlatform()
	w.start()
	alice := w.owner("alice")
	t.Run("all", func(t *testing.T) {
		for _, s := range all {
			t.Run(s.name, func(t *testing.T) {
				t.Parallel()
				s.do(alice.in(t))
			})
		}
	})
}
