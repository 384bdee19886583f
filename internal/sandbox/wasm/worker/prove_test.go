package worker

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"she/internal/sandbox/wasm"
)

// leftOut names, to the processes of a prover, the walls it is to do without.
const leftOut = "SHE_WASM_WITHOUT="

// TestMain lets the test's own program be she-wasm, if it is called that, or one that lacks walls: she-wasm-without-….
func TestMain(m *testing.M) {
	name := filepath.Base(os.Args[0])
	if !strings.HasPrefix(name, "she-wasm") {
		os.Exit(m.Run())
	}
	_, without, _ := strings.Cut(name, "-without-")
	if without == "" {
		without = os.Getenv(strings.TrimSuffix(leftOut, "="))
	}
	environment = append(environment, leftOut+without)
	filter := func() error { return filterSystemCalls(sealed()) }
	switch without {
	case "filter":
		walls[full] = walls[unfiltered]
	case "rights":
		walls[unfiltered] = enter
		walls[full] = all(enter, filter)
	case "root":
		walls[unfiltered] = all(boundCapabilities, closeDescriptors, giveUpCapabilities, noThreads, limitResources)
		walls[full] = all(walls[unfiltered], filter)
	}
	os.Exit(Main(os.Args[1:]))
}

func noThreads() error { threads(6); return nil }

func all(steps ...func() error) func() error {
	return func() error {
		for _, step := range steps {
			if err := step(); err != nil {
				return err
			}
		}
		return nil
	}
}

// TestProve makes every attempt at all walls, and at walls of which some were left out: then it must show.
func TestProve(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("walls are built as root")
	}
	if testing.Short() {
		t.Skip("it builds itself once more")
	}
	dir := t.TempDir()
	program := filepath.Join(dir, "she-wasm")
	build := exec.Command("go", "test", "-trimpath", "-c", "-o", program, ".") // like she-wasm, and not like a test with -race
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, a := range proved(t, program, "") {
		if a.Bare.Outcome != wasm.Succeeded {
			t.Logf("%s is not provable here: %+v", a.Name, a.Bare)
		}
		want := wasm.Tried{Outcome: wasm.Ended}
		if a.Passes {
			want = wasm.Tried{Outcome: wasm.Refused, Detail: a.Walled.Detail}
		}
		if a.Walled != want {
			t.Errorf("%s, behind all walls: %+v", a.Name, a.Walled)
		}
		if a.Others && a.Unfiltered.Outcome != wasm.Refused {
			t.Errorf("%s, behind the walls without the filter: %+v", a.Name, a.Unfiltered)
		}
	}
	for _, a := range proved(t, program, "filter") {
		alone := !a.Others && !a.Passes && a.Name != "thread" // of those there is a limit too, and Go ends a program that gets none
		if alone && a.Bare.Outcome == wasm.Succeeded && a.Walled.Outcome != wasm.Succeeded {
			t.Errorf("%s, without the filter: %+v", a.Name, a.Walled)
		}
	}
	for without, succeed := range map[string][]string{
		"rights": {"pipe", "socket", "memfd", "process", "chroot", "rlimit", "hostname"},
		"root":   {"file-make"}, // opening files takes descriptors, which are limited all the same
	} {
		got := map[string]wasm.Tried{}
		for _, a := range proved(t, program, without) {
			got[a.Name] = a.Unfiltered
			if a.Passes {
				got[a.Name] = a.Walled
			}
		}
		for _, name := range succeed {
			if got[name].Outcome != wasm.Succeeded {
				t.Errorf("%s, without %s: %+v", name, without, got[name])
			}
		}
	}
}

func proved(t *testing.T, program, without string) (all []wasm.Attempt) {
	t.Helper()
	image, err := os.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer image.Close()
	name := "she-wasm"
	if without != "" {
		name += "-without-" + without
	}
	cmd := &exec.Cmd{Path: program, Args: []string{name, wasm.Prove}, Env: []string{}, ExtraFiles: []*os.File{image}, Stderr: os.Stderr}
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for in := json.NewDecoder(bytes.NewReader(out)); in.More(); {
		var a wasm.Attempt
		if err := in.Decode(&a); err != nil {
			t.Fatal(err)
		}
		all = append(all, a)
	}
	if len(all) != len(attempts) {
		t.Fatalf("%d of %d attempts were made", len(all), len(attempts))
	}
	return all
}

func TestTried(t *testing.T) {
	killed := func(s syscall.Signal) int { return 128 + int(s) }
	for _, c := range []struct {
		said   string
		status int
		want   wasm.Outcome
	}{
		{"succeeded", 0, wasm.Succeeded}, {"refused: no", 0, wasm.Refused}, {"", killed(syscall.SIGSYS), wasm.Ended},
		{"", 0, wasm.Untried}, {"no walls: no", 0, wasm.Untried}, {"", killed(syscall.SIGKILL), wasm.Untried},
		{"succeeded", killed(syscall.SIGSYS), wasm.Untried}, {"succeeded and more", 0, wasm.Untried},
	} {
		if got := tried(c.said, c.status); got.Outcome != c.want {
			t.Errorf("%q, %d: %+v, want %s", c.said, c.status, got, c.want)
		}
	}
}

func TestAttemptsHaveNames(t *testing.T) {
	seen := map[string]bool{}
	for _, a := range attempts {
		if seen[a.name] || strings.ContainsAny(a.name, " |") || a.tries == "" || a.others && a.passes {
			t.Errorf("%+v", a)
		}
		seen[a.name] = true
	}
	if err := try([]string{full, "nothing", "1", "1"}, new(bytes.Buffer)); err == nil {
		t.Error("an unknown attempt was made")
	}
}
