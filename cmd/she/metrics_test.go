package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	otlp "go.opentelemetry.io/proto/otlp/metrics/v1"
	"google.golang.org/protobuf/proto"

	"she/internal/server"
	"she/internal/shetest"
)

// Operators see figures at the socket and at an address of its own, a collector is sent the same, and nobody finds in
// them who the people are, what they stored or where.
func TestMetrics(t *testing.T) {
	collector := newCollector(t)
	dir := t.TempDir()
	s := &shetest.Server{Data: filepath.Join(dir, "data"), Program: standIn("steady", "")}
	makePeople(t, s.Data, []string{"alice", "bob"})
	var err error
	if s.Config, err = install(dir, standIns); err != nil {
		t.Fatal(err)
	}
	address := freeAddress(t)
	add(t, s.Config, "metrics: "+address+"\notlp: "+collector.URL+"\n")
	start(t, s)
	alice := s.Client("alice")
	ok := func(answer []byte, err error) []byte {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	ok(nil, alice.Login())
	const canary = "canary-5c1e"
	ok(alice.Until("GET", "/api/v2.6/she/function/each", regexp.MustCompile(`"available":true`)))
	ok(alice.Must("GET", "/api/v2.6/she/function/each/enable", nil))
	ok(alice.Must("POST", "/api/v2.6/data/in/a", []byte(`{"n":1,"v":1,"secret":"`+canary+`"}`)))
	ok(alice.Until("GET", "/api/v2.6/data/out/each", regexp.MustCompile(`"n":1`)))
	ok(alice.Until("GET", "/api/she/v1/functions/each/why", regexp.MustCompile(`waiting-for-data`)))
	if status, _, err := alice.Do("GET", "/api/v2.6/nowhere/"+canary, nil); status != http.StatusNotFound || err != nil {
		t.Fatal(status, err)
	}
	if status, _, err := alice.Do("GET", "/metrics", nil); status != http.StatusNotFound || err != nil {
		t.Errorf("the world is answered %d at /metrics: %v", status, err)
	}

	m, err := manage(t.Context(), s.Data, "", server.Reads)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	var people []server.HAT
	if err := m.Call(t.Context(), "GET", "/hats", nil, &people); err != nil {
		t.Fatal(err)
	}
	secrets := []string{canary, "in/a", "out/each", "out"}
	for _, p := range people {
		secrets = append(secrets, string(p.ID), p.Domain, strings.TrimSuffix(p.Domain, ".test"))
	}
	for from, get := range map[string]func() (*http.Response, error){
		"the socket":        func() (*http.Response, error) { return m.Client.Get("http://she/metrics") },
		"an address of its": func() (*http.Response, error) { return http.Get("http://" + address + "/metrics") },
	} {
		text := read(t, get)
		for _, line := range []string{
			`faas_invocations_total{faas_name="each-dev-each"} 1`,
			`faas_invocations_total{faas_name="each-dev-each-bundle"} 1`,
			`faas_coldstarts_total{faas_name="each-dev-each"} 1`,
			`faas_invoke_duration_seconds_count{faas_name="each-dev-each"} 1`,
			`faas_init_duration_seconds_count{faas_name="each-dev-each"} 1`,
			`faas_queue_duration_seconds_count{faas_name="each-dev-each"} 1`,
			`she_runs_total{fault="",function="each",outcome="committed"} 1`,
			`she_records_derived_total 1`,
			`she_oldest_pending_event_age_seconds 0`,
			`she_pending_parked 0`,
			`she_hats 2`,
			`she_hats_unscanned 0`,
			`she_commit_duration_seconds_count{op="append"} 1`,
			`she_commit_duration_seconds_count{op="claim"} 1`,
			`she_commit_duration_seconds_count{op="commit"} 1`,
			`she_http_requests_total{method="POST",route="/data/{namespace}/{endpoint...}",status="201"} 1`,
			`she_http_requests_total{method="",route="none",status="404"} 2`,
		} {
			if !strings.Contains(text, line+"\n") {
				t.Errorf("%s does not say %s", from, line)
			}
		}
		for _, name := range []string{"she_vaults_open ", "she_instances_busy ", "go_goroutines ", "process_resident_memory_bytes ", "she_run_queue_duration_seconds_bucket"} {
			if !strings.Contains(text, "\n"+name) {
				t.Errorf("%s has no %s", from, name)
			}
		}
		nothingOf(t, secrets, from, text)
	}
	if resp, err := http.Get("http://" + address + "/hats"); err != nil || resp.StatusCode != http.StatusNotFound {
		t.Errorf("the address for metrics answers more than metrics: %v", err)
	} else {
		_ = resp.Body.Close()
	}

	// A server that stops sends what there is to say.
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	sums, raw := collector.last(t)
	for name, want := range map[string]float64{"faas.invocations": 2 + float64(len(standIns)), "she_records_derived_total": 1, "faas.errors": 0} {
		if sums[name] != want {
			t.Errorf("the collector has %s = %v, want %v", name, sums[name], want)
		}
	}
	nothingOf(t, secrets, "the collector", raw)
}

// A collector is an OTLP receiver of the test.
type collector struct {
	*httptest.Server
	mu     sync.Mutex
	bodies [][]byte
}

func newCollector(t *testing.T) *collector {
	c := &collector{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Method != http.MethodPost || r.URL.Path != "/v1/metrics" || r.Header.Get("Content-Type") != "application/x-protobuf" {
			t.Errorf("the collector was asked %s %s %s %v", r.Method, r.URL, r.Header, err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.bodies = append(c.bodies, body)
	}))
	t.Cleanup(c.Close)
	return c
}

// last is the newest export: the sum of all points of each counter and histogram, and the bytes.
func (c *collector) last(t *testing.T) (map[string]float64, string) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.bodies) == 0 {
		t.Fatal("the collector was sent nothing")
	}
	body := c.bodies[len(c.bodies)-1]
	var data otlp.MetricsData
	if err := proto.Unmarshal(body, &data); err != nil {
		t.Fatal(err)
	}
	sums := map[string]float64{}
	for _, r := range data.ResourceMetrics {
		for _, s := range r.ScopeMetrics {
			for _, m := range s.Metrics {
				for _, p := range m.GetSum().GetDataPoints() {
					sums[m.Name] += p.GetAsDouble()
				}
				for _, p := range m.GetHistogram().GetDataPoints() {
					var n uint64
					for _, in := range p.BucketCounts {
						n += in
					}
					if n != p.Count || len(p.BucketCounts) != len(p.ExplicitBounds)+1 {
						t.Errorf("%s: %d buckets with %d of %d", m.Name, len(p.BucketCounts), n, p.Count)
					}
				}
			}
		}
	}
	return sums, string(body)
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// add appends to a she.yaml.
func add(t *testing.T, config, text string) {
	t.Helper()
	b, err := os.ReadFile(config)
	if err == nil {
		err = os.WriteFile(config, append(b, text...), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, get func() (*http.Response, error)) string {
	t.Helper()
	resp, err := get()
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status, err)
	}
	return string(text)
}

// nothingOf looks for words as whole values of labels, or anywhere if nothing else is spelled like them.
func nothingOf(t *testing.T, words []string, where, text string) {
	t.Helper()
	for _, w := range words {
		if len(w) < 5 && strings.Contains(text, fmt.Sprintf("%q", w)) || len(w) >= 5 && strings.Contains(text, w) {
			t.Errorf("%s says %q", where, w)
		}
	}
}

// An exporter whose collector is away says so once, and goes on.
func TestCollectorAway(t *testing.T) {
	dir := t.TempDir()
	config, err := install(dir, standIns[:1])
	if err != nil {
		t.Fatal(err)
	}
	add(t, config, "otlp: http://"+freeAddress(t)+"/\n")
	s := &shetest.Server{Data: filepath.Join(dir, "data"), Config: config, Program: standIn("steady", "")}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(s.Log.String(), "metrics can't be sent"); n != 1 {
		t.Errorf("said %d times that metrics can't be sent:\n%s", n, s.Log.String())
	}
}
