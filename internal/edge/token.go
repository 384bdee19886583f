package edge

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"she/internal/access"
	"she/internal/directory"
	"she/internal/hat"
	"she/internal/vault"
)

const (
	TokenHeader = "X-Auth-Token"
	tokenLife   = 30 * 24 * time.Hour // from issue to the final expiry
	TokenIdle   = 3 * 24 * time.Hour  // since the last use
	maxToken    = 8 << 10             // bytes; the server's own tokens are below 1 KB
	// clockSlack tolerates a clock that was set back a little between two requests.
	clockSlack = time.Minute
)

// Claims are the contents of a token. Third parties read them too; hat-js builds its base URL from iss.
//
//	{"iss":"alice.localhost:7777","sub":"<user id>","iat":1700000000,"exp":1702592000,"jti":"<hex>",
//	 "resource":"alice.localhost:7777","accessScope":"owner"}
//
// Application tokens have application and applicationVersion instead of the last two. iat is the time of the
// last use and not of the issue: every answer carries the token again with a new iat.
type Claims struct {
	Issuer             string `json:"iss"`
	Subject            string `json:"sub"`
	IssuedAt           int64  `json:"iat"`
	Expires            int64  `json:"exp"`
	ID                 string `json:"jti"`
	Resource           string `json:"resource,omitempty"`
	Scope              string `json:"accessScope,omitempty"`
	Application        string `json:"application,omitempty"`
	ApplicationVersion string `json:"applicationVersion,omitempty"`
}

func (c Claims) GetExpirationTime() (*jwt.NumericDate, error) { return numericDate(c.Expires), nil }
func (c Claims) GetIssuedAt() (*jwt.NumericDate, error)       { return numericDate(c.IssuedAt), nil }
func (c Claims) GetNotBefore() (*jwt.NumericDate, error)      { return nil, nil }
func (c Claims) GetIssuer() (string, error)                   { return c.Issuer, nil }
func (c Claims) GetSubject() (string, error)                  { return c.Subject, nil }
func (c Claims) GetAudience() (jwt.ClaimStrings, error)       { return nil, nil }

// numericDate returns nil for zero, which means that the claim is missing.
func numericDate(seconds int64) *jwt.NumericDate {
	if seconds == 0 {
		return nil
	}
	return jwt.NewNumericDate(time.Unix(seconds, 0))
}

// UserClaims returns the claims of a new user token. resource is the HAT's domain, or the service that gets
// the token.
func UserClaims(h directory.HAT, u vault.User, resource, scope string, now time.Time) Claims {
	return Claims{
		Issuer:   h.Domain.String(),
		Subject:  u.ID.String(),
		IssuedAt: lastUse(u, now),
		Expires:  now.Add(tokenLife).Unix(),
		ID:       newTokenID(),
		Resource: resource,
		Scope:    scope,
	}
}

// lastUse returns now, or the start of the user's valid tokens if that is later. A password change moves this
// start to the next full second: no earlier token survives, and the token in the answer must be valid.
func lastUse(u vault.User, now time.Time) int64 { return max(now.Unix(), u.TokensFrom.Unix()) }

func newTokenID() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// ScopeOf returns the title of the user's first role in the original's order. If the user has none of these
// roles, the scope is empty and only the user's other roles count. A scope that matches no role would take
// those roles away.
func ScopeOf(roles []access.Role) string {
	for _, title := range []string{
		access.TitleOwner, access.TitlePlatform, access.TitleDataCredit, access.TitleDataDebit, access.TitleValidate,
	} {
		for _, r := range roles {
			if r.Title == title {
				return title
			}
		}
	}
	return ""
}

// check verifies a token against the HAT's key, its domain and the clock. The caller must check whether the
// user still exists and may use it.
func check(h directory.HAT, text string, now time.Time) (Claims, error) {
	if len(text) > maxToken {
		return Claims{}, errors.New("token: too long")
	}
	var c Claims
	parser := jwt.NewParser(jwt.WithValidMethods([]string{"RS256"}), jwt.WithStrictDecoding(), jwt.WithoutClaimsValidation())
	if _, err := parser.ParseWithClaims(text, &c, func(*jwt.Token) (any, error) { return &h.Key.PublicKey, nil }); err != nil {
		return Claims{}, fmt.Errorf("token: %w", err)
	}
	if err := c.Hold(h, now); err != nil {
		return Claims{}, err
	}
	return c, nil
}

