package shetest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"she/internal/shetest"
)

// patience bounds each wait of a scenario on a busy machine.
const patience = 2 * time.Minute

// A function is a function of a world, for example "f": functions/testdata/obeys does what the records at
// f/in say, and writes to f/out.
type function struct {
	id          string
	trigger     string         // {"triggerType":"individual"} if not given
	reads       []string       // endpoints, each a property of its bundle; ID/in if not given
	bundle      string         // the bundle entry's answer, if it differs from the configuration
	name        string         // name of its bundle; the id if not given
	also        map[string]any // other fields of the configuration; nil: not there
	answersFrom time.Time      // until then its configuration entry fails
	seconds     int            // its time limit; 10 if not given
	project     string         // another project under functions/testdata, which reads test/in and writes test/out
}

func manual(id string) function {
	return function{id: id, trigger: `{"triggerType":"manual"}`}
}

func individual(id string) function { return function{id: id} }

func (f function) output() string {
	if f.project != "" {
		return "test/out"
	}
	return f.id + "/out"
}

func (f function) configuration() map[string]any {
	properties := map[string]any{}
	for _, e := range or(f.reads, []string{f.id + "/in"}) {
		properties[e] = map[string]any{"endpoints": []any{map[string]any{"endpoint": e}}}
	}
	c := map[string]any{
		"id": f.id,
		"info": map[string]any{
			"version": "1.0.0", "versionReleaseDate": "2024-01-08T10:00:00.000Z", "name": f.id, "headline": "For a scenario",
			"description": map[string]any{"text": "For a scenario"}, "termsUrl": "https://example.org/terms", "supportContact": "tests@example.org",
			"graphics": json.RawMessage(`{"banner":{"normal":""},"logo":{"normal":""},"screenshots":[]}`),
		},
		"developer":  json.RawMessage(`{"id":"tests","name":"Tests","url":"https://example.org"}`),
		"trigger":    json.RawMessage(or(f.trigger, `{"triggerType":"individual"}`)),
		"dataBundle": map[string]any{"name": or(f.name, f.id), "bundle": properties},
		"status":     map[string]any{"available": true, "enabled": false},
	}
	for k, v := range f.also {
		if c[k] = v; v == nil {
			delete(c, k)
		}
	}
	return c
}

func or[T string | []string](v, otherwise T) T {
	if len(v) == 0 {
		return otherwise
	}
	return v
}

// A world is a server with functions and HATs.
type world struct {
	t         *testing.T
	server    *shetest.Server
	functions []function
}

// newWorld creates a data directory, the package of the functions, and a configuration that registers them.
// It does not start the server.
func newWorld(t *testing.T, functions []function, hats ...string) *world {
	t.Helper()
	dir := t.TempDir()
	w := &world{t: t, server: &shetest.Server{Data: filepath.Join(dir, "data"), Config: filepath.Join(dir, "she.yaml")}, functions: functions}
	t.Cleanup(func() {
		if w.server.Running() {
			check(t, w.server.Stop())
		}
		check(t, w.server.NothingLeft())
		if t.Failed() {
			t.Logf("the server's log:\n%s", w.server.Log.String())
		}
	})
	w.configure(functions)
	for _, name := range hats {
		_, err := w.server.CreateHAT(name)
		check(t, err)
	}
	return w
}

