package httpapi

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/crypto/bcrypt"

	"she/internal/access"
	"she/internal/directory"
	"she/internal/edge"
	"she/internal/engine"
	"she/internal/hat"
	"she/internal/vault"
)

const (
	notAuthenticated = `{"error":"Not Authenticated","message":"Not Authenticated"}`
	accessDenied     = `{"error":"Forbidden","message":"Access Denied"}`
	noHAT            = `{"error":"Not Found","message":"HAT unavailable"}`
)

func (w *world) login(username, password string) answer {
	w.t.Helper()
	return w.call("GET", "/users/access_token", "", "", "username", username, "password", password)
}

func TestScenario1And2PublicKeyAndHost(t *testing.T) {
	w := newWorld(t)
	a := w.get("", "/publickey").want(200)
	if !strings.HasPrefix(a.header.Get("Content-Type"), "text/plain") {
		t.Errorf("content type %q", a.header.Get("Content-Type"))
	}
	block, _ := pem.Decode([]byte(a.body))
	if block == nil || block.Type != "PUBLIC KEY" {
		t.Fatalf("no PEM: %s", a.body)
	}
	public := must(x509.ParsePKIXPublicKey(block.Bytes))
	login := w.login("bob", "testing").want(200)
	if _, err := jwt.Parse(login.header.Get(edge.TokenHeader), func(*jwt.Token) (any, error) { return public, nil },
		jwt.WithValidMethods([]string{"RS256"}), jwt.WithTimeFunc(w.clock)); err != nil {
		t.Error("the public key does not verify a token:", err)
	}

	for _, host := range []string{"nobody.test:9000", "bob.test", "bob.test:9001", "bob.test:80", "x", "-", "bob.test:9000.", "127.0.0.1"} {
		w.call("GET", "/publickey", "", "", "Host", host).want(404, noHAT)
		w.call("GET", "/api/v2.6/data/a/b", "", "", "Host", host).want(404, noHAT)
	}
	for _, host := range []string{"BOB.Test:9000", "Bob.test:9000"} {
		w.call("GET", "/publickey", "", "", "Host", host).want(200)
	}
	// Somebody's header is not trusted unless the operator says so.
	w.call("GET", "/publickey", "", "", "X-Forwarded-Host", "nobody.test").want(200)
}

func TestHostDefaults(t *testing.T) {
	plain := bob()
	plain.Domain = must(hat.ParseDomain("bob.test"))
	handler := func(trust bool, all ...directory.HAT) http.Handler {
		return New(Options{HATs: testHATs(all), Vaults: noVaults{}, TrustProxy: trust})
	}
	status := func(h http.Handler, host, forwarded string) int {
		r := httptest.NewRequest("GET", "http://x/publickey", nil)
		r.Host = host
		if forwarded != "" {
			r.Header.Set("X-Forwarded-Host", forwarded)
		}
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		return rec.Code
	}
	one, two := handler(false, plain), handler(false, plain, bob())
	for host, want := range map[string]int{
		"bob.test": 200, "bob.test:80": 200, "bob.test:443": 200, "bob.test:8080": 404,
		"localhost": 200, "localhost:7777": 200, "127.0.0.1:7777": 200, "[::1]:7777": 200, "[::1]": 200,
		"10.0.0.1": 404, "": 404,
	} {
		if got := status(one, host, ""); got != want {
			t.Errorf("with one HAT, Host %q: %d, want %d", host, got, want)
		}
	}
	if got := status(two, "127.0.0.1:7777", ""); got != 404 {
		t.Errorf("with two HATs, 127.0.0.1 is nobody's: %d", got)
	}
	if got := status(handler(true, plain), "inner", "bob.test"); got != 200 {
		t.Errorf("a trusted proxy names the HAT: %d", got)
	}
	if got := status(one, "inner", "bob.test"); got != 404 {
		t.Errorf("any other does not: %d", got)
	}
}

// noVaults: routes without a person behind them need one to open all the same.
type noVaults struct{}

func (noVaults) Open(context.Context, hat.ID) (edge.Vault, func(), error) {
	return nil, func() {}, nil
}

