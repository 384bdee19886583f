package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"she/internal/engine"
	"she/internal/invoke"
)

// Sources are the functions that are called at each scrape. Each must return quickly, and each may be nil.
type Sources struct {
	Engine      func() (engine.Stats, bool) // false: the engine is stopped
	Invoker     func() invoke.Stats
	OpenVaults  func() int
	Uncompacted func() int // vaults whose file does not shrink when data is erased
	Waiting     func() int // long evaluations that wait for a slot
	HATs        func() int
	Memory      func() engine.BudgetStats
	Connections func() Connections
	Now         func() time.Time // nil: time.Now
}

// Connections counts the connections of clients.
type Connections struct {
	Open             int
	Refused, Evicted int64 // since the start; Evicted: closed for a newer one
}

// Watch registers the figures that are read at each scrape instead of being counted as things happen.
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
	oldest = describe("she_oldest_pending_event_age_seconds", "Age of the oldest event that is due, not parked and not committed, "+
		"whether its run has begun, waits, or can't begin because the function is not available. 0 if there is none.")
	due            = describe("she_pending_due", "Functions at HATs with work that is due and has not begun.")
	blocked        = describe("she_pending_blocked", "HATs with due work for functions that are not available.")
	inFlight       = describe("she_runs_in_flight", "Runs in flight.")
	parked         = describe("she_pending_parked", "Work items that failed too often and wait for a person, as of the last scan of each HAT.")
	stalled        = describe("she_pending_stalled", "Work items whose last attempt failed for a reason that the operator must mend, as of the last scan of each HAT. They are tried again.")
	unscanned      = describe("she_hats_unscanned", "HATs that are not scanned for pending work yet. While it is above 0 after a start, the she_pending figures are incomplete.")
	vaults         = describe("she_vaults_open", "Vaults whose files are open.")
	uncompacted    = describe("she_vaults_uncompacted", "Vaults whose file could not be compacted at the last attempt. They do not shrink when data is erased.")
	evaluations    = describe("she_evaluations_waiting", "Long evaluations of bundles and lists that wait for a slot.")
	hats           = describe("she_hats", "HATs of this server.")
	warm           = describe("she_instances_warm", "Instances that have done their INIT and wait for an event.", "faas_name")
	warmBytes      = describe("she_instances_warm_bytes", "Memory of all warm instances.")
	snapshotBytes  = describe("she_snapshot_bytes", "Size of the snapshots that instances of the function are restored from.", "faas_name")
	starts         = describe("she_instance_starts_total", "Invocations by how their instance was made: warm, restored, cold, or fallback, a cold start after a restore failed.", "faas_name", "start")
	inits          = describe("she_inits_total", "INITs of the function's code by outcome: ready, failed, or refused, an invocation that got the last failure because INIT is put off after repeated failures.", "faas_name", "outcome")
	initTime       = describe("she_init_seconds_total", "Time of these INITs. It counts towards no quota.", "faas_name")
	warmUps        = describe("she_warmups_total", "Events without data that warm instances were tried with.", "faas_name")
	fileImageBytes = describe("she_file_image_bytes", "Size of the file images of runtimes and packages, which sandboxes map.")
	fileImageFails = describe("she_file_image_failed", "1 if the last file image could not be made. A sandbox without its file image has a file server of its own.")
	memoryBudget   = describe("she_memory_budget_bytes", "Memory that requests and runs may hold at once.")
	memoryHeld     = describe("she_memory_held_bytes", "Estimated memory that requests and runs hold, with all that is reserved for runs.")
	memoryWaiting  = describe("she_memory_waiting", "Requests and runs that wait for memory.")
	memoryRefused  = describe("she_memory_refused_total", "Requests and runs that were refused because no memory was free.")
	connsOpen      = describe("she_connections_open", "Open connections of clients.")
	connsRefused   = describe("she_connections_refused_total", "Connections that were refused because all others were being answered.")
	connsEvicted   = describe("she_connections_evicted_total", "Idle connections that were closed for a newer one.")
	removalFails   = describe("she_instance_removal_failures_total", "Instances that could not be removed completely when they ended. They keep their slot until they are removed.")
)

func (s *state) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		oldest, due, blocked, inFlight, parked, stalled, unscanned, vaults, uncompacted, evaluations, hats,
		warm, warmBytes, snapshotBytes, fileImageBytes, fileImageFails, starts, inits, initTime, warmUps, removalFails,
		memoryBudget, memoryHeld, memoryWaiting, memoryRefused, connsOpen, connsRefused, connsEvicted,
	} {
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
			gauge(parked, float64(e.Parked))
			gauge(stalled, float64(e.Stalled))
			gauge(unscanned, float64(e.Unscanned))
		}
	}
	if s.OpenVaults != nil {
		gauge(vaults, float64(s.OpenVaults()))
	}
	if s.Uncompacted != nil {
		gauge(uncompacted, float64(s.Uncompacted()))
	}
	if s.Waiting != nil {
		gauge(evaluations, float64(s.Waiting()))
	}
	if s.HATs != nil {
		gauge(hats, float64(s.HATs()))
	}
	count := func(d *prometheus.Desc, v int64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v))
	}
	if s.Memory != nil {
		m := s.Memory()
		gauge(memoryBudget, float64(m.Total))
		gauge(memoryHeld, float64(m.Used))
		gauge(memoryWaiting, float64(m.Waiting))
		count(memoryRefused, m.Refused)
	}
	if s.Connections != nil {
		c := s.Connections()
		gauge(connsOpen, float64(c.Open))
		count(connsRefused, c.Refused)
		count(connsEvicted, c.Evicted)
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
	gauge(warmBytes, float64(stats.WaitingBytes))
	count(removalFails, stats.Left)
	gauge(fileImageBytes, float64(stats.Files.Bytes))
	failed := 0.0
	if stats.Files.Problem != "" {
		failed = 1
	}
	gauge(fileImageFails, failed)
	// A function may have several versions under one name.
	byName := map[string]invoke.FunctionStats{}
	for _, f := range stats.Functions {
		sum := byName[f.Name]
		sum.Waiting += f.Waiting
		sum.ImageBytes += f.ImageBytes
		sum.Counts.Add(f.Counts)
		byName[f.Name] = sum
	}
	for name, f := range byName {
		gauge(warm, float64(f.Waiting), name)
		gauge(snapshotBytes, float64(f.ImageBytes), name)
		count(starts, f.Cold, name, string(invoke.Cold))
		count(starts, f.Restored, name, string(invoke.Restored))
		count(starts, f.Warm, name, string(invoke.Warm))
		count(starts, f.Fallbacks, name, "fallback")
		count(inits, f.Inits-f.FailedInits, name, "ready")
		count(inits, f.FailedInits, name, "failed")
		count(inits, f.Refused, name, "refused")
		ch <- prometheus.MustNewConstMetric(initTime, prometheus.CounterValue, f.InitTime.Seconds(), name)
		count(warmUps, f.Rehearsals, name)
	}
}
