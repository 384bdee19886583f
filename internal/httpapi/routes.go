package httpapi

import (
	"net/http"
	"strings"

	"she/internal/access"
	"she/internal/hat"
)

// A route is one line of the table. The token, and the permission it needs, are checked before do runs, and so before
// a byte of the body is read.
type route struct {
	method  string
	pattern string // {name} is one segment, {name...} the rest of the path
	in      prefixes
	// needs is the permission; a nil function means that nobody has to say who they are, a nil permission that any
	// valid token will do.
	needs func(*request) (*access.Permission, error)
	// body is how many bytes the request's body may have; 0: few. Without a token it is maxOpenBody, whatever stands here.
	body    int64
	limited bool // takes a token sent by mail, or asks for one: counted for the client's address at this HAT
	// vaultless: there is nothing of the person in the answer. Strangers shall not be able to have vaults opened.
	vaultless bool
	hatless   bool // about the server, whatever the Host
	// agrees: by it somebody reads what they may agree to, or does. Its answers carry the head of the receipts, as all of
	// the own API do.
	agrees bool
	do     func(*recorder, *request) error

	segments []string
}

// prefixes are where a route hangs.
type prefixes int

const (
	atRoot prefixes = iota
	inAPI           // below each of apiVersions
	inV26           // below the current one only: younger than the others, or of another shape there
)

const currentAPI = "/api/v2.6"

var apiVersions = []string{currentAPI, "/api/v2", "/api/v2.0"}

type routes []*route

// find gives the route and what its pattern's names stand for, or nil.
func (rs routes) find(method, path string) (*route, map[string]string) {
	at := atRoot
	for _, prefix := range apiVersions {
		if rest, ok := strings.CutPrefix(path, prefix+"/"); ok {
			at, path = inAPI, "/"+rest
			if prefix == currentAPI {
				at = inV26
			}
			break
		}
	}
	segments := strings.Split(path, "/")
	for _, r := range rs {
		hangsHere := r.in == at || r.in == inAPI && at == inV26
		asked := r.method == method || r.hatless && method == http.MethodHead
		if !asked || !hangsHere {
			continue
		}
		if params, ok := match(r.segments, segments); ok {
			return r, params
		}
	}
	return nil, nil
}

func match(pattern, segments []string) (map[string]string, bool) {
	var params map[string]string
	for i, want := range pattern {
		if i >= len(segments) {
			return nil, false
		}
		name, isParam := strings.CutPrefix(want, "{")
		if !isParam {
			if want != segments[i] {
				return nil, false
			}
			continue
		}
		name = strings.TrimSuffix(name, "}")
		value := segments[i]
		name, rest := strings.CutSuffix(name, "...")
		if rest {
			value = strings.Join(segments[i:], "/")
		}
		if !allowed(name, value) {
			return nil, false
		}
		if params == nil {
			params = map[string]string{}
		}
		params[name] = value
		if rest {
			return params, true
		}
	}
	return params, len(pattern) == len(segments)
}

// allowed are the characters the original's routes admit; what has others is no such route.
func allowed(param, value string) bool {
	const lower, upper = "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	const name = lower + "0123456789-"
	set := ""
	switch param {
	case "namespace":
		set = name
	case "endpoint", "combinator", "prefix":
		set = name + "/"
	case "bundle", "debit":
		set = name + upper
	default:
		set = name + upper + "_.~"
	}
	for i := range len(value) {
		if strings.IndexByte(set, value[i]) < 0 {
			return false
		}
	}
	return value != "" && len(value) <= maxParam
}

// maxParam bounds a name in a path, in bytes; an endpoint has no more either.
const maxParam = 512

// endpoint is the one the path names.
func (q *request) endpoint() (hat.Endpoint, error) {
	return hat.ParseEndpoint(q.params["namespace"] + "/" + q.params["endpoint"])
}

// needs makes a route's requirement of a fixed permission.
func needs(p access.Permission) func(*request) (*access.Permission, error) {
	return func(*request) (*access.Permission, error) { return &p, nil }
}

func anyToken(*request) (*access.Permission, error) { return nil, nil }

