package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"she/internal/client"
	"she/internal/config"
	"she/internal/ownapi"
	"she/internal/server"
	"she/internal/shetest"
)

// Scenarios 64 and 73 of the HAT contract, where days pass: the whole server with real sandboxes, in the test's own
// process, because the clock is the test's. The others are in internal/shetest.
func TestScenariosOverDays(t *testing.T) {
	if testing.Short() {
		t.Skip("real sandboxes: make test")
	}
	d := startDays(t)

	t.Run("Scenario73 a run that failed is tried again after growing pauses, without new data, until nothing is left to do", func(t *testing.T) {
		d.enable(t, "mends")
		d.post(t, "alice", "mends/in", `{"n":1}`)
		runs := d.attempts(t, "mends", 5)
		if last := runs[4]; last.State != "committed" || last.Stats.Read != 1 || d.why(t, "mends").Code != "waiting-for-data" {
			t.Errorf("%+v, %+v", last, d.why(t, "mends"))
		}
	})

	t.Run("Scenario73 one that fails for good is tried so many times and no more", func(t *testing.T) {
		d.enable(t, "never")
		d.post(t, "alice", "never/in", `{"n":1}`)
		d.attempts(t, "never", 5)
		d.pass(t, 365*24*time.Hour)
		if r := d.why(t, "never"); r.Code != "parked" || r.Fault == nil || len(d.runs(t, "never")) != 5 {
			t.Errorf("%+v, %d runs", r, len(d.runs(t, "never")))
		}
	})

	t.Run("Scenario64 a daily function runs over early data when the day is over, without further data, and never without data", func(t *testing.T) {
		d.enable(t, "daily")
		d.post(t, "alice", "daily/in", `{"n":1}`) // never executed: at once
		first := d.ended(t, "daily", 1)[0]
		d.pass(t, time.Hour)
		d.post(t, "alice", "daily/in", `{"n":2}`)
		over := first.Claimed.AddDate(0, 0, 1)
		waits := func() {
			if r := d.why(t, "daily"); r.Code != "waiting-for-period" || !r.Until.Equal(over) || len(d.runs(t, "daily")) != 1 {
				t.Fatalf("%+v until %s, want %s; %d runs", r, r.Until, over, len(d.runs(t, "daily")))
			}
		}
		waits()
		d.pass(t, 22*time.Hour)
		waits()
		d.pass(t, time.Hour)
		if second := d.ended(t, "daily", 2)[1]; second.State != "committed" || second.Stats.Read != 1 || second.Claimed.Before(over) {
			t.Errorf("%+v", second)
		}
		d.pass(t, 30*24*time.Hour)
		if r := d.why(t, "daily"); r.Code != "waiting-for-data" || len(d.runs(t, "daily")) != 2 {
			t.Errorf("a month without data: %+v, %d runs", r, len(d.runs(t, "daily")))
		}
	})

	// Nobody in the contract says what a clock does that is set back; people's clocks do it.
	t.Run("the clock is set back by a day: a retry waits its pause, a period a day from then", func(t *testing.T) {
		d.post(t, "alice", "daily/in", `{"n":3}`) // over since long
		first := d.ended(t, "daily", 3)[2]
		d.pass(t, time.Minute)
		d.post(t, "alice", "daily/in", `{"n":4}`)
		d.post(t, "alice", "never/in", `{"n":2}`)
		failed := d.ended(t, "never", 6)[5]
		if r := d.why(t, "never"); r.Code != "waiting-for-retry" || !r.Until.After(failed.Ended) {
			t.Fatalf("before: %+v", r)
		}
		d.pass(t, -24*time.Hour)
		until := func(f, code string, least, most time.Duration) {
			t.Helper()
			r := d.until(t, f, func(r ownapi.Reason) bool { return string(r.Code) == code && r.Until.Sub(d.now()) <= most })
			if left := r.Until.Sub(d.now()); left < least {
				t.Errorf("%s: %+v in %s", f, r, left)
			}
		}
		until("never", "waiting-for-retry", -time.Minute, 12*time.Second)
		until("daily", "waiting-for-period", 23*time.Hour, 24*time.Hour)
		d.pass(t, 24*time.Hour)
		last := d.ended(t, "daily", 4)[3]
		if last.State != "committed" || last.Stats.Read != 1 || last.Claimed.Before(first.Claimed) {
			t.Errorf("%+v after %+v", last, first)
		}
	})
}

