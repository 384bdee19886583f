// Package runtimes holds the bootstraps that run managed Lambda handlers, and finds on the host what they
// need: which interpreter to use for "python3.9", where it is installed, and what to install if it is
// missing.
//
// A custom runtime ("provided.al2023", with a program named bootstrap in the package) needs only the host's
// C library, and many such programs not even that.
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

// Dir is the directory of the bootstraps inside a sandbox: LAMBDA_RUNTIME_DIR.
const Dir = "/var/runtime"

// Install writes the bootstraps to dir, which must be mounted at Dir in every sandbox. Former content is
// removed.
func Install(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.CopyFS(dir, bootstraps); err != nil {
		return fmt.Errorf("install the runtimes' bootstraps: %w", err)
	}
	return readable(dir)
}

// Stamp returns a text that changes whenever a bootstrap does.
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

// Wasm is the runtime of functions compiled to WebAssembly. They need nothing from the host. The handler
// names the module in the package.
const Wasm = "wasm"

// A Runtime says how functions of one kind are run on this host.
type Runtime struct {
	Name    string      // the installed version: "python3.11", "nodejs20.x", "provided.al2023"
	Command []string    // its command inside a sandbox; that of a custom runtime is in its package
	Paths   [][2]string // what it needs, read-only: host path and path inside
	Env     []string    // variables beside Lambda's
	Version string      // changes whenever the installation does
	Copies  bool        // its bootstrap reseeds random generators, so instances may be restored from a snapshot
	Entries bool        // its bootstrap can load a second handler, for an event before that of its own one
	Tries   Tries       // whether a warm instance should have a warm-up first
}

// Tries says when a warm-up of each warm instance is worth its processor time.
type Tries string

// Measured in turns, two rounds with ten events each: the processor time of an instance, and the time to an
// answer, both with and without a warm-up. Restored instances have no pages mapped yet, and some runtimes
// compile again. A custom runtime has just started.
//
//	          processor     answer
//	Java      145, 181 ms   10, 67 ms
//	.NET      150, 202 ms   10, 51 ms
//	Node.js    81,  78 ms    9, 23 ms
//	Python     76,  69 ms    8, 14 ms
//	Go        108,  81 ms   11,  7 ms
const (
	Always   Tries = "always"    // it saves more processor time than it costs
	WhenIdle Tries = "when idle" // it costs a tenth more, for answers in half the time
	Never    Tries = "never"     // it gains nothing; only if the author wants it
)

// ErrMissing is wrapped if a runtime is known but not installed. The text says what to install.
var ErrMissing = errors.New("the runtime is not installed")

// ErrUnknown is wrapped for the name of an unknown runtime.
var ErrUnknown = errors.New("unknown runtime")

// A Finder looks for runtimes on one host. The zero value looks on this host; tests set the fields.
type Finder struct {
	Look  func(program string) (string, error)                 // exec.LookPath
	Run   func(program string, args ...string) (string, error) // returns its output
	Exist func(path string) bool

	// Compiled is a directory for bootstraps that are compiled on this host, once for each version of a
	// bootstrap and of the compiler. Empty means one in the user's cache directory.
	Compiled string
	// Passwd is the file that lists the homes that must not be shown; empty means /etc/passwd.
	Passwd string
	// Dotnet is a directory with a .NET installation that is searched before the usual ones. It may be
	// empty.
	Dotnet string
}

var named = regexp.MustCompile(`^(python|nodejs|java|dotnetcore|dotnet|go|provided|ruby|wasm)([0-9.]*)(?:\.(x|al2|al2023))?$`)

// Find returns the runtime with a name from a project file. warning says if another version is used than
// the one asked for. The function may then behave differently, but a retired name should not keep it from
// running.
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

// system returns the files that any program of the host may need: tools, libraries, and the modules of
// interpreters that come with the system. They are the same for all runtimes, so that runtimes can share
// them. Left out are the files of servers and compilers, documentation, and /usr/local: no function needs
// to know what else is installed.
func (f Finder) system() (paths [][2]string) {
	all := []string{"/usr/bin", "/usr/lib64", "/usr/libexec/coreutils", "/etc/alternatives"}
	// https://wiki.debian.org/Multiarch: Debian has a directory of libraries for each architecture; others
	// use /usr/lib64.
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
	// On hosts where /lib is not a link into /usr.
	for _, p := range []string{"/bin", "/lib", "/lib64"} {
		if info, err := os.Lstat(p); err == nil && info.IsDir() {
			paths = append(paths, [2]string{p, p})
		}
	}
	return append(paths, f.shell(paths)...)
}

// shell shows bash as /bin/sh, as Amazon Linux does, because bootstraps written for it use bash's options
// and commands.
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

// sh returns the shell for this package's scripts: a small one if there is one.
func (f Finder) sh() string {
	if f.Exist("/usr/bin/dash") {
		return "/usr/bin/dash"
	}
	return "/bin/sh"
}

// linked makes a directory of links, which Lambda has at /var/lang/bin: the runtime's program under its
// usual names.
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
			// Python can't write byte code beside a read-only module.
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
		// Restored instances draw different random numbers only with this engine of OpenSSL, which needs a
		// feature of the CPU.
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
		// A function has about one CPU or less. More helper threads of V8 would only be more to copy and to
		// wake.
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

// with adds an installation outside the system's own. Of a shared prefix it shows only what programs need.
// It refuses a prefix that is somebody's home or contains homes, because functions would see everything in
// it.
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

// crowded reports whether a directory is not the installation of one program: it is a home, or is above
// one.
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

// shown reports whether path is in one of paths.
func shown(paths [][2]string, path string) bool {
	for _, p := range paths {
		if path == p[1] || strings.HasPrefix(path, p[1]+"/") {
			return true
		}
	}
	return false
}

// stamp identifies an installed program well enough to notice an update of it.
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
