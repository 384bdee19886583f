package invoke_test

import (
	"context"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"she/internal/invoke"
	"she/internal/sandbox/sandboxtest"
)

func request(c invoke.Code, tenant invoke.Tenant, event string) invoke.Request {
	return invoke.Request{Code: c, Tenant: tenant, ID: uuid.NewString(), Event: []byte(event)}
}

func ask(t testing.TB, v *invoke.Invoker, c invoke.Code, event string) (invoke.Answer, error) {
	t.Helper()
	return v.Invoke(t.Context(), request(c, "alice", event))
}

// wantAnswer checks the whole answer.
func wantAnswer(t *testing.T, v *invoke.Invoker, c invoke.Code, event, want string) invoke.Answer {
	t.Helper()
	a, err := ask(t, v, c, event)
	if err != nil {
		t.Fatalf("%s: %v\n%s\n%s", c.Handler, err, a.Payload, a.Log)
	}
	if string(a.Payload) != want {
		t.Errorf("%s answered %s, want %s\n%s", c.Handler, a.Payload, want, a.Log)
	}
	return a
}

// wantFailure checks who is to blame for what, that the failure keeps the function's words to itself, and that its
// error document carries them.
func wantFailure(t *testing.T, v *invoke.Invoker, c invoke.Code, event string, blame invoke.Blame, code, document string) {
	t.Helper()
	a, err := ask(t, v, c, event)
	var f *invoke.Failure
	if !errors.As(err, &f) || f.Blame != blame || f.Code != code {
		t.Errorf("%s %.80s: got %v, want %s: %s\n%s\n%s", c.Handler, event, err, blame, code, a.Payload, a.Log)
		return
	}
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("%s %.80s: the function's words are in the failure: %v", c.Handler, event, err)
	}
	var d struct{ ErrorType, ErrorMessage string }
	if err := json.Unmarshal(a.Payload, &d); err != nil || d.ErrorType == "" {
		t.Errorf("%s %.80s: no error document: %s", c.Handler, event, a.Payload)
	}
	if !strings.Contains(string(a.Payload), document) {
		t.Errorf("%s %.80s: the document %s lacks %q", c.Handler, event, a.Payload, document)
	}
}

const pythonApp = `
import json, os, sys, decimal
import vendored
from package.inner import deep

def echo(event, context):
    return event

def describe(event, context):
    print("printed")
    print("complained", file=sys.stderr)
    return {"vendored": vendored.value, "deep": deep, "name": context.function_name, "memory": context.memory_limit_in_mb,
            "left": 0 < context.get_remaining_time_in_millis() <= 20000, "id": len(context.aws_request_id),
            "arn": context.invoked_function_arn, "own": os.environ["OWN"], "handler": os.environ["_HANDLER"],
            "credentials": [k for k in os.environ if "SECRET" in k or "ACCESS_KEY" in k], "module": __name__}

def fails(event, context):
    raise ValueError("secret " + event["n"])

def exits(event, context):
    sys.exit(4)

def unwritable(event, context):
    return {"a": object()}

def logs(event, context):
    import logging
    logging.basicConfig(level=logging.DEBUG)  # of no effect, as on Lambda
    logger = logging.getLogger()
    logger.debug("not shown")
    logger.warning("shown %d", 1)
    logger.setLevel(logging.INFO)
    logging.getLogger("library").info("shown too")

def closes(event, context):
    sys.stdout.close()
    sys.stderr.close()
    if event:
        raise ValueError("closed")
    return "closed"

def zone(event, context):
    import time
    return time.strftime("%H %Z", time.localtime(0))

def remembers(event, context):
    remembers.n = getattr(remembers, "n", 0) + 1
    with open("/tmp/n", "a") as f:
        f.write("x")
    return [remembers.n, os.path.getsize("/tmp/n")]
`

// logged is what Lambda makes of two messages to Python's logging.
var logged = regexp.MustCompile(`^\[WARNING\]\t\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z\t[0-9a-f-]{36}\tshown 1\n\[INFO\]\t[^\t]+\t[0-9a-f-]{36}\tshown too\n$`)

