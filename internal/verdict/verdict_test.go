package verdict

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestStaleSeal(t *testing.T) {
	tested := map[string]string{"kernel": "k", "runsc": "r", "she-init": "i", "she-probe": "p", "she-wasm": "w"}
	if why := stale(tested, tested); why != "" {
		t.Error(why)
	}
	for what := range tested {
		now := map[string]string{"kernel": "k", "runsc": "r", "she-init": "i", "she-probe": "p", "she-wasm": "w"}
		now[what] = "other"
		if stale(tested, now) == "" {
			t.Errorf("another %s does not count", what)
		}
		delete(now, what)
		if stale(tested, now) == "" || stale(now, tested) == "" {
			t.Errorf("a missing %s does not count", what)
		}
		if without := stale(now, now); (without == "") != (what == "she-wasm") {
			t.Errorf("without %s at all: %q", what, without)
		}
	}
}

func TestDigestFollowsTheFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	d := &digests{known: map[string]digest{}}
	seen := map[string]bool{}
	for _, content := range []string{"a", "bb", "ccc"} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			sum, err := d.of(file)
			if err != nil {
				t.Fatal(err)
			}
			seen[sum] = true
		}
	}
	if len(seen) != 3 {
		t.Errorf("%d digests of three contents", len(seen))
	}
}

// TestKeepReplacesWhole: nothing of another file is left beside it, and no right is given to others.
func TestKeepReplacesWhole(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, File)
	for range 2 {
		if err := Keep(dir, Verdict{Text: "t"}); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("%v %v", entries, err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
}

func TestVerdictCounts(t *testing.T) {
	at := time.Date(2026, 11, 24, 1, 2, 3, 4, time.UTC)
	v := On([]Finding{{Outcome: "blocked"}, {Outcome: "blocked"}, {Outcome: "open"}, {Outcome: "broken"}, {Outcome: "not provable"}}, at)
	if v.Blocked != 2 || v.Provable != 4 || v.Text != "2 of 4 probes blocked, 2026-11-24; 1 more can't be proved here" {
		t.Errorf("%+v", v)
	}
	if err := v.Err(); err == nil || !strings.Contains(err.Error(), "2 probes got out of the sandbox") {
		t.Errorf("it ends with %v", err)
	}
	if v = On([]Finding{{Outcome: "blocked"}}, at); v.Text != "1 of 1 probes blocked, 2026-11-24" || v.Err() != nil {
		t.Errorf("%+v", v)
	}
}
