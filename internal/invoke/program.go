package invoke

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"she/internal/runtimeapi"
	"she/internal/runtimes"
	"she/internal/sandbox"
)

// program is what to run for a Request, or why it can't be.
func (v *Invoker) program(r Request) (p sandbox.Program, found runtimes.Runtime, err error) {
	c := r.Code
	switch {
	case c.MemoryMB < MinMemoryMB || c.MemoryMB > MaxMemoryMB:
		return p, found, sandbox.Failed(Author, sandbox.InvalidPackage, "memory must be %d to %d MB", MinMemoryMB, MaxMemoryMB)
	case c.Timeout <= 0 || c.Timeout > MaxTimeout:
		return p, found, sandbox.Failed(Author, sandbox.InvalidPackage, "the time limit must be at most %s", MaxTimeout)
	case len(r.Event) > sandbox.MaxEvent:
		return p, found, sandbox.Failed(Author, sandbox.RequestTooLarge, "the event has %d bytes, at most %d are allowed", len(r.Event), sandbox.MaxEvent)
	}
	f := v.lookUp(c.Runtime)
	if f.err != nil {
		blame := Author
		if errors.Is(f.err, runtimes.ErrMissing) {
			blame = Operator
		}
		return p, found, sandbox.Failed(blame, sandbox.InvalidRuntime, "%v", f.err)
	}
	p = sandbox.Program{
		Dir: c.Dir, Command: f.runtime.Command, Env: environment(c, f.runtime),
		Binds: []sandbox.Bind{{Source: v.runtimes, Target: runtimes.Dir}},
		Limits: sandbox.Limits{
			Memory: int64(c.MemoryMB) << 20, CPU: float64(c.MemoryMB) / fullCPU, Tmp: int64(or(c.TmpMB, DefaultTmpMB)) << 20,
			Processes: or(c.Processes, DefaultProcesses), Files: or(c.Files, DefaultFiles), Init: v.init,
		},
	}
	if f.runtime.Name == runtimes.Wasm {
		p.Command = []string{"/var/task/" + module(c)}
		return p, f.runtime, nil
	}
	if c.LayersDir != "" {
		p.Binds = append(p.Binds, sandbox.Bind{Source: c.LayersDir, Target: sandbox.Layers})
	}
	for _, path := range f.runtime.Paths {
		p.Binds = append(p.Binds, sandbox.Bind{Source: path[0], Target: path[1]})
	}
	if len(p.Command) == 0 {
		command, err := executable(c)
		if err != nil {
			return p, found, err
		}
		p.Command = []string{command}
	}
	return p, f.runtime, nil
}

// module names the WebAssembly module of a function: the file the handler names, with or without its extension, and
// else bootstrap.wasm, as bootstrap is the program of a custom runtime whatever its handler. Whether it is there, and in
// the package, is seen when it is opened.
func module(c Code) string {
	for _, name := range []string{c.Handler, c.Handler + ".wasm"} {
		if filepath.Ext(name) != ".wasm" || !filepath.IsLocal(name) {
			continue
		}
		if _, err := os.Stat(filepath.Join(c.Dir, name)); err == nil {
			return name
		}
	}
	return "bootstrap.wasm"
}

// executable is where the program of a custom runtime is seen, the package's own or else one of its layers. It checks that this machine can run it: the kernel of the
// sandbox would only say that it can't.
func executable(c Code) (string, error) {
	name := "bootstrap"
	if strings.HasPrefix(c.Runtime, "go") {
		name = c.Handler
	}
	if !filepath.IsLocal(name) {
		return "", sandbox.Failed(Author, sandbox.InvalidEntrypoint, "the handler names no file in the package")
	}
	file, seen := filepath.Join(c.Dir, name), "/var/task/"+name
	info, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) && c.LayersDir != "" && name == "bootstrap" {
		file, seen = filepath.Join(c.LayersDir, name), "/opt/bootstrap"
		info, err = os.Stat(file)
	}
	switch {
	case err != nil || info.IsDir():
		return "", sandbox.Failed(Author, sandbox.InvalidEntrypoint, "the package has no program %q at its root", name)
	case info.Mode()&0o111 == 0:
		return "", sandbox.Failed(Author, sandbox.InvalidEntrypoint, "%q is not executable: chmod +x it before packing", name)
	}
	machine, err := machineOf(file)
	if err != nil {
		return "", sandbox.Failed(Operator, sandbox.StartFailed, "the package's program can't be read")
	}
	if want := machines[runtime.GOARCH]; want != 0 && machine != elf.EM_NONE && machine != want {
		return "", sandbox.Failed(Author, sandbox.InvalidEntrypoint, "%q is built for %s, this machine is %s",
			name, strings.ToLower(strings.TrimPrefix(machine.String(), "EM_")), runtime.GOARCH)
	}
	return seen, nil
}

