package doctor

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestKernelVersions(t *testing.T) {
	for _, c := range []struct {
		is, want release
		before   bool
	}{
		{release{4, 14}, oldestKernel, false}, {release{4, 9}, oldestKernel, true}, {release{3, 20}, oldestKernel, true},
		{release{5, 4}, killingKernel, true}, {release{5, 14}, killingKernel, false}, {release{6, 1}, killingKernel, false}, {release{5, 140}, killingKernel, false},
	} {
		if c.is.before(c.want) != c.before {
			t.Errorf("%s before %s", c.is, c.want)
		}
	}
}

// TestExamine checks that every finding that is not a success says what to do, unless nothing can be done.
func TestExamine(t *testing.T) {
	dir := t.TempDir()
	all := Examine(Machine{Data: filepath.Join(dir, "not", "made"), Listen: "127.0.0.1:0", Reserve: 1 << 30})
	what := map[string]bool{}
	for _, f := range all {
		what[f.What] = true
		if f.Level != Good && f.Fix == "" {
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
	for listen, want := range map[string]string{taken.Addr().String(): "end what listens there", "192.0.2.1:0": "no such address"} { // RFC 5737: not in use
		if f := examinePort(Machine{Listen: listen})[0]; f.Level != Problem || !strings.Contains(f.Fix, want) {
			t.Errorf("%s: %+v", listen, f)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left %v %v", left, err)
	}
}
