package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/crypto/bcrypt"

	"she/internal/access"
	"she/internal/catalog"
	"she/internal/directory"
	"she/internal/edge"
	"she/internal/engine"
	"she/internal/hat"
	"she/internal/hatapi"
	"she/internal/invoke"
	"she/internal/plan"
	"she/internal/vault"
	"she/internal/vault/ledger"
	"she/internal/vault/sqlite"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// canary is in what the tests store. It must never be in what the server logs.
const canary = "canary-7f3a91"

// A world is a whole server over real vaults: HATs bob.test:9000 (owner bob, platform hpp, both with password
// "testing") and eve.test:9000 (owner eve). Only the functions are stand-ins.
type world struct {
	t          testing.TB
	url        string
	handler    http.Handler
	store      *sqlite.Store
	bob        directory.HAT
	eve        directory.HAT
	users      map[string]vault.User // of bob's HAT
	engine     *engine.Engine
	stopEngine func()
	tokens     *edge.Tokens
	replaced   *replacedFunctions
	served     assembled

	mu    sync.Mutex
	now   time.Time
	logs  bytes.Buffer
	fail  func(ops []string, persisted bool) error // of the disk
	limit plan.Storage                             // of each HAT
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) advance(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func (w *world) disk(fail func(ops []string, persisted bool) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fail = fail
}

// logWriter collects the server's log.
type logWriter struct{ *world }

func (l logWriter) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.logs.Write(b)
}

// testHATs is a directory without a file.
type testHATs []directory.HAT

func (all testHATs) ByDomain(d hat.Domain) (directory.HAT, error) {
	for _, h := range all {
		if h.Domain == d {
			return h, nil
		}
	}
	return directory.HAT{}, directory.ErrNotFound
}

func (all testHATs) ByID(id hat.ID) (directory.HAT, error) {
	for _, h := range all {
		if h.ID == id {
			return h, nil
		}
	}
	return directory.HAT{}, directory.ErrNotFound
}

func (all testHATs) List() []directory.HAT { return all }

// edgeVaults are those of a store, as the edge opens them.
type edgeVaults struct{ *sqlite.Store }

func (v edgeVaults) Open(ctx context.Context, id hat.ID) (edge.Vault, func(), error) {
	return v.Store.Open(ctx, id)
}

// engineVaults lists what the store has.
type engineVaults struct{ *sqlite.Store }

func (v engineVaults) HATs(context.Context) ([]hat.ID, error) { return v.List() }

func (v engineVaults) Open(ctx context.Context, id hat.ID) (engine.Vault, func(), error) {
	return v.Store.Open(ctx, id)
}

// A Func stands in for all functions: it is given the deployed name and the event.
type Func func(ctx context.Context, name string, event []byte) ([]byte, error)

func (Func) Init(context.Context, invoke.Request) (invoke.Answer, error) { return invoke.Answer{}, nil }

func (f Func) Invoke(ctx context.Context, r invoke.Request) (invoke.Answer, error) {
	payload, err := f(ctx, r.Code.Name, r.Event)
	return invoke.Answer{Payload: payload, Start: invoke.Cold}, err
}

// nothing is an edge with all calls, and no HAT to answer them for.
var nothing = sync.OnceValue(func() *edge.Server { return assemble(Options{}).edge })

// What a test may want to be otherwise.
type setting func(*Options, *engine.Options)

func withFunctions(f Func, functions ...catalog.Function) setting {
	return func(_ *Options, o *engine.Options) { o.Invoker, o.Functions = f, functions }
}

func withApplications(text string) setting {
	return func(o *Options, _ *engine.Options) { o.Applications = must(hatapi.ParseApplications([]byte(text))) }
}

// testHash is of the password "testing", cheap to compare with.
var testHash = must(bcrypt.GenerateFromPassword([]byte("testing"), bcrypt.MinCost))

