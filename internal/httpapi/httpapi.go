// Package httpapi is everything the server answers over HTTP: the HAT API, the server's own API, their
// description, and the health check. It connects hatapi and ownapi to the edge, and contains the tests of all
// of them together.
package httpapi

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"she/internal/agreement"
	"she/internal/directory"
	"she/internal/edge"
	"she/internal/engine"
	"she/internal/hat"
	"she/internal/hatapi"
	"she/internal/logins"
	"she/internal/ownapi"
	"she/internal/verdict"
)

// Functions is the part of the engine that clients reach.
type Functions interface {
	hatapi.Functions
	ownapi.Functions
	Wake(hatID hat.ID)
}

// Options of the HTTP server.
type Options struct {
	HATs edge.HATs
	// Named returns the HAT that the operator means by a text; only the second handler of Both uses it.
	Named     func(text string) (directory.HAT, error)
	Vaults    edge.Vaults
	Functions Functions
	// Applications is the catalogue of applications; ParseApplications reads it.
	Applications []hatapi.Application
	// Terms remembers changed terms and what each login was shown; nil: the server makes its own.
	Terms *agreement.Terms
	// Debits bounds what partners may propose; 0 means the default.
	Debits hatapi.DebitLimits
	// Seal returns the result of the last test of the sandboxes; verdict.ErrNone if there was none. nil:
	// there never is one.
	Seal func() (verdict.Verdict, error)
	Log  *slog.Logger     // never sees Owner data; nil discards
	Now  func() time.Time // nil: time.Now
	// TrustProxy takes the HAT from X-Forwarded-Host and the client's address from the last entry of
	// X-Forwarded-For. Set it only if every request passes a proxy that writes both.
	TrustProxy bool
	// Logins compares passwords, also for the operator's commands; nil: NewLogins(BcryptCost, Now).
	Logins *logins.Logins
	// BcryptCost is the cost of new passwords; 0: 12, as in the original.
	BcryptCost int

	// Observe, if set, is called after each request: its method, the pattern of its route ("" if none), the
	// status (0: the connection was cut), and its duration. None of this is Owner data.
	Observe func(method, route string, status int, took time.Duration)

	// Shares are the slots for long evaluations; nil: the server makes its own.
	Shares *engine.Shares
	// Memory is what requests may hold at once; nil: no bound.
	Memory *engine.Budget
	// Known, if set, is called when the request with this context has shown a valid token.
	Known func(ctx context.Context)

	heartbeat time.Duration // of event streams; shorter in tests
}

// New returns the handler for all paths of both APIs and for /healthz. It starts no goroutine.
func New(o Options) http.Handler {
	public, _ := Both(o)
	return public
}

// Both returns the handler of New, and the operator's handler of the own API, at paths that begin with
// OperatorPrefix.
func Both(o Options) (public, operators http.Handler) {
	a := assemble(o)
	return a.edge, a.operators
}

// assembled is the edge with the APIs it serves.
type assembled struct {
	edge      *edge.Server
	hat       *hatapi.API
	own       *ownapi.API
	operators http.Handler
}

func assemble(o Options) (a assembled) {
	if o.Logins == nil {
		o.Logins = logins.New(logins.Options{Cost: o.BcryptCost, Now: o.Now})
	}
	on := edge.Options{
		HATs: o.HATs, Named: o.Named, Vaults: o.Vaults, Terms: o.Terms, Log: o.Log, Now: o.Now, TrustProxy: o.TrustProxy,
		Logins: o.Logins, Observe: o.Observe, Shares: o.Shares, Memory: o.Memory, Known: o.Known,
	}
	if o.Functions != nil {
		on.Wake = o.Functions.Wake
	}
	a.edge = edge.New(on)
	a.hat = hatapi.New(a.edge, hatapi.Options{Functions: o.Functions, Applications: o.Applications, Debits: o.Debits, OwnPath: ownapi.Path})
	a.own = ownapi.New(a.edge, ownapi.Options{Functions: o.Functions, Seal: o.Seal, Heartbeat: o.heartbeat})
	calls := a.hat.Calls()
	calls.Routes = append(aboutServer(), calls.Routes...)
	a.edge.Serve(calls)
	ownCalls := a.own.Calls()
	a.edge.Serve(ownCalls)
	a.operators = edge.Operator(a.edge, ownCalls)
	return a
}

// aboutServer returns the calls that concern no HAT.
func aboutServer() []*edge.Route {
	const get = http.MethodGet
	return []*edge.Route{
		{Method: get, Pattern: "/healthz", Hatless: true, Do: health},
		{Method: get, Pattern: "/openapi.json", Hatless: true, Do: getOpenAPI},
		{Method: get, Pattern: "/docs", Hatless: true, Do: getDocs},
	}
}
