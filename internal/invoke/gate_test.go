package invoke

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
)

func TestGateIsFair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(2)
		var order []Tenant
		leave := make(chan *spot, 20)
		arrive := func(who Tenant) {
			go func() {
				out, err := g.enter(t.Context(), who)
				if err != nil {
					t.Error(err)
				}
				order = append(order, who)
				leave <- out
			}()
			synctest.Wait()
		}
		for range 5 {
			arrive("greedy")
		}
		arrive("modest")
		arrive("other")
		for range 7 {
			(<-leave).leave()
			synctest.Wait()
		}
		// Two of the greedy are in. When one leaves, modest has fewer running; then both have none, and greedy came first.
		if want := []Tenant{"greedy", "greedy", "modest", "greedy", "other", "greedy", "greedy"}; !slices.Equal(order, want) {
			t.Errorf("order %v, want %v", order, want)
		}
		if g.free != 2 || len(g.running) != 0 || len(g.waiting) != 0 {
			t.Errorf("places lost: %+v", g)
		}
	})
}

func TestGateGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(1)
		out, err := g.enter(t.Context(), "first")
		if err != nil {
			t.Fatal(err)
		}
		reason := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		done := make(chan error)
		go func() {
			_, err := g.enter(ctx, "second")
			done <- err
		}()
		synctest.Wait()
		cancel(reason)
		if err := <-done; !errors.Is(err, reason) {
			t.Errorf("got %v", err)
		}
		out.leave()
		out.leave() // once too often changes nothing
		if g.free != 1 || len(g.waiting) != 0 {
			t.Errorf("places lost: %+v", g)
		}
	})
}

// TestPlacesOfWhatCannotBeRemoved: a place whose sandbox is still there is nobody's; when all are, who waits hears so, and
// when one is gone at last it goes on.
func TestPlacesOfWhatCannotBeRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(2)
		first, second := enter(t, g), enter(t, g)
		first.lose()
		first.lose() // once too often changes nothing
		heard := make(chan error, 2)
		for range 2 {
			go func() {
				s, err := g.enter(t.Context(), "waits")
				if err == nil {
					s.leave()
				}
				heard <- err
			}()
		}
		synctest.Wait()
		second.leave() // the place that is left serves one after the other
		for range 2 {
			if err := <-heard; err != nil {
				t.Errorf("while one place is left: %v", err)
			}
		}
		third := enter(t, g)
		go func() {
			_, err := g.enter(t.Context(), "waits")
			heard <- err
		}()
		synctest.Wait()
		third.lose()
		var f *Failure
		if err := <-heard; !errors.As(err, &f) || f.Blame != Operator {
			t.Errorf("who waited as the last place was lost: %v", err)
		}
		if _, err := g.enter(t.Context(), "comes"); !errors.As(err, &f) || f.Blame != Operator {
			t.Errorf("who comes when no place is left: %v", err)
		}
		first.leave()
		enter(t, g).leave()
		third.leave()
		if g.free != 2 || g.lost != 0 || len(g.running) != 0 || len(g.waiting) != 0 {
			t.Errorf("places lost: %+v", g)
		}
	})
}

func enter(t *testing.T, g *gate) *spot {
	t.Helper()
	s, err := g.enter(t.Context(), "somebody")
	if err != nil {
		t.Fatal(err)
	}
	return s
}