func newWorld(t testing.TB, settings ...setting) *world {
	t.Helper()
	w := &world{t: t, now: morning, users: map[string]vault.User{}, tokens: edge.NewTokens()}
	w.store = must(sqlite.NewStore(t.TempDir(), sqlite.Options{
		Now: w.clock,
		Storage: func(hat.ID) plan.Storage {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.limit
		},
		AtCommit: func(ops []string, persisted bool) error {
			w.mu.Lock()
			fail := w.fail
			w.mu.Unlock()
			if fail == nil {
				return nil
			}
			return fail(ops, persisted)
		},
	}))
	w.bob = bob()
	w.eve = directory.HAT{ID: "eve-id", Domain: must(hat.ParseDomain("eve.test:9000")), Key: otherKey}
	for h, name := range map[directory.HAT]string{w.bob: "bob", w.eve: "eve"} {
		owner := vault.User{
			ID: hat.NewUserID(), Username: name, PasswordHash: testHash, Enabled: true,
			Roles: []access.Role{{Title: access.TitleOwner}},
		}
		w.users[name] = owner
		if err := w.store.Create(t.Context(), h.ID, owner); err != nil {
			t.Fatal(err)
		}
	}
	w.addUser("hpp", access.Role{Title: access.TitlePlatform})

	log := slog.New(slog.NewTextHandler(logWriter{w}, nil))
	o := Options{HATs: testHATs{w.bob, w.eve}, Vaults: edgeVaults{w.store}, Log: log, Now: w.clock, BcryptCost: bcrypt.MinCost}
	eo := engine.Options{
		Vaults: engineVaults{w.store}, Log: log, Now: w.clock,
		Invoker: Func(func(context.Context, string, []byte) ([]byte, error) { return nil, errors.New("no function here") }),
	}
	for _, set := range settings {
		set(&o, &eo)
	}
	if replaced, ok := o.Functions.(*replacedFunctions); ok {
		w.replaced = replaced
	}
	w.engine = engine.New(eo)
	o.Functions = w.engine
	if w.replaced != nil {
		w.replaced.Engine = w.engine
		o.Functions = w.replaced
	}
	ctx, stop := context.WithCancel(context.Background())
	w.stopEngine = stop
	ended := make(chan error, 1)
	go func() { ended <- w.engine.Run(ctx) }()

	w.served = assemble(o)
	w.handler = w.served.edge
	server := httptest.NewServer(w.handler)
	w.url = server.URL
	t.Cleanup(func() {
		server.Close()
		stop()
		if err := <-ended; err != nil {
			t.Error("engine:", err)
		}
		if err := w.store.Close(); err != nil {
			t.Error("store:", err)
		}
		http.DefaultClient.CloseIdleConnections()
		w.mu.Lock()
		defer w.mu.Unlock()
		if strings.Contains(w.logs.String(), canary) {
			t.Error("the log holds what an Owner stored")
		}
	})
	return w
}

func (w *world) open(h directory.HAT) (*ledger.Vault, func()) {
	w.t.Helper()
	v, release, err := w.store.Open(w.t.Context(), h.ID)
	if err != nil {
		w.t.Fatal(err)
	}
	return v, release
}

// addUser adds a user to bob's HAT.
func (w *world) addUser(name string, roles ...access.Role) {
	w.t.Helper()
	v, release := w.open(w.bob)
	defer release()
	u := vault.User{ID: hat.NewUserID(), Username: name, PasswordHash: testHash, Enabled: true, Roles: roles}
	if err := v.CreateUser(w.t.Context(), u); err != nil {
		w.t.Fatal(err)
	}
	w.users[name] = u
}

// token is one for a user of bob's HAT (or for eve of hers), of the one login that they have in a test, as it is given at this
// moment.
func (w *world) token(name string) string {
	w.t.Helper()
	h := w.bob
	if name == "eve" {
		h = w.eve
	}
	u := w.users[name]
	c := edge.UserClaims(h, u, h.Domain.String(), edge.ScopeOf(u.Roles), w.clock())
	c.ID = "the login of " + name
	return must(w.tokens.Sign(h, c))
}

// another is the token of another login of the user.
func (w *world) another(name string) string {
	w.t.Helper()
	u := w.users[name]
	return must(w.tokens.Sign(w.bob, edge.UserClaims(w.bob, u, w.bob.Domain.String(), edge.ScopeOf(u.Roles), w.clock())))
}

