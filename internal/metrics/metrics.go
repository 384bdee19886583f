// Package metrics counts what a server does, for the operator's monitoring. It wraps the vault and the
// invoker that the engine uses, so the engine does not know about metrics.
//
// No label names a HAT, a person, an endpoint or data. Functions have the names that the operator
// registered, routes have their pattern, faults say who must act. Values that a function chooses, such as
// its run time, are rounded up to steps (coarse.go). A reader of the metrics learns how busy the machine
// is, and only a few bits about a single run.
//
// Names that begin with faas_ are OpenTelemetry's semantic conventions for functions as a service, as
// Prometheus spells them: https://opentelemetry.io/docs/specs/semconv/faas/faas-metrics/.
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

// Buckets in seconds. runSeconds reaches from a warm instance to the longest run that is allowed,
// commitSeconds from a commit in memory to one on a disk in trouble.
var (
	runSeconds    = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300}
	commitSeconds = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5}
	queueSeconds  = append([]float64{.0005}, append(runSeconds, 900, 3600, 6*3600, 86400)...)
	memoryBytes   = prometheus.ExponentialBuckets(8<<20, 2, 10)
)

// New registers all counters and histograms, and the collectors of the Go runtime and of the process.
func New() *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry()}
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))

	const function = "faas_name" // the Lambda name of the entry that was called: <service>-<stage>-<id>…
	m.invocations = m.counter("faas_invocations_total", "Invocations that a function answered, with a result or an error of its own.", function)
	m.coldstarts = m.counter("faas_coldstarts_total", "Invocations whose instance was a cold start.", function)
	m.timeouts = m.counter("faas_timeouts_total", "Invocations that exceeded their time limit.", function)
	m.errors = m.counter("faas_errors_total", "Invocations without an answer, by who must act.", function, "fault")
	m.invoke = m.histogram("faas_invoke_duration_seconds", "Time from event to answer.", runSeconds, function)
	m.initialise = m.histogram("faas_init_duration_seconds", "Duration of INIT in cold starts.", runSeconds, function)
	m.memory = m.histogram("faas_mem_usage_bytes", "Peak memory of an invocation.", memoryBytes, function)
	m.cpu = m.histogram("faas_cpu_usage_seconds", "Processor time of an invocation with its sandbox.", runSeconds, function)
	m.queue = m.histogram("faas_queue_duration_seconds", "Time that an invocation waited for a slot.", queueSeconds, function)
	m.busy = prometheus.NewGauge(prometheus.GaugeOpts{Name: "she_instances_busy", Help: "Invocations in flight."})

	m.runs = m.counter("she_runs_total", "Runs that ended, by outcome and, if not committed, by who must act.", "function", "outcome", "fault")
	m.runQueue = m.histogram("she_run_queue_duration_seconds", "Time from due to claimed.", queueSeconds, "cause")
	m.claimed = m.one("she_runs_claimed_total", "Runs that were claimed.")
	m.written = m.one("she_records_derived_total", "Records that functions wrote; the number of each run is rounded up to a power of two.")
	m.duplicates = m.one("she_records_duplicate_total", "Records that were dropped because an equal one is stored; the number of each run is rounded up to a power of two.")
	m.inBytes = m.one("she_run_input_bytes_total", "Bytes of data given to functions; the size of each run is rounded up to a power of four.")
	m.outBytes = m.one("she_run_output_bytes_total", "Bytes that functions answered; the size of each run is rounded up to a power of four.")
	m.commit = m.histogram("she_commit_duration_seconds", "Time from the call of a transaction until it is durable.", commitSeconds, "op")
	m.commitErrors = m.counter("she_commit_errors_total", "Transactions that the store could not commit. Refused ones, such as a missing permission, are not counted.", "op")

	m.requests = m.counter("she_http_requests_total", "Requests of the HAT API by route pattern. Status 0: the connection was cut.", "method", "route", "status")
	m.request = m.histogram("she_http_request_duration_seconds", "Time from a request's headers to the end of its answer.", runSeconds, "method", "route")
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

// openInterval is how often the figures of OpenHandler change.
const openInterval = 5 * time.Second

// OpenHandler serves the same metrics at an address that not only the operator can reach. The figures
// change every five seconds, so that a reader can't time single runs.
func (m *Metrics) OpenHandler() http.Handler {
	return promhttp.HandlerFor(&seldom{Gatherer: m.registry, interval: openInterval, now: time.Now}, promhttp.HandlerOpts{})
}

// Request counts one request of the HAT API. route is the pattern, or "" if none matched. status is 0 if
// the connection was cut.
func (m *Metrics) Request(method, route string, status int, took time.Duration) {
	if route == "" {
		method, route = "", "none" // a client can send any method
	}
	m.requests.WithLabelValues(method, route, strconv.Itoa(status)).Inc()
	m.request.observe(took.Seconds(), method, route)
}
