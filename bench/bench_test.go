// Package bench measures she beside peers, each as a process of its own, by the same load in the same run. It is a
// module of its own, so that what it compares with is no dependency of she's.
package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

// dir is this module's folder; the tests run in the one above, where the binaries are found.
var dir string

func TestMain(m *testing.M) {
	var err error
	if dir, err = filepath.Abs("."); err == nil {
		err = os.Chdir("..")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

var number atomic.Int64

var filler = strings.Repeat("All work and no play makes a dull record. ", 12)[:400]

// record is one of about 500 bytes, different from all others of the run.
func record() []byte {
	n := number.Add(1)
	return fmt.Appendf(nil, `{"n":%d,"created":"2024-05-%02dT%02d:%02d:%02dZ","lat":%d.25,"tags":["a","b"],"text":"%s"}`,
		n, 1+n%28, n%24, n%60, n*7%60, n%90, filler)
}

func median[T int | float64](all []T) T { return quantile(all, 0.5) }

func quantile[T int | float64](all []T, q float64) T {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[int(q*float64(len(sorted)-1))]
}

func must(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// cpu is the processor time a process has used, in milliseconds.
func cpu(b *testing.B, pid int) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	must(b, err)
	_, rest, _ := strings.Cut(string(text), ") ")
	var user, system float64 // fields 14 and 15, in ticks of 10 ms
	_, err = fmt.Sscan(strings.Join(strings.Fields(rest)[11:13], " "), &user, &system)
	must(b, err)
	return (user + system) * 10
}
