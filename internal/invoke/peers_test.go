package invoke_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"she/internal/invoke"
	"she/internal/runtimeapi"
	"she/runtimes"
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

// BenchmarkPeers carries one event to a function and back, one client at a time, by turns: a copy of ours that waits;
// the AWS Lambda Runtime Interface Emulator, whose one process takes all events, without any isolation (its binary is
// named by SHE_BENCH_RIE, as it is not built here); and a fresh process in bubblewrap's namespaces for each event. The
// handler is the same for all. The processor time of ours is what a sandbox took until its answer, its making included
// and its removal not; of the peers, what their threads took until theirs.
func BenchmarkPeers(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("sandboxes need root")
	}
	if os.Getenv("SHE_TEST_ALL") == "" {
		b.Skip("some minutes beside peers: make bench")
	}
	const runs = 60
	for language, code := range benchFunctions {
		b.Run(language, func(b *testing.B) {
			for b.Loop() {
				c := code(b)
				c.Name, c.MemoryMB, c.Timeout, c.WarmUp = "f", 1769, time.Minute, []byte(benchEvent)
				peers := map[string]func() (took, cpu time.Duration){"she": ours(b, c)}
				loop, looped := loops[language]
				if looped || language == "go" { // ours for Java and .NET want to be where they are inside
					r, _, err := testDotnet.Find(c.Runtime)
					noError(b, err)
					bootstraps := b.TempDir()
					noError(b, runtimes.Install(bootstraps))
					command := make([]string, len(r.Command))
					for i, arg := range r.Command {
						command[i] = strings.ReplaceAll(arg, runtimes.Dir, bootstraps)
					}
					if len(command) == 0 {
						command = []string{filepath.Join(c.Dir, "bootstrap")}
					}
					env := []string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/tmp", "LAMBDA_TASK_ROOT=" + c.Dir, "LAMBDA_RUNTIME_DIR=" + bootstraps, "_HANDLER=" + c.Handler,
						"AWS_LAMBDA_FUNCTION_NAME=f", "AWS_LAMBDA_FUNCTION_VERSION=1", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE=256", "PYTHONPATH=" + bootstraps}
					peers["bwrap"] = bubblewrap(b, c.Dir, command, env)
					if rie := os.Getenv("SHE_BENCH_RIE"); rie != "" {
						if looped {
							noError(b, os.WriteFile(filepath.Join(c.Dir, loop[0]), []byte(loop[1]), 0o644))
							command = []string{command[0], filepath.Join(c.Dir, loop[0])}
						}
						peers["emulator"] = emulator(b, rie, c.Dir, command, c.Handler, env)
					}
				}
				took, cpu := map[string][]float64{}, map[string]time.Duration{}
				for range runs {
					for _, name := range []string{"she", "emulator", "bwrap"} {
						if peer := peers[name]; peer != nil {
							answered, used := peer()
							took[name] = append(took[name], answered.Seconds()*1000)
							cpu[name] += used
						}
					}
				}
				for name, all := range took {
					b.ReportMetric(middle(all), name+"-p50-ms")
					b.ReportMetric(slices.Sorted(slices.Values(all))[len(all)*99/100], name+"-p99-ms")
					b.ReportMetric(cpu[name].Seconds()*1000/runs, name+"-cpu-ms/op")
				}
				if fast := took["emulator"]; fast != nil {
					b.ReportMetric(middle(took["she"])/middle(fast), "she/emulator")
					// What a warm process takes is the handler's own time, and the emulator's.
					over := middle(took["she"]) - middle(fast)
					if over > targets[language] {
						b.Logf("missed: a waiting copy takes %.1f ms over a warm process, the target is %.0f", over, targets[language])
					}
				} else if peers["bwrap"] != nil {
					b.Log("left out: the emulator (SHE_BENCH_RIE names its binary; go install github.com/aws/aws-lambda-runtime-interface-emulator/cmd/aws-lambda-rie@main where that module can be had)")
				}
				if fresh := took["bwrap"]; fresh != nil {
					b.ReportMetric(middle(took["she"])/middle(fresh), "she/bwrap")
				}
				b.ReportMetric(0, "ns/op")
				if used := cpu["she"] / runs; used > 80*time.Millisecond {
					b.Logf("missed: a fresh copy takes %s of processor time, the target is 80 ms", used)
				}
			}
		})
	}
}

// ours takes a copy that waits; making the next one is not counted.
func ours(b *testing.B, c invoke.Code) func() (took, cpu time.Duration) {
	v := openInvoker(b, invoke.Config{Find: testDotnet, Images: b.TempDir()})
	var one func() (time.Duration, time.Duration)
	one = func() (time.Duration, time.Duration) {
		began := time.Now()
		a, err := v.Invoke(b.Context(), invoke.Request{Code: c, Tenant: "t", ID: uuid.NewString(), Event: []byte(benchEvent)})
		took := time.Since(began)
		if err != nil || string(a.Payload) != benchAnswer {
			b.Fatalf("%s %v\n%s", a.Payload, err, a.Log)
		}
		v.Settle()
		if a.Start != invoke.Parked { // the first ones make the image
			return one()
		}
		return took, a.Usage.CPU
	}
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

// bubblewrap starts the runtime anew for each event, in namespaces of its own but for the network, over which it asks.
func bubblewrap(b *testing.B, pkg string, command, env []string) func() (took, cpu time.Duration) {
	bwrap, err := exec.LookPath("bwrap")
	if err != nil {
		b.Skip("bubblewrap is not installed (apt-get install bubblewrap)")
	}
	return func() (took, cpu time.Duration) {
		server := runtimeapi.NewServer(6 << 20)
		l, err := net.Listen("tcp", "127.0.0.1:0")
		noError(b, err)
		web := &http.Server{Handler: server}
		go func() { _ = web.Serve(l) }()
		defer web.Close()
		began := time.Now()
		server.Give(runtimeapi.Invocation{ID: uuid.NewString(), ARN: "arn:aws:lambda:eu-west-1:000000000000:function:f", DeadlineMS: began.Add(time.Minute).UnixMilli()}, []byte(benchEvent))
		args := []string{"--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/run", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--die-with-parent", "--chdir", pkg, "--"}
		cmd := exec.Command(bwrap, append(args, command...)...)
		cmd.Env = append([]string{"AWS_LAMBDA_RUNTIME_API=" + l.Addr().String()}, env...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		noError(b, cmd.Start())
		<-server.Ended()
		took = time.Since(began)
		cpu = onCPU(b, cmd.Process.Pid)
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
		if e := server.End(); e.Fault != nil || string(e.Answer) != benchAnswer {
			b.Fatalf("under bubblewrap: %s %+v", e.Answer, e.Fault)
		}
		return took, cpu
	}
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
