// Package hatapi is the HAT API v2.6 as existing clients know it: its calls, its JSON, which clients compare
// byte for byte, and its two families of errors. It converts requests to endpoints, drafts and documents
// (step 1 of the walk), and values to answers.
package hatapi

import (
	"context"
	"net/http"

	"she/internal/access"
	"she/internal/agreement"
	"she/internal/catalog"
	"she/internal/edge"
	"she/internal/hat"
)

// Functions is the part of the engine that clients of the HAT API reach; *engine.Engine documents the
// methods.
type Functions interface {
	Functions() []catalog.Function
	Function(f hat.FunctionID) (catalog.Function, bool)
	GrantOf(f catalog.Function) access.Grant
	Trigger(ctx context.Context, hatID hat.ID, c access.Caller, f hat.FunctionID, useAll bool) error
}

// Options are what the HAT API needs besides the edge.
type Options struct {
	Functions Functions
	// Applications is the catalogue of applications; ParseApplications reads it.
	Applications []Application
	// Debits bounds what partners may propose; 0 means the default.
	Debits DebitLimits
	// OwnPath is the path of the server's own API, where clients find details of a run or a function.
	OwnPath string
}

// API answers the calls. Replace Applications only while no request is under way.
type API struct {
	*edge.Server
	Options
	// seen and triggers keep services from timing runs.
	seen     seenTimes
	triggers serviceTriggers
}

// New returns the HAT API on an edge. The edge does not serve it until Serve is called.
func New(on *edge.Server, o Options) *API {
	s := &API{Server: on, Options: o}
	s.Debits = s.Debits.OrDefault()
	on.Application = func(id string) ([]access.Role, string) {
		a, _ := s.application(id)
		return a.Roles, a.Version
	}
	for _, a := range s.Applications {
		s.Terms.Changed(agreement.Application, a.ID, s.termsOf(a)) // before any client sees it
	}
	return s
}

// Calls returns the calls of the API.
func (s *API) Calls() *edge.Calls {
	return &edge.Calls{Routes: s.routes(), Explain: explain, Write: writeError}
}

