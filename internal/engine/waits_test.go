package engine

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"she/internal/hat"
)

// memory stores waits between two engines of a test.
type memory struct {
	all    []Wait
	times  int
	broken bool
}

func (m *memory) Waits() []Wait { return m.all }
func (m *memory) KeepWaits(all []Wait) error {
	m.times++
	if m.broken {
		return errors.New("no room")
	}
	m.all = all
	return nil
}

// backlogged returns when a world was stopped whose HATs all wait, the last of the list for the longest
// time, while one run hangs. open lets runs continue.
func backlogged(t *testing.T, w *world, kept *memory, hats int) (open func()) {
	gate := make(chan struct{})
	w.install("f", individual, []string{"a/x"}, "she/out", func(entry string, _ []byte) ([]byte, error) {
		if entry == "bundle" {
			<-gate
			return []byte(reading("a/x")), nil
		}
		return []byte("[]"), nil
	})
	w.options.Waits, w.options.Parallel, w.options.Grace = kept, 1, time.Second
	w.start()
	for n := range hats {
		w.addHAT(hat.ID(fmt.Sprint(n)))
		w.enable(fmt.Sprint(n), "f")
	}
	for n := hats - 1; n >= 0; n-- {
		w.post(fmt.Sprint(n), "a/x", fmt.Sprint(n))
		w.pass(time.Second)
	}
	w.pass(keepEvery)
	if kept.times == 0 {
		t.Error("nothing is kept while there is work")
	}
	w.stop()
	return func() { close(gate) }
}

// served returns the HATs in the order of their runs.
func served(w *world) []string {
	return strings.Split(strings.ReplaceAll(w.called(), "f:", ""), " ")
}

func TestAfterARestartWorkIsTakenInOrderOfAge(t *testing.T) {
	const hats = 25
	inWorld(t, func(t *testing.T, w *world) {
		kept := &memory{}
		backlogged(t, w, kept, hats)()
		w.start()
		got := served(w)
		if len(got) != hats {
			t.Fatalf("%d of %d HATs were served: %v", len(got), hats, got)
		}
		for place, id := range got {
			n, err := strconv.Atoi(id)
			if err != nil {
				t.Fatal(err)
			}
			// Several HATs are scanned at once, and the first one to finish may start.
			if off := n - (hats - 1 - place); off > looksAtOnce || -off > looksAtOnce {
				t.Errorf("HAT %s is %d places from its own: %v", id, off, got)
			}
		}
		w.pass(2 * keepEvery)
		if len(kept.all) != 0 {
			t.Errorf("kept when all is done: %v", kept.all)
		}
		times := kept.times
		w.pass(10 * keepEvery)
		if kept.times != times {
			t.Error("nothing is kept again and again")
		}
	})
}

// If the stored waits are missing or wrong, the order suffers and nothing else.
func TestWaitsAreAHint(t *testing.T) {
	for _, c := range []struct {
		what  string
		hats  int
		spoil func(*memory)
	}{
		{"lost", enough + 10, func(m *memory) { m.all = nil }},
		{"of HATs that are gone", 5, func(m *memory) { m.all = []Wait{{"gone", time.UnixMicro(1)}, {"1", time.UnixMicro(2)}} }},
		{"can't be kept", 5, func(m *memory) { m.broken = true }},
	} {
		t.Run(c.what, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				kept := &memory{}
				open := backlogged(t, w, kept, c.hats)
				c.spoil(kept)
				open()
				w.start()
				w.pass(2 * keepEvery)
				got := served(w)
				slices.Sort(got)
				if got = slices.Compact(got); len(got) != c.hats {
					t.Errorf("%d of %d HATs were served", len(got), c.hats)
				}
				if !kept.broken && len(kept.all) != 0 {
					t.Errorf("kept when all is done: %v", kept.all)
				}
			})
		})
	}
}
