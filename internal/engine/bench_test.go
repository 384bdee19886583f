package engine

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"she/internal/access"
	"she/internal/catalog"
	"she/internal/contract"
	"she/internal/hat"
	"she/internal/invoke"
	"she/internal/plan"
	"she/internal/vault"
	"she/internal/vault/sqlite"
)

var (
	benchHATs    = flag.Int("hats", 200, "HATs of BenchmarkRuns; 1000 is what its target is about")
	benchBacklog = flag.Int("backlog", 1000, "HATs of BenchmarkBacklog; 10000 is what its target is about")
	benchPlaces  = flag.Int("places", 0, "vaults open at once in all benches; 0: the store's default")
	benchFlood   = flag.Int("flood", 2000, "records that one HAT writes at once in BenchmarkFairness; 10000 is what its target is about")
)

// A bench is real vaults and an engine in real time; its function answers at once and reports each run on started.
type bench struct {
	store   *sqlite.Store
	engine  *Engine
	options Options
	started chan begun
	grant   access.Grant
	hats    []string
	owners  []access.Caller
	tenants map[string]int // which HAT a token of the running engine stands for
}

// begun is a run whose function is being asked.
type begun struct {
	at  time.Time
	hat int
}

func (w *bench) HATs(context.Context) ([]string, error) { return w.hats, nil }
func (w *bench) Open(ctx context.Context, id string) (vault.Vault, func(), error) {
	return w.store.Open(ctx, id)
}

func (w *bench) Invoke(_ context.Context, r invoke.Request) (invoke.Answer, error) {
	if r.Code.Name == "svc-dev-f-bundle" {
		return invoke.Answer{Payload: []byte(reading("a/x"))}, nil
	}
	w.started <- begun{time.Now(), w.tenants[string(r.Tenant)]}
	return invoke.Answer{Payload: []byte("[" + respond("she/out", []string{r.ID}) + "]")}, nil
}

// newBench makes the HATs, each with the function switched on, in dir.
func newBench(b *testing.B, dir string, hats int) *bench {
	m, fault := contract.ParseConfiguration([]byte(configuration("f", individual, reading("a/x"))))
	if fault != nil {
		b.Fatal(fault)
	}
	f := unloaded("f", "she/out")
	f.Manifest = &m
	store, err := sqlite.NewStore(dir, sqlite.Options{MaxOpen: *benchPlaces})
	if err != nil {
		b.Fatal(err)
	}
	w := &bench{store: store, started: make(chan begun, hats+64)}
	w.options = Options{Vaults: w, Invoker: w, Functions: []catalog.Function{f}, Log: slog.New(slog.DiscardHandler)}
	if w.grant, err = New(w.options).GrantFor(f.ID); err != nil {
		b.Fatal(err)
	}
	for n := range hats {
		id := fmt.Sprint("hat-", n)
		owner := vault.User{ID: hat.NewUserID(), Username: id, Roles: []access.Role{{Title: access.TitleOwner}}, Enabled: true}
		if err := store.Create(b.Context(), id, owner); err != nil {
			b.Fatal(err)
		}
		w.hats, w.owners = append(w.hats, id), append(w.owners, access.User(owner.ID, owner.Roles, access.TitleOwner))
		w.with(b, n, func(v vault.Vault) error {
			_, err := v.Enable(b.Context(), w.owners[n], w.grant)
			return err
		})
	}
	b.Cleanup(func() {
		if err := store.Close(); err != nil {
			b.Error(err)
		}
	})
	return w
}

// spent is time, and how much of it the processors worked for this process: what can be compared while others use the
// machine too.
type spent struct{ wall, cpu time.Duration }

func now() spent {
	var used syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &used) // never fails for oneself
	return spent{time.Duration(time.Now().UnixNano()), time.Duration(used.Utime.Nano() + used.Stime.Nano())}
}

func (s *spent) since(began spent) {
	at := now()
	s.wall += at.wall - began.wall
	s.cpu += at.cpu - began.cpu
}

func (w *bench) with(b *testing.B, n int, do func(vault.Vault) error) {
	v, release, err := w.store.Open(b.Context(), w.hats[n])
	if err != nil {
		b.Fatal(err)
	}
	defer release()
	if err := do(v); err != nil {
		b.Fatal(err)
	}
}

// start lets an engine work until stop is called.
func (w *bench) start() (stop func()) {
	w.engine = New(w.options)
	w.tenants = make(map[string]int, len(w.hats))
	for n, id := range w.hats {
		w.tenants[w.engine.tenantOf(id)] = n
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = w.engine.Run(ctx)
	}()
	return func() {
		cancel()
		<-ended
	}
}

// write commits records; it answers when the commit was over.
func (w *bench) write(b *testing.B, n int, values ...string) time.Time {
	drafts := make([]hat.Draft, len(values))
	for i, value := range values {
		drafts[i] = hat.Draft{Endpoint: endpoint("a/x"), Data: value2data(value)}
	}
	w.with(b, n, func(v vault.Vault) error {
		_, err := v.Append(b.Context(), w.owners[n], drafts, false)
		return err
	})
	return time.Now()
}

// queue is the peer: the same transactions and the same function, taken from a channel by as many workers. What it does
// not have is the engine: no look for work, no order, no fairness, nothing found again after a crash.
func (w *bench) queue(b *testing.B, work <-chan int) {
	f := w.options.Functions[0]
	var workers sync.WaitGroup
	for range 8 {
		workers.Go(func() {
			for n := range work {
				w.with(b, n, func(v vault.Vault) error {
					now := time.Now().UTC()
					p, err := v.Claim(b.Context(), vault.Claim{
						Function: f.ID, Run: hat.NewRunID(), Cause: plan.ByData, Now: now, Expires: now.Add(time.Minute),
					})
					if err != nil {
						return err
					}
					data := hat.Draft{Endpoint: w.grant.Output, Data: value2data(p.Run.String())}
					_, err = v.Commit(b.Context(), p, vault.Output{Responses: []vault.Response{{Drafts: []hat.Draft{data}}}})
					return err
				})
			}
		})
	}
	workers.Wait()
}

