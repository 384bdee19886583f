package catalog

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"she/internal/hat"
	"she/internal/project"
)

// withLayers makes a project whose function f has the layers one and two.
func withLayers(runtime, handler string, files map[string]string) map[string]string {
	return mapsWith(files, "serverless.yml", `service: s
provider: {name: aws, runtime: `+runtime+`}
layers: {one: {path: one}, two: {path: two}}
functions:
  f: {handler: `+handler+`, layers: [!Ref OneLambdaLayer, !Ref TwoLambdaLayer]}
  f-bundle: {handler: `+handler+`, layers: [!Ref OneLambdaLayer]}
  f-configuration: {handler: `+handler+`, layers: [!Ref OneLambdaLayer, !Ref TwoLambdaLayer]}
`)
}

// Layers are laid over each other in their order. Shared layers are stored once, and the code digest covers
// all of them.
func TestLayersAreLaidOverEachOther(t *testing.T) {
	c := open(t)
	files := map[string]string{
		"h.py": "", "one/python/a.py": "1", "one/python/b.py": "1", "one/bin/tool*": "#!/bin/sh", "two/python/b.py": "2", "two/python/c/__init__.py": "",
	}
	dir := tree(t, withLayers("python3.12", "h.f", files))
	f := mustPublish(t, c, dir, "f")
	same(t, stored(t, f.Package), []string{"h.py -r--r--r--"})
	same(t, stored(t, f.Process.Layers), []string{"bin/tool -r-xr-xr-x", "python/a.py -r--r--r--", "python/b.py -r--r--r--", "python/c/__init__.py -r--r--r--"})
	if text, err := os.ReadFile(filepath.Join(f.Process.Layers.Dir, "python/b.py")); err != nil || string(text) != "2" {
		t.Errorf("the later layer has %q, %v", text, err)
	}
	if f.Configuration.Layers != f.Process.Layers || f.Bundle.Layers == f.Process.Layers || f.Bundle.Layers.Digest == "" {
		t.Errorf("layers %+v %+v %+v", f.Configuration.Layers, f.Bundle.Layers, f.Process.Layers)
	}
	before := f.Digest()
	if err := os.WriteFile(filepath.Join(dir, "two/python/b.py"), []byte("3"), 0o644); err != nil {
		t.Fatal(err)
	}
	if f = mustPublish(t, c, dir, "f"); f.Digest() == before {
		t.Error("another layer is the same code")
	}
	if removed, err := c.Prune([]Function{f}); err != nil || len(removed) != 1 {
		t.Errorf("removed %q, %v; want the former layers", removed, err)
	}
}

func TestHandlersInLayers(t *testing.T) {
	jar := string(makeZip(t, entry{name: "org/Main.class"}))
	for _, c := range []struct {
		what, runtime, handler string
		files                  map[string]string
		want, warning          string
	}{
		{"the module is in a layer", "python3.12", "h.f", map[string]string{"one/python/h.py": ""}, "", ""},
		{"below site-packages", "python3.12", "h.f", map[string]string{"one/python/lib/python3.12/site-packages/h.py": ""}, "", ""},
		{"where nothing looks", "python3.12", "h.f", map[string]string{"one/h.py": ""}, "the package has no file h.py", ""},
		{"in both", "python3.12", "h.f", map[string]string{"h.py": "", "one/python/h.py": ""}, "", "the package's is used"},
		{"a layer hides it", "python3.12", "pkg.h.f", map[string]string{"pkg/h.py": "", "two/python/pkg/__init__.py": ""},
			`serverless.yml:7: handler "pkg.h.f": layer two hides it: its python/pkg/__init__.py`, ""},
		{"nothing is hidden", "python3.12", "pkg.h.f", map[string]string{"pkg/h.py": "", "pkg/__init__.py": "", "two/python/pkg/__init__.py": ""}, "", ""},
		{"Node.js, in a layer", "nodejs20.x", "kit.f", map[string]string{"one/nodejs/node_modules/kit/index.js": ""}, "", ""},
		{"Node.js, hidden", "nodejs20.x", "lib/kit.f", map[string]string{"kit.js": "", "one/nodejs/node_modules/kit/index.js": ""},
			`handler "lib/kit.f": layer one hides it: its nodejs/node_modules/kit/index.js`, ""},
		{"Node.js, not hidden", "nodejs20.x", "lib/kit.f", map[string]string{"lib/kit.js": "", "one/nodejs/node_modules/kit/index.js": ""}, "", ""},
		{"Java, in a layer", "java17", "org.Main::run", map[string]string{"one/java/lib/all.jar": jar}, "", ""},
		{"Java, nowhere", "java17", "org.Other::run", map[string]string{"one/java/lib/all.jar": jar}, "no class org.Other", ""},
		{"a runtime of its own", "provided.al2023", "x", map[string]string{"one/bootstrap*": "#!/bin/sh"}, "", ""},
		{"that can't be run", "provided.al2023", "x", map[string]string{"one/bootstrap": "#!/bin/sh"}, "not executable", ""},
		{"two of them", "provided.al2023", "x", map[string]string{"bootstrap*": "#!/bin/sh", "one/bootstrap*": "#!/bin/sh"}, "", "a layer holds a bootstrap too"},
		{"an extension", "python3.12", "h.f", map[string]string{"h.py": "", "one/extensions/watch*": "#!/bin/sh"}, "", "extensions/watch is not started"},
	} {
		files := mapsWith(c.files, "one/x", "", "two/x", "", "more.txt", "")
		dir := tree(t, withLayers(c.runtime, c.handler, files))
		if c.want != "" {
			_, err := open(t).Publish(t.Context(), registered(t, dir, "f"))
			if fault := hat.FaultOf(err); err == nil || fault.Code != CodeHandler || !strings.Contains(fault.Error(), c.want) {
				t.Errorf("%s: got %v, want %q", c.what, err, c.want)
			}
			continue
		}
		f := mustPublish(t, open(t), dir, "f")
		if found := slices.ContainsFunc(f.Warnings, func(w string) bool { return strings.Contains(w, c.warning) }); c.warning == "" && len(f.Warnings) > 0 || !found && c.warning != "" {
			t.Errorf("%s: warnings %q, want %q", c.what, f.Warnings, c.warning)
		}
	}
}