// configure writes the package and she.yaml.
func (w *world) configure(functions []function) {
	w.t.Helper()
	bin, err := shetest.Bin()
	check(w.t, err)
	projects := filepath.Join(bin, "../functions/testdata")
	dir := filepath.Dir(w.server.Config)
	pkg := filepath.Join(dir, "obeys")
	check(w.t, os.MkdirAll(pkg, 0o700))
	program, err := os.ReadFile(filepath.Join(projects, "obeys", "bootstrap"))
	if err != nil {
		w.t.Fatalf("run make functions first: %v", err)
	}
	check(w.t, os.WriteFile(filepath.Join(pkg, "bootstrap"), program, 0o700))

	described := map[string]any{}
	var project, config strings.Builder
	project.WriteString("service: obeys\nprovider: {name: aws, runtime: provided.al2023, memorySize: 1024}\nfunctions:\n")
	config.WriteString("instances: 8\nfunctions:\n")
	for _, f := range functions {
		where, out := pkg, strings.SplitN(f.output(), "/", 2)
		if f.project != "" {
			where = filepath.Join(projects, f.project)
		}
		fmt.Fprintf(&config, "  - {id: %s, version: 1.0.0, package: %s, namespace: %s, endpoint: %s}\n", f.id, where, out[0], out[1])
		if f.project != "" {
			continue
		}
		d := map[string]any{"configuration": f.configuration(), "namespace": out[0], "endpoint": out[1]}
		if f.bundle != "" {
			d["bundle"] = json.RawMessage(f.bundle)
		}
		if !f.answersFrom.IsZero() {
			d["answersFrom"] = f.answersFrom.UnixMilli()
		}
		described[f.id] = d
		for _, entry := range []string{"process", "bundle", "configuration"} {
			key := f.id + "-" + entry
			if entry == "process" {
				key = f.id
			}
			fmt.Fprintf(&project, "  %s: {handler: %s.%s, timeout: %d}\n", key, f.id, entry, max(f.seconds, 10*min(1, 1-f.seconds)))
		}
	}
	text, err := json.Marshal(described)
	check(w.t, err)
	check(w.t, os.WriteFile(filepath.Join(pkg, "functions.json"), text, 0o600))
	check(w.t, os.WriteFile(filepath.Join(pkg, "serverless.yml"), []byte(project.String()), 0o600))
	check(w.t, os.WriteFile(w.server.Config, []byte(config.String()), 0o600))
}

func (w *world) start() {
	w.t.Helper()
	check(w.t, w.server.Start())
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// problems returns what keeps functions from being available, as the operator sees it, when each has
// answered once.
func (w *world) problems() map[string]string {
	w.t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		text, err := shetest.She("", "function", "list", "--data", w.server.Data, "-o", "json")
		check(w.t, err)
		var list []struct {
			ID, Problem string
			Available   bool
		}
		check(w.t, json.Unmarshal([]byte(text), &list))
		problems := map[string]string{}
		waiting := false
		for _, f := range list {
			problems[f.ID] = f.Problem
			waiting = waiting || !f.Available && f.Problem == ""
		}
		if !waiting {
			return problems
		}
		select {
		case <-tick.C:
		case <-deadline:
			w.t.Fatalf("not all functions have answered: %s", text)
		}
	}
}

// A person is the owner of a HAT, in one test.
type person struct {
	*testing.T
	world   *world
	client  shetest.Client
	name    string
	journal *journal
}

// owner logs in and begins to listen. Call it once after each start of the server; other tests share the
// person by in.
func (w *world) owner(name string) *person {
	w.t.Helper()
	c := w.server.Client(name)
	check(w.t, c.Login())
	p := &person{T: w.t, world: w, client: *c, name: name}
	p.journal = listen(w.t, c)
	return p
}

// platform returns the platform user, logged in at the person's HAT.
func (p *person) platform() *person {
	p.Helper()
	other := p.in(p.T)
	other.client = *p.world.server.Client(p.name)
	check(p.T, other.client.LoginAs("platform"))
	return other
}

// in returns the same person for another test.
func (p *person) in(t *testing.T) *person {
	copied := *p
	copied.T = t
	return &copied
}

// An answer is the answer to a request.
type answer struct {
	p      *person
	what   string
	status int
	body   string
}

func (p *person) call(method, path, body string) answer {
	p.Helper()
	var sent []byte
	if body != "" {
		sent = []byte(body)
	}
	client := p.client // a client stores the token of its last answer, so two goroutines may not share it
	status, got, err := client.Do(method, path, sent)
	check(p.T, err)
	return answer{p, method + " " + path, status, string(got)}
}

func (p *person) get(path string) answer { p.Helper(); return p.call("GET", path, "") }

