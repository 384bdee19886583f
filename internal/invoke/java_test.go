package invoke_test

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"she/internal/invoke"
	"she/internal/runtimes"
)

// javaClasses compiles testdata/java/src and gives the directory with the classes: the package as a jar leaves it. The
// interfaces are compiled against ours and not packed.
func javaClasses(t testing.TB) string {
	t.Helper()
	needRoot(t)
	return compileOnce(t, "java", func(dir string) {
		javac(t, dir, "testdata/java/src", "-implicit:none", "-sourcepath", "../runtimes/java")
	})
}

// javac compiles all that is below src into dir.
func javac(t testing.TB, dir, src string, options ...string) {
	t.Helper()
	program, err := exec.LookPath("javac")
	if err != nil {
		missing(t, "apt-get install default-jdk-headless")
	}
	args := append([]string{"-J-XX:TieredStopAtLevel=1", "-encoding", "UTF-8", "-nowarn", "-XDignore.symbol.file", "-d", dir}, options...)
	err = filepath.WalkDir(src, func(p string, d fs.DirEntry, err error) error {
		if filepath.Ext(p) == ".java" {
			args = append(args, p)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(program, args...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
}

// missing skips, but not in the suite that is to run everything.
func missing(t testing.TB, hint string) {
	t.Helper()
	if os.Getenv("SHE_TEST_ALL") == "1" {
		t.Fatalf("the runtime for this test is missing: %s", hint)
	}
	t.Skipf("the runtime for this test is missing: %s", hint)
}

func javaCode(t testing.TB, dir string) func(handler string) invoke.Code {
	c := function(t, "java17", "", nil)
	c.Dir, c.Timeout, c.Env = dir, time.Minute, map[string]string{"OWN": "mine"}
	return func(handler string) invoke.Code { c := c; c.Handler = handler; return c }
}

// Defect B-26: a handler whose class or method is not there.
func TestJava(t *testing.T) {
	t.Parallel()
	classes, v := javaClasses(t), newInvoker(t)
	for name, test := range map[string]func(*testing.T, *invoke.Invoker, string){
		"forms": javaForms, "beans": javaBeans, "failures": javaFailures, "layouts": javaLayouts, "copies": javaCopies,
	} {
		t.Run(name, func(t *testing.T) { test(t, v, classes) })
	}
}

func javaForms(t *testing.T, v *invoke.Invoker, classes string) {
	with := javaCode(t, classes)

	// As AWS's serialisation has it: a number that is not whole is a double, and what is beyond the basic plane is escaped.
	const event = `{"big":12345678901234567890,"d":0.1,"tiny":1.00000000000000000001,"text":"Grüße 😀 \ud800","list":[true,null,-7]}`
	wantAnswer(t, v, with("forms.Forms::echo"), event,
		`{"big":12345678901234567890,"d":0.1,"tiny":1.0,"text":"Grüße \uD83D\uDE00 \uD800","list":[true,null,-7]}`)
	wantAnswer(t, v, with("forms.Forms::echoStatic"), `""`, `""`)
	wantAnswer(t, v, with("forms.Forms::streams"), `{ "a" : 1 }`, `{ "a" : 1 }`)
	wantAnswer(t, v, with("forms.Forms::streamsStatic"), `1`, `[1,"test-dev-fn"]`)
	wantAnswer(t, v, with("forms.Forms::nothing"), `1`, `"made"`)
	wantAnswer(t, v, with("forms.Forms::onlyContext"), `1`, `"1.0.0"`)
	wantAnswer(t, v, with("forms.Forms::silent"), `1`, `null`)
	wantAnswer(t, v, with("forms.Forms::text"), `"a"`, `"a!"`)
	wantAnswer(t, v, with("forms.Forms::sum"), `[1,2,3]`, `6`)
	wantAnswer(t, v, with("forms.Forms::exact"), `{"b":0.10,"a":12345678901234567890}`, `{"a":12345678901234567890,"b":0.10}`)
	wantAnswer(t, v, with("forms.Forms::array"), `[9223372036854775807]`, `[9223372036854775807]`)
	wantAnswer(t, v, with("forms.Forms::overloaded"), `1`, `"two"`)
	wantAnswer(t, v, with("forms.Forms::hidden"), `1`, `"hidden"`)
	wantAnswer(t, v, with("forms.Forms::bean"), `{"name":"a","kind":"NOTE","weight":2,"at":7,"unknown":{},"parts":[{"name":"b"}]}`,
		`{"name":"a/b","kind":"NOTE","parts":[{"name":"b","parts":[],"weight":0.0,"heavy":false}],"weight":2.0,"at":7,"heavy":true}`)
	wantAnswer(t, v, with("forms.Typed"), `[1,41]`, `"sum 42 256"`)
	wantAnswer(t, v, with("forms.Typed::handleRequest"), `[]`, `"sum 0 256"`)
	wantAnswer(t, v, with("forms.Stream"), `[]`, `[]`)
	a := wantAnswer(t, v, with("forms.Forms::describe"), `""`, `["test-dev-fn",256,36,"arn:aws:lambda:eu-west-1:000000000000:function:test-dev-fn",true,"/var/task","mine","",null,"Grüße \uD83D\uDE00"]`)
	if string(a.Log) != "printed\ncomplained\nlogged\n" {
		t.Errorf("log %q", a.Log)
	}
	t.Logf("%s %+v %+v", a.Start, a.Timing, a.Usage)
}

// javaBeans: values are read and written by AWS's own serialisation, so what is stored otherwise than a bean declares it is
// read as on Lambda. The values are what JacksonFactory of aws-lambda-java-serialization 1.4.1 made of the same classes.
func javaBeans(t *testing.T, v *invoke.Invoker, classes string) {
	with := javaCode(t, classes)

	const none = "0 0.0 false null - - - null"
	for event, want := range map[string]string{
		`{}`: none, `{"steps":null}`: none, `{"steps":""}`: none, `{"done":null}`: none, `{"tags":""}`: none, `{"kind":""}`: none,
		`{"kind":"SWIM"}`: none, `{"when":""}`: none, `{"place":""}`: none, `{"place":[]}`: none, `{"unknown":{"a":1}}`: none,
		`{"steps":"12"}`:                      "12 0.0 false null - - - null",
		`{"steps":1234.7}`:                    "1234 0.0 false null - - - null",
		`{"amount":"12.50"}`:                  "0 12.5 false null - - - null",
		`{"done":"true"}`:                     "0 0.0 true null - - - null",
		`{"done":1}`:                          "0 0.0 true null - - - null",
		`{"tags":"one"}`:                      "0 0.0 false [one] - - - null",
		`{"kind":1}`:                          "0 0.0 false null WALK - - null",
		`{"kind":"RUN"}`:                      "0 0.0 false null RUN - - null",
		`{"when":"2024-01-02"}`:               "0 0.0 false null - 2024-01-02T00:00:00Z - null",
		`{"when":1500}`:                       "0 0.0 false null - 1970-01-01T00:00:01.500Z - null",
		`{"place":[{"name":"x"}]}`:            "0 0.0 false null - - x null",
		`{"text":["x"]}`:                      "0 0.0 false null - - - x",
		`{"when":"2024-01-02T03:04:05+0000"}`: "0 0.0 false null - 2024-01-02T03:04:05Z - null",
	} {
		wantAnswer(t, v, with("forms.Beans::read"), event, `"`+want+`"`)
	}
	wantAnswer(t, v, with("fails.Fails::whole"), `1.5`, `1`)
	wantAnswer(t, v, with("fails.Fails::nan"), `1`, `"NaN"`)
	a, err := ask(t, v, with("forms.Beans::odd"), `1`)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(a.Payload, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"URL": "u", "XAxis": 1.0, "flag": true, "naN": "NaN", "letters": "ab", "link": "urn:x", "locale": "de_DE", "day": 86400000.0,
		"instant": 1.5, "kinds": map[string]any{"RUN": 1.0}, "map": map[string]any{"kept": []any{1.0, nil}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("written as %s", a.Payload)
	}
}

func javaFailures(t *testing.T, v *invoke.Invoker, classes string) {
	with := javaCode(t, classes)

	for _, c := range []struct{ handler, event, code, document string }{
		{"fails.Fails::raises", `{"n":"canary"}`, "Unhandled", `"errorMessage":"secret canary","errorType":"fails.Fails$Sad","stackTrace":["fails.Fails.deeper(Fails.java:20)","fails.Fails.raises(Fails.java:16)"],"cause":{"errorMessage":"inner","errorType":"java.lang.IllegalStateException"`},
		{"fails.Fails::exits", `1`, "Runtime.ExitError", "status 4"},
		{"fails.Fails::halts", `1`, "Runtime.ExitError", "status 9"},
		{"fails.Fails::fillsHeap", `1`, "Runtime.OutOfMemory", "java.lang.OutOfMemoryError"},
		{"fails.Fails::fillsHeapForGood", `1`, "Runtime.OutOfMemory", "java.lang.OutOfMemoryError"},
		{"fails.Fails::fillsBeside", `1`, "Runtime.OutOfMemory", "256 MB"},
		{"fails.Fails::recurses", `1`, "Unhandled", "java.lang.StackOverflowError"},
		{"fails.Fails::cycle", `1`, "Runtime.MarshalError", "nesting depth"},
		{"fails.Fails::getter", `1`, "Runtime.MarshalError", `fails.Fails$Broken[\"value\"]`},
		{"fails.Fails::large", `1`, "Function.ResponseSizeTooLarge", "larger"},
		{"fails.Fails::whole", `{"secret":1}`, "Runtime.UnmarshalError", "Cannot deserialize value of type `int` from Object value"},
		{"fails.Fails::any", `{not json`, "Runtime.UnmarshalError", "Unexpected character"},
		{"fails.Fails::any", deep(100_000), "Runtime.UnmarshalError", "nesting depth"},
		{"forms.Beans::many", `[{"place":{"name":{"a":1}}}]`, "Runtime.UnmarshalError", `forms.Beans$Work[\"place\"]->forms.Beans$Place[\"name\"]`},
		{"fails.Fails::odd", `1`, "Runtime.HandlerNotFound", "something else"},
		{"fails.Fails::none", `1`, "Runtime.HandlerNotFound", "No method none"},
		{"fails.Fails", `1`, "Runtime.HandlerNotFound", "handleRequest"},
		{"fails.None::handle", `1`, "Runtime.ImportModuleError", "fails.None"},
		{"::handle", `1`, "Runtime.MalformedHandlerName", "::handle"},
		{"fails.Init::handle", `1`, "Unhandled", `"errorMessage":"secret constructor","errorType":"java.lang.IllegalArgumentException","stackTrace":["fails.Init.<init>(Init.java:5)"`},
		{"fails.Init$InStatic::handle", `1`, "Unhandled", "secret static"},
		{"fails.Init$Exits::handle", `1`, "Runtime.ExitError", "status 9"},
		{"fails.Init$Arguments::handle", `1`, "Runtime.HandlerNotFound", "constructor"},
	} {
		wantFailure(t, v, with(c.handler), c.event, invoke.Author, c.code, c.document)
	}
	for _, handler := range []string{"fails.Fails::sleeps", "fails.Fails::spins"} {
		c := with(handler)
		c.Timeout = time.Second
		wantFailure(t, v, c, `1`, invoke.Author, "Sandbox.Timedout", "Task timed out after")
	}
	wantAnswer(t, v, with("fails.Fails::lingers"), `1`, `"answered"`)
}

func deep(n int) string {
	b := make([]byte, 2*n)
	for i := range n {
		b[i], b[2*n-1-i] = '[', ']'
	}
	return string(b)
}

// javaLayouts: classes/, jars in lib/, and what a fat jar of Scala is, with interfaces of its own, which then are the
// ones in force. A jar at the root of a package is not loaded, as on Lambda.
func javaLayouts(t *testing.T, v *invoke.Invoker, classes string) {
	only := func(c invoke.Code, name string) {
		t.Helper()
		if err := os.CopyFS(filepath.Join(c.Dir, name), os.DirFS(classes)); err != nil {
			t.Fatal(err)
		}
	}
	jar := func(c invoke.Code, name string) {
		t.Helper()
		file := filepath.Join(c.Dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		pack(t, file, classes)
	}

	c := function(t, "java11", "forms.Forms::text", nil)
	c.Timeout = time.Minute
	only(c, "classes")
	wantAnswer(t, v, c, `"a"`, `"a!"`)

	c = function(t, "java8.al2", "forms.Typed", nil)
	c.Timeout = time.Minute
	jar(c, "lib/function.jar")
	wantAnswer(t, v, c, `[7]`, `"sum 7 256"`)

	c = function(t, "java8", "example.FeedCounterHandler::handle", map[string]string{
		"reference.conf": "set", "META-INF/MANIFEST.MF": "Manifest-Version: 1.0\n",
	})
	c.Timeout = time.Minute
	javac(t, c.Dir, "testdata/java/fat")
	if a := wantAnswer(t, v, c, `{"a":1}`, `[{"a":1},"set","test-dev-fn"]`); string(a.Log) != "handling\n" {
		t.Errorf("log %q", a.Log)
	}

	c = function(t, "java21", "forms.Typed", nil)
	jar(c, "function.jar")
	wantFailure(t, v, c, `[7]`, invoke.Author, "Runtime.ImportModuleError", "forms.Typed")
}

// TestJavaEcho runs the example as make functions leaves it.
func TestJavaEcho(t *testing.T) {
	t.Parallel()
	c := function(t, "java17", "echo.Echo::process", nil)
	c.Timeout = time.Minute
	jar, err := zip.OpenReader("../../functions/testdata/echo-java/function.jar")
	if err != nil {
		missing(t, "make functions")
	}
	defer jar.Close()
	if err := os.CopyFS(c.Dir, jar); err != nil {
		t.Fatal(err)
	}
	wantEcho(t, newInvoker(t), c)
}

// wantEcho checks the three entries of an echo; c is the one that processes.
func wantEcho(t *testing.T, v *invoke.Invoker, c invoke.Code) {
	t.Helper()
	for handler, event := range map[string]string{
		"process":       `{"request":{"data":{"test/in":[{"recordId":"1","data":{"a":12345678901234567890}},{"recordId":"2","data":[0.1]}]}}}`,
		"bundle":        `{"fromDate":null,"untilDate":null}`,
		"configuration": `""`,
	} {
		c := c
		at := strings.LastIndex(c.Handler, "::") + 2
		if c.Handler[at] == 'P' {
			handler = strings.ToUpper(handler[:1]) + handler[1:]
		}
		c.Handler = c.Handler[:at] + handler
		a, err := ask(t, v, c, event)
		if err != nil {
			t.Errorf("%s: %v\n%s", handler, err, a.Payload)
			continue
		}
		var answer any
		d := json.NewDecoder(bytes.NewReader(a.Payload))
		d.UseNumber()
		if err := d.Decode(&answer); err != nil {
			t.Errorf("%s: %v: %s", handler, err, a.Payload)
		}
		switch strings.ToLower(handler) {
		case "process":
			got, _ := json.Marshal(answer) // keys in order
			const want = `[{"data":[{"data":{"a":12345678901234567890},"of":"1"}],"endpoint":"out","linkedRecords":["1"],"namespace":"test"},` +
				`{"data":[{"data":[0.1],"of":"2"}],"endpoint":"out","linkedRecords":["2"],"namespace":"test"}]`
			if string(got) != want {
				t.Errorf("echoed %s, want %s", got, want)
			}
		case "bundle":
			if m, ok := answer.(map[string]any); !ok || m["bundle"] == nil {
				t.Errorf("bundle %s", a.Payload)
			}
		default:
			if m, ok := answer.(map[string]any); !ok || m["dataBundle"] == nil || m["trigger"] == nil {
				t.Errorf("configuration %s", a.Payload)
			}
		}
	}
}

func pack(t *testing.T, file, dir string) {
	t.Helper()
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	z := zip.NewWriter(f)
	if err := errors.Join(z.AddFS(os.DirFS(dir)), z.Close(), f.Chmod(0o644), f.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestJavaSupports(t *testing.T) {
	t.Parallel()
	v := newInvoker(t)
	if _, err := exec.LookPath("javac"); err != nil {
		missing(t, "apt-get install default-jdk-headless")
	}
	for _, name := range []string{"java8", "java8.al2", "java11", "java17", "java21"} {
		resolved, warning, err := v.Supports(name)
		if err != nil || resolved == "" || (resolved == name) != (warning == "") {
			t.Errorf("%s: %q, warning %q, %v", name, resolved, warning, err)
		}
	}
	// A JRE alone can't compile the bootstrap.
	f := runtimes.Finder{Compiled: t.TempDir(), Look: func(p string) (string, error) {
		if filepath.Base(p) == "javac" {
			return "", fs.ErrNotExist
		}
		return exec.LookPath(p)
	}}
	if _, _, err := f.Find("java17"); !errors.Is(err, runtimes.ErrMissing) {
		t.Errorf("without a compiler: %v", err)
	}
}

// javaCopies: what was drawn before the event is not drawn again after it, in no copy.
func javaCopies(t *testing.T, _ *invoke.Invoker, classes string) {
	if testing.Short() {
		t.Skip("many sandboxes")
	}
	v := openInvoker(t, invoke.Config{Images: t.TempDir(), MaxInstances: 3})
	distinct(t, v, javaCode(t, classes)("forms.Draws::handle"), copiesToDraw())
}