func TestScenario3Login(t *testing.T) {
	w := newWorld(t)
	a := w.login("bob", "testing").want(200)
	var body struct{ AccessToken, UserID string }
	a.decode(&body)
	if body.AccessToken == "" || body.AccessToken != a.header.Get(edge.TokenHeader) || body.UserID != w.users["bob"].ID.String() {
		t.Errorf("body %s, header %q", a.body, a.header.Get(edge.TokenHeader))
	}
	if a.header.Get("Cache-Control") != "no-store" {
		t.Error("a token may be cached")
	}
	c := jwt.MapClaims{}
	token, _, err := jwt.NewParser().ParseUnverified(body.AccessToken, c)
	if err != nil {
		t.Fatal(err)
	}
	iat, exp := c["iat"].(float64), c["exp"].(float64)
	if token.Method.Alg() != "RS256" || c["iss"] != "bob.test:9000" || c["resource"] != "bob.test:9000" || c["accessScope"] != "owner" ||
		c["sub"] == "" || c["jti"] == "" || int64(iat) != morning.Unix() || exp-iat != 30*86400 || c["application"] != nil {
		t.Errorf("claims %v", c)
	}
	// Names and passwords are URL-encoded; + is a space.
	w.addUser("a b%c", access.Role{Title: access.TitleDataDebit})
	w.login("a+b%25c", "testing").want(200)
	w.login("a%20b%25c", "testing").want(200)
	w.login("a b%c", "testing").want(400)
	w.login("bob", "%zz").want(400)
}

func TestScenario4WrongLogin(t *testing.T) {
	w := newWorld(t)
	const required = `{"message":"Credentials required","cause":"No username or password provided to retrieve token"}`
	w.login("bob", "wrong").want(401, notAuthenticated).refreshed(false)
	w.login("nobody", "testing").want(401, notAuthenticated).refreshed(false)
	w.call("GET", "/users/access_token", "", "").want(401, required)
	w.call("GET", "/users/access_token", "", "", "username", "bob").want(401, required)
	w.call("GET", "/users/access_token", "", "", "PASSWORD", "testing").want(401, required)
	// Another HAT's owner is nobody here.
	w.login("eve", "testing").want(401, notAuthenticated)
}

func TestScenario5LoginRate(t *testing.T) {
	w := newWorld(t)
	const exceeded = `{"message":"Request rate exceeded","cause":"Rate of requests from your IP exceeded","details":["Request to /users/access_token"]}`
	refused := 0
	for range 30 {
		if a := w.login("bob", "wrong"); a.status != 401 {
			a.want(400, exceeded)
			refused++
		}
	}
	if refused != 20 {
		t.Errorf("%d of 30 tries refused, want 20", refused)
	}
	w.advance(2 * time.Second)
	w.login("bob", "testing").want(200)
	w.login("bob", "testing").want(400, exceeded)
	// What is not a login is not counted.
	w.get("bob", "/users/access_token/validate").want(200)
}

func TestScenario6ValidateRefreshes(t *testing.T) {
	w := newWorld(t)
	first := w.token("bob")
	w.advance(time.Hour)
	a := w.get(first, "/users/access_token/validate").want(200, `{"message":"Authenticated"}`)
	before, after := jwt.MapClaims{}, jwt.MapClaims{}
	parser := jwt.NewParser()
	if _, _, err := parser.ParseUnverified(first, before); err != nil {
		t.Fatal(err)
	}
	if _, _, err := parser.ParseUnverified(a.header.Get(edge.TokenHeader), after); err != nil {
		t.Fatal(err)
	}
	if after["iat"].(float64)-before["iat"].(float64) != 3600 {
		t.Errorf("iat %v, then %v", before["iat"], after["iat"])
	}
	delete(before, "iat")
	delete(after, "iat")
	for name := range before {
		if before[name] != after[name] {
			t.Errorf("claim %s changed from %v to %v", name, before[name], after[name])
		}
	}
	w.get(a.header.Get(edge.TokenHeader), "/users/access_token/validate").want(200)
}

func TestScenario7BadTokens(t *testing.T) {
	w := newWorld(t)
	valid := w.token("bob")
	routes := []string{"/users/access_token/validate", "/api/v2.6/data/rumpel/notes", "/api/v2.6/she/function"}
	for name, token := range map[string]string{
		"none": "", "garbage": "abc", "another HAT's": w.token("eve"), "a user that is not there": must(w.tokens.Sign(w.bob,
			edge.UserClaims(w.bob, vault.User{}, "x", "owner", w.clock()))),
	} {
		for _, path := range routes {
			a := w.call("GET", path, token, "")
			if a.status != 401 || !sameJSON(a.body, notAuthenticated) {
				t.Errorf("%s at %s: %d %s", name, path, a.status, a.body)
			}
			a.refreshed(false)
		}
	}
	// The header is the only place.
	w.get("", "/api/v2.6/data/rumpel/notes?X-Auth-Token="+url.QueryEscape(valid)).want(401, notAuthenticated)
	w.advance(edge.TokenIdle + time.Second)
	w.get(valid, routes[1]).want(401, notAuthenticated).refreshed(false)
}

