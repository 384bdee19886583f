// Package httpapi is the HAT API v2.6 over HTTP, as existing clients know it: step 1 of the walk, and the way
// everything comes out again. It turns requests into callers, endpoints and drafts, and values into the JSON the
// clients expect, byte for byte where they compare it.
//
// It guarantees that a token is checked before anything else of a request is read, that the status and body of every
// error come from one table, and that neither an error nor a log line contains what an Owner stored.
//
// It decides nothing about rights (access does), keeps no state of a person (vault does) and runs no function
// (engine does).
package httpapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"time"

	"she/internal/access"
	"she/internal/agreement"
	"she/internal/directory"
	"she/internal/engine"
	"she/internal/hat"
	"she/internal/vault"
	"she/internal/verdict"
)

// HATs is the part of the directory the edge needs. ByDomain and ByID answer directory.ErrNotFound.
type HATs interface {
	ByDomain(domain hat.Domain) (directory.HAT, error)
	ByID(id string) (directory.HAT, error)
	List() []directory.HAT // without keys
}

// Vaults opens the vault of a HAT. release gives it back; the vault must not be used after.
type Vaults interface {
	Open(ctx context.Context, hatID string) (v vault.Vault, release func(), err error)
}

// Options are what a server is made of.
type Options struct {
	HATs HATs
	// Named is the HAT that the operator means by a text; only Both's second handler asks.
	Named     func(text string) (directory.HAT, error)
	Vaults    Vaults
	Functions Functions
	// Applications is the catalogue of applications; ParseApplications reads it.
	Applications []Application
	// Terms tells terms that have changed from those that never did, and what each login was shown; nil: the server has its own.
	Terms *agreement.Terms
	// Debits bound what partners may propose; a bound of 0 is the default.
	Debits DebitLimits
	// Seal is what the last test of the walls found; verdict.ErrNone if there was none. nil: there never is.
	Seal func() (verdict.Verdict, error)
	Log  *slog.Logger     // never sees Owner data; nil discards
	Now  func() time.Time // nil: time.Now
	// TrustProxy takes the HAT from X-Forwarded-Host and the client's address from the last entry of
	// X-Forwarded-For. Set it only if every request passes a proxy that writes both.
	TrustProxy bool
	// Logins compares passwords, for the operator's commands too; nil: NewLogins(BcryptCost, Now).
	Logins *Logins
	// BcryptCost of passwords that are set from now on; 0: 12, as in the original.
	BcryptCost int

	// Observe, if set, is told of each request when it is over: its method, the pattern of its route ("" if there is
	// none), the status (0: the connection was cut), and how long it took. Nothing of it is anybody's data.
	Observe func(method, route string, status int, took time.Duration)

	// Shares of the processor, for evaluations; nil: the server has its own.
	Shares *engine.Shares
	// Memory is what requests may hold at once; nil: no bound.
	Memory *engine.Budget
	// Known, if set, is told that the request with this context has a valid token.
	Known func(ctx context.Context)

	heartbeat time.Duration // of event streams; shorter in tests
}

type server struct {
	Options
	routes  routes
	own     routes // those of our own API
	tokens  *tokens
	streams streams
	seen    seenTimes
	// seenHeld and triggers keep services from timing runs.
	seenHeld seenHeld
	triggers serviceTriggers
}

// New is the handler for all paths of the HAT API and for /healthz. It starts no goroutine.
func New(o Options) http.Handler {
	public, _ := Both(o)
	return public
}

// Both are New, and the handler of our own API for the operator, at paths that begin with OperatorPrefix.
func Both(o Options) (public, operators http.Handler) {
	s := newServer(o)
	return s, operator{s}
}

func newServer(o Options) *server {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Logins == nil {
		o.Logins = NewLogins(o.BcryptCost, o.Now)
	}
	if o.Shares == nil {
		o.Shares = engine.NewShares(0)
	}
	if o.heartbeat == 0 {
		o.heartbeat = heartbeat
	}
	s := &server{
		Options: o,
		tokens:  newTokens(),
	}
	s.Debits = s.Debits.OrDefault()
	if s.Terms == nil {
		s.Terms = agreement.New(nil, nil)
	}
	for _, a := range s.Applications {
		s.Terms.Changed(agreement.Application, a.ID, s.termsOf(a)) // noted before anybody is shown it
	}
	s.own = s.ownRoutes().split()
	s.routes = s.table()
	return s
}

