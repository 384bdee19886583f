// Package ownapi is the server's own API, /api/she/v1, which the original does not have. The owner uses it
// with a token, and the operator at the management socket. Both use the same handlers, so each view exists
// once, in one JSON form.
//
// openapi.yaml describes its calls. Its errors are problem details (RFC 9457).
package ownapi

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"she/internal/access"
	"she/internal/catalog"
	"she/internal/edge"
	"she/internal/engine"
	"she/internal/hat"
	"she/internal/vault"
	"she/internal/verdict"
)

// Path is where the calls are.
const Path = "/api/she/v1"

// Functions is the part of the engine that owner and operator reach; *engine.Engine documents the methods.
type Functions interface {
	Functions() []catalog.Function
	GrantFor(f hat.FunctionID) (access.Grant, error)
	Watch(hatID hat.ID) (bell <-chan struct{}, stop func())
	Why(ctx context.Context, v engine.Facts, c access.Caller, f hat.FunctionID) ([]engine.Reason, error)
	Steering
}

// Steering is how runs are replayed, skipped and cancelled.
type Steering interface {
	Cancel(ctx context.Context, hatID hat.ID, v engine.Steered, c access.Caller, id hat.RunID) error
	Replay(ctx context.Context, hatID hat.ID, v engine.Steered, c access.Caller, id hat.RunID) error
	ReplayEach(ctx context.Context, hatID hat.ID, v engine.Steered, c access.Caller, ids []hat.RunID) ([]error, error)
	ReplayMany(ctx context.Context, hatID hat.ID, v engine.Steered, c access.Caller, f hat.FunctionID, w vault.ReplayFilter) (int, error)
	Skip(ctx context.Context, hatID hat.ID, v engine.Steered, c access.Caller, id hat.RunID) error
}

// Options of the API.
type Options struct {
	Functions Functions
	// Seal returns the stored verdict on the sandboxes; verdict.ErrNone if there is none. nil: there never is
	// one.
	Seal func() (verdict.Verdict, error)
	// Heartbeat is how often a silent stream of events sends a line; 0: every 15 seconds.
	Heartbeat time.Duration
}

// API answers the calls.
type API struct {
	*edge.Server
	Options
	streams streams
}

// New returns the API on an edge. The edge does not serve it until Serve is called.
func New(on *edge.Server, o Options) *API {
	if o.Heartbeat == 0 {
		o.Heartbeat = heartbeat
	}
	return &API{Server: on, Options: o}
}

// Calls returns the calls of the API.
func (s *API) Calls() *edge.Calls {
	return &edge.Calls{Prefix: Path + "/", Routes: s.routes(), Write: writeProblem}
}

func (s *API) routes() []*edge.Route {
	const get, post = http.MethodGet, http.MethodPost
	all := []*edge.Route{
		{Method: get, Pattern: Path + "/seal", Needs: edge.Needs(access.SeeRuns()), Do: s.getSeal},
		{Method: get, Pattern: Path + "/storage", Needs: edge.Needs(access.SeeStorage()), Do: s.getStorage},
		{Method: get, Pattern: Path + "/receipts", Needs: edge.Needs(access.SeeRuns()), Do: s.exportReceipts},
		{Method: post, Pattern: Path + "/receipts/verify", Needs: edge.Needs(access.SeeRuns()), Do: s.verifyReceipts},
		{Method: get, Pattern: Path + "/functions", Needs: edge.Needs(access.SeeRuns()), Do: s.listInstalled},
		{Method: get, Pattern: Path + "/why", Needs: edge.Needs(access.SeeRuns()), Do: s.whyAll},
		{Method: get, Pattern: Path + "/functions/{function}/why", Needs: edge.Needs(access.SeeRuns()), Do: s.why},
		{Method: get, Pattern: Path + "/functions/{function}/consent", Needs: edge.Needs(access.SeeConsent()), Do: s.consent},
		{Method: post, Pattern: Path + "/functions/{function}/enable", Needs: edge.Needs(access.SwitchFunctions()), Do: s.agree},
		{Method: get, Pattern: Path + "/runs", Needs: edge.Needs(access.SeeRuns()), Do: s.listRuns},
		{Method: get, Pattern: Path + "/runs/{run}", Needs: edge.Needs(access.SeeRuns()), Do: s.getRun},
		{Method: post, Pattern: Path + "/runs/replay", Needs: edge.Needs(access.SteerRuns()), Do: s.replayEach},
		{Method: post, Pattern: Path + "/runs/{run}/replay", Needs: edge.Needs(access.SteerRuns()), Do: s.replayRun},
		{Method: post, Pattern: Path + "/runs/{run}/skip", Needs: edge.Needs(access.SteerRuns()), Do: s.skipRun},
		{Method: get, Pattern: Path + "/runs/{run}/superseded", Needs: edge.Needs(access.SeeRuns()), Do: s.superseded},
		{Method: post, Pattern: Path + "/functions/{function}/replay", Needs: edge.Needs(access.SteerRuns()), Do: s.replayRuns},
		{Method: post, Pattern: Path + "/runs/{run}/cancel", Needs: edge.Needs(access.SteerRuns()), Do: s.cancelRun},
		{Method: get, Pattern: Path + "/events", Needs: edge.Needs(access.SeeRuns()), Do: s.runEvents},
	}
	for _, r := range all {
		r.Agrees = true
	}
	return all
}

// problem makes an error of this API.
func problem(status int, title, detail string) *edge.Error {
	return &edge.Error{Status: status, Title: title, Detail: detail}
}

// writeProblem writes an error as problem details. The type is "about:blank", because the title says it all.
func writeProblem(w http.ResponseWriter, e *edge.Error) {
	p := struct {
		Type   string `json:"type"`
		Title  string `json:"title"`
		Status int    `json:"status"`
		Detail string `json:"detail,omitempty"`
	}{"about:blank", e.Title, e.Status, e.Detail}
	if e == edge.ErrNotAuthenticated { // the HAT API's own words say the same twice
		p.Detail = "X-Auth-Token holds no token that is valid now; GET /users/access_token gives one"
	}
	body, err := json.Marshal(p)
	if err != nil {
		body = []byte(`{"type":"about:blank","title":"Internal Server error","status":500}`)
	}
	edge.JSONHeaders(w.Header())
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(e.Status)
	_, _ = w.Write(body)
}
