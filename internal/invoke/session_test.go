package invoke_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"she/internal/invoke"
)

// twoEntries are packages with two handlers, of the process and of the bundle. Each tells what it is called, and which of the
// two had events in this process so far.
var twoEntries = map[string]func(t testing.TB) invoke.Code{
	"python": func(t testing.TB) invoke.Code {
		return function(t, "python3.11", "process.handler", map[string]string{"shared.py": "seen = []\n", "process.py": `
import os, shared
def handler(event, context):
    print("process says", event)
    shared.seen.append("process")
    return {"seen": shared.seen, "name": context.function_name, "env": os.environ["AWS_LAMBDA_FUNCTION_NAME"],
            "handler": os.environ["_HANDLER"], "group": context.log_group_name, "arn": context.invoked_function_arn}
`, "bundle.py": `
import os, shared, time
def handler(event, context):
    print("bundle says", event)
    shared.seen.append("bundle")
    if event == "raise":
        raise ValueError("no")
    if event == "slow":
        time.sleep(60)
    if event == "die later":
        import threading
        threading.Timer(0.05, lambda: os._exit(3)).start()
    return {"seen": shared.seen, "name": context.function_name, "env": os.environ["AWS_LAMBDA_FUNCTION_NAME"],
            "handler": os.environ["_HANDLER"], "group": context.log_group_name, "arn": context.invoked_function_arn}
`})
	},
	"nodejs": func(t testing.TB) invoke.Code {
		return function(t, "nodejs20.x", "process.handler", map[string]string{"shared.js": "exports.seen = []\n", "process.js": `
const shared = require('./shared.js')
exports.handler = async (event, context) => {
  console.log('process says', event)
  shared.seen.push('process')
  return { seen: shared.seen, name: context.functionName, env: process.env.AWS_LAMBDA_FUNCTION_NAME,
    handler: process.env._HANDLER, group: context.logGroupName, arn: context.invokedFunctionArn }
}
`, "bundle.js": `
const shared = require('./shared.js')
exports.handler = async (event, context) => {
  console.log('bundle says', event)
  shared.seen.push('bundle')
  if (event === 'raise') throw new Error('no')
  if (event === 'slow') await new Promise((resolve) => setTimeout(resolve, 60000))
  if (event === 'die later') setTimeout(() => process.exit(3), 50)
  return { seen: shared.seen, name: context.functionName, env: process.env.AWS_LAMBDA_FUNCTION_NAME,
    handler: process.env._HANDLER, group: context.logGroupName, arn: context.invokedFunctionArn }
}
`})
	},
	"java": func(t testing.TB) invoke.Code { return javaCode(t, javaClasses(t))("entries.Entries::process") },
	"dotnet": func(t testing.TB) invoke.Code {
		return dotnetCode(t, dotnetPackage(t), "Entries::Tests.Entries::Process")
	},
}

var bundleHandlers = map[string]string{
	"python": "bundle.handler", "nodejs": "bundle.handler", "java": "entries.Entries::bundle", "dotnet": "Entries::Tests.Entries::Bundle",
}

// entriesOf are the Codes of a package's two entries, as a project with one memory size and environment makes them.
func entriesOf(t testing.TB, language string) (bundle, process invoke.Code) {
	process = twoEntries[language](t)
	process.Name, process.Env = "test-dev-f", map[string]string{"SETTING": "one"}
	bundle = process
	bundle.Name, bundle.Handler, bundle.Timeout = "test-dev-f-bundle", bundleHandlers[language], 10*time.Second
	return bundle, process
}

// told is what the handlers of twoEntries answer.
type told struct {
	Seen                           []string
	Name, Env, Handler, Group, ARN string
}

func askFirst(t *testing.T, v *invoke.Invoker, bundle, process invoke.Code, event string) (invoke.Answer, error) {
	t.Helper()
	a, err := v.Invoke(t.Context(), invoke.Request{Code: bundle, Then: &process, Tenant: "t", ID: uuid.NewString(), Event: []byte(event)})
	t.Cleanup(a.Session.End)
	return a, err
}

func askThen(t *testing.T, v *invoke.Invoker, process invoke.Code, s *invoke.Session, event string) (told, invoke.Answer) {
	t.Helper()
	a, err := v.Invoke(t.Context(), invoke.Request{Code: process, Session: s, Tenant: "t", ID: uuid.NewString(), Event: []byte(event)})
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, a.Payload, a.Log)
	}
	return toldIn(t, a), a
}

func toldIn(t *testing.T, a invoke.Answer) (got told) {
	t.Helper()
	if err := json.Unmarshal(a.Payload, &got); err != nil {
		t.Fatalf("%s: %v", a.Payload, err)
	}
	return got
}

