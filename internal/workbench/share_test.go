package workbench

import (
	"strings"
	"testing"
	"time"

	"she/internal/catalog"
	"she/internal/invoke"
)

// Where CPU is counted but not enforced, an answer that would have come too late on a server is refused.
func TestShareIsComparedWhereItIsNotHeld(t *testing.T) {
	entry := catalog.Entry{Name: "f", Memory: 1769 / 2, Timeout: 3 * time.Second} // half a processor: 2 s of it in 4 s
	for name, c := range map[string]struct {
		unheld bool
		used   time.Duration
		want   string
	}{
		"within it":         {true, 1900 * time.Millisecond, ""},
		"beyond it":         {true, 2100 * time.Millisecond, "Sandbox.Timedout: it took 2100 ms of a processor; with 884 MB it has a share"},
		"held by a cgroup":  {false, 2100 * time.Millisecond, ""},
		"nothing was known": {true, 0, ""},
	} {
		b := &Bench{unheld: c.unheld}
		step, fault, err := b.stepOf(Process, entry, 2, invoke.Answer{Payload: []byte("[]"), Usage: invoke.Usage{CPU: c.used}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if fault != nil {
			got = fault.Code + ": " + fault.Text
		}
		if !strings.HasPrefix(got, c.want) || (c.want == "") != (got == "") {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
		if has := len(step.Limits) == 5; has != c.unheld {
			t.Errorf("%s: %d limits are told", name, len(step.Limits))
		}
	}
}
