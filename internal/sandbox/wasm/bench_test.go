package wasm_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
)

// BenchmarkEvent measures what an event costs over the module's own time: in a worker that waited, and, turn by turn
// with it, in this process, compiled to be stoppable as it would have to be there. The second is no wall; it is what
// a process for each event is measured against. It reports medians of both, and what making a worker takes.
func BenchmarkEvent(b *testing.B) {
	for name, module := range map[string]string{"smallest": echo, "go": goModule(b)} {
		b.Run(name, func(b *testing.B) {
			m, _ := opened(b)
			p := program(b, module)
			within := inProcess(b, module)
			start(b, m, p) // compiles
			var answer, peer, ready, gone, cpu, memory []float64
			const event = `{"do":"echo"}`
			for b.Loop() {
				began := time.Now()
				i, _, err := m.Start(b.Context(), p)
				if err != nil {
					b.Fatal(err)
				}
				ready = append(ready, ms(time.Since(began)))
				memory = append(memory, float64(i.Memory())/(1<<20))
				began = time.Now()
				r, err := run(b, i, event)
				if err != nil || string(r.Payload) != event {
					b.Fatalf("%q %v", r.Payload, err)
				}
				answer = append(answer, ms(time.Since(began)))
				cpu = append(cpu, ms(r.Usage.CPU))
				began = time.Now()
				if err := i.Close(); err != nil {
					b.Fatal(err)
				}
				gone = append(gone, ms(time.Since(began)))
				began = time.Now()
				if got := within(event); got != event {
					b.Fatal(got)
				}
				peer = append(peer, ms(time.Since(began)))
			}
			b.ReportMetric(0, "ns/op")
			for unit, values := range map[string][]float64{
				"ms-answer": answer, "ms-answer-in-process": peer, "ms-start": ready, "ms-close": gone, "ms-cpu": cpu, "MB-waiting": memory,
			} {
				slices.Sort(values)
				b.ReportMetric(values[len(values)/2], unit)
			}
		})
	}
}

func ms(d time.Duration) float64 { return d.Seconds() * 1000 }

// goModule is a Go program that reads its event and writes it.
func goModule(b *testing.B) string {
	b.Helper()
	dir := b.TempDir()
	source := "package main\n\nimport (\"io\"; \"os\")\n\nfunc main() { io.Copy(os.Stdout, os.Stdin) }\n"
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(source), 0o644); err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", "m.wasm", "main.go")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	module, err := os.ReadFile(filepath.Join(dir, "m.wasm"))
	if err != nil {
		b.Fatal(err)
	}
	return string(module)
}

// inProcess gives what a server does that runs modules in its own process: a fresh instance for each event.
func inProcess(b *testing.B, module string) func(event string) string {
	b.Helper()
	ctx := context.Background()
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler().WithCloseOnContextDone(true).WithMemoryLimitPages(128<<20>>16))
	wasi_snapshot_preview1.MustInstantiate(ctx, r)
	compiled, err := r.CompileModule(ctx, []byte(module))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = r.Close(ctx) })
	return func(event string) string {
		var out bytes.Buffer
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		i, err := r.InstantiateModule(ctx, compiled, wazero.NewModuleConfig().WithName("").WithStdin(bytes.NewReader([]byte(event))).WithStdout(&out).
			WithRandSource(rand.Reader).WithSysWalltime().WithSysNanotime())
		if i != nil {
			_ = i.Close(ctx)
		}
		if err != nil && out.String() != event { // Go programs end with an exit of status 0
			b.Fatal(err)
		}
		return out.String()
	}
}
