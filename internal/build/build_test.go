package build

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"she/internal/project"
)

func tree(t *testing.T, files map[string]string) string {
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

// plan reads all functions of a project and returns their steps.
func plan(t *testing.T, dir string) ([]Step, error) {
	t.Helper()
	src, err := OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	all, err := project.Read(src, project.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var entries []project.Entry
	for _, key := range all.Keys {
		p, err := project.Read(src, project.Options{Key: key})
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, p.Process)
	}
	return Plan(src, entries)
}

// builtIn builds a project and returns the folder of the result.
func builtIn(t *testing.T, dir string, resolve func(string) string) (string, error) {
	t.Helper()
	steps, err := plan(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	b := Builder{Project: dir, Out: filepath.Join(dir, ".she", "build"), Resolve: resolve, Log: &log}
	err = b.Run(t.Context(), steps)
	if err != nil {
		t.Logf("the tools printed: %s", log.String())
	}
	return b.Out, err
}

// list returns every file of a folder with its mode and content.
func list(t *testing.T, dir string) string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		inside, _ := filepath.Rel(dir, name)
		info, err := e.Info()
		if err != nil {
			return err
		}
		content := []byte("link")
		if e.Type().IsRegular() {
			if content, err = os.ReadFile(name); err != nil {
				return err
			}
		}
		all = append(all, fmt.Sprintf("%s %v %x", inside, info.Mode(), sha256.Sum256(content)))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(all, "\n")
}

func needs(t *testing.T, tools ...string) {
	t.Helper()
	if testing.Short() {
		t.Skip("runs a language's tools: make test")
	}
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip("no ", tool)
		}
	}
}

const serverless = `service: s
provider: {name: aws, runtime: %s}
functions: {f: {handler: %s}}
`

