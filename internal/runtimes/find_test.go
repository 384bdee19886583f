package runtimes

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// host returns a machine with the given programs, each a file in a temporary directory, and their output.
func host(t *testing.T, prints map[string]string) (f Finder, dir string) {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for program := range prints {
		file := filepath.Join(dir, program)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, nil, 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	f = Finder{Compiled: filepath.Join(dir, "compiled"), Exist: func(string) bool { return false }}
	f.Look = func(program string) (string, error) {
		if _, ok := prints[strings.TrimPrefix(program, dir+"/")]; ok {
			return program, nil
		}
		for p := range prints {
			if p == "path/"+program {
				return filepath.Join(dir, p), nil
			}
		}
		return "", fs.ErrNotExist
	}
	f.Run = func(program string, args ...string) (string, error) {
		out := prints[strings.TrimPrefix(program, dir+"/")]
		if out == "fails" {
			return "", errors.New("failed")
		}
		return strings.ReplaceAll(out, "DIR", dir), nil
	}
	return f, dir
}

func TestFindJava(t *testing.T) {
	for _, c := range []struct {
		about, ask string
		has        map[string]string
		name       string
		err        error
	}{
		{"the one that is there", "java17", map[string]string{"path/java": "openjdk 17.0.15 2025-04-15\nmore", "path/javac": ""}, "java17", nil},
		{"another one", "java8.al2", map[string]string{"path/java": "java 21 2023-09-19 LTS", "path/javac": ""}, "java21", nil},
		{"an old one", "java8", map[string]string{"path/java": "fails", "path/javac": ""}, "", ErrMissing},
		{"no compiler", "java17", map[string]string{"path/java": "openjdk 17.0.15 2025-04-15"}, "", ErrMissing},
		{"none", "java17", nil, "", ErrMissing},
	} {
		f, _ := host(t, c.has)
		r, warning, err := f.Find(c.ask)
		if !errors.Is(err, c.err) || r.Name != c.name {
			t.Errorf("%s: %q, %v", c.about, r.Name, err)
		}
		if (warning != "") != (err == nil && r.Name != strings.TrimSuffix(c.ask, ".al2")) {
			t.Errorf("%s: warning %q", c.about, warning)
		}
		if err != nil && !strings.Contains(err.Error(), "default-jdk-headless") {
			t.Errorf("%s: no hint in %v", c.about, err)
		}
	}
}

const three = `Microsoft.AspNetCore.App 8.0.11 [DIR/path/shared/Microsoft.AspNetCore.App]
Microsoft.NETCore.App 2.1.30 [DIR/path/shared/Microsoft.NETCore.App]
Microsoft.NETCore.App 8.0.2 [DIR/path/shared/Microsoft.NETCore.App]
Microsoft.NETCore.App 8.0.11 [DIR/path/shared/Microsoft.NETCore.App]
Microsoft.NETCore.App 10.0.0-rc.1.25451.107 [DIR/path/shared/Microsoft.NETCore.App]
`

func TestFindDotnet(t *testing.T) {
	const assembly8, assembly10 = "path/shared/Microsoft.NETCore.App/8.0.11/System.Runtime.dll", "path/shared/Microsoft.NETCore.App/10.0.0-rc.1.25451.107/System.Runtime.dll"
	full := map[string]string{"path/dotnet": three, "path/mcs": "", assembly8: "", assembly10: ""}
	for _, c := range []struct {
		ask  string
		has  map[string]string
		name string
		err  error
	}{
		{"dotnet8", full, "dotnet8", nil},
		{"dotnet6", full, "dotnet10", nil},
		{"dotnetcore2.1", full, "dotnet10", nil}, // too old for the bootstrap
		{"dotnetcore3.1", full, "dotnet10", nil},
		{"dotnet10", full, "dotnet10", nil},
		{"dotnet8", map[string]string{"path/dotnet": three, assembly8: ""}, "", ErrMissing},
		{"dotnet8", map[string]string{"path/dotnet": "Microsoft.NETCore.App 2.1.30 [DIR/x]\n", "path/mcs": ""}, "", ErrMissing},
		{"dotnet8", nil, "", ErrMissing},
	} {
		f, _ := host(t, c.has)
		r, warning, err := f.Find(c.ask)
		if !errors.Is(err, c.err) || r.Name != c.name {
			t.Errorf("%s: %q, %v", c.ask, r.Name, err)
		}
		if (warning != "") != (err == nil && r.Name != c.ask) {
			t.Errorf("%s: warning %q", c.ask, warning)
		}
	}
	f, dir := host(t, full)
	r, _, err := f.Find("dotnet8")
	if err != nil {
		t.Fatal(err)
	}
	config, err := os.ReadFile(filepath.Join(r.Paths[len(r.Paths)-1][0], "bootstrap.runtimeconfig.json"))
	if err != nil || !strings.Contains(string(config), `{"name":"Microsoft.NETCore.App","version":"8.0.11"},{"name":"Microsoft.AspNetCore.App","version":"8.0.11"}`) {
		t.Errorf("%s %v", config, err)
	}
	if r.Paths[0][0] != filepath.Join(dir, "path") {
		t.Errorf("the installation is not shown: %v", r.Paths)
	}
}

// TestCompiledOnce checks that a second call compiles nothing, and that a failure leaves nothing and names
// the compiler.
func TestCompiledOnce(t *testing.T) {
	f := Finder{Compiled: t.TempDir()}
	times := 0
	build := func(_ string, names []string, out string) error {
		times++
		if len(names) == 0 || filepath.Ext(names[0]) != ".java" {
			t.Errorf("sources %v", names)
		}
		return os.WriteFile(filepath.Join(out, "x"), []byte("x"), 0o600)
	}
	first, err := f.compiled("java", ".java", "one", build)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(first, "x")); err != nil || info.Mode() != 0o644 {
		t.Errorf("%v %v", info, err)
	}
	if again, err := f.compiled("java", ".java", "one", build); err != nil || again != first || times != 1 {
		t.Errorf("again %s, %d times, %v", again, times, err)
	}
	if other, err := f.compiled("java", ".java", "two", build); err != nil || other == first || times != 2 {
		t.Errorf("by another compiler: %s, %d times, %v", other, times, err)
	}
	if _, err := f.compiled("java", ".java", "three", func(string, []string, string) error { return errors.New("no room") }); err == nil || !strings.Contains(err.Error(), "three: no room") {
		t.Errorf("failed compilation: %v", err)
	}
	if left, _ := os.ReadDir(f.Compiled); len(left) != 2 {
		t.Errorf("left %v", left)
	}
}

