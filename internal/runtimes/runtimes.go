// Package runtimes holds the bootstraps that run managed Lambda handlers, and finds on the host what they need:
// which interpreter stands for "python3.9", where it lives, what to install if there is none.
//
// A custom runtime ("provided.al2023", a program named bootstrap in the package) needs nothing of this but the host's
// C library, which many such programs don't need either.
package runtimes

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

//go:embed python nodejs java dotnet locale
var bootstraps embed.FS

// Dir is where the bootstraps are inside a sandbox: LAMBDA_RUNTIME_DIR.
const Dir = "/var/runtime"

// Install writes the bootstraps to dir, which then belongs at Dir in every sandbox. What was there before is removed.
func Install(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.CopyFS(dir, bootstraps); err != nil {
		return fmt.Errorf("install the runtimes' bootstraps: %w", err)
	}
	return readable(dir)
}

// Stamp changes whenever a bootstrap does.
func Stamp() string {
	sum := sha256.New()
	err := fs.WalkDir(bootstraps, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := bootstraps.ReadFile(p)
		fmt.Fprintf(sum, "%s %d %s", p, len(b), b)
		return err
	})
	if err != nil {
		panic(err) // embedded files can be read
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// Wasm is the runtime of functions compiled to WebAssembly. They need nothing of the host; the handler names the
// module in the package.
const Wasm = "wasm"

// A Runtime is how functions of one kind are run on this host.
type Runtime struct {
	Name    string      // what it is here: "python3.11", "nodejs20.x", "provided.al2023"
	Command []string    // what starts it inside; a custom runtime's is in its package
	Paths   [][2]string // host path and path inside that it needs, read-only
	Env     []string    // what it wants set besides Lambda's variables
	Version string      // changes whenever the installation does
	Copies  bool        // its bootstrap reseeds what is random, so an instance may be copied after INIT
	Entries bool        // its bootstrap can load a second handler, for an event before the own one's
	Tries   Tries       // whether an instance that is to wait should try an event first
}

// Tries says when trying an event in each instance that waits is worth its processor time.
type Tries string

// By turns, of two rounds with ten events, all that an instance costs and the time to an answer, with and without: Java 145 and
// 181 ms, answers in 10 and 67 ms; .NET 150 and 202, 10 and 51; Node.js 81 and 78, 9 and 23; Python 76 and 69, 8 and 14; Go 108
// and 81, 11 and 7. In a copy nothing is mapped yet, and some compile again; a custom runtime has just started.
const (
	Always   Tries = "always"    // it costs nothing on the whole
	WhenIdle Tries = "when idle" // it costs a tenth, for answers in half the time
	Never    Tries = "never"     // for nothing, unless its author wants it
)

// ErrMissing is wrapped when a runtime is known and not installed; the text says what to install.
var ErrMissing = errors.New("the runtime is not installed")

// ErrUnknown is wrapped for a name that stands for no runtime.
var ErrUnknown = errors.New("unknown runtime")

// Finder looks at one host. The zero value looks at this one; tests set the fields.
type Finder struct {
	Look  func(program string) (string, error)                 // exec.LookPath
	Run   func(program string, args ...string) (string, error) // its output
	Exist func(path string) bool

	// Compiled is a directory of our own for bootstraps that are compiled on this host, once for each version of
	// theirs and of the compiler. Empty means one in the user's cache directory.
	Compiled string
	// Passwd lists whose homes must not be shown; empty means /etc/passwd.
	Passwd string
	// Dotnet is a directory with a .NET installation that is looked at before the usual places. It may be empty.
	Dotnet string
}

var named = regexp.MustCompile(`^(python|nodejs|java|dotnetcore|dotnet|go|provided|ruby|wasm)([0-9.]*)(?:\.(x|al2|al2023))?$`)

// Find resolves a runtime as project files write it. The warning says when something else than asked for is used; the
// function may behave differently then, but a retired name should not keep it from running.
func (f Finder) Find(name string) (r Runtime, warning string, err error) {
	f = f.orHost()
	m := named.FindStringSubmatch(strings.TrimSpace(name))
	if m == nil {
		return Runtime{}, "", fmt.Errorf("%w %.60q: known are python3.x, nodejsNN.x, javaNN, dotnetNN, provided.al2023, wasm", ErrUnknown, name)
	}
	switch family, version := m[1], m[2]; family {
	case "python":
		r, err = f.python()
		warning = differs(name, r, version, strings.TrimPrefix(r.Name, "python"))
	case "nodejs":
		r, err = f.node()
		warning = differs(name, r, strings.TrimSuffix(version, "."), strings.TrimSuffix(strings.TrimPrefix(r.Name, "nodejs"), ".x"))
	case "java":
		r, err = f.java(version)
		warning = differs(name, r, version, strings.TrimPrefix(r.Name, "java"))
	case "dotnet", "dotnetcore":
		r, err = f.dotnet(version)
		warning = differs(name, r, name, r.Name)
	case "wasm":
		r = Runtime{Name: Wasm, Version: "1"}
	case "provided":
		r = f.custom()
		if name != r.Name && err == nil {
			warning = fmt.Sprintf("%s is run as %s", name, r.Name)
		}
	case "go":
		r = f.custom()
		warning = name + " is retired: the program named by the handler is run as a custom runtime; it must be built with aws-lambda-go 1.18 or newer"
	default:
		err = fmt.Errorf("%w %q: functions in this language can't be run yet", ErrUnknown, name)
	}
	if err != nil {
		return Runtime{}, "", err
	}
	if r.Name != Wasm {
		paths, env := f.locale()
		r.Paths, r.Env = append(r.Paths, paths...), append(r.Env, env...)
	}
	return r, warning, nil
}

func differs(name string, r Runtime, asked, have string) string {
	if asked == have || r.Name == "" {
		return ""
	}
	return fmt.Sprintf("%s is run by %s, which is installed here", name, r.Name)
}

// system is what every program of the host may need: tools, libraries, and the modules of interpreters that come with the
// system. It is the same for all runtimes, so that they can share it. Not in it are what servers and compilers are made of,
// documentation, and /usr/local: no function needs to know what else is on this machine.
func (f Finder) system() (paths [][2]string) {
	all := []string{"/usr/bin", "/usr/lib64", "/usr/libexec/coreutils", "/etc/alternatives"}
	// https://wiki.debian.org/Multiarch: here libraries have a directory of their own; elsewhere they are /usr/lib64.
	if libraries := multiarch[runtime.GOARCH]; libraries != "" && f.Exist(libraries) {
		all = append(all, libraries)
		for _, name := range []string{"locale", "nodejs", "node_modules", "python3", "ssl", "terminfo"} {
			all = append(all, "/usr/lib/"+name)
		}
		for minor := 8; minor < 40; minor++ {
			all = append(all, fmt.Sprintf("/usr/lib/python3.%d", minor))
		}
	} else {
		all = append(all, "/usr/lib")
	}
	for _, name := range []string{"ca-certificates", "misc", "nodejs", "perl", "perl5", "python3", "terminfo", "zoneinfo"} {
		all = append(all, "/usr/share/"+name)
	}
	for _, p := range all {
		if f.Exist(p) {
			paths = append(paths, [2]string{p, p})
		}
	}
	// Where /lib is no link into /usr.
	for _, p := range []string{"/bin", "/lib", "/lib64"} {
		if info, err := os.Lstat(p); err == nil && info.IsDir() {
			paths = append(paths, [2]string{p, p})
		}
	}
	return append(paths, f.shell(paths)...)
}

// shell shows bash as /bin/sh, which it is on Amazon Linux: bootstraps written for there have its options and commands.
func (f Finder) shell(paths [][2]string) [][2]string {
	for _, dir := range []string{"/bin", "/usr/bin"} {
		sh, bash := dir+"/sh", dir+"/bash"
		if !shown(paths, sh) || !f.Exist(sh) || !f.Exist(bash) {
			continue
		}
		is, err := filepath.EvalSymlinks(sh)
		if err != nil {
			continue
		}
		if want, err := filepath.EvalSymlinks(bash); err == nil && is != want {
			return [][2]string{{want, sh}}
		}
	}
	return nil
}

// sh is the shell that our own scripts are started with: the small one, if there is one.
func (f Finder) sh() string {
	if f.Exist("/usr/bin/dash") {
		return "/usr/bin/dash"
	}
	return "/bin/sh"
}

// linked makes a directory of links, which Lambda has at /var/lang/bin: the runtime's program under its usual names,
// wherever it is on this host.
func (f Finder) linked(program string, names ...string) ([][2]string, error) {
	cache, err := f.cache()
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q", program, names))
	dir := filepath.Join(cache, "bin-"+hex.EncodeToString(sum[:12]))
	bound := [][2]string{{dir, Lang + "/bin"}}
	if _, err := os.Stat(dir); err == nil {
		return bound, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return nil, err
	}
	work, err := os.MkdirTemp(cache, ".link-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(work)
	for _, name := range names {
		if err := os.Symlink(program, filepath.Join(work, name)); err != nil {
			return nil, err
		}
	}
	if err := os.Chmod(work, 0o755); err != nil {
		return nil, err
	}
	if err := os.Rename(work, dir); err != nil {
		if _, there := os.Stat(dir); there != nil {
			return nil, err
		}
	}
	return bound, nil
}

var multiarch = map[string]string{"amd64": "/usr/lib/x86_64-linux-gnu", "arm64": "/usr/lib/aarch64-linux-gnu"}

func (f Finder) custom() Runtime {
	return Runtime{Name: "provided.al2023", Paths: f.system(), Version: "1", Tries: Never}
}

var pythonVersion = regexp.MustCompile(`^Python (3\.[0-9]+)\.[0-9]+`)

func (f Finder) python() (Runtime, error) {
	var crowded error
	for _, candidate := range []string{"/usr/bin/python3", "python3"} {
		program, err := f.Look(candidate)
		if err != nil {
			continue
		}
		out, err := f.Run(program, "-I", "-c",
			"import sys, os; print('Python ' + sys.version.split()[0]); print(os.path.realpath(sys.executable)); print(sys.base_prefix)")
		if err != nil {
			continue
		}
		lines := strings.Split(strings.TrimSpace(out), "\n")
		m := pythonVersion.FindStringSubmatch(lines[0])
		if m == nil || len(lines) != 3 {
			continue
		}
		if minor, _ := strconv.Atoi(strings.TrimPrefix(m[1], "3.")); minor < 8 {
			continue
		}
		executable, prefix := lines[1], lines[2]
		paths, err := f.with(prefix)
		if err != nil {
			crowded = err
			continue
		}
		links, err := f.linked(executable, "python", "python3", "python"+m[1])
		if err != nil {
			return Runtime{}, err
		}
		return Runtime{
			Name:    "python" + m[1],
			Command: []string{executable, Dir + "/python/bootstrap.py"},
			Paths:   append(paths, links...),
			// No byte code can be written beside a read-only module.
			Env:     []string{"PYTHONDONTWRITEBYTECODE=1", "PYTHONPATH=/var/runtime"},
			Version: stamp(lines[0], executable),
			Copies:  true,
			Entries: true,
			Tries:   WhenIdle,
		}, nil
	}
	if crowded != nil {
		return Runtime{}, crowded
	}
	return Runtime{}, fmt.Errorf("%w: Python 3.8 or newer (apt-get install python3)", ErrMissing)
}

var nodeVersion = regexp.MustCompile(`^v([0-9]+)\.[0-9]+\.[0-9]+`)

func (f Finder) node() (Runtime, error) {
	var crowded error
	for _, candidate := range []string{"node", "nodejs", "/usr/local/bin/node"} {
		program, err := f.Look(candidate)
		if err != nil {
			continue
		}
		// Only with this engine of OpenSSL, which needs the CPU's help, do copies not draw the same random numbers.
		out, err := f.Run(program, "-e", `console.log(process.version + '\n' + process.execPath)
			const crypto = require('crypto'); crypto.setEngine('rdrand', crypto.constants.ENGINE_METHOD_RAND); console.log('rdrand')`)
		copies := err == nil
		if out == "" {
			continue
		}
		lines := strings.Split(strings.TrimSpace(out), "\n")
		m := nodeVersion.FindStringSubmatch(lines[0])
		if m == nil || len(lines) < 2 {
			continue
		}
		if major, _ := strconv.Atoi(m[1]); major < 16 {
			continue
		}
		executable := lines[1]
		paths, err := f.with(filepath.Dir(filepath.Dir(executable)))
		if err != nil {
			crowded = err
			continue
		}
		// A function has about one CPU or less. V8's helper threads would only be more to copy and to wake.
		command := []string{executable, "--single-threaded-gc", "--no-memory-reducer", "--v8-pool-size=1", Dir + "/nodejs/bootstrap.mjs"}
		if copies {
			command = slices.Insert(command, 1, "--openssl-config="+Dir+"/nodejs/openssl.cnf")
		}
		links, err := f.linked(executable, "node")
		if err != nil {
			return Runtime{}, err
		}
		return Runtime{
			Name:    "nodejs" + m[1] + ".x",
			Command: command,
			Paths:   append(paths, links...),
			Env:     []string{"NODE_PATH=/opt/nodejs/node" + m[1] + "/node_modules:/opt/nodejs/node_modules:/var/runtime/node_modules:/var/task"},
			Version: stamp(lines[0], executable),
			Copies:  copies,
			Entries: true,
			Tries:   Always,
		}, nil
	}
	if crowded != nil {
		return Runtime{}, crowded
	}
	return Runtime{}, fmt.Errorf("%w: Node.js 16 or newer (apt-get install nodejs)", ErrMissing)
}

// with adds an installation that is not the system's own. Of a shared prefix only what programs need is shown. One that
// is somebody's home, or holds homes, is refused: functions would see all that is in there.
func (f Finder) with(prefix string) ([][2]string, error) {
	paths := f.system()
	switch prefix {
	case "/usr", "/":
	case "/usr/local":
		for _, p := range []string{"/usr/local/bin", "/usr/local/lib"} {
			if f.Exist(p) {
				paths = append(paths, [2]string{p, p})
			}
		}
	default:
		if shown(paths, prefix) {
			break
		}
		if f.crowded(prefix) {
			return nil, fmt.Errorf("%w: the one in %s lies among other things, which functions would see; install it in a directory of its own", ErrMissing, prefix)
		}
		paths = append(paths, [2]string{prefix, prefix})
	}
	return paths, nil
}

// crowded says whether a directory is no installation of one program: a home, or something above one.
func (f Finder) crowded(dir string) bool {
	homes := []string{"/home", "/root", "/opt", "/srv", "/var", "/var/lib", "/tmp", "/etc", "/mnt", "/run"}
	if home := os.Getenv("HOME"); home != "" {
		homes = append(homes, home)
	}
	passwd := f.Passwd
	if passwd == "" {
		passwd = "/etc/passwd"
	}
	b, _ := os.ReadFile(passwd)
	for line := range strings.Lines(string(b)) {
		if fields := strings.Split(line, ":"); len(fields) > 5 { // passwd(5)
			homes = append(homes, fields[5])
		}
	}
	for _, home := range homes {
		if home = filepath.Clean(home); dir == home || strings.HasPrefix(home, strings.TrimSuffix(dir, "/")+"/") {
			return true
		}
	}
	return false
}

// shown says whether path is in one of paths already.
func shown(paths [][2]string, path string) bool {
	for _, p := range paths {
		if path == p[1] || strings.HasPrefix(path, p[1]+"/") {
			return true
		}
	}
	return false
}

// stamp identifies an installed program well enough to notice an update.
func stamp(version, program string) string {
	info, err := os.Stat(program)
	if err != nil {
		return version
	}
	return fmt.Sprintf("%s %d %d", version, info.Size(), info.ModTime().UnixNano())
}

func (f Finder) orHost() Finder {
	if f.Look == nil {
		f.Look = exec.LookPath
	}
	if f.Run == nil {
		f.Run = func(program string, args ...string) (string, error) {
			cmd := exec.Command(program, args...)
			cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent"}
			out, err := cmd.Output()
			return string(out), err
		}
	}
	if f.Exist == nil {
		f.Exist = func(p string) bool { _, err := os.Stat(p); return err == nil }
	}
	return f
}
