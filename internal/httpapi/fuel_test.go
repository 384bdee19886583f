package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"she/internal/edge"
	"she/internal/engine"
)

// What an owner asks for that costs too much for what is stored is a 400 that says what to change, in combinators, bundles
// and lists alike; what others ask for is answered.
func TestQuestionsThatCostTooMuch(t *testing.T) {
	w := newWorld(t)
	w.post("bob", api+"/data/a/a", `{"text":"`+strings.Repeat("the river was quiet ", 150_000)+`","n":1}`).want(201)
	queries := make([]string, 1500)
	properties := make([]string, 900)
	for i := range queries {
		queries[i] = fmt.Sprintf(`{"endpoint":"a/a","filters":[{"field":"m","operator":{"operator":"between","lower":%d,"upper":0}}]}`, i)
		if i < len(properties) {
			properties[i] = fmt.Sprintf(`"p%d":{"endpoints":[%s]}`, i, strings.Replace(queries[i], `"field":"m","operator":{"operator":"between"`,
				`"field":"n","transformation":{"transformation":"timestampExtract","part":"hour"},"operator":{"operator":"between"`, 1))
		}
	}
	w.call("POST", api+"/combinator/costly", "bob", "["+strings.Join(queries, ",")+"]").want(201)
	w.call("POST", api+"/data-bundle/costly", "bob", "{"+strings.Join(properties, ",")+"}").want(201)
	for path, says := range map[string]string{
		api + "/combinator/costly":  "most of it for filters",
		api + "/data-bundle/costly": "the bundle, at property p",
	} {
		r := w.call("GET", path, "bob", "").want(400)
		if body := string(r.body); !strings.Contains(body, says) || !strings.Contains(body, "costs too much") || strings.Contains(body, "river") {
			t.Errorf("GET %s answers %s", path, body)
		}
	}
	w.call("POST", api+"/combinator/modest", "bob", `[{"endpoint":"a/a","mapping":{"n":"n"}}]`).want(201)
	if got := w.call("GET", api+"/combinator/modest", "bob", "").want(200).records(); len(got) != 1 {
		t.Errorf("%d records", len(got))
	}

	many := make([]string, 101)
	for i := range many {
		many[i] = fmt.Sprintf("k%d=x", i)
	}
	w.call("GET", api+"/data/a/a?"+strings.Join(many, "&"), "bob", "").want(400)
	w.call("GET", api+"/data/a/a?"+strings.Join(many[1:], "&"), "bob", "").want(200)
}

// longer is a world in which bob's HAT has something to ask for that takes more than one turn, with one place for all.
func longer(t *testing.T, settings ...setting) (w *world, shares *engine.Shares) {
	shares = engine.NewShares(1)
	w = newWorld(t, append(settings, func(o *Options, _ *engine.Options) { o.Shares = shares })...)
	for _, who := range []string{"bob", "eve"} {
		w.post(who, api+"/data/a/a", `{"text":"`+strings.Repeat("the river was quiet ", 50_000)+`"}`).want(201)
		w.call("POST", api+"/combinator/long", who, `[{"endpoint":"a/a","filters":[{"field":"text",
			"transformation":{"transformation":"searchable"},"operator":{"operator":"find","search":"elsewhere"}}]}]`).want(201)
	}
	return w, shares
}

// waitFor lets others go on until so many evaluations wait.
func waitFor(shares *engine.Shares, waiting int) {
	for shares.Waiting() != waiting {
		runtime.Gosched()
	}
}

func mayTurn(t *testing.T, at *engine.Turns) {
	t.Helper()
	if err := at.Turn(t.Context(), 1<<22); err != nil {
		t.Fatal(err)
	}
}

// An evaluation that takes long waits while another HAT has its turn; what is short does not, of whichever HAT.
func TestLongEvaluationsTakeTurns(t *testing.T) {
	w, shares := longer(t)
	other := shares.Of("other")
	mayTurn(t, other)
	done := make(chan answer, 1)
	go func() { done <- w.call("GET", api+"/combinator/long", "bob", "") }()
	waitFor(shares, 1)
	for _, who := range []string{"bob", "eve"} {
		w.get(who, api+"/data/a/a?take=1").want(200)
		w.post(who, api+"/data/b/b", `{"n":1}`).want(201)
	}
	select {
	case <-done:
		t.Error("it went on without a place")
	default:
	}
	// At the next turn of the other, which has used more, it is bob's.
	over := make(chan error, 1)
	go func() { over <- other.Turn(t.Context(), 1<<40) }()
	(<-done).want(200)
	if err := <-over; err != nil {
		t.Error(err)
	}
	other.Rest()
	w.call("GET", api+"/combinator/long", "eve", "").want(200)
	waitFor(shares, 0)
	mayTurn(t, other) // nobody has kept the place
	other.Rest()
}

// Who hangs up ends the evaluation, wherever it is.
func TestHangingUpEndsAnEvaluation(t *testing.T) {
	ended := make(chan int, 100)
	w, shares := longer(t, func(o *Options, _ *engine.Options) {
		o.Observe = func(_, route string, status int, _ time.Duration) {
			if strings.Contains(route, "combinator") {
				ended <- status
			}
		}
	})
	for range 2 {
		<-ended // both were stored
	}
	other := shares.Of("other")
	mayTurn(t, other)
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, "GET", w.url+api+"/combinator/long", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = "bob.test:9000"
	r.Header.Set(edge.TokenHeader, w.token("bob"))
	gone := make(chan error, 1)
	go func() {
		_, err := http.DefaultClient.Do(r)
		gone <- err
	}()
	waitFor(shares, 1)
	cancel()
	<-ended
	if err := <-gone; err == nil {
		t.Error("it was answered")
	}
	waitFor(shares, 0)
	other.Rest()
}
