// Package server assembles the engine: a data directory that answers HTTP and runs functions until it is
// stopped, and the management API for the operator's commands.
package server

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
	"slices"
	"sync"
	"syscall"
	"time"

	"she/internal/access"
	"she/internal/agreement"
	"she/internal/catalog"
	"she/internal/config"
	"she/internal/engine"
	"she/internal/gate"
	"she/internal/hat"
	"she/internal/hatapi"
	"she/internal/httpapi"
	"she/internal/invoke"
	"she/internal/lambdaapi"
	"she/internal/local"
	"she/internal/metrics"
	"she/internal/runtimes"
	"she/internal/sandbox"
	"she/internal/sandbox/gvisor"
	"she/internal/sandbox/prove"
	"she/internal/sandbox/wasm"
	"she/internal/vault/sqlite"
	"she/internal/verdict"
)

// DefaultListen is the default address.
const DefaultListen = "127.0.0.1:7777"

// A Server is a node that answers HTTP and runs functions.
type Server struct {
	Address string // where it listens
	options Options
	opened  []func() error // what undo closes
	*node
	engine     *engine.Engine
	invoker    Invoker
	runs       int // bound of runs at once
	memory     *engine.Budget
	shares     *engine.Shares
	agreements *agreement.Terms // terms that were proposed and shown

	metrics *metrics.Metrics
	log     *slog.Logger

	public, management *http.Server
	front              *gate.Gate   // of the public address
	scraped            *http.Server // nil: metrics are only on the socket
	scrapes            net.Listener // of scraped
	lambda             *http.Server // nil: functions are called for HATs alone
	callers            *gate.Gate   // of lambda
	events             *lambdaapi.Queue
	socket             net.Listener
	stopEngine         context.CancelFunc
	parts              sync.WaitGroup // the engine, the HTTP servers, the exporter of metrics
	failed             chan error     // receives the first part that ends by itself
}

// An Invoker runs functions and knows the available runtimes; *invoke.Invoker documents the methods.
type Invoker interface {
	engine.Invoker
	Supports(runtime string) (resolved, warning string, err error)
	Forget(pkg string)
	Sweep(ctx context.Context) error
	Close() error
}

type Options struct {
	Data, Listen string
	Config       config.Config
	Log          io.Writer // receives lines for people

	// For tests that stop the server a thousand times: an Invoker instead of sandboxes, a wrapper of the
	// engine's vaults, and a hook at each commit.
	Invoker  Invoker
	Vaults   func(engine.Vaults) engine.Vaults
	AtCommit func(ops []string, persisted bool) error
	// Now is the clock for everything that is stored, due or signed, for tests in which days pass; nil:
	// time.Now. Sandboxes have the host's clock.
	Now func() time.Time
}

// How long a connection may be idle. Bodies have limits of their own.
const (
	idleTimeout  = 2 * time.Minute
	drainTimeout = graceTime
	exportEvery  = 30 * time.Second
)

const (
	// fewConnections bounds those of the management socket and the metrics address.
	fewConnections = 128
	// maxManagementBody bounds the bytes of a command's request.
	maxManagementBody = 1 << 20
)

// When a server is told to stop, requests and runs in flight have graceTime to end. Then they are cut off and
// given back, and files are closed. After hardStop the process exits in any case.
const (
	hardStop  = 9 * time.Second
	graceTime = 5 * time.Second
)

// Start opens the data directory, removes what an earlier process left, and listens. The server runs until
// Stop.
func Start(ctx context.Context, o Options) (_ *Server, err error) {
	helpers, err := helpersFor(o)
	if err != nil {
		return nil, err
	}
	applications, err := config.Applications(o.Config.Applications)
	if err != nil {
		return nil, err
	}
	s := &Server{
		options: o,
		failed:  make(chan error, 4),
		metrics: metrics.New(),
		log:     slog.New(slog.NewTextHandler(o.Log, &slog.HandlerOptions{Level: o.Config.Log})),
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.undo())
		}
	}()
	if err := s.listen(); err != nil {
		return nil, err
	}
	if err := s.openData(); err != nil {
		return nil, err
	}
	if err := s.openWalls(ctx, helpers); err != nil {
		return nil, err
	}
	if err := s.listenToOperator(); err != nil {
		return nil, err
	}
	if err := s.listenToCallers(); err != nil {
		return nil, err
	}
	functions, err := s.install(ctx)
	if err != nil {
		return nil, err
	}
	s.makeEngine(functions)
	s.makeHandlers(applications)
	s.run(ctx, functions)
	return s, nil
}

