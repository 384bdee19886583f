package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"she/internal/access"
	"she/internal/bundle"
	"she/internal/catalog"
	"she/internal/contract"
	"she/internal/hat"
	"she/internal/invoke"
	"she/internal/vault"
	"she/internal/vault/ledger"
	"she/internal/vault/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// canary is in every record of these tests. It must not appear in the server's log or in a fault.
const canary = "canary-4711"

// A Func replaces a function. entry is "bundle" or "process", or "configuration" for functions without a
// manifest.
type Func func(entry string, event []byte) ([]byte, error)

// A world is a server without HTTP and without sandboxes: real vaults in a temporary directory, an engine,
// and functions that are Go functions. It runs in a synctest bubble. settle waits until nothing more
// happens without time passing.
type world struct {
	t         *testing.T
	dir       string
	store     *sqlite.Store
	engine    *Engine
	functions []catalog.Function
	funcs     map[string]Func
	options   Options
	brittle   atomic.Pointer[func(op string, persisted bool) error] // nil: nothing fails
	hats      []hat.ID
	logged    bytes.Buffer

	mu    sync.Mutex
	calls []call

	cancel context.CancelFunc
	ended  chan struct{}
}

// A call is one invocation of a process entry.
type call struct {
	hat, function string
	event         processEvent
}

type processEvent struct {
	FunctionConfiguration struct {
		ID     string
		Status struct {
			Available, Enabled bool
			LastExecution      string
			ExecutionStarted   *string
		}
		DataBundle json.RawMessage
	}
	Request struct {
		Data map[string][]struct {
			Endpoint, RecordID string
			Data               json.RawMessage
			Links              []struct{ RecordID string }
		}
		LinkRecords bool
	}
}

// values returns the data of all records of the event, in order of property and record.
func (e processEvent) values() (all []string) {
	for _, rows := range e.Request.Data {
		for _, r := range rows {
			var v struct{ V string }
			_ = json.Unmarshal(r.Data, &v)
			all = append(all, v.V)
		}
	}
	return all
}

// inWorld runs a test in a world of its own.
func inWorld(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, dir: t.TempDir(), funcs: make(map[string]Func)}
		// No tick may hide that a timer or a wake-up was lost.
		w.options.Tick = 10 * 365 * 24 * time.Hour
		t.Cleanup(func() {
			w.stop()
			if strings.Contains(w.logged.String(), canary) {
				t.Errorf("the server's log has owner data:\n%s", w.logged.String())
			}
		})
		test(t, w)
	})
}

// install registers a function before start.
func (w *world) install(id hat.ID, trigger string, reads []string, output string, do Func) {
	w.t.Helper()
	w.installBundle(string(id), trigger, reading(reads...), output, do)
}

// reading returns a bundle with one property for each endpoint, named like it.
func reading(endpoints ...string) string {
	var b strings.Builder
	for i, e := range endpoints {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `%q:{"endpoints":[{"endpoint":%q}]}`, e, e)
	}
	return `{"name":"b","bundle":{` + b.String() + `}}`
}

func (w *world) installBundle(id, trigger, question, output string, do Func) {
	w.t.Helper()
	m, fault := contract.ParseConfiguration([]byte(configuration(id, trigger, question)))
	if fault != nil {
		w.t.Fatal(fault)
	}
	f := unloaded(id, output)
	f.Manifest = &m
	w.functions = append(w.functions, f)
	w.funcs[id] = func(entry string, event []byte) ([]byte, error) {
		if entry == "bundle" {
			return []byte(question), nil
		}
		return do(entry, event)
	}
}

func configuration(id, trigger, question string) string {
	return fmt.Sprintf(`{"id":%q,"info":{"version":"1.0.0","versionReleaseDate":"2019-09-03T12:00:00.000Z","name":"","headline":"",
		"description":{"text":""},"termsUrl":"","supportContact":"","graphics":{"banner":{"normal":""},"logo":{"normal":""},"screenshots":[]}},
		"developer":{"id":"","name":"","url":""},"trigger":%s,"dataBundle":%s,"status":{"available":true,"enabled":false}}`, id, trigger, question)
}

const (
	individual = `{"triggerType":"individual"}`
	daily      = `{"triggerType":"periodic","period":"P1D"}`
	manual     = `{"triggerType":"manual"}`
)