// days is a server whose clock is ahead of the host's.
type days struct {
	server  *server.Server
	ahead   atomic.Int64
	clients map[string]*shetest.Client
	posts   int
}

// now has no monotonic reading, as if the host's clock had been set.
func (d *days) now() time.Time { return time.Now().Add(time.Duration(d.ahead.Load())).Round(0) }

func startDays(t *testing.T) *days {
	bin, err := shetest.Bin()
	must(t, err)
	dir := t.TempDir()
	files := shetest.Server{Data: filepath.Join(dir, "data"), Config: filepath.Join(dir, "she.yaml")}
	must(t, installThree(filepath.Join(bin, "../functions/testdata/obeys"), dir, files.Config))
	for _, name := range []string{"alice", "bob"} {
		_, err := files.CreateHAT(name)
		must(t, err)
	}
	config, err := config.Load(t.Context(), files.Config)
	must(t, err)
	invoker, err := server.NewInvoker(filepath.Join(files.Data, "run"), server.Helpers{Runsc: filepath.Join(bin, "runsc"), Init: filepath.Join(bin, "she-init")}, 4, 0)
	must(t, err)
	d := &days{clients: map[string]*shetest.Client{}}
	var log shetest.Buffer
	d.server, err = server.Start(t.Context(), server.Options{
		Data: files.Data, Listen: "127.0.0.1:0", Config: config, Log: &log, Invoker: invoker, Now: d.now,
	})
	must(t, err)
	t.Cleanup(func() {
		must(t, d.server.Stop())
		must(t, files.NothingLeft())
		if t.Failed() {
			t.Logf("the server's log:\n%s", log.String())
		}
	})
	return d
}

// installThree makes three functions of the project obeys: "daily"; "mends", whose bundle entry fails for half an hour of the
// server's clock; and "never", whose always does.
func installThree(project, dir, config string) error {
	text, err := os.ReadFile(filepath.Join(project, "functions.json"))
	if err != nil {
		return err
	}
	pkg := filepath.Join(dir, "obeys")
	if err := os.Mkdir(pkg, 0o700); err != nil {
		return err
	}
	functions := map[string]any{}
	serverless := "service: obeys\nprovider: {name: aws, runtime: provided.al2023, memorySize: 1024, timeout: 10}\nfunctions:\n"
	yaml := "functions:\n"
	for id, more := range map[string]struct {
		trigger  string
		asksFrom time.Time
	}{
		"daily": {onceADay, time.Time{}},
		// A bundle is asked for until three months from now.
		"mends": {onData, time.Now().Add(30*time.Minute).AddDate(0, 3, 0)},
		"never": {onData, time.Now().AddDate(100, 0, 0)},
	} {
		var all map[string]map[string]json.RawMessage
		var configuration map[string]json.RawMessage
		if err := json.Unmarshal(text, &all); err != nil {
			return err
		}
		f := all["obeys"]
		if err := json.Unmarshal(f["configuration"], &configuration); err != nil {
			return err
		}
		maps.Copy(configuration, map[string]json.RawMessage{
			"id": json.RawMessage(`"` + id + `"`), "trigger": json.RawMessage(more.trigger),
			"dataBundle": json.RawMessage(fmt.Sprintf(`{"name":%q,"bundle":{"in":{"endpoints":[{"endpoint":"%s/in"}]}}}`, id, id)),
		})
		functions[id] = map[string]any{"configuration": configuration, "namespace": id, "endpoint": "out", "asksFrom": max(0, more.asksFrom.UnixMilli())}
		serverless += fmt.Sprintf("  %[1]s: {handler: %[1]s.process}\n  %[1]s-bundle: {handler: %[1]s.bundle}\n  %[1]s-configuration: {handler: %[1]s.configuration}\n", id)
		yaml += fmt.Sprintf("  - {id: %[1]s, version: 1.0.0, package: %[2]s, namespace: %[1]s, endpoint: out}\n", id, pkg)
	}
	program, err := os.ReadFile(filepath.Join(project, "bootstrap"))
	if err != nil {
		return fmt.Errorf("run make functions first: %w", err)
	}
	if text, err = json.Marshal(functions); err != nil {
		return err
	}
	for name, content := range map[string][]byte{
		filepath.Join(pkg, "bootstrap"): program, filepath.Join(pkg, "functions.json"): text,
		filepath.Join(pkg, "serverless.yml"): []byte(serverless), config: []byte(yaml),
	} {
		if err := os.WriteFile(name, content, 0o700); err != nil {
			return err
		}
	}
	return nil
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// owner is logged in; tokens don't live as long as this server does by its clock.
func (d *days) owner(t *testing.T, name string) *shetest.Client {
	t.Helper()
	if c := d.clients[name]; c != nil {
		return c
	}
	c := (&shetest.Server{Address: d.server.Address}).Client(name)
	must(t, c.Login())
	d.clients[name] = c
	return c
}

func (d *days) post(t *testing.T, name, endpoint, data string) {
	t.Helper()
	_, err := d.owner(t, name).Must("POST", client.API+"/data/"+endpoint, []byte(data))
	must(t, err)
}

// pass moves the clock, back too. Then something happens at another person's HAT, as all the time on a real server: the engine
// looks at its clock when something happens, or when a timer says so, and timers are the host's.
func (d *days) pass(t *testing.T, by time.Duration) {
	t.Helper()
	if d.ahead.Add(int64(by)); by > time.Hour || by < 0 {
		clear(d.clients)
	}
	d.posts++
	d.post(t, "bob", "rumpel/notes", fmt.Sprintf(`{"n":%d}`, d.posts))
}

func (d *days) enable(t *testing.T, f string) {
	t.Helper()
	c := d.owner(t, "alice")
	_, err := c.Until("GET", client.API+"/she/function/"+f, regexp.MustCompile(`"available":true`))
	must(t, err)
	_, err = c.Must("GET", client.API+"/she/function/"+f+"/enable", nil)
	must(t, err)
}

// until asks why until the answer is so.
func (d *days) until(t *testing.T, f string, so func(ownapi.Reason) bool) (r ownapi.Reason) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for r = d.why(t, f); !so(r); r = d.why(t, f) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: %+v", f, r)
		}
		<-time.After(10 * time.Millisecond)
	}
	return r
}