// helpersFor finds the programs that sandboxes need, unless a test has its own Invoker.
func helpersFor(o Options) (h Helpers, err error) {
	if o.Invoker != nil {
		return h, nil
	}
	if os.Geteuid() != 0 {
		return h, errors.New("the server must run as root: sandboxes need it to make their mounts and cgroups")
	}
	return FindHelpers()
}

// undo closes what the steps of a start have opened, in reverse order, when a later step fails.
func (s *Server) undo() (err error) {
	for _, closeIt := range slices.Backward(s.opened) {
		err = errors.Join(err, closeIt())
	}
	return err
}

// listen opens the public address. Requests are answered only after run.
func (s *Server) listen() error {
	listener, err := net.Listen("tcp", hat.Loopback(s.options.Listen))
	if err != nil {
		return fmt.Errorf("listen on %s: %w", s.options.Listen, err)
	}
	s.opened = append(s.opened, listener.Close)
	s.Address = listener.Addr().String()
	connections, ofOne := connectionBounds(s.options.Config)
	s.front = gate.New(listener, connections, ofOne)
	return nil
}

// openData locks and opens the data directory.
func (s *Server) openData() (err error) {
	o := s.options
	s.node, err = openNode(o.Data, o.Config, sqlite.Options{
		AtCommit: o.AtCommit,
		Observe:  s.metrics.Transaction,
		Now:      o.Now,
		Reserve:  eraseReserve,
		NotCompacted: func(id hat.ID, err error) {
			s.log.Warn("the file of a vault can't be compacted; it does not shrink when data is erased", "hat", id, "error", err)
		},
	})
	if err != nil {
		return err
	}
	s.opened = append(s.opened, s.node.close)
	s.agreements = agreement.New(s.node.hats, func(kind agreement.Kind, id string, err error) {
		s.log.Error("the first proposal of terms can't be read or stored", "kind", kind, "id", id, "error", err)
	})
	return nil
}

// openWalls creates the invoker, divides the memory, and removes what an earlier process left.
func (s *Server) openWalls(ctx context.Context, helpers Helpers) (err error) {
	o := s.options
	// A run holds one instance at a time, and waiting for one counts against its lease. So there are as many
	// runs as instances.
	instances := o.Config.InstancesAtOnce()
	size := sizesFor(o.Config, machineMemory(), explicitLimit(), min(cmp.Or(o.Config.Runs, instances), instances))
	s.runs, s.memory = size.runs, engine.NewBudget(size.budget, size.reserved)
	s.front.Heavy = func(ctx context.Context, known bool, bytes int64) (func(), error) {
		tenant := engine.Headers
		if known {
			tenant = engine.KnownHeaders
		}
		held, err := s.memory.Acquire(ctx, tenant, bytes)
		return held.Release, err
	}
	if s.invoker = o.Invoker; s.invoker == nil {
		if s.invoker, err = NewInvoker(filepath.Join(o.Data, "run"), helpers, instances, Reserve(o.Config)); err != nil {
			return err
		}
	}
	s.opened = append(s.opened, s.invoker.Close)
	// Only the holder of the directory's lock may sweep, because another server's sandboxes are in use.
	if err := s.invoker.Sweep(ctx); err != nil {
		return fmt.Errorf("remove what an earlier server left: %w", err)
	}
	return nil
}

// listenToOperator opens the management socket and, if configured, the metrics address.
func (s *Server) listenToOperator() (err error) {
	if s.socket, err = listenManagement(s.options.Data); err != nil {
		return err
	}
	s.opened = append(s.opened, s.socket.Close)
	if s.options.Config.Metrics == "" {
		return nil
	}
	if s.scrapes, err = net.Listen("tcp", hat.Loopback(s.options.Config.Metrics)); err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	s.opened = append(s.opened, s.scrapes.Close)
	return nil
}

