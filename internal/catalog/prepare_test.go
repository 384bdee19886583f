package catalog

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"she/internal/hat"
)

// projectOf writes files into a new directory and returns it.
func projectOf(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const three = `service: s
provider: { name: aws, runtime: python3.13 }
functions:
  mood: { handler: h.process, timeout: 7 }
  mood-bundle: { handler: h.bundle }
  mood-configuration: { handler: h.configuration }
`

func TestPrepareFindsTheFunctionThatIsMeant(t *testing.T) {
	const handler = "def process(e, c): pass\n"
	template := func(resources ...string) map[string]string {
		text := "Transform: AWS::Serverless-2016-10-31\nResources:\n"
		for _, r := range resources {
			text += "  " + r + ":\n    Type: AWS::Serverless::Function\n    Properties: { Handler: h.process, Runtime: python3.13 }\n"
		}
		return map[string]string{"template.yaml": text, "h.py": handler}
	}
	for name, c := range map[string]struct {
		files    map[string]string
		function string
		want     string // process, bundle, configuration; or a part of the error
	}{
		"the only one":          {map[string]string{"serverless.yml": three, "h.py": handler}, "", "s-dev-mood s-dev-mood-bundle s-dev-mood-configuration"},
		"a single handler":      {map[string]string{"serverless.yml": strings.ReplaceAll(three, "mood-", "other-"), "h.py": handler}, "mood", "s-dev-mood  "},
		"the one that is whole": {map[string]string{"serverless.yml": three + "  api-mood: { handler: h.process }\n", "h.py": handler}, "", "s-dev-mood s-dev-mood-bundle s-dev-mood-configuration"},
		"of several, named":     {map[string]string{"serverless.yml": three + "  api-mood: { handler: h.process }\n", "h.py": handler}, "api-mood", "s-dev-api-mood  "},
		"a slip":                {map[string]string{"serverless.yml": three, "h.py": handler}, "moods", `serverless.yml has no function "moods"; there is mood`},
		"a template":            {template("MoodFunction", "MoodBundleFunction", "MoodConfiguration"), "", "MoodFunction MoodBundleFunction MoodConfiguration"},
		"a template's, by id":   {template("MoodFunction", "Other"), "mood", "MoodFunction  "},
		"several":               {template("One", "Two"), "", "template.yaml has 2 functions: One, Two"},
		"none":                  {map[string]string{"serverless.yml": "service: s\nprovider: { name: aws }\nfunctions: {}\n"}, "", "serverless.yml: there are no functions"},
		// A fault in another function does not affect this one.
		"beside a broken one": {map[string]string{"serverless.yml": three + "  image: { image: x }\n", "h.py": handler}, "mood", "s-dev-mood s-dev-mood-bundle s-dev-mood-configuration"},
		"a broken one":        {map[string]string{"serverless.yml": three + "  image: { image: x }\n", "h.py": handler}, "image", "container images can't be run"},
	} {
		f, err := Look().Prepare(t.Context(), Wanted{Path: projectOf(t, c.files), Function: c.function})
		got := f.Process.Name + " " + f.Bundle.Name + " " + f.Configuration.Name
		if err != nil {
			got = err.Error()
		}
		if got != c.want && (err == nil || !strings.Contains(got, c.want)) {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func TestPrepareTakesWhatHasNoProjectFile(t *testing.T) {
	dir := projectOf(t, map[string]string{
		"main.py": "def handler(e, c): pass\n", "other.txt": "x", "node/index.mjs": "export const handler = () => 1\n", "odd[1].py": "",
	})
	for name, c := range map[string]struct {
		w    Wanted
		want string
	}{
		"a file":           {Wanted{Path: dir + "/main.py", Handler: "main.handler"}, "main python3.13"},
		"a directory":      {Wanted{Path: dir + "/node", Handler: "index.handler"}, "node nodejs22.x"},
		"with a runtime":   {Wanted{Path: dir + "/main.py", Handler: "main.handler", Runtime: "python3.9"}, "main python3.9"},
		"a name of globs":  {Wanted{Path: dir + "/odd[1].py", Handler: "odd[1].handler"}, "odd-1- python3.13"},
		"another module":   {Wanted{Path: dir + "/main.py", Handler: "other.handler"}, `the package has no file other.py`},
		"nobody can tell":  {Wanted{Path: dir, Handler: "x"}, "give --runtime"},
		"no handler":       {Wanted{Path: dir + "/main.py"}, "name its handler with --handler"},
		"nothing there":    {Wanted{Path: dir + "/gone.py", Handler: "gone.handler"}, "there is nothing at"},
		"an unknown suite": {Wanted{Path: dir + "/main.py", Handler: "main.handler", Runtime: "cobol"}, ""},
	} {
		f, err := Look().Prepare(t.Context(), c.w)
		got := f.Process.Name + " " + f.Process.Runtime
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, c.want) {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func TestPrepareSaysWhatToBuild(t *testing.T) {
	yml := func(runtime, handler string) string {
		return "service: s\nprovider: { name: aws, runtime: " + runtime + " }\nfunctions:\n  f: { handler: " + handler + " }\n"
	}
	for hint, files := range map[string]map[string]string{
		"CGO_ENABLED=0 GOOS=linux go build -o bootstrap .": {"serverless.yml": yml("provided.al2023", "bootstrap"), "go.mod": "module f\n", "main.go": "package main\n"},
		"npm run build":                  {"serverless.yml": yml("nodejs22.x", "dist/f.handler"), "package.json": `{"scripts":{"build":"tsc"}}`, "src/f.ts": ""},
		"npx tsc":                        {"serverless.yml": yml("nodejs22.x", "f.handler"), "tsconfig.json": "{}", "f.ts": ""},
		"mvn package":                    {"serverless.yml": yml("java21", "a.B::c"), "pom.xml": "<project/>"},
		"dotnet publish -c Release -o .": {"serverless.yml": yml("dotnet8", "A::B.C::D"), "A.csproj": ""},
	} {
		_, err := Look().Prepare(t.Context(), Wanted{Path: projectOf(t, files)})
		var fault *hat.Fault
		if !errors.As(err, &fault) || fault.Code != CodeHandler || !strings.HasSuffix(fault.Text, "build it first: "+hint) {
			t.Errorf("%s: %v", hint, err)
		}
	}
}
