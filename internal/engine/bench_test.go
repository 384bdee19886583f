package engine

import (
	"bytes"
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
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
	"she/internal/vault/ledger"
	"she/internal/vault/sqlite"
)

var (
	benchHATs    = flag.Int("hats", 200, "HATs of BenchmarkRuns; 1000 is what its target is about")
	benchBacklog = flag.Int("backlog", 1000, "HATs of BenchmarkBacklog; 10000 is what its target is about")
	benchPlaces  = flag.Int("places", 0, "vaults open at once in all benches; 0: the store's default")
	benchIdle    = flag.Int("idle", 1000, "HATs of BenchmarkIdle; 10000 is what its target is about")
	benchFlood   = flag.Int("flood", 2000, "records that one HAT writes at once in BenchmarkFairness; 10000 is what its target is about")
)

// A bench has real vaults and an engine in real time. Its function answers at once and reports each run on
// started.
type bench struct {
	dir     string
	store   *sqlite.Store
	engine  *Engine
	options Options
	started chan begun
	grant   access.Grant
	hats    []hat.ID
	owner   vault.User
	caller  access.Caller
	tenants map[string]int // index of the HAT by the running engine's token
}

// begun is a run whose function is being asked.
type begun struct {
	at  time.Time
	hat int
}

func (w *bench) HATs(context.Context) ([]hat.ID, error) { return w.hats, nil }
func (w *bench) Open(ctx context.Context, id hat.ID) (Vault, func(), error) {
	return w.store.Open(ctx, id)
}

func (w *bench) Init(context.Context, invoke.Request) (invoke.Answer, error) {
	return invoke.Answer{}, nil
}

func (w *bench) Invoke(_ context.Context, r invoke.Request) (invoke.Answer, error) {
	if r.Code.Name == "svc-dev-f-bundle" {
		return invoke.Answer{Payload: []byte(reading("a/x"))}, nil
	}
	w.started <- begun{time.Now(), w.tenants[string(r.Tenant)]}
	return invoke.Answer{Payload: []byte("[" + respond("she/out", []string{r.ID}) + "]")}, nil
}

// newBench creates the HATs in dir, each with the function switched on.
func newBench(b *testing.B, dir string, hats int) *bench {
	m, fault := contract.ParseConfiguration([]byte(configuration("f", individual, reading("a/x"))))
	if fault != nil {
		b.Fatal(fault)
	}
	f := unloaded("f", "she/out")
	f.Manifest = &m
	w := &bench{dir: dir, started: make(chan begun, hats+64)}
	w.options = Options{Vaults: w, Invoker: w, Functions: []catalog.Function{f}, Log: slog.New(slog.DiscardHandler)}
	grant, err := New(w.options).GrantFor(f.ID)
	if err != nil {
		b.Fatal(err)
	}
	w.grant, w.owner = grant, vault.User{ID: hat.NewUserID(), Username: "owner", Roles: []access.Role{{Title: access.TitleOwner}}, Enabled: true}
	w.caller = access.User(w.owner.ID, w.owner.Roles, access.TitleOwner)
	for n := range hats {
		w.hats = append(w.hats, hat.ID(fmt.Sprintf("hat-%08d", n)))
	}
	w.open(b)
	if hats > 0 {
		if err := w.store.Create(b.Context(), w.hats[0], w.owner); err != nil {
			b.Fatal(err)
		}
		w.with(b, 0, func(v *ledger.Vault) error {
			_, err := v.Enable(b.Context(), w.caller, w.grant)
			return err
		})
		w.copies(b, nil)
	}
	b.Cleanup(func() { w.close(b) })
	return w
}

func (w *bench) open(b *testing.B) {
	var err error
	if w.store, err = sqlite.NewStore(w.dir, sqlite.Options{MaxOpen: *benchPlaces}); err != nil {
		b.Fatal(err)
	}
}

func (w *bench) close(b *testing.B) {
	if err := w.store.Close(); err != nil {
		b.Error(err)
	}
}

