package httpapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// A timedConn is a ResponseWriter that notes the deadlines it is given.
type timedConn struct {
	*httptest.ResponseRecorder
	writes, reads []time.Time
}

func (c *timedConn) SetWriteDeadline(t time.Time) error { c.writes = append(c.writes, t); return nil }
func (c *timedConn) SetReadDeadline(t time.Time) error  { c.reads = append(c.reads, t); return nil }

// Whoever takes or sends at a drip loses the connection, and the next request on it begins without a deadline.
func TestClientsAreNotWaitedForForEver(t *testing.T) {
	conn := &timedConn{ResponseRecorder: httptest.NewRecorder()}
	w := newRecorder(conn, httptest.NewRequest("GET", "/", nil))
	text := bytes.Repeat([]byte("x"), 3*pieceSize+1)
	if n, err := w.Write(text); n != len(text) || err != nil || !bytes.Equal(conn.Body.Bytes(), text) {
		t.Fatalf("%d, %v", n, err)
	}
	w.done()
	if len(conn.writes) != 5 || conn.writes[0].IsZero() || !conn.writes[4].IsZero() {
		t.Errorf("a deadline for each of four pieces, then none: %v", conn.writes)
	}
	q := &request{route: &route{}, Request: httptest.NewRequest("POST", "/", strings.NewReader("{}"))}
	q.Header.Set("Content-Type", "application/json")
	if _, err := q.body(w); err != nil {
		t.Fatal(err)
	}
	if n := len(conn.reads); n < 2 || conn.reads[0].IsZero() || !conn.reads[n-1].IsZero() {
		t.Errorf("a deadline for the body, then none: %v", conn.reads)
	}
}

// A panic is a 500 that says nothing, in the answer and in the log; once an answer has begun it ends the connection.
func TestPanics(t *testing.T) {
	var log bytes.Buffer
	serve := func(do func(*recorder, *request) error) (rec *httptest.ResponseRecorder, aborted bool) {
		s := New(Options{HATs: testHATs{bob()}, Log: slog.New(slog.NewTextHandler(&log, nil))}).(*server)
		s.routes = routes{{method: "GET", pattern: "/x", vaultless: true, do: do, segments: []string{"", "x"}}}
		r := httptest.NewRequest("GET", "/x", nil)
		r.Host = "bob.test:9000"
		rec = httptest.NewRecorder()
		defer func() { aborted = recover() == http.ErrAbortHandler }()
		s.ServeHTTP(rec, r)
		return rec, false
	}
	rec, aborted := serve(func(*recorder, *request) error { panic(canary) })
	if aborted || rec.Code != 500 || strings.Contains(rec.Body.String()+log.String(), canary) || !strings.Contains(log.String(), "httpapi.TestPanics") {
		t.Errorf("%d %s, aborted %v, log %s", rec.Code, rec.Body, aborted, &log)
	}
	if _, aborted := serve(func(w *recorder, _ *request) error { _, _ = w.Write([]byte("{")); panic(canary) }); !aborted {
		t.Error("half an answer looks whole")
	}
	if _, aborted := serve(func(w *recorder, _ *request) error { _, _ = w.Write([]byte("{")); return io.ErrUnexpectedEOF }); !aborted {
		t.Error("half an answer looks whole")
	}
}

// Whatever comes in: no panic, no 500, an error is JSON and what calls itself JSON is, nothing of the Owner's for a
// stranger, and nothing of the Owner's in an error.
func FuzzRequests(f *testing.F) {
	w := newWorld(f, withApplications(catalogue), withFunctions(count, functionNamed("counter")))
	w.post("bob", notes, `["`+canary+`"]`).want(201)
	w.post("bob", api+"/data-bundle/b", `{"p":{"endpoints":[{"endpoint":"rumpel/notes"}]}}`).want(201)
	w.post("bob", dd, debitBody("bundle", bundleNamed("shared", "rumpel/notes"))).want(201)
	for _, r := range w.routesForFuzzing() {
		f.Add(r.method, "bob.test:9000", r.pattern, "take=1&k=v", "", true, []byte(`{"password":"x"}`))
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
		r.Header.Set(tokenHeader, token)
		r.Header.Set("username", query)
		r.Header.Set("password", query)
		if path == OwnAPI+"/events" {
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
		if !asOwner && rec.Code < 300 && rec.Header().Get(tokenHeader) != "" {
			t.Fatalf("a stranger got a token: %s", text)
		}
	})
}

func (w *world) routesForFuzzing() (all []route) {
	fill := strings.NewReplacer("{namespace}", "rumpel", "{endpoint...}", "notes", "{function}", "counter", "{bundle}", "b",
		"{debit}", "dd-1", "{combinator...}", "c", "{application}", "plug", "{record}", unknownID, "{user}", unknownID,
		"{prefix...}", "she", "{mailtoken}", "x", "{run}", unknownID)
	for _, r := range (&server{}).table() {
		path := fill.Replace(r.pattern)
		if r.in != atRoot {
			path = api + path
		}
		all = append(all, route{method: r.method, pattern: path})
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
		if public[r.method+" "+r.pattern] {
			continue
		}
		for _, token := range []string{"", w.token("eve")} {
			a := w.call(r.method, r.pattern, token, `{bad`)
			if a.status != 401 || !strings.HasPrefix(r.pattern, OwnAPI) && !sameJSON(a.body, notAuthenticated) {
				t.Errorf("%s: %d %s", a.call, a.status, a.body)
			}
		}
		w.advance(20 * time.Second)
	}
}

// Errors that no client should see, and what they become.
func TestErrorsInOneTable(t *testing.T) {
	for _, row := range byCause {
		wrapped := fmt.Errorf("doing something with %s: %w", canary, row.cause)
		answer, known := answerTo(wrapped)
		if !known || answer != row.answer {
			t.Errorf("%v: %v", row.cause, answer)
		}
	}
	answer, known := answerTo(fmt.Errorf("something with %s", canary))
	text, err := json.Marshal(answer.body)
	if known || err != nil || answer.status != 500 || strings.Contains(string(text), canary) {
		t.Errorf("%s, %v", text, err)
	}
}