// A request is one HTTP request with what is known about it by the time a handler runs.
type request struct {
	*http.Request
	hat   directory.HAT
	route *route
	vault vault.Vault
	// release gives the vault back before the handler returns: for one that waits long and no longer needs it.
	release func()
	turns   *engine.Turns // at the processor, for evaluations
	memory  *engine.Held  // what the request holds of Options.Memory
	held    bool          // the vault was not given back yet
	caller  access.Caller
	// agreed says whether what the answer shows may still be shown; nil: that is a question of the caller's rights alone. moved
	// is false if no right has changed since it was asked last.
	agreed func(v vault.Vault, moved bool) error
	user   vault.User // whose token it is
	claims claims
	params map[string]string // from the path
	now    time.Time
	clock  func() time.Time // now is when the request came
	// atSocket: the operator's, or their owner's beside them.
	atSocket bool
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
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
	s.answer(out, r, func(out *recorder) error { return s.serve(out, r) })
}

// answer has serve answer, and answers itself what it fails with.
func (s *server) answer(out *recorder, r *http.Request, serve func(*recorder) error) {
	defer out.done()
	defer func() {
		switch p := recover(); p {
		case nil:
		case http.ErrAbortHandler:
			panic(p)
		default:
			// What it panicked with may be something an Owner stored; only its type and place go to the log.
			s.fail(out, r, fmt.Errorf("panic with a %T at %s", p, panicSite()))
		}
	}()
	if err := serve(out); err != nil {
		s.fail(out, r, err)
	}
}

func (s *server) serve(w *recorder, r *http.Request) error {
	route, params := s.routes.find(r.Method, r.URL.EscapedPath())
	if route != nil {
		w.route = route.pattern
	}
	if route != nil && route.hatless {
		return route.do(w, &request{Request: r, route: route, now: s.Now()})
	}
	h, err := s.hatOf(r)
	if err != nil {
		return err
	}
	if route == nil {
		return noHandler(r)
	}
	q := &request{Request: r, route: route, hat: h, params: params, now: s.Now(), clock: s.Now, turns: s.Shares.Of(h.ID)}
	w.waits = q.turns.Rest
	defer q.turns.Rest()
	if route.limited {
		if err := s.Logins.admitReset(h.ID, s.origin(r)); err != nil {
			return refused(q, err)
		}
	}
	// Before the vault: strangers shall not be able to have it opened.
	if route.needs != nil {
		if err := s.identify(q); err != nil {
			return err
		}
		q.memory, err = s.Memory.Acquire(r.Context(), h.ID, requestHold)
	} else {
		q.memory, err = s.Memory.Acquire(r.Context(), "", strangerHold)
	}
	if err != nil {
		return err
	}
	defer q.memory.Release()
	if !route.vaultless {
		v, release, err := s.Vaults.Open(r.Context(), h.ID)
		if err != nil {
			return err
		}
		q.vault, q.held = v, true
		q.release = sync.OnceFunc(func() { q.held = false; release() })
		defer q.release()
	}
	if route.needs != nil {
		if err := s.authenticate(w, q); err != nil {
			return err
		}
		w.known = true
		if s.Known != nil {
			s.Known(r.Context())
		}
		p, err := route.needs(q)
		if err != nil {
			return err
		}
		if p != nil && !q.caller.May(*p) {
			return access.ErrDenied
		}
		q.caller = q.caller.LetIn(p)
		w.still = func() error { return s.still(q) }
	}
	return s.do(w, q)
}

// do has the route answer a caller who may have it.
func (s *server) do(w *recorder, q *request) error {
	if (q.route.agrees || isOwn(q.Request)) && q.held && q.caller.May(access.SeeRuns()) {
		w.begins = func() { tellHead(w, q) }
		giveBack := q.release
		q.release = func() { tellHead(w, q); giveBack() }
	}
	if err := q.route.do(w, q); err != nil {
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

// hatOf picks the HAT by the Host header.
func (s *server) hatOf(r *http.Request) (directory.HAT, error) {
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
	// At home, with one HAT only, there is no doubt which is meant.
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

// panicSite is the innermost place of ours on the stack of a panic.
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
