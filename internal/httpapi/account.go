package httpapi

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/ccojocar/zxcvbn-go"

	"she/internal/access"
	"she/internal/vault"
)

// minStrength is the score of zxcvbn below which a password is refused: 0 and 1 are guessed within hours.
const minStrength = 2

// checkPassword refuses a new password that is weak, or longer than what bcrypt reads. names are what somebody who
// knows the person would try first.
func checkPassword(o object, field, password string, names ...string) error {
	if len(password) > maxPassword {
		return o.wrongAt(field, fmt.Sprintf("more than %d bytes", maxPassword))
	}
	if zxcvbn.PasswordStrength(password, names).Score < minStrength {
		return o.wrongAt(field, "Minimum password requirement strength not met")
	}
	return nil
}

// changePassword: POST /control/v2/auth/password. Every token that was given out before is worthless from here on,
// but for the one in this answer's header.
func (s *server) changePassword(w *recorder, q *request) error {
	text, err := q.body(w)
	if err != nil {
		return err
	}
	o, err := document(text)
	if err != nil {
		return err
	}
	fresh, err := o.text("newPassword")
	if err != nil {
		return err
	}
	old, err := o.optionalText("password")
	if err != nil {
		return err
	}
	if old == "" {
		return invalidPassword("Old password missing")
	}
	if err := s.Logins.admitToken(q.hat.ID, q.user); err != nil {
		return refused(q, err)
	}
	p, err := s.Logins.login(q.Context(), try{hat: q.hat.ID}, known, q.user.PasswordHash, 0, old)
	if err != nil {
		return refused(q, err)
	}
	if !p.right {
		return invalidPassword("Old password invalid")
	}
	if err := checkPassword(o, "newPassword", fresh, q.user.Username, q.hat.Domain.String()); err != nil {
		return err
	}
	hash, err := s.Logins.Hash(q.Context(), q.hat.ID, fresh)
	if err != nil {
		return refused(q, err)
	}
	var from time.Time
	err = q.vault.EditDocuments(q.Context(), q.caller, func(e vault.Edit) error {
		return e.ChangeUser(q.user.ID, func(u *vault.User) error {
			// Not the time of the request: other requests had their tokens refreshed since.
			from = nextSecond(s.Now())
			u.PasswordHash, u.TokensFrom = hash, from
			return nil
		})
	})
	if err != nil {
		return err
	}
	c := q.claims
	c.IssuedAt = from.Unix()
	refreshed, err := s.tokens.sign(q.hat, c)
	if err != nil {
		return err
	}
	w.Header().Set(tokenHeader, refreshed)
	writeJSON(w, http.StatusOK, message("Password changed"))
	return nil
}

// nextSecond: tokens count in seconds, and none of this one may survive.
func nextSecond(now time.Time) time.Time { return now.Truncate(time.Second).Add(time.Second) }

func invalidPassword(cause string) *apiError {
	return controller(http.StatusForbidden, "Invalid password", cause)
}

// requestByMail answers what asks for a mail: password reset, claim of a HAT. This server sends none, says so, and says the
// same whether or not the address is known.
func (s *server) requestByMail(w *recorder, q *request) error {
	text, err := q.body(w)
	if err != nil {
		return err
	}
	o, err := document(text)
	if err != nil {
		return err
	}
	if _, err := o.text("email"); err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, message("This server sends no email; ask whoever runs it"))
	return nil
}

// confirmReset: POST /control/v2/auth/passwordreset/confirm/{mailtoken}. No mail went out, so no token is a known one.
func (s *server) confirmReset(*recorder, *request) error {
	return controller(http.StatusUnauthorized, "Invalid Token", "Token does not exist")
}

// completeClaim: POST /control/v2/auth/claim/complete/{mailtoken}. As confirmReset.
func (s *server) completeClaim(*recorder, *request) error {
	return controller(http.StatusUnauthorized, "HAT claim unauthorized", "No user matching token")
}

// claimsFor are those of a token the Owner gives to a service by name: the application's own, if it is registered and
// set up and the token goes to an address of it, in the catalogue and in what the Owner agreed to; else one that proves who the Owner is and nothing more.
func (s *server) claimsFor(q *request, name, address string) (claims, error) {
	a, known := s.application(name)
	if known && a.at(address) {
		state, found, err := setupOf(q, q.caller, name)
		if err != nil {
			return claims{}, err
		}
		if found && state.Enabled && agreedAt(state, address) {
			c := userClaims(q.hat, q.user, "", "", q.now)
			c.Application, c.ApplicationVersion = a.ID, a.Version
			return c, nil
		}
	}
	return userClaims(q.hat, q.user, address, access.TitleValidate, q.now), nil
}

// serviceToken: GET /users/application_token?name&resource.
func (s *server) serviceToken(w *recorder, q *request) error {
	name, resource, err := q.service("resource")
	if err != nil {
		return err
	}
	c, err := s.claimsFor(q, name, resource)
	if err != nil {
		return err
	}
	text, err := s.tokens.sign(q.hat, c)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, tokenAnswer{text, q.user.ID.String()})
	return nil
}

// hatLogin: GET /control/v2/auth/hatlogin?name&redirect. The answer is the address to send the browser to.
func (s *server) hatLogin(w *recorder, q *request) error {
	name, redirect, err := q.service("redirect")
	if err != nil {
		return err
	}
	u, err := url.Parse(redirect)
	if err != nil || !u.IsAbs() || u.Host == "" || unsafeScheme(u.Scheme) {
		return badRequest("Parameter redirect is no address of a service")
	}
	c, err := s.claimsFor(q, name, redirect)
	if err != nil {
		return err
	}
	text, err := s.tokens.sign(q.hat, c)
	if err != nil {
		return err
	}
	query := u.Query()
	query.Set("token", text)
	u.RawQuery = query.Encode()
	writeJSON(w, http.StatusOK, message(u.String()))
	return nil
}

// unsafeScheme: applications on phones have schemes of their own; these run what they are given.
func unsafeScheme(scheme string) bool {
	switch strings.ToLower(scheme) {
	case "javascript", "data", "vbscript", "file", "blob":
		return true
	}
	return false
}

func (q *request) service(addressParam string) (name, address string, err error) {
	values, err := q.query()
	if err != nil {
		return "", "", err
	}
	if name, err = stringParam(values, "name"); err != nil {
		return "", "", err
	}
	address, err = stringParam(values, addressParam)
	return name, address, err
}

// wireUser is a user as clients read it: never with the password's hash.
type wireUser struct {
	UserID  string        `json:"userId"`
	Email   string        `json:"email"` // the username; the name is the original's
	Name    string        `json:"name"`
	Roles   []access.Role `json:"roles"`
	Enabled bool          `json:"enabled"`
}

func userOnWire(u vault.User) wireUser {
	roles := u.Roles
	if roles == nil {
		roles = []access.Role{}
	}
	return wireUser{u.ID.String(), u.Username, u.Username, roles, u.Enabled}
}
