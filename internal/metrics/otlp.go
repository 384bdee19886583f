package metrics

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	otlp "go.opentelemetry.io/proto/otlp/metrics/v1"
	resource "go.opentelemetry.io/proto/otlp/resource/v1"
	"google.golang.org/protobuf/proto"
)

// An Exporter sends the metrics of Handler to a collector: OTLP over HTTP, in protobuf. Figures are
// cumulative, so a collector that misses one export has everything with the next.
// https://opentelemetry.io/docs/specs/otlp/
type Exporter struct {
	metrics *Metrics
	url     string
	service string // instance id
	started time.Time
	client  *http.Client
}

// exportTimeout is how long one export may take.
const exportTimeout = 10 * time.Second

// Exporter returns an exporter to a collector's full URL. instance is a name that tells this server from
// others.
func (m *Metrics) Exporter(url, instance string, transport http.RoundTripper) *Exporter {
	client := &http.Client{Timeout: exportTimeout, Transport: transport}
	return &Exporter{metrics: m, url: url, service: instance, started: time.Now(), client: client}
}

// Run exports at each interval of length every, and once more when ctx ends. It calls failed with the first
// of several errors in a row, and with nil when an export succeeds again.
func (e *Exporter) Run(ctx context.Context, every time.Duration, failed func(error)) {
	defer e.client.CloseIdleConnections()
	tick := time.NewTicker(every)
	defer tick.Stop()
	var was error
	for {
		last := false
		select {
		case <-ctx.Done():
			last = true
		case <-tick.C:
		}
		err := e.Export(context.WithoutCancel(ctx))
		if (err == nil) != (was == nil) {
			failed(err)
		}
		if was = err; last {
			return
		}
	}
}

// Export sends the current figures once.
func (e *Exporter) Export(ctx context.Context) error {
	families, err := e.metrics.registry.Gather()
	if err != nil {
		return fmt.Errorf("gather metrics: %w", err)
	}
	body, err := proto.Marshal(e.encode(families, time.Now()))
	if err != nil {
		return fmt.Errorf("encode metrics: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-protobuf")
	resp, err := e.client.Do(req)
	if err != nil {
		return fmt.Errorf("send metrics: %w", err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<16)) // lets the connection be reused
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("send metrics: the collector answered %s", resp.Status)
	}
	return nil
}

// encode makes the body of an export. The protocol asks for an ExportMetricsServiceRequest, whose package
// links gRPC. MetricsData has the same wire form without it.
func (e *Exporter) encode(families []*dto.MetricFamily, now time.Time) *otlp.MetricsData {
	scope := &otlp.ScopeMetrics{Scope: &common.InstrumentationScope{Name: "she"}}
	for _, f := range families {
		if m := e.family(f, uint64(now.UnixNano())); m != nil {
			scope.Metrics = append(scope.Metrics, m)
		}
	}
	about := &resource.Resource{Attributes: []*common.KeyValue{attribute("service.name", "she"), attribute("service.instance.id", e.service)}}
	return &otlp.MetricsData{ResourceMetrics: []*otlp.ResourceMetrics{{Resource: about, ScopeMetrics: []*otlp.ScopeMetrics{scope}}}}
}

// conventions maps Prometheus' spelling to OpenTelemetry's name and unit. Other metrics keep their name,
// and its suffix gives the unit.
var conventions = map[string][2]string{
	"faas_invocations_total":       {"faas.invocations", "{invocation}"},
	"faas_coldstarts_total":        {"faas.coldstarts", "{coldstart}"},
	"faas_errors_total":            {"faas.errors", "{error}"},
	"faas_timeouts_total":          {"faas.timeouts", "{timeout}"},
	"faas_invoke_duration_seconds": {"faas.invoke_duration", "s"},
	"faas_init_duration_seconds":   {"faas.init_duration", "s"},
	"faas_mem_usage_bytes":         {"faas.mem_usage", "By"},
	"faas_cpu_usage_seconds":       {"faas.cpu_usage", "s"},
}