func TestPython(t *testing.T) {
	slow(t)
	t.Parallel()
	v := newInvoker(t)
	c := function(t, "python3.11", "", map[string]string{
		"app.py": pythonApp, "vendored/__init__.py": "value = 'v'", "package/inner.py": "deep = 'd'\ndef handler(e, c): return __name__",
		"broken.py": "def (", "missing.py": "import nowhere", "raises.py": "raise RuntimeError('secret')", "dies.py": "import os; os._exit(9)",
	})
	c.Env = map[string]string{"OWN": "mine", "AWS_LAMBDA_RUNTIME_API": "203.0.113.1:80"}
	with := func(handler string) invoke.Code { c := c; c.Handler = handler; return c }

	wantAnswer(t, v, with("app.echo"), `{"big":12345678901234567890,"text":"Grüße 😀","list":[]}`, `{"big": 12345678901234567890, "text": "Grüße 😀", "list": []}`)
	a := wantAnswer(t, v, with("app.describe"), `""`, `{"vendored": "v", "deep": "d", "name": "test-dev-fn", "memory": "256", "left": true, "id": 36, `+
		`"arn": "arn:aws:lambda:eu-west-1:000000000000:function:test-dev-fn", "own": "mine", "handler": "app.describe", "credentials": [], "module": "app"}`)
	if string(a.Log) != "printed\ncomplained\n" {
		t.Errorf("log %q", a.Log)
	}
	if a.Timing.Sandbox <= 0 || a.Timing.Run <= 0 || a.Usage.MaxMemory <= 0 || a.Usage.CPU <= 0 || a.Start == "" {
		t.Errorf("not measured: %+v %+v %q", a.Timing, a.Usage, a.Start)
	}
	wantAnswer(t, v, with("package.inner.handler"), `1`, `"package.inner"`)
	wantAnswer(t, v, with("package/inner.handler"), `1`, `"package.inner"`)
	wantAnswer(t, v, with("app.echo"), `"half \ud800"`, `"half \ud800"`)
	if a := wantAnswer(t, v, with("app.logs"), `1`, `null`); !logged.Match(a.Log) {
		t.Errorf("logged %q", a.Log)
	}
	wantAnswer(t, v, with("app.closes"), `0`, `"closed"`)
	wantFailure(t, v, with("app.closes"), `1`, invoke.Author, "Unhandled", "closed")
	zoned := with("app.zone")
	wantAnswer(t, v, zoned, `1`, `"00 UTC"`)
	zoned.Env = map[string]string{"OWN": "", "TZ": "Europe/Vienna"}
	wantAnswer(t, v, zoned, `1`, `"01 CET"`)
	for range 2 { // nothing is left of the first
		wantAnswer(t, v, with("app.remembers"), `null`, `[1, 1]`)
	}
	wantFailure(t, v, with("app.fails"), `{"n":"canary"}`, invoke.Author, "Unhandled", "secret canary")
	wantFailure(t, v, with("app.exits"), `null`, invoke.Author, "Runtime.ExitError", "Error: Runtime exited with error: exit status 4")
	wantFailure(t, v, with("app.unwritable"), `null`, invoke.Author, "Runtime.MarshalError", "not JSON serializable")
	wantFailure(t, v, with("app.nothing"), `null`, invoke.Author, "Runtime.HandlerNotFound", "nothing")
	wantFailure(t, v, with("app"), `null`, invoke.Author, "Runtime.MalformedHandlerName", "app")
	wantFailure(t, v, with("broken.handler"), `null`, invoke.Author, "Runtime.UserCodeSyntaxError", "broken")
	wantFailure(t, v, with("missing.handler"), `null`, invoke.Author, "Runtime.ImportModuleError", "nowhere")
	wantFailure(t, v, with("raises.handler"), `null`, invoke.Author, "Unhandled", "secret")
	wantFailure(t, v, with("dies.handler"), `null`, invoke.Author, "Runtime.ExitError", "status 9")
	wantFailure(t, v, with("app.echo"), `{not json`, invoke.Author, "Runtime.UnmarshalError", "")
}

