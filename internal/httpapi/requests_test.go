package httpapi

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"she/internal/edge"
	"she/internal/ownapi"
)

// Whatever comes in: no panic, no 500, an error is JSON and what calls itself JSON is, nothing of the Owner's for a
// stranger, and nothing of the Owner's in an error.
func FuzzRequests(f *testing.F) {
	w := newWorld(f, withApplications(catalogue), withFunctions(count, functionNamed("counter")))
	w.post("bob", notes, `["`+canary+`"]`).want(201)
	w.post("bob", api+"/data-bundle/b", `{"p":{"endpoints":[{"endpoint":"rumpel/notes"}]}}`).want(201)
	w.post("bob", dd, debitBody("bundle", bundleNamed("shared", "rumpel/notes"))).want(201)
	for _, r := range w.routesForFuzzing() {
		f.Add(r.Method, "bob.test:9000", r.Pattern, "take=1&k=v", "", true, []byte(`{"password":"x"}`))
	}
	f.Add("POST", "bob.test:9000", notes, "", "", true, []byte(`[{"a":1}]`))
	f.Add("GET", "127.0.0.1", api+"/data/a//b", "records=,&atPeriodEnd=1", "a.b.c", false, []byte(nil))
	owner := w.token("bob")
	f.Fuzz(func(t *testing.T, method, host, path, query, token string, asOwner bool, body []byte) {
		r := &http.Request{
			Method: method, Host: host, Header: http.Header{"Content-Type": {"application/json"}}, RemoteAddr: "10.0.0.1:1",
			URL: &url.URL{Path: path, RawQuery: query}, Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)),
			Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		}
		if asOwner {
			token = owner
		}
		r.Header.Set(edge.TokenHeader, token)
		r.Header.Set("username", query)
		r.Header.Set("password", query)
		if path == ownapi.Path+"/events" {
			t.Skip("it answers for as long as somebody listens")
		}
		w.advance(10 * time.Millisecond) // logins get their tries back
		rec := httptest.NewRecorder()
		w.handler.ServeHTTP(rec, r)
		text := rec.Body.String()
		if rec.Code == 500 && !strings.Contains(text, "Function Execution Failed") {
			t.Fatalf("%s", text)
		}
		isJSON := strings.HasSuffix(rec.Header().Get("Content-Type"), "json")
		if rec.Code >= 400 && !isJSON || isJSON && method != http.MethodHead && !json.Valid(rec.Body.Bytes()) {
			t.Fatalf("%d: no JSON: %s", rec.Code, text)
		}
		if (!asOwner || rec.Code >= 400) && strings.Contains(text, canary) && !strings.Contains(path+query+string(body), canary) {
			t.Fatalf("%d: %s", rec.Code, text)
		}
		if !asOwner && rec.Code < 300 && rec.Header().Get(edge.TokenHeader) != "" {
			t.Fatalf("a stranger got a token: %s", text)
		}
	})
}

func (w *world) routesForFuzzing() (all []edge.Route) {
	fill := strings.NewReplacer("{namespace}", "rumpel", "{endpoint...}", "notes", "{function}", "counter", "{bundle}", "b",
		"{debit}", "dd-1", "{combinator...}", "c", "{application}", "plug", "{record}", unknownID, "{user}", unknownID,
		"{prefix...}", "she", "{mailtoken}", "x", "{run}", unknownID)
	for _, r := range nothing().Routes() {
		path := fill.Replace(r.Pattern)
		if r.In != edge.AtRoot {
			path = api + path
		}
		all = append(all, edge.Route{Method: r.Method, Pattern: path})
	}
	return all
}

// Every route that is not public refuses a stranger with 401, and a token of another HAT, before it looks at anything
// else; every public one is in this list.
func TestEveryRouteAsksWhoCalls(t *testing.T) {
	w := newWorld(t, withApplications(catalogue), withFunctions(count, functionNamed("counter")))
	public := map[string]bool{
		"GET /publickey": true, "GET /users/access_token": true, "POST /control/v2/auth/passwordReset": true,
		"POST /control/v2/auth/passwordreset/confirm/x": true, "POST /control/v2/auth/claim": true,
		"POST /control/v2/auth/request-verification": true, "POST /control/v2/auth/claim/complete/x": true,
		"GET /healthz": true, "GET /openapi.json": true, "GET /docs": true,
		"GET " + api + "/applications/hmi": true, "GET " + api + "/applications/plug/hmi": true,
	}
	for _, r := range w.routesForFuzzing() {
		if public[r.Method+" "+r.Pattern] {
			continue
		}
		for _, token := range []string{"", w.token("eve")} {
			a := w.call(r.Method, r.Pattern, token, `{bad`)
			if a.status != 401 || !strings.HasPrefix(r.Pattern, ownapi.Path) && !sameJSON(a.body, notAuthenticated) {
				t.Errorf("%s: %d %s", a.call, a.status, a.body)
			}
		}
		w.advance(20 * time.Second)
	}
}
