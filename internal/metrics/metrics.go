// Package metrics is what the operator's monitoring sees of a server: how many, how long, how old. It hears of it by
// standing between the engine and what the engine uses, so that neither knows of it.
//
// No label names a HAT, a person, an endpoint or anything stored or said: functions are named as the operator registered
// them, routes by their pattern, faults by who must act. What a function can choose in a run is counted in steps (coarse.go):
// whoever may read the metrics learns how busy the machine is, and a few bits of what a function says by its behaviour.
//
// Names that begin with faas_ are OpenTelemetry's semantic conventions for functions as a service, as Prometheus spells
// them: https://opentelemetry.io/docs/specs/semconv/faas/faas-metrics/.
package metrics

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics of one server. All methods may be called concurrently.
type Metrics struct {
	registry *prometheus.Registry

	invocations, coldstarts, timeouts, errors       *prometheus.CounterVec
	invoke, initialise, queue, memory, cpu          coarse
	busy                                            prometheus.Gauge
	runs, commitErrors                              *prometheus.CounterVec
	runQueue, commit                                coarse
	requests                                        *prometheus.CounterVec
	request                                         coarse
	written, duplicates, inBytes, outBytes, claimed prometheus.Counter
}

// Buckets in seconds: from what a warm instance takes to what a run may take at most; and from a commit in memory to
// one on a disk in trouble.
var (
	runSeconds    = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300}
	commitSeconds = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5}
	queueSeconds  = append([]float64{.0005}, append(runSeconds, 900, 3600, 6*3600, 86400)...)
	memoryBytes   = prometheus.ExponentialBuckets(8<<20, 2, 10)
)

// New makes the instruments, and those of the Go runtime and the process.
func New() *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry()}
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))

	const function = "faas_name" // the Lambda name of the entry that was called: <service>-<stage>-<id>…
	m.invocations = m.counter("faas_invocations_total", "Invocations that a function answered, rightly or not.", function)
	m.coldstarts = m.counter("faas_coldstarts_total", "Invocations for which an instance was started, not copied.", function)
	m.timeouts = m.counter("faas_timeouts_total", "Invocations that took longer than they may.", function)
	m.errors = m.counter("faas_errors_total", "Invocations without an answer, by who must act.", function, "blame")
	m.invoke = m.histogram("faas_invoke_duration_seconds", "From event to answer.", runSeconds, function)
	m.initialise = m.histogram("faas_init_duration_seconds", "INIT of instances that were started for their invocation.", runSeconds, function)
	m.memory = m.histogram("faas_mem_usage_bytes", "The most memory that an invocation used.", memoryBytes, function)
	m.cpu = m.histogram("faas_cpu_usage_seconds", "Processor time of an invocation, its sandbox included.", runSeconds, function)
	m.queue = m.histogram("faas_queue_duration_seconds", "Waiting for a place among the instances.", queueSeconds, function)
	m.busy = prometheus.NewGauge(prometheus.GaugeOpts{Name: "she_instances_busy", Help: "Invocations under way."})

	m.runs = m.counter("she_runs_total", "Runs that ended, by outcome and by who must act if it was not committed.", "function", "outcome", "fault")
	m.runQueue = m.histogram("she_run_queue_seconds", "From due to claimed.", queueSeconds, "cause")
	m.claimed = m.one("she_runs_claimed_total", "Runs that began.")
	m.written = m.one("she_records_derived_total", "Records that functions wrote, of each run rounded up to a power of two.")
	m.duplicates = m.one("she_records_duplicate_total", "Records that functions wrote again and that were dropped, of each run rounded up to a power of two.")
	m.inBytes = m.one("she_run_input_bytes_total", "Bytes that functions were shown, of each run rounded up to a power of four.")
	m.outBytes = m.one("she_run_output_bytes_total", "Bytes that functions answered, of each run rounded up to a power of four.")
	m.commit = m.histogram("she_commit_duration_seconds", "From asking a vault for a transaction to its being durable.", commitSeconds, "op")
	m.commitErrors = m.counter("she_commit_errors_total", "Transactions that could not be stored, not those that were refused.", "op")

	m.requests = m.counter("she_http_requests_total", "Requests of the HAT API, by pattern of the route.", "method", "route", "status")
	m.request = m.histogram("she_http_request_duration_seconds", "From a request's headers to the end of its answer.", runSeconds, "method", "route")
	m.registry.MustRegister(m.busy)
	return m
}

func (m *Metrics) counter(name, help string, labels ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	m.registry.MustRegister(c)
	return c
}

func (m *Metrics) one(name, help string) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	m.registry.MustRegister(c)
	return c
}

func (m *Metrics) histogram(name, help string, buckets []float64, labels ...string) coarse {
	h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
	m.registry.MustRegister(h)
	return coarse{h, buckets}
}

// Handler answers GET /metrics in the text format of Prometheus.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// openInterval is how often an open address has new figures.
const openInterval = 5 * time.Second

// OpenHandler is Handler for an address that others than the operator may reach: its figures change every five seconds.
func (m *Metrics) OpenHandler() http.Handler {
	return promhttp.HandlerFor(&seldom{Gatherer: m.registry, interval: openInterval, now: time.Now}, promhttp.HandlerOpts{})
}

// Request counts one request of the HAT API. route is the pattern, "" if there is none; a status of 0 says that the
// connection was cut.
func (m *Metrics) Request(method, route string, status int, took time.Duration) {
	if route == "" {
		method, route = "", "none" // a stranger may send any method
	}
	m.requests.WithLabelValues(method, route, strconv.Itoa(status)).Inc()
	m.request.observe(took.Seconds(), method, route)
}
