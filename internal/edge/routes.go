package edge

import (
	"net/http"
	"strings"

	"she/internal/access"
	"she/internal/hat"
)

// A Route is one line of the table. The token and the permission it needs are checked before do runs, and so
// before any byte of the body is read.
type Route struct {
	Method  string
	Pattern string // {name} is one segment, {name...} the rest of the path
	In      prefixes
	// Needs returns the permission that the caller needs. A nil function means that no token is needed. A nil
	// permission means that any valid token is enough.
	Needs func(*Request) (*access.Permission, error)
	// BodyMax is the maximum number of bytes of the body; 0 means few. Without a token the maximum is
	// MaxOpenBody in any case.
	BodyMax int64
	Limited bool // takes or asks for a token sent by mail; limited by client address and HAT
	// Vaultless routes answer without the person's data, so that strangers can't make the server open vaults.
	Vaultless bool
	Hatless   bool // about the server, whatever the Host header says
	// Agrees marks a call that shows what a person can agree to, or that agrees to it. Its answers carry the
	// head of the receipts, like all answers of the own API.
	Agrees bool
	Do     func(*Recorder, *Request) error

	segments []string
}

// prefixes says below which path prefixes a route exists.
type prefixes int

const (
	AtRoot prefixes = iota
	InAPI           // below each of apiVersions
	InV26           // only below the current one, because it is newer or has another shape there
)

const CurrentAPI = "/api/v2.6"

var apiVersions = []string{CurrentAPI, "/api/v2", "/api/v2.0"}

// Calls are the calls of one API, and the form of its errors.
type Calls struct {
	// Prefix is the path prefix of its calls.
	Prefix string
	// Routes are its calls. If several match, the first is used.
	Routes []*Route
	// Explain returns the API's own answer to an error; nil means the edge's answer.
	Explain func(r *http.Request, err error) *Error
	// Write sends an error in the API's form.
	Write func(w http.ResponseWriter, e *Error)
}

// Find returns the route and the values of its path parameters, or nil.
func (c *Calls) Find(method, path string) (*Route, map[string]string) {
	at := AtRoot
	for _, prefix := range apiVersions {
		if rest, ok := strings.CutPrefix(path, prefix+"/"); ok {
			at, path = InAPI, "/"+rest
			if prefix == CurrentAPI {
				at = InV26
			}
			break
		}
	}
	segments := strings.Split(path, "/")
	for _, r := range c.Routes {
		hangsHere := r.In == at || r.In == InAPI && at == InV26
		asked := r.Method == method || r.Hatless && method == http.MethodHead
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
		if !Allowed(name, value) {
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

// Allowed reports whether the value has only characters that the original's routes admit. A path with other
// characters matches no such route.
func Allowed(param, value string) bool {
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

// maxParam is the maximum length of a path parameter in bytes, the same as of an endpoint.
const maxParam = 512

// FunctionID returns the function id in the path.
func (q *Request) FunctionID() (hat.FunctionID, error) {
	return hat.ParseFunctionID(q.Params["function"])
}

// Endpoint returns the endpoint in the path.
func (q *Request) Endpoint() (hat.Endpoint, error) {
	return hat.ParseEndpoint(q.Params["namespace"] + "/" + q.Params["endpoint"])
}

// Needs returns a Route.Needs function with a fixed permission.
func Needs(p access.Permission) func(*Request) (*access.Permission, error) {
	return func(*Request) (*access.Permission, error) { return &p, nil }
}

func AnyToken(*Request) (*access.Permission, error) { return nil, nil }

func OfEndpoint(of func(hat.Endpoint) access.Permission) func(*Request) (*access.Permission, error) {
	return func(q *Request) (*access.Permission, error) {
		e, err := q.Endpoint()
		if err != nil {
			return nil, err
		}
		p := of(e)
		return &p, nil
	}
}

func OfParam(name string, of func(string) access.Permission) func(*Request) (*access.Permission, error) {
	return func(q *Request) (*access.Permission, error) {
		p := of(q.Params[name])
		return &p, nil
	}
}
