package hatapi

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"she/internal/access"
	"she/internal/edge"
	"she/internal/logins"
	"she/internal/vault"
)

// checkPassword refuses a new password that is weak, see logins.Weakness.
func checkPassword(o object, field, password string, names ...string) error {
	if wrong := logins.Weakness(password, names...); wrong != "" {
		return o.wrongAt(field, wrong)
	}
	return nil
}

// changePassword: POST /control/v2/auth/password. It invalidates every earlier token of the user. Only the
// token in the header of this answer is valid afterwards.
func (s *API) changePassword(w *edge.Recorder, q *edge.Request) error {
	text, err := q.JSON(w)
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
	if err := s.Logins.AdmitToken(q.HAT.ID, q.User); err != nil {
		return err
	}
	p, err := s.Logins.Login(q.Context(), logins.Try{HAT: q.HAT.ID}, logins.Known, q.User.PasswordHash, 0, old)
	if err != nil {
		return err
	}
	if !p.Right {
		return invalidPassword("Old password invalid")
	}
	if err := checkPassword(o, "newPassword", fresh, q.User.Username, q.HAT.Domain.String()); err != nil {
		return err
	}
	hash, err := s.Logins.Hash(q.Context(), q.HAT.ID, fresh)
	if err != nil {
		return err
	}
	var from time.Time
	err = documentsOf(q).EditDocuments(q.Context(), q.Caller, func(e vault.Edit) error {
		return e.ChangeUser(q.User.ID, func(u *vault.User) error {
			// The time of the request would be too early: other requests may have refreshed their tokens
			// since then.
			from = nextSecond(s.Now())
			u.PasswordHash, u.TokensFrom = hash, from
			return nil
		})
	})
	if err != nil {
		return err
	}
	c := q.Claims
	c.IssuedAt = from.Unix()
	refreshed, err := s.Tokens.Sign(q.HAT, c)
	if err != nil {
		return err
	}
	w.Header().Set(edge.TokenHeader, refreshed)
	edge.WriteJSON(w, http.StatusOK, edge.Message("Password changed"))
	return nil
}

// nextSecond returns the start of the next full second. Times in tokens are in seconds, and no token of the
// present second may survive.
func nextSecond(now time.Time) time.Time { return now.Truncate(time.Second).Add(time.Second) }

func invalidPassword(cause string) *edge.Error {
	return controller(http.StatusForbidden, "Invalid password", cause)
}

// requestByMail answers the calls that request an email: password reset and claim of a HAT. This server sends
// no email and says so. The answer is the same whether or not the address is known.
func (s *API) requestByMail(w *edge.Recorder, q *edge.Request) error {
	text, err := q.JSON(w)
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
	edge.WriteJSON(w, http.StatusOK, edge.Message("This server sends no email; ask whoever runs it"))
	return nil
}

// confirmReset: POST /control/v2/auth/passwordreset/confirm/{mailtoken}. The server sends no email, so it
// refuses every token.
func (s *API) confirmReset(*edge.Recorder, *edge.Request) error {
	return controller(http.StatusUnauthorized, "Invalid Token", "Token does not exist")
}

// completeClaim: POST /control/v2/auth/claim/complete/{mailtoken}. It refuses every token, like confirmReset.
func (s *API) completeClaim(*edge.Recorder, *edge.Request) error {
	return controller(http.StatusUnauthorized, "HAT claim unauthorized", "No user matching token")
}

// claimsFor returns the claims of a token that the Owner gives to the service with this name. The token is
// the application's own if the application is in the catalogue and set up, and if address belongs to it both
// in the catalogue and in what the Owner agreed to. Otherwise the token only proves who the Owner is.
func (s *API) claimsFor(q *edge.Request, name, address string) (edge.Claims, error) {
	a, known := s.application(name)
	if known && a.at(address) {
		state, found, err := setupOf(q, q.Caller, name)
		if err != nil {
			return edge.Claims{}, err
		}
		if found && state.Enabled && agreedAt(state, address) {
			c := edge.UserClaims(q.HAT, q.User, "", "", q.Now)
			c.Application, c.ApplicationVersion = a.ID, a.Version
			return c, nil
		}
	}
	return edge.UserClaims(q.HAT, q.User, address, access.TitleValidate, q.Now), nil
}

// serviceToken: GET /users/application_token?name&resource.
func (s *API) serviceToken(w *edge.Recorder, q *edge.Request) error {
	name, resource, err := service(q, "resource")
	if err != nil {
		return err
	}
	c, err := s.claimsFor(q, name, resource)
	if err != nil {
		return err
	}
	text, err := s.Tokens.Sign(q.HAT, c)
	if err != nil {
		return err
	}
	edge.WriteJSON(w, http.StatusOK, tokenAnswer{text, q.User.ID.String()})
	return nil
}

// hatLogin: GET /control/v2/auth/hatlogin?name&redirect. It answers with the address to send the browser to.
func (s *API) hatLogin(w *edge.Recorder, q *edge.Request) error {
	name, redirect, err := service(q, "redirect")
	if err != nil {
		return err
	}
	u, err := url.Parse(redirect)
	if err != nil || !u.IsAbs() || u.Host == "" || unsafeScheme(u.Scheme) {
		return edge.BadRequest("Parameter redirect is no address of a service")
	}
	c, err := s.claimsFor(q, name, redirect)
	if err != nil {
		return err
	}
	text, err := s.Tokens.Sign(q.HAT, c)
	if err != nil {
		return err
	}
	query := u.Query()
	query.Set("token", text)
	u.RawQuery = query.Encode()
	edge.WriteJSON(w, http.StatusOK, edge.Message(u.String()))
	return nil
}

// unsafeScheme reports whether opening an address with this scheme could run code or read local files. All
// other schemes are allowed, because phone applications have schemes of their own.
func unsafeScheme(scheme string) bool {
	switch strings.ToLower(scheme) {
	case "javascript", "data", "vbscript", "file", "blob":
		return true
	}
	return false
}

func service(q *edge.Request, addressParam string) (name, address string, err error) {
	values, err := q.Query()
	if err != nil {
		return "", "", err
	}
	if name, err = edge.StringParam(values, "name"); err != nil {
		return "", "", err
	}
	address, err = edge.StringParam(values, addressParam)
	return name, address, err
}

// wireUser is a user as clients read it. It never contains the password hash.
type wireUser struct {
	UserID  string        `json:"userId"`
	Email   string        `json:"email"` // the username; the original names this key "email"
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