const nodeApp = `
exports.sync = (event) => event
exports.async = async (event) => { await new Promise(r => setTimeout(r, 5)); return event }
exports.callback = (event, context, callback) => { setTimeout(() => callback(null, event), 5) }
exports.empty = (event, context, callback) => { let late = 0; setTimeout(() => { late = 1; console.log('late') }, 50); callback(null, 'waited') }
exports.hurry = (event, context, callback) => { context.callbackWaitsForEmptyEventLoop = false; setTimeout(() => {}, 60000); callback(null, 'hurried') }
exports.succeed = (event, context) => { context.succeed(event) }
exports.nested = { deep: { handler: async () => 'nested' } }
exports.describe = async (event, context) => { console.log('printed'); console.error('complained'); return [context.functionName, context.memoryLimitInMB, context.awsRequestId.length, context.getRemainingTimeInMillis() > 0, process.cwd(), require('dep').value] }
exports.throws = async () => { throw new TypeError('secret thrown') }
exports.throwsSync = () => { throw new RangeError('secret thrown at once') }
exports.calls = (event, context, callback) => callback(new Error('secret in callback'))
exports.string = async () => { throw 'secret string' }
exports.stray = (event, context, callback) => { Promise.reject(new Error('secret stray')); setTimeout(() => callback(null, 1), 10000) }
exports.uncaught = (event, context, callback) => { setTimeout(() => { throw new Error('secret later') }, 1) }
exports.exit = async () => process.exit(5)
exports.nothing = () => {}
exports.cycle = async () => { const a = {}; a.a = a; return a }
exports.value = 3
const { pipeline } = require('stream/promises')
exports.streams = awslambda.streamifyResponse(async (event, stream, context) => {
	stream.setContentType('application/json')
	await pipeline([JSON.stringify(event).slice(0, 4), JSON.stringify(event).slice(4)], awslambda.HttpResponseStream.from(stream, {}))
})
exports.streamsLater = awslambda.streamifyResponse((event, stream) => { setTimeout(() => { stream.write('"late'); stream.write('r"') }, 20) })
exports.streamFails = awslambda.streamifyResponse(async (event, stream) => { stream.write('half'); throw new Error('secret in stream') })
`

func TestNode(t *testing.T) {
	slow(t)
	t.Parallel()
	v := newInvoker(t)
	c := function(t, "nodejs20.x", "", map[string]string{
		"index.js": nodeApp, "node_modules/dep/index.js": "exports.value = 'dep'",
		"esm.mjs":          "import fs from 'node:fs'\nexport const handler = async (e) => [e, import.meta.url]",
		"mod/package.json": `{"type":"module"}`, "mod/index.js": "export const handler = async () => 'module'",
		"broken.js": "const = 1", "missing.js": "require('nowhere')", "raises.js": "throw new Error('secret at load')",
		"late.mjs": "await new Promise(r => setTimeout(r, 10)); export const handler = async () => 'awaited'",
	})
	with := func(handler string) invoke.Code { c := c; c.Handler = handler; return c }
	for _, way := range []string{"sync", "async", "callback", "succeed"} {
		wantAnswer(t, v, with("index."+way), `{"text":"Grüße 😀","list":[1.5,true,null]}`, `{"text":"Grüße 😀","list":[1.5,true,null]}`)
	}
	if a := wantAnswer(t, v, with("index.empty"), `1`, `"waited"`); string(a.Log) != "late\n" {
		t.Errorf("a callback did not wait for the event loop: %q", a.Log)
	}
	wantAnswer(t, v, with("index.streams"), `{"text":"Grüße 😀"}`, `{"text":"Grüße 😀"}`)
	wantAnswer(t, v, with("index.streamsLater"), `1`, `"later"`)
	wantFailure(t, v, with("index.streamFails"), `1`, invoke.Author, "Unhandled", "secret in stream")
	wantAnswer(t, v, with("index.hurry"), `1`, `"hurried"`)
	wantAnswer(t, v, with("index.nested.deep.handler"), `1`, `"nested"`)
	wantAnswer(t, v, with("index.nothing"), `1`, `null`)
	wantAnswer(t, v, with("esm.handler"), `1`, `[1,"file:///var/task/esm.mjs"]`)
	wantAnswer(t, v, with("mod/index.handler"), `1`, `"module"`)
	wantAnswer(t, v, with("late.handler"), `1`, `"awaited"`)
	if a := wantAnswer(t, v, with("index.describe"), `1`, `["test-dev-fn","256",36,true,"/var/task","dep"]`); string(a.Log) != "printed\ncomplained\n" {
		t.Errorf("log %q", a.Log)
	}
	for handler, document := range map[string]string{
		"throws": `"errorType":"TypeError","errorMessage":"secret thrown"`, "throwsSync": `"RangeError"`, "calls": "secret in callback",
		"string": "secret string", "uncaught": "secret later",
	} {
		wantFailure(t, v, with("index."+handler), `1`, invoke.Author, "Unhandled", document)
	}
	wantFailure(t, v, with("index.stray"), `1`, invoke.Author, "Runtime.UnhandledPromiseRejection", "secret stray")
	wantFailure(t, v, with("index.exit"), `1`, invoke.Author, "Runtime.ExitError", "status 5")
	wantFailure(t, v, with("index.cycle"), `1`, invoke.Author, "Runtime.MarshalError", "circular")
	wantFailure(t, v, with("index.value"), `1`, invoke.Author, "Runtime.HandlerNotFound", "not a function")
	wantFailure(t, v, with("index.nowhere"), `1`, invoke.Author, "Runtime.HandlerNotFound", "not exported")
	wantFailure(t, v, with("index"), `1`, invoke.Author, "Runtime.MalformedHandlerName", "")
	wantFailure(t, v, with("broken.handler"), `1`, invoke.Author, "Runtime.UserCodeSyntaxError", "")
	wantFailure(t, v, with("missing.handler"), `1`, invoke.Author, "Runtime.ImportModuleError", "nowhere")
	wantFailure(t, v, with("gone.handler"), `1`, invoke.Author, "Runtime.ImportModuleError", "gone")
	wantFailure(t, v, with("raises.handler"), `1`, invoke.Author, "Unhandled", "secret at load")
}