// want ends the test if the answer has another status or text.
func (a answer) want(status int, text ...string) answer {
	a.p.Helper()
	if a.status != status || len(text) > 0 && a.body != text[0] {
		a.p.Fatalf("%s: %d %.2000s\nwant %d %s", a.what, a.status, a.body, status, strings.Join(text, ""))
	}
	return a
}

func (a answer) into(v any) {
	a.p.Helper()
	if err := json.Unmarshal([]byte(a.body), v); err != nil {
		a.p.Fatalf("%s: %v in %.2000s", a.what, err, a.body)
	}
}

const api = "/api/v2.6"

// record is a record as the API shows it.
type record struct {
	Endpoint string
	RecordID string
	Data     json.RawMessage
	Links    []record
}

// post writes records and returns their ids.
func (p *person) post(endpoint string, data ...string) (ids []string) {
	p.Helper()
	var records []record
	p.call("POST", api+"/data/"+endpoint, "["+strings.Join(data, ",")+"]").want(http.StatusCreated).into(&records)
	for _, r := range records {
		ids = append(ids, r.RecordID)
	}
	return ids
}

func (p *person) records(endpoint string) (all []record) {
	p.Helper()
	for {
		var page []record
		p.get(fmt.Sprintf("%s/data/%s?skip=%d&take=1000", api, endpoint, len(all))).want(http.StatusOK).into(&page)
		if all = append(all, page...); len(page) < 1000 {
			return all
		}
	}
}

// data returns the data of the records at an endpoint, oldest first.
func (p *person) data(endpoint string) string {
	p.Helper()
	var all []string
	for _, r := range p.records(endpoint) {
		all = append(all, string(r.Data))
	}
	return strings.Join(all, " ")
}

// copied returns the ids of the records that obeys has copied to its output, in order, one for each record
// there.
func (p *person) copied(f string) (ids []string) {
	p.Helper()
	for _, r := range p.records(f + "/out") {
		var d struct{ Of string }
		check(p.T, json.Unmarshal(r.Data, &d))
		ids = append(ids, d.Of)
	}
	return ids
}

func functionPath(f string) string { return api + "/she/function/" + f }

// enable waits until the function is available, and switches it on.
func (p *person) enable(ids ...string) {
	p.Helper()
	for _, f := range ids {
		p.available(f)
		p.get(functionPath(f) + "/enable").want(http.StatusOK)
	}
}

func (p *person) available(f string) {
	p.Helper()
	client := p.client
	_, err := client.Until("GET", functionPath(f), regexp.MustCompile(`"available":true`))
	check(p.T, err)
}

// asked waits until the server has asked the function for its configuration since the start. Before that
// the function is shown as it was last known.
func (p *person) asked(f string) {
	p.Helper()
	_, err := p.client.Until("GET", "/api/she/v1/functions/"+f+"/why", regexp.MustCompile(`"code":"[^l]`)) // anything but "loading"
	check(p.T, err)
}

func (p *person) disable(f string) {
	p.Helper()
	p.get(functionPath(f) + "/disable").want(http.StatusOK)
}

func (p *person) trigger(f string) answer { p.Helper(); return p.get(functionPath(f) + "/trigger") }

const executed = `{"message":"Function Executed"}`

// failed returns the answer that a waiting client gets if a run did not commit or the function is busy.
func (p *person) failed(f string) string {
	return fmt.Sprintf(`{"message":"Function Execution Failed","cause":"Function %s execution errored with %s function %s failed"}`, f, p.name+".test", f)
}

type status struct {
	Available, Enabled              bool
	LastExecution, ExecutionStarted *time.Time
}

func (p *person) status(f string) status {
	p.Helper()
	var c struct{ Status status }
	p.get(functionPath(f)).want(http.StatusOK).into(&c)
	return c.Status
}

type reason struct {
	Code, Text string
	Until      time.Time
	Fault      *fault
}

type fault struct{ Who, Code, Text string }

// why returns the engine's answer at this moment. The pending work is stored in the same commit as its
// data, so after a write the answer takes that write into account.
func (p *person) why(f string) (r reason) {
	p.Helper()
	p.get("/api/she/v1/functions/" + f + "/why").want(http.StatusOK).into(&r)
	return r
}

