package httpapi

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"she/internal/edge"
	"she/internal/engine"
	"she/internal/ownapi"
)

const own = "/api/she/v1"

type wireRun struct {
	ID, Function, State, Cause string
	Log                        *string
	Written                    []string
	Fault                      *struct{ Who, Code string }
}

func TestRunsOverHTTP(t *testing.T) {
	fails := Func(func(ctx context.Context, name string, event []byte) ([]byte, error) {
		if name == "broken" {
			return nil, errors.New("no")
		}
		return count(ctx, name, event)
	})
	w := newWorld(t, withFunctions(fails, functionNamed("counter"), functionNamed("broken")))
	w.get("bob", own+"/runs").want(200, `[]`)
	for _, f := range []string{"counter", "broken"} {
		w.get("bob", functions+"/"+f+"/enable").want(200)
	}
	w.post("bob", api+"/data/rumpel/notes", `{"text":"`+canary+`"}`).want(201)
	w.get("bob", functions+"/counter/trigger").want(200)
	w.get("bob", functions+"/broken/trigger").want(500)
	w.post("bob", api+"/data/rumpel/notes", `{"text":"more"}`).want(201)
	w.get("bob", functions+"/counter/trigger").want(200)

	list := func(query string) (states string, all []wireRun) {
		w.get("bob", own+"/runs"+query).want(200).decode(&all)
		var words []string
		for _, r := range all {
			words = append(words, r.Function+" "+r.State)
			if r.Log != nil {
				t.Error("a list has logs")
			}
		}
		return strings.Join(words, ", "), all
	}
	states, all := list("")
	if states != "counter committed, broken failed, counter committed" {
		t.Errorf("runs: %s", states)
	}
	if got, _ := list("?function=broken"); got != "broken failed" || all[1].Fault == nil || all[1].Fault.Who != "engine" {
		t.Errorf("of one function: %s %+v", got, all[1])
	}
	if got, _ := list("?limit=1&before=" + all[0].ID); got != "broken failed" {
		t.Errorf("the second page: %s", got)
	}
	var one wireRun
	w.get("bob", own+"/runs/"+all[2].ID).want(200).decode(&one)
	if one.Log == nil || len(one.Written) != 1 || one.Cause != "request" {
		t.Errorf("one run: %+v", one)
	}

	const none = `{"type":"about:blank","title":"Run Not Found","status":404,"detail":"there is no run of this id"}`
	w.get("bob", own+"/runs/nonsense").want(404, none)
	w.get("bob", own+"/runs/01900000-0000-7000-8000-000000000000").want(404, none)
	w.get("eve", own+"/runs/"+all[0].ID).want(404, none)
	for _, query := range []string{"limit=0", "limit=1001", "limit=x", "before=x", "function=NO_id", "function=%zz"} {
		w.get("bob", own+"/runs?"+query).want(400)
	}
	for _, path := range []string{"/runs", "/runs/" + all[0].ID, "/events"} {
		w.get("", own+path).want(401)
		w.get("hpp", own+path).want(403)
	}
}

// A stream is a client that listens.
type stream struct {
	*world
	lines chan string // closed at the end
	close func()
}