// copies turns the vaults of all other HATs into copies of the first one's file, under their own ids, while
// nobody has them open. If at is not nil, pending work is dated as if it had been written then. Doing the
// same through the vaults would take minutes.
func (w *bench) copies(b *testing.B, at func(n int) time.Time) {
	var since time.Time
	if at != nil {
		w.with(b, 0, func(v *ledger.Vault) error {
			due, err := v.Due(b.Context())
			if err == nil {
				since = due[0].Since
			}
			return err
		})
	}
	w.close(b)
	defer w.open(b)
	path := func(n int) string { return filepath.Join(w.dir, string(w.hats[n])+".vault") }
	first, err := os.ReadFile(path(0))
	if err != nil {
		b.Fatal(err)
	}
	micros := func(t time.Time) []byte { return binary.BigEndian.AppendUint64(nil, uint64(t.UnixMicro())) } // in the form of a row
	for n := range w.hats {
		text := bytes.ReplaceAll(first, []byte(w.hats[0]), []byte(w.hats[n]))
		if at != nil {
			text = bytes.ReplaceAll(text, micros(since), micros(at(n)))
		}
		if err := os.WriteFile(path(n), text, 0o600); err != nil {
			b.Fatal(err)
		}
	}
}

// spent is the elapsed time and the processor time of this process. Processor time can be compared even
// while others use the machine.
type spent struct{ wall, cpu time.Duration }

func now() spent {
	var used syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &used) // never fails for one's own process
	return spent{time.Duration(time.Now().UnixNano()), time.Duration(used.Utime.Nano() + used.Stime.Nano())}
}

func (s *spent) since(began spent) {
	at := now()
	s.wall += at.wall - began.wall
	s.cpu += at.cpu - began.cpu
}

func (w *bench) with(b *testing.B, n int, do func(*ledger.Vault) error) {
	v, release, err := w.store.Open(b.Context(), w.hats[n])
	if err != nil {
		b.Fatal(err)
	}
	defer release()
	if err := do(v); err != nil {
		b.Fatal(err)
	}
}

// start runs an engine until stop is called.
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

// write commits records and returns the time after the commit.
func (w *bench) write(b *testing.B, n int, values ...string) time.Time {
	drafts := make([]hat.Draft, len(values))
	for i, value := range values {
		drafts[i] = hat.Draft{Endpoint: endpoint("a/x"), Data: value2data(value)}
	}
	w.with(b, n, func(v *ledger.Vault) error {
		_, err := v.Append(b.Context(), w.caller, drafts, false)
		return err
	})
	return time.Now()
}

// queue is the comparison without the engine. The same number of workers take the same transactions and the
// same function from a channel. It has no scan for work, no order, no fairness, and finds nothing again
// after a crash.
func (w *bench) queue(b *testing.B, work <-chan int) {
	f := w.options.Functions[0]
	var workers sync.WaitGroup
	for range 8 {
		workers.Go(func() {
			for n := range work {
				w.with(b, n, func(v *ledger.Vault) error {
					now := time.Now().UTC()
					p, err := v.Claim(b.Context(), vault.Claim{
						Function: f.ID, Run: hat.NewRunID(), Cause: plan.ByData, Now: now, Expires: now.Add(time.Minute),
					})
					if err != nil {
						return err
					}
					data := hat.Draft{Endpoint: w.grant.Output, Data: value2data(p.Run.String())}
					_, err = v.Commit(b.Context(), p, vault.Output{Responses: []contract.Response{{Drafts: []hat.Draft{data}}}})
					return err
				})
			}
		})
	}
	workers.Wait()
}