// TestOneInstanceForBothEntries: the data goes to the instance that told the bundle. Each entry has its own handler, name, time
// limit and log; another run has another instance, which has seen nothing.
func TestOneInstanceForBothEntries(t *testing.T) {
	slow(t)
	for language := range twoEntries {
		t.Run(language, func(t *testing.T) {
			t.Parallel()
			v := openInvoker(t, invoke.Config{Find: testDotnet, Images: t.TempDir()})
			bundle, process := entriesOf(t, language)
			bundle.WarmUp, process.WarmUp = []byte(`"a rehearsal of the bundle"`), []byte(`"a rehearsal of the process"`)
			var before []string
			for run, want := range []invoke.Start{invoke.Cold, invoke.Warm, invoke.Warm} {
				a, err := askFirst(t, v, bundle, process, fmt.Sprintf(`"%d"`, run))
				if err != nil || a.Start != want || a.Session == nil {
					t.Fatalf("started %s, want %s; session %v; %v %s", a.Start, want, a.Session != nil, err, a.Payload)
				}
				first := toldIn(t, a)
				then, b := askThen(t, v, process, a.Session, fmt.Sprintf(`"%d"`, run))
				if run > 0 && before == nil {
					before = first.Seen[:len(first.Seen)-1] // of the rehearsals
				}
				wantSeen := append(append([]string{}, before...), "bundle", "process")
				if fmt.Sprint(then.Seen) != fmt.Sprint(wantSeen) || b.Start != want {
					t.Errorf("run %d, started %s: seen %v, want %v", run, b.Start, then.Seen, wantSeen)
				}
				for _, e := range []struct {
					told
					invoke.Code
				}{{first, bundle}, {then, process}} {
					if language == "java" { // it has no way to set a variable
						e.told.Env, e.told.Handler = e.Code.Name, e.Code.Handler
					}
					if e.told.Name != e.Code.Name || e.told.Env != e.Code.Name || e.told.Handler != e.Code.Handler ||
						e.Group != "/aws/lambda/"+e.Code.Name || !strings.HasSuffix(e.ARN, ":function:"+e.Code.Name) {
						t.Errorf("%s is told %+v", e.Code.Name, e.told)
					}
				}
				if says := string(a.Log); !strings.Contains(says, fmt.Sprintf("bundle says %d", run)) || strings.Contains(says, "process says") {
					t.Errorf("the bundle's log is %q", says)
				}
				if says := string(b.Log); says != fmt.Sprintf("process says %d\n", run) {
					t.Errorf("the process's log is %q", says)
				}
				if a.Usage.CPU <= 0 || b.Usage.CPU <= 0 || b.Usage.CPU > a.Usage.CPU && run == 0 {
					t.Errorf("used %s, then %s, INIT with the first", a.Usage.CPU, b.Usage.CPU)
				}
				v.Settle()
			}
			if s := onlyStats(t, v); s.Cold != 1 || s.Warm != 2 || s.Restored != 0 || s.Fallbacks != 0 {
				t.Errorf("three runs had the instances %+v", s.Counts)
			}
		})
	}
}

// TestEntriesThatDiffer: what an instance has before its event is the same for both entries, or there are two instances.
func TestEntriesThatDiffer(t *testing.T) {
	slow(t)
	v := newInvoker(t)
	for what, change := range map[string]func(c *invoke.Code){
		"package":        func(c *invoke.Code) { c.Package = "sha256:other" },
		"no package":     func(c *invoke.Code) { c.Package = "" },
		"directory":      func(c *invoke.Code) { other, _ := entriesOf(t, "python"); c.Dir = other.Dir },
		"runtime":        func(c *invoke.Code) { c.Runtime = "python3.9" },
		"memory":         func(c *invoke.Code) { c.MemoryMB = 512 },
		"environment":    func(c *invoke.Code) { c.Env = map[string]string{"SETTING": "two"} },
		"no environment": func(c *invoke.Code) { c.Env = nil },
		"version":        func(c *invoke.Code) { c.Version = "2.0.0" },
		"copies":         func(c *invoke.Code) { c.NoCopies = true },
		"processes":      func(c *invoke.Code) { c.Processes = 7 },
		"files":          func(c *invoke.Code) { c.Files = 77 },
		"room in /tmp":   func(c *invoke.Code) { c.TmpMB = 7 },
	} {
		bundle, process := entriesOf(t, "python")
		bundle.Env = maps.Clone(bundle.Env)
		change(&bundle)
		a, err := askFirst(t, v, bundle, process, `"x"`)
		if err != nil || a.Session != nil {
			t.Errorf("entries that differ in %s: session %v, %v %s", what, a.Session != nil, err, a.Payload)
		}
	}
	t.Run("custom runtime", func(t *testing.T) {
		process := golambda(t)
		bundle := process
		bundle.Name += "-bundle"
		if a, err := askFirst(t, v, bundle, process, benchEvent); err != nil || a.Session != nil {
			t.Errorf("session %v, %v %s", a.Session != nil, err, a.Payload)
		}
	})
}