// Whose only roles are for namespaces may do what these say, also with a token from a login.
func TestNamespaceRolesAreEnough(t *testing.T) {
	w := newWorld(t)
	w.post("bob", notes, `1`).want(201)
	reader := access.Role{Title: access.TitleNamespaceRead, Detail: "rumpel"}
	w.addUser("reader", reader)
	w.addUser("validated reader", access.Role{Title: access.TitleValidate}, reader)
	w.addUser("nobody in particular")
	for name, want := range map[string]struct {
		scope  any
		status int
	}{"reader": {nil, 200}, "validated reader": {"validate", 200}, "nobody in particular": {nil, 403}} {
		token := w.login(url.QueryEscape(name), "testing").want(200).header.Get(edge.TokenHeader)
		if scope := claimsIn(t, token)["accessScope"]; scope != want.scope {
			t.Errorf("%s: scope %v, want %v", name, scope, want.scope)
		}
		w.get(token, notes).want(want.status)
		w.post(token, notes, `2`).want(403, accessDenied)
		w.get(token, "/api/v2.6/data/fitbit/steps").want(403, accessDenied)
	}
}

// countedVaults knows how many of the world's vaults are in use, and how often one was opened.
type countedVaults struct {
	edge.Vaults
	opened, inUse atomic.Int32
}

func (v *countedVaults) Open(ctx context.Context, id hat.ID) (edge.Vault, func(), error) {
	opened, release, err := v.Vaults.Open(ctx, id)
	if err == nil {
		v.opened.Add(1)
		v.inUse.Add(1)
		give := release
		release = func() { v.inUse.Add(-1); give() }
	}
	return opened, release, err
}

func TestStrangersOpenNoVault(t *testing.T) {
	v := &countedVaults{}
	w := newWorld(t, func(o *Options, _ *engine.Options) { v.Vaults, o.Vaults = o.Vaults, v })
	old := w.token("bob")
	w.advance(edge.TokenIdle + time.Second)
	for _, token := range []string{"", "abc", w.token("eve"), old} {
		w.call("GET", notes, token, "").want(401, notAuthenticated)
		w.call("POST", "/control/v2/auth/password", token, "{}").want(401, notAuthenticated)
		w.advance(time.Minute) // the tries are counted
	}
	if n := v.opened.Load(); n != 0 {
		t.Errorf("the vault was opened %d times for somebody without a token", n)
	}
	w.get("bob", notes).want(200)
	if v.opened.Load() == 0 {
		t.Error("the count counts nothing")
	}
}

// watched does something each time its context is asked for the end.
type watched struct {
	context.Context
	waits func()
}

func (c watched) Done() <-chan struct{} {
	c.waits()
	return c.Context.Done()
}

// While a login waits to compare passwords, the vault is free for others.
func TestLoginWaitsWithoutVault(t *testing.T) {
	v := &countedVaults{}
	turn, goOn := make(chan struct{}), make(chan struct{})
	w := newWorld(t, func(o *Options, _ *engine.Options) { v.Vaults, o.Vaults = o.Vaults, v }, withCompare(func([]byte, []byte) error {
		turn <- struct{}{}
		<-goOn
		return bcrypt.ErrMismatchedHashAndPassword
	}))
	var others sync.WaitGroup
	for range max(1, runtime.NumCPU()/2) + 1 { // all turns there are
		others.Go(func() { _ = w.logins().Prove(t.Context(), "another HAT", w.users["bob"], "guessed") })
		<-turn
	}
	defer others.Wait()
	defer close(goOn)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r := httptest.NewRequest("GET", "/users/access_token", nil)
	r.Host = w.bob.Domain.String()
	r.Header.Set("username", "bob")
	r.Header.Set("password", "testing")
	// The last thing to ask for the end is the wait for a turn; nothing else asks while no vault is in use.
	var waited atomic.Bool
	r = r.WithContext(watched{ctx, func() {
		if v.opened.Load() == 1 && v.inUse.Load() == 0 {
			waited.Store(true)
			cancel()
		}
	}})
	rec := httptest.NewRecorder()
	done := make(chan struct{})
	go func() { w.handler.ServeHTTP(rec, r); close(done) }()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		cancel()
		<-done
	}
	if !waited.Load() {
		t.Error("a login holds the vault while it waits for its turn")
	}
}

func TestScenario8ForbiddenRefreshes(t *testing.T) {
	w := newWorld(t)
	w.addUser("partner", access.Role{Title: access.TitleDataDebit})
	w.get("partner", "/api/v2.6/she/function").want(403, accessDenied).refreshed(true)
}

