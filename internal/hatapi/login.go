package hatapi

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/http"
	"net/url"
	"time"
	"unicode/utf8"

	"she/internal/edge"
	"she/internal/logins"
	"she/internal/vault"
)

// publicKey: GET /publickey. Third parties verify tokens with it.
func (s *API) publicKey(w *edge.Recorder, q *edge.Request) error {
	der, err := x509.MarshalPKIXPublicKey(&q.HAT.Key.PublicKey)
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
	errBadCredentials = edge.BadRequest("The headers username and password must be URL-encoded")
)

type tokenAnswer struct {
	AccessToken string `json:"accessToken"`
	UserID      string `json:"userId"`
}

// accessToken: GET /users/access_token with headers username and password.
func (s *API) accessToken(w *edge.Recorder, q *edge.Request) error {
	username, err := credential(q, "username")
	if err != nil {
		return err
	}
	password, err := credential(q, "password")
	if err != nil {
		return err
	}
	u, err := usersOf(q).UserByName(q.Context(), username)
	if errors.Is(err, vault.ErrNotFound) {
		u = vault.User{}
	} else if err != nil {
		return err
	}
	origins, err := logins.KnownTo(q.Context(), documentsOf(q), u)
	if err != nil {
		return err
	}
	highest, err := usersOf(q).PasswordCost(q.Context())
	if err != nil {
		return err
	}
	t := logins.Try{HAT: q.HAT.ID, Name: username, From: s.Origin(q.Request)}
	var used time.Time
	if t.From != logins.Nowhere {
		used, t.Known = origins.Find(logins.OriginDigest(q.HAT, u.ID, t.From.Network), u.TokensFrom, q.Now)
	}
	r, err := s.Logins.Admit(t)
	if err != nil {
		return err
	}
	q.Release() // do not hold a vault while the comparison waits for its turn
	p, err := s.Logins.Login(q.Context(), t, r, u.PasswordHash, highest, password)
	if err != nil {
		return err
	}
	// Passwords are compared for disabled and unknown users too, so that the duration does not reveal which
	// names exist.
	if !p.Right || !u.Enabled {
		return edge.ErrNotAuthenticated
	}
	if p.Fresh != nil || !t.Known || used.Add(logins.KnownAgain).Before(q.Now) {
		s.rememberLogin(q, u, t, p)
	}
	return s.answerToken(w, q, u, edge.UserClaims(q.HAT, u, q.HAT.Domain.String(), edge.ScopeOf(u.Roles), q.Now))
}

// rememberLogin stores what helps the next login. This login succeeds even if the vault has no room for it.
func (s *API) rememberLogin(q *edge.Request, u vault.User, t logins.Try, p logins.Proof) {
	ctx := context.WithoutCancel(q.Context())
	v, release, err := s.Vaults.Open(ctx, q.HAT.ID)
	if err == nil {
		defer release()
		err = logins.Remember(ctx, v.(documents), q.HAT, u, t, p, q.Now)
	}
	if err != nil {
		s.Log.WarnContext(ctx, "a login can't be remembered", "hat", q.HAT.Domain.String(), "error", err)
		return
	}
	s.Logins.BecomesKnown(t)
}

func (s *API) answerToken(w *edge.Recorder, q *edge.Request, u vault.User, c edge.Claims) error {
	text, err := s.Tokens.Sign(q.HAT, c)
	if err != nil {
		return err
	}
	w.Header().Set(edge.TokenHeader, text)
	edge.WriteJSON(w, http.StatusOK, tokenAnswer{text, u.ID.String()})
	return nil
}

func credential(q *edge.Request, header string) (string, error) {
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

// validate: GET /users/access_token/validate. The edge has already checked the token.
func (s *API) validate(w *edge.Recorder, _ *edge.Request) error {
	edge.WriteJSON(w, http.StatusOK, edge.Message("Authenticated"))
	return nil
}
