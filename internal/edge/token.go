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
	tokenLife   = 30 * 24 * time.Hour // from issue to the absolute end
	TokenIdle   = 3 * 24 * time.Hour  // since the last use
	maxToken    = 8 << 10             // bytes; ours are below 1 KB
	// clockSlack forgives a clock that was set back a little between two requests.
	clockSlack = time.Minute
)

// Claims are what a token says. Third parties read them too: hat-js builds its base URL from iss.
//
//	{"iss":"alice.localhost:7777","sub":"<user id>","iat":1700000000,"exp":1702592000,"jti":"<hex>",
//	 "resource":"alice.localhost:7777","accessScope":"owner"}
//
// Application tokens have application and applicationVersion in place of the last two. iat is the last use, not the
// issue: every answer carries the token again with a new one.
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

// numericDate: a claim that is missing is zero, and must count as missing.
func numericDate(seconds int64) *jwt.NumericDate {
	if seconds == 0 {
		return nil
	}
	return jwt.NewNumericDate(time.Unix(seconds, 0))
}

// UserClaims are those of a new user token. resource is the HAT's domain, or the service the token is for.
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

// lastUse is now, but never before the user's tokens begin: a password change moves that to the next full second, so
// that no token of this second survives it, and the one given in answer must.
func lastUse(u vault.User, now time.Time) int64 { return max(now.Unix(), u.TokensFrom.Unix()) }

func newTokenID() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// ScopeOf is the title of the user's first role, in the order the original has. A user with none of these has no scope,
// and is measured by their other roles alone: a scope that names no role of theirs would take those away.
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

// check reads a token as far as the HAT's key, its domain and the clock can say. Whether its user still exists, and
// may use it, is left to the caller.
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

// Hold says whether claims whose signature is right are the HAT's, and what the clock says to them. It is asked for
// every request: what was right a moment ago ends at some time.
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

// Tokens signs and reads. A signature costs a millisecond of processor time and a client may send a hundred requests
// in one second, so what was signed in this second is kept: RS256 signs equal claims to equal bytes. And a client
// sends back what it was given last, so of each token that was made or checked here it is kept that its signature is
// right; of nothing else is a check left out.
type Tokens struct {
	mu     sync.Mutex
	second int64
	signed map[signedKey]string // of this second; at most maxSigned
	known  generations
}

type signedKey struct {
	hatID  hat.ID
	claims Claims
}

// A knownKey is the whole text of a token, for an altered one must be another. What is right at one HAT is not at
// the next.
type knownKey struct {
	hatID hat.ID
	text  string
}

const (
	maxSigned = 10_000
	maxKnown  = 10_000 // of below 1 KB each
)

func NewTokens() *Tokens {
	return &Tokens{signed: map[signedKey]string{}}
}

// read is check, but for the signature of a token that is known.
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

// generations keep what was used lately, at most maxKnown: what is young, and what was before the young were last too
// many. So nobody makes all be forgotten by having many tokens.
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

// credential is what the vault is asked to recognise.
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
