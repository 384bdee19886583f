package invoke_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"

	"she/internal/invoke"
	"she/internal/runtimeapi"
	"she/internal/runtimes"
)

// targets are how many ms at most a waiting copy may take from event to answer over the handler's own time.
var targets = map[string]float64{"go": 5, "python": 10, "nodejs": 10, "java": 10, "dotnet": 10}

// loops are the least a runtime does, with the client of the standard library: the emulator sends events in chunks,
// which our bootstraps never meet.
var loops = map[string][2]string{
	"python": {"loop.py", `
import app, http.client, json, os
c = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
while True:
    c.request("GET", "/2018-06-01/runtime/invocation/next")
    r = c.getresponse()
    answer = json.dumps(app.handler(json.loads(r.read()), None))
    c.request("POST", "/2018-06-01/runtime/invocation/" + r.headers["Lambda-Runtime-Aws-Request-Id"] + "/response", answer)
    c.getresponse().read()
`},
	"nodejs": {"loop.js", `
const http = require('http'), app = require('./app.js')
const [host, port] = process.env.AWS_LAMBDA_RUNTIME_API.split(':')
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
const ask = (method, path, body) => new Promise((resolve, reject) => {
  http.request({ host, port, method, agent, path: '/2018-06-01/runtime/invocation/' + path }, (r) => {
    let text = ''
    r.on('data', (part) => { text += part }).on('end', () => resolve([r.headers['lambda-runtime-aws-request-id'], text]))
  }).on('error', reject).end(body)
})
;(async () => {
  for (;;) {
    const [id, event] = await ask('GET', 'next')
    await ask('POST', id + '/response', JSON.stringify(await app.handler(JSON.parse(event))))
  }
})()
`},
}

// slowly gives the same handlers an INIT of two seconds. What a custom runtime has in memory is not copied, so it would only
// show that.
var slowly = map[string]func(b *testing.B) invoke.Code{
	"python": func(b *testing.B) invoke.Code { return delayed(b, "python", "app.py", "import time\ntime.sleep(2)\n") },
	"nodejs": func(b *testing.B) invoke.Code {
		return delayed(b, "nodejs", "app.js", "Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2000)\n")
	},
	"java": func(b *testing.B) invoke.Code { return javaCode(b, javaClasses(b))("words.Slow::handle") },
	"dotnet": func(b *testing.B) invoke.Code {
		return dotnetCode(b, dotnetPackage(b), "Words::Tests.SlowWords::Handle")
	},
}

func delayed(b *testing.B, language, file, first string) invoke.Code {
	c := benchFunctions[language](b)
	source, err := os.ReadFile(filepath.Join(c.Dir, file))
	noError(b, err)
	noError(b, os.WriteFile(filepath.Join(c.Dir, file), append([]byte(first), source...), 0o644))
	return c
}

// What BenchmarkPeers compares, in the order in which they take turns.
const (
	own      = "the handler's own, a warm process"
	emulated = "emulator, a warm process"
	warm     = "she, a waiting copy"
	fresh    = "bubblewrap, a fresh process"
	nothing  = "she, nothing waits, INIT 2 s"
)

// BenchmarkPeers carries one event to a function and back, one client at a time, by turns: the handler's own time, under
// our bootstrap in one process of this host that takes all events over a plain loopback; the AWS Lambda Runtime Interface
// Emulator with one such process (its binary is named by SHE_BENCH_RIE: its module can't be had from where others come);
// a copy of ours that waits; a fresh process in bubblewrap's namespaces for each event; and, every third time, a copy of
// ours that has to be made for the event, of a function whose INIT takes two seconds. The handler is the same for all.
// The processor time of ours is what a sandbox took until its answer, its making included and its removal not; of the
// peers, what their threads took until theirs.
func BenchmarkPeers(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("sandboxes need root")
	}
	if os.Getenv("SHE_TEST_ALL") == "" {
		b.Skip("some minutes beside peers: make bench")
	}
	bwrap, err := exec.LookPath("bwrap")
	if err != nil {
		b.Skip("bubblewrap is not installed: apt-get install bubblewrap")
	}
	const runs = 60
	for _, language := range slices.Sorted(maps.Keys(benchFunctions)) {
		b.Run(language, func(b *testing.B) {
			for b.Loop() {
				peers := peersOf(b, language, bwrap)
				took, cpu := map[string][]float64{}, map[string]float64{}
				for n := range runs {
					for _, name := range []string{own, emulated, warm, fresh, nothing} {
						if peer := peers[name]; peer != nil && (name != nothing || n%3 == 0) {
							answered, used := peer()
							took[name] = append(took[name], answered.Seconds()*1000)
							cpu[name] += used.Seconds() * 1000
						}
					}
				}
				compare(b, language, took, cpu)
			}
		})
	}
}

