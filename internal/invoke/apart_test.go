package invoke_test

import (
	"os"
	"path/filepath"
	"testing"

	"she/internal/invoke"
)

// apart makes a package of files of testdata/apart.
func apart(t *testing.T, runtime string, names ...string) invoke.Code {
	t.Helper()
	files := map[string]string{}
	for _, name := range names {
		b, err := os.ReadFile(filepath.Join("testdata", "apart", name))
		if err != nil {
			t.Fatal(err)
		}
		files[name] = string(b)
	}
	return function(t, runtime, "", files)
}

// TestRuntimeIsApartFromSettings: a function replaces and sets what belongs to the whole process when it is loaded. The
// bootstrap in the same process still brings its event and its answer, and reports its own error as its own.
func TestRuntimeIsApartFromSettings(t *testing.T) {
	slow(t)
	t.Parallel()
	v := newInvoker(t)
	for runtime, file := range map[string]string{"python3.11": "settings.py", "nodejs20.x": "settings.js"} {
		c := apart(t, runtime, file)
		c.Handler = "settings.handler"
		separator := map[string]string{"settings.py": ", ", "settings.js": ","}[file]
		wantAnswer(t, v, c, `"ä"`, `["ä"`+separator+`true`+separator+`"test-dev-fn"]`)
		c.Handler = "settings.fails"
		wantFailure(t, v, c, `"of the event"`, invoke.Author, "Unhandled", "secret of the event")
	}
}

// TestSettingsAndCopies: the same in instances that waited for their event, which are copies of one.
func TestSettingsAndCopies(t *testing.T) {
	slow(t)
	t.Parallel()
	for runtime, file := range map[string]string{"python3.11": "settings.py", "nodejs20.x": "settings.js"} {
		v := openInvoker(t, invoke.Config{Images: t.TempDir(), Waiting: 1})
		c := apart(t, runtime, file)
		c.Handler = "settings.handler"
		for _, start := range []invoke.Start{invoke.Cold, invoke.Warm, invoke.Warm, invoke.Warm} {
			a, err := ask(t, v, c, `"ä"`)
			if err != nil || a.Start != start {
				t.Errorf("%s, %s: %v\n%s\n%s", file, a.Start, err, a.Payload, a.Log)
			}
			v.Settle()
		}
		if f := onlyStats(t, v); f.NoCopies != "" || f.Fallbacks > 0 {
			t.Errorf("%s: %+v", file, f)
		}
	}
}

const waysOfNode = `
exports.timer = (event, context) => setTimeout(() => context.succeed({ n: event }), 5)
exports.server = (event, context) => { const s = require('http').createServer(); setTimeout(() => { context.succeed('served') }, 5); return s }
exports.done = (event, context) => { setTimeout(() => context.done(null, 'done'), 5); return 'returned' }
exports.fail = (event, context) => { setTimeout(() => context.fail(new Error('secret failed')), 5); return 'returned' }
exports.callback = (event, context, callback) => { setTimeout(() => callback(null, 'called'), 5); return 7 }
exports.rest = (...args) => { setTimeout(() => args[2](null, 'called'), 5); return 7 }
exports.number = (event) => 7
exports.zero = (event) => 0
exports.first = async (event, context, callback) => { callback(null, 'called'); return 'returned' }
exports.thenable = () => ({ then: (resolve) => resolve('then') })
exports.falsy = (event, context, callback) => callback(0)
exports.both = (event, context, callback) => { callback(null, 'called'); throw new Error('late') }
exports.unreadable = () => { throw Object.create(null) }
`

// TestWaysToAnswerInNode: a returned value that is no promise is the answer only where no other way is taken.
func TestWaysToAnswerInNode(t *testing.T) {
	slow(t)
	t.Parallel()
	v := newInvoker(t)
	c := function(t, "nodejs20.x", "", map[string]string{
		"index.js": waysOfNode, "summary.js": "exports.handler = async () => 'root'", "lib/other.js": "",
		"node_modules/kit/package.json": `{"main":"main.js"}`, "node_modules/kit/main.js": "exports.handler = async () => 'kit'",
		"node_modules/esm/package.json": `{"type":"module","main":"main.js"}`, "node_modules/esm/main.js": "export const handler = async () => 'esm'",
		"lib/node_modules/inner/index.js": "exports.handler = async () => 'inner'",
		"sdk.js":                          "require('aws-sdk')", "clients.mjs": "import '@aws-sdk/client-s3'",
	})
	with := func(handler string) invoke.Code { c := c; c.Handler = handler; return c }
	for handler, want := range map[string]string{
		"index.timer": `{"n":1}`, "index.server": `"served"`, "index.done": `"done"`, "index.callback": `"called"`, "index.rest": `"called"`,
		"index.number": `7`, "index.zero": `0`, "index.first": `"called"`, "index.thenable": `"then"`, "index.both": `"called"`,
		"lib/summary.handler": `"root"`, "kit.handler": `"kit"`, "lib/kit.handler": `"kit"`, "lib/inner.handler": `"inner"`, "esm.handler": `"esm"`,
	} {
		wantAnswer(t, v, with(handler), `1`, want)
	}
	wantFailure(t, v, with("index.fail"), `1`, invoke.Author, "Unhandled", "secret failed")
	wantFailure(t, v, with("index.falsy"), `1`, invoke.Author, "Unhandled", `"errorMessage":"0"`)
	wantFailure(t, v, with("index.unreadable"), `1`, invoke.Author, "Unhandled", "handled")
	wantFailure(t, v, with("sdk.handler"), `1`, invoke.Author, "Runtime.ImportModuleError", "aws-sdk is in Lambda's images and not here")
	wantFailure(t, v, with("clients.handler"), `1`, invoke.Author, "Runtime.ImportModuleError", "@aws-sdk/client-s3 is in Lambda's images and not here")
}