func TestLayersThatFail(t *testing.T) {
	c := open(t)
	refused(t, c, tree(t, withLayers("python3.12", "h.f", map[string]string{"h.py": "", "one/x": ""})), "f", hat.Author, CodeProject,
		"serverless.yml:7: layer two: folder \"two\" is not in the project")
	dir := tree(t, withLayers("python3.12", "h.f", map[string]string{"h.py": "", "one/x": "", "two/x": ""}))
	for name, size := range map[string]int64{"big": 150 << 20, "two/big": 120 << 20} {
		if err := os.Truncate(filepath.Join(dir, "h.py"), 0); err != nil {
			t.Fatal(err)
		}
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Truncate(size); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	refused(t, Look(), dir, "f", hat.Author, CodeRefused, "the package and its layers are larger than 250 MB unpacked, together")
}

// A package without a project file runs as its owner says: an archive, a folder, one file.
func TestBarePackages(t *testing.T) {
	bare := project.Bare{Runtime: "python3.12", Handler: "app.run", Bundle: "app.ask", Memory: 512, Timeout: 9 * time.Second, Env: map[string]string{"A": "b"}}
	dir := tree(t, map[string]string{"app.py": "#", "serverless.yml": "no project of ours", "lib/x.py": "", ".git/HEAD": ""})
	c := open(t)
	for name, want := range map[string][]string{
		dir:                          {"app.py -r--r--r--", "lib/x.py -r--r--r--", "serverless.yml -r--r--r--"},
		filepath.Join(dir, "app.py"): {"app.py -r--r--r--"},
		zipFile(t, "f.zip", makeZip(t, entry{name: "app.py"}, entry{name: "serverless.yml", content: "x"})): {"app.py -r--r--r--", "serverless.yml -r--r--r--"},
		zipFile(t, "f.jar", makeZip(t, entry{name: "app.py"}, entry{name: "APP.PY"})):                       {"APP.PY -r--r--r--", "app.py -r--r--r--"},
	} {
		r := registered(t, name, "f")
		r.Bare = bare
		f, err := c.Publish(t.Context(), r)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		same(t, stored(t, f.Package), want)
		e := f.Process
		if e.Name != "f" || e.Handler != "app.run" || e.Memory != 512 || e.Timeout != 9*time.Second || e.Env["A"] != "b" || e.Runtime != "python3.12" {
			t.Errorf("%s: %+v", name, e)
		}
		if f.Bundle.Handler != "app.ask" || f.Bundle.Name != "f-bundle" || f.Configuration.Handler != "app.run" {
			t.Errorf("%s: %+v %+v", name, f.Bundle, f.Configuration)
		}
	}
	for want, spoil := range map[string]func(*Registered){
		"needs a runtime: python3.12":                           func(r *Registered) { r.Bare.Runtime = "" },
		"handler \"gone.run\": the package has no file gone.py": func(r *Registered) { r.Bare.Handler = "gone.run" },
		"environment variable AWS_REGION is reserved":           func(r *Registered) { r.Bare.Env = map[string]string{"AWS_REGION": "x"} },
		"memory must be 128 to 3008 MB":                         func(r *Registered) { r.Bare.Memory = 64 },
		"a single file needs a runtime and a handler":           func(r *Registered) { r.Bare = project.Bare{}; r.Package = filepath.Join(dir, "app.py") },
		"there is nothing at the configured package path":       func(r *Registered) { r.Package = filepath.Join(dir, "none.py") },
		"handler \"app.run\": the package has no class app.run": func(r *Registered) {
			r.Bare.Runtime = "java17"
			r.Package = zipFile(t, "f.jar", makeZip(t, entry{name: "x"}))
		},
		"the package has no program \"bootstrap\" at its root": func(r *Registered) { r.Bare = project.Bare{Runtime: "provided.al2023"} },
	} {
		r := registered(t, dir, "f")
		r.Bare = bare
		spoil(&r)
		if _, err := c.Publish(t.Context(), r); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), ": :") {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// One function of a project can be published alone, by any of its names, without the other entries.
func TestPublishEntry(t *testing.T) {
	text := "service: s\nprovider: {name: aws, runtime: python3.12}\nfunctions: {first: {handler: h.f}, second: {handler: h.g, name: other}}\n"
	c := open(t)
	r := Registered{Package: tree(t, map[string]string{"serverless.yml": text, "h.py": ""})}
	p, err := Describe(r, project.Options{})
	if err != nil || !slices.Equal(p.Keys, []string{"first", "second"}) || len(p.Entries()) != 0 {
		t.Errorf("%+v, %v", p, err)
	}
	e, warnings, err := c.PublishEntry(t.Context(), r, "second")
	if err != nil || len(warnings) > 0 || e.Name != "other" || e.Handler != "h.g" || e.Package.Dir == "" {
		t.Errorf("%+v, %q, %v", e, warnings, err)
	}
	if _, _, err := c.PublishEntry(t.Context(), r, "third"); err == nil || !strings.Contains(err.Error(), "there is no function third; there is first, second") {
		t.Errorf("got %v", err)
	}
	r = Registered{Package: filepath.Join(r.Package, "h.py"), Bare: project.Bare{Runtime: "python3.12", Handler: "h.f"}}
	if e, _, err := c.PublishEntry(t.Context(), r, "alone"); err != nil || e.Name != "alone" {
		t.Errorf("%+v, %v", e, err)
	}
	twice := strings.Replace(text, "second: {", "second: {name: s-dev-first, ", 1)
	twice = strings.Replace(twice, ", name: other", "", 1)
	r = Registered{Package: tree(t, map[string]string{"serverless.yml": twice, "h.py": ""})}
	if _, err := Describe(r, project.Options{}); err == nil || !strings.Contains(err.Error(), `serverless.yml:3: functions "first" and "second" are both named "s-dev-first"`) {
		t.Errorf("two functions of one name: %v", err)
	}
}

// Warnings with file and line name packages that only development needs or that were never installed.
func TestPackagesThatWereNotMeant(t *testing.T) {
	lock := "{\"packages\": {\n\"node_modules/a\": {},\n\"node_modules/jest\": {\"dev\": true}\n}}"
	template := "Transform: AWS::Serverless-2016-10-31\nGlobals: {Function: {Runtime: nodejs20.x, CodeUri: src}}\nResources:\n" +
		"  F: {Type: 'AWS::Serverless::Function', Properties: {Handler: h.f}}\n  FBundle: {Type: 'AWS::Serverless::Function', Properties: {Handler: h.b}}\n" +
		"  FConfiguration: {Type: 'AWS::Serverless::Function', Properties: {Handler: h.c}}\n"
	f := mustPublish(t, open(t), tree(t, map[string]string{
		"template.yaml": template, "src/h.js": "", "src/package-lock.json": lock, "src/node_modules/a/package.json": "{}", "src/node_modules/jest/package.json": "{}",
		"src/package.json": "{\"dependencies\":\n{\"a\": \"1\",\n\"@scope/gone\": \"2\"}}",
	}), "f")
	hasWarning(t, f.Warnings, "src/package-lock.json:3: node_modules/jest is packed, and 1 packages in all that only development needs")
	hasWarning(t, f.Warnings, "src/package.json:3: nothing is installed from package.json, and node_modules has no @scope/gone")
	python := func(files map[string]string) []string {
		return mustPublish(t, open(t), tree(t, python(files)), "f").Warnings
	}
	hasWarning(t, python(map[string]string{"requirements.txt": "# x\nPyYAML==6.0\nnumpy>=1\n", "yaml/__init__.py": ""}), "requirements.txt:3: nothing is installed")
	if w := python(map[string]string{"requirements.txt": "PyYAML==6.0\nodd_Name==1.2\n", "yaml/__init__.py": "", "odd_Name-1.2.dist-info/METADATA": ""}); len(w) != 0 {
		t.Errorf("what is vendored: %q", w)
	}
}
