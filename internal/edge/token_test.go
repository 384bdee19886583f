package edge

import (
	"crypto/rsa"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"she/internal/access"
	"she/internal/directory"
	"she/internal/hat"
	"she/internal/vault"
)

// A signature is verified once. All other checks of a token are made each time.
func TestKnownTokensAreNotVerifiedAgain(t *testing.T) {
	h, tokens := bob(), NewTokens()
	c := UserClaims(h, vault.User{ID: hat.NewUserID()}, "x", "owner", morning)
	made := must(tokens.Sign(h, c))
	came := must(NewTokens().Sign(h, c))
	if got, err := tokens.read(h, came, morning); err != nil || got != c {
		t.Fatal(got, err)
	}

	blind := h
	blind.Key = otherKey // a key under which none of these signatures is valid
	for name, text := range map[string]string{"made here": made, "checked here": came} {
		if got, err := tokens.read(blind, text, morning); err != nil || got != c {
			t.Errorf("%s: %v, it was verified again", name, err)
		}
		if _, err := NewTokens().read(blind, text, morning); err == nil {
			t.Errorf("%s: a token nobody knows was not verified", name)
		}
		if _, err := tokens.read(blind, text[:len(text)-1]+"?", morning); err == nil {
			t.Errorf("%s: altered, it was not verified", name)
		}
		if _, err := tokens.read(h, text, morning.Add(TokenIdle+time.Second)); err == nil {
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

// Tokens in use stay known, however many others come.
func TestKnownTokensAreBounded(t *testing.T) {
	tokens := NewTokens()
	used := knownKey{"bob-id", "used"}
	tokens.knowLocked(used, Claims{})
	for i := range 2*maxKnown + 1 {
		tokens.knowLocked(knownKey{"bob-id", fmt.Sprint(i)}, Claims{})
		if _, found := tokens.known.get(used); !found {
			t.Fatalf("a token in use is forgotten after %d others", i)
		}
	}
	if n := len(tokens.known.young) + len(tokens.known.old); n == 0 || n > maxKnown {
		t.Errorf("%d tokens are kept, want at most %d", n, maxKnown)
	}
}

func TestTokenIsCheckedAgainstKeyDomainAndClock(t *testing.T) {
	h := bob()
	u := vault.User{ID: hat.NewUserID(), Enabled: true, Roles: []access.Role{{Title: access.TitleOwner}}}
	good := UserClaims(h, u, h.Domain.String(), "owner", morning)
	sign := func(k *rsa.PrivateKey, c Claims) string {
		return must(NewTokens().Sign(directory.HAT{ID: h.ID, Key: k}, c))
	}
	change := func(f func(*Claims)) Claims { c := good; f(&c); return c }
	at := func(d time.Duration) time.Time { return morning.Add(d) }

	cases := []struct {
		name string
		text string
		at   time.Time
		ok   bool
	}{
		{"fresh", sign(key, good), morning, true},
		{"idle for almost three days", sign(key, good), at(TokenIdle), true},
		{"idle for three days and a second", sign(key, good), at(TokenIdle + time.Second), false},
		{"used daily, at its last second", sign(key, change(func(c *Claims) { c.IssuedAt = at(29 * 24 * time.Hour).Unix() })), at(tokenLife - time.Second), true},
		{"used daily, over its end", sign(key, change(func(c *Claims) { c.IssuedAt = at(29 * 24 * time.Hour).Unix() })), at(tokenLife), false},
		{"another HAT's key", sign(otherKey, good), morning, false},
		{"another domain", sign(key, change(func(c *Claims) { c.Issuer = "eve.test:9000" })), morning, false},
		{"the domain without its port", sign(key, change(func(c *Claims) { c.Issuer = "bob.test" })), morning, false},
		{"no issuer", sign(key, change(func(c *Claims) { c.Issuer = "" })), morning, false},
		{"no end", sign(key, change(func(c *Claims) { c.Expires = 0 })), morning, false},
		{"no last use", sign(key, change(func(c *Claims) { c.IssuedAt = 0 })), morning, false},
		{"last used tomorrow", sign(key, change(func(c *Claims) { c.IssuedAt = at(24 * time.Hour).Unix() })), morning, false},
		{"empty", "", morning, false},
		{"no token", "abc", morning, false},
		{"a dot at the end", sign(key, good) + ".", morning, false},
		{"padded", sign(key, good) + "=", morning, false},
		{"huge", strings.Repeat("a", maxToken+1), morning, false},
		{"alg none", must(jwt.NewWithClaims(jwt.SigningMethodNone, good).SignedString(jwt.UnsafeAllowNoneSignatureType)), morning, false},
		{"HMAC with the public key", must(jwt.NewWithClaims(jwt.SigningMethodHS256, good).SignedString(key.N.Bytes())), morning, false},
		{"RS512", must(jwt.NewWithClaims(jwt.SigningMethodRS512, good).SignedString(key)), morning, false},
	}
	for _, c := range cases {
		got, err := check(h, c.text, c.at)
		if (err == nil) != c.ok {
			t.Errorf("%s: err = %v, want ok = %v", c.name, err, c.ok)
		}
		if c.ok && got.Subject != good.Subject {
			t.Errorf("%s: subject = %q", c.name, got.Subject)
		}
		if err != nil && got != (Claims{}) {
			t.Errorf("%s: claims of a refused token come back", c.name)
		}
	}
}

func TestEveryAlteredTokenIsRefused(t *testing.T) {
	h := bob()
	text := must(NewTokens().Sign(h, UserClaims(h, vault.User{ID: hat.NewUserID()}, "bob.test:9000", "owner", morning)))
	for i := range text {
		for _, c := range []byte("A_.") {
			altered := text[:i] + string(c) + text[i+1:]
			if altered == text {
				continue
			}
			if _, err := check(h, altered, morning); err == nil {
				t.Fatalf("byte %d changed to %q: accepted", i, c)
			}
		}
	}
}

// The number of signatures must not depend on how often a client asks within a second.
func TestSigningIsDoneOncePerSecond(t *testing.T) {
	h, signer := bob(), NewTokens()
	c := UserClaims(h, vault.User{ID: hat.NewUserID()}, "x", "owner", morning)
	first := must(signer.Sign(h, c))
	if again := must(signer.Sign(h, c)); again != first {
		t.Error("equal claims got another signature")
	}
	later := c
	later.IssuedAt++
	if next := must(signer.Sign(h, later)); next == first {
		t.Error("another second, the same token")
	}
	if len(signer.signed) != 1 {
		t.Errorf("%d signatures kept, want those of the current second only", len(signer.signed))
	}
	if old := must(signer.Sign(h, c)); old != first || len(signer.signed) != 1 {
		t.Error("a late request of the last second must not empty the present one")
	}
	other := h
	other.ID, other.Key = "eve-id", otherKey
	if stolen := must(signer.Sign(other, later)); stolen == must(signer.Sign(h, later)) {
		t.Error("two HATs share a signature")
	}
}

func TestScopeIsTheFirstRoleInOrder(t *testing.T) {
	role := func(titles ...string) (rs []access.Role) {
		for _, title := range titles {
			rs = append(rs, access.Role{Title: title})
		}
		return rs
	}
	for want, roles := range map[string][]access.Role{
		"owner":      role("datadebit", "platform", "owner"),
		"platform":   role("datacredit", "platform"),
		"datacredit": role("namespacewrite", "datadebit", "datacredit"),
		"datadebit":  role("datadebit"),
		"validate":   role("namespaceread", "validate"),
		"":           role("namespaceread"), // scoped to nothing: the roles alone count
	} {
		if got := ScopeOf(roles); got != want {
			t.Errorf("scope of %v = %s, want %s", roles, got, want)
		}
	}
}

// Only a text that was signed with the key is a token.
func FuzzToken(f *testing.F) {
	h := bob()
	valid := must(NewTokens().Sign(h, UserClaims(h, vault.User{ID: hat.NewUserID()}, "bob.test:9000", "owner", morning)))
	f.Add(valid)
	f.Add(valid + "=")
	f.Add(strings.Replace(valid, ".", "..", 1))
	f.Add(must(NewTokens().Sign(directory.HAT{Key: otherKey}, UserClaims(h, vault.User{}, "x", "owner", morning))))
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := check(h, text, morning); err == nil && text != valid {
			t.Fatalf("accepted: %q", text)
		}
	})
}