var machines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}

// machineOf reads what machine a program is for from the first bytes of its ELF header, and no further: the file is
// hostile, and debug/elf is not made for that. EM_NONE is a script, or something the sandbox will refuse.
func machineOf(file string) (elf.Machine, error) {
	f, err := os.Open(file)
	if err != nil {
		return elf.EM_NONE, err
	}
	defer f.Close()
	var head [20]byte
	if _, err := io.ReadFull(f, head[:]); err != nil || string(head[:4]) != elf.ELFMAG {
		return elf.EM_NONE, nil
	}
	order := binary.ByteOrder(binary.LittleEndian)
	if elf.Data(head[elf.EI_DATA]) == elf.ELFDATA2MSB {
		order = binary.BigEndian
	}
	return elf.Machine(order.Uint16(head[18:])), nil
}

// machineMemory is what the machine has, in bytes; the format is proc_meminfo(5).
func machineMemory() int64 {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	var kb int64
	if _, err := fmt.Sscanf(string(b), "MemTotal: %d kB", &kb); err != nil {
		return 0
	}
	return kb << 10
}

func or(n, otherwise int) int {
	if n > 0 {
		return n
	}
	return otherwise
}

// fullCPU is the memory in MB that goes with one CPU, as on Lambda.
const fullCPU = 1769

// region is where our functions say they are; clients insist on one.
const region = "eu-west-1"

// arn is the function's name in Amazon's form. There is no account.
func arn(name string) string {
	return fmt.Sprintf("arn:aws:lambda:%s:000000000000:function:%s", region, name)
}

// environment is what a function finds in its environment on Lambda, without credentials.
func environment(c Code, r runtimes.Runtime) []string {
	env := map[string]string{}
	for name, value := range c.Env {
		env[name] = value
	}
	if len(r.Command) == 0 {
		// A program in Go would have as many threads as the machine has processors for a share of one, and wake them
		// for each other: the limit is kept outside, where it can't see it.
		if _, ok := env["GOMAXPROCS"]; !ok {
			env["GOMAXPROCS"] = fmt.Sprint((c.MemoryMB + fullCPU - 1) / fullCPU)
		}
	}
	for _, pair := range r.Env {
		name, value, _ := strings.Cut(pair, "=")
		if _, ok := env[name]; !ok {
			env[name] = value
		}
	}
	for name, value := range map[string]string{
		"PATH": "/var/lang/bin:/usr/local/bin:/usr/bin:/bin:/opt/bin", "LANG": "C.UTF-8", "HOME": "/tmp", "TZ": ":UTC",
		"LD_LIBRARY_PATH": "/var/task:/var/task/lib:/opt/lib",
	} {
		if _, ok := env[name]; !ok {
			env[name] = value
		}
	}
	for name, value := range map[string]string{
		"AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001", "_HANDLER": c.Handler,
		"LAMBDA_TASK_ROOT": "/var/task", "LAMBDA_RUNTIME_DIR": runtimes.Dir,
		"AWS_LAMBDA_FUNCTION_NAME": c.Name, "AWS_LAMBDA_FUNCTION_VERSION": version(c),
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": fmt.Sprint(c.MemoryMB),
		"AWS_LAMBDA_LOG_GROUP_NAME":       "/aws/lambda/" + c.Name, "AWS_LAMBDA_LOG_STREAM_NAME": "she",
		"AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
		"AWS_REGION":                     region, "AWS_DEFAULT_REGION": region,
		"AWS_EXECUTION_ENV": "AWS_Lambda_" + r.Name,
	} {
		env[name] = value
	}
	if c.first != nil {
		env[runtimeapi.FirstHandler], env[runtimeapi.FirstName] = c.first.Handler, c.first.Name
	}
	if r.Name == runtimes.Wasm { // there are no files and no Runtime API
		for _, name := range []string{"AWS_LAMBDA_RUNTIME_API", "LAMBDA_TASK_ROOT", "LAMBDA_RUNTIME_DIR", "PATH", "HOME", "LD_LIBRARY_PATH"} {
			delete(env, name)
		}
	}
	list := make([]string, 0, len(env))
	for name, value := range env {
		list = append(list, name+"="+value)
	}
	return list
}

func version(c Code) string {
	if c.Version == "" {
		return "$LATEST"
	}
	return c.Version
}