// running counts the processes of all sandboxes of a directory.
func running(t *testing.T, dir string) (n int) {
	t.Helper()
	groups, err := os.ReadFile(filepath.Join(dir, "state", "cgroups"))
	if err != nil {
		t.Fatal(err)
	}
	lists, err := filepath.Glob(filepath.Join(strings.Fields(string(groups))[0], "*", "cgroup.procs"))
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range lists {
		if !strings.HasPrefix(filepath.Base(filepath.Dir(list)), "launcher-") {
			pids, _ := os.ReadFile(list) // it may be gone
			n += len(strings.Fields(string(pids)))
		}
	}
	return n
}

// TestSessionsEnd: there is no second event for an instance that failed, died or waited too long, and the run goes on in
// another one where the data was not seen yet.
func TestSessionsEnd(t *testing.T) {
	slow(t)
	dir := t.TempDir()
	v := openIn(t, dir, invoke.Config{MaxInstances: 2, WaitingBytes: -1})
	bundle, process := entriesOf(t, "python")
	fresh := func(what string, s *invoke.Session) {
		t.Helper()
		if then, _ := askThen(t, v, process, s, `"x"`); fmt.Sprint(then.Seen) != "[process]" {
			t.Errorf("%s: the data went to an instance that has seen %v", what, then.Seen)
		}
	}
	t.Run("raises", func(t *testing.T) {
		a, err := askFirst(t, v, bundle, process, `"raise"`)
		if err == nil || a.Session != nil || !strings.Contains(string(a.Payload), "ValueError") {
			t.Errorf("session %v, %v %s", a.Session != nil, err, a.Payload)
		}
	})
	t.Run("its own time limit", func(t *testing.T) {
		short := bundle
		short.Timeout = 300 * time.Millisecond
		a, err := askFirst(t, v, short, process, `"slow"`)
		if err == nil || a.Session != nil || !strings.Contains(err.Error(), "after 0.30 seconds") {
			t.Errorf("session %v, %v", a.Session != nil, err)
		}
	})
	t.Run("dies in between", func(t *testing.T) {
		a, err := askFirst(t, v, bundle, process, `"die later"`)
		if err != nil || a.Session == nil {
			t.Fatalf("%v %s", err, a.Payload)
		}
		for look := time.NewTicker(time.Millisecond); running(t, dir) > 0; <-look.C { // or it gives itself up
		}
		fresh("died", a.Session)
	})
	t.Run("is not used", func(t *testing.T) {
		for range 3 { // there are two places
			a, err := askFirst(t, v, bundle, process, `"x"`)
			if err != nil {
				t.Fatal(err)
			}
			a.Session.End()
			a.Session.End()
			v.Settle()
			if busy := v.Stats().Busy; busy != 0 {
				t.Errorf("%d are busy", busy)
			}
			fresh("ended", a.Session)
		}
	})
	t.Run("is forgotten", func(t *testing.T) {
		a, err := askFirst(t, v, bundle, process, `"x"`)
		if err != nil {
			t.Fatal(err)
		}
		v.Settle() // it gives itself up
		if busy := v.Stats().Busy; busy != 0 {
			t.Errorf("%d are busy", busy)
		}
		fresh("was held too long", a.Session)
	})
	t.Run("too large", func(t *testing.T) {
		a, err := askFirst(t, v, bundle, process, `"x"`)
		if err != nil {
			t.Fatal(err)
		}
		_, err = v.Invoke(t.Context(), invoke.Request{Code: process, Session: a.Session, ID: uuid.NewString(), Event: make([]byte, 7<<20)})
		if err == nil || !strings.Contains(err.Error(), "7340032 bytes") {
			t.Errorf("an event that is too large: %v", err)
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		a, err := askFirst(t, v, bundle, process, `"x"`)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := v.Invoke(ctx, invoke.Request{Code: process, Session: a.Session, ID: uuid.NewString(), Event: []byte(`"x"`)}); err == nil {
			t.Error("a run that was cancelled has its answer")
		}
	})
	t.Run("closed", func(t *testing.T) {
		if a, err := askFirst(t, v, bundle, process, `"x"`); err != nil || a.Session == nil {
			t.Fatal(err)
		}
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	})
}
