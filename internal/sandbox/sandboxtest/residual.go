package sandboxtest

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/google/uuid"

	"she/internal/sandbox"
)

// Residual measures channels that no sandbox closes, in bits for each invocation: sub-benchmarks report bits/run. A
// capacity is what an ideal code could carry over the channel as it was measured, so more than any real one would.
func Residual(b *testing.B, m sandbox.Mechanism, runs int) {
	s := &suite{dir: build(b), file: "bootstrap", m: m}
	pages := filepath.Join(s.dir, "she-probe-pages")
	if err := os.WriteFile(pages, make([]byte, pageBits*pageStride), 0o644); err != nil {
		b.Fatal(err)
	}
	b.Run("Duration", func(b *testing.B) { s.duration(b, runs) })
	b.Run("Memory", func(b *testing.B) { s.memory(b, runs) })
	b.Run("Cache", func(b *testing.B) { s.cache(b) })
	b.Run("PageCache", func(b *testing.B) { s.pageCache(b, pages) })
	b.Run("AnswerSize", func(b *testing.B) {
		for b.Loop() {
		}
		b.ReportMetric(math.Log2(sandbox.MaxAnswer+1), "bits/run") // each size is another letter, and arrives exactly
	})
}

func (s *suite) give(b *testing.B, i sandbox.Instance, e event) (sandbox.Result, time.Duration) {
	b.Helper()
	body, err := json.Marshal(e)
	if err != nil {
		b.Fatal(err)
	}
	began := time.Now()
	r, err := i.Run(b.Context(), sandbox.Call{ID: uuid.NewString(), Deadline: began.Add(ample), Event: body})
	if err != nil {
		b.Fatalf("%v\n%s", err, r.Log)
	}
	return r, time.Since(began)
}

func (s *suite) fresh(b *testing.B) sandbox.Instance {
	b.Helper()
	i, _, err := s.m.Start(b.Context(), s.program())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = i.Close() })
	return i
}

// duration: the function waits, whoever can see when it began and ended measures. The noise of the measurement says how
// many delays can be told apart within the time limit.
func (s *suite) duration(b *testing.B, runs int) {
	for b.Loop() {
		var took []float64
		for range runs {
			i := s.fresh(b)
			_, t := s.give(b, i, event{Do: "duration", Millis: 20})
			took = append(took, t.Seconds()*1000-20)
			_ = i.Close()
		}
		slices.Sort(took)
		// Letters as far apart as 9 of 10 measurements lie: nearly no mistakes.
		width := took[len(took)*95/100] - took[len(took)*5/100]
		b.ReportMetric(width, "ms-noise")
		b.ReportMetric(math.Log2(1+1000/width), "bits/run-of-1s")
		b.ReportMetric(math.Log2(1+300_000/width), "bits/run-of-300s")
	}
}

// memory: the highest memory is in the run's figures.
func (s *suite) memory(b *testing.B, runs int) {
	for b.Loop() {
		var most []float64
		for range runs {
			i := s.fresh(b)
			r, _ := s.give(b, i, event{Do: "eat", Bytes: 32 << 20})
			most = append(most, float64(r.Usage.MaxMemory))
			_ = i.Close()
		}
		slices.Sort(most)
		width := max(4096, most[len(most)*95/100]-most[len(most)*5/100])
		b.ReportMetric(width/1024, "KB-noise")
		b.ReportMetric(math.Log2(1+float64(3008<<20)/width), "bits/run-of-3008MB")
	}
}

// cache: two tenants at once. One walks memory the size of the cache they share, or does not, in slots of a clock both
// have; the other walks its own and measures. The capacity is that of the binary channel it makes.
func (s *suite) cache(b *testing.B) {
	const slots, slot = 100, 10 // ms
	for b.Loop() {
		var code strings.Builder
		seed := uint32(time.Now().UnixNano())
		for range slots {
			seed = seed*1664525 + 1013904223
			code.WriteByte('0' + byte(seed>>31))
		}
		sender, receiver := s.fresh(b), s.fresh(b)
		start := time.Now().Add(500 * time.Millisecond)
		var running sync.WaitGroup
		running.Go(func() {
			s.give(b, sender, event{Do: "cache", Mark: code.String(), Bytes: slot, Pid: 24 << 20, Address: uint64(start.UnixMilli())})
		})
		r, _ := s.give(b, receiver, event{Do: "cache", Bytes: slot, Millis: slots * slot, Pid: 1 << 20, Address: uint64(start.UnixMilli())})
		running.Wait()
		var seen []struct {
			At   time.Time
			Took float64
		}
		if err := json.Unmarshal(r.Payload, &seen); err != nil {
			b.Fatal(err)
		}
		sum, n := make([]float64, slots), make([]float64, slots)
		for _, w := range seen {
			if k := int(w.At.Sub(start).Milliseconds()) / slot; k >= 0 && k < slots {
				sum[k] += w.Took
				n[k]++
			}
		}
		var value []float64
		var sent []byte
		for k := range slots {
			if n[k] > 0 {
				value, sent = append(value, sum[k]/n[k]), append(sent, code.String()[k])
			}
		}
		bits := capacity(value, sent)
		b.ReportMetric(bits, "bits/slot")
		b.ReportMetric(bits*1000/slot, "bits/s")
	}
}

const pageBits, pageStride = 64, 64 << 10

// pageCache: one tenant reads some pages of a file both have, and so keeps them in the machine's memory; a later one
// times them. The host drops them before.
func (s *suite) pageCache(b *testing.B, file string) {
	for b.Loop() {
		var value []float64
		var sent []byte
		for range 4 {
			f, err := os.Open(file)
			if err != nil {
				b.Fatal(err)
			}
			if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
				b.Fatal(err)
			}
			_ = f.Close()
			var code strings.Builder
			seed := uint32(time.Now().UnixNano())
			for range pageBits {
				seed = seed*1664525 + 1013904223
				code.WriteByte('0' + byte(seed>>31))
			}
			one, two := s.fresh(b), s.fresh(b)
			s.give(b, one, event{Do: "pages", Mark: code.String()})
			_ = one.Close()
			r, _ := s.give(b, two, event{Do: "pages", Bytes: pageBits})
			_ = two.Close()
			var took []float64
			if err := json.Unmarshal(r.Payload, &took); err != nil {
				b.Fatal(err)
			}
			value, sent = append(value, took...), append(sent, code.String()...)
		}
		bits := capacity(value, sent)
		b.ReportMetric(bits, "bits/page")
	}
}

// capacity is that of the binary channel which the best threshold over the values makes, in bits for each.
func capacity(value []float64, sent []byte) (best float64) {
	sorted := slices.Clone(value)
	slices.Sort(sorted)
	for _, threshold := range sorted {
		var count [2][2]float64 // sent, seen
		for k, v := range value {
			seen := 0
			if v > threshold {
				seen = 1
			}
			count[sent[k]-'0'][seen]++
		}
		best = max(best, information(count))
	}
	// The best of many thresholds finds something in pure noise too: that much is taken off (Miller, Madow).
	return max(0, best-1/(2*math.Ln2*float64(len(value)))*math.Log2(float64(len(value))))
}

// information is the mutual information of a table of counts, in bits.
func information(count [2][2]float64) (bits float64) {
	var total float64
	var row, column [2]float64
	for i := range count {
		for j, n := range count[i] {
			total += n
			row[i] += n
			column[j] += n
		}
	}
	for i := range count {
		for j, n := range count[i] {
			if n > 0 {
				bits += n / total * math.Log2(n*total/(row[i]*column[j]))
			}
		}
	}
	return bits
}
