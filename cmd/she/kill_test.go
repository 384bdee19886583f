package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"she/internal/access"
	"she/internal/bundle"
	"she/internal/directory"
	"she/internal/hat"
	"she/internal/server"
	"she/internal/shetest"
	"she/internal/vault"
	"she/internal/vault/ledger"
	"she/internal/vault/sqlite"
	"she/internal/vault/vaulttest"
)

var (
	kills    = flag.Int("kills", 0, "how often TestKilled ends the server without sandboxes; 0: 500, or 25 with -short")
	killSeed = flag.Uint64("killseed", 0, "only this episode of TestKilled; 0: one for each 25 kills, new ones each time")
)

const (
	killsOfEpisode = 25
	writers        = 2 // at each HAT, each with records of their own
)

// TestKilled ends the server with SIGKILL at random moments, while it starts, at its commits and between, under random
// writes, updates, erasures, links, switching on and off, and triggers. After each start everything that was answered is
// there, and what was not is there or not, but whole. In the end every function has written about everything once. Between
// two lives the clock is set, now and then, a day forward or back.
//
// An episode has a data directory of its own. Its seed fixes what is done and where the server dies, though not how
// the two meet.
func TestKilled(t *testing.T) {
	n := *kills
	if n == 0 {
		n = 500
		if testing.Short() {
			n = killsOfEpisode
		}
	}
	seeds := []uint64{*killSeed}
	if *killSeed == 0 {
		seeds = seeds[:0]
		for range (n + killsOfEpisode - 1) / killsOfEpisode {
			seeds = append(seeds, rand.Uint64())
		}
	}
	template := filepath.Join(t.TempDir(), "data")
	people := []string{"alice", "bob"}
	makePeople(t, template, people)
	functions := append(slices.Clone(standIns), same)
	for _, seed := range seeds {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			config, err := install(dir, functions)
			if err != nil {
				t.Fatal(err)
			}
			data := filepath.Join(dir, "data")
			if err := os.CopyFS(data, os.DirFS(template)); err != nil {
				t.Fatal(err)
			}
			e := newEpisode(t, seed, &shetest.Server{Data: data, Config: config}, people, functions)
			e.inputs = []string{"in/a", "in/b"}
			e.how = "steady"
			if seed%4 == 0 {
				e.how = "moody"
			}
			e.run(killsOfEpisode)
		})
	}
}