func peersOf(b *testing.B, language, bwrap string) map[string]func() (took, cpu time.Duration) {
	prepared := func(code func(*testing.B) invoke.Code) invoke.Code {
		c := code(b)
		c.Name, c.MemoryMB, c.Timeout, c.WarmUp = "f", 1769, time.Minute, []byte(benchEvent)
		return c
	}
	c := prepared(benchFunctions[language])
	r, _, err := testDotnet.Find(c.Runtime)
	noError(b, err)
	bootstraps := b.TempDir()
	noError(b, runtimes.Install(bootstraps))
	noError(b, os.Chmod(bootstraps, 0o755))
	p := program{bwrap: bwrap, dir: c.Dir, command: r.Command, binds: append(r.Paths, [2]string{bootstraps, runtimes.Dir}, [2]string{c.Dir, c.Dir})}
	if len(p.command) == 0 {
		p.command = []string{filepath.Join(c.Dir, "bootstrap")}
	}
	p.env = append([]string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/tmp", "LAMBDA_TASK_ROOT=" + c.Dir, "LAMBDA_RUNTIME_DIR=" + runtimes.Dir, "_HANDLER=" + c.Handler,
		"AWS_LAMBDA_FUNCTION_NAME=f", "AWS_LAMBDA_FUNCTION_VERSION=1", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE=1769"}, r.Env...)
	peers := map[string]func() (time.Duration, time.Duration){
		own:   p.warm(b),
		fresh: func() (took, cpu time.Duration) { return p.fresh(b) },
		warm:  ours(b, c, invoke.Warm, 0),
	}
	if slow := slowly[language]; slow != nil {
		peers[nothing] = ours(b, prepared(slow), invoke.Restored, -1)
	}
	rie := os.Getenv("SHE_BENCH_RIE")
	if loop, ok := loops[language]; rie != "" && ok {
		noError(b, os.WriteFile(filepath.Join(c.Dir, loop[0]), []byte(loop[1]), 0o644))
		peers[emulated] = emulator(b, rie, c.Dir, []string{p.command[0], filepath.Join(c.Dir, loop[0])}, c.Handler, p.env)
	} else if rie != "" && language == "go" {
		peers[emulated] = emulator(b, rie, c.Dir, p.command, c.Handler, p.env)
	}
	return peers
}

// compare prints what was measured beside the targets. It asserts nothing: a machine with other work misses them.
func compare(b *testing.B, language string, took map[string][]float64, cpu map[string]float64) {
	var text strings.Builder // of nine lines: of more the end is not shown
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "\n%s\tp50 ms\tp99 ms\tcpu ms\ta waiting copy is\t\n", language)
	of := func(name string) float64 { return middle(took[name]) }
	for _, name := range []string{own, emulated, fresh, warm, nothing} {
		all := took[name]
		if all == nil {
			fmt.Fprintf(w, "%s\t–\t–\t–\t%s\t\n", name, without(name, language))
			continue
		}
		fmt.Fprintf(w, "%s\t%.1f\t%.1f\t%.1f\t×%.2f\t\n", name, of(name), slices.Sorted(slices.Values(all))[len(all)*99/100], cpu[name]/float64(len(all)), of(warm)/of(name))
	}
	noError(b, w.Flush())
	against := func(what string, got, target float64) {
		verdict := "met"
		if got > target {
			verdict = "missed"
		}
		fmt.Fprintf(&text, "%s: %.1f ms, the target is %.0f: %s", what, got, target, verdict)
	}
	against("a waiting copy, over the handler's own time", of(warm)-of(own), targets[language])
	if took[nothing] != nil {
		against("\nnothing waits", of(nothing), 150)
	}
	against("; processor time of a copy", cpu[warm]/float64(len(took[warm])), 80)
	b.Log(text.String())
	b.ReportMetric(of(warm), "she-p50-ms")
	b.ReportMetric(of(warm)-of(own), "over-own-ms")
	b.ReportMetric(of(warm)/of(fresh), "she/bwrap")
	b.ReportMetric(0, "ns/op")
}

// without says why there is no figure.
func without(name, language string) string {
	switch _, looped := loops[language]; {
	case name == nothing:
		return "a custom runtime is not copied"
	case looped || language == "go":
		return "SHE_BENCH_RIE does not name it"
	}
	return "it sends chunks, which no client here reads"
}

// ours has the event answered by a copy that waits, or by one made for it; making the next one is not counted.
func ours(b *testing.B, c invoke.Code, want invoke.Start, waiting int64) func() (took, cpu time.Duration) {
	v := openInvoker(b, invoke.Config{Find: testDotnet, Images: b.TempDir(), WaitingBytes: waiting})
	var one func() (time.Duration, time.Duration)
	one = func() (time.Duration, time.Duration) {
		began := time.Now()
		a, err := v.Invoke(b.Context(), invoke.Request{Code: c, Tenant: "t", ID: uuid.NewString(), Event: []byte(benchEvent)})
		took := time.Since(began)
		if err != nil || string(a.Payload) != benchAnswer {
			b.Fatalf("%s %v\n%s", a.Payload, err, a.Log)
		}
		v.Settle()
		if a.Start != want { // the first ones make the image
			return one()
		}
		return took, a.Usage.CPU
	}
	one()
	return one
}

