package httpapi

import (
	"fmt"
	"testing"
	"time"

	"she/internal/hat"
	"she/internal/vault"
)

// That a signature is right need not be found out twice; all else about a token is asked each time.
func TestKnownTokensAreNotVerifiedAgain(t *testing.T) {
	h, tokens := bob(), newTokens()
	c := userClaims(h, vault.User{ID: hat.NewUserID()}, "x", "owner", morning)
	made := must(tokens.sign(h, c))
	came := must(newTokens().sign(h, c))
	if got, err := tokens.read(h, came, morning); err != nil || got != c {
		t.Fatal(got, err)
	}

	blind := h
	blind.Key = otherKey // by which no signature of these is right
	for name, text := range map[string]string{"made here": made, "checked here": came} {
		if got, err := tokens.read(blind, text, morning); err != nil || got != c {
			t.Errorf("%s: %v, it was verified again", name, err)
		}
		if _, err := newTokens().read(blind, text, morning); err == nil {
			t.Errorf("%s: a token nobody knows was not verified", name)
		}
		if _, err := tokens.read(blind, text[:len(text)-1]+"?", morning); err == nil {
			t.Errorf("%s: altered, it was not verified", name)
		}
		if _, err := tokens.read(h, text, morning.Add(tokenIdle+time.Second)); err == nil {
			t.Errorf("%s: known, it is never idle", name)
		}
		if _, err := tokens.read(h, text, morning.Add(tokenLife)); err == nil {
			t.Errorf("%s: known, it never ends", name)
		}
		eve := blind
		eve.ID = "eve-id"
		if _, err := tokens.read(eve, text, morning); err == nil {
			t.Errorf("%s: known at one HAT, it was not verified at the next", name)
		}
		moved := h
		moved.Domain = must(hat.ParseDomain("eve.test:9000"))
		if _, err := tokens.read(moved, text, morning); err == nil {
			t.Errorf("%s: known, it counts at another domain", name)
		}
	}
}

// However many tokens come, those in use stay known.
func TestKnownTokensAreBounded(t *testing.T) {
	tokens := newTokens()
	used := knownKey{"bob-id", "used"}
	tokens.knowLocked(used, claims{})
	for i := range 2*maxKnown + 1 {
		tokens.knowLocked(knownKey{"bob-id", fmt.Sprint(i)}, claims{})
		if _, found := tokens.known.get(used); !found {
			t.Fatalf("a token in use is forgotten after %d others", i)
		}
	}
	if n := len(tokens.known.young) + len(tokens.known.old); n == 0 || n > maxKnown {
		t.Errorf("%d tokens are kept, want at most %d", n, maxKnown)
	}
}
