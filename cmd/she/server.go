package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"she/internal/access"
	"she/internal/agreement"
	"she/internal/config"
	"she/internal/engine"
	"she/internal/gate"
	"she/internal/hat"
	"she/internal/httpapi"
	"she/internal/invoke"
	"she/internal/metrics"
	"she/internal/sandbox"
	"she/internal/sandbox/gvisor"
	"she/internal/sandbox/wasm"
	"she/internal/vault/sqlite"
	"she/runtimes"
)

// A server is a node that answers HTTP and runs functions.
type server struct {
	*node
	address string // where it listens
	engine  *engine.Engine
	invoker invoker

	metrics *metrics.Metrics
	log     *slog.Logger

	public, management *http.Server
	front              *gate.Gate   // of public
	scraped            *http.Server // nil: metrics are on the socket only
	socket             net.Listener
	stopEngine         context.CancelFunc
	parts              sync.WaitGroup // the engine, the HTTP servers, the exporter of metrics
	failed             chan error     // the first part that ended by itself
}

// An invoker runs functions, and knows which runtimes there are: *invoke.Invoker says what each method promises.
type invoker interface {
	engine.Invoker
	Supports(runtime string) (resolved, warning string, err error)
	Forget(pkg string)
	Sweep(ctx context.Context) error
	Close() error
}

type serverOptions struct {
	data, listen string
	config       config.Config
	log          io.Writer

	// For tests that end the server a thousand times: what runs functions instead of sandboxes, what the engine sees
	// of the vaults, and what sees each commit of one.
	invoker  invoker
	vaults   func(engine.Vaults) engine.Vaults
	atCommit func(ops []string, persisted bool) error
	// now is the clock of whatever is stored, due or signed, for tests where days have to pass; nil: time.Now. Sandboxes
	// have the host's.
	now func() time.Time
}

// Time a connection may idle. Bodies have their own limit in httpapi.
const (
	idleTimeout  = 2 * time.Minute
	drainTimeout = graceTime
	exportEvery  = 30 * time.Second
)

const (
	// fewConnections is for the management socket and the address of metrics.
	fewConnections = 128
	// maxManagementBody is bytes of a request of a command.
	maxManagementBody = 1 << 20
)

// A server that is told to stop ends in the middle of what it does after hardStop. Before that, requests and runs in flight
// have graceTime to end; after it they are cut off and given back, and what holds files is closed.
const (
	hardStop  = 9 * time.Second
	graceTime = 5 * time.Second
)

