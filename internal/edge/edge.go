// Package edge receives requests: it finds the HAT and the caller, opens the vault, keeps the budgets of
// memory, time and processor, and calls the route of an API. Step 1 of the walk begins here, and answers
// leave here.
//
// It guarantees that a token is checked before anything else of a request is read, that rights are checked
// again while a long answer is sent, and that no error or log line contains what an Owner stored.
//
// It defines no calls: hatapi and ownapi do. It decides nothing about rights (access does), keeps no state of
// a person (vault does) and runs no function (engine does).
package edge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"she/internal/access"
	"she/internal/agreement"
	"she/internal/directory"
	"she/internal/engine"
	"she/internal/hat"
	"she/internal/logins"
	"she/internal/receipt"
	"she/internal/vault"
)

// HATs is the part of the directory the edge needs. ByDomain and ByID answer directory.ErrNotFound.
type HATs interface {
	ByDomain(domain hat.Domain) (directory.HAT, error)
	ByID(id hat.ID) (directory.HAT, error)
	List() []directory.HAT // without keys
}

// Vaults opens the vault of a HAT. release gives it back; do not use the vault after that.
type Vaults interface {
	Open(ctx context.Context, hatID hat.ID) (v Vault, release func(), err error)
}

// A Vault is an open vault, as far as the edge itself needs it: for the caller, and the head of receipts.
// Each API declares what else it needs, and the opened vault must offer all of it.
type Vault interface {
	Recognise(ctx context.Context, c access.Credential) (access.Caller, vault.User, error)
	Renew(ctx context.Context, c access.Caller) (fresh access.Caller, moved bool, err error)
	Owner(ctx context.Context) (vault.User, error)
	Head(ctx context.Context, c access.Caller) (receipt.Head, error)
	Idle() bool
}

// Options of a Server.
type Options struct {
	HATs HATs
	// Named finds the HAT that the operator names; only Operator uses it.
	Named  func(text string) (directory.HAT, error)
	Vaults Vaults
	// Terms remembers changed terms and what each login was shown; nil: the server makes its own.
	Terms *agreement.Terms
	// Application returns what the catalogue grants an application, and its version; "": there is none.
	Application func(id string) (granted []access.Role, version string)
	// Wake tells the engine that something was committed at the HAT.
	Wake func(hatID hat.ID)
	Log  *slog.Logger     // never sees Owner data; nil discards
	Now  func() time.Time // nil: time.Now
	// TrustProxy takes the HAT from X-Forwarded-Host and the client's address from the last entry of
	// X-Forwarded-For. Set it only if every request passes a proxy that writes both.
	TrustProxy bool
	// Logins compares passwords, also for the operator's commands; nil: the server makes its own.
	Logins *logins.Logins
	// Observe, if set, is called after each request: its method, the pattern of its route ("" if none), the
	// status (0: the connection was cut), and its duration. None of this is Owner data.
	Observe func(method, route string, status int, took time.Duration)

	// Shares are the slots for long evaluations; nil: the server makes its own.
	Shares *engine.Shares
	// Memory is what requests may hold at once; nil: no bound.
	Memory *engine.Budget
	// Known, if set, is called when the request with this context has shown a valid token.
	Known func(ctx context.Context)
}

// A Server is the edge: it serves the calls of its APIs.
type Server struct {
	Options
	calls    []*Calls
	Tokens   *Tokens
	seenHeld seenHeld // keeps services from timing runs
}

// New makes one that serves no calls yet. It starts no goroutine.
func New(o Options) *Server {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Logins == nil {
		o.Logins = logins.New(logins.Options{Now: o.Now})
	}
	if o.Shares == nil {
		o.Shares = engine.NewShares(0)
	}
	if o.Terms == nil {
		o.Terms = agreement.New(nil, nil)
	}
	return &Server{Options: o, Tokens: NewTokens()}
}

// Serve adds an API. Of several APIs whose prefix a path has, the one added last is used. Call it before
// requests come.
func (s *Server) Serve(c *Calls) {
	for _, r := range c.Routes {
		r.segments = strings.Split(r.Pattern, "/")
	}
	s.calls = append(s.calls, c)
}

// Routes are those of all APIs.
func (s *Server) Routes() (all []*Route) {
	for _, c := range s.calls {
		all = append(all, c.Routes...)
	}
	return all
}

// Find returns the route of a call and the values of its path parameters, or nil.
func (s *Server) Find(method, path string) (*Route, map[string]string) {
	return s.callsAt(path).Find(method, path)
}

// callsAt are those of the API that the path belongs to.
func (s *Server) callsAt(path string) *Calls {
	for _, c := range slices.Backward(s.calls) {
		if strings.HasPrefix(path, c.Prefix) {
			return c
		}
	}
	return &Calls{Write: func(w http.ResponseWriter, e *Error) { w.WriteHeader(e.Status) }}
}