func golambda(t testing.TB) invoke.Code {
	t.Helper()
	c := function(t, "provided.al2023", "bootstrap", nil)
	c.Dir = compileOnce(t, "golambda", func(dir string) {
		if err := sandboxtest.GoBuild("testdata/golambda", filepath.Join(dir, "bootstrap"), "."); err != nil {
			t.Fatal(err)
		}
	})
	return c
}

func TestOfficialGoClient(t *testing.T) {
	t.Parallel()
	v := newInvoker(t)
	c := golambda(t)
	a, err := ask(t, v, c, `{"n":12345678901234567890}`)
	var got struct {
		N         json.Number
		ID, Arn   string
		Left      int
		Name      string
		MemoryLim int
	}
	if err != nil || json.Unmarshal(a.Payload, &got) != nil {
		t.Fatalf("%v %s %s", err, a.Payload, a.Log)
	}
	if got.N != "12345678901234567890" || len(got.ID) != 36 || got.Left <= 0 || got.Left > 20000 || got.Name != "test-dev-fn" {
		t.Errorf("answered %s", a.Payload)
	}
	wantFailure(t, v, c, `{"fail":"error"}`, invoke.Author, "Unhandled", "a secret went wrong")
	wantFailure(t, v, c, `{"fail":"panic"}`, invoke.Author, "Unhandled", "a secret in panic")

	old := c
	old.Runtime, old.Handler = "go1.x", "bootstrap"
	if _, err := ask(t, v, old, `{"n":1}`); err != nil {
		t.Errorf("the retired go1.x: %v", err)
	}
}

// TestProcessorsOfCustomRuntime: a program in Go has as many as it may use, or what its author says.
func TestProcessorsOfCustomRuntime(t *testing.T) {
	t.Parallel()
	v, c := newInvoker(t), golambda(t)
	for memory, want := range map[int]string{128: "1", 1769: "1", 1770: "2"} {
		c.MemoryMB = memory
		wantAnswer(t, v, c, `{"do":"processors"}`, want)
	}
	c.Env = map[string]string{"GOMAXPROCS": "3"}
	wantAnswer(t, v, c, `{"do":"processors"}`, "3")
}

func TestCustomRuntimeThatCannotRun(t *testing.T) {
	slow(t)
	t.Parallel()
	v := newInvoker(t)
	wantFailure(t, v, function(t, "provided.al2", "x", nil), `1`, invoke.Author, "Runtime.InvalidEntrypoint", "bootstrap")
	c := function(t, "provided.al2023", "x", map[string]string{"bootstrap": "#!/bin/sh\n"})
	if err := os.Chmod(filepath.Join(c.Dir, "bootstrap"), 0o644); err != nil {
		t.Fatal(err)
	}
	wantFailure(t, v, c, `1`, invoke.Author, "Runtime.InvalidEntrypoint", "chmod")
	program, err := os.ReadFile(filepath.Join(golambda(t).Dir, "bootstrap"))
	if err != nil {
		t.Fatal(err)
	}
	program[18], program[19] = byte(elf.EM_S390), 0 // e_machine: a machine no test of ours will meet
	c = function(t, "provided.al2023", "bootstrap", map[string]string{"bootstrap": string(program)})
	wantFailure(t, v, c, `1`, invoke.Author, "Runtime.InvalidEntrypoint", "built for s390")
	wantFailure(t, v, function(t, "provided.al2023", "x", map[string]string{"bootstrap": "\x00\x01garbage"}), `1`, invoke.Author, "Runtime.InvalidEntrypoint", "")
	wantFailure(t, v, function(t, "provided.al2023", "x", map[string]string{"bootstrap": "#!/bin/sh\nexit 6\n"}), `1`, invoke.Author, "Runtime.ExitError", "status 6")
	wantFailure(t, v, function(t, "go1.x", "../../etc/x", nil), `1`, invoke.Author, "Runtime.InvalidEntrypoint", "")
}

