package workbench_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"she/internal/shetest"
)

// BenchmarkSecondStart measures how long an author waits for a result, from the start of the program to its
// end, after the first use on this machine.
func BenchmarkSecondStart(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("sandboxes need root")
	}
	bin, err := shetest.Bin()
	if err != nil {
		b.Skip(err)
	}
	functions := filepath.Join(bin, "../functions")
	for _, c := range []struct {
		name string
		args []string
	}{
		{"event/python", []string{filepath.Join(functions, "busy-hours"), "--entry", "bundle"}},
		{"event/nodejs", []string{filepath.Join(functions, "notes-mood"), "--entry", "bundle"}},
		{"event/go", []string{filepath.Join(functions, "places"), "--entry", "bundle"}},
		{"run/python", []string{filepath.Join(functions, "busy-hours")}},
		{"run/nodejs", []string{filepath.Join(functions, "notes-mood")}},
		{"run/go", []string{filepath.Join(functions, "places")}},
	} {
		b.Run(c.name, func(b *testing.B) {
			cache := b.TempDir()
			try := func() {
				cmd := exec.Command(filepath.Join(bin, "she"), append([]string{"invoke", "--cache", cache}, c.args...)...)
				if out, err := cmd.CombinedOutput(); err != nil {
					b.Fatalf("%v\n%s", err, out)
				}
			}
			try()
			for b.Loop() {
				try()
			}
		})
	}
}