// BenchmarkRuns measures complete runs per second, from claim to commit, with one event waiting at each
// HAT. The same rounds run the comparison without the engine, which shows what the engine costs, and both
// in memory, which shows what durability costs.
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
			round := func() {
				for n := range w.hats {
					w.write(b, n, fmt.Sprint("e", rounds))
				}
				began := now()
				stop := w.start()
				for range w.hats {
					<-w.started
				}
				stop() // the last runs are committed
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
			round() // opens vaults and prepares statements
			engine, peer = spent{}, spent{}
			for b.Loop() {
				rounds++
				round()
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

// BenchmarkEventToRun measures the time from the commit of an event to the call of the process entry, after
// the bundle entry, on an idle server. The target is 3 ms, and 20 ms for the slowest of a hundred.
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

// BenchmarkBacklog starts a server whose HATs all have work and are listed in random order. It measures the
// time to the first and to the last run, and how far runs were from the order of age, on average and at
// most: with the order that the former process stored, and without it. The comparison without the engine is
// given the order.
func BenchmarkBacklog(b *testing.B) {
	for _, place := range []string{"kept", "lost"} {
		b.Run(place, func(b *testing.B) {
			w := newBench(b, b.TempDir(), *benchBacklog)
			places := rand.New(rand.NewPCG(1, 2)).Perm(len(w.hats)) // position in the order of age
			began := time.Now().Add(-time.Hour)
			age := func(n int) time.Time { return began.Add(time.Duration(places[n]) * 100 * time.Millisecond) }
			inOrder := make([]int, len(w.hats))
			for n, place := range places {
				inOrder[place] = n
			}
			if place == "kept" {
				kept := &memory{}
				for n, id := range w.hats {
					kept.all = append(kept.all, Wait{id, age(n)})
				}
				w.options.Waits = kept
			}
			var first, last time.Duration
			var engine, peer spent
			var off, furthest, rounds int
			for ; b.Loop(); rounds++ {
				b.StopTimer()
				w.write(b, 0, fmt.Sprint(rounds))
				w.copies(b, age)
				b.StartTimer()
				at := now()
				stop := w.start()
				for place := range w.hats {
					r := <-w.started
					if place == 0 {
						first += r.at.Sub(time.Unix(0, int64(at.wall)))
					}
					distance := max(place-places[r.hat], places[r.hat]-place)
					off, furthest = off+distance, max(furthest, distance)
				}
				stop()
				engine.since(at)
				last = engine.wall

				b.StopTimer()
				w.write(b, 0, fmt.Sprint("p", rounds))
				w.copies(b, age)
				work := make(chan int, len(w.hats))
				for _, n := range inOrder {
					work <- n
				}
				close(work)
				at = now()
				w.queue(b, work)
				peer.since(at)
				b.StartTimer()
			}
			runs := float64(rounds * len(w.hats))
			b.ReportMetric(first.Seconds()*1000/float64(rounds), "first-ms")
			b.ReportMetric(last.Seconds()*1000/float64(rounds), "last-ms")
			b.ReportMetric(float64(off)/runs, "places-off")
			b.ReportMetric(float64(furthest), "most-off")
			b.ReportMetric(engine.cpu.Seconds()*1000/runs, "cpu-ms/run")
			b.ReportMetric(peer.cpu.Seconds()*1000/runs, "peer-cpu-ms/run")
			b.ReportMetric(engine.wall.Seconds()/peer.wall.Seconds(), "she/peer")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkIdle measures the memory and descriptors that an unused HAT costs after it was scanned and
// closed again.
func BenchmarkIdle(b *testing.B) {
	w := newBench(b, b.TempDir(), *benchIdle)
	w.close(b)
	var closed, files float64
	for b.Loop() {
		before, beforeFiles := resident(b), descriptors(b)
		var err error
		if w.store, err = sqlite.NewStore(w.dir, sqlite.Options{MaxOpen: *benchPlaces, IdleFor: time.Millisecond}); err != nil {
			b.Fatal(err)
		}
		for n := range w.hats {
			w.with(b, n, func(v *ledger.Vault) error {
				_, err := v.Due(b.Context())
				return err
			})
		}
		for w.store.OpenVaults() > 0 {
			runtime.Gosched()
		}
		closed = float64(resident(b)-before) / float64(len(w.hats))
		files = float64(descriptors(b)-beforeFiles) / float64(len(w.hats))
		if err := w.store.Close(); err != nil {
			b.Error(err)
		}
	}
	w.open(b) // for the cleanup
	b.ReportMetric(closed, "B/idle-HAT")
	b.ReportMetric(files, "files/idle-HAT")
	b.ReportMetric(0, "ns/op")
}

// resident returns the memory of this process after it has given free memory back.
func resident(b *testing.B) int {
	debug.FreeOSMemory()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		b.Skip(err)
	}
	var all, pages int
	if _, err := fmt.Sscan(string(text), &all, &pages); err != nil {
		b.Fatal(err)
	}
	return pages * os.Getpagesize()
}

func descriptors(b *testing.B) int {
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		b.Skip(err)
	}
	return len(all)
}

// BenchmarkFairness: one HAT writes as fast as it can, another writes one record now and then. It measures
// how much later the other's runs begin than on an idle server. The target is 50 ms.
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
		q.add(dueTask(hat.ID(fmt.Sprint(n)), "f", n))
	}
	for n := 0; b.Loop(); n++ {
		t, _ := q.next(at(20_000 + n))
		q.add(t)
		q.done(t)
	}
}