func TestScenario9NoSuchRoute(t *testing.T) {
	w := newWorld(t)
	w.post("bob", "/api/v2.6/x", "{}").want(404, `{"error":"Handler Not Found","message":"Request handler at POST:/api/v2.6/x does not exist"}`)
	w.get("bob", "/api/v2.6/data/UPPER/x").want(404, `{"error":"Handler Not Found","message":"Request handler at GET:/api/v2.6/data/UPPER/x does not exist"}`)
	w.get("", "/api/v2.6/x%2Fy<>").want(404)
	w.call("PATCH", "/api/v2.6/data/a/b", "bob", "").want(404)
	// A place that can't be written down is refused after the token, without any redirect.
	w.get("", "/api/v2.6/data/a//b").want(401)
	w.get("bob", "/api/v2.6/data/a//b").want(400, `{"error":"Bad Request","message":"Endpoint invalid"}`)
	w.post("bob", "/api/v2.6/data/a/b/", `{}`).want(400, `{"error":"Bad Request","message":"Endpoint invalid"}`)
	w.get("", "/healthz").want(200, `{"Status":"OK"}`)
}

func TestScenario10BadBodies(t *testing.T) {
	w := newWorld(t)
	const notes = "/api/v2.6/data/rumpel/notes"
	var body struct {
		Error   string `json:"error"`
		Message any    `json:"message"`
	}
	for _, bad := range []string{`{bad`, `[1,`, `"\ud8`, `{"a":1}}`, `[{"a":1}]]`, " "} {
		w.call("POST", notes, "bob", bad, "Content-Type", "application/json").want(400).refreshed(true).decode(&body)
		if text, _ := body.Message.(string); body.Error != "Bad Request" || !strings.HasPrefix(text, "Invalid Json") {
			t.Errorf("%s: %v", bad, body)
		}
	}
	// The token comes first: a stranger learns nothing about the body.
	w.call("POST", notes, "", `{bad`).want(401, notAuthenticated)
	w.call("POST", notes, "bob", `{}`, "Content-Type", "text/plain").want(415)
	w.call("POST", notes, "bob", `{}`, "Content-Type", "").want(415)
	w.call("POST", notes, "bob", `{"n":1}`, "Content-Type", "text/json; charset=utf-8").want(201)
	w.call("POST", notes, "bob", `{"n":2}`, "Content-Type", `application/json;foo`).want(201)
	w.post("bob", notes, strings.Repeat("[", 300)+strings.Repeat("]", 300)).want(400)
	w.post("bob", notes, `{"n":1e999999}`).want(400)
	w.post("bob", notes, `"`+strings.Repeat("x", edge.MaxBody)+`"`).want(413)
	w.get("bob", notes).want(200).wantData(`{"n":1} {"n":2}`)
}

func TestScenario11Browsers(t *testing.T) {
	w := newWorld(t)
	a := w.call("OPTIONS", "/api/v2.6/data/rumpel/notes", "", "", "Origin", "https://app.example",
		"Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "x-auth-token,content-type")
	if a.status/100 != 2 || a.header.Get("Access-Control-Allow-Origin") != "*" ||
		!strings.Contains(a.header.Get("Access-Control-Allow-Headers"), "X-Auth-Token") ||
		!strings.Contains(a.header.Get("Access-Control-Allow-Headers"), "Last-Event-ID") ||
		!strings.Contains(a.header.Get("Access-Control-Allow-Methods"), "DELETE") {
		t.Errorf("preflight: %d %v", a.status, a.header)
	}
	for _, path := range []string{"/publickey", "/users/access_token/validate", "/nowhere"} {
		a := w.call("GET", path, "bob", "", "Origin", "https://app.example")
		if a.header.Get("Access-Control-Expose-Headers") != edge.TokenHeader || a.header.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%s: %v", path, a.header)
		}
	}
}

// Defect B-44.
func TestScenario12DisabledUser(t *testing.T) {
	w := newWorld(t)
	w.addUser("partner", access.Role{Title: access.TitleDataCredit}, access.Role{Title: access.TitleNamespaceRead, Detail: "rumpel"})
	token := w.token("partner")
	w.get(token, "/api/v2.6/data/rumpel/notes").want(200)
	v, release := w.open(w.bob)
	defer release()
	u := w.users["partner"]
	u.Enabled = false
	if err := v.UpdateUser(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	w.get(token, "/api/v2.6/data/rumpel/notes").want(401, notAuthenticated).refreshed(false)
	w.login("partner", "testing").want(401, notAuthenticated)
}