// TestHomesAreNotShown checks that a runtime directly in somebody's home is refused, and one in a directory
// of its own below it is not.
func TestHomesAreNotShown(t *testing.T) {
	dir := t.TempDir()
	passwd := filepath.Join(dir, "passwd")
	if err := os.WriteFile(passwd, []byte("root:x:0:0:root:/root:/bin/sh\nann:x:1000:1000::/data/people/ann:/bin/sh\nbroken\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for prefix, refused := range map[string]bool{
		"/data/people/ann": true, "/data/people": true, "/data": true, "/root": true, "/home": true, "/opt": true,
		"/data/people/ann/node-v20": false, "/opt/node": false, "/root/.nvm/versions/node/v20": false, "/data/people/anna": false,
	} {
		prints := prefix + "/bin/node"
		f := Finder{
			Passwd: passwd, Compiled: t.TempDir(), Exist: func(string) bool { return false },
			Look: func(program string) (string, error) {
				if program == "node" {
					return prints, nil
				}
				return "", fs.ErrNotExist
			},
			Run: func(string, ...string) (string, error) { return "v20.11.0\n" + prints + "\nrdrand\n", nil },
		}
		r, _, err := f.Find("nodejs20.x")
		if refused {
			if !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), prefix) {
				t.Errorf("%s: %v", prefix, err)
			}
		} else if err != nil || r.Paths[0][0] != prefix {
			t.Errorf("%s: %v %v", prefix, r.Paths, err)
		}
	}
}