func unloaded(id, output string) catalog.Function {
	version, _ := hat.ParseVersion("1.0.0")
	entry := func(suffix string) catalog.Entry {
		return catalog.Entry{
			Name: "svc-dev-" + id + suffix, Handler: "f.handler", Runtime: "python3.11", Memory: 128, Timeout: 300 * time.Second,
			Package: catalog.Package{Digest: "sha256:" + id, Dir: "/" + id},
		}
	}
	return catalog.Function{
		Registered: catalog.Registered{ID: functionID(id), Version: version, Output: endpoint(output)},
		Package:    catalog.Package{Digest: "sha256:" + id, Dir: "/" + id},
		Process:    entry(""), Bundle: entry("-bundle"), Configuration: entry("-configuration"),
	}
}

func endpoint(s string) hat.Endpoint {
	e, err := hat.ParseEndpoint(s)
	if err != nil {
		panic(err)
	}
	return e
}

// start opens the vaults and runs the engine. After stop it may be called again, which is a restart of the
// server.
func (w *world) start() {
	w.t.Helper()
	store, err := sqlite.NewStore(w.dir, sqlite.Options{Now: w.options.Now})
	if err != nil {
		w.t.Fatal(err)
	}
	w.store = store
	w.run()
}

func (w *world) run() {
	o := w.options
	o.Vaults, o.Invoker, o.Functions = w, w, w.functions
	o.Log = slog.New(slog.NewTextHandler(&w.logged, nil))
	w.engine = New(o)
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel, w.ended = cancel, make(chan struct{})
	go func() {
		defer close(w.ended)
		if err := w.engine.Run(ctx); err != nil {
			w.t.Error(err)
		}
	}()
	w.settle()
}

func (w *world) stop() {
	w.t.Helper()
	if w.store == nil {
		return
	}
	w.cancel()
	<-w.ended
	if err := w.store.Close(); err != nil {
		w.t.Error(err)
	}
	w.store = nil
}

func (w *world) settle() { synctest.Wait() }

// pass lets time pass in the bubble.
func (w *world) pass(d time.Duration) {
	time.Sleep(d) // time of the bubble: it passes at once
	w.settle()
}

// HATs and Open let a world be the engine's Vaults.
func (w *world) HATs(context.Context) ([]hat.ID, error) { return w.hats, nil }

func (w *world) Open(ctx context.Context, id hat.ID) (Vault, func(), error) {
	v, release, err := w.store.Open(ctx, id)
	if breaks := w.brittle.Load(); err == nil && breaks != nil {
		return brittleVault{v, *breaks}, release, nil
	}
	return v, release, err
}

// breaks makes the vaults fail as f says; nil: no longer.
func (w *world) breaks(f func(op string, persisted bool) error) {
	if f == nil {
		w.brittle.Store(nil)
	} else {
		w.brittle.Store(&f)
	}
}

func (w *world) Init(context.Context, invoke.Request) (invoke.Answer, error) {
	return invoke.Answer{}, nil
}

// Invoke lets a world be the engine's Invoker.
func (w *world) Invoke(ctx context.Context, r invoke.Request) (invoke.Answer, error) {
	name := strings.TrimPrefix(r.Code.Name, "svc-dev-")
	id, entry := name, "process"
	for _, suffix := range []string{"bundle", "configuration"} {
		if before, ok := strings.CutSuffix(name, "-"+suffix); ok {
			id, entry = before, suffix
		}
	}
	if entry == "process" {
		c := call{hat: string(r.Tenant), function: id}
		if err := json.Unmarshal(r.Event, &c.event); err != nil {
			w.t.Errorf("event for %s: %s", id, err)
		}
		w.mu.Lock()
		w.calls = append(w.calls, c)
		w.mu.Unlock()
	}
	done := make(chan struct{})
	var (
		payload []byte
		err     error
	)
	go func() {
		defer close(done)
		payload, err = w.funcs[id](entry, r.Event)
	}()
	select {
	case <-done:
	case <-ctx.Done(): // as when a sandbox is killed
		return invoke.Answer{}, ctx.Err()
	}
	a := invoke.Answer{Payload: payload, Start: invoke.Cold, Log: []byte("log of " + entry + ": " + canary), Timing: invoke.Timing{Run: time.Millisecond}}
	return a, err
}