const writesOfPython = `
import collections, decimal, enum
Day = collections.namedtuple("Day", "day steps")
class Own(dict): pass
class Kind(enum.IntEnum): RUN = 4
class Данные_пусты(Exception): pass
class Mute(Exception):
    def __str__(self): raise ValueError("secret")
def named(e, c): return {"data": [Day("2024-01-01", Day(1, [Day(2, (3, 4))]))]}
def decimals(e, c): return {"sum": decimal.Decimal("12345678901234567.90"), "all": [decimal.Decimal("1E+3"), decimal.Decimal("-0.10")], "text": "\"0.10"}
def octets(e, c): return {b"key": b"v", "list": [b"\xc3\xa4"]}
def raw(e, c): return b'{"raw": 1.50}'
def kinds(e, c): return Own(a=Own(b=Kind.RUN), o=collections.OrderedDict(x=1.5))
def keys(e, c): return {2: 1, None: 2, 1.5: 3, False: 4}
def half(e, c): return ["\ud800", decimal.Decimal("1.10")]
def nan(e, c): return [{"data": [{"a/mean": float("nan")}]}]
def infinite(e, c): return [{"data": [Day(1, decimal.Decimal("-Infinity"))]}]
def cycle(e, c):
    a = Own(); a["a"] = a
    return a
def latin(e, c): return b"\xff" and {"x": b"\xff"}
def cyrillic(e, c): raise Данные_пусты("нет")
def mute(e, c): raise Mute()
`

// TestWhatPythonWrites: the answer is what Amazon's client, which writes with simplejson, makes of it, but for NaN.
func TestWhatPythonWrites(t *testing.T) {
	slow(t)
	t.Parallel()
	v := newInvoker(t)
	c := function(t, "python3.11", "", map[string]string{"app.py": writesOfPython, "boto.py": "import boto3"})
	with := func(handler string) invoke.Code { c := c; c.Handler = handler; return c }
	for handler, want := range map[string]string{
		"named":    `{"data": [{"day": "2024-01-01", "steps": {"day": 1, "steps": [{"day": 2, "steps": [3, 4]}]}}]}`,
		"decimals": `{"sum": 12345678901234567.90, "all": [1E+3, -0.10], "text": "\"0.10"}`,
		"octets":   `{"key": "v", "list": ["ä"]}`,
		"raw":      `{"raw": 1.50}`,
		"kinds":    `{"a": {"b": 4}, "o": {"x": 1.5}}`,
		"keys":     `{"2": 1, "null": 2, "1.5": 3, "false": 4}`,
		"half":     `["\ud800", 1.10]`,
	} {
		wantAnswer(t, v, with("app."+handler), `1`, want)
	}
	wantFailure(t, v, with("app.nan"), `1`, invoke.Author, "Runtime.MarshalError", "NaN is no JSON, at /0/data/0/a~1mean")
	wantFailure(t, v, with("app.infinite"), `1`, invoke.Author, "Runtime.MarshalError", "-Infinity is no JSON, at /0/data/0/steps")
	wantFailure(t, v, with("app.cycle"), `1`, invoke.Author, "Runtime.MarshalError", "holds itself")
	wantFailure(t, v, with("app.latin"), `1`, invoke.Author, "Runtime.MarshalError", "utf-8")
	wantFailure(t, v, with("app.cyrillic"), `1`, invoke.Author, "Unhandled", `"errorType": "\u0414\u0430\u043d\u043d\u044b\u0435_\u043f\u0443\u0441\u0442\u044b"`)
	wantFailure(t, v, with("app.mute"), `1`, invoke.Author, "Unhandled", "Mute")
	wantFailure(t, v, with("boto.handler"), `1`, invoke.Author, "Runtime.ImportModuleError", "boto3 is in Lambda's images and not here")
}