// run is a run as its owner sees it.
type run struct {
	ID, Function, State, Cause string
	Attempt                    int
	Fault                      *fault
	After, Upto                int64
	Due, Claimed, Ended        time.Time
	Stats                      struct {
		Read, Hidden, InBytes int
		Start                 string
	}
	Written    []string
	Duplicates int
	Log        string
}

func (r run) ended() bool { return r.State != "planned" }

// said returns how the run ended: its state and, after a colon, the code of its fault.
func (r run) said() string {
	if r.Fault != nil {
		return r.State + ":" + r.Fault.Code
	}
	return r.State
}

// run returns a run with its function's log.
func (p *person) run(id string) (r run) {
	p.Helper()
	p.get("/api/she/v1/runs/" + id).want(http.StatusOK).into(&r)
	return r
}

// runs returns the runs of a function that have begun, oldest first.
func (p *person) runs(f string) []run {
	p.Helper()
	var all []run
	p.get("/api/she/v1/runs?limit=1000&function=" + f).want(http.StatusOK).into(&all)
	slices.Reverse(all)
	return all
}

// saw waits until enough returns true for the runs of the function, and returns them in the order in which
// they began.
func (p *person) saw(f, what string, enough func([]run) bool) []run {
	p.Helper()
	runs, err := p.journal.wait(f, enough)
	if err != nil {
		var said []string
		for _, r := range runs {
			said = append(said, r.said())
		}
		p.Fatalf("%s: %s: %v; its runs: %s; why: %+v", f, what, err, strings.Join(said, " "), p.why(f))
	}
	return runs
}

// ended waits until n runs of the function have ended.
func (p *person) ended(f string, n int) []run {
	p.Helper()
	return p.saw(f, fmt.Sprintf("%d runs have ended", n), func(runs []run) bool {
		over := 0
		for _, r := range runs {
			if r.ended() {
				over++
			}
		}
		return over >= n
	})
}

// begun waits until a run of the function is in flight.
func (p *person) begun(f string) run {
	p.Helper()
	runs := p.saw(f, "a run is in flight", func(runs []run) bool {
		return slices.ContainsFunc(runs, func(r run) bool { return !r.ended() })
	})
	return runs[slices.IndexFunc(runs, func(r run) bool { return !r.ended() })]
}

// A journal holds what the server reports of a HAT's runs, as it happens.
type journal struct {
	mu    sync.Mutex
	runs  []run         // present states, in the order of the first change
	more  chan struct{} // closed at the next change
	ended error
}

// listen reads the stream of events until the test or the stream ends.
func listen(t *testing.T, c *shetest.Client) *journal {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	events, err := c.Events(ctx, 0)
	check(t, err)
	j := &journal{more: make(chan struct{})}
	done := make(chan struct{})
	t.Cleanup(func() {
		stop()
		<-done
		_ = events.Close()
	})
	go func() {
		defer close(done)
		for {
			data, err := events.Next()
			var r run
			if err == nil {
				err = json.NewDecoder(bytes.NewReader(data)).Decode(&r)
			}
			if j.tell(r, err); err != nil {
				return
			}
		}
	}()
	return j
}

func (j *journal) tell(r run, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if err != nil {
		j.ended = fmt.Errorf("the stream of events ended: %w", err)
	} else if i := slices.IndexFunc(j.runs, func(known run) bool { return known.ID == r.ID }); i >= 0 {
		j.runs[i] = r
	} else {
		j.runs = append(j.runs, r)
	}
	close(j.more)
	j.more = make(chan struct{})
}

func (j *journal) wait(f string, enough func([]run) bool) ([]run, error) {
	deadline := time.After(patience)
	for {
		j.mu.Lock()
		var of []run
		for _, r := range j.runs {
			if r.Function == f {
				of = append(of, r)
			}
		}
		more, ended := j.more, j.ended
		j.mu.Unlock()
		if enough(of) {
			return of, nil
		}
		if ended != nil {
			return of, ended
		}
		select {
		case <-more:
		case <-deadline:
			return of, errors.New("it did not happen")
		}
	}
}