// listenToCallers opens the address of Lambda's API, if one is configured, and the queue of waiting events.
func (s *Server) listenToCallers() (err error) {
	if s.options.Config.Lambda == "" {
		return nil
	}
	listener, err := net.Listen("tcp", hat.Loopback(s.options.Config.Lambda))
	if err != nil {
		return fmt.Errorf("lambda: %w", err)
	}
	s.opened = append(s.opened, listener.Close)
	connections, ofOne := connectionBounds(s.options.Config)
	s.callers = gate.New(listener, connections, ofOne)
	s.callers.Heavy = s.front.Heavy // the same memory: strangers are strangers at both addresses
	s.events, err = lambdaapi.OpenQueue(s.options.Data, s.log, s.options.Now)
	return err
}

// install publishes the registered functions and removes unused packages. Nothing runs yet, so no removed
// package is in use.
func (s *Server) install(ctx context.Context) (installed, error) {
	functions, err := load(ctx, s.options.Data, s.options.Config, s.invoker)
	if err != nil {
		return functions, err
	}
	if _, err := functions.catalog.Prune(functions.all); err != nil {
		s.log.Warn("packages that nobody uses can't be removed", "error", err)
	}
	return functions, nil
}

// makeEngine creates the engine over the vaults and the invoker.
func (s *Server) makeEngine(functions installed) {
	o := s.options
	var vaults engine.Vaults = engineNode{s.node, s.metrics}
	if o.Vaults != nil {
		vaults = o.Vaults(vaults)
	}
	s.shares = engine.NewShares(0)
	s.engine = engine.New(engine.Options{
		Vaults:    vaults,
		Invoker:   s.metrics.Invoker(s.invoker),
		Functions: functions.all,
		Log:       s.log,
		Parallel:  s.runs,
		Now:       o.Now,
		Quota:     o.Config.Quota,
		Memory:    s.memory,
		Waits:     waitsIn(o.Data),
		Keep:      keepKnown(o.Data, o.Now),
		Proposed: func(g access.Grant) { // stored before anybody is shown the terms
			s.agreements.Changed(agreement.Function, g.Function.String(), access.TermsOf(g).Digest)
		},
		Shares: s.shares,
		Grace:  graceTime,
	})
}

// makeHandlers creates the HTTP servers and connects the metrics.
func (s *Server) makeHandlers(applications []hatapi.Application) {
	o := s.options
	public, own := httpapi.Both(httpapi.Options{
		HATs:         s.node.hats,
		Named:        s.node.named,
		Vaults:       edgeNode{s.node},
		Functions:    s.engine,
		Applications: applications,
		Log:          s.log,
		Terms:        s.agreements,
		TrustProxy:   o.Config.TrustProxy,
		Logins:       s.node.logins,
		Observe:      s.metrics.Request,
		Memory:       s.memory,
		Known:        s.front.Known,
		Seal:         Verdict(o.Data),
		Now:          o.Now,
		Shares:       s.shares,
		Debits:       o.Config.Debits,
	})
	managed := management{node: s.node, own: own, functions: s.engine.Functions, memory: s.memory, metrics: s.metrics}
	watched := metrics.Sources{
		Engine:      s.engine.Stats,
		OpenVaults:  s.node.vaults.OpenVaults,
		Uncompacted: s.node.vaults.Uncompacted,
		Waiting:     s.shares.Waiting,
		HATs:        func() int { return len(s.node.hats.List()) },
		Memory:      s.memory.Stats,
		Connections: func() metrics.Connections { return metrics.Connections(s.front.Stats()) },
	}
	if real, ok := s.invoker.(*invoke.Invoker); ok {
		watched.Invoker, managed.instances = real.Stats, real.Stats
	}
	s.metrics.Watch(watched)

	s.public = httpServer(s.log, public)
	s.management = &http.Server{
		Handler:           http.MaxBytesHandler(managed.handler(), maxManagementBody),
		ReadHeaderTimeout: gate.HeaderTimeout,
		IdleTimeout:       idleTimeout,
	}
	if s.callers != nil {
		s.lambda = httpServer(s.log, lambdaapi.New(lambdaapi.Options{
			Functions: s.engine,
			Keys:      s.node.keys,
			Events:    s.events,
			Memory:    s.memory,
			Known:     s.callers.Known,
			Log:       s.log,
			Now:       o.Now,
		}))
	}
	if s.scrapes != nil {
		mux := http.NewServeMux()
		mux.Handle("GET /metrics", s.metrics.OpenHandler())
		s.scraped = &http.Server{
			Handler:           mux,
			ReadHeaderTimeout: gate.HeaderTimeout,
			WriteTimeout:      gate.HeaderTimeout,
			IdleTimeout:       idleTimeout,
		}
	}
}

