package httpapi

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"she/internal/access"
	"she/internal/directory"
)

// The operator has the same calls of our own API as an owner, at the management socket, below the HAT they are about:
//
//	GET /hats/alice.localhost/api/she/v1/runs
//
// They see no more than an Operator may. Who has the owner's password, in an Authorization header, is the owner.

// OperatorTenant is whose share of the memory the operator's calls have.
const OperatorTenant = "the operator's commands"

// OperatorPrefix is where the calls about a HAT are, for the operator: before its domain or name.
const OperatorPrefix = "/hats/"

// operator answers the operator's calls.
type operator struct{ *server }

func (s operator) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name, path, _ := strings.Cut(strings.TrimPrefix(r.URL.EscapedPath(), OperatorPrefix), "/")
	at, err := url.Parse("/" + path)
	if err != nil {
		at = &url.URL{Path: "/"}
	}
	at.RawQuery = r.URL.RawQuery
	r = r.Clone(r.Context())
	r.URL = at
	s.answer(newRecorder(w, r), r, func(out *recorder) error { return s.serve(out, r, name) })
}

func (s operator) serve(w *recorder, r *http.Request, name string) error {
	h, err := s.named(name)
	if err != nil {
		return err
	}
	route, params := s.own.find(r.Method, r.URL.EscapedPath())
	if route == nil {
		return noHandler(r)
	}
	q := &request{Request: r, route: route, hat: h, params: params, now: s.Now(), turns: s.Shares.Of(h.ID), atSocket: true}
	w.waits = q.turns.Rest
	defer q.turns.Rest()
	if q.memory, err = s.Memory.Acquire(r.Context(), OperatorTenant, requestHold); err != nil {
		return err
	}
	defer q.memory.Release()
	v, release, err := s.Vaults.Open(r.Context(), h.ID)
	if err != nil {
		return err
	}
	q.vault, q.held = v, true
	q.release = sync.OnceFunc(func() { q.held = false; release() })
	defer q.release()
	if q.caller, err = s.whoCalls(q); err != nil {
		return err
	}
	p, err := route.needs(q)
	if err != nil {
		return err
	}
	if p != nil && !q.caller.May(*p) {
		return problem(http.StatusForbidden, "Owner's Alone", "only the owner may, and their password was not given")
	}
	w.known = true
	w.still = func() error { return nil }
	return s.do(w, q)
}

// whoCalls is the operator, or the owner, who proves it with the password.
func (s operator) whoCalls(q *request) (access.Caller, error) {
	_, password, given := q.BasicAuth()
	if !given {
		return access.Operator(), nil
	}
	owner, err := q.vault.Owner(q.Context())
	if err != nil {
		return access.Caller{}, err
	}
	switch err := s.Logins.Prove(q.Context(), q.hat.ID, owner, password); {
	case errors.Is(err, ErrWrongPassword):
		return access.Caller{}, problem(http.StatusForbidden, "Wrong Password", err.Error())
	case err != nil:
		return access.Caller{}, problem(http.StatusServiceUnavailable, "Password Not Tried", "the owner's password was not tried: "+err.Error())
	}
	return access.User(owner.ID, owner.Roles, access.TitleOwner), nil
}

// named is the HAT of the path, with its key.
func (s operator) named(text string) (directory.HAT, error) {
	asked, err := url.PathUnescape(text)
	if err != nil {
		asked = text
	}
	h, err := s.Named(asked)
	if err != nil {
		return h, problem(http.StatusNotFound, "No Such HAT", err.Error())
	}
	return s.HATs.ByID(h.ID)
}
