package edge

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"she/internal/access"
	"she/internal/directory"
	"she/internal/logins"
)

// The operator has the same calls of the server's own API as an owner. They come over the management socket,
// below the HAT they are about:
//
//	GET /hats/alice.localhost/api/she/v1/runs
//
// These calls show only what an Operator may see. With the owner's password in an Authorization header, the
// caller is the owner.

// OperatorTenant is the tenant whose share of memory the operator's calls use.
const OperatorTenant = "the operator's commands"

// OperatorPrefix is the path prefix of the operator's calls about a HAT. The HAT's domain or name follows.
const OperatorPrefix = "/hats/"

// operator answers the operator's calls of one API.
type operator struct {
	*Server
	calls *Calls
}

// Operator returns the handler for the operator's calls, at paths that begin with OperatorPrefix.
func Operator(s *Server, c *Calls) http.Handler { return operator{s, c} }

func (s operator) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name, path, _ := strings.Cut(strings.TrimPrefix(r.URL.EscapedPath(), OperatorPrefix), "/")
	at, err := url.Parse("/" + path)
	if err != nil {
		at = &url.URL{Path: "/"}
	}
	at.RawQuery = r.URL.RawQuery
	r = r.Clone(r.Context())
	r.URL = at
	s.answer(newRecorder(w, r), r, func(out *Recorder) error { return s.serve(out, r, name) })
}

func (s operator) serve(w *Recorder, r *http.Request, name string) error {
	h, err := s.named(name)
	if err != nil {
		return err
	}
	route, params := s.calls.Find(r.Method, r.URL.EscapedPath())
	if route == nil {
		return noHandler(r)
	}
	q := &Request{Request: r, route: route, HAT: h, Params: params, Now: s.Now(), turns: s.Shares.Of(h.ID), atSocket: true}
	w.waits = q.turns.Rest
	defer q.turns.Rest()
	if q.Memory, err = s.Memory.Acquire(r.Context(), OperatorTenant, RequestHold); err != nil {
		return err
	}
	defer q.Memory.Release()
	if err := s.open(q); err != nil {
		return err
	}
	defer q.Release()
	if q.Caller, err = s.whoCalls(q); err != nil {
		return err
	}
	p, err := route.Needs(q)
	if err != nil {
		return err
	}
	if p != nil && !q.Caller.May(*p) {
		return NewError(http.StatusForbidden, "Owner's Alone", "only the owner may, and their password was not given")
	}
	w.known = true
	w.Still = func() error { return nil }
	return s.do(w, q)
}

// whoCalls returns the operator, or the owner if the request has the owner's password.
func (s operator) whoCalls(q *Request) (access.Caller, error) {
	_, password, given := q.BasicAuth()
	if !given {
		return access.Operator(), nil
	}
	owner, err := q.Vault.Owner(q.Context())
	if err != nil {
		return access.Caller{}, err
	}
	switch err := s.Logins.Prove(q.Context(), q.HAT.ID, owner, password); {
	case errors.Is(err, logins.ErrWrongPassword):
		return access.Caller{}, NewError(http.StatusForbidden, "Wrong Password", err.Error())
	case err != nil:
		return access.Caller{}, NewError(http.StatusServiceUnavailable, "Password Not Tried", "the owner's password was not tried: "+err.Error())
	}
	return access.User(owner.ID, owner.Roles, access.TitleOwner), nil
}

// named returns the HAT in the path, with its key.
func (s operator) named(text string) (directory.HAT, error) {
	asked, err := url.PathUnescape(text)
	if err != nil {
		asked = text
	}
	h, err := s.Named(asked)
	if err != nil {
		return h, NewError(http.StatusNotFound, "No Such HAT", err.Error())
	}
	return s.HATs.ByID(h.ID)
}