// httpServer serves strangers. It has no ReadTimeout, which would also end a request that is still being
// handled after its body was read.
func httpServer(log *slog.Logger, h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: gate.HeaderTimeout,
		IdleTimeout:       idleTimeout,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
}

// run starts the server's parts. They go on after ctx has ended, until Stop.
func (s *Server) run(ctx context.Context, functions installed) {
	ctx, s.stopEngine = context.WithCancel(context.WithoutCancel(ctx))
	s.part("engine", func() error { return s.engine.Run(ctx) })
	s.part("former versions", func() error { s.node.forgetFormer(ctx, functions, s.log); return nil })
	s.part("public HTTP", func() error { return s.front.Serve(s.public) })
	s.part("management", func() error { return gate.New(s.socket, fewConnections, 0).Serve(s.management) })
	if s.scraped != nil {
		s.part("metrics", func() error { return gate.New(s.scrapes, fewConnections, 0).Serve(s.scraped) })
	}
	if s.lambda != nil {
		s.part("lambda", func() error { return s.callers.Serve(s.lambda) })
		s.part("events", func() error { return s.events.Run(ctx, s.engine, s.node.keys) })
	}
	if s.options.Config.OTLP != "" {
		exporter := s.metrics.Exporter(s.options.Config.OTLP, rand.Text(), local.Transport())
		s.part("otlp", func() error {
			exporter.Run(ctx, exportEvery, func(err error) {
				if err != nil {
					s.log.Warn("metrics can't be sent to the collector", "error", err)
				} else {
					s.log.Info("metrics are sent again")
				}
			})
			return nil
		})
	}
}

// NewInvoker returns an invoker with sandboxes, for that many instances at once, with its files below run.
// Functions leave reserve bytes of its disk free.
func NewInvoker(run string, h Helpers, instances int, reserve int64) (*invoke.Invoker, error) {
	walls, err := gvisor.New(gvisor.Config{Runsc: h.Runsc, Init: h.Init, State: filepath.Join(run, "sandboxes"), Files: gvisor.Files})
	if err != nil {
		return nil, err
	}
	modules, err := newWasm(h, filepath.Join(run, "wasm"))
	if err != nil {
		return nil, errors.Join(err, walls.Close())
	}
	v, err := invoke.New(invoke.Config{
		Wasm:         modules,
		Sandbox:      sandbox.WithReserve(walls, run, reserve),
		Runtimes:     filepath.Join(run, "runtimes"),
		Images:       filepath.Join(run, "images"),
		MaxInstances: instances,
		Find:         runtimes.Finder{Compiled: filepath.Join(run, "compiled")},
	})
	if err != nil {
		if modules != nil {
			err = errors.Join(err, modules.Close())
		}
		return nil, errors.Join(err, walls.Close())
	}
	return v, nil
}

// newWasm returns the mechanism for WebAssembly; nil without she-wasm, and functions that need it then say
// so.
func newWasm(h Helpers, state string) (sandbox.Mechanism, error) {
	if h.Wasm == "" {
		return nil, nil
	}
	return wasm.New(wasm.Config{Worker: h.Wasm, State: state})
}

// part runs one of the server's loops. If it ends by itself, the server ends too.
func (s *Server) part(name string, run func() error) {
	s.parts.Go(func() {
		if err := run(); err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, context.Canceled) {
			select {
			case s.failed <- fmt.Errorf("%s: %w", name, err):
			default:
			}
		}
	})
}

// CatchHangUps catches SIGHUP from now until stop. So neither a closed terminal nor somebody who expects a
// reload ends the server, not even while it starts.
func CatchHangUps() (hangUps <-chan os.Signal, stop func()) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGHUP)
	return c, func() { signal.Stop(c) }
}

