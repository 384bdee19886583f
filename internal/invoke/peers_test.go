package invoke_test

import (
	"bytes"
	"context"
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

// handlers are the same work in each language, and what its answer to the event is.
var handlers = map[string]struct {
	runtime, handler, file, text string
	target                       float64 // ms at most, from event to answer, over the handler's own time
}{
	"python": {"python3.11", "app.handler", "app.py", "def handler(event, context):\n    return sum(len(n['data']['message'].split()) for n in event['data']['notes'])\n", 10},
	"nodejs": {"nodejs20.x", "app.handler", "app.js", "exports.handler = async (event) => event.data.notes.reduce((n, note) => n + note.data.message.split(' ').length, 0)\n", 10},
}

const invokeAnswer = "910"

// warmPython is the least a runtime does, with the standard library's client.
const warmPython = `
import app, http.client, json, os
c = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
while True:
    c.request("GET", "/2018-06-01/runtime/invocation/next")
    r = c.getresponse()
    answer = json.dumps(app.handler(json.loads(r.read()), None))
    c.request("POST", "/2018-06-01/runtime/invocation/" + r.headers["Lambda-Runtime-Aws-Request-Id"] + "/response", answer)
    c.getresponse().read()
`

// BenchmarkPeers carries one event to a function and back, one client at a time, by turns: a copy of ours that waits;
// the AWS Lambda Runtime Interface Emulator, whose one process takes all events, without any isolation (its binary is
// named by SHE_BENCH_RIE, as it is not built here); and a fresh process in bubblewrap's namespaces for each event. The
// handler is the same for all.
func BenchmarkPeers(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("sandboxes need root")
	}
	if os.Getenv("SHE_TEST_ALL") == "" {
		b.Skip("some minutes beside peers: make bench")
	}
	const runs = 60
	for language, h := range handlers {
		b.Run(language, func(b *testing.B) {
			for b.Loop() {
				pkg := b.TempDir()
				noError(b, os.Chmod(pkg, 0o755))
				noError(b, os.WriteFile(filepath.Join(pkg, h.file), []byte(h.text), 0o644))
				r, _, err := runtimes.Finder{Compiled: filepath.Join(b.TempDir(), "compiled")}.Find(h.runtime)
				noError(b, err)
				bootstraps := b.TempDir()
				noError(b, runtimes.Install(bootstraps))
				command := make([]string, len(r.Command))
				for i, arg := range r.Command {
					command[i] = strings.ReplaceAll(arg, runtimes.Dir, bootstraps)
				}
				env := []string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/tmp", "LAMBDA_TASK_ROOT=" + pkg, "LAMBDA_RUNTIME_DIR=" + bootstraps, "_HANDLER=" + h.handler,
					"AWS_LAMBDA_FUNCTION_NAME=f", "AWS_LAMBDA_FUNCTION_VERSION=1", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE=256", "PYTHONPATH=" + bootstraps}

				peers := map[string]func() time.Duration{"she": ours(b, invoke.Code{
					Name: "f", Version: "1", Package: "sha256:" + language, Dir: pkg, Runtime: h.runtime, Handler: h.handler,
					MemoryMB: 1769, Timeout: time.Minute, WarmUp: []byte(benchEvent),
				}), "bwrap": bubblewrap(b, pkg, command, env)}
				if rie := os.Getenv("SHE_BENCH_RIE"); rie != "" {
					if language == "python" { // the emulator sends events in chunks, which our bootstrap never meets
						noError(b, os.WriteFile(filepath.Join(pkg, "loop.py"), []byte(warmPython), 0o644))
						command = []string{command[0], filepath.Join(pkg, "loop.py")}
					}
					peers["emulator"] = emulator(b, rie, pkg, command, h.handler, env)
				}
				took := map[string][]float64{}
				for range runs {
					for _, name := range []string{"she", "emulator", "bwrap"} {
						if peer := peers[name]; peer != nil {
							took[name] = append(took[name], peer().Seconds()*1000)
						}
					}
				}
				for name, all := range took {
					b.ReportMetric(middle(all), name+"-ms")
				}
				if fast := took["emulator"]; fast != nil {
					b.ReportMetric(middle(took["she"])/middle(fast), "she/emulator")
					// What a warm process takes is the handler's own time, and the emulator's.
					over := middle(took["she"]) - middle(fast)
					if over > h.target {
						b.Logf("missed: a waiting copy takes %.1f ms over a warm process, the target is %.0f", over, h.target)
					}
				} else {
					b.Log("left out: the emulator (SHE_BENCH_RIE names its binary)")
				}
				b.ReportMetric(middle(took["she"])/middle(took["bwrap"]), "she/bwrap")
			}
		})
	}
}

// ours takes a copy that waits; making the next one is not counted.
func ours(b *testing.B, c invoke.Code) func() time.Duration {
	v := openInvoker(b, invoke.Config{Images: b.TempDir()})
	var one func() time.Duration
	one = func() time.Duration {
		began := time.Now()
		a, err := v.Invoke(b.Context(), invoke.Request{Code: c, Tenant: "t", ID: uuid.NewString(), Event: []byte(benchEvent)})
		took := time.Since(began)
		if err != nil || string(a.Payload) != invokeAnswer {
			b.Fatalf("%s %v\n%s", a.Payload, err, a.Log)
		}
		v.Settle()
		if a.Start != invoke.Parked { // the first ones make the image
			return one()
		}
		return took
	}
	return one
}

// emulator starts it once; its process stays.
func emulator(b *testing.B, program, pkg string, command []string, handler string, env []string) func() time.Duration {
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
	one := func() time.Duration {
		began := time.Now()
		resp, err := http.Post("http://"+address+"/2015-03-31/functions/function/invocations", "application/json", bytes.NewReader([]byte(benchEvent)))
		noError(b, err)
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		took := time.Since(began)
		if err != nil || string(body) != invokeAnswer {
			b.Fatalf("the emulator answered %s, %v", body, err)
		}
		return took
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
func bubblewrap(b *testing.B, pkg string, command, env []string) func() time.Duration {
	bwrap, err := exec.LookPath("bwrap")
	if err != nil {
		b.Skip("bubblewrap is not installed (apt-get install bubblewrap)")
	}
	return func() time.Duration {
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
		took := time.Since(began)
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
		if e := server.End(); e.Fault != nil || string(e.Answer) != invokeAnswer {
			b.Fatalf("under bubblewrap: %s %+v", e.Answer, e.Fault)
		}
		return took
	}
}
