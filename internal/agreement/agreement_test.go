package agreement

import (
	"fmt"
	"testing"

	"she/internal/hat"
)

// What is remembered is bounded, for each HAT and in all, and what is forgotten was never shown.
func TestWhatWasShownIsBounded(t *testing.T) {
	var shown Shown
	terms := hat.DigestTerms([]byte("terms"))
	shown.Show("quiet", "login", Debit, "d", terms)
	for i := range 3 * maxShownAtHAT {
		shown.Show("loud", fmt.Sprint("login", i), Debit, "d", terms)
		shown.Show("loud", "", Debit, "d", terms)
	}
	if n := len(shown.hats["loud"].Value.(*shownAtHAT).terms); n != maxShownAtHAT || shown.count != n+1 {
		t.Errorf("%d at one HAT, %d in all", n, shown.count)
	}
	if shown.Last("quiet", "login", Debit, "d") != terms || !shown.Last("loud", "", Debit, "d").IsZero() {
		t.Error("another HAT's was forgotten, or nobody's kept")
	}
	newest := fmt.Sprint("login", 3*maxShownAtHAT-1)
	if !shown.Last("loud", "login0", Debit, "d").IsZero() || shown.Last("loud", newest, Debit, "d") != terms {
		t.Error("not the oldest was forgotten")
	}
	for i := range 2 * maxShown {
		shown.Show(hat.ID(fmt.Sprint("hat", i)), "login", Function, "f", terms)
	}
	if shown.count != maxShown || len(shown.hats) != maxShown || shown.order.Len() != maxShown {
		t.Errorf("%d in all, at %d HATs", shown.count, len(shown.hats))
	}
}