// A Request is an HTTP request with what is known about it when a handler runs.
type Request struct {
	*http.Request
	HAT   directory.HAT
	route *Route
	Vault Vault
	// Release gives the vault back before the handler returns, for a handler that waits long and no longer
	// needs it.
	Release func()
	turns   *engine.Turns // at the processor, for evaluations
	Memory  *engine.Held  // what the request holds of Options.Memory
	held    bool          // the vault was not given back yet
	Caller  access.Caller
	// Agreed checks whether what the answer shows may still be shown; nil: this depends on the caller's
	// rights only. moved is false if no right has changed since the last check.
	Agreed func(v Vault, moved bool) error
	User   vault.User // whose token it is
	Claims Claims
	Params map[string]string // from the path
	Now    time.Time
	clock  func() time.Time // now is when the request came
	// atSocket: the request came over the management socket, from the operator or with the owner's password.
	atSocket bool
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	allowOrigins(w.Header())
	out := newRecorder(w, r)
	if isPreflight(r) {
		answerPreflight(out)
		return
	}
	if s.Observe != nil {
		began := time.Now()
		defer func() { s.Observe(r.Method, out.route, out.status, time.Since(began)) }()
	}
	s.answer(out, r, func(out *Recorder) error { return s.serve(out, r) })
}

// answer calls serve, and answers with its error.
func (s *Server) answer(out *Recorder, r *http.Request, serve func(*Recorder) error) {
	defer out.done()
	defer func() {
		switch p := recover(); p {
		case nil:
		case http.ErrAbortHandler:
			panic(p)
		default:
			// The value of the panic may be Owner data; only its type and place are logged.
			s.fail(out, r, fmt.Errorf("panic with a %T at %s", p, panicSite()))
		}
	}()
	if err := serve(out); err != nil {
		s.fail(out, r, err)
	}
}

func (s *Server) serve(w *Recorder, r *http.Request) error {
	route, params := s.Find(r.Method, r.URL.EscapedPath())
	if route != nil {
		w.route = route.Pattern
	}
	if route != nil && route.Hatless {
		return route.Do(w, &Request{Request: r, route: route, Now: s.Now()})
	}
	h, err := s.hatOf(r)
	if err != nil {
		return err
	}
	if route == nil {
		return noHandler(r)
	}
	q := &Request{Request: r, route: route, HAT: h, Params: params, Now: s.Now(), clock: s.Now, turns: s.Shares.Of(h.ID)}
	w.waits = q.turns.Rest
	defer q.turns.Rest()
	if route.Limited {
		if err := s.Logins.AdmitReset(h.ID, s.Origin(r)); err != nil {
			return err
		}
	}
	// Check before opening the vault, so that strangers can't make the server open it.
	if route.Needs != nil {
		if err := s.identify(q); err != nil {
			return err
		}
		q.Memory, err = s.Memory.Acquire(r.Context(), string(h.ID), RequestHold)
	} else {
		q.Memory, err = s.Memory.Acquire(r.Context(), "", strangerHold)
	}
	if err != nil {
		return err
	}
	defer q.Memory.Release()
	if !route.Vaultless {
		if err := s.open(q); err != nil {
			return err
		}
		defer q.Release()
	}
	if route.Needs != nil {
		if err := s.authenticate(w, q); err != nil {
			return err
		}
		w.known = true
		if s.Known != nil {
			s.Known(r.Context())
		}
		p, err := route.Needs(q)
		if err != nil {
			return err
		}
		if p != nil && !q.Caller.May(*p) {
			return access.ErrDenied
		}
		q.Caller = q.Caller.LetIn(p)
		w.Still = func() error { return s.still(q) }
	}
	return s.do(w, q)
}

// open opens the vault of the request's HAT. Release gives it back.
func (s *Server) open(q *Request) error {
	v, release, err := s.Vaults.Open(q.Context(), q.HAT.ID)
	if err != nil {
		return err
	}
	q.Vault, q.held = v, true
	q.Release = sync.OnceFunc(func() { q.held = false; release() })
	return nil
}

// do calls the route's handler for a caller who is permitted.
func (s *Server) do(w *Recorder, q *Request) error {
	if q.route.Agrees && q.held && q.Caller.May(access.SeeRuns()) {
		w.begins = func() { TellHead(w, q) }
		giveBack := q.Release
		q.Release = func() { TellHead(w, q); giveBack() }
	}
	if err := q.route.Do(w, q); err != nil {
		if w.begins != nil {
			w.begins() // an error is written when the vault was given back
		}
		return err
	}
	if w.refused {
		panic(http.ErrAbortHandler) // the handler did not look at what became of its answer
	}
	return nil
}

// hatOf finds the HAT by the Host header.
func (s *Server) hatOf(r *http.Request) (directory.HAT, error) {
	host := r.Host
	if forwarded := r.Header.Get("X-Forwarded-Host"); s.TrustProxy && forwarded != "" {
		host = forwarded
	}
	if d, err := hat.ParseDomain(host); err == nil {
		h, err := s.HATs.ByDomain(d)
		if !errors.Is(err, directory.ErrNotFound) {
			return h, err
		}
	}
	if !isLoopback(host) {
		return directory.HAT{}, directory.ErrNotFound
	}
	// If there is only one HAT, it is meant.
	all := s.HATs.List()
	if len(all) != 1 {
		return directory.HAT{}, directory.ErrNotFound
	}
	return s.HATs.ByID(all[0].ID)
}

func isLoopback(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && ip.IsLoopback()
}

// panicSite returns the innermost place in our code on the stack of a panic.
func panicSite() string {
	var pcs [64]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs[:])])
	for {
		f, more := frames.Next()
		if strings.HasPrefix(f.Function, "she/") {
			return fmt.Sprintf("%s:%d", f.Function, f.Line)
		}
		if !more {
			return "unknown"
		}
	}
}
