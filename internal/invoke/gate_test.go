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
		leave := make(chan func(), 20)
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
			(<-leave)()
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
		out()
		out() // once too often changes nothing
		if g.free != 1 || len(g.waiting) != 0 {
			t.Errorf("places lost: %+v", g)
		}
	})
}
