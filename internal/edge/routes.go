package edge

import (
	"net/http"
	"strings"

	"she/internal/access"
	"she/internal/hat"
)

// A Route is one line of the table. The token, and the permission it needs, are checked before do runs, and so before
// a byte of the body is read.
type Route struct {
	Method  string
	Pattern string // {name} is one segment, {name...} the rest of the path
	In      prefixes
	// Needs is the permission; a nil function means that nobody has to say who they are, a nil permission that any
	// valid token will do.
	Needs func(*Request) (*access.Permission, error)
	// BodyMax is how many bytes the request's body may have; 0: few. Without a token it is maxOpenBody, whatever stands here.
	BodyMax int64
	Limited bool // takes a token sent by mail, or asks for one: counted for the client's address at this HAT
	// Vaultless: there is nothing of the person in the answer. Strangers shall not be able to have vaults opened.
	Vaultless bool
	Hatless   bool // about the server, whatever the Host
	// Agrees: by it somebody reads what they may agree to, or does. Its answers carry the head of the receipts, as all of
	// the own API do.
	Agrees bool
	Do     func(*Recorder, *Request) error

	segments []string
}

// prefixes are where a route hangs.
type prefixes int

const (
	AtRoot prefixes = iota
	InAPI           // below each of apiVersions
	InV26           // below the current one only: younger than the others, or of another shape there
)

const CurrentAPI = "/api/v2.6"

var apiVersions = []string{CurrentAPI, "/api/v2", "/api/v2.0"}

// Calls are those of one API, and the form of their errors.
type Calls struct {
	// Prefix is what the paths of its calls begin with.
	Prefix string
	// Routes are its calls. Of two that match, the first counts.
	Routes []*Route
	// Explain says what a client is told of an error; nil: what the edge says of it. It knows the API's own words.
	Explain func(r *http.Request, err error) *Error
	// Write sends an error in the API's form.
	Write func(w http.ResponseWriter, e *Error)
}

// Find gives the route and what its pattern's names stand for, or nil.
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

// Allowed are the characters the original's routes admit; what has others is no such route.
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

// maxParam bounds a name in a path, in bytes; an endpoint has no more either.
const maxParam = 512

// FunctionID is the one the path names.
func (q *Request) FunctionID() (hat.FunctionID, error) {
	return hat.ParseFunctionID(q.Params["function"])
}

// Endpoint is the one the path names.
func (q *Request) Endpoint() (hat.Endpoint, error) {
	return hat.ParseEndpoint(q.Params["namespace"] + "/" + q.Params["endpoint"])
}

// Needs makes a route's requirement of a fixed permission.
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
