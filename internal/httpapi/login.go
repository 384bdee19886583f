package httpapi

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/http"
	"net/url"
	"time"
	"unicode/utf8"

	"she/internal/vault"
)

// identify fills in what the request's token says, if the HAT signed it and it is not over. It needs no vault.
func (s *server) identify(q *request) error {
	text := q.Header.Get(tokenHeader)
	if text == "" {
		return errNotAuthenticated
	}
	c, err := s.tokens.read(q.hat, text, q.now)
	if err != nil {
		return errNotAuthenticated
	}
	q.claims = c
	return nil
}

// authenticate makes the caller of an identified token's user, and puts the token, as used now, into the answer's
// header: on success and on later refusals alike, because clients replace theirs with it.
func (s *server) authenticate(w *recorder, q *request) error {
	if err := s.recognise(q); err != nil {
		return err
	}
	c := q.claims
	c.IssuedAt = lastUse(q.user, q.now)
	refreshed, err := s.tokens.sign(q.hat, c)
	if err != nil {
		return err
	}
	w.Header().Set(tokenHeader, refreshed)
	return nil
}

// recognise makes the caller of an identified token's user, as the vault knows them at this moment.
func (s *server) recognise(q *request) (err error) {
	credential, err := s.credential(q.claims)
	if err != nil {
		return err
	}
	q.caller, q.user, err = q.vault.Recognise(q.Context(), credential)
	return err
}

// publicKey: GET /publickey. Third parties verify tokens with it.
func (s *server) publicKey(w *recorder, q *request) error {
	der, err := x509.MarshalPKIXPublicKey(&q.hat.Key.PublicKey)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, err = w.Write(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	return err
}

var (
	errCredentialsRequired = controller(http.StatusUnauthorized, "Credentials required",
		"No username or password provided to retrieve token")
	errBadCredentials = badRequest("The headers username and password must be URL-encoded")
)

type tokenAnswer struct {
	AccessToken string `json:"accessToken"`
	UserID      string `json:"userId"`
}

// accessToken: GET /users/access_token with headers username and password.
func (s *server) accessToken(w *recorder, q *request) error {
	username, err := credential(q, "username")
	if err != nil {
		return err
	}
	password, err := credential(q, "password")
	if err != nil {
		return err
	}
	u, err := q.vault.UserByName(q.Context(), username)
	if errors.Is(err, vault.ErrNotFound) {
		u = vault.User{}
	} else if err != nil {
		return err
	}
	origins, err := q.knownOrigins(q.Context(), u)
	if err != nil {
		return err
	}
	highest, err := q.vault.PasswordCost(q.Context())
	if err != nil {
		return err
	}
	t := try{hat: q.hat.ID, name: username, from: s.origin(q.Request)}
	var used time.Time
	if t.from != nowhere {
		used, t.known = origins.find(originDigest(q.hat, u.ID, t.from.network), u.TokensFrom, q.now)
	}
	r, err := s.Logins.admit(t)
	if err != nil {
		return refused(q, err)
	}
	q.release() // others wait for a vault; a comparison may wait for its turn
	p, err := s.Logins.login(q.Context(), t, r, u.PasswordHash, highest, password)
	if err != nil {
		return refused(q, err)
	}
	// The comparison runs for disabled and unknown users too: nobody learns from the time which names there are.
	if !p.right || !u.Enabled {
		return errNotAuthenticated
	}
	if p.fresh != nil || !t.known || used.Add(knownAgain).Before(q.now) {
		s.rememberLogin(q, u, t, p)
	}
	return s.answerToken(w, q, u, userClaims(q.hat, u, q.hat.Domain.String(), scopeOf(u.Roles), q.now))
}

// rememberLogin is for the next login. This one is right even if there is no room to remember it.
func (s *server) rememberLogin(q *request, u vault.User, t try, p proof) {
	ctx := context.WithoutCancel(q.Context())
	v, release, err := s.Vaults.Open(ctx, q.hat.ID)
	if err == nil {
		defer release()
		err = remember(ctx, v, q.hat, u, t, p, q.now)
	}
	if err != nil {
		s.Log.WarnContext(ctx, "a login can't be remembered", "hat", q.hat.Domain.String(), "error", err)
		return
	}
	s.Logins.becomesKnown(t)
}

func (s *server) answerToken(w *recorder, q *request, u vault.User, c claims) error {
	text, err := s.tokens.sign(q.hat, c)
	if err != nil {
		return err
	}
	w.Header().Set(tokenHeader, text)
	writeJSON(w, http.StatusOK, tokenAnswer{text, u.ID.String()})
	return nil
}

func credential(q *request, header string) (string, error) {
	raw, given := q.Header[http.CanonicalHeaderKey(header)]
	if !given || raw[0] == "" {
		return "", errCredentialsRequired
	}
	text, err := url.QueryUnescape(raw[0])
	if err != nil || !utf8.ValidString(text) {
		return "", errBadCredentials
	}
	return text, nil
}

// validate: GET /users/access_token/validate. That the request got here is the answer.
func (s *server) validate(w *recorder, _ *request) error {
	writeJSON(w, http.StatusOK, message("Authenticated"))
	return nil
}
