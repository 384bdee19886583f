package server

import (
	"testing"

	"she/internal/config"
	"she/internal/engine"
)

func TestMemoryIsDivided(t *testing.T) {
	const gb, mb = 1 << 30, 1 << 20
	for name, c := range map[string]struct {
		config   config.Config
		machine  uint64
		explicit int64
		runs     int
		want     sizes
	}{
		"a large machine":             {config.Config{}, 64 * gb, 0, 16, sizes{32 * gb, 16 * gb, 16 * engine.RunHold, 16}},
		"a container":                 {config.Config{}, 1536 * mb, 0, 4, sizes{768 * mb, 384 * mb, 4 * engine.RunHold, 4}},
		"a container with many runs":  {config.Config{}, 1536 * mb, 0, 64, sizes{768 * mb, 384 * mb, 8 * engine.RunHold, 8}},
		"next to nothing":             {config.Config{}, 100 * mb, 0, 4, sizes{256 * mb, 128 * mb, 2 * engine.RunHold, 2}},
		"as configured":               {config.Config{MemoryMB: 512}, 64 * gb, 0, 4, sizes{512 * mb, 256 * mb, 4 * engine.RunHold, 4}},
		"as the environment has said": {config.Config{MemoryMB: 512}, 64 * gb, 300 * mb, 1, sizes{300 * mb, 150 * mb, engine.RunHold, 1}},
	} {
		if got := sizesFor(c.config, c.machine, c.explicit, c.runs); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

func TestConnectionsOfAMachine(t *testing.T) {
	for _, c := range []struct {
		config        config.Config
		files, memory uint64
		all, ofOne    int
	}{
		{config.Config{}, 1 << 20, 64 << 30, 16384, 4096},
		{config.Config{}, 1 << 20, 1536 << 20, 3072, 768},
		{config.Config{}, 1024, 64 << 30, 256, 64},
		{config.Config{}, 1 << 20, 0, 256, 64},
		{config.Config{TrustProxy: true}, 1 << 20, 64 << 30, 16384, 0},
		{config.Config{Connections: 100}, 1 << 20, 64 << 30, 100, 25},
		{config.Config{TrustProxy: true, ConnectionsPerAddress: 7}, 1 << 20, 64 << 30, 16384, 7},
	} {
		if all, ofOne := connectionsFor(c.config, c.files, c.memory); all != c.all || ofOne != c.ofOne {
			t.Errorf("%+v: %d and %d", c, all, ofOne)
		}
	}
}
