package lambdaapi_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/google/uuid"

	"she/internal/accesskey"
	"she/internal/engine"
	"she/internal/hat"
	"she/internal/lambdaapi"
)

// files returns the files below a directory with their contents.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			all[path] = string(must(os.ReadFile(path)))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// run calls waiting events until stop.
func run(q *lambdaapi.Queue, w *world) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = q.Run(ctx, w, w.keys) }()
	return func() { cancel(); <-done }
}

// An accepted event is encrypted while it waits, survives a restart of the server, is called once, and is
// then gone.
func TestAnEventIsKeptUntilItIsDone(t *testing.T) {
	w := newWorld(t)
	out, err := w.client(w.key).Invoke(t.Context(), &lambda.InvokeInput{
		FunctionName: aws.String(counter), InvocationType: types.InvocationTypeEvent, Payload: []byte(`{"text":"` + canary + `"}`),
	})
	if err != nil || out.StatusCode != 202 {
		t.Fatalf("%+v, %v", out, err)
	}
	waiting := files(t, filepath.Join(w.dir, "lambda"))
	if len(waiting) != 3 {
		t.Errorf("%d files of one event", len(waiting))
	}
	for path, text := range waiting {
		if strings.Contains(text, canary) || strings.Contains(path, canary) {
			t.Errorf("%s holds the payload in clear", path)
		}
	}
	// The restarted server finds it.
	called := make(chan engine.Direct, 2)
	w.answers(func(d engine.Direct) engine.Reply { called <- d; return engine.Reply{Payload: []byte("1")} })
	again := must(lambdaapi.OpenQueue(w.dir, nil, w.clock))
	stop := run(again, w)
	d := <-called
	if string(d.Event) != `{"text":"`+canary+`"}` || d.Entry.Name != counter {
		t.Errorf("called with %s", d.Entry.Name)
	}
	for tick := time.NewTicker(time.Millisecond); again.Waiting() > 0; <-tick.C {
	}
	stop()
	if left := files(t, filepath.Join(w.dir, "lambda")); len(left) > 0 {
		t.Errorf("left behind: %d files", len(left))
	}
	if len(called) > 0 {
		t.Error("called twice")
	}
}

// A failing function is called three times: immediately, after one minute, and after two more minutes. Then
// the event is dropped. If the function can't run for another reason, the event waits for up to six hours.
func TestEventsAreTriedAgain(t *testing.T) {
	for name, c := range map[string]struct {
		fault *hat.Fault
		calls int32
		ends  time.Duration
	}{
		"its own fault":   {hat.NewFault(hat.Author, "KeyError", "it failed"), 3, 3 * time.Minute},
		"the operator's":  {hat.NewFault(hat.Operator, "Sandbox.Failed", "no room"), 6*60*2 + 1, 6 * time.Hour},
		"nobody's, it is": {nil, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			keys := must(accesskey.Open(dir))
			key := must(keys.Create(nil, "", time.Now()))
			synctest.Test(t, func(t *testing.T) {
				var calls atomic.Int32
				w := &world{t: t, keys: keys}
				w.answers(func(engine.Direct) engine.Reply { calls.Add(1); return engine.Reply{Fault: c.fault} })
				q := must(lambdaapi.OpenQueue(dir, nil, nil))
				stop := run(q, w)
				began := time.Now()
				if err := q.Add(key.ID, counter, uuid.NewString(), []byte(`{}`)); err != nil {
					t.Fatal(err)
				}
				for q.Waiting() > 0 {
					time.Sleep(time.Second) // in the test's bubble
				}
				if took := time.Since(began); calls.Load() != c.calls || took < c.ends || took > c.ends+2*time.Second {
					t.Errorf("%d calls, given up after %s; want %d, %s", calls.Load(), took, c.calls, c.ends)
				}
				stop()
			})
		})
	}
}

// The number of waiting events of a key is bounded, without counting those of other keys.
func TestEventsOfOneKeyAreBounded(t *testing.T) {
	dir := t.TempDir()
	q := must(lambdaapi.OpenQueue(dir, nil, nil))
	event := []byte(`"` + strings.Repeat("x", 1<<20-2) + `"`)
	added := 0
	for ; added < 100; added++ {
		if err := q.Add("one", counter, uuid.NewString(), event); err != nil {
			if err != lambdaapi.ErrQueueFull {
				t.Fatal(err)
			}
			break
		}
	}
	if added != 64 {
		t.Errorf("%d MB of events wait", added)
	}
	if err := q.Add("another", counter, uuid.NewString(), event); err != nil {
		t.Error(err)
	}
	if again := must(lambdaapi.OpenQueue(dir, nil, nil)); again.Waiting() != 65 {
		t.Errorf("%d wait after a restart", again.Waiting())
	}
}