// emulator starts it once; its process stays.
func emulator(b *testing.B, program, pkg string, command []string, handler string, env []string) func() (took, cpu time.Duration) {
	address, api := freeAddress(b), freeAddress(b)
	cmd := exec.Command(program, append(append([]string{"--runtime-interface-emulator-address", address, "--runtime-api-address", api, "--log-level", "error"}, command...), handler)...)
	cmd.Dir, cmd.Env = pkg, env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	noError(b, cmd.Start())
	b.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
	})
	ctx, cancel := context.WithTimeout(b.Context(), 20*time.Second)
	defer cancel()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err == nil {
			_ = conn.Close()
			break
		}
		if ctx.Err() != nil {
			b.Fatal("the emulator does not listen")
		}
	}
	before := onCPU(b, cmd.Process.Pid)
	one := func() (time.Duration, time.Duration) {
		began := time.Now()
		resp, err := http.Post("http://"+address+"/2015-03-31/functions/function/invocations", "application/json", bytes.NewReader([]byte(benchEvent)))
		noError(b, err)
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		took := time.Since(began)
		if err != nil || string(body) != benchAnswer {
			b.Fatalf("the emulator answered %s, %v", body, err)
		}
		used := onCPU(b, cmd.Process.Pid)
		defer func() { before = used }()
		return took, used - before
	}
	one() // its INIT
	return one
}

func noError(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

func middle(all []float64) float64 {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)/2]
}

func freeAddress(b *testing.B) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	noError(b, err)
	defer l.Close()
	return l.Addr().String()
}

// program is a runtime with its bootstrap where that is inside, in bubblewrap's namespaces: all of the host can be read, and
// the network is the host's, for over that it asks.
type program struct {
	bwrap, dir   string
	command, env []string
	binds        [][2]string
}

// serve starts the program, with a Runtime API of its own.
func (p program) serve(b *testing.B) (server *runtimeapi.Server, cmd *exec.Cmd, end func()) {
	server = runtimeapi.NewServer(6 << 20)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	noError(b, err)
	go func() { _ = server.Serve(l) }()
	args := []string{"--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/run", "--tmpfs", "/var"}
	for _, bind := range p.binds {
		if strings.HasPrefix(bind[1], "/var/") { // the rest is where it was
			args = append(args, "--ro-bind", bind[0], bind[1])
		}
	}
	args = append(args, "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--die-with-parent", "--chdir", p.dir, "--")
	cmd = exec.Command(p.bwrap, append(args, p.command...)...)
	cmd.Env = append([]string{"AWS_LAMBDA_RUNTIME_API=" + l.Addr().String()}, p.env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	noError(b, cmd.Start())
	return server, cmd, func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
		_ = l.Close()
	}
}

// exchange gives one event and waits for its answer.
func exchange(b *testing.B, server *runtimeapi.Server) {
	server.Give(runtimeapi.Invocation{ID: uuid.NewString(), ARN: "arn:aws:lambda:eu-west-1:000000000000:function:f", DeadlineMS: time.Now().Add(time.Minute).UnixMilli()}, []byte(benchEvent))
	select {
	case <-server.Ended():
	case <-time.After(time.Minute):
		b.Fatal("no answer")
	}
	if e := server.End(); e.Fault != nil || string(e.Answer) != benchAnswer {
		b.Fatalf("answered %s %s %+v", e.Answer, e.Document, e.Fault)
	}
}

// warm starts the program once, and lets it see as many events as an image is made after.
func (p program) warm(b *testing.B) func() (took, cpu time.Duration) {
	server, cmd, end := p.serve(b)
	b.Cleanup(end)
	one := func() (took, cpu time.Duration) {
		select {
		case <-server.Ready():
		case <-time.After(time.Minute):
			b.Fatal("it does not ask for its event")
		}
		before, began := onCPU(b, cmd.Process.Pid), time.Now()
		exchange(b, server)
		took = time.Since(began)
		cpu = onCPU(b, cmd.Process.Pid) - before
		server.Rewind()
		return took, cpu
	}
	for range 20 {
		one()
	}
	return one
}

// fresh starts the program anew for one event.
func (p program) fresh(b *testing.B) (took, cpu time.Duration) {
	began := time.Now()
	server, cmd, end := p.serve(b)
	defer end()
	exchange(b, server)
	return time.Since(began), onCPU(b, cmd.Process.Pid)
}

// onCPU is the processor time of the threads of a process and its descendants: the first number of schedstat, in
// nanoseconds. Of threads that have ended nothing is known.
func onCPU(b *testing.B, of int) (all time.Duration) {
	for _, pid := range append(descendants(b, of), of) {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
		noError(b, err)
		for _, thread := range threads {
			var ran time.Duration
			if text, err := os.ReadFile(thread); err == nil { // it may have ended
				_, err = fmt.Sscan(string(text), &ran)
				noError(b, err)
			}
			all += ran
		}
	}
	return all
}