// looksIn asks for a stream of events and hangs up.
func (w *world) looksIn() (status int) {
	w.t.Helper()
	ctx, hangUp := context.WithCancel(w.t.Context())
	defer hangUp()
	r := must(http.NewRequestWithContext(ctx, http.MethodGet, w.url+own+"/events", nil))
	r.Host = w.bob.Domain.String()
	r.Header.Set(edge.TokenHeader, w.token("bob"))
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

func (w *world) listen(lastEventID string) *stream {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	r := must(http.NewRequestWithContext(ctx, http.MethodGet, w.url+own+"/events", nil))
	r.Host = w.bob.Domain.String()
	r.Header.Set(edge.TokenHeader, w.token("bob"))
	if lastEventID != "" {
		r.Header.Set("Last-Event-ID", lastEventID)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" {
		w.t.Fatalf("%d %s", resp.StatusCode, resp.Header.Get("Content-Type"))
	}
	s := &stream{world: w, lines: make(chan string)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer close(s.lines)
		defer resp.Body.Close()
		for in := bufio.NewScanner(resp.Body); in.Scan(); {
			select {
			case s.lines <- in.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
	s.close = func() { cancel(); <-ended }
	w.t.Cleanup(s.close)
	if got := s.line("retry: "); got != "3000" {
		w.t.Errorf("begins with %q", got)
	}
	return s
}

// line waits for the next line that begins so and answers the rest of it.
func (s *stream) line(prefix string) string {
	s.t.Helper()
	timeout := time.After(30 * time.Second)
	for {
		select {
		case line, open := <-s.lines:
			if !open {
				s.t.Fatalf("the stream ended before %q", prefix)
			}
			if rest, ok := strings.CutPrefix(line, prefix); ok {
				return rest
			}
		case <-timeout:
			s.t.Fatalf("%q does not come", prefix)
		}
	}
}

func (s *stream) event() (id, state string) {
	s.t.Helper()
	id = s.line("id: ")
	var r wireRun
	if err := json.Unmarshal([]byte(s.line("data: ")), &r); err != nil {
		s.t.Fatal(err)
	}
	return id, r.Function + " " + r.State
}

// until waits for a state; what came before it may have been told or not, since states change faster than clients read.
func (s *stream) until(want string) (id string) {
	s.t.Helper()
	for {
		id, state := s.event()
		if state == want {
			return id
		}
		if state != "counter planned" {
			s.t.Fatalf("%s, waiting for %s", state, want)
		}
	}
}

func TestEventsOfRuns(t *testing.T) {
	w := newWorld(t, withFunctions(count, functionNamed("counter")))
	w.get("bob", functions+"/counter/enable").want(200)
	run := func() {
		t.Helper()
		w.post("bob", api+"/data/rumpel/notes", fmt.Sprintf(`{"at":%q}`, time.Now())).want(201)
		w.get("bob", functions+"/counter/trigger").want(200)
	}
	run() // before anybody listens
	s := w.listen("")
	run()
	id := s.until("counter committed")
	s.close()

	run()
	run()
	s = w.listen(id)
	first, state := s.event()
	second, again := s.event()
	if state != "counter committed" || again != state || first == second {
		t.Errorf("after coming back: %s %s, %s %s", first, state, second, again)
	}
	all := w.listen("0")
	for range 4 {
		if _, state := all.event(); state != "counter committed" {
			t.Errorf("from the beginning: %s", state)
		}
	}
	w.call("GET", own+"/events", "bob", "", "Last-Event-ID", "x").want(400)
}

func TestSilentStreamsLive(t *testing.T) {
	w := newWorld(t, func(o *Options, _ *engine.Options) { o.heartbeat = time.Millisecond })
	s := w.listen("")
	s.line(": ")
	s.line(": ")
}

// Who holds a token of before a password change hears nothing from then on.
func TestStreamsEndWithTheirToken(t *testing.T) {
	w := newWorld(t, func(o *Options, _ *engine.Options) { o.heartbeat = time.Millisecond })
	s := w.listen("")
	s.line(": ")
	w.post("bob", password, `{"password":"testing","newPassword":"correct horse battery"}`).want(200)
	for range s.lines { // ends, or the test does not
	}
}

func TestStreamsAreBounded(t *testing.T) {
	w := newWorld(t)
	var open []*stream
	for range ownapi.EventsPerHAT {
		open = append(open, w.listen(""))
	}
	if a := w.get("bob", own+"/events").want(429); a.header.Get("Retry-After") == "" || a.header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("refused as %v", a.header)
	}
	// The vaults are free meanwhile, and a place is free again when its client has gone.
	w.get("bob", own+"/runs").want(200, `[]`)
	open[0].close()
	deadline := time.After(30 * time.Second)
	for tick := time.NewTicker(time.Millisecond); ; {
		status := w.looksIn()
		if status == http.StatusOK {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("a stream that has ended is counted: %d", status)
		}
	}
}

func TestStreamsEndWithTheServer(t *testing.T) {
	w := newWorld(t)
	s := w.listen("")
	w.stopEngine()
	for range s.lines {
	}
	r := must(http.NewRequestWithContext(t.Context(), http.MethodGet, w.url+own+"/events", nil))
	r.Host = w.bob.Domain.String()
	r.Header.Set(edge.TokenHeader, w.token("bob"))
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close() // and one that comes later ends at once
}
