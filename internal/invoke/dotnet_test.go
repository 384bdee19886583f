package invoke_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"she/internal/invoke"
	"she/internal/runtimes"
)

// testDotnet is where .ci/dotnet puts one; the host's own serves otherwise.
var testDotnet = runtimes.Finder{Dotnet: "../../.cache/dotnet"}

// dotnetPackage compiles testdata/dotnet with Mono's compiler and gives the directory as dotnet publish leaves it.
func dotnetPackage(t testing.TB) string {
	t.Helper()
	needRoot(t)
	mcs, err := exec.LookPath("mcs")
	if err != nil {
		missing(t, "apt-get install mono-mcs")
	}
	found, _, err := testDotnet.Find("dotnetcore3.1")
	if err != nil {
		missing(t, ".ci/dotnet ("+err.Error()+")")
	}
	root := filepath.Dir(found.Command[len(found.Command)-1])
	references, err := filepath.Glob(filepath.Join(root, "packs/Microsoft.NETCore.App.Ref/*/ref/*/*.dll"))
	if err != nil || len(references) == 0 {
		missing(t, ".ci/dotnet (no reference assemblies)")
	}
	return compileOnce(t, "dotnet", func(dir string) {
		compile := func(assembly, source string, uses ...string) {
			t.Helper()
			args := []string{"-nologo", "-nostdlib", "-noconfig", "-debug-", "-target:library", "-out:" + filepath.Join(dir, assembly+".dll")}
			for _, r := range references {
				args = append(args, "-r:"+r)
			}
			for _, u := range uses {
				args = append(args, "-r:"+filepath.Join(dir, u+".dll"))
			}
			if out, err := exec.Command(mcs, append(args, filepath.Join("testdata/dotnet", source))...).CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
		}
		compile("Amazon.Lambda.Core", "Core.cs")
		compile("Part", "Part.cs")
		compile("Functions", "Functions.cs", "Amazon.Lambda.Core", "Part")
		compile("Edges", "Edges.cs")
		compile("Words", "Words.cs")
		compile("Hostile", "Hostile.cs", "Amazon.Lambda.Core")
		compile("Settings", "Settings.cs", "Amazon.Lambda.Core")
		compile("Answers", "Answers.cs")
		compile("Entries", "Entries.cs", "Amazon.Lambda.Core")
		for _, assembly := range []string{"Functions", "Edges", "Words", "Hostile", "Settings", "Answers", "Entries"} {
			if err := os.WriteFile(filepath.Join(dir, assembly+".runtimeconfig.json"), []byte(
				`{"runtimeOptions":{"tfm":"netcoreapp3.1","framework":{"name":"Microsoft.NETCore.App","version":"3.1.0"}}}`), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func dotnetCode(t testing.TB, dir, handler string) invoke.Code {
	c := function(t, "dotnetcore3.1", handler, nil)
	c.Dir, c.Timeout, c.Env = dir, time.Minute, map[string]string{"OWN": "mine"}
	return c
}

func TestDotnet(t *testing.T) {
	t.Parallel()
	dir := dotnetPackage(t)
	with := func(handler string) invoke.Code { return dotnetCode(t, dir, "Functions::Tests."+handler) }
	v := openInvoker(t, invoke.Config{WaitingBytes: -1, Find: testDotnet})
	t.Run("forms", func(t *testing.T) { dotnetForms(t, v, with) })
	t.Run("failures", func(t *testing.T) { dotnetFailures(t, v, with) })
	t.Run("copies", func(t *testing.T) {
		if testing.Short() {
			t.Skip("many sandboxes")
		}
		v := openInvoker(t, invoke.Config{Images: t.TempDir(), MaxInstances: 3, Find: testDotnet})
		distinct(t, v, with("Draws::Handle"), copiesToDraw())
		late := with("LateDraws::Handle")
		late.WarmUp = []byte("1")
		distinct(t, v, late, 10)
	})
	t.Run("threads", func(t *testing.T) {
		slow(t)
		v, c := openInvoker(t, invoke.Config{Images: t.TempDir(), Find: testDotnet}), with("LateDraws::Threads")
		c.WarmUp = []byte("1")
		wantStart(t, v, c, "3", invoke.Cold)
		v.Settle()
		// Compilers in the background, which tried events would wake, are eight threads together with the rest.
		wantStart(t, v, c, "3", invoke.Warm)
	})
}

func dotnetForms(t *testing.T, v *invoke.Invoker, with func(string) invoke.Code) {
	const event = `{"big":12345678901234567890,"d":0.10,"tiny":1.00000000000000000001,"list":[true,null,-7]}`
	wantAnswer(t, v, with("Forms::Echo"), event, event)
	wantAnswer(t, v, with("Forms::EchoStatic"), `""`, `""`)
	wantAnswer(t, v, with("Forms::Streams"), `{ "a" : 1 }`, `[{ "a" : 1 },"test-dev-fn"]`)
	wantAnswer(t, v, with("Forms::StreamsLater"), `{ "a" : 1 }`, `{ "a" : 1 }`)
	wantAnswer(t, v, with("Forms::Nothing"), `1`, `"made"`)
	wantAnswer(t, v, with("Forms::OnlyContext"), `1`, `"1.0.0"`)
	wantAnswer(t, v, with("Forms::Silent"), `1`, `null`)
	wantAnswer(t, v, with("Forms::SilentLater"), `1`, `null`)
	wantAnswer(t, v, with("Forms::Sum"), `[1,2,3]`, `6`)
	wantAnswer(t, v, with("Forms::Soon"), `"a"`, `"a!"`)
	wantAnswer(t, v, with("Forms::Known"), `{"name":"a","weight":0.10,"unknown":{},"parts":[{"Name":"b"}]}`,
		`{"Name":"a/b","Weight":0.10,"Parts":[{"Name":"b","Weight":0}]}`)
	wantAnswer(t, v, with("Forms::Serialized"), `1`, `"READ 1 HANDLED"`)
	a := wantAnswer(t, v, with("Forms::Describe"), `""`, `["test-dev-fn",256,36,"arn:aws:lambda:eu-west-1:000000000000:function:test-dev-fn",true,"/var/task","mine",null,"part"]`)
	if string(a.Log) != "printed\ncomplained\nlogged\nraw\n" {
		t.Errorf("log %q", a.Log)
	}
	t.Logf("%s %+v %+v", a.Start, a.Timing, a.Usage)
}

func dotnetFailures(t *testing.T, v *invoke.Invoker, with func(string) invoke.Code) {
	for _, c := range []struct{ handler, event, code, document string }{
		{"Fails::Raises", `{"n":"canary"}`, "Unhandled", "{\"errorMessage\":\"secret canary\",\"errorType\":\"SadException\",\"stackTrace\":[\"at Tests.Fails.Raises(Dictionary`2 e)\"]," +
			`"cause":{"errorMessage":"inner","errorType":"InvalidOperationException","stackTrace":[]}}`},
		{"Fails::RaisesLater", `1`, "Unhandled", "secret later"},
		{"Fails::Exits", `1`, "Runtime.ExitError", "status 4"},
		{"Fails::Beside", `1`, "Runtime.ExitError", "Runtime exited with error: signal: aborted"},
		{"Fails::FillsHeap", `1`, "Runtime.OutOfMemory", "OutOfMemoryException"},
		{"Fails::FillsBeside", `1`, "Runtime.OutOfMemory", "256 MB"},
		{"Fails::Cycle", `1`, "Runtime.MarshalError", "JSON"},
		{"Fails::Large", `1`, "Function.ResponseSizeTooLarge", "larger"},
		{"Fails::Whole", `1.5`, "Runtime.UnmarshalError", "Int32"},
		{"Fails::Whole", `{"secret":1}`, "Runtime.UnmarshalError", "Int32"},
		{"Fails::Whole", `{not json`, "Runtime.UnmarshalError", "Int32"},
		{"Forms::Echo", deep(100_000), "Runtime.UnmarshalError", "depth"},
		{"Fails::Odd", `1`, "Runtime.HandlerNotFound", "something else"},
		{"Fails::None", `1`, "Runtime.HandlerNotFound", "None"},
		{"None::Handle", `1`, "Runtime.ImportModuleError", "Tests.None"},
		{"Fails", `1`, "Runtime.MalformedHandlerName", "Method"},
		{"InitFails::Handle", `1`, "Unhandled", `"errorMessage":"secret constructor","errorType":"ArgumentException"`},
		{"InitExits::Handle", `1`, "Runtime.ExitError", "status 9"},
		{"Arguments::Handle", `1`, "Runtime.HandlerNotFound", "constructor"},
	} {
		wantFailure(t, v, with(c.handler), c.event, invoke.Author, c.code, c.document)
	}
	c := with("Forms::Echo")
	c.Handler = "Absent::Tests.Forms::Echo"
	wantFailure(t, v, c, `1`, invoke.Author, "Runtime.ImportModuleError", "Absent.dll")
	for _, handler := range []string{"Fails::Sleeps", "Fails::Spins"} {
		c := with(handler)
		c.Timeout = time.Second
		wantFailure(t, v, c, `1`, invoke.Author, "Sandbox.Timedout", "Task timed out after")
	}
	wantAnswer(t, v, with("Fails::Lingers"), `1`, `"answered"`)
}

// TestDotnetEcho runs the example as make functions leaves it.
func TestDotnetEcho(t *testing.T) {
	t.Parallel()
	v := openInvoker(t, invoke.Config{WaitingBytes: -1, Find: testDotnet})
	if _, _, err := v.Supports("dotnetcore3.1"); err != nil {
		missing(t, ".ci/dotnet ("+err.Error()+")")
	}
	c := function(t, "dotnetcore3.1", "Echo::Echo.Handlers::Process", nil)
	c.Timeout = time.Minute
	for _, name := range []string{"Echo.dll", "Echo.runtimeconfig.json"} {
		text, err := os.ReadFile(filepath.Join("../../functions/testdata/echo-dotnet", name))
		if err != nil {
			missing(t, "make functions")
		}
		if err := os.WriteFile(filepath.Join(c.Dir, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	wantEcho(t, v, c)
}
