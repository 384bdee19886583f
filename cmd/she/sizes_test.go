package main

import (
	"testing"

	"she/internal/engine"
)

func TestMemoryIsDivided(t *testing.T) {
	const gb, mb = 1 << 30, 1 << 20
	for name, c := range map[string]struct {
		config   Config
		machine  uint64
		explicit int64
		runs     int
		want     sizes
	}{
		"a large machine":             {Config{}, 64 * gb, 0, 16, sizes{32 * gb, 16 * gb, 16 * engine.RunHold, 16}},
		"a container":                 {Config{}, 1536 * mb, 0, 4, sizes{768 * mb, 384 * mb, 4 * engine.RunHold, 4}},
		"a container with many runs":  {Config{}, 1536 * mb, 0, 64, sizes{768 * mb, 384 * mb, 8 * engine.RunHold, 8}},
		"next to nothing":             {Config{}, 100 * mb, 0, 4, sizes{256 * mb, 128 * mb, 2 * engine.RunHold, 2}},
		"as configured":               {Config{MemoryMB: 512}, 64 * gb, 0, 4, sizes{512 * mb, 256 * mb, 4 * engine.RunHold, 4}},
		"as the environment has said": {Config{MemoryMB: 512}, 64 * gb, 300 * mb, 1, sizes{300 * mb, 150 * mb, engine.RunHold, 1}},
	} {
		if got := sizesFor(c.config, c.machine, c.explicit, c.runs); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}
