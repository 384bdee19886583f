package internal_test

import (
	"testing"

	"she/internal/config"
	"she/internal/contract"
	"she/internal/engine"
	"she/internal/invoke"
	"she/internal/project"
	"she/internal/sandbox"
)

// The wall knows no word of a HAT, and so states limits once more that decisions state too. Each pair is the same figure: else one
// side would accept what the other refuses, or keep room for what never comes.
func TestLimitsAreTheSameOnBothSidesOfTheWall(t *testing.T) {
	for _, c := range []struct {
		what          string
		inside, above int64
	}{
		{"bytes of an event", sandbox.MaxEvent, contract.MaxPayload},
		{"bytes of an answer", sandbox.MaxAnswer, contract.MaxPayload},
		{"bytes of a log", sandbox.MaxLog, engine.MaxLog},
		{"least MB of memory", invoke.MinMemoryMB, project.MinMemoryMB},
		{"most MB of memory", invoke.MaxMemoryMB, project.MaxMemoryMB},
		{"longest run", int64(invoke.MaxTimeout), int64(project.MaxTimeout)},
		{"instances at once, if nobody says", int64(invoke.DefaultInstances()), int64(config.Config{}.InstancesAtOnce())},
	} {
		if c.inside != c.above {
			t.Errorf("%s: %d inside the wall, %d above it", c.what, c.inside, c.above)
		}
	}
}