// startServer opens the data directory, sweeps what an earlier life left, and listens. The server runs until stop.
func startServer(ctx context.Context, o serverOptions) (_ *server, err error) {
	var helpers helpers
	if o.invoker == nil {
		if os.Geteuid() != 0 {
			return nil, errors.New("the server must run as root: sandboxes need it to make their mounts and cgroups")
		}
		if helpers, err = findHelpers(); err != nil {
			return nil, err
		}
	}
	applications, err := config.Applications(o.config.Applications)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", hat.Loopback(o.listen))
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", o.listen, err)
	}
	log := slog.New(slog.NewTextHandler(plainLines{o.log}, &slog.HandlerOptions{Level: o.config.Log}))
	s := &server{address: listener.Addr().String(), failed: make(chan error, 4), metrics: metrics.New(), log: log}
	// Undo in reverse what was begun, if a later step fails.
	var begun []func() error
	defer func() {
		for i := len(begun) - 1; err != nil && i >= 0; i-- {
			err = errors.Join(err, begun[i]())
		}
	}()
	begun = append(begun, listener.Close)
	connections, ofOne := connectionBounds(o.config)
	s.front = gate.New(listener, connections, ofOne)

	if s.node, err = openNode(o.data, o.config, sqlite.Options{
		AtCommit: o.atCommit, Observe: s.metrics.Transaction, Now: o.now, Reserve: eraseReserve,
		NotCompacted: func(id string, err error) {
			log.Warn("the file of a vault can't be compacted; what is erased leaves its room in it", "hat", id, "error", err)
		},
	}); err != nil {
		return nil, err
	}
	begun = append(begun, s.node.close)
	// A run holds one instance at a time, and waiting for one counts against its lease: as many runs as instances.
	instances := o.config.InstancesAtOnce()
	size := sizesFor(o.config, machineMemory(), explicitLimit(), min(cmp.Or(o.config.Runs, instances), instances))
	runs, memory := size.runs, engine.NewBudget(size.budget, size.reserved)
	s.front.Heavy = func(ctx context.Context, bytes int64) (func(), error) {
		held, err := memory.Acquire(ctx, engine.Headers, bytes)
		return held.Release, err
	}
	s.node.memory = memory
	if s.invoker = o.invoker; s.invoker == nil {
		if s.invoker, err = newInvoker(filepath.Join(o.data, "run"), helpers, instances, reserve(o.config)); err != nil {
			return nil, err
		}
	}
	begun = append(begun, s.invoker.Close)
	// Only the holder of the directory's lock may sweep: another server's sandboxes are not leftovers.
	if err = s.invoker.Sweep(ctx); err != nil {
		return nil, fmt.Errorf("sweep what an earlier server left: %w", err)
	}
	if s.socket, err = listenManagement(o.data); err != nil {
		return nil, err
	}
	begun = append(begun, s.socket.Close)

	installed, err := s.node.load(ctx, o.data, o.config, s.invoker)
	if err != nil {
		return nil, err
	}
	// Nothing runs yet, so nothing runs from the packages of functions that are registered no more.
	if _, err := installed.Prune(s.node.functions()); err != nil {
		log.Warn("packages that nobody uses can't be removed", "error", err)
	}
	s.node.metrics = s.metrics
	s.node.agreements = agreement.New(s.node.hats, func(kind agreement.Kind, id string, err error) {
		log.Error("what was proposed first can't be told", "kind", kind, "id", id, "error", err)
	})
	var vaults engine.Vaults = engineNode{s.node}
	if o.vaults != nil {
		vaults = o.vaults(vaults)
	}
	shares := engine.NewShares(0)
	s.engine = engine.New(engine.Options{
		Vaults: vaults, Invoker: s.metrics.Invoker(s.invoker), Functions: s.node.loaded, Log: log, Parallel: runs, Now: o.now,
		Quota: o.config.Quota, Memory: memory, Waits: waitsIn(o.data), Keep: keepKnown(o.data, o.now), Proposed: func(g access.Grant) {
			s.node.agreements.Changed(agreement.Function, g.Function.String(), access.TermsOf(g).Digest) // noted before anybody is shown it
		},
		Shares: shares, Grace: graceTime,
	})
	s.node.functions, s.node.runner = s.engine.Functions, s.engine
	public, own := httpapi.Both(httpapi.Options{
		HATs: s.node.hats, Named: s.node.named, Vaults: s.node, Functions: s.engine, Applications: applications, Log: log,
		Terms: s.node.agreements, TrustProxy: o.config.TrustProxy, Logins: s.node.logins, Observe: s.metrics.Request,
		Memory: memory, Known: s.front.Known, Seal: sealReader(o.data), Now: o.now, Shares: shares,
	})
	s.public = &http.Server{
		Handler:           public,
		ReadHeaderTimeout: gate.HeaderTimeout, IdleTimeout: idleTimeout, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	s.management = &http.Server{
		Handler: http.MaxBytesHandler(s.node.management(own), maxManagementBody), ReadHeaderTimeout: gate.HeaderTimeout, IdleTimeout: idleTimeout,
	}

	watched := metrics.Sources{
		Engine: s.engine.Stats, OpenVaults: s.node.vaults.OpenVaults, Uncompacted: s.node.vaults.Uncompacted, Waiting: shares.Waiting, HATs: func() int { return len(s.node.hats.List()) },
		Memory: memory.Stats, Connections: func() metrics.Connections { return metrics.Connections(s.front.Stats()) },
	}
	if real, ok := s.invoker.(*invoke.Invoker); ok {
		watched.Invoker, s.node.instances = real.Stats, real.Stats
	}
	s.metrics.Watch(watched)
	if o.config.Metrics != "" {
		scraped, err := net.Listen("tcp", hat.Loopback(o.config.Metrics))
		if err != nil {
			return nil, fmt.Errorf("metrics: %w", err)
		}
		mux := http.NewServeMux()
		mux.Handle("GET /metrics", s.metrics.OpenHandler())
		s.scraped = &http.Server{Handler: mux, ReadHeaderTimeout: gate.HeaderTimeout, WriteTimeout: gate.HeaderTimeout, IdleTimeout: idleTimeout}
		s.part("metrics", func() error { return gate.New(scraped, fewConnections, 0).Serve(s.scraped) })
	}

	engineCtx, stopEngine := context.WithCancel(context.WithoutCancel(ctx))
	s.stopEngine = stopEngine
	s.part("engine", func() error { return s.engine.Run(engineCtx) })
	s.part("former versions", func() error { s.node.forgetFormer(engineCtx, installed, log); return nil })
	s.part("public HTTP", func() error { return s.front.Serve(s.public) })
	s.part("management", func() error { return gate.New(s.socket, fewConnections, 0).Serve(s.management) })
	if o.config.OTLP != "" {
		exporter := s.metrics.Exporter(o.config.OTLP, rand.Text(), transport())
		s.part("otlp", func() error {
			exporter.Run(engineCtx, exportEvery, func(err error) {
				if err != nil {
					log.Warn("metrics can't be sent", "error", err)
				} else {
					log.Info("metrics are sent again")
				}
			})
			return nil
		})
	}
	return s, nil
}

