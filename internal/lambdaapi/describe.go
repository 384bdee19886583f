package lambdaapi

import (
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"she/internal/accesskey"
	"she/internal/catalog"
	"she/internal/engine"
)

// A deployed is one callable name: an entry of a function.
type deployed struct {
	function catalog.Function
	entry    catalog.Entry
}

// deployedTo returns the entries that the key reaches, in the order of the functions.
func deployedTo(functions []catalog.Function, key accesskey.Key) (all []deployed) {
	for _, f := range functions {
		if !key.Reaches(f.ID) {
			continue
		}
		for _, entry := range []catalog.Entry{f.Configuration, f.Bundle, f.Process} {
			if entry.Name != "" {
				all = append(all, deployed{f, entry})
			}
		}
	}
	return all
}

func byName(a, b deployed) int { return strings.Compare(a.entry.Name, b.entry.Name) }

// find returns the entry with this name. For a name that the key does not reach, the error is the same
// whether or not the entry exists.
func find(functions []catalog.Function, key accesskey.Key, action, name string) (deployed, *failure) {
	all := deployedTo(functions, key)
	if i := slices.IndexFunc(all, func(d deployed) bool { return d.entry.Name == name }); i >= 0 {
		return all[i], nil
	}
	if key.Functions == nil {
		return deployed{}, notFound(arn(name))
	}
	return deployed{}, fail(http.StatusForbidden, "AccessDeniedException",
		"Access key "+key.ID+" is not authorized to perform: lambda:"+action+" on resource: "+arn(name))
}

// A description is a FunctionConfiguration with the fields that have a meaning here. It leaves out the
// environment, which is the author's.
type description struct {
	FunctionName, FunctionArn    string
	Runtime, Handler, CodeSha256 string
	Version, RevisionID          string `json:",omitempty"`
	Timeout, MemorySize          int
	CodeSize                     int64
	LastModified                 string
	PackageType, State           string
	StateReason, StateReasonCode string `json:",omitempty"`
	LastUpdateStatus             string
	Architectures                []string
	EphemeralStorage             map[string]int
	TracingConfig                map[string]string
	Role, Description            string
}

// lambdaTime is the API's format of times.
const lambdaTime = "2006-01-02T15:04:05.000-0700"

func describe(d deployed) description {
	f, e := d.function, d.entry
	sum, _ := hex.DecodeString(strings.TrimPrefix(e.Package.Digest, "sha256:"))
	v := description{
		FunctionName: e.Name, FunctionArn: arn(e.Name), Runtime: e.Runtime, Handler: e.Handler,
		CodeSha256: base64.StdEncoding.EncodeToString(sum), Version: latest,
		Timeout: int(e.Timeout / time.Second), MemorySize: e.Memory, LastModified: time.Unix(0, 0).UTC().Format(lambdaTime),
		PackageType: "Zip", State: "Active", LastUpdateStatus: "Successful", Architectures: []string{architecture},
		EphemeralStorage: map[string]int{"Size": engine.TmpMB}, TracingConfig: map[string]string{"Mode": "PassThrough"},
		Role: "arn:aws:iam::" + account + ":role/none", Description: f.ID.String() + " " + f.Registered.Version.String(),
	}
	if !f.Available() {
		v.State, v.StateReasonCode, v.StateReason = "Pending", "Creating", "The function has not answered yet what it asks for."
		if f.Problem != nil {
			v.State, v.StateReasonCode, v.StateReason = "Failed", "FunctionError", f.Problem.Error()
		}
	}
	return v
}

// list: GET /2015-03-31/functions/?Marker&MaxItems.
func (s *Server) list(w http.ResponseWriter, r *http.Request, key accesskey.Key, _ []byte) *failure {
	most := 50
	if text := r.URL.Query().Get("MaxItems"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 10_000 {
			return fail(http.StatusBadRequest, "InvalidParameterValueException", "MaxItems must be 1 to 10000")
		}
		most = min(n, most)
	}
	after := r.URL.Query().Get("Marker")
	page := struct {
		Functions  []description
		NextMarker string `json:",omitempty"`
	}{Functions: []description{}}
	all := deployedTo(s.Functions.Functions(), key)
	slices.SortStableFunc(all, byName)
	for _, d := range slices.CompactFunc(all, func(a, b deployed) bool { return byName(a, b) == 0 }) {
		if d.entry.Name <= after {
			continue
		}
		if len(page.Functions) == most {
			page.NextMarker = page.Functions[most-1].FunctionName
			break
		}
		page.Functions = append(page.Functions, describe(d))
	}
	writeJSON(w, http.StatusOK, page)
	return nil
}

// get: GET /2015-03-31/functions/{name}. It never shows the code.
func (s *Server) get(w http.ResponseWriter, r *http.Request, key accesskey.Key, _ []byte) *failure {
	d, f := s.named(r, key, "GetFunction")
	if f != nil {
		return f
	}
	writeJSON(w, http.StatusOK, struct {
		Configuration description
		Tags          map[string]string
	}{describe(d), map[string]string{}})
	return nil
}

// getConfiguration: GET /2015-03-31/functions/{name}/configuration.
func (s *Server) getConfiguration(w http.ResponseWriter, r *http.Request, key accesskey.Key, _ []byte) *failure {
	d, f := s.named(r, key, "GetFunctionConfiguration")
	if f != nil {
		return f
	}
	writeJSON(w, http.StatusOK, describe(d))
	return nil
}

// named returns the function that the path and the qualifier name.
func (s *Server) named(r *http.Request, key accesskey.Key, action string) (deployed, *failure) {
	name, f := parseName(r.PathValue("name"), r.URL.Query().Get("Qualifier"))
	if f != nil {
		return deployed{}, f
	}
	return find(s.Functions.Functions(), key, action, name)
}
