package project

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"she/internal/hat"
)

func id(t testing.TB, s string) hat.FunctionID {
	t.Helper()
	f, err := hat.ParseFunctionID(s)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// tree writes files into a new directory; a name ending in "*" becomes an executable.
func tree(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		mode := fs.FileMode(0o644)
		if rest, ok := strings.CutSuffix(name, "*"); ok {
			name, mode = rest, 0o755
		}
		full := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// dir is a folder that holds a project, as a catalog reads it.
type dir string

func (d dir) Read(name string, max int64) ([]byte, error) {
	f, err := os.OpenInRoot(string(d), name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, errors.New("it is not a regular file")
	case info.Size() > max:
		return nil, fmt.Errorf("the file is larger than %d bytes", max)
	}
	return io.ReadAll(f)
}

func (d dir) Has(name string) bool {
	info, err := os.Stat(filepath.Join(string(d), name))
	return err == nil && info.Mode().IsRegular()
}

func read(path, stage string, id hat.FunctionID, env map[string]string) (*Project, error) {
	return Read(dir(path), Options{ID: id, Stage: stage, Env: env})
}

func mustRead(t *testing.T, path, stage, function string) *Project {
	t.Helper()
	p, err := read(path, stage, id(t, function), nil)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func hasWarning(t *testing.T, warnings []string, want string) {
	t.Helper()
	for _, w := range warnings {
		if strings.Contains(w, want) {
			return
		}
	}
	t.Errorf("no warning has %q; there are %q", want, warnings)
}

func TestPythonProjectFromTheCloud(t *testing.T) {
	p := mustRead(t, "testdata/python-history", "dev", "mood-history")
	want := Entry{Name: "mood-history-dev-mood-history", Handler: "history.lambda_handler", Runtime: "python3.7", Memory: 256, Timeout: 300 * time.Second}
	if got := p.Process; got.Name != want.Name || got.Handler != want.Handler || got.Runtime != want.Runtime || got.Memory != want.Memory || got.Timeout != want.Timeout {
		t.Errorf("process is %+v", got)
	}
	if got := p.Bundle; got.Name != "mood-history-dev-mood-history-bundle" || got.Timeout != 10*time.Second {
		t.Errorf("bundle is %+v", got)
	}
	if got := p.Configuration.Name; got != "mood-history-dev-mood-history-configuration" {
		t.Errorf("configuration is %s", got)
	}
	hasWarning(t, p.Warnings, "serverless.yml:23: vpc is ignored: a function has no network")
	hasWarning(t, p.Warnings, "serverless.yml:5: nothing is installed from requirements.txt")
	hasWarning(t, p.Warnings, "serverless.yml:45: a run is limited to 300 s")
	hasWarning(t, p.Warnings, "serverless.yml:39: event http is ignored")
	if len(p.Warnings) != 6 {
		t.Errorf("warnings: %q", p.Warnings)
	}
}

func TestNodeProjectWithVariables(t *testing.T) {
	for _, c := range []struct {
		stage   string
		memory  int
		timeout time.Duration
	}{{"dev", 512, 30 * time.Second}, {"prod", 3008, 120 * time.Second}} {
		p := mustRead(t, "testdata/node-stages", c.stage, "step-counter")
		if p.Service != "step-counter" || p.Stage != c.stage || p.Process.Memory != c.memory || p.Process.Timeout != c.timeout || p.Bundle.Memory != c.memory {
			t.Errorf("%s: %+v", c.stage, p.Process)
		}
		if p.Configuration.Memory != 128 || p.Configuration.Timeout != 60*time.Second {
			t.Errorf("%s: configuration is %+v", c.stage, p.Configuration)
		}
		env := map[string]string{"STAGE": c.stage, "LEVEL": "info", "BUCKET": "none", "LABEL": "step-counter/" + c.stage, "COUNT": "4"}
		if !maps.Equal(p.Process.Env, env) {
			t.Errorf("%s: environment %v", c.stage, p.Process.Env)
		}
		env["COUNT"] = "3"
		delete(env, "LABEL")
		if !maps.Equal(p.Configuration.Env, env) {
			t.Errorf("%s: environment %v", c.stage, p.Configuration.Env)
		}
		hasWarning(t, p.Warnings, "plugin serverless-webpack is not run")
		hasWarning(t, p.Warnings, "${env:…} is not taken from this machine")
	}
}

func TestEnvironmentOnlyByPermission(t *testing.T) {
	t.Setenv("LOG_LEVEL", "from the machine")
	p := mustRead(t, "testdata/node-stages", "dev", "step-counter")
	if p.Process.Env["LEVEL"] != "info" {
		t.Error("the process's own environment reached a project")
	}
	p, err := read("testdata/node-stages", "dev", id(t, "step-counter"), map[string]string{"LOG_LEVEL": "allowed"})
	if err != nil || p.Process.Env["LEVEL"] != "allowed" {
		t.Errorf("allowed variable: %v", err)
	}
}

func TestJarProject(t *testing.T) {
	p := mustRead(t, "testdata/scala-jar", "dev", "feed-counter")
	for _, e := range p.Entries() {
		if e.Packing.Artifact != "artifacts/functions.jar" || e.Memory != 1024 || e.Runtime != "java8" {
			t.Errorf("%s: %+v", e.Name, e)
		}
	}
}

func TestSAMProject(t *testing.T) {
	p := mustRead(t, "testdata/sam-go", "prod", "daily-walk")
	for _, c := range []struct {
		e      Entry
		name   string
		folder string
		memory int
		level  string
	}{
		{p.Process, "walks-prod-daily-walk", "process", 512, "debug"},
		{p.Bundle, "DailyWalkBundleFunction", "bundle", 128, "info"},
		{p.Configuration, "DailyWalkConfiguration", "configuration", 128, "info"},
	} {
		if c.e.Name != c.name || c.e.Packing.Folder != c.folder || c.e.Memory != c.memory || c.e.Env["LOG_LEVEL"] != c.level ||
			c.e.Env["PLACE"] != "walks/prod" || c.e.Timeout != 20*time.Second || c.e.Runtime != "provided.al2023" {
			t.Errorf("%+v", c.e)
		}
	}
	hasWarning(t, p.Warnings, "Policies is ignored: a function has no rights in a cloud")
	hasWarning(t, p.Warnings, "Walks is not a function")
}

const smallest = `service: s
provider: {name: aws, runtime: python3.11}
functions:
  f: {handler: h.f}
  f-bundle: {handler: h.b}
  f-configuration: {handler: h.c}
`

func TestDefaults(t *testing.T) {
	p := mustRead(t, tree(t, map[string]string{"serverless.yaml": smallest}), "", "f")
	if p.Stage != "dev" || p.Process.Memory != 256 || p.Process.Timeout != 60*time.Second || p.Process.Name != "s-dev-f" || len(p.Warnings) != 0 {
		t.Errorf("%+v", p)
	}
	own := strings.Replace(smallest, "runtime:", "stage: beta, runtime:", 1)
	if p := mustRead(t, tree(t, map[string]string{"serverless.yml": own}), "", "f"); p.Process.Name != "s-beta-f" {
		t.Errorf("stage of the file: %s", p.Process.Name)
	}
	if p := mustRead(t, tree(t, map[string]string{"serverless.yml": own}), "prod", "f"); p.Process.Name != "s-prod-f" {
		t.Errorf("stage that was asked for: %s", p.Process.Name)
	}
}

// value reads one environment value of a project, which stands on line 3.
func readValue(t testing.TB, v string, files map[string]string) (string, error) {
	t.Helper()
	all := map[string]string{"serverless.yml": "service: s\nprovider: {name: aws, runtime: python3.11, environment: {V: \n  " + v + "\n  }}\n" +
		"custom: {a: {b: [x, y], n: 7, off: null, '2': two}, loop: '${self:custom.pool}', pool: '${self:custom.loop}', text: 'a-${sls:stage}'}\n" +
		"params: {default: {p: d, q: d}, prod: {p: prod}}\n" +
		smallest[strings.Index(smallest, "functions"):]}
	maps.Copy(all, files)
	p, err := read(tree(t, all), "prod", id(t, "f"), map[string]string{"SEEN": "seen"})
	if err != nil {
		return "", err
	}
	return p.Process.Env["V"], nil
}

func TestVariables(t *testing.T) {
	files := map[string]string{"a.yml": "k: {deep: [1, {z: v}]}\nback: ${self:custom.a.n}\n", "b.txt": " plain ${env:X} \n", "dir/c.json": `{"k":"json"}`}
	for _, c := range []struct{ in, want string }{
		{"plain", "plain"}, {"8", "8"}, {"true", "true"}, {"'${opt:stage}'", "prod"}, {"'${opt:region, ''eu''}'", "eu"},
		{`"${opt:x, opt:y, 'z'}"`, "z"}, {`"${opt:x, 5}"`, "5"}, {`"${opt:x, ''}"`, ""}, {`"${opt:x, false}"`, "false"},
		{"'${self:custom.a.b.1}'", "y"}, {"'${self:custom.a.n}'", "7"}, {"'${self:custom.a.off, ''on''}'", "on"},
		{"'${self:custom.a.2}'", "two"}, {"'${self:provider.stage}'", "prod"}, {"'${self:service}'", "s"},
		{"'<${self:custom.text}>'", "<a-prod>"}, {"'${env:SEEN}'", "seen"}, {"'${env:X, ''no''}'", "no"},
		{"'${param:p}${param:q}'", "prodd"}, {"'${file(a.yml):k.deep.1.z}'", "v"}, {"'${file(./a.yml):back}'", "7"},
		{"'${file(b.txt)}'", " plain ${env:X} \n"}, {"'${file(dir/c.json):k}'", "json"}, {"'${file(none.yml):k, ''f''}'", "f"},
		{"'${file(./${opt:none, ''a''}.yml):k.deep.0}'", "1"}, {"'${ssm:/x, ''f''}'", "f"}, {"'${strToBool(true)}'", "true"},
		{`'\${kept}'`, "${kept}"}, {`"${opt:x, ${opt:stage}}"`, "prod"}, {`"${ self:custom.a.n , 1 }"`, "7"},
		{"'${self:custom.${opt:none, ''a''}.n}'", "7"}, {"'${opt:x, ''a, b)}''}'", "a, b)}"}, {"'$ {x} $x }'", "$ {x} $x }"},
	} {
		got, err := readValue(t, c.in, files)
		if err != nil || got != c.want {
			t.Errorf("%s: got %q, %v; want %q", c.in, got, err, c.want)
		}
	}
}

func TestVariablesThatFail(t *testing.T) {
	big := "v: [" + strings.Repeat("'"+strings.Repeat("x", 1000)+"',", 1100) + "]"
	files := map[string]string{"a.js": "x", "bad.yml": "a: [", "big.yml": big, "sub/x": ""}
	for _, c := range []struct{ in, want string }{
		{"'${env:HOME}'", "serverless.yml:3: ${env:…} is not taken"}, {"'${self:custom.loop}'", "refers to itself"},
		{"'${self:provider.environment.V}'", "serverless.yml:3: the variable refers to itself"},
		{"'${self:custom.none}'", "no value and no fallback"}, {"'${opt:region}'", "no value"},
		{"'${nonsense:x}'", "not known"}, {"'${x}'", "not understood"}, {"'${opt:x'", "not closed"},
		{"'${}'", "not understood"}, {"'${opt:x,}'", "not understood"}, {"'${file(../x.yml)}'", "leads out"}, {"'${file(/etc/passwd)}'", "leads out"},
		{"'${file(~/x.yml)}'", "leads out"}, {"'${file(a.js)}'", "programs are not run"}, {"'${file(bad.yml):a}'", "bad.yml:1: not YAML"},
		{"'${file(big.yml):v}'", "larger than"}, {"'${file(sub)}'", "not a regular file"}, {"'${self:custom.a}'", "environment variable V: want text"},
		{"'x${self:custom.a}'", "gives no text"}, {"!Ref Table", "environment variable V: \"Table\" is not a parameter"}, {"{Ref: Table}", "environment variable V: \"Table\""},
		{"'" + strings.Repeat("${opt:x, ", 80) + "1" + strings.Repeat("}", 80) + "'", "nest"},
		{"'${file(link.yml)}'", "escape"},
	} {
		_, err := readValue(t, c.in, files)
		if c.in == "'${file(link.yml)}'" {
			project := tree(t, map[string]string{"serverless.yml": strings.Replace(smallest, "service: s", "service: ${file(link.yml)}", 1)})
			if err := os.Symlink("/etc/hostname", filepath.Join(project, "link.yml")); err != nil {
				t.Fatal(err)
			}
			_, err = read(project, "", id(t, "f"), nil)
		}
		var at *Error
		if !errors.As(err, &at) || !strings.Contains(err.Error(), c.want) || at.Line == 0 {
			t.Errorf("%.60s: got %v, want a line and %q", c.in, err, c.want)
		}
	}
}

// A string that doubles with each variable, and aliases that double with each level.
func TestBombsAreBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString("custom:\n  v00: xxxxxxxxxxxxxxxx\n")
	for i := 1; i < 60; i++ {
		b.WriteString("  v" + itoa(i) + ": '${self:custom.v" + itoa(i-1) + "}${self:custom.v" + itoa(i-1) + "}'\n")
	}
	project := strings.Replace(smallest, "runtime:", "environment: {V: '${self:custom.v59}'}, runtime:", 1) + b.String()
	_, err := read(tree(t, map[string]string{"serverless.yml": project}), "", id(t, "f"), nil)
	if err == nil || !strings.Contains(err.Error(), "grows beyond") && !strings.Contains(err.Error(), "nest") && !strings.Contains(err.Error(), "complicated") {
		t.Errorf("variables: %v", err)
	}
	b.Reset()
	b.WriteString("custom:\n  - &a00 {k: v}\n")
	for i := 1; i < 40; i++ {
		b.WriteString("  - &a" + itoa(i) + " {<<: [*a" + itoa(i-1) + ", *a" + itoa(i-1) + "]}\n")
	}
	project = strings.Replace(smallest, "runtime:", "environment: {<<: *a39}, runtime:", 1)
	_, err = read(tree(t, map[string]string{"serverless.yml": b.String() + project}), "", id(t, "f"), nil)
	if err == nil || !strings.Contains(err.Error(), "complicated") {
		t.Errorf("aliases: %v", err)
	}
	sam := strings.Replace(smallSAM, "Runtime: python3.11", "Runtime: &a !Sub [\"${X}\", {X: *a}]", 1)
	if _, err = read(tree(t, map[string]string{"template.yaml": sam}), "", id(t, "f"), nil); err == nil {
		t.Error("a Sub that contains itself was read")
	}
}

func itoa(i int) string { return string(rune('0'+i/10)) + string(rune('0'+i%10)) }

func TestProjectsThatFail(t *testing.T) {
	change := func(old, new string) string { return strings.Replace(smallest, old, new, 1) }
	for _, c := range []struct{ name, text, want string }{
		{"empty", "", "serverless.yml: the file is empty"},
		{"no YAML", "\na: b: c", "serverless.yml:2: not YAML"},
		{"unclosed", "service: [\n", "not YAML"},
		{"a list", "- a", "serverless.yml:1: want keys and values"},
		{"two documents", smallest + "---\nservice: t\n", "a second document"},
		{"unknown key", smallest + "serivce: x\n", "serverless.yml:7: serverless.yml has no key \"serivce\""},
		{"key given twice", smallest + "service: t\n", "serverless.yml:7: key \"service\" is given twice"},
		{"unknown provider key", change("runtime:", "memorysize: 5, runtime:"), "serverless.yml:2: provider has no key \"memorysize\""},
		{"unknown function key", change("h.f", "h.f, handlr: x"), "serverless.yml:4: function f has no key \"handlr\""},
		{"unknown package key", smallest + "package: {artefact: x}", "serverless.yml:7: package has no key"},
		{"other cloud", change("name: aws", "name: google"), "only functions written for aws"},
		{"no service", change("service: s", ""), "service is missing"},
		{"no provider", change("provider", "custom"), "provider is missing"},
		{"no functions", change("functions", "custom"), "functions is missing"},
		{"entry missing", change("  f-bundle: {handler: h.b}\n", ""), "there is no function f-bundle; there is f, f-configuration"},
		{"no runtime", change(", runtime: python3.11", ""), "serverless.yml:6: the function has no runtime"},
		{"no handler", change("handler: h.f", "description: x"), "serverless.yml:4: the function has no handler"},
		{"little memory", change("h.f", "h.f, memorySize: 64"), "serverless.yml:4: a function has at least 128 MB"},
		{"memory of words", change("h.f", "h.f, memorySize: lots"), "serverless.yml:4: want a whole number"},
		{"no time", change("h.f", "h.f, timeout: 0"), "serverless.yml:4: a timeout is at least 1 second"},
		{"wrong stage", change("h.f", "h.f, stages: [prod]"), "serverless.yml:4: function f is not for stage dev"},
		{"image", change("h.f", "h.f, image: x"), "container images"},
		{"layer", change("h.f", "h.f, layers: ['arn:x']"), "serverless.yml:4: layer \"arn:x\" is not in this project"},
		{"reserved variable", change("h.f", "h.f, environment: {AWS_REGION: x}"), "reserved"},
		{"another one", change("h.f", "h.f, environment: {AWS_LAMBDA_RUNTIME_API: x}"), "reserved"},
		{"a wrapper", change("h.f", "h.f, environment: {AWS_LAMBDA_EXEC_WRAPPER: x}"), "scripts that start the runtime"},
		{"bad variable", change("h.f", "h.f, environment: {a-b: x}"), "serverless.yml:4: environment variable \"a-b\""},
		{"large environment", change("h.f", "h.f, environment: {A: "+strings.Repeat("x", 5000)+"}"), "larger than 4096"},
		{"long name", change("service: s", "service: "+strings.Repeat("s", 70)), "at most 64"},
		{"name with dots", change("h.f", "h.f, name: a.b"), "serverless.yml:4: function name"},
		{"artifact outside", smallest + "package: {artifact: ../x.zip}", "leads out"},
		{"pattern outside", smallest + "package: {patterns: ['../x/**']}", "leads out"},
		{"negation", smallest + "package: {patterns: ['a/!(b)']}", "not understood"},
	} {
		_, err := read(tree(t, map[string]string{"serverless.yml": c.text}), "", id(t, "f"), nil)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
	if _, err := read(tree(t, map[string]string{"serverless.ts": "x"}), "", id(t, "f"), nil); err == nil || !strings.Contains(err.Error(), "only YAML is read") {
		t.Errorf("a program as project: %v", err)
	}
	if _, err := read(tree(t, map[string]string{"x": ""}), "", id(t, "f"), nil); err == nil || !strings.Contains(err.Error(), "neither") {
		t.Errorf("no project file: %v", err)
	}
}

// Errors may quote names of a project but never its values, which may be secret.
func TestErrorsQuoteNoValues(t *testing.T) {
	for _, text := range []string{
		strings.Replace(smallest, "h.f", "h.f, memorySize: CANARY", 1),
		strings.Replace(smallest, "h.f", "h.f, timeout: CANARY", 1),
		strings.Replace(smallest, "h.f", "h.f, environment: {A: [CANARY]}", 1),
		strings.Replace(smallest, "h.f", "h.f, environment: {A: '${x CANARY}'}", 1),
		strings.Replace(smallest, "h.f", "h.f, environment: {A: 'CANARY${self:service.x}'}", 1),
		strings.Replace(smallest, "h.f", "h.f, environment: {AWS_REGION: CANARY}", 1),
		strings.Replace(smallest, "h.f", "h.f, environment: {A: CANARY"+strings.Repeat("x", 5000)+"}", 1),
		smallest + "package: {individually: CANARY}", smallest + "CANARY", smallest + "\"CANARY", smallest + "package: CANARY",
	} {
		_, err := read(tree(t, map[string]string{"serverless.yml": text}), "", id(t, "f"), nil)
		if err == nil || strings.Contains(err.Error(), "CANARY") {
			t.Errorf("%.300q: %v", text, err)
		}
	}
}

const smallSAM = `Transform: AWS::Serverless-2016-10-31
Globals: {Function: {Runtime: python3.11}}
Resources:
  F: {Type: AWS::Serverless::Function, Properties: {Handler: h.f}}
  FBundle: {Type: AWS::Serverless::Function, Properties: {Handler: h.b}}
  FConfigurationFunction: {Type: AWS::Serverless::Function, Properties: {Handler: h.c}}
`

func TestSAMThatFails(t *testing.T) {
	change := func(old, new string) string { return strings.Replace(smallSAM, old, new, 1) }
	if p := mustRead(t, tree(t, map[string]string{"template.yml": smallSAM}), "", "f"); p.Process.Name != "F" || p.Process.Packing.Folder != "." {
		t.Errorf("%+v", p.Process)
	}
	for _, c := range []struct{ name, text, want string }{
		{"plain CloudFormation", change("AWS::Serverless-2016-10-31", "Other"), "not a SAM template"},
		{"no resources", change("Resources", "Metadata"), "Resources is missing"},
		{"unknown property", change("h.f", "h.f, Memory: 5"), "template.yaml:4: function F has no key \"Memory\""},
		{"unknown section", smallSAM + "Resource: {}", "template.yaml:7: the template has no key"},
		{"entry missing", change("FBundle", "GBundle"), "there is no function f-bundle; there is F, FConfigurationFunction, GBundle"},
		{"two that fit", smallSAM + "  FFunction: {Type: AWS::Serverless::Function, Properties: {}}", "could both be function f"},
		{"cloud reference", change("h.f", "h.f, Environment: {Variables: {T: !Ref Table}}"), "template.yaml:4: environment variable T: \"Table\" is not a parameter"},
		{"GetAtt", change("Handler: h.f", "Handler: !GetAtt a.b"), "template.yaml:4: \"a\" is no resource"},
		{"If", change("Handler: h.f", "Handler: {Fn::If: [a, b, c]}"), "\"a\" is not a condition of this template"},
		{"no default", change("h.f", "h.f, MemorySize: !Ref M") + "Parameters: {M: {Type: Number}}", "parameter \"M\" has no Default"},
		{"code in the cloud", change("h.f", "h.f, CodeUri: s3://bucket/x.zip"), "can't be fetched"},
		{"code outside", change("h.f", "h.f, CodeUri: ../x"), "leads out"},
		{"inline", change("h.f", "h.f, InlineCode: x"), "InlineCode is not read"},
		{"image", change("h.f", "h.f, PackageType: Image"), "only Zip"},
		{"layer", change("Runtime:", "Layers: [x], Runtime:"), "layer \"x\" is not in this template"},
		{"open Sub", change("Handler: h.f", "Handler: !Sub '${a'"), "not closed"},
	} {
		_, err := read(tree(t, map[string]string{"template.yaml": c.text}), "", id(t, "f"), nil)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
}

// FuzzProject checks that no project file crashes the reader, hangs it, or makes it read beyond the project.
func FuzzProject(f *testing.F) {
	for _, name := range []string{"testdata/python-history/serverless.yml", "testdata/node-stages/serverless.yml", "testdata/sam-go/template.yaml"} {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Add(smallest)
	f.Add(smallSAM)
	src := dir("testdata/node-stages")
	f.Fuzz(func(t *testing.T, text string) {
		in := reader{Options: Options{ID: id(t, "f")}, file: "serverless.yml", text: []byte(text), src: src}
		_, _ = readServerless(in)
		in.file = "template.yaml"
		_, _ = readSAM(in)
	})
}

// FuzzVariable checks that a parsed text is printed as the same alternatives in the same order.
func FuzzVariable(f *testing.F) {
	for _, s := range []string{"${a:b}", "x${opt:stage, 'dev'}y", "${file(./${self:a}.yml):b.c, ${env:X, 1}}", `\${a}`, "${a(b):c,d:e}", "$${a:b}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		parts, err := parseTemplate(s)
		if err != nil {
			return
		}
		literal := len(parts) == 0
		for _, p := range parts {
			literal = literal || p.alternatives == nil
			for _, a := range p.alternatives {
				if a.source == "" && a.literal == nil && a.word == "" {
					t.Errorf("%q: an alternative that is nothing", s)
				}
			}
		}
		if !literal && !strings.Contains(s, "${") {
			t.Errorf("%q: a variable out of nothing", s)
		}
	})
}
