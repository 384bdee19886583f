package gvisor_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"

	"she/internal/sandbox"
	"she/internal/sandbox/sandboxtest"
)

// TestClocksAreKnownSoon: programs in a sandbox read the time without a system call long before gVisor's own first second is
// over. What took a second for other reasons says nothing, and is tried again.
func TestClocksAreKnownSoon(t *testing.T) {
	if testing.Short() {
		t.Skip("some sandboxes")
	}
	p := sleeper(t)
	program := filepath.Join(p.Dir, "bootstrap")
	if err := os.Remove(program); err != nil {
		t.Fatal(err)
	}
	if err := sandboxtest.GoBuild("", program, "./testdata/clocks"); err != nil {
		t.Fatal(err)
	}
	m := closes(t, open(t))
	image := filepath.Join(t.TempDir(), "image")
	if _, err := m.Checkpoint(t.Context(), p, nil, image); err != nil {
		t.Fatal(err)
	}
	for name, start := range map[string]func() (sandbox.Instance, error){
		"fresh": func() (sandbox.Instance, error) {
			i, _, err := m.Start(t.Context(), p)
			return i, err
		},
		"restored": func() (sandbox.Instance, error) { return m.Restore(t.Context(), p, image) },
	} {
		t.Run(name, func(t *testing.T) {
			for range 20 {
				began := time.Now()
				i, err := start()
				if err != nil {
					t.Fatal(err)
				}
				r, err := i.Run(t.Context(), sandbox.Call{ID: uuid.NewString(), ARN: "arn:aws:lambda:eu-west-1:000000000000:function:f",
					Deadline: time.Now().Add(time.Minute), Limit: time.Minute, Event: []byte(`{}`)})
				took := time.Since(began)
				if err := i.Close(); err != nil {
					t.Error(err)
				}
				if err != nil {
					t.Fatalf("%v\n%s", err, r.Log)
				}
				if took < time.Second {
					if string(r.Payload) != "true" {
						t.Errorf("after %s programs ask their kernel for the time", took)
					}
					return
				}
			}
			t.Skip("a sandbox takes more than a second here")
		})
	}
}
