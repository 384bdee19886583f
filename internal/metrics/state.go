package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"she/internal/engine"
	"she/internal/invoke"
)

// Sources are asked at each scrape. None may take long; any may be nil.
type Sources struct {
	Engine      func() (engine.Stats, bool) // false: the engine is not at work
	Invoker     func() invoke.Stats
	OpenVaults  func() int
	Uncompacted func() int // vaults that keep the room of what was erased
	Waiting     func() int // evaluations that take long and wait for their turn
	HATs        func() int
	Memory      func() engine.BudgetStats
	Connections func() Connections
	Now         func() time.Time // nil: time.Now
}

// Connections are those of clients.
type Connections struct {
	Open             int
	Refused, Evicted int64 // since the start: not let in; closed for a newer one
}

// Watch adds what is a state of the server rather than something that happened.
func (m *Metrics) Watch(s Sources) {
	if s.Now == nil {
		s.Now = time.Now
	}
	m.registry.MustRegister(&state{s})
}

type state struct{ Sources }

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

var (
	oldest = describe("she_oldest_pending_event_age_seconds", "Age of the oldest event that a function should have been given by now and "+
		"that is not committed: due, not parked, the function's run begun or not, or the function not able to run. 0 if there is none.")
	due      = describe("she_pending_due", "Functions at HATs with work that is due and has not begun.")
	blocked  = describe("she_pending_blocked", "HATs with work that is due for functions that can't run now.")
	inFlight = describe("she_runs_in_flight", "Runs under way.")
	parkedAt = describe("she_parked", "Pieces of work that failed too often and wait for a person, as of the last look at each HAT.")
	stalled  = describe("she_stalled", "Pieces of work whose last attempt failed for a reason of the operator's and that are tried again, as of the last look at each HAT.")
	unseen   = describe("she_hats_unseen", "HATs that wait to be looked at for work: while it is above 0 after a start, the figures of what is pending grow.")
	vaults   = describe("she_vaults_open", "Vaults whose files are open.")
	stuffed  = describe("she_vaults_uncompacted", "Vaults whose file could not be compacted when it was tried last: what is erased leaves its room there.")
	turns    = describe("she_evaluations_waiting", "Evaluations of bundles and lists that take long and wait for their turn at the processor.")
	hats     = describe("she_hats", "HATs of this server.")
	waiting  = describe("she_instances_warm", "Instances that have done their INIT and wait for an event.", "faas_name")
	held     = describe("she_instances_warm_bytes", "Memory of all instances that wait.")
	images   = describe("she_image_bytes", "Memory images that instances of the function are copied from.", "faas_name")
	starts   = describe("she_instance_starts_total", "Invocations by how their instance came to be; fallback: a copy that failed, in place of which one was started.", "faas_name", "start")
	inits    = describe("she_inits_total", "INITs of the function's code, whoever they were for, by how they ended; refused: invocations answered with the failure of the last one, as INITs that fail again and again are put off.", "faas_name", "outcome")
	initTime = describe("she_init_seconds_total", "Time of these INITs. No person's quota pays for it.", "faas_name")
	tried    = describe("she_rehearsals_total", "Events without data that were tried in instances that wait.", "faas_name")
	files    = describe("she_file_image_bytes", "Images of runtimes' and packages' files, which sandboxes map.")
	served   = describe("she_file_image_failed", "1 while the last image of files could not be made: sandboxes that lack theirs have a file server each.")
	budget   = describe("she_memory_budget_bytes", "Memory that requests and runs may hold at once.")
	used     = describe("she_memory_held_bytes", "Memory that requests and runs hold, as estimated; what is reserved for runs is always held.")
	queued   = describe("she_memory_waiting", "Requests and runs that wait for memory.")
	denied   = describe("she_memory_refused_total", "Requests and runs that were refused for want of memory.")
	conns    = describe("she_connections_open", "Connections of clients.")
	turned   = describe("she_connections_refused_total", "Connections that were not let in: as many as may be were being answered.")
	evicted  = describe("she_connections_evicted_total", "Connections that waited for a request and were closed for a newer one.")
	left     = describe("she_instances_left_total", "Instances that could not be removed whole when they ended; they keep their places until they are.")
)

func (s *state) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{oldest, due, blocked, inFlight, parkedAt, stalled, unseen, vaults, stuffed, turns, hats, waiting, held, images, files, served, starts, inits, initTime, tried, left, budget, used, queued, denied, conns, turned, evicted} {
		ch <- d
	}
}

func (s *state) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	if s.Engine != nil {
		if e, atWork := s.Engine(); atWork {
			age := time.Duration(0)
			if !e.Oldest.IsZero() {
				age = max(0, s.Now().Sub(e.Oldest))
			}
			gauge(oldest, age.Seconds())
			gauge(due, float64(e.Due))
			gauge(blocked, float64(e.Blocked))
			gauge(inFlight, float64(e.InFlight))
			gauge(parkedAt, float64(e.Parked))
			gauge(stalled, float64(e.Stalled))
			gauge(unseen, float64(e.Unseen))
		}
	}
	if s.OpenVaults != nil {
		gauge(vaults, float64(s.OpenVaults()))
	}
	if s.Uncompacted != nil {
		gauge(stuffed, float64(s.Uncompacted()))
	}
	if s.Waiting != nil {
		gauge(turns, float64(s.Waiting()))
	}
	if s.HATs != nil {
		gauge(hats, float64(s.HATs()))
	}
	count := func(d *prometheus.Desc, v int64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v))
	}
	if s.Memory != nil {
		m := s.Memory()
		gauge(budget, float64(m.Total))
		gauge(used, float64(m.Used))
		gauge(queued, float64(m.Waiting))
		count(denied, m.Refused)
	}
	if s.Connections != nil {
		c := s.Connections()
		gauge(conns, float64(c.Open))
		count(turned, c.Refused)
		count(evicted, c.Evicted)
	}
	if s.Invoker != nil {
		s.instances(ch, gauge)
	}
}

func (s *state) instances(ch chan<- prometheus.Metric, gauge func(*prometheus.Desc, float64, ...string)) {
	count := func(d *prometheus.Desc, v int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	stats := s.Invoker()
	gauge(held, float64(stats.WaitingBytes))
	count(left, stats.Left)
	gauge(files, float64(stats.Files.Bytes))
	failed := 0.0
	if stats.Files.Problem != "" {
		failed = 1
	}
	gauge(served, failed)
	// A function may be there in several versions; its name is one.
	byName := map[string]invoke.FunctionStats{}
	for _, f := range stats.Functions {
		sum := byName[f.Name]
		sum.Waiting += f.Waiting
		sum.ImageBytes += f.ImageBytes
		sum.Counts.Add(f.Counts)
		byName[f.Name] = sum
	}
	for name, f := range byName {
		gauge(waiting, float64(f.Waiting), name)
		gauge(images, float64(f.ImageBytes), name)
		count(starts, f.Cold, name, string(invoke.Cold))
		count(starts, f.Restored, name, string(invoke.Restored))
		count(starts, f.Warm, name, string(invoke.Warm))
		count(starts, f.Fallbacks, name, "fallback")
		count(inits, f.Inits-f.FailedInits, name, "ready")
		count(inits, f.FailedInits, name, "failed")
		count(inits, f.Refused, name, "refused")
		ch <- prometheus.MustNewConstMetric(initTime, prometheus.CounterValue, f.InitTime.Seconds(), name)
		count(tried, f.Rehearsals, name)
	}
}