func (d *days) why(t *testing.T, f string) (r ownapi.Reason) {
	t.Helper()
	text, err := d.owner(t, "alice").Must("GET", "/api/she/v1/functions/"+f+"/why", nil)
	must(t, err)
	must(t, json.Unmarshal(text, &r))
	return r
}

// An ownRun is a run as the owner sees it over HTTP.
type ownRun struct {
	ID, Function, State string
	Attempt             int
	Claimed, Ended      time.Time
	Stats               struct{ Read int }
}

func (d *days) runs(t *testing.T, f string) (all []ownRun) {
	t.Helper()
	text, err := d.owner(t, "alice").Must("GET", "/api/she/v1/runs?function="+f, nil)
	must(t, err)
	must(t, json.Unmarshal(text, &all))
	slices.Reverse(all)
	return all
}

// ended waits until so many runs of the function have ended.
func (d *days) ended(t *testing.T, f string, n int) []ownRun {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	events, err := d.owner(t, "alice").Events(ctx, 0)
	must(t, err)
	defer events.Close()
	over := map[string]bool{}
	for len(over) < n {
		data, err := events.Next()
		if err != nil {
			t.Fatalf("%d runs of %s have ended, not %d: %v; why: %+v", len(over), f, n, err, d.why(t, f))
		}
		var r ownRun
		must(t, json.Unmarshal(data, &r))
		if r.Function == f && r.State != "planned" {
			over[r.ID] = true
		}
	}
	return d.runs(t, f)
}

// attempts lets the function fail until it has been tried n times: after each failure it waits, each time longer, and
// the clock is moved to the end of the pause.
func (d *days) attempts(t *testing.T, f string, n int) []ownRun {
	t.Helper()
	var before time.Duration
	for attempt := 1; attempt < n; attempt++ {
		last := d.ended(t, f, attempt)[attempt-1]
		r := d.why(t, f)
		pause := r.Until.Sub(last.Ended)
		if last.State != "failed" || last.Attempt != attempt || r.Code != "waiting-for-retry" || pause < 2*before || pause <= 0 {
			t.Fatalf("attempt %d: %+v, then %s after %s: %+v", attempt, last, pause, before, r)
		}
		before = pause
		d.pass(t, r.Until.Sub(d.now()))
	}
	return d.ended(t, f, n)
}
