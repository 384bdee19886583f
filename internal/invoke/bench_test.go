package invoke_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"she/internal/invoke"
	"she/internal/runtimeapi"
	"she/internal/runtimes"
)

// benchEvent is about as large as a day of one person's notes: 14 KB.
var benchEvent = `{"data":{"notes":[` + strings.TrimSuffix(strings.Repeat(`{"recordId":"00000000-0000-4000-8000-000000000000","data":{"message":"words that are counted one by one"}},`, 130), ",") + `]}}`

// benchFunctions are the same work in each language, and benchAnswer what its answer to the event is.
var benchFunctions = map[string]func(b *testing.B) invoke.Code{
	"python": func(b *testing.B) invoke.Code {
		return function(b, "python3.11", "app.handler", map[string]string{"app.py": `
def handler(event, context):
    return sum(len(n["data"]["message"].split()) for n in event["data"]["notes"])
`})
	},
	"nodejs": func(b *testing.B) invoke.Code {
		return function(b, "nodejs20.x", "app.handler", map[string]string{"app.js": `
exports.handler = async (event) => event.data.notes.reduce((n, note) => n + note.data.message.split(' ').length, 0)
`})
	},
	"java":   func(b *testing.B) invoke.Code { return javaCode(b, javaClasses(b))("words.Words::handle") },
	"dotnet": func(b *testing.B) invoke.Code { return dotnetCode(b, dotnetPackage(b), "Words::Tests.Words::Handle") },
	"go":     func(b *testing.B) invoke.Code { return golambda(b) },
}

const benchAnswer = "910"

// BenchmarkInvoke measures one invocation from event to nothing left: started cold, copied on demand, taken from
// those that wait, and beside them the same handler in a fresh process of this host without any walls.
func BenchmarkInvoke(b *testing.B) {
	for name, code := range benchFunctions {
		c := code(b)
		if name != "java" && name != "dotnet" { // their bootstraps are not where they are looked for without walls
			b.Run(name+"/bare", func(b *testing.B) { bare(b, c) })
		}
		b.Run(name+"/cold", func(b *testing.B) {
			v := openInvoker(b, invoke.Config{Find: testDotnet, WaitingBytes: -1})
			measure(b, v, c, invoke.Cold)
		})
		if name != "go" { // custom runtimes are not copied
			b.Run(name+"/restored", func(b *testing.B) {
				v := openInvoker(b, invoke.Config{Find: testDotnet, Images: b.TempDir(), WaitingBytes: -1})
				prepare(b, v, c)
				measure(b, v, c, invoke.Restored)
			})
		}
		b.Run(name+"/warm", func(b *testing.B) {
			v := openInvoker(b, invoke.Config{Find: testDotnet, Images: b.TempDir()})
			prepare(b, v, c)
			measure(b, v, c, invoke.Warm)
		})
		b.Run(name+"/warm and rehearsed", func(b *testing.B) {
			v, c := openInvoker(b, invoke.Config{Find: testDotnet, Images: b.TempDir()}), c
			c.WarmUp = []byte(benchEvent)
			prepare(b, v, c)
			measure(b, v, c, invoke.Warm)
		})
	}
}

// prepare lets the function have its image and one instance that waits.
func prepare(b *testing.B, v *invoke.Invoker, c invoke.Code) {
	b.Helper()
	for range 2 {
		if a, err := ask(b, v, c, benchEvent); err != nil {
			b.Fatalf("%v %s", err, a.Payload)
		}
		v.Settle()
	}
}

func measure(b *testing.B, v *invoke.Invoker, c invoke.Code, want invoke.Start) {
	var cpu, run time.Duration
	n := 0
	for b.Loop() {
		a, err := ask(b, v, c, benchEvent)
		if err != nil || a.Start != want {
			b.Fatalf("started %s, want %s: %v", a.Start, want, err)
		}
		cpu, run, n = cpu+a.Usage.CPU, run+a.Timing.Run, n+1
		b.StopTimer()
		v.Settle()
		b.StartTimer()
	}
	b.ReportMetric(float64(run.Microseconds())/1000/float64(n), "ms-answer/op")
	b.ReportMetric(float64(cpu.Microseconds())/1000/float64(n), "ms-cpu/op")
}

// bare runs the handler under the same bootstrap on the host, a fresh process for each event.
func bare(b *testing.B, c invoke.Code) {
	dir := b.TempDir()
	if err := runtimes.Install(dir); err != nil {
		b.Fatal(err)
	}
	r, _, err := runtimes.Finder{}.Find(c.Runtime)
	if err != nil {
		b.Fatal(err)
	}
	command := []string{filepath.Join(c.Dir, "bootstrap")}
	if len(r.Command) > 0 {
		command = nil
		for _, arg := range r.Command {
			command = append(command, strings.ReplaceAll(arg, runtimes.Dir, dir))
		}
	}
	for b.Loop() {
		server := runtimeapi.NewServer(6 << 20)
		web := httptest.NewServer(server)
		server.Give(runtimeapi.Invocation{ID: "bare", ARN: "arn:aws:lambda:eu-west-1:000000000000:function:bare", DeadlineMS: time.Now().Add(time.Minute).UnixMilli()}, []byte(benchEvent))
		cmd := exec.Command(command[0], command[1:]...)
		cmd.Dir = c.Dir
		cmd.Env = append(os.Environ(), "AWS_LAMBDA_RUNTIME_API="+strings.TrimPrefix(web.URL, "http://"), "LAMBDA_TASK_ROOT="+c.Dir, "_HANDLER="+c.Handler)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		<-server.Ended()
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
		if e := server.End(); e.Fault != nil {
			b.Fatalf("%+v", e.Fault)
		}
		web.CloseClientConnections()
		web.Close()
	}
	http.DefaultClient.CloseIdleConnections()
}