// newInvoker makes what runs functions in sandboxes, instances at once, with its files below run. Functions leave that
// many bytes of its disk free.
func newInvoker(run string, h helpers, instances int, reserve int64) (*invoke.Invoker, error) {
	walls, err := gvisor.New(gvisor.Config{Runsc: h.runsc, Init: h.init, State: filepath.Join(run, "sandboxes"), Files: gvisor.Files})
	if err != nil {
		return nil, err
	}
	modules, err := newWasm(h, filepath.Join(run, "wasm"))
	if err != nil {
		return nil, errors.Join(err, walls.Close())
	}
	v, err := invoke.New(invoke.Config{
		Wasm:    modules,
		Sandbox: sandbox.WithReserve(walls, run, reserve), Runtimes: filepath.Join(run, "runtimes"), Images: filepath.Join(run, "images"), MaxInstances: instances,
		Find: runtimes.Finder{Compiled: filepath.Join(run, "compiled")},
	})
	if err != nil {
		if modules != nil {
			err = errors.Join(err, modules.Close())
		}
		return nil, errors.Join(err, walls.Close())
	}
	return v, nil
}

// newWasm makes what runs WebAssembly modules; nil without she-wasm, and functions that need it then say so.
func newWasm(h helpers, state string) (sandbox.Mechanism, error) {
	if h.wasm == "" {
		return nil, nil
	}
	return wasm.New(wasm.Config{Worker: h.wasm, State: state})
}

// part runs one of the server's endless loops; if it ends by itself the whole server must.
func (s *server) part(name string, run func() error) {
	s.parts.Go(func() {
		if err := run(); err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, context.Canceled) {
			select {
			case s.failed <- fmt.Errorf("%s: %w", name, err):
			default:
			}
		}
	})
}

// catchHangUps takes SIGHUP from now on until stop: a terminal that is closed, or somebody who expects the configuration to be
// read again, ends no server, not while it starts either.
func catchHangUps() (hangUps <-chan os.Signal, stop func()) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGHUP)
	return c, func() { signal.Stop(c) }
}

// untilStopped serves until ctx ends or a part of the server does, and stops.
func (s *server) untilStopped(ctx context.Context, stderr io.Writer, hangUps <-chan os.Signal) error {
	var err error
	for serving := true; serving; {
		select {
		case <-hangUps:
			s.log.Warn("SIGHUP is ignored: the configuration is read when the server starts; restart it to take changes up")
		case <-ctx.Done():
			serving = false
		case err = <-s.failed:
			serving = false
		}
	}
	return endWithin(hardStop, func() error { return errors.Join(err, s.stop()) }, func() {
		printf(stderr, "she: stopping takes longer than %v; the server ends in the middle of it. Nothing that was answered is lost, "+
			"and the next start takes up what was under way.\n", hardStop)
		os.Exit(exitFailed)
	})
}

// endWithin stops, and calls exit if that takes too long: an evaluation, a disk or a sandbox may not return. What is
// committed survives an end at any moment; leases and sandboxes of this life are taken back by the next one.
func endWithin(most time.Duration, stop func() error, exit func()) error {
	late := time.AfterFunc(most, exit)
	defer late.Stop()
	return stop()
}

// stop lets requests in flight end, finishes or abandons runs, and closes everything.
func (s *server) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	// Runs first: a request may be waiting for one.
	s.stopEngine()
	var err error
	for _, front := range []*http.Server{s.public, s.management, s.scraped} {
		if front == nil {
			continue
		}
		// Who is still connected then is cut off: no handler may touch a vault after it is closed.
		if front.Shutdown(ctx) != nil {
			err = errors.Join(err, front.Close())
		}
	}
	s.parts.Wait()
	return errors.Join(err, s.invoker.Close(), s.node.close())
}

// helpers are the programs beside this one. The probe is for the doctor only and may be missing; so may wasm, which is
// empty then, on a server without functions that need it.
type helpers struct{ runsc, init, probe, wasm string }

// findHelpers looks beside this program: all are built and installed together.
func findHelpers() (h helpers, err error) {
	self, err := os.Executable()
	if err != nil {
		return h, fmt.Errorf("find myself: %w", err)
	}
	dir := filepath.Dir(self)
	h = helpers{runsc: filepath.Join(dir, "runsc"), init: filepath.Join(dir, "she-init"), probe: filepath.Join(dir, "she-probe")}
	for _, path := range []string{h.runsc, h.init} {
		if !isProgram(path) {
			return h, fmt.Errorf("%s is missing from %s; she needs it beside itself: run make build", filepath.Base(path), dir)
		}
	}
	if path := filepath.Join(dir, "she-wasm"); isProgram(path) {
		h.wasm = path
	}
	return h, nil
}

func isProgram(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.IsDir() && info.Mode()&0o111 != 0
}

// eraseReserve is what of the disk is kept for erasing, disabling and the ends of runs, in bytes; of a small disk a quarter.
const eraseReserve = 64 << 20

// defaultReserve is what functions must leave free on the disk of the data directory, in bytes.
const defaultReserve = 1 << 30

func reserve(c config.Config) int64 {
	if c.ReserveMB != 0 {
		return int64(c.ReserveMB) << 20
	}
	return defaultReserve
}

func openLog(path string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	return os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
}
