package engine

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"she/internal/access"
	"she/internal/catalog"
	"she/internal/contract"
	"she/internal/hat"
	"she/internal/invoke"
	"she/internal/vault"
	"she/internal/vault/sqlite"
)

// A bench is real vaults and an engine in real time; its function answers at once and reports each run on started.
type bench struct {
	store   *sqlite.Store
	engine  *Engine
	started chan time.Time
	hats    []string
	owners  []access.Caller
}

func (w *bench) HATs(context.Context) ([]string, error) { return w.hats, nil }
func (w *bench) Open(ctx context.Context, id string) (vault.Vault, func(), error) {
	return w.store.Open(ctx, id)
}

func (w *bench) Invoke(_ context.Context, r invoke.Request) (invoke.Answer, error) {
	if r.Code.Name == "svc-dev-f-bundle" {
		return invoke.Answer{Payload: []byte(reading("a/x"))}, nil
	}
	w.started <- time.Now()
	return invoke.Answer{Payload: []byte("[" + respond("she/out", []string{r.ID}) + "]")}, nil
}

func newBench(b *testing.B, hats int) *bench {
	m, fault := contract.ParseConfiguration([]byte(configuration("f", individual, reading("a/x"))))
	if fault != nil {
		b.Fatal(fault)
	}
	f := unloaded("f", "she/out")
	f.Manifest = &m
	store, err := sqlite.NewStore(b.TempDir(), sqlite.Options{})
	if err != nil {
		b.Fatal(err)
	}
	w := &bench{store: store, started: make(chan time.Time, hats+64)}
	w.engine = New(Options{Vaults: w, Invoker: w, Functions: []catalog.Function{f}, Log: slog.New(slog.DiscardHandler)})
	g, err := w.engine.GrantFor(f.ID)
	if err != nil {
		b.Fatal(err)
	}
	for n := range hats {
		id := fmt.Sprint("hat-", n)
		owner := vault.User{ID: hat.NewUserID(), Username: id, Roles: []access.Role{{Title: access.TitleOwner}}, Enabled: true}
		if err := store.Create(b.Context(), id, owner); err != nil {
			b.Fatal(err)
		}
		caller := access.User(owner.ID, owner.Roles, access.TitleOwner)
		v, release, err := store.Open(b.Context(), id)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := v.Enable(b.Context(), caller, g); err != nil {
			b.Fatal(err)
		}
		release()
		w.hats, w.owners = append(w.hats, id), append(w.owners, caller)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = w.engine.Run(ctx)
	}()
	b.Cleanup(func() {
		cancel()
		<-ended
		if err := store.Close(); err != nil {
			b.Error(err)
		}
	})
	return w
}

// write commits one record and wakes the engine; it answers when the commit was over.
func (w *bench) write(b *testing.B, n int, value string) time.Time {
	v, release, err := w.store.Open(b.Context(), w.hats[n])
	if err != nil {
		b.Fatal(err)
	}
	_, err = v.Append(b.Context(), w.owners[n], []hat.Draft{{Endpoint: endpoint("a/x"), Data: value2data(value)}}, false)
	release()
	if err != nil {
		b.Fatal(err)
	}
	committed := time.Now()
	w.engine.Wake(w.hats[n])
	return committed
}

// How many whole runs a second, claim to commit, when 200 HATs have one event each at a time.
func BenchmarkRuns(b *testing.B) {
	const hats = 200
	w := newBench(b, hats)
	for n := 0; b.Loop(); n++ {
		w.write(b, n%hats, fmt.Sprint(n))
		if n%hats == hats-1 {
			for range hats {
				<-w.started
			}
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "runs/s")
}

// From the commit of an event to the moment the process entry is called, the bundle entry behind it, nothing else
// going on.
func BenchmarkEventToRun(b *testing.B) {
	w := newBench(b, 1)
	var sum time.Duration
	for n := 0; b.Loop(); n++ {
		committed := w.write(b, 0, fmt.Sprint(n))
		sum += (<-w.started).Sub(committed)
	}
	b.ReportMetric(float64(sum.Microseconds())/float64(b.N), "µs/start")
}

func BenchmarkQueue(b *testing.B) {
	q := newQueue(4)
	for n := range 10_000 {
		q.add(dueTask(fmt.Sprint(n), "f", n))
	}
	for n := 0; b.Loop(); n++ {
		t, _ := q.next(at(20_000 + n))
		q.add(t)
		q.done(t)
	}
}