func (s *API) routes() []*edge.Route {
	const get, post, put, del = http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete
	return []*edge.Route{
		{Method: get, Pattern: "/publickey", Vaultless: true, Do: s.publicKey},
		{Method: get, Pattern: "/users/access_token", Do: s.accessToken},
		{Method: get, Pattern: "/users/access_token/validate", Needs: edge.AnyToken, Do: s.validate},

		{Method: get, Pattern: "/users/application_token", Needs: edge.Needs(access.ManageAccount()), Do: s.serviceToken},
		{Method: get, Pattern: "/control/v2/auth/hatlogin", Needs: edge.Needs(access.ManageAccount()), Do: s.hatLogin},
		{Method: post, Pattern: "/control/v2/auth/password", Needs: edge.Needs(access.ManageAccount()), Do: s.changePassword},
		{Method: post, Pattern: "/control/v2/auth/passwordReset", Limited: true, Vaultless: true, Do: s.requestByMail},
		{Method: post, Pattern: "/control/v2/auth/passwordreset/confirm/{mailtoken}", Limited: true, Vaultless: true, Do: s.confirmReset},
		{Method: post, Pattern: "/control/v2/auth/claim", Limited: true, Vaultless: true, Do: s.requestByMail},
		{Method: post, Pattern: "/control/v2/auth/request-verification", Limited: true, Vaultless: true, Do: s.requestByMail},
		{Method: post, Pattern: "/control/v2/auth/claim/complete/{mailtoken}", Limited: true, Vaultless: true, Do: s.completeClaim},

		{Method: get, Pattern: "/users/user", Needs: edge.Needs(access.ManageUsers()), Do: s.listUsers},
		{Method: post, Pattern: "/users/user", Needs: edge.Needs(access.ManageUsers()), Do: s.createUser},
		{Method: put, Pattern: "/users/user/{user}/enable", Needs: edge.Needs(access.ManageUsers()), Do: s.enableUser},
		{Method: put, Pattern: "/users/user/{user}/disable", Needs: edge.Needs(access.ManageUsers()), Do: s.disableUser},
		{Method: put, Pattern: "/users/user/{user}/delete", Needs: edge.Needs(access.ManageUsers()), Do: s.deleteUser},
		{Method: put, Pattern: "/users/user/{user}/update", Needs: edge.Needs(access.ManageUsers()), Do: s.updateUser},

		{Method: get, Pattern: "/data/{namespace}/{endpoint...}", In: edge.InAPI, Needs: edge.OfEndpoint(access.ReadRecords), Do: s.getData},
		{Method: post, Pattern: "/data/{namespace}/{endpoint...}", In: edge.InAPI, Needs: edge.OfEndpoint(access.WriteRecords), BodyMax: edge.MaxBody, Do: s.postData},

		{Method: del, Pattern: "/data/{namespace}/{endpoint...}", In: edge.InAPI, Needs: edge.OfEndpoint(access.WriteRecords), Do: s.deleteEndpoint},
		{Method: post, Pattern: "/data-batch", In: edge.InAPI, Needs: edge.Needs(access.UseBatches()), BodyMax: edge.MaxBody, Do: s.postBatch},
		{Method: put, Pattern: "/data", In: edge.InAPI, Needs: edge.Needs(access.UseBatches()), BodyMax: edge.MaxBody, Do: s.putData},
		{Method: del, Pattern: "/data", In: edge.InAPI, Needs: edge.Needs(access.UseBatches()), Do: s.deleteRecords},
		{Method: post, Pattern: "/data-link", In: edge.InAPI, Needs: edge.Needs(access.UseBatches()), Do: s.linkRecords},
		{Method: get, Pattern: "/data/sources", In: edge.InAPI, Needs: edge.Needs(access.ListEndpoints()), Do: s.sources},
		{Method: get, Pattern: "/data-record/{record}", In: edge.InV26, Needs: edge.AnyToken, Do: s.getRecord},

		{Method: post, Pattern: "/combinator/{combinator...}", In: edge.InAPI, Needs: edge.Needs(access.ManageQueries()), BodyMax: edge.MaxQueryBody, Do: s.postCombinator},
		{Method: get, Pattern: "/combinator/{combinator...}", In: edge.InAPI, Needs: edge.Needs(access.ManageQueries()), Do: s.getCombinator},
		{Method: post, Pattern: "/data-bundle/{bundle}", In: edge.InAPI, Needs: edge.Needs(access.ManageQueries()), BodyMax: edge.MaxQueryBody, Do: s.postBundle},
		{Method: get, Pattern: "/data-bundle/{bundle}", In: edge.InAPI, Needs: edge.Needs(access.ManageQueries()), Do: s.getBundle},
		{Method: get, Pattern: "/data-bundle/{bundle}/structure", In: edge.InAPI, Needs: edge.Needs(access.ManageQueries()), Do: s.getBundleStructure},

		{Method: post, Pattern: "/data-debit/{debit}", In: edge.InV26, Needs: edge.Needs(access.ProposeDebit()), BodyMax: edge.MaxTermsBody, Do: s.postDebit},
		{Method: put, Pattern: "/data-debit/{debit}", In: edge.InV26, Needs: edge.OfParam("debit", access.UseDebit), BodyMax: edge.MaxTermsBody, Do: s.putDebit},
		{Method: get, Pattern: "/data-debit", In: edge.InV26, Needs: edge.Needs(access.DecideDebits()), Agrees: true, Do: s.listDebits},
		{Method: get, Pattern: "/data-debit/{debit}", In: edge.InV26, Needs: edge.OfParam("debit", access.UseDebit), Agrees: true, Do: s.getDebit},
		{Method: get, Pattern: "/data-debit/{debit}/values", In: edge.InV26, Needs: edge.OfParam("debit", access.UseDebit), Do: s.debitValues},
		{Method: get, Pattern: "/data-debit/{debit}/enable", In: edge.InV26, Needs: edge.Needs(access.DecideDebits()), Agrees: true, Do: s.enableDebit},
		{Method: get, Pattern: "/data-debit/{debit}/disable", In: edge.InV26, Needs: edge.Needs(access.DecideDebits()), Agrees: true, Do: s.disableDebit},

		{Method: get, Pattern: "/she/function", In: edge.InAPI, Needs: edge.Needs(access.SeeFunctions()), Agrees: true, Do: s.listFunctions},
		{Method: get, Pattern: "/she/function/{function}", In: edge.InAPI, Needs: edge.Needs(access.SeeFunctions()), Agrees: true, Do: s.getFunction},
		{Method: get, Pattern: "/she/function/{function}/enable", In: edge.InAPI, Needs: edge.Needs(access.SwitchFunctions()), Agrees: true, Do: s.enableFunction},
		{Method: get, Pattern: "/she/function/{function}/disable", In: edge.InAPI, Needs: edge.Needs(access.SwitchFunctions()), Agrees: true, Do: s.disableFunction},
		{Method: get, Pattern: "/she/function/{function}/trigger", In: edge.InAPI, Needs: ofTrigger, Do: s.triggerFunction},
		{Method: get, Pattern: "/she/feed", In: edge.InAPI, Needs: edge.Needs(access.ReadFeed()), Do: s.getFeed},
		{Method: get, Pattern: "/she/feed/{prefix...}", In: edge.InAPI, Needs: edge.Needs(access.ReadFeed()), Do: s.getFeed},
		{Method: get, Pattern: "/she/static/{prefix...}", In: edge.InV26, Needs: edge.Needs(access.ReadFeed()), Do: s.getStatic},

		{Method: get, Pattern: "/system/status", In: edge.InAPI, Needs: edge.Needs(access.SeeStorage()), Do: s.systemStatus},

		{Method: get, Pattern: "/applications/hmi", In: edge.InV26, Vaultless: true, Do: s.hmiList},
		{Method: get, Pattern: "/applications/{application}/hmi", In: edge.InV26, Vaultless: true, Do: s.hmi},
		{Method: get, Pattern: "/applications", In: edge.InAPI, Needs: edge.Needs(access.ListApplications()), Agrees: true, Do: s.listApplications},
		{Method: get, Pattern: "/applications/{application}", In: edge.InAPI, Needs: edge.OfParam("application", access.SeeApplication), Agrees: true, Do: s.getApplication},
		{Method: get, Pattern: "/applications/{application}/setup", In: edge.InAPI, Needs: edge.OfParam("application", access.ManageApplication), Agrees: true, Do: s.setupApplication},
		{Method: get, Pattern: "/applications/{application}/disable", In: edge.InAPI, Needs: edge.OfParam("application", access.ManageApplication), Agrees: true, Do: s.disableApplication},
		{Method: get, Pattern: "/applications/{application}/access-token", In: edge.InAPI, Needs: edge.OfParam("application", access.IssueApplicationToken), Do: s.issueApplicationToken},
	}
}
