package shetest_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"she/internal/shetest"
)

// languages are the echo functions: the same small program in each language, and how to run it on this host
// without a sandbox.
var languages = []struct {
	name, function string
	project        string // "": named like the function
	bare           func(project string, event []byte) error
}{
	{"go", "echo-go", "", bareCustomRuntime},
	{"python", "echo", "python", bareCommand("/usr/bin/python3", "-c", `import json,sys,echo; json.dump(echo.process(json.load(sys.stdin), None), sys.stdout)`)},
	{"nodejs", "echo-node", "", bareCommand("node", "-e", `
		let text = ''; process.stdin.on('data', (d) => text += d).on('end', async () =>
			console.log(JSON.stringify(await require('./handler.js').process(JSON.parse(text)))))`)},
}

// BenchmarkFirstRecord measures the time that an owner waits: from posting a record until the derived
// record can be read, over HTTP, with durable commits and sandboxes. The same run measures the same handler
// as a process on the host, which is started, gets one event and ends. No sandbox that keeps no processes
// can be faster than that. It also reports the sum of the run's own figures: on a quiet machine at least
// nine tenths of the time that the owner waited.
func BenchmarkFirstRecord(b *testing.B) {
	bin, err := shetest.Bin()
	if err != nil {
		b.Fatal(err)
	}
	functions := filepath.Join(bin, "../functions/testdata")
	for _, l := range languages {
		b.Run(l.name, func(b *testing.B) {
			dir, project := b.TempDir(), filepath.Join(functions, cmp.Or(l.project, l.function))
			config := filepath.Join(dir, "she.yaml")
			yaml := fmt.Sprintf("functions:\n  - {id: %s, version: 1.0.0, package: %s, namespace: test, endpoint: out}\n",
				l.function, project)
			if err := os.WriteFile(config, []byte(yaml), 0o600); err != nil {
				b.Fatal(err)
			}
			s := &shetest.Server{Data: filepath.Join(dir, "data"), Config: config}
			if _, err := s.CreateHAT("bench"); err != nil {
				b.Fatal(err)
			}
			if err := s.Start(); err != nil {
				b.Fatal(err)
			}
			defer func() {
				if err := s.Stop(); err != nil {
					b.Error(err)
				}
			}()
			c := s.Client("bench")
			must(b, c.Login())
			function := "/api/v2.6/she/function/" + l.function
			_, err := c.Until("GET", function, regexp.MustCompile(`"available":true`))
			must(b, err)
			_, err = c.Must("GET", function+"/enable", nil)
			must(b, err)

			var derived, accounted, bare []time.Duration
			for n := 1; b.Loop(); n++ {
				// The two alternate, so that a busy moment of the machine affects both.
				at := time.Now()
				_, err := c.Must("POST", "/api/v2.6/data/test/in", fmt.Appendf(nil, `{"n":%d}`, n))
				must(b, err)
				_, err = c.Until("GET", "/api/v2.6/data/test/out?take=1&ordering=descending", regexp.MustCompile(`"n":`+strconv.Itoa(n)+`}`))
				must(b, err)
				derived = append(derived, time.Since(at))
				accounted = append(accounted, lastRun(b, c, l.function))

				event := fmt.Appendf(nil, `{"functionConfiguration":{},"request":{"data":{"test/in":[{"endpoint":"test/in",`+
					`"recordId":"11111111-1111-4111-8111-111111111111","data":{"n":%d}}]},"linkRecords":true}}`, n)
				at = time.Now()
				must(b, l.bare(project, event))
				bare = append(bare, time.Since(at))
			}
			report(b, "she", derived)
			report(b, "accounted", accounted)
			report(b, "bare", bare)
			b.ReportMetric(float64(quantile(derived, 0.5))/float64(quantile(bare, 0.5)), "she/bare-p50")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkRuns measures complete runs per second, from posting a record until the derived record can be
// read, while 20 HATs each write one record after the other.
func BenchmarkRuns(b *testing.B) {
	bin, err := shetest.Bin()
	must(b, err)
	const hats = 20
	const function = "/api/v2.6/she/function/echo"
	dir := b.TempDir()
	config := filepath.Join(dir, "she.yaml")
	must(b, os.WriteFile(config, fmt.Appendf(nil, "functions:\n  - {id: echo, version: 1.0.0, package: %s, namespace: test, endpoint: out}\n",
		filepath.Join(bin, "../functions/testdata/python")), 0o600))
	s := &shetest.Server{Data: filepath.Join(dir, "data"), Config: config}
	var clients []*shetest.Client
	for n := range hats {
		_, err := s.CreateHAT(fmt.Sprintf("bench%d", n))
		must(b, err)
	}
	must(b, s.Start())
	defer func() {
		if err := s.Stop(); err != nil {
			b.Error(err)
		}
	}()
	for n := range hats {
		c := s.Client(fmt.Sprintf("bench%d", n))
		must(b, c.Login())
		_, err := c.Until("GET", function, regexp.MustCompile(`"available":true`))
		must(b, err)
		_, err = c.Must("GET", function+"/enable", nil)
		must(b, err)
		clients = append(clients, c)
	}
	next := 0
	round := func() {
		next++
		failed := make(chan error, hats)
		for _, c := range clients {
			go func() {
				_, err := c.Must("POST", "/api/v2.6/data/test/in", fmt.Appendf(nil, `{"n":%d}`, next))
				if err == nil {
					_, err = c.Until("GET", "/api/v2.6/data/test/out?take=1&ordering=descending", regexp.MustCompile(`"n":`+strconv.Itoa(next)+`}`))
				}
				failed <- err
			}()
		}
		for range clients {
			must(b, <-failed)
		}
	}
	round() // afterwards there are snapshots
	var took time.Duration
	for b.Loop() {
		began := time.Now()
		round()
		took += time.Since(began)
	}
	b.ReportMetric(hats*float64(b.N)/took.Seconds(), "runs/s")
	b.ReportMetric(0, "ns/op")
}

// lastRun returns the sum of the figures of a function's newest run.
func lastRun(b *testing.B, c *shetest.Client, function string) (sum time.Duration) {
	b.Helper()
	text, err := c.Must("GET", "/api/she/v1/runs?limit=1&function="+function, nil)
	must(b, err)
	var runs []struct {
		Stats struct {
			Timing map[string]time.Duration `json:"timing"`
		} `json:"stats"`
	}
	must(b, json.Unmarshal(text, &runs))
	if len(runs) != 1 {
		b.Fatalf("its newest run is %s", text)
	}
	for _, d := range runs[0].Stats.Timing {
		sum += d
	}
	return sum
}

func must(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

func report(b *testing.B, what string, all []time.Duration) {
	for _, q := range []float64{0.5, 0.99} {
		b.ReportMetric(float64(quantile(all, q))/float64(time.Millisecond), fmt.Sprintf("%s-p%.0f-ms", what, q*100))
	}
}

func quantile(all []time.Duration, q float64) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[int(q*float64(len(sorted)-1))]
}

// bareCommand runs a program in the project's folder, with the event on its standard input.
func bareCommand(name string, args ...string) func(string, []byte) error {
	return func(project string, event []byte) error {
		cmd := exec.Command(name, args...)
		cmd.Dir, cmd.Stdin = project, bytes.NewReader(event)
		out, err := cmd.Output()
		if err == nil && !json.Valid(out) {
			err = fmt.Errorf("%s answered %.100q", name, out)
		}
		return err
	}
}

// bareCustomRuntime starts the project's bootstrap with a Runtime API that has one event.
func bareCustomRuntime(project string, event []byte) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	answer := make(chan []byte, 1)
	ctx, cancel := context.WithCancel(context.Background())
	given := false
	api := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/next") && !given:
			given = true
			w.Header().Set("Lambda-Runtime-Aws-Request-Id", "1")
			w.Header().Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(time.Now().Add(time.Minute).UnixMilli(), 10))
			w.Header().Set("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:local:0:function:bench")
			_, _ = w.Write(event)
		case strings.HasSuffix(r.URL.Path, "/next"):
			<-ctx.Done()
		default:
			body, _ := io.ReadAll(r.Body)
			w.WriteHeader(http.StatusAccepted)
			answer <- body
		}
	})}
	served := make(chan error, 1)
	go func() { served <- api.Serve(l) }()
	cmd := exec.Command(filepath.Join(project, "bootstrap"))
	cmd.Dir = project
	cmd.Env = []string{"AWS_LAMBDA_RUNTIME_API=" + l.Addr().String(), "_HANDLER=process", "AWS_LAMBDA_FUNCTION_NAME=bench"}
	err = cmd.Start()
	if err == nil {
		if body := <-answer; !json.Valid(body) {
			err = fmt.Errorf("bootstrap answered %.100q", body)
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	cancel()
	_ = api.Close()
	<-served
	return err
}