// How many whole runs a second, claim to commit, when each of the HATs has one event waiting. Beside it in the same
// rounds the peer, which shows what the engine costs; and both in memory, which shows what durability costs.
func BenchmarkRuns(b *testing.B) {
	for _, place := range []string{"disk", "memory"} {
		b.Run(place, func(b *testing.B) {
			dir := b.TempDir()
			if place == "memory" {
				var err error
				if dir, err = os.MkdirTemp("/dev/shm", "she-bench-"); err != nil {
					b.Skip(err)
				}
				b.Cleanup(func() { _ = os.RemoveAll(dir) })
			}
			w := newBench(b, dir, *benchHATs)
			var engine, peer spent
			rounds := 0
			for ; b.Loop(); rounds++ {
				for n := range w.hats {
					w.write(b, n, fmt.Sprint("e", rounds))
				}
				began := now()
				stop := w.start()
				for range w.hats {
					<-w.started
				}
				stop() // the last are committed
				engine.since(began)

				work := make(chan int, len(w.hats))
				for n := range w.hats {
					w.write(b, n, fmt.Sprint("p", rounds))
					work <- n
				}
				close(work)
				began = now()
				w.queue(b, work)
				peer.since(began)
			}
			runs := float64(rounds * len(w.hats))
			b.ReportMetric(runs/engine.wall.Seconds(), "runs/s")
			b.ReportMetric(runs/peer.wall.Seconds(), "peer-runs/s")
			b.ReportMetric(engine.wall.Seconds()/peer.wall.Seconds(), "she/peer")
			b.ReportMetric(engine.cpu.Seconds()*1000/runs, "cpu-ms/run")
			b.ReportMetric(peer.cpu.Seconds()*1000/runs, "peer-cpu-ms/run")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// From the commit of an event to the moment the process entry is called, the bundle entry behind it, nothing else
// going on. The target is 3 ms, and 20 ms for the slowest of a hundred.
func BenchmarkEventToRun(b *testing.B) {
	w := newBench(b, b.TempDir(), 1)
	defer w.start()()
	var all []time.Duration
	for n := 0; b.Loop(); n++ {
		committed := w.write(b, 0, fmt.Sprint(n))
		w.engine.Wake(w.hats[0])
		all = append(all, (<-w.started).at.Sub(committed))
	}
	slices.Sort(all)
	b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(all[len(all)*99/100].Microseconds())/1000, "p99-ms")
	b.ReportMetric(0, "ns/op")
}

// A server starts over HATs that all have work. How long until the first run, until the last, and how far a run was from
// its place in the order of age: the first are begun before all HATs have been looked at.
func BenchmarkBacklog(b *testing.B) {
	w := newBench(b, b.TempDir(), *benchBacklog)
	var first, last, off time.Duration
	rounds := 0
	for ; b.Loop(); rounds++ {
		for n := range w.hats {
			w.write(b, n, fmt.Sprint(rounds))
		}
		began := time.Now()
		stop := w.start()
		sum := 0
		for place := range w.hats {
			r := <-w.started
			if place == 0 {
				first += r.at.Sub(began)
			}
			sum += max(place-r.hat, r.hat-place)
		}
		last += time.Since(began)
		off += time.Duration(sum / len(w.hats))
		stop()
	}
	b.ReportMetric(first.Seconds()*1000/float64(rounds), "first-ms")
	b.ReportMetric(last.Seconds()*1000/float64(rounds), "last-ms")
	b.ReportMetric(float64(off)/float64(rounds), "places-off")
	b.ReportMetric(0, "ns/op")
}

// One HAT writes as fast as it can, and another one record now and then: how much later its run begins than when nobody
// else does anything. The target is 50 ms.
func BenchmarkFairness(b *testing.B) {
	w := newBench(b, b.TempDir(), 2)
	defer w.start()()
	const quiet = 1
	probe := func(value string) time.Duration {
		committed := w.write(b, quiet, value)
		w.engine.Wake(w.hats[quiet])
		for {
			if r := <-w.started; r.hat == quiet {
				return r.at.Sub(committed)
			}
		}
	}
	var alone, beside []time.Duration
	for round := 0; b.Loop(); round++ {
		for n := range 20 {
			alone = append(alone, probe(fmt.Sprint("alone ", round, n)))
		}
		flooded := make(chan struct{})
		go func() {
			defer close(flooded)
			for n := range *benchFlood {
				w.write(b, 0, fmt.Sprint("flood ", round, n))
				w.engine.Wake(w.hats[0])
			}
		}()
		for n, more := 0, true; more; n++ {
			beside = append(beside, probe(fmt.Sprint("beside ", round, n)))
			select {
			case <-flooded:
				more = false
			default:
			}
		}
	}
	for _, all := range []struct {
		name  string
		times []time.Duration
	}{{"alone", alone}, {"beside", beside}} {
		slices.Sort(all.times)
		b.ReportMetric(float64(all.times[len(all.times)/2].Microseconds())/1000, all.name+"-p50-ms")
		b.ReportMetric(float64(all.times[len(all.times)*99/100].Microseconds())/1000, all.name+"-p99-ms")
	}
	b.ReportMetric(0, "ns/op")
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