// UntilStopped serves until ctx ends or a part fails, and then stops. If stopping takes too long, it calls
// late and ends the program.
func (s *Server) UntilStopped(ctx context.Context, late func(text string), hangUps <-chan os.Signal) error {
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
	return endWithin(hardStop, func() error { return errors.Join(err, s.Stop()) }, func() {
		late(fmt.Sprintf("stopping takes longer than %v; the server ends in the middle of it. Nothing that was answered is lost, "+
			"and the next start takes up what was under way.", hardStop))
		os.Exit(1)
	})
}

// endWithin stops, and calls exit if that takes too long: an evaluation, a disk or a sandbox may hang. What
// is committed survives, and the next start takes back leases and sandboxes.
func endWithin(most time.Duration, stop func() error, exit func()) error {
	late := time.AfterFunc(most, exit)
	defer late.Stop()
	return stop()
}

// Stop lets requests in flight end, finishes or abandons runs, and closes everything.
func (s *Server) Stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	// Stop runs first, because a request may wait for one.
	s.stopEngine()
	err := shutDown(ctx, s.public, s.management, s.scraped, s.lambda)
	s.parts.Wait()
	return errors.Join(err, s.invoker.Close(), s.node.close())
}

// shutDown ends servers, all at once: none takes requests while another waits for its own. Nil is none.
func shutDown(ctx context.Context, fronts ...*http.Server) error {
	errs := make([]error, len(fronts))
	var ends sync.WaitGroup
	for i, front := range fronts {
		if front == nil {
			continue
		}
		ends.Go(func() {
			// Cut off clients that are still connected: no handler may use a vault after it is closed.
			if front.Shutdown(ctx) != nil {
				errs[i] = front.Close()
			}
		})
	}
	ends.Wait()
	return errors.Join(errs...)
}

// Helpers are the programs beside this one. Probe is only for the doctor and may be missing. Wasm is "" if no
// function needs it.
type Helpers struct{ Runsc, Init, Probe, Wasm string }

// FindHelpers looks in the directory of this program, because all are installed together.
func FindHelpers() (h Helpers, err error) {
	self, err := os.Executable()
	if err != nil {
		return h, fmt.Errorf("find myself: %w", err)
	}
	dir := filepath.Dir(self)
	h = Helpers{Runsc: filepath.Join(dir, "runsc"), Init: filepath.Join(dir, "she-init"), Probe: filepath.Join(dir, "she-probe")}
	for _, path := range []string{h.Runsc, h.Init} {
		if !isProgram(path) {
			return h, fmt.Errorf("%s is missing from %s; she needs it beside itself: run make build", filepath.Base(path), dir)
		}
	}
	if path := filepath.Join(dir, "she-wasm"); isProgram(path) {
		h.Wasm = path
	}
	return h, nil
}

func isProgram(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.IsDir() && info.Mode()&0o111 != 0
}

// eraseReserve is how many bytes of the disk are reserved for erasing, disabling and the ends of runs; on a
// small disk a quarter.
const eraseReserve = 64 << 20

// defaultReserve is how many bytes of the data directory's disk functions must leave free.
const defaultReserve = 1 << 30

// Reserve returns how many bytes of the data directory's disk functions must leave free.
func Reserve(c config.Config) int64 {
	if c.ReserveMB != 0 {
		return int64(c.ReserveMB) << 20
	}
	return defaultReserve
}

// Verdict returns a function that reads the stored verdict, if there is one.
func Verdict(data string) func() (verdict.Verdict, error) {
	if data == "" {
		return func() (v verdict.Verdict, err error) { return v, verdict.ErrNone }
	}
	return verdict.Reader(data, func() (verdict.Programs, error) {
		h, err := FindHelpers()
		return h.Programs().Named(), err
	})
}

// Programs returns the programs that a test of the sandboxes needs.
func (h Helpers) Programs() prove.Programs {
	return prove.Programs{Runsc: h.Runsc, Init: h.Init, Probe: h.Probe, Wasm: h.Wasm}
}

// ForCommands returns the management API, for a command in this process.
func (s *Server) ForCommands() http.Handler { return s.management.Handler }

// Functions returns the registered functions in their present state.
func (s *Server) Functions() []catalog.Function { return s.engine.Functions() }