// TestKilledInSandboxes is TestKilled with the real program and a real function in real sandboxes.
func TestKilledInSandboxes(t *testing.T) {
	if testing.Short() {
		t.Skip("real sandboxes: make test")
	}
	bin, err := shetest.Bin()
	if err != nil {
		t.Fatal(err)
	}
	seed := *killSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	dir := t.TempDir()
	s := &shetest.Server{Data: filepath.Join(dir, "data"), Config: filepath.Join(dir, "she.yaml")}
	yaml := fmt.Sprintf("functions:\n  - {id: stamps, version: 1.0.0, package: %s, namespace: test, endpoint: out}\n",
		filepath.Join(bin, "../functions/testdata/python"))
	if err := os.WriteFile(s.Config, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	people := []string{"alice"}
	makePeople(t, s.Data, people)
	e := newEpisode(t, seed, s, people, []stamping{{id: "stamps", reads: []string{"test/in"}, output: "test/out", trigger: onData}})
	e.inputs, e.longest = []string{"test/in"}, time.Second
	e.run(20)
	if err := s.NothingLeft(); err != nil {
		t.Error(err)
	}
}

// makePeople makes HATs in a new data directory, without a server.
func makePeople(t *testing.T, data string, people []string) {
	t.Helper()
	m, err := manage(t.Context(), data, "", server.Creates)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for _, name := range people {
		r := server.NewHAT{Name: name, Domain: name + ".test", Password: shetest.Password(name)}
		if err := m.Call(t.Context(), "POST", "/hats", r, nil); err != nil {
			t.Fatal(err)
		}
	}
}

// An episode is one data directory whose server is killed again and again.
type episode struct {
	*testing.T
	random    *rand.Rand // of the episode's own goroutine
	server    *shetest.Server
	how       string        // the stand-in's behaviour; "": the real program
	ahead     time.Duration // its clock is
	functions []stamping
	inputs    []string
	longest   time.Duration // a server lives after it is ready
	people    map[string]*life
	tokens    map[string]*shetest.Client
	started   time.Duration // the last start took
	counts    map[string]int
	mu        sync.Mutex // counts
}

func newEpisode(t *testing.T, seed uint64, s *shetest.Server, people []string, functions []stamping) *episode {
	e := &episode{
		T: t, random: rand.New(rand.NewPCG(seed, 0)), server: s, functions: functions, longest: 60 * time.Millisecond,
		people: map[string]*life{}, tokens: map[string]*shetest.Client{}, counts: map[string]int{}, started: 100 * time.Millisecond,
	}
	for _, name := range people {
		e.people[name] = newLife()
	}
	t.Cleanup(func() {
		if s.Running() {
			_ = s.Kill()
		}
		if t.Failed() {
			log := s.Log.String()
			t.Logf("again with -killseed=%d; the server's log ends:\n%s", seed, log[max(0, len(log)-4000):])
		}
	})
	return e
}

func (e *episode) count(what string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.counts[what]++
}

// start begins a life of the server that ends by itself at dies, "" for not.
func (e *episode) start(dies string) {
	e.Helper()
	if e.how != "" {
		if e.random.IntN(5) == 0 {
			e.ahead += []time.Duration{-24 * time.Hour, 24 * time.Hour}[e.random.IntN(2)]
			e.count("clock set")
			clear(e.tokens) // of another day
		}
		run := standIn(e.how, dies)
		e.server.Program = func(args ...string) *exec.Cmd {
			cmd := run(args...)
			cmd.Env = append(cmd.Env, standInClock+"="+e.ahead.String())
			return cmd
		}
	}
	if err := e.server.Begin(); err != nil {
		e.Fatal(err)
	}
}

// ready waits for the server, logs in where it hasn't, and checks what is stored. It says whether the server lives.
func (e *episode) ready(mayDie bool) bool {
	e.Helper()
	at := time.Now()
	if err := e.server.Ready(); err != nil {
		if !mayDie {
			e.Fatal(err)
		}
		return false
	}
	e.started = time.Since(at)
	for _, name := range slices.Sorted(maps.Keys(e.people)) {
		c := e.tokens[name]
		if c == nil {
			c = e.server.Client(name)
			if err := c.Login(); err != nil && mayDie {
				return false
			} else if err != nil {
				e.Fatal(err)
			}
			e.tokens[name] = c
		}
		c.Follow(e.server)
		have, err := e.stored(c)
		if err != nil && mayDie {
			return false
		}
		if err == nil {
			err = e.people[name].settle(have)
		}
		if err != nil {
			e.Fatalf("%s: %v", name, err)
		}
	}
	return true
}

// stored reads the input endpoints.
func (e *episode) stored(c *shetest.Client) (map[int]found, error) {
	have := map[int]found{}
	for _, at := range e.inputs {
		body, err := c.Must("GET", "/api/v2.6/data/"+at+"?take=1000000", nil)
		if err != nil {
			return nil, err
		}
		var rows []struct {
			RecordID string
			Data     stamp
		}
		if err := json.Unmarshal(body, &rows); err != nil {
			return nil, err
		}
		for _, r := range rows {
			if other, twice := have[r.Data.N]; twice {
				return nil, fmt.Errorf("record %d is there as %s and %s", r.Data.N, other.id, r.RecordID)
			}
			have[r.Data.N] = found{r.Data, at, r.RecordID}
		}
	}
	return have, nil
}

// run kills the server n times or a few more, then lets it finish its work and checks everything.
func (e *episode) run(n int) {
	e.start("")
	e.ready(false)
	e.eachFunction(func(c *shetest.Client, f stamping) {
		e.must(c.Until("GET", "/api/v2.6/she/function/"+f.id, regexp.MustCompile(`"available":true`)))
		e.must(c.Must("GET", "/api/v2.6/she/function/"+f.id+"/enable", nil))
	})
	for e.counts["killed"] < n {
		e.work()
		e.kill()
		for e.random.IntN(4) == 0 { // in its start already
			e.start("")
			<-time.After(time.Duration(e.random.Int64N(int64(e.started) * 5 / 4)))
			e.kill()
			e.count("killed in its start")
		}
		for alive := false; !alive; {
			dies := e.deadline()
			e.start(dies)
			if alive = e.ready(dies != ""); !alive {
				e.kill()
				e.count("killed in its start")
			}
		}
	}
	e.kill()
	e.start("")
	e.ready(false)
	e.finish()
	if err := e.server.Stop(); err != nil {
		e.Fatal(err)
	}
	e.check()
	e.Logf("%v", e.counts)
}

func (e *episode) kill() {
	e.Helper()
	if !e.server.Running() {
		return
	}
	if err := e.server.Kill(); err != nil {
		e.Fatal(err)
	}
	e.count("killed")
}

// deadline is a commit at which the server shall end itself: T1, T2, T3, or one that switches a function.
func (e *episode) deadline() string {
	if e.how == "" || e.random.IntN(2) == 0 {
		return ""
	}
	op := []string{"append", "update", "erase", "claim", "claim", "commit", "commit", "commit", "enable", "disable", "recover", "link"}[e.random.IntN(12)]
	return fmt.Sprintf("%s %d %s", op, 1+e.random.IntN(8), []string{"before", "after"}[e.random.IntN(2)])
}

// work has people use the server until it dies, or for a moment.
func (e *episode) work() {
	ctx, stop := context.WithTimeout(context.Background(), time.Duration(1+e.random.Int64N(int64(e.longest))))
	defer stop()
	var users sync.WaitGroup
	for _, name := range slices.Sorted(maps.Keys(e.people)) {
		for i := range writers {
			u := &user{episode: e, life: e.people[name], client: *e.tokens[name], random: rand.New(rand.NewPCG(e.random.Uint64(), 0)), writer: i}
			u.own = u.life.of(i)
			users.Go(func() { u.use(ctx, u.write) })
		}
		u := &user{episode: e, life: e.people[name], client: *e.tokens[name], random: rand.New(rand.NewPCG(e.random.Uint64(), 0))}
		users.Go(func() { u.use(ctx, u.steer) })
	}
	gone := make(chan struct{})
	go func() {
		users.Wait()
		close(gone)
	}()
	// Requests are under way when the server dies, so nobody is waited for.
	select {
	case <-ctx.Done():
	case <-gone: // it has died by itself
	}
	e.kill()
	<-gone
}

// A user makes requests for one HAT, one at a time.
type user struct {
	*episode
	life   *life
	client shetest.Client
	random *rand.Rand
	writer int
	own    []stamp // the records that are there and only this user changes
}

// errGone says that the server died under a request.
var errGone = errors.New("no answer")

func (u *user) use(ctx context.Context, act func() error) {
	for ctx.Err() == nil {
		if err := act(); errors.Is(err, errGone) {
			return
		} else if err != nil {
			u.Error(err)
			return
		}
	}
}

// ask makes a request that must be answered with one of the statuses, if it is answered.
func (u *user) ask(method, path string, body any, want ...int) (status int, answer []byte, err error) {
	var text []byte
	if body != nil {
		if text, err = json.Marshal(body); err != nil {
			return 0, nil, err
		}
	}
	if status, answer, err = u.client.Do(method, path, text); err != nil {
		return 0, nil, errGone
	}
	if !slices.Contains(want, status) {
		return 0, nil, fmt.Errorf("%s %s: %d %s", method, path, status, answer)
	}
	return status, answer, nil
}

// An input is a record as it is sent.
type input struct {
	Endpoint string `json:"endpoint"`
	RecordID string `json:"recordId,omitempty"`
	Data     stamp  `json:"data"`
}

func (u *user) write() error {
	switch dice := u.random.IntN(20); {
	case dice < 9 || len(u.own) < 2:
		return u.create()
	case dice < 15:
		return u.update()
	case dice < 18:
		return u.erase()
	}
	ids := u.take(2)
	_, _, err := u.ask("POST", "/api/v2.6/data-link?records="+u.life.id(ids[0])+"&records="+u.life.id(ids[1]), nil, http.StatusCreated)
	u.own = append(u.own, ids...)
	u.count("linked")
	return err
}

// take takes some of the user's own records out of the list.
func (u *user) take(n int) (taken []stamp) {
	for range min(n, len(u.own)) {
		i := u.random.IntN(len(u.own))
		taken = append(taken, u.own[i])
		u.own = slices.Delete(u.own, i, i+1)
	}
	return taken
}

// create stores one record, or several at once: at one endpoint, or at several.
func (u *user) create() error {
	kind := u.random.IntN(3)
	n := 1
	if kind > 0 {
		n = 1 + u.random.IntN(8)
	}
	at := u.inputs[u.random.IntN(len(u.inputs))]
	d := doubt{what: "create"}
	var inputs []input
	for range n {
		if kind == 2 {
			at = u.inputs[u.random.IntN(len(u.inputs))]
		}
		s := stamp{N: u.life.number(u.writer), V: 1}
		d.stamp, d.at, inputs = append(d.stamp, s), append(d.at, at), append(inputs, input{Endpoint: at, Data: s})
	}
	var (
		answer []byte
		err    error
	)
	switch kind {
	case 0:
		_, answer, err = u.ask("POST", "/api/v2.6/data/"+at, d.stamp[0], http.StatusCreated)
		answer = fmt.Appendf(nil, "[%s]", answer)
	case 1:
		_, answer, err = u.ask("POST", "/api/v2.6/data/"+at, d.stamp, http.StatusCreated)
	case 2:
		_, answer, err = u.ask("POST", "/api/v2.6/data-batch", inputs, http.StatusCreated)
	}
	if errors.Is(err, errGone) {
		u.life.doubtful(d)
	}
	if err != nil {
		return err
	}
	var stored []struct{ RecordID string }
	if err := json.Unmarshal(answer, &stored); err != nil || len(stored) != n {
		return fmt.Errorf("%d records were stored: %s", n, answer)
	}
	for i, s := range d.stamp {
		u.life.created(s, d.at[i], stored[i].RecordID)
	}
	u.own = append(u.own, d.stamp...)
	u.count("created")
	return nil
}

func (u *user) update() error {
	d := doubt{what: "update", stamp: u.take(1 + u.random.IntN(3))}
	var inputs []input
	for i := range d.stamp {
		d.stamp[i].V = u.life.version(d.stamp[i].N)
		inputs = append(inputs, input{Endpoint: u.life.at(d.stamp[i]), RecordID: u.life.id(d.stamp[i]), Data: d.stamp[i]})
	}
	_, _, err := u.ask("PUT", "/api/v2.6/data", inputs, http.StatusCreated)
	if errors.Is(err, errGone) {
		u.life.doubtful(d)
	}
	if err != nil {
		return err
	}
	u.life.updated(d.stamp)
	u.own = append(u.own, d.stamp...)
	u.count("updated")
	return nil
}

func (u *user) erase() error {
	d := doubt{what: "erase", stamp: u.take(1 + u.random.IntN(3))}
	var ids []string
	for _, s := range d.stamp {
		ids = append(ids, "records="+u.life.id(s))
	}
	_, _, err := u.ask("DELETE", "/api/v2.6/data?"+strings.Join(ids, "&"), nil, http.StatusOK)
	if errors.Is(err, errGone) {
		u.life.doubtful(d)
	}
	if err != nil {
		return err
	}
	u.life.erased(d.stamp)
	u.count("erased")
	return nil
}

// steer switches a function on or off, or triggers one.
func (u *user) steer() error {
	f := u.functions[u.random.IntN(len(u.functions))]
	path := "/api/v2.6/she/function/" + f.id
	switch u.random.IntN(6) {
	case 0:
		u.count("switched off")
		_, _, err := u.ask("GET", path+"/disable", nil, http.StatusOK)
		return err
	case 1, 2:
		u.count("switched on")
		_, _, err := u.ask("GET", path+"/enable", nil, http.StatusOK, http.StatusBadRequest) // 400: not loaded yet
		return err
	}
	status, _, err := u.ask("GET", path+f.triggerPath(), nil, http.StatusOK, http.StatusBadRequest, http.StatusInternalServerError)
	u.count(fmt.Sprint("triggered: ", status))
	return err
}

func (f stamping) triggerPath() string {
	if f.useAll {
		return "/trigger?useAll=true"
	}
	return "/trigger"
}

// finish switches everything on and lets it do what there is to do.
func (e *episode) finish() {
	e.eachFunction(func(c *shetest.Client, f stamping) {
		e.must(c.Until("GET", "/api/v2.6/she/function/"+f.id, regexp.MustCompile(`"available":true`)))
		e.must(c.Must("GET", "/api/v2.6/she/function/"+f.id+"/enable", nil))
	})
	idle := regexp.MustCompile(`"code":"(waiting-for-data|waiting-for-request|waiting-for-period)"`)
	e.eachFunction(func(c *shetest.Client, f stamping) {
		if f.trigger != onData {
			// Somebody else's run may be in the way, or a function in a bad mood.
			e.must(c.Until("GET", "/api/v2.6/she/function/"+f.id+f.triggerPath(), regexp.MustCompile("Function Executed")))
		}
		e.must(c.Until("GET", "/api/she/v1/functions/"+f.id+"/why", idle))
	})
}

func (e *episode) eachFunction(do func(*shetest.Client, stamping)) {
	e.Helper()
	for _, name := range slices.Sorted(maps.Keys(e.people)) {
		for _, f := range e.functions {
			do(e.tokens[name], f)
		}
	}
}

func (e *episode) must(answer []byte, err error) {
	e.Helper()
	if err != nil {
		e.Fatalf("%v: %s", err, bytes.TrimSpace(answer))
	}
}

// check compares every vault with what the test knows of its person.
func (e *episode) check() {
	hats, err := directory.Open(e.server.Data)
	if err != nil {
		e.Fatal(err)
	}
	defer hats.Close()
	store, err := sqlite.NewStore(hats.Vaults(), sqlite.Options{})
	if err != nil {
		e.Fatal(err)
	}
	defer store.Close()
	for _, h := range hats.List() {
		v, release, err := store.Open(e.Context(), h.ID)
		if err != nil {
			e.Fatal(err)
		}
		vaulttest.CheckHAT(e, v)
		name := h.Domain.Name().String()
		wrote := map[string][]stamp{}
		for _, f := range e.functions {
			if f.same {
				if err := oneOfEachRun(e.Context(), v, f); err != nil {
					e.Errorf("%s: %v", name, err)
				}
				continue
			}
			stamps, err := written(e.Context(), v, f)
			if err != nil {
				e.Fatalf("%s: %v", name, err)
			}
			wrote[f.output] = stamps
			e.counts["derived"] += len(stamps)
		}
		for _, f := range e.functions {
			if f.same {
				continue
			}
			if err := e.people[name].derived(f, wrote[f.output], wrote[f.reads[0]]); err != nil {
				e.Errorf("%s: %v", name, err)
			}
		}
		release()
	}
}

// recordsOf are the records where a function writes.
func recordsOf(ctx context.Context, v *ledger.Vault, f stamping) (records []hat.Record, owner access.Caller, err error) {
	u, err := v.Owner(ctx)
	if err != nil {
		return nil, owner, err
	}
	owner = access.User(u.ID, u.Roles, access.TitleOwner)
	output, err := hat.ParseEndpoint(f.output)
	if err != nil {
		return nil, owner, err
	}
	err = v.Read(ctx, owner, func(src bundle.Source, _ hat.Seq) error {
		for r, err := range src.Scan(ctx, output, bundle.Want{}).Records {
			if err != nil {
				return err
			}
			records = append(records, r)
		}
		return nil
	})
	return records, owner, err
}

// oneOfEachRun checks that each run that committed, and was shown anything, has left one record, and nothing else has.
func oneOfEachRun(ctx context.Context, v *ledger.Vault, f stamping) (err error) {
	records, owner, err := recordsOf(ctx, v, f)
	if err != nil {
		return err
	}
	of := map[hat.RunID]int{}
	for _, r := range records {
		of[r.Run]++
	}
	id, err := hat.ParseFunctionID(f.id)
	if err != nil {
		return err
	}
	runs, err := v.Runs(ctx, owner, id, hat.RunID{}, math.MaxInt32)
	if err != nil {
		return err
	}
	for _, r := range runs {
		want := 0
		if r.State == vault.RunCommitted && r.Stats.Read > 0 {
			want = 1
		}
		if n := of[r.Plan.Run]; n != want || r.Duplicates+n != r.Stats.Read*want {
			err = errors.Join(err, fmt.Errorf("run %s of %s, which is %s, was shown %d records: it left %d and dropped %d",
				r.Plan.Run, f.id, r.State, r.Stats.Read, n, r.Duplicates))
		}
		delete(of, r.Plan.Run)
	}
	if len(of) > 0 {
		err = errors.Join(err, fmt.Errorf("%d records of %s are from no run", len(of), f.id))
	}
	return err
}

// written is what a function has written, in order. Each record must name the run that wrote it.
func written(ctx context.Context, v *ledger.Vault, f stamping) (all []stamp, err error) {
	records, _, err := recordsOf(ctx, v, f)
	slices.SortFunc(records, func(a, b hat.Record) int { return int(a.Born) - int(b.Born) })
	for _, r := range records {
		s, parse := parseStamp(r.Data)
		if parse != nil {
			return nil, parse
		}
		if !f.useAll && s.Run != r.Run.String() {
			return nil, fmt.Errorf("record %s is from run %s and says %s", r.ID, r.Run, s.Run)
		}
		all = append(all, s)
	}
	return all, err
}
