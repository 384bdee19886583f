package sandboxtest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"she/internal/sandbox"
	"she/internal/sandbox/seal"
)

// Seal tries every channel of package seal against a mechanism. search is where it keeps what sandboxes need.
func Seal(t *testing.T, m sandbox.Mechanism, search ...string) {
	// Where anyone may walk: one observer is a user without rights.
	dir, err := os.MkdirTemp("", "she-seal-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	only := strings.Fields(os.Getenv("SHE_TEST_PROBES"))
	findings, err := seal.Run(t.Context(), seal.Config{
		Walls: m, Program: filepath.Join(build(t), "bootstrap"), Dir: dir, Search: search,
		Step: func(done, of int) { t.Logf("%s: %d of %d", time.Now().Format("04:05.0"), done, of) },
		Only: func(name string) bool {
			for _, o := range only {
				if o == name {
					return true
				}
			}
			return len(only) == 0
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	count := map[seal.Outcome]int{}
	for _, f := range findings {
		count[f.Outcome]++
		switch f.Outcome {
		case seal.Blocked:
		case seal.Unprovable:
			t.Logf("%s %s: %s", f.Outcome, f.Name, f.Evidence)
		default:
			t.Errorf("%s is %s: %s", f.Name, f.Outcome, f.Evidence)
		}
	}
	t.Log(count)
	if count[seal.Blocked] < len(findings)*3/4 {
		t.Error("too little is proved")
	}
}