// appToken is one for an application at bob's HAT, which it sets up first.
func (w *world) appToken(id string) string {
	w.t.Helper()
	w.get("bob", "/api/v2.6/applications/"+id+"/setup").want(200)
	c := edge.UserClaims(w.bob, w.users["bob"], "", "", w.clock())
	c.Application, c.ApplicationVersion = id, "1.0.0"
	return must(w.tokens.Sign(w.bob, c))
}

// An answer is what came back.
type answer struct {
	t      testing.TB
	call   string
	status int
	header http.Header
	body   string
}

// call sends one request. who is a user of bob's HAT, "" for nobody, or a token; the Host is bob's HAT unless a header
// "Host" says otherwise. Headers come in pairs.
func (w *world) call(method, path, who, body string, headers ...string) answer {
	w.t.Helper()
	r := must(http.NewRequestWithContext(w.t.Context(), method, w.url+path, strings.NewReader(body)))
	r.Host = w.bob.Domain.String()
	if who == "eve" {
		r.Host = w.eve.Domain.String()
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if _, isUser := w.users[who]; isUser {
		r.Header.Set(edge.TokenHeader, w.token(who))
	} else if who != "" {
		r.Header.Set(edge.TokenHeader, who)
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			r.Host = headers[i+1]
		} else {
			r.Header.Set(headers[i], headers[i+1])
		}
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	if method != http.MethodHead {
		fitsDocument(w.t, r, resp.StatusCode, resp.Header, string(text))
	}
	return answer{w.t, method + " " + path, resp.StatusCode, resp.Header, string(text)}
}

func (w *world) get(who, path string) answer { w.t.Helper(); return w.call("GET", path, who, "") }
func (w *world) post(who, path, body string) answer {
	w.t.Helper()
	return w.call("POST", path, who, body)
}
func (w *world) put(who, path, body string) answer {
	w.t.Helper()
	return w.call("PUT", path, who, body)
}
func (w *world) del(who, path string) answer { w.t.Helper(); return w.call("DELETE", path, who, "") }

// want checks the status, and the body if one is given, as JSON.
func (a answer) want(status int, body ...string) answer {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("%s: status %d, want %d; %.300s", a.call, a.status, status, a.body)
	}
	if len(body) > 0 && !sameJSON(a.body, body[0]) {
		a.t.Fatalf("%s:\n got %.600s\nwant %s", a.call, a.body, body[0])
	}
	return a
}

// refreshed checks that the answer carries the token again, or that it does not.
func (a answer) refreshed(want bool) answer {
	a.t.Helper()
	if got := a.header.Get(edge.TokenHeader) != ""; got != want {
		a.t.Errorf("%s (%d): refreshed token there: %v, want %v", a.call, a.status, got, want)
	}
	return a
}

func sameJSON(a, b string) bool {
	x, errX := hat.ParseData([]byte(a))
	y, errY := hat.ParseData([]byte(b))
	return errX == nil && errY == nil && x == y
}

// wireRecord is a record as clients read it.
type wireRecord struct {
	Endpoint string          `json:"endpoint"`
	RecordID string          `json:"recordId"`
	Data     json.RawMessage `json:"data"`
	Links    *[]wireRecord   `json:"links"`
}

func (a answer) records() (all []wireRecord) {
	a.t.Helper()
	a.decode(&all)
	return all
}

func (a answer) record() (r wireRecord) {
	a.t.Helper()
	a.decode(&r)
	return r
}

func (a answer) decode(into any) {
	a.t.Helper()
	if err := json.Unmarshal([]byte(a.body), into); err != nil {
		a.t.Fatalf("%s: %v in %.300s", a.call, err, a.body)
	}
}

// data is what the records of a list hold, one after the other.
func (a answer) data() string {
	a.t.Helper()
	var all []string
	for _, r := range a.records() {
		all = append(all, string(r.Data))
	}
	return strings.Join(all, " ")
}

func (a answer) wantData(want string) answer {
	a.t.Helper()
	if got := a.data(); got != want {
		a.t.Fatalf("%s: %s, want %s", a.call, got, want)
	}
	return a
}