func TestRefusedBeforeItRuns(t *testing.T) {
	slow(t)
	t.Parallel()
	v := newInvoker(t)
	c := function(t, "python3.11", "app.echo", map[string]string{"app.py": "def echo(e, c): return len(e)"})
	wantAnswer(t, v, c, `"`+strings.Repeat("e", 6<<20-2)+`"`, fmt.Sprint(6<<20-2))
	wantFailure(t, v, c, `"`+strings.Repeat("e", 6<<20-1)+`"`, invoke.Author, "RequestEntityTooLarge", "")
	for _, change := range []func(*invoke.Code){
		func(c *invoke.Code) { c.MemoryMB = 127 }, func(c *invoke.Code) { c.MemoryMB = 3009 },
		func(c *invoke.Code) { c.Timeout = 0 }, func(c *invoke.Code) { c.Timeout = 301 * time.Second },
	} {
		c := c
		change(&c)
		wantFailure(t, v, c, `1`, invoke.Author, "Function.InvalidPackage", "")
	}
	c.Runtime = "cobol85"
	wantFailure(t, v, c, `1`, invoke.Author, "Runtime.InvalidRuntime", "cobol85")
}

func TestSupports(t *testing.T) {
	t.Parallel()
	v := newInvoker(t)
	for name, want := range map[string]struct{ resolved, warning string }{
		"python3.7": {"python3.", "python3.7 is run by python3."}, "nodejs12.x": {"nodejs", "nodejs12.x is run by nodejs"},
		"provided.al2023": {"provided.al2023", ""}, "provided": {"provided.al2023", "provided is run as"}, "go1.x": {"provided.al2023", "retired"},
	} {
		resolved, warning, err := v.Supports(name)
		if err != nil || !strings.HasPrefix(resolved, want.resolved) || !strings.HasPrefix(warning, want.warning) && !strings.Contains(warning, want.warning) || (want.warning == "") != (warning == "") {
			t.Errorf("%s: %q, %q, %v", name, resolved, warning, err)
		}
	}
	for _, name := range []string{"", "python", "cobol", "python3.11; rm"} {
		if resolved, _, err := v.Supports(name); err == nil && name != "python" {
			t.Errorf("%q is supported as %s", name, resolved)
		}
	}
}

func TestDeadline(t *testing.T) {
	t.Parallel()
	v := newInvoker(t)
	c := function(t, "python3.11", "app.sleep", map[string]string{"app.py": "import time\ndef sleep(e, c):\n    print('before')\n    time.sleep(1000)"})
	c.Timeout = time.Second
	a, err := ask(t, v, c, `1`)
	var f *invoke.Failure
	if !errors.As(err, &f) || f.Code != "Sandbox.Timedout" || f.Text != "Task timed out after 1.00 seconds" {
		t.Errorf("got %v", err)
	}
	if string(a.Log) != "before\n" {
		t.Errorf("the log of a run that timed out: %q", a.Log)
	}
	if a.Timing.Run < time.Second || a.Timing.Run > 10*time.Second {
		t.Errorf("a second was %s", a.Timing.Run)
	}
}

func TestManyAtOnce(t *testing.T) {
	slow(t)
	t.Parallel()
	v := newInvoker(t)
	c := function(t, "python3.11", "app.echo", map[string]string{"app.py": "def echo(e, c): return e"})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			a, err := v.Invoke(t.Context(), request(c, invoke.Tenant(fmt.Sprint(i%2)), fmt.Sprint(i)))
			if err != nil || string(a.Payload) != fmt.Sprint(i) {
				t.Errorf("%d: %s %v", i, a.Payload, err)
			}
		})
	}
	wg.Wait()
}

func TestCloseEndsWhatRuns(t *testing.T) {
	t.Parallel()
	v := newInvoker(t)
	c := function(t, "python3.11", "app.sleep", map[string]string{"app.py": "import time\ndef sleep(e, c): time.sleep(1000)"})
	ended := make(chan error)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	go func() {
		_, err := v.Invoke(ctx, request(c, "alice", `1`))
		ended <- err
	}()
	if err := v.Close(); err != nil { // wherever the invocation is by now
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, invoke.ErrClosed) {
		t.Errorf("got %v", err)
	}
	if _, err := ask(t, v, c, `1`); !errors.Is(err, invoke.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}