// called returns the values that each call of a process entry was given: "f:a,b f:c".
func (w *world) called() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []string
	for _, c := range w.calls {
		all = append(all, c.function+":"+strings.Join(c.event.values(), ","))
	}
	return strings.Join(all, " ")
}

func (w *world) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls = nil
}

// addHAT creates a HAT with an owner.
func (w *world) addHAT(id hat.ID) {
	w.t.Helper()
	owner := vault.User{ID: hat.NewUserID(), Username: string(id), Roles: []access.Role{{Title: access.TitleOwner}}, Enabled: true}
	if err := w.store.Create(w.t.Context(), id, owner); err != nil {
		w.t.Fatal(err)
	}
	w.hats = append(w.hats, id)
}

// startFor starts the engine with one HAT that has switched on the functions.
func (w *world) startFor(id hat.ID, functions ...string) {
	w.t.Helper()
	w.start()
	w.addHAT(id)
	for _, f := range functions {
		w.enable(string(id), f)
	}
}

// with calls do with the vault of a HAT and its owner as a caller.
func (w *world) with(id hat.ID, do func(v *ledger.Vault, owner access.Caller) error) {
	w.t.Helper()
	v, release, err := w.store.Open(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	defer release()
	u, err := v.Owner(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	if err := do(v, access.User(u.ID, u.Roles, access.TitleOwner)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) enable(id, function string) {
	w.t.Helper()
	w.with(hat.ID(id), func(v *ledger.Vault, owner access.Caller) error {
		g, err := w.engine.GrantFor(functionID(function))
		if err != nil {
			return err
		}
		_, err = v.Enable(w.t.Context(), owner, g)
		return err
	})
	w.engine.Wake(hat.ID(id))
	w.settle()
}

func (w *world) disable(id, function string) {
	w.t.Helper()
	w.with(hat.ID(id), func(v *ledger.Vault, owner access.Caller) error {
		_, err := v.Disable(w.t.Context(), owner, functionID(function))
		return err
	})
}

// write stores {"v":value} records; post also wakes the engine and lets it settle.
func (w *world) write(id, at string, values ...string) (records []hat.Record) {
	w.t.Helper()
	w.with(hat.ID(id), func(v *ledger.Vault, owner access.Caller) (err error) {
		drafts := make([]hat.Draft, len(values))
		for i, value := range values {
			drafts[i] = hat.Draft{Endpoint: endpoint(at), Data: value2data(value)}
		}
		records, err = v.Append(w.t.Context(), owner, drafts, false)
		return err
	})
	return records
}

func (w *world) post(id, at string, values ...string) []hat.Record {
	w.t.Helper()
	records := w.write(id, at, values...)
	w.engine.Wake(hat.ID(id))
	w.settle()
	return records
}

func value2data(value string) hat.Data {
	text, err := json.Marshal(map[string]string{"v": value, "secret": canary})
	if err != nil {
		panic(err)
	}
	d, err := hat.ParseData(text)
	if err != nil {
		panic(err)
	}
	return d
}

// at lists the values stored at an endpoint, in order of creation.
func (w *world) at(id, e string) string {
	w.t.Helper()
	var all []string
	w.with(hat.ID(id), func(v *ledger.Vault, owner access.Caller) error {
		return v.Read(w.t.Context(), owner, func(src bundle.Source, _ hat.Seq) error {
			for r, err := range src.Scan(w.t.Context(), endpoint(e), bundle.Want{}).Records {
				if err != nil {
					return err
				}
				var value struct{ V string }
				_ = json.Unmarshal(r.Data.Bytes(), &value)
				all = append(all, value.V)
			}
			return nil
		})
	})
	return strings.Join(all, ",")
}

func (w *world) state(id, function string) (s vault.FunctionState) {
	w.t.Helper()
	w.with(hat.ID(id), func(v *ledger.Vault, owner access.Caller) (err error) {
		s, err = v.Function(w.t.Context(), owner, functionID(function))
		return err
	})
	return s
}

// runs returns the states of a function's runs, oldest first; a failed one has its code.
func (w *world) runs(id, function string) string {
	w.t.Helper()
	var all []string
	w.with(hat.ID(id), func(v *ledger.Vault, owner access.Caller) error {
		runs, err := v.Runs(w.t.Context(), owner, functionID(function), hat.RunID{}, 1000)
		for _, r := range runs {
			s := string(r.State)
			if r.Fault != nil {
				s += ":" + r.Fault.Code
				if strings.Contains(r.Fault.Error(), canary) {
					w.t.Errorf("a fault with owner data: %s", r.Fault)
				}
			}
			all = append([]string{s}, all...)
		}
		return err
	})
	return strings.Join(all, " ")
}

// trigger asks for a run as the owner and waits for its end.
func (w *world) trigger(id, function string, useAll bool) error {
	w.t.Helper()
	var owner access.Caller
	w.with(hat.ID(id), func(_ *ledger.Vault, o access.Caller) error {
		owner = o
		return nil
	})
	return w.engine.Trigger(w.t.Context(), hat.ID(id), owner, functionID(function), useAll)
}

// writing returns a function that answers with one record for each it is given, "<prefix><value>", linked
// to it.
func writing(output, prefix string) Func {
	return func(_ string, event []byte) ([]byte, error) {
		var e processEvent
		if err := json.Unmarshal(event, &e); err != nil {
			return nil, err
		}
		var responses []string
		for _, rows := range e.Request.Data {
			for _, r := range rows {
				var v struct{ V string }
				_ = json.Unmarshal(r.Data, &v)
				responses = append(responses, respond(output, []string{prefix + v.V}, r.RecordID))
			}
		}
		return []byte("[" + strings.Join(responses, ",") + "]"), nil
	}
}

// respond returns one element of an answer.
func respond(output string, values []string, linked ...string) string {
	namespace, path, _ := strings.Cut(output, "/")
	var data []string
	for _, v := range values {
		data = append(data, value2data(v).JSON())
	}
	if linked == nil {
		linked = []string{}
	}
	ids, _ := json.Marshal(linked)
	return fmt.Sprintf(`{"namespace":%q,"endpoint":%q,"data":[%s],"linkedRecords":%s}`, namespace, path, strings.Join(data, ","), ids)
}

func silent(string, []byte) ([]byte, error) { return []byte(`[]`), nil }

// failing fails as a Python function does that raises.
func failing(string, []byte) ([]byte, error) {
	return []byte(`{"errorMessage":"` + canary + `","errorType":"ZeroDivisionError"}`),
		&invoke.Failure{Blame: invoke.Author, Code: "Unhandled", Text: "the function raised an error"}
}

// A brittleVault fails on purpose, before or after an operation of the engine has reached the vault.
type brittleVault struct {
	Vault
	breaks func(op string, persisted bool) error
}

var errBroken = errors.New("the disk is gone")

func (b brittleVault) Claim(ctx context.Context, c vault.Claim) (p planOf, err error) {
	err = b.around("claim", func() (err error) { p, err = b.Vault.Claim(ctx, c); return err })
	return p, err
}

func (b brittleVault) Commit(ctx context.Context, p planOf, out vault.Output) (done vault.Committed, err error) {
	err = b.around("commit", func() (err error) { done, err = b.Vault.Commit(ctx, p, out); return err })
	return done, err
}

func (b brittleVault) Fail(ctx context.Context, p planOf, out vault.Output, f *hat.Fault) error {
	return b.around("fail", func() error { return b.Vault.Fail(ctx, p, out, f) })
}

func (b brittleVault) Abandon(ctx context.Context, p planOf) error {
	return b.around("abandon", func() error { return b.Vault.Abandon(ctx, p) })
}

func (b brittleVault) Read(ctx context.Context, c access.Caller, f func(src bundle.Source, upto hat.Seq) error) error {
	return b.around("read", func() error { return b.Vault.Read(ctx, c, f) })
}

func (b brittleVault) Due(ctx context.Context) (due []vault.Due, err error) {
	err = b.around("due", func() (err error) { due, err = b.Vault.Due(ctx); return err })
	return due, err
}

func (b brittleVault) around(op string, do func() error) error {
	if err := b.breaks(op, false); err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	return b.breaks(op, true)
}