func nameAndUnit(prometheus string) (name, unit string) {
	if c, ok := conventions[prometheus]; ok {
		return c[0], c[1]
	}
	switch {
	case strings.Contains(prometheus, "_seconds"):
		unit = "s"
	case strings.Contains(prometheus, "_bytes"):
		unit = "By"
	}
	return prometheus, unit
}

func (e *Exporter) family(f *dto.MetricFamily, now uint64) *otlp.Metric {
	start := uint64(e.started.UnixNano())
	out := &otlp.Metric{Description: f.GetHelp()}
	out.Name, out.Unit = nameAndUnit(f.GetName())
	var (
		numbers    []*otlp.NumberDataPoint
		histograms []*otlp.HistogramDataPoint
		summaries  []*otlp.SummaryDataPoint
	)
	for _, m := range f.Metric {
		attributes := attributes(m.Label)
		number := func(v float64) {
			numbers = append(numbers, &otlp.NumberDataPoint{Attributes: attributes, StartTimeUnixNano: start, TimeUnixNano: now,
				Value: &otlp.NumberDataPoint_AsDouble{AsDouble: v}})
		}
		switch f.GetType() {
		case dto.MetricType_COUNTER:
			number(m.GetCounter().GetValue())
		case dto.MetricType_GAUGE:
			number(m.GetGauge().GetValue())
		case dto.MetricType_HISTOGRAM:
			point := histogram(m.GetHistogram())
			point.Attributes, point.StartTimeUnixNano, point.TimeUnixNano = attributes, start, now
			histograms = append(histograms, point)
		case dto.MetricType_SUMMARY: // the Go runtime has one
			s := &otlp.SummaryDataPoint{Attributes: attributes, StartTimeUnixNano: start, TimeUnixNano: now,
				Count: m.GetSummary().GetSampleCount(), Sum: m.GetSummary().GetSampleSum()}
			for _, q := range m.GetSummary().GetQuantile() {
				s.QuantileValues = append(s.QuantileValues, &otlp.SummaryDataPoint_ValueAtQuantile{Quantile: q.GetQuantile(), Value: q.GetValue()})
			}
			summaries = append(summaries, s)
		}
	}
	switch f.GetType() {
	case dto.MetricType_COUNTER:
		out.Data = &otlp.Metric_Sum{Sum: &otlp.Sum{
			DataPoints:             numbers,
			IsMonotonic:            true,
			AggregationTemporality: otlp.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE,
		}}
	case dto.MetricType_GAUGE:
		out.Data = &otlp.Metric_Gauge{Gauge: &otlp.Gauge{DataPoints: numbers}}
	case dto.MetricType_HISTOGRAM:
		out.Data = &otlp.Metric_Histogram{Histogram: &otlp.Histogram{DataPoints: histograms, AggregationTemporality: otlp.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE}}
	case dto.MetricType_SUMMARY:
		out.Data = &otlp.Metric_Summary{Summary: &otlp.Summary{DataPoints: summaries}}
	default:
		return nil
	}
	return out
}

// histogram turns Prometheus' cumulative buckets into OTLP's separate ones; the last is above all bounds.
func histogram(h *dto.Histogram) *otlp.HistogramDataPoint {
	point := &otlp.HistogramDataPoint{Count: h.GetSampleCount(), Sum: proto.Float64(h.GetSampleSum())}
	var below uint64
	for _, b := range h.Bucket {
		point.ExplicitBounds = append(point.ExplicitBounds, b.GetUpperBound())
		point.BucketCounts = append(point.BucketCounts, b.GetCumulativeCount()-below)
		below = b.GetCumulativeCount()
	}
	point.BucketCounts = append(point.BucketCounts, h.GetSampleCount()-below)
	return point
}

func attributes(labels []*dto.LabelPair) (all []*common.KeyValue) {
	for _, l := range labels {
		name := l.GetName()
		if name == "faas_name" {
			name = "faas.name"
		}
		all = append(all, attribute(name, l.GetValue()))
	}
	slices.SortFunc(all, func(a, b *common.KeyValue) int { return strings.Compare(a.Key, b.Key) })
	return all
}

func attribute(key, value string) *common.KeyValue {
	return &common.KeyValue{Key: key, Value: &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: value}}}
}
