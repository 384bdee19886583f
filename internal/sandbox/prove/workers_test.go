package prove

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"she/internal/sandbox/seal"
	"she/internal/sandbox/wasm"
	"she/internal/verdict"
)

func TestJudgeWorker(t *testing.T) {
	worked, refused, ended, untried := wasm.Tried{Outcome: wasm.Succeeded}, wasm.Tried{Outcome: wasm.Refused, Detail: "no"}, wasm.Tried{Outcome: wasm.Ended}, wasm.Tried{Outcome: wasm.Untried, Detail: "why"}
	for _, c := range []struct {
		what     string
		a        wasm.Attempt
		want     []seal.Outcome
		evidence string
	}{
		{"all holds", wasm.Attempt{Bare: worked, Walled: ended, Unfiltered: refused, Others: true}, []seal.Outcome{seal.Blocked, seal.Blocked}, ""},
		{"only the filter is there", wasm.Attempt{Bare: worked, Walled: ended}, []seal.Outcome{seal.Blocked}, ""},
		{"no filter", wasm.Attempt{Bare: worked, Walled: refused, Unfiltered: refused, Others: true}, []seal.Outcome{seal.Open, seal.Blocked}, "let it through"},
		{"nothing behind the filter", wasm.Attempt{Bare: worked, Walled: ended, Unfiltered: worked, Others: true}, []seal.Outcome{seal.Blocked, seal.Open}, ""},
		{"no walls", wasm.Attempt{Bare: worked, Walled: worked, Unfiltered: worked, Others: true}, []seal.Outcome{seal.Open, seal.Open}, "did it"},
		{"open even where it can't be tried without", wasm.Attempt{Bare: refused, Walled: worked}, []seal.Outcome{seal.Open}, ""},
		{"it works nowhere", wasm.Attempt{Bare: refused, Walled: ended, Unfiltered: refused, Others: true}, []seal.Outcome{seal.Unprovable, seal.Unprovable}, "no"},
		{"no walls could be made", wasm.Attempt{Bare: worked, Walled: untried, Unfiltered: untried, Others: true}, []seal.Outcome{seal.Broken, seal.Broken}, "why"},
		{"it was left out", wasm.Attempt{Bare: worked, Walled: ended, Others: true}, []seal.Outcome{seal.Blocked, seal.Broken}, ""},
		{"the filter has no part in it", wasm.Attempt{Bare: worked, Walled: refused, Passes: true}, []seal.Outcome{seal.Blocked}, ""},
		{"a descriptor is left", wasm.Attempt{Bare: worked, Walled: worked, Passes: true}, []seal.Outcome{seal.Open}, ""},
	} {
		found := judgeWorker(c.a)
		if len(found) != len(c.want) {
			t.Errorf("%s: %v", c.what, found)
			continue
		}
		for i, f := range found {
			if f.Outcome != c.want[i] {
				t.Errorf("%s: %v, want %s", c.what, f, c.want[i])
			}
		}
		if !strings.Contains(found[0].Evidence, c.evidence) {
			t.Errorf("%s: %q does not say %q", c.what, found[0].Evidence, c.evidence)
		}
	}
}

// TestWorkers proves the walls of a real worker, and sees a verdict that says so where one of them was left out.
func TestWorkers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("walls are built as root")
	}
	if testing.Short() {
		t.Skip("it builds a worker, and one whose walls can be left out")
	}
	dir := t.TempDir()
	for file, build := range map[string][]string{"she-wasm": {"build", "-trimpath", "she/cmd/she-wasm"}, "test": {"test", "-trimpath", "-c", "she/internal/sandbox/wasm/worker"}} {
		cmd := exec.Command("go", append([]string{build[0], "-o", filepath.Join(dir, file)}, build[1:]...)...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	for _, c := range []struct {
		left string   // out
		open []string // some of what comes through
	}{
		{"", nil},
		{"filter", []string{"worker-free-space", "worker-sysv-shm", "worker-file-open"}},
		{"rights", []string{"worker-descriptor", "worker-pipe-unfiltered", "worker-chroot-unfiltered"}},
		{"root", []string{"worker-file-make-unfiltered"}},
	} {
		worker := filepath.Join(dir, "she-wasm")
		if c.left != "" {
			worker += "-without-" + c.left
			if err := os.Symlink("test", worker); err != nil {
				t.Fatal(err)
			}
		}
		state := filepath.Join(dir, "state")
		probes, err := workers(t.Context(), worker, state)
		if err != nil {
			t.Fatal(err)
		}
		v := verdict.On(probes, time.Now())
		t.Logf("without %q: %s", c.left, v.Text)
		outcomes := map[string]verdict.Outcome{}
		for _, p := range probes {
			outcomes[p.Name] = p.Outcome
			if c.left == "" && p.Outcome == seal.Unprovable {
				t.Logf("%s: %s", p.Name, p.Evidence)
			} else if c.left == "" && p.Outcome != seal.Blocked {
				t.Errorf("%s is %s: %s", p.Name, p.Outcome, p.Evidence)
			}
		}
		for _, name := range c.open {
			if outcomes[name] != seal.Open {
				t.Errorf("without %s: %s is %q", c.left, name, outcomes[name])
			}
		}
		if err := v.Err(); (err == nil) != (c.left == "") {
			t.Errorf("without %q the verdict is %v", c.left, err)
		}
		if c.left == "" && v.Blocked < len(probes)*3/4 {
			t.Errorf("too little is proved: %s", v.Text)
		}
		if _, err := os.Stat(state); !os.IsNotExist(err) {
			t.Errorf("it left %v", err)
		}
	}
}
