package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"she/internal/hat"
)

// working takes turns of an evaluation for a HAT, each with some time and fuel, and adds its name to the
// log at each turn.
func working(t *testing.T, s *Shares, id string, turns int, log *[]string) {
	at := s.Of(hat.ID(id))
	defer at.Rest()
	for range turns {
		if err := at.Turn(t.Context(), turnUnits); err != nil {
			t.Error(err)
		}
		time.Sleep(10 * time.Millisecond) // time of the bubble: the work
		*log = append(*log, id)
	}
}

const turnUnits = 1 << 22

// With one slot, a HAT with many heavy evaluations delays no other HAT: one that comes later with little
// work is done long before it.
func TestSharesAreFairToEachHAT(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewShares(1)
		var log []string
		for range 10 {
			go working(t, s, "big", 100, &log)
		}
		time.Sleep(time.Second + time.Millisecond)
		synctest.Wait()
		before := len(log)
		go working(t, s, "small", 5, &log)
		go working(t, s, "other", 5, &log)
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(log) != 1010 {
			t.Fatalf("%d turns", len(log))
		}
		// Three HATs take turns. The small ones are done within three times five turns, and the turns in
		// progress at the start.
		after := strings.Join(log[before:before+17], " ")
		if strings.Count(after, "small") != 5 || strings.Count(after, "other") != 5 {
			t.Errorf("after the small ones came: %s", after)
		}
		if s.free != 1 || len(s.tenants) != 3 {
			t.Errorf("%d places are free, %d HATs are known", s.free, len(s.tenants))
		}
	})
}

// A HAT that waited is not compensated for everything that it did not use. A HAT that comes back again and
// again gets no more than its share.
func TestSharesForgetNothingAndSaveNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewShares(1)
		var log []string
		working(t, s, "late", 1, &log)
		working(t, s, "big", 1000, &log)
		log = nil
		go working(t, s, "big", 100, &log)
		go working(t, s, "late", 100, &log)
		go func() {
			for range 100 {
				working(t, s, "again", 1, &log)
			}
		}()
		time.Sleep(time.Minute)
		synctest.Wait()
		begin := strings.Join(log[:60], " ")
		for _, hat := range []string{"big", "late", "again"} {
			if n := strings.Count(begin, hat); n < 10 || n > 35 {
				t.Errorf("of the first 60 turns %s had %d: %s", hat, n, begin)
			}
		}
	})
}

// A caller that gives up waiting, at any moment, leaves the slot to others.
func TestSharesWhenSomebodyGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewShares(2)
		first, second := s.Of("a"), s.Of("b")
		for _, at := range []*Turns{first, second} {
			if err := at.Turn(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		gone := s.Of("c")
		ended := make(chan error, 1)
		go func() { ended <- gone.Turn(ctx, 1) }()
		time.Sleep(time.Second)
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) || gone.Waited() != time.Second {
			t.Errorf("%v after %v", err, gone.Waited())
		}
		gone.Rest()
		// The caller is cancelled and given a slot at the same time, many times.
		for range 1000 {
			ctx, cancel := context.WithCancel(t.Context())
			go func() { ended <- gone.Turn(ctx, 1) }()
			synctest.Wait()
			go cancel()
			first.Rest()
			err := <-ended
			if err == nil != gone.holds {
				t.Fatalf("%v, holds: %v", err, gone.holds)
			}
			gone.Rest()
			if err := first.Turn(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
			cancel()
		}
		first.Rest()
		first.Rest()
		second.Rest()
		if s.free != 2 {
			t.Errorf("%d places are free", s.free)
		}
	})
}

// The state kept about HATs does not grow with their number.
func TestSharesAreBounded(t *testing.T) {
	s := NewShares(1)
	for i := range 10_000 {
		at := s.Of(hat.ID(fmt.Sprint(i)))
		if err := at.Turn(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		at.Rest()
	}
	if n := len(s.tenants); n > 100 {
		t.Errorf("%d HATs are known", n)
	}
}