// Hold returns an error if claims with a valid signature are not the HAT's or are not valid at this time. It
// is called for every request, because a token that was valid a moment ago may have expired.
func (c Claims) Hold(h directory.HAT, now time.Time) error {
	used := time.Unix(c.IssuedAt, 0)
	switch {
	case c.Issuer != h.Domain.String():
		return errors.New("token: for another domain")
	case !now.Before(time.Unix(c.Expires, 0)):
		return errors.New("token: over")
	case now.After(used.Add(TokenIdle)), used.After(now.Add(clockSlack)):
		return errors.New("token: last use is too long ago, or lies ahead")
	}
	return nil
}

// Tokens signs and verifies tokens. A signature takes a millisecond of processor time, and a client may send
// a hundred requests in one second. So Tokens keeps what it signed in the present second: RS256 signs equal
// claims to equal bytes. A client sends back the token it got last, so Tokens also remembers which signatures
// it made or verified. Every other check is made each time.
type Tokens struct {
	mu     sync.Mutex
	second int64
	signed map[signedKey]string // of the present second; at most maxSigned
	known  generations
}

type signedKey struct {
	hatID  hat.ID
	claims Claims
}

// A knownKey contains the whole text of a token, so that an altered token has another key. It contains the
// HAT, because a token valid at one HAT is not valid at another.
type knownKey struct {
	hatID hat.ID
	text  string
}

const (
	maxSigned = 10_000
	maxKnown  = 10_000 // each below 1 KB
)

func NewTokens() *Tokens {
	return &Tokens{signed: map[signedKey]string{}}
}

// read does the same as check, but skips verifying a known signature.
func (t *Tokens) read(h directory.HAT, text string, now time.Time) (Claims, error) {
	key := knownKey{h.ID, text}
	t.mu.Lock()
	c, found := t.known.get(key)
	t.mu.Unlock()
	if found {
		if err := c.Hold(h, now); err != nil {
			return Claims{}, err
		}
		return c, nil
	}
	c, err := check(h, text, now)
	if err != nil {
		return Claims{}, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.knowLocked(key, c)
	return c, nil
}

func (t *Tokens) knowLocked(key knownKey, c Claims) { t.known.put(key, c) }

// generations keeps the tokens used lately in two sets of at most maxKnown/2 each. When young is full, it
// replaces old. A token in use moves back to young, so nobody can push it out by having many tokens.
type generations struct{ young, old map[knownKey]Claims }

func (g *generations) get(key knownKey) (c Claims, found bool) {
	if c, found = g.young[key]; found {
		return c, true
	}
	if c, found = g.old[key]; found {
		g.put(key, c)
	}
	return c, found
}

func (g *generations) put(key knownKey, c Claims) {
	if g.young == nil || len(g.young) >= maxKnown/2 {
		g.old, g.young = g.young, map[knownKey]Claims{}
	}
	g.young[key] = c
}

func (t *Tokens) Sign(h directory.HAT, c Claims) (string, error) {
	key := signedKey{h.ID, c}
	t.mu.Lock()
	if c.IssuedAt > t.second || len(t.signed) >= maxSigned {
		t.second = c.IssuedAt
		clear(t.signed)
	}
	text, found := t.signed[key]
	t.mu.Unlock()
	if found {
		return text, nil
	}
	text, err := jwt.NewWithClaims(jwt.SigningMethodRS256, c).SignedString(h.Key)
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.knowLocked(knownKey{h.ID, text}, c)
	if c.IssuedAt == t.second {
		t.signed[key] = text
	}
	return text, nil
}

// credential returns what the vault needs to recognise the caller.
func (s *Server) credential(c Claims) (access.Credential, error) {
	id, err := hat.ParseUserID(c.Subject)
	if err != nil {
		return access.Credential{}, ErrNotAuthenticated
	}
	credential := access.Credential{User: id, Used: time.Unix(c.IssuedAt, 0), Scope: c.Scope, Application: c.Application}
	if s.Application != nil {
		credential.Granted, credential.Version = s.Application(c.Application)
	}
	return credential, nil
}
