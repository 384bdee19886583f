package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"she/internal/httpapi"
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
	file := filepath.Join(dir, sealFile)
	for range 2 {
		if err := keep(file, httpapi.Seal{Text: "t"}); err != nil {
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

func TestKernelVersions(t *testing.T) {
	for _, c := range []struct {
		major, minor int
		want         float64
		before       bool
	}{{4, 14, 4.14, false}, {4, 9, 4.14, true}, {3, 20, 4.14, true}, {5, 4, 5.14, true}, {5, 14, 5.14, false}, {6, 1, 5.14, false}} {
		if before(c.major, c.minor, c.want) != c.before {
			t.Errorf("%d.%d before %.2f", c.major, c.minor, c.want)
		}
	}
}

// TestExamine: every finding that is no success says what to do, but where nothing can be done.
func TestExamine(t *testing.T) {
	dir := t.TempDir()
	all := examine(machine{data: filepath.Join(dir, "not", "made"), listen: "127.0.0.1:0"})
	what := map[string]bool{}
	for _, f := range all {
		what[f.What] = true
		if f.Level != good && f.Fix == "" {
			t.Errorf("%+v says nothing to do", f)
		}
	}
	for _, w := range []string{"kernel", "seccomp", "namespaces", "root", "cgroups", "runsc", "data directory", "free space", "disk sync", "clock", "memory", "out of memory", "open files", "address"} {
		if !what[w] {
			t.Errorf("%s was not looked at", w)
		}
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for listen, want := range map[string]string{taken.Addr().String(): "end what listens there", "192.0.2.1:0": "no such address"} { // RFC 5737: nobody's
		if f := examinePort(machine{listen: listen})[0]; f.Level != problem || !strings.Contains(f.Fix, want) {
			t.Errorf("%s: %+v", listen, f)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left %v %v", left, err)
	}
}