// An incomplete event, which was never accepted, is removed. An altered file is not accepted as an event.
func TestHalfAnEvent(t *testing.T) {
	w := newWorld(t)
	id := uuid.NewString()
	if err := w.queue.Add(w.key.ID, counter, id, []byte(`{}`)); err != nil {
		t.Fatal(err)
	}
	at := func(sub, name string) string { return filepath.Join(w.dir, "lambda", sub, name) }
	for _, path := range []string{at("keys", "half.key"), at("events", "half.sealed")} {
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	sealed := []byte(files(t, w.dir)[at("events", id+".sealed")])
	sealed[len(sealed)-1] ^= 1
	if err := os.WriteFile(at("events", id+".sealed"), sealed, 0o600); err != nil {
		t.Fatal(err)
	}
	w.answers(func(engine.Direct) engine.Reply { t.Error("called with what was altered"); return engine.Reply{} })
	q := must(lambdaapi.OpenQueue(w.dir, nil, w.clock))
	stop := run(q, w)
	for tick := time.NewTicker(time.Millisecond); q.Waiting() > 0; <-tick.C {
	}
	stop()
	if left := files(t, filepath.Join(w.dir, "lambda")); len(left) > 0 {
		t.Errorf("%d files are left", len(left))
	}
}

// The server may have died between any two steps of the end of an event: what is left is nobody's, and is swept. What can't
// be read may be somebody's, and stays with its key.
func TestEventsThatWereBeingErased(t *testing.T) {
	w := newWorld(t)
	at := func(id, what string) string {
		if what == "key" {
			return filepath.Join(w.dir, "lambda", "keys", id+".key")
		}
		return filepath.Join(w.dir, "lambda", "events", id+"."+what)
	}
	for _, gone := range [][]string{{"key"}, {"key", "sealed"}, {"key", "json"}, {"sealed"}, {"json"}} {
		id := uuid.NewString()
		if err := w.queue.Add(w.key.ID, counter, id, []byte(`{}`)); err != nil {
			t.Fatal(err)
		}
		for _, what := range gone {
			if err := os.Remove(at(id, what)); err != nil {
				t.Fatal(err)
			}
		}
	}
	unclear := uuid.NewString()
	if err := w.queue.Add(w.key.ID, counter, unclear, []byte(`{}`)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(at(unclear, "json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if q := must(lambdaapi.OpenQueue(w.dir, nil, w.clock)); q.Waiting() != 0 {
		t.Errorf("%d wait", q.Waiting())
	}
	left := files(t, filepath.Join(w.dir, "lambda"))
	for _, what := range []string{"key", "sealed", "json"} {
		if _, there := left[at(unclear, what)]; !there {
			t.Errorf("the %s of an event that can't be read is gone", what)
		}
	}
	if len(left) != 3 {
		t.Errorf("%d files are left, want 3", len(left))
	}
}

// Whatever happens to the clock, and to a disk for a while, an event that was accepted is called.
func TestEventsOutliveAClock(t *testing.T) {
	for name, shift := range map[string]time.Duration{"a day before": -24 * time.Hour, "a day after": 24 * time.Hour, "an hour before": -time.Hour} {
		for _, restart := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				w := newWorld(t)
				w.queue = must(lambdaapi.OpenQueue(w.dir, nil, w.clock))
				if err := w.queue.Add(w.key.ID, counter, uuid.NewString(), []byte(`{}`)); err != nil {
					t.Fatal(err)
				}
				w.advance(shift)
				if restart {
					w.queue = must(lambdaapi.OpenQueue(w.dir, nil, w.clock))
				}
				called := make(chan struct{}, 1)
				w.answers(func(engine.Direct) engine.Reply { called <- struct{}{}; return engine.Reply{} })
				stop := run(w.queue, w)
				defer stop()
				for tick := time.NewTicker(time.Millisecond); w.queue.Waiting() > 0; <-tick.C {
				}
				if len(called) != 1 {
					t.Error("given up without a call")
				}
			})
		}
	}
}

func TestAnEventThatCantBeReadForAWhile(t *testing.T) {
	dir := t.TempDir()
	keys := must(accesskey.Open(dir))
	key := must(keys.Create(nil, "", time.Now()))
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int32
		w := &world{t: t, keys: keys}
		w.answers(func(engine.Direct) engine.Reply { calls.Add(1); return engine.Reply{} })
		q := must(lambdaapi.OpenQueue(dir, nil, nil))
		id := uuid.NewString()
		if err := q.Add(key.ID, counter, id, []byte(`{}`)); err != nil {
			t.Fatal(err)
		}
		sealed := filepath.Join(dir, "lambda", "events", id+".sealed")
		if err := errors.Join(os.Rename(sealed, sealed+"-aside"), os.Mkdir(sealed, 0o700)); err != nil {
			t.Fatal(err)
		}
		stop := run(q, w)
		defer stop()
		time.Sleep(45 * time.Second) // of the bubble
		if q.Waiting() != 1 {
			t.Fatal("given up because its file could not be read once")
		}
		if err := errors.Join(os.Remove(sealed), os.Rename(sealed+"-aside", sealed)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if q.Waiting() != 0 || calls.Load() != 1 {
			t.Errorf("%d wait, %d calls", q.Waiting(), calls.Load())
		}
	})
}

// A key with many events does not go before one with few.
func TestEventsOfKeysTakeTurns(t *testing.T) {
	w := newWorld(t)
	many, few := must(w.keys.Create(nil, "", w.now)), must(w.keys.Create(nil, "", w.now))
	add := func(key accesskey.Key) {
		t.Helper()
		if err := w.queue.Add(key.ID, counter, uuid.NewString(), []byte(`{}`)); err != nil {
			t.Fatal(err)
		}
		w.advance(time.Second)
	}
	called, goOn := make(chan string), make(chan struct{})
	w.answers(func(d engine.Direct) engine.Reply { called <- d.Caller; <-goOn; return engine.Reply{} })
	for range 8 {
		add(many)
	}
	stop := run(w.queue, w)
	for range 4 {
		<-called
	}
	add(few)
	goOn <- struct{}{}
	if next := <-called; next != few.ID {
		t.Error("one event of another key waits for eight of the first")
	}
	go func() { // the rest
		for range called {
		}
	}()
	close(goOn)
	for tick := time.NewTicker(time.Millisecond); w.queue.Waiting() > 0; <-tick.C {
	}
	stop()
	close(called)
}