func ofEndpoint(of func(hat.Endpoint) access.Permission) func(*request) (*access.Permission, error) {
	return func(q *request) (*access.Permission, error) {
		e, err := q.endpoint()
		if err != nil {
			return nil, err
		}
		p := of(e)
		return &p, nil
	}
}

func ofParam(name string, of func(string) access.Permission) func(*request) (*access.Permission, error) {
	return func(q *request) (*access.Permission, error) {
		p := of(q.params[name])
		return &p, nil
	}
}

// table is every route there is. Of two that match, the first counts.
func (s *server) table() routes {
	const get, post, put, del = http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete
	all := routes{
		{method: get, pattern: "/healthz", hatless: true, do: s.health},
		{method: get, pattern: "/openapi.json", hatless: true, do: s.getOpenAPI},
		{method: get, pattern: "/docs", hatless: true, do: s.getDocs},
		{method: get, pattern: "/publickey", vaultless: true, do: s.publicKey},
		{method: get, pattern: "/users/access_token", do: s.accessToken},
		{method: get, pattern: "/users/access_token/validate", needs: anyToken, do: s.validate},

		{method: get, pattern: "/users/application_token", needs: needs(access.ManageAccount()), do: s.serviceToken},
		{method: get, pattern: "/control/v2/auth/hatlogin", needs: needs(access.ManageAccount()), do: s.hatLogin},
		{method: post, pattern: "/control/v2/auth/password", needs: needs(access.ManageAccount()), do: s.changePassword},
		{method: post, pattern: "/control/v2/auth/passwordReset", limited: true, vaultless: true, do: s.requestByMail},
		{method: post, pattern: "/control/v2/auth/passwordreset/confirm/{mailtoken}", limited: true, vaultless: true, do: s.confirmReset},
		{method: post, pattern: "/control/v2/auth/claim", limited: true, vaultless: true, do: s.requestByMail},
		{method: post, pattern: "/control/v2/auth/request-verification", limited: true, vaultless: true, do: s.requestByMail},
		{method: post, pattern: "/control/v2/auth/claim/complete/{mailtoken}", limited: true, vaultless: true, do: s.completeClaim},

		{method: get, pattern: "/users/user", needs: needs(access.ManageUsers()), do: s.listUsers},
		{method: post, pattern: "/users/user", needs: needs(access.ManageUsers()), do: s.createUser},
		{method: put, pattern: "/users/user/{user}/enable", needs: needs(access.ManageUsers()), do: s.enableUser},
		{method: put, pattern: "/users/user/{user}/disable", needs: needs(access.ManageUsers()), do: s.disableUser},
		{method: put, pattern: "/users/user/{user}/delete", needs: needs(access.ManageUsers()), do: s.deleteUser},
		{method: put, pattern: "/users/user/{user}/update", needs: needs(access.ManageUsers()), do: s.updateUser},

		{method: get, pattern: "/data/{namespace}/{endpoint...}", in: inAPI, needs: ofEndpoint(access.ReadRecords), do: s.getData},
		{method: post, pattern: "/data/{namespace}/{endpoint...}", in: inAPI, needs: ofEndpoint(access.WriteRecords), body: maxBody, do: s.postData},

		{method: del, pattern: "/data/{namespace}/{endpoint...}", in: inAPI, needs: ofEndpoint(access.WriteRecords), do: s.deleteEndpoint},
		{method: post, pattern: "/data-batch", in: inAPI, needs: needs(access.UseBatches()), body: maxBody, do: s.postBatch},
		{method: put, pattern: "/data", in: inAPI, needs: needs(access.UseBatches()), body: maxBody, do: s.putData},
		{method: del, pattern: "/data", in: inAPI, needs: needs(access.UseBatches()), do: s.deleteRecords},
		{method: post, pattern: "/data-link", in: inAPI, needs: needs(access.UseBatches()), do: s.linkRecords},
		{method: get, pattern: "/data/sources", in: inAPI, needs: needs(access.ListEndpoints()), do: s.sources},
		{method: get, pattern: "/data-record/{record}", in: inV26, needs: anyToken, do: s.getRecord},

		{method: post, pattern: "/combinator/{combinator...}", in: inAPI, needs: needs(access.ManageQueries()), body: maxQueryBody, do: s.postCombinator},
		{method: get, pattern: "/combinator/{combinator...}", in: inAPI, needs: needs(access.ManageQueries()), do: s.getCombinator},
		{method: post, pattern: "/data-bundle/{bundle}", in: inAPI, needs: needs(access.ManageQueries()), body: maxQueryBody, do: s.postBundle},
		{method: get, pattern: "/data-bundle/{bundle}", in: inAPI, needs: needs(access.ManageQueries()), do: s.getBundle},
		{method: get, pattern: "/data-bundle/{bundle}/structure", in: inAPI, needs: needs(access.ManageQueries()), do: s.getBundleStructure},

		{method: post, pattern: "/data-debit/{debit}", in: inV26, needs: needs(access.ProposeDebit()), body: maxTermsBody, do: s.postDebit},
		{method: put, pattern: "/data-debit/{debit}", in: inV26, needs: ofParam("debit", access.UseDebit), body: maxTermsBody, do: s.putDebit},
		{method: get, pattern: "/data-debit", in: inV26, needs: needs(access.DecideDebits()), agrees: true, do: s.listDebits},
		{method: get, pattern: "/data-debit/{debit}", in: inV26, needs: ofParam("debit", access.UseDebit), agrees: true, do: s.getDebit},
		{method: get, pattern: "/data-debit/{debit}/values", in: inV26, needs: ofParam("debit", access.UseDebit), do: s.debitValues},
		{method: get, pattern: "/data-debit/{debit}/enable", in: inV26, needs: needs(access.DecideDebits()), agrees: true, do: s.enableDebit},
		{method: get, pattern: "/data-debit/{debit}/disable", in: inV26, needs: needs(access.DecideDebits()), agrees: true, do: s.disableDebit},

		{method: get, pattern: "/she/function", in: inAPI, needs: needs(access.SeeFunctions()), agrees: true, do: s.listFunctions},
		{method: get, pattern: "/she/function/{function}", in: inAPI, needs: needs(access.SeeFunctions()), agrees: true, do: s.getFunction},
		{method: get, pattern: "/she/function/{function}/enable", in: inAPI, needs: needs(access.SwitchFunctions()), agrees: true, do: s.enableFunction},
		{method: get, pattern: "/she/function/{function}/disable", in: inAPI, needs: needs(access.SwitchFunctions()), agrees: true, do: s.disableFunction},
		{method: get, pattern: "/she/function/{function}/trigger", in: inAPI, needs: ofTrigger, do: s.triggerFunction},
		{method: get, pattern: "/she/feed", in: inAPI, needs: needs(access.ReadFeed()), do: s.getFeed},
		{method: get, pattern: "/she/feed/{prefix...}", in: inAPI, needs: needs(access.ReadFeed()), do: s.getFeed},
		{method: get, pattern: "/she/static/{prefix...}", in: inV26, needs: needs(access.ReadFeed()), do: s.getStatic},

		{method: get, pattern: "/system/status", in: inAPI, needs: needs(access.SeeStorage()), do: s.systemStatus},

		{method: get, pattern: "/applications/hmi", in: inV26, vaultless: true, do: s.hmiList},
		{method: get, pattern: "/applications/{application}/hmi", in: inV26, vaultless: true, do: s.hmi},
		{method: get, pattern: "/applications", in: inAPI, needs: needs(access.ListApplications()), agrees: true, do: s.listApplications},
		{method: get, pattern: "/applications/{application}", in: inAPI, needs: ofParam("application", access.SeeApplication), agrees: true, do: s.getApplication},
		{method: get, pattern: "/applications/{application}/setup", in: inAPI, needs: ofParam("application", access.ManageApplication), agrees: true, do: s.setupApplication},
		{method: get, pattern: "/applications/{application}/disable", in: inAPI, needs: ofParam("application", access.ManageApplication), agrees: true, do: s.disableApplication},
		{method: get, pattern: "/applications/{application}/access-token", in: inAPI, needs: ofParam("application", access.IssueApplicationToken), do: s.issueApplicationToken},
	}
	return append(all.split(), s.ownRoutes().split()...)
}

// split makes routes ready to be found.
func (rs routes) split() routes {
	for _, r := range rs {
		r.segments = strings.Split(r.pattern, "/")
	}
	return rs
}