func TestPlan(t *testing.T) {
	sam := func(runtime string) string {
		return "Transform: AWS::Serverless-2016-10-31\nResources:\n  F: {Type: 'AWS::Serverless::Function', Properties: {CodeUri: src, Handler: h.f, Runtime: " + runtime + "}}\n"
	}
	for _, c := range []struct {
		what  string
		files map[string]string
		want  []string
	}{
		{"nothing to do", map[string]string{"serverless.yml": fmt.Sprintf(serverless, "python3.11", "h.f")}, nil},
		{"pip", map[string]string{"serverless.yml": fmt.Sprintf(serverless, "python3.11", "h.f"), "requirements.txt": "x"}, []string{".: install requirements.txt (pip)"}},
		{"another language's list", map[string]string{"serverless.yml": fmt.Sprintf(serverless, "nodejs20.x", "h.f"), "requirements.txt": "x"}, nil},
		{"npm", map[string]string{"template.yaml": sam("nodejs20.x"), "src/package.json": "{}"}, []string{"src: install the production dependencies of package.json (npm)"}},
		{"a script", map[string]string{"template.yaml": sam("nodejs20.x"), "src/package.json": `{"scripts":{"build":"tsc"}}`},
			[]string{"src: install the production dependencies of package.json and run its build script (npm)"}},
		{"go", map[string]string{"template.yaml": sam("provided.al2023"), "src/go.mod": "module m"}, []string{"src: build the program (go)"}},
		{"cargo", map[string]string{"template.yaml": sam("provided.al2023"), "src/Cargo.toml": ""}, []string{"src: build the program (cargo)"}},
		{"maven", map[string]string{"template.yaml": sam("java17"), "src/pom.xml": ""}, []string{"src: package (mvn)"}},
		{"gradle", map[string]string{"template.yaml": sam("java17"), "src/build.gradle.kts": ""}, []string{"src: build (gradle)"}},
		{"dotnet", map[string]string{"template.yaml": sam("dotnet8"), "src/F.csproj": ""}, []string{"src: publish (dotnet)"}},
		{"an archive that Maven makes", map[string]string{"pom.xml": "", "serverless.yml": fmt.Sprintf(serverless, "java17", "a.B") + "package: {artifact: target/a.jar}\n"}, []string{".: package (mvn)"}},
		{"layers", map[string]string{"l/requirements.txt": "x", "serverless.yml": fmt.Sprintf(serverless, "python3.11", "h.f, layers: [!Ref LLambdaLayer]") + "layers: {l: {path: l}}\n"},
			[]string{"l: install requirements.txt (pip)"}},
	} {
		steps, err := plan(t, tree(t, c.files))
		var got []string
		for _, s := range steps {
			got = append(got, s.String())
		}
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, %v; want %q", c.what, got, err, c.want)
		}
	}
	for want, files := range map[string]map[string]string{
		"package.json:2: it is no package.json":                                   {"serverless.yml": fmt.Sprintf(serverless, "nodejs20.x", "h.f"), "package.json": "{\n]"},
		"serverless.yml:3: artifact bin/f.zip is made by the project's own tools": {"go.mod": "", "serverless.yml": fmt.Sprintf(serverless, "provided.al2023", "h") + "package: {artifact: bin/f.zip}\n"},
	} {
		if _, err := plan(t, tree(t, files)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// The error names a missing tool and how to install it. The attempt leaves no files.
func TestToolsThatAreMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	for kind, files := range map[Kind]map[string]string{
		Pip:    {"serverless.yml": fmt.Sprintf(serverless, "python3.11", "h.f"), "requirements.txt": "x"},
		Npm:    {"serverless.yml": fmt.Sprintf(serverless, "nodejs20.x", "h.f"), "package.json": "{}"},
		Go:     {"serverless.yml": fmt.Sprintf(serverless, "provided.al2023", "h"), "go.mod": "module m"},
		Maven:  {"serverless.yml": fmt.Sprintf(serverless, "java17", "a.B"), "pom.xml": ""},
		Gradle: {"serverless.yml": fmt.Sprintf(serverless, "java17", "a.B"), "build.gradle": ""},
		Dotnet: {"serverless.yml": fmt.Sprintf(serverless, "dotnet8", "a::b.C::d"), "F.csproj": ""},
		Cargo:  {"serverless.yml": fmt.Sprintf(serverless, "provided.al2023", "h"), "Cargo.toml": ""},
	} {
		dir := tree(t, files)
		_, err := builtIn(t, dir, nil)
		var missing *ToolError
		if !errors.As(err, &missing) || !strings.Contains(err.Error(), "is needed and is not installed here: "+install[kind]) {
			t.Errorf("%s: %v", kind, err)
		}
		if left, _ := os.ReadDir(filepath.Join(dir, ".she")); len(left) > 0 {
			t.Errorf("%s: %v is left", kind, left)
		}
	}
}

// wheel makes a Python package that pip can install.
func wheel(t *testing.T) string {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for name, content := range map[string]string{
		"tiny/__init__.py": "value = 7\n", "tiny-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
		"tiny-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n", "tiny-1.0.dist-info/RECORD": "",
	} {
		f, err := w.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func own(string) string {
	out, err := exec.Command("python3", "-c", "import sys; print('python%d.%d' % sys.version_info[:2])").Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

func TestPython(t *testing.T) {
	needs(t, "python3")
	if exec.Command("python3", "-m", "pip", "--version").Run() != nil {
		t.Skip("no pip")
	}
	t.Setenv("PIP_NO_INDEX", "1")
	files := map[string]string{
		"serverless.yml": fmt.Sprintf(serverless, "python3.7", "h.f"), "h.py": "import tiny", "wheels/tiny-1.0-py3-none-any.whl": wheel(t),
		"requirements.txt": "./wheels/tiny-1.0-py3-none-any.whl\n", ".git/HEAD": "x", "__pycache__/h.pyc": "x",
	}
	dir := tree(t, files)
	out, err := builtIn(t, dir, own)
	if err != nil {
		t.Fatal(err)
	}
	for name, there := range map[string]bool{"tiny/__init__.py": true, "h.py": true, "serverless.yml": true, ".git/HEAD": false, "__pycache__/h.pyc": false, "tiny/__pycache__": false} {
		if _, err := os.Stat(filepath.Join(out, name)); (err == nil) != there {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "tiny")); err == nil {
		t.Error("it was installed among the author's files")
	}
	first := list(t, out)
	if _, err := builtIn(t, dir, own); err != nil || list(t, out) != first {
		t.Errorf("built again it is another package: %v", err)
	}
	// For a version other than the interpreter's.
	if out, err = builtIn(t, dir, func(string) string { return "python3.99" }); err != nil || list(t, out) != first {
		t.Errorf("a package of no version: %v", err)
	}
	// A failed build keeps the former build.
	if err := os.WriteFile(filepath.Join(dir, "requirements.txt"), []byte("nowhere-to-be-found\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := builtIn(t, dir, own); err == nil || !strings.Contains(err.Error(), "nowhere-to-be-found") || list(t, out) != first {
		t.Errorf("a package that is not there: %v", err)
	}
}

// tarball makes an npm package, with the integrity value of its lock file.
func tarball(t *testing.T, name string) (content, integrity string) {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, f := range [][2]string{{"package/package.json", `{"name":"` + name + `","version":"1.0.0"}`}, {"package/index.js", "module.exports = '" + name + "'"}} {
		if err := w.WriteHeader(&tar.Header{Name: f[0], Size: int64(len(f[1])), Mode: 0o644}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(f[1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	sum := sha512.Sum512(b.Bytes())
	return b.String(), "sha512-" + base64.StdEncoding.EncodeToString(sum[:])
}

func TestNode(t *testing.T) {
	needs(t, "npm", "node")
	t.Setenv("npm_config_offline", "true")
	t.Setenv("npm_config_cache", t.TempDir())
	prod, prodSum := tarball(t, "prod")
	dev, devSum := tarball(t, "dev")
	lock := func(name, sum, more string) string {
		return `"node_modules/` + name + `": {"version": "1.0.0", "resolved": "file:` + name + `.tgz", "integrity": "` + sum + `"` + more + `}`
	}
	dependencies := `"dependencies": {"prod": "file:prod.tgz"}, "devDependencies": {"dev": "file:dev.tgz"}`
	files := map[string]string{
		"serverless.yml": fmt.Sprintf(serverless, "nodejs20.x", "dist/h.f"), "prod.tgz": prod, "dev.tgz": dev, "node_modules/old/index.js": "x",
		"package.json": `{"name":"p","version":"1.0.0","scripts":{"build":"node make.js"},` + dependencies + `}`,
		"package-lock.json": `{"name":"p","version":"1.0.0","lockfileVersion":3,"requires":true,"packages":{"":{"name":"p","version":"1.0.0",` + dependencies + `},` +
			lock("prod", prodSum, "") + "," + lock("dev", devSum, `, "dev": true`) + `}}`,
		// This script stands for a TypeScript compiler, which is needed only for the build.
		"make.js": `const fs = require("fs"); fs.mkdirSync("dist"); fs.writeFileSync("dist/h.js", "exports.f = async () => '" + require("dev") + "'")`,
	}
	dir := tree(t, files)
	out, err := builtIn(t, dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, there := range map[string]bool{"node_modules/prod/index.js": true, "node_modules/dev": false, "node_modules/old": false, "dist/h.js": true} {
		if _, err := os.Stat(filepath.Join(out, name)); (err == nil) != there {
			t.Errorf("%s: %v", name, err)
		}
	}
	first := list(t, out)
	if _, err := builtIn(t, dir, nil); err != nil || list(t, out) != first {
		t.Errorf("built again it is another package: %v", err)
	}
}

func TestGo(t *testing.T) {
	needs(t, "go")
	files := map[string]string{
		"template.yaml": "Transform: AWS::Serverless-2016-10-31\nResources:\n  F: {Type: 'AWS::Serverless::Function', Properties: {CodeUri: src, Handler: h, Runtime: provided.al2023}}\n",
		"src/go.mod":    "module m\n\ngo 1.21\n", "src/main.go": "package main\n\nfunc main() { println(\"ran\") }\n",
	}
	var packages []string
	for range 2 { // in two places
		out, err := builtIn(t, tree(t, files), nil)
		if err != nil {
			t.Fatal(err)
		}
		got := list(t, filepath.Join(out, "src"))
		if !strings.HasPrefix(got, "bootstrap -rwxr-xr-x ") || strings.Contains(got, "\n") {
			t.Errorf("the package is %s", got)
		}
		packages = append(packages, got)
		if text, err := exec.Command(filepath.Join(out, "src", "bootstrap")).CombinedOutput(); err != nil || string(text) != "ran\n" {
			t.Errorf("%s, %v", text, err)
		}
	}
	if packages[0] != packages[1] {
		t.Error("the same program is another package elsewhere")
	}
	broken := mapsWith(files, "src/main.go", "package main\n\nfunc main() { nothing }\n")
	if _, err := builtIn(t, tree(t, broken), nil); err == nil || !strings.Contains(err.Error(), "main.go:3") {
		t.Errorf("a program that does not compile: %v", err)
	}
}

func mapsWith(m map[string]string, name, content string) map[string]string {
	all := map[string]string{name: content}
	for k, v := range m {
		if k != name {
			all[k] = v
		}
	}
	return all
}

func TestCargo(t *testing.T) {
	needs(t, "cargo")
	out, err := builtIn(t, tree(t, map[string]string{
		"template.yaml":  "Transform: AWS::Serverless-2016-10-31\nResources:\n  F: {Type: 'AWS::Serverless::Function', Properties: {CodeUri: src, Handler: h, Runtime: provided.al2023}}\n",
		"src/Cargo.toml": "[package]\nname = \"steps\"\nversion = \"0.1.0\"\nedition = \"2021\"\n", "src/src/main.rs": "fn main() { println!(\"ran\"); }\n",
	}), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := list(t, filepath.Join(out, "src")); !strings.HasPrefix(got, "bootstrap -rwxr-xr-x ") || strings.Contains(got, "\n") {
		t.Errorf("the package is %s", got)
	}
	if text, err := exec.Command(filepath.Join(out, "src", "bootstrap")).Output(); err != nil || string(text) != "ran\n" {
		t.Errorf("%s, %v", text, err)
	}
}

// The project's own wrapper is preferred to the machine's tool, and the unpacked jar replaces the folder.
func TestJavaWrapper(t *testing.T) {
	needs(t, "sh", "python3")
	const jar = "import zipfile, os; os.makedirs('target'); z = zipfile.ZipFile('target/a.jar', 'w'); z.writestr('a/B.class', 'class'); z.close()\n" +
		"zipfile.ZipFile('target/original-a.jar', 'w').writestr('x' * 50, 'x' * 500)\n"
	for _, c := range []struct{ what, folder, file string }{
		{"SAM", "src", "Transform: AWS::Serverless-2016-10-31\nResources:\n  F: {Type: 'AWS::Serverless::Function', Properties: {CodeUri: src, Handler: a.B, Runtime: java17}}\n"},
		{"an archive", ".", fmt.Sprintf(serverless, "java17", "a.B") + "package: {artifact: target/a.jar}\n"},
	} {
		name, want := "serverless.yml", "target/a.jar"
		if c.what == "SAM" {
			name, want = "template.yaml", "src/a/B.class"
		}
		out, err := builtIn(t, tree(t, map[string]string{
			name: c.file, c.folder + "/pom.xml": "<project/>", c.folder + "/jar.py": jar, c.folder + "/mvnw*": "#!/bin/sh\ncase \"$*\" in *package) exec python3 jar.py;; esac\nexit 3\n",
		}), nil)
		if err != nil {
			t.Fatalf("%s: %v", c.what, err)
		}
		if _, err := os.Stat(filepath.Join(out, want)); err != nil {
			t.Errorf("%s: %v", c.what, err)
		}
	}
}

// A folder that no build made is never removed. A stopped build leaves nothing half built.
func TestOutIsKept(t *testing.T) {
	dir := tree(t, map[string]string{"serverless.yml": fmt.Sprintf(serverless, "python3.11", "h.f"), "h.py": "", "elsewhere/mine.txt": "x"})
	b := Builder{Project: dir, Out: filepath.Join(dir, "elsewhere"), Log: &bytes.Buffer{}}
	if err := b.Run(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "has files that she build did not make") {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	b.Out = filepath.Join(dir, "new")
	if err := b.Run(ctx, []Step{{Kind: Pip, Folder: ".", Into: ".", Runtime: "python3.11"}}); err == nil {
		t.Error("a build went on after its end")
	}
	if _, err := os.Stat(b.Out); err == nil {
		t.Error("something half built is there")
	}
}
