// Package httpapi is all that the server answers over HTTP: the HAT API, our own API, their description, and whether the
// server is well. It brings hatapi and ownapi to the edge, and holds the tests of all of them together.
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

// Functions is the engine, as far as clients reach it.
type Functions interface {
	hatapi.Functions
	ownapi.Functions
	Wake(hatID hat.ID)
}

// Options are what a server is made of.
type Options struct {
	HATs edge.HATs
	// Named is the HAT that the operator means by a text; only Both's second handler asks.
	Named     func(text string) (directory.HAT, error)
	Vaults    edge.Vaults
	Functions Functions
	// Applications is the catalogue of applications; ParseApplications reads it.
	Applications []hatapi.Application
	// Terms tells terms that have changed from those that never did, and what each login was shown; nil: the server has its own.
	Terms *agreement.Terms
	// Debits bound what partners may propose; a bound of 0 is the default.
	Debits hatapi.DebitLimits
	// Seal is what the last test of the walls found; verdict.ErrNone if there was none. nil: there never is.
	Seal func() (verdict.Verdict, error)
	Log  *slog.Logger     // never sees Owner data; nil discards
	Now  func() time.Time // nil: time.Now
	// TrustProxy takes the HAT from X-Forwarded-Host and the client's address from the last entry of
	// X-Forwarded-For. Set it only if every request passes a proxy that writes both.
	TrustProxy bool
	// Logins compares passwords, for the operator's commands too; nil: NewLogins(BcryptCost, Now).
	Logins *logins.Logins
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

// New is the handler for all paths of both APIs and for /healthz. It starts no goroutine.
func New(o Options) http.Handler {
	public, _ := Both(o)
	return public
}

// Both are New, and the handler of our own API for the operator, at paths that begin with OperatorPrefix.
func Both(o Options) (public, operators http.Handler) {
	a := assemble(o)
	return a.edge, a.operators
}

// assembled are the edge and what it serves.
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

// aboutServer are the calls that concern no HAT.
func aboutServer() []*edge.Route {
	const get = http.MethodGet
	return []*edge.Route{
		{Method: get, Pattern: "/healthz", Hatless: true, Do: health},
		{Method: get, Pattern: "/openapi.json", Hatless: true, Do: getOpenAPI},
		{Method: get, Pattern: "/docs", Hatless: true, Do: getDocs},
	}
}
