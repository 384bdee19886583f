package catalog

import (
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"she/internal/hat"
	"she/internal/project"
)

func open(t testing.TB) *Catalog {
	t.Helper()
	c, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // the packages are read-only folders, which RemoveAll can't empty for everybody
		if err := removeTree(c.store.dir); err != nil {
			t.Error(err)
		}
	})
	return c
}

func registered(t testing.TB, path, function string) Registered {
	t.Helper()
	output, err := hat.ParseEndpoint("she/insights/test")
	if err != nil {
		t.Fatal(err)
	}
	return Registered{ID: id(t, function), Package: path, Output: output}
}

func mustPublish(t testing.TB, c *Catalog, path, function string) Function {
	t.Helper()
	f, err := c.Publish(t.Context(), registered(t, path, function))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// refused publishes and expects a fault with this code and text.
func refused(t testing.TB, c *Catalog, path, function string, who hat.Who, code, want string) {
	t.Helper()
	_, err := c.Publish(t.Context(), registered(t, path, function))
	var fault *hat.Fault
	if !errors.As(err, &fault) || fault.Who != who || fault.Code != code || !strings.Contains(fault.Text, want) {
		t.Errorf("got %v, want %s %s %q", err, who, code, want)
	}
}

// stored lists a package as "name mode" or "name -> target".
func stored(t testing.TB, p Package) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(p.Dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(p.Dir, name)
		switch {
		case e.IsDir():
			if info.Mode() != fs.ModeDir|0o555 {
				t.Errorf("folder %s has mode %v", rel, info.Mode())
			}
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(name)
			all = append(all, rel+" -> "+target)
			return err
		default:
			all = append(all, rel+" "+info.Mode().String())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func same(t testing.TB, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// python returns the smallest Python project, with more files.
func python(more map[string]string) map[string]string {
	all := map[string]string{"serverless.yml": smallest, "h.py": "# code"}
	for k, v := range more {
		all[k] = v
	}
	return all
}

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

func hasWarning(t *testing.T, warnings []string, want string) {
	t.Helper()
	for _, w := range warnings {
		if strings.Contains(w, want) {
			return
		}
	}
	t.Errorf("no warning has %q; there are %q", want, warnings)
}

const smallest = `service: s
provider: {name: aws, runtime: python3.11}
functions:
  f: {handler: h.f}
  f-bundle: {handler: h.b}
  f-configuration: {handler: h.c}
`

func TestPublishIsReadOnlyAndStable(t *testing.T) {
	c := open(t)
	dir := tree(t, python(map[string]string{"lib/x.py": "1", "tool.sh*": "#!/bin/sh", ".git/config": "x", "lib/__pycache__/x.pyc": "x", "node_modules/.cache/y": "y", ".gitignore": ""}))
	if err := os.Chmod(filepath.Join(dir, "tool.sh"), 0o755|fs.ModeSetuid|fs.ModeSetgid); err != nil {
		t.Fatal(err)
	}
	f := mustPublish(t, c, dir, "f")
	same(t, stored(t, f.Package), []string{"h.py -r--r--r--", "lib/x.py -r--r--r--", "tool.sh -r-xr-xr-x"})
	if f.Digest() != f.Package.Digest || f.Bundle.Package != f.Package || f.Manifest != nil || f.Available() {
		t.Errorf("%+v", f)
	}
	// The digest covers names, modes and content; it does not depend on path, time or user.
	again := mustPublish(t, open(t), tree(t, python(map[string]string{"lib/x.py": "1", "tool.sh*": "#!/bin/sh"})), "f")
	if again.Package.Digest != f.Package.Digest {
		t.Error("the same files have two digests")
	}
	for name, files := range map[string]map[string]string{
		"content": {"lib/x.py": "2", "tool.sh*": "#!/bin/sh"}, "mode": {"lib/x.py": "1", "tool.sh": "#!/bin/sh"}, "name": {"lib/y.py": "1", "tool.sh*": "#!/bin/sh"},
	} {
		if other := mustPublish(t, c, tree(t, python(files)), "f"); other.Package.Digest == f.Package.Digest {
			t.Errorf("another %s has the same digest", name)
		}
	}
}

func TestIndividually(t *testing.T) {
	text := strings.Replace(smallest, "{handler: h.b}", "{handler: h.b, package: {patterns: ['!big.bin']}}", 1)
	files := python(map[string]string{"serverless.yml": text, "big.bin": "x"})
	f := mustPublish(t, open(t), tree(t, files), "f")
	if f.Bundle.Package != f.Process.Package {
		t.Error("patterns of one function count without individually")
	}
	hasWarning(t, f.Warnings, "patterns of one function count only with package.individually")
	files["serverless.yml"] = text + "package: {individually: true}\n"
	f = mustPublish(t, open(t), tree(t, files), "f")
	same(t, stored(t, f.Bundle.Package), []string{"h.py -r--r--r--"})
	same(t, stored(t, f.Process.Package), []string{"big.bin -r--r--r--", "h.py -r--r--r--"})
	if f.Digest() == f.Package.Digest || f.Package != f.Process.Package {
		t.Error("three packages need a digest of their own")
	}
}

func TestRealLookingProjects(t *testing.T) {
	copied := func(name string) string {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS(name)); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	write := func(dir, name string, content []byte) {
		full := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	python := copied("../project/testdata/python-history")
	write(python, "node_modules/serverless/index.js", nil)
	f := mustPublish(t, open(t), python, "mood-history")
	same(t, stored(t, f.Package), []string{"history.py -r--r--r--", "history_bundle.py -r--r--r--", "history_config.py -r--r--r--", "requirements.txt -r--r--r--"})

	node := copied("../project/testdata/node-stages")
	for _, name := range []string{"left", "left/node_modules/inner", "dev-only"} {
		write(node, "node_modules/"+name+"/index.js", []byte("module.exports = 1"))
	}
	f = mustPublish(t, open(t), node, "step-counter")
	same(t, stored(t, f.Package), []string{
		"node_modules/left/index.js -r--r--r--", "node_modules/left/node_modules/inner/index.js -r--r--r--",
		"src/bundle.js -r--r--r--", "src/configuration.js -r--r--r--", "src/count.js -r--r--r--", "src/deep/help.js -r--r--r--",
	})

	scala := copied("../project/testdata/scala-jar")
	refused(t, open(t), scala, "feed-counter", hat.Author, CodeRefused, "artifacts/functions.jar\" is not there: build it first")
	write(scala, "artifacts/functions.jar", makeZip(t,
		entry{name: "META-INF/MANIFEST.MF"}, entry{name: "META-INF/LICENSE"}, entry{name: "META-INF/license/apache"},
		entry{name: "example/FeedCounterHandler.class"}, entry{name: "example/FeedCounterConfigurationHandler.class"},
		entry{name: "example/FeedCounterBundleHandler.class"}))
	f = mustPublish(t, open(t), scala, "feed-counter")
	if got := stored(t, f.Package); len(got) != 6 || got[3] != "example/FeedCounterBundleHandler.class -r--r--r--" {
		t.Errorf("%q", got)
	}

	f = mustPublish(t, open(t), "../project/testdata/sam-go", "daily-walk")
	if f.Process.Package == f.Bundle.Package || f.Package != f.Process.Package {
		t.Error("folders of a template are packages of their own")
	}
	same(t, stored(t, f.Configuration.Package), []string{"bootstrap -r-xr-xr-x"})
}

func TestExampleFunctionsLoad(t *testing.T) {
	dirs, err := filepath.Glob("../../functions/*/serverless.yml")
	if err != nil || len(dirs) == 0 {
		t.Fatalf("no example functions: %v", err)
	}
	hostile, err := filepath.Glob("../../functions/testdata/*/serverless.yml")
	if err != nil {
		t.Fatal(err)
	}
	dirs = append(dirs, hostile...)
	compiled := regexp.MustCompile(`^(provided|dotnet|java|wasm)`)
	c := open(t)
	for _, file := range dirs {
		dir := filepath.Dir(file)
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		entries := regexp.MustCompile(`(?m)^  (\S+)-configuration:`).FindAllSubmatch(text, -1)
		if entries == nil {
			t.Errorf("%s has no configuration entry", file)
		}
		for _, entry := range entries {
			name := string(entry[1])
			p, err := Describe(Registered{Package: dir, Stage: "dev"}, project.Options{ID: id(t, name)})
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			// Compiled projects may lack their artifact. All others must publish.
			if p.Process.Packing.Artifact == "" && !compiled.MatchString(p.Process.Runtime) {
				mustPublish(t, c, dir, name)
			}
		}
	}
}

func TestHandlers(t *testing.T) {
	elf := func(class byte, machine uint16) string {
		b := make([]byte, 64)
		copy(b, "\x7fELF")
		b[4], b[5] = class, 1
		binary.LittleEndian.PutUint16(b[18:], machine)
		return string(b)
	}
	here, there := elfMachines[runtime.GOARCH], uint16(183)
	if runtime.GOARCH == "arm64" {
		there = 62
	}
	jar := string(makeZip(t, entry{name: "org/Main.class"}))
	for _, c := range []struct {
		runtime, handler string
		files            map[string]string
		want             string // "" if it is valid
	}{
		{"python3.11", "h.f", map[string]string{"h.py": ""}, ""},
		{"python3.11", "pkg/mod.f", map[string]string{"pkg/mod.py": ""}, ""},
		{"python3.11", "pkg.mod.f", map[string]string{"pkg/mod/__init__.py": ""}, ""},
		{"python3.11", "h.f", map[string]string{"h.cpython-311-x86_64-linux-gnu.so": ""}, ""},
		{"python3.11", "h.f", map[string]string{"x.py": ""}, "serverless.yml:5: handler \"h.f\": the package has no file h.py"},
		{"python3.11", "h", map[string]string{"h.py": ""}, "want module.function"},
		{"nodejs20.x", "src/h.f", map[string]string{"src/h.mjs": ""}, ""},
		{"nodejs20.x", "h.f", map[string]string{"h/index.js": ""}, ""},
		{"nodejs20.x", "lib/h.f", map[string]string{"h.js": ""}, ""},
		{"nodejs20.x", "h.f", map[string]string{"node_modules/h/package.json": "{}", "node_modules/h/main.js": ""}, ""},
		{"nodejs20.x", "a/b/h.f", map[string]string{"a/node_modules/h/index.js": ""}, ""},
		{"nodejs20.x", "a/h.f", map[string]string{"b/h.js": "", "b/node_modules/h/index.js": ""}, "no file a/h.js"},
		{"nodejs20.x", "h.f", map[string]string{"h.ts": ""}, "must be compiled first"},
		{"nodejs20.x", "h", map[string]string{"h.js": ""}, "want file.export"},
		{"java17", "org.Main::run", map[string]string{"org/Main.class": ""}, ""},
		{"java17", "org.Main", map[string]string{"classes/org/Main.class": ""}, ""},
		{"java17", "org.Main::run", map[string]string{"lib/all.jar": jar}, ""},
		{"java17", "org.Main::run", map[string]string{"all.jar": jar}, "move the jar to lib/"},
		{"java17", "org.Other::run", map[string]string{"lib/all.jar": jar, "lib/bad.jar": "x"}, "no class org.Other"},
		{"dotnet8", "F::Ns.F::Run", map[string]string{"F.dll": ""}, ""},
		{"dotnet8", "F::Ns.F::Run", map[string]string{"G.dll": ""}, "no file F.dll"},
		{"provided.al2023", "x", map[string]string{"bootstrap*": "#!/bin/sh"}, ""},
		{"provided.al2023", "x", map[string]string{"bootstrap*": elf(2, here)}, ""},
		{"provided.al2023", "x", map[string]string{"bootstrap": elf(2, here)}, "not executable"},
		{"provided.al2023", "x", map[string]string{"main*": elf(2, here)}, "no program \"bootstrap\" at its root"},
		{"go1.x", "main", map[string]string{"main*": elf(2, here)}, ""},
		{"provided.al2023", "x", map[string]string{"bootstrap*": elf(2, there)}, "is built for"},
		{"provided.al2023", "x", map[string]string{"bootstrap*": elf(1, here)}, "is built for another one"},
		{"provided.al2023", "x", map[string]string{"bootstrap*": "MZ"}, "neither a Linux executable nor a script"},
		{"provided.al2023", "x", map[string]string{"bootstrap*": ""}, "is empty"},
		{"provided.al2023", "x", map[string]string{"bootstrap*": "#!/bin/sh\r\nexit\r\n"}, "save it with LF"},
		{"provided.al2023", "x", map[string]string{"bootstrap*": "#!/bin/sh\n\r\n" + strings.Repeat("x", 300)}, ""},
	} {
		text := "service: s\nprovider: {name: aws, runtime: " + c.runtime + ", timeout: 5}\nfunctions:\n  f-bundle: {handler: '" + c.handler +
			"'}\n  f-configuration: {handler: '" + c.handler + "'}\n  f: {handler: '" + c.handler + "'}\n"
		dir := tree(t, mapsWith(c.files, "serverless.yml", text))
		if c.want == "" {
			mustPublish(t, open(t), dir, "f")
			continue
		}
		refused(t, open(t), dir, "f", hat.Author, CodeHandler, c.want)
	}
}

func TestSupports(t *testing.T) {
	c := open(t)
	c.Supports = func(runtime string) (string, string, error) {
		if runtime == "python3.11" {
			return "python3.12", "python3.11 runs as python3.12", nil
		}
		return "", "", errors.New("runtime " + runtime + " is not installed here")
	}
	f := mustPublish(t, c, tree(t, python(nil)), "f")
	if f.Process.Runtime != "python3.11" || !slices.Equal(f.Warnings, []string{"python3.11 runs as python3.12"}) {
		t.Errorf("%s, %q", f.Process.Runtime, f.Warnings)
	}
	other := strings.Replace(smallest, "python3.11", "ruby3.2", 1)
	refused(t, c, tree(t, python(map[string]string{"serverless.yml": other})), "f", hat.Operator, CodeRuntime, "serverless.yml:6: runtime ruby3.2 is not installed here")
}

func TestLoadStopsForNobody(t *testing.T) {
	c := open(t)
	good := registered(t, tree(t, python(nil)), "f")
	twin := good // the same deployed names under another id
	twin.ID = id(t, "g")
	twin.Package = tree(t, map[string]string{"h.py": "", "serverless.yml": strings.NewReplacer("f:", "g:", "f-", "g-", "h.c}", "h.c, name: s-dev-f}").Replace(smallest)})
	newer := good
	var err error
	if newer.Version, err = hat.ParseVersion("2.0.0"); err != nil {
		t.Fatal(err)
	}
	all := c.Load(t.Context(), []Registered{registered(t, "/none/such", "a"), good, good, newer, twin, registered(t, tree(t, map[string]string{"serverless.yml": "x"}), "b")})
	want := []string{CodeMissing, "", CodeDuplicate, "", CodeDuplicate, CodeProject}
	for i, f := range all {
		code := ""
		if f.Problem != nil {
			code = f.Problem.Code
		}
		if code != want[i] {
			t.Errorf("%s: %v, want %q", f.ID, f.Problem, want[i])
		}
	}
}

func TestPatience(t *testing.T) {
	c := open(t)
	c.Patience = -time.Second
	refused(t, c, tree(t, python(nil)), "f", hat.Operator, CodeSlow, "not read in time")
	c.Patience = time.Minute
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Publish(ctx, registered(t, tree(t, python(nil)), "f")); hat.FaultOf(err).Code != CodeSlow {
		t.Error(err)
	}
}
