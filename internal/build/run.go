package build

import (
	"archive/zip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
)

// A Builder makes packages.
type Builder struct {
	Project string // the project's folder
	Out     string // the folder to make: a built copy of the project
	// Resolve returns the version of a language that will run a runtime of a project file. For example, it is
	// "python3.11" for python3.9 if only that version is installed. The packages are made for that version.
	// nil means that each runtime runs as written.
	Resolve func(runtime string) string
	Log     io.Writer // what the tools print
}

// A ToolError means that a tool is missing or failed.
type ToolError struct {
	Step Step
	Text string
}

func (e *ToolError) Error() string { return e.Step.Folder + ": " + e.Text }

// skipped lists names that are not copied: they belong to other tools, are made again by the tools here, or
// are huge.
var skipped = []string{".git", ".she", ".serverless", ".aws-sam", "node_modules", "__pycache__", "target", ".gradle", "obj"}

// marker is a file in each folder that a Builder made. Only such a folder may be replaced.
const marker = ".she-build"

// Run copies the project and runs the steps. It replaces the former result only at the end, so a failed build
// leaves it unchanged.
func (b *Builder) Run(ctx context.Context, steps []Step) (err error) {
	if b.Project, err = filepath.Abs(b.Project); err != nil { // tools run in other folders
		return err
	}
	if b.Out, err = filepath.Abs(b.Out); err != nil {
		return err
	}
	if err := b.mayReplace(); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(b.Out), 0o755); err != nil {
		return err
	}
	fresh, err := os.MkdirTemp(filepath.Dir(b.Out), filepath.Base(b.Out)+".new-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(fresh)
	if err := errors.Join(os.Chmod(fresh, 0o755), b.copyProject(fresh, steps)); err != nil {
		return fmt.Errorf("copy the project: %w", err)
	}
	for _, s := range steps {
		fmt.Fprintln(b.Log, s)
		if err := b.take(ctx, fresh, s); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(fresh, marker), nil, 0o644); err != nil {
		return err
	}
	if err := os.RemoveAll(b.Out); err != nil {
		return err
	}
	return os.Rename(fresh, b.Out)
}

// mayReplace refuses to remove a folder that no Builder made.
func (b *Builder) mayReplace() error {
	entries, err := os.ReadDir(b.Out)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(b.Out, marker)); err != nil {
		return fmt.Errorf("%s has files that she build did not make: name another folder with --out, or remove it", b.Out)
	}
	return nil
}

// copyProject copies what no tool makes. It includes a folder of packages if no step installs them again.
func (b *Builder) copyProject(to string, steps []Step) error {
	installs := func(kind Kind, folder string) bool {
		return slices.ContainsFunc(steps, func(s Step) bool { return s.Kind == kind && s.Folder == folder })
	}
	return filepath.WalkDir(b.Project, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		inside, err := filepath.Rel(b.Project, name)
		if err != nil {
			return err
		}
		target := filepath.Join(to, inside)
		switch {
		case entry.IsDir() && inside != "." && (name == b.Out || strings.HasPrefix(name, b.Out+".new-")):
			return fs.SkipDir
		case entry.IsDir() && slices.Contains(skipped, entry.Name()):
			parent := filepath.ToSlash(filepath.Dir(inside))
			keep := map[string]bool{
				"node_modules": !installs(Npm, parent), "target": !installs(Maven, parent) && !installs(Cargo, parent), "obj": !installs(Dotnet, parent),
			}
			if !keep[entry.Name()] {
				return fs.SkipDir
			}
			return os.MkdirAll(target, 0o755)
		case entry.IsDir():
			return os.MkdirAll(target, 0o755)
		case entry.Type()&fs.ModeSymlink != 0:
			link, err := os.Readlink(name)
			if err != nil {
				return err
			}
			return os.Symlink(link, target)
		case !entry.Type().IsRegular():
			return nil
		}
		return copyFile(name, target)
	})
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644|info.Mode().Perm()&0o111)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

func (b *Builder) take(ctx context.Context, root string, s Step) error {
	dir := filepath.Join(root, filepath.FromSlash(s.Folder))
	switch s.Kind {
	case Pip:
		return b.pip(ctx, dir, s)
	case Npm:
		return b.npm(ctx, dir, s)
	case Go:
		return b.golang(ctx, dir, s)
	case Cargo:
		return b.cargo(ctx, dir, s)
	case Maven, Gradle:
		return b.java(ctx, dir, s)
	case Dotnet:
		return b.dotnet(ctx, dir, s)
	}
	return fmt.Errorf("no tool %q", s.Kind)
}

// tool finds a program, or returns an error that says what to install.
func (b *Builder) tool(s Step, names ...string) (string, error) {
	for _, name := range names {
		if at, err := exec.LookPath(name); err == nil {
			return at, nil
		}
	}
	return "", &ToolError{s, fmt.Sprintf("%s is needed and is not installed here: %s", names[0], install[s.Kind])}
}

// run runs a tool in a folder. The tool's output goes to the log; its last lines go into the error.
func (b *Builder) run(ctx context.Context, s Step, dir string, env []string, program string, args ...string) error {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	last := &tail{most: 2000}
	cmd.Stdout, cmd.Stderr = io.MultiWriter(b.Log, last), io.MultiWriter(b.Log, last)
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return &ToolError{s, fmt.Sprintf("%s %s: %v\n%s", filepath.Base(program), args[0], err, strings.TrimSpace(last.String()))}
	}
	return nil
}

// tail keeps the end of what is written to it.
type tail struct {
	text []byte
	most int
}

func (t *tail) Write(p []byte) (int, error) {
	t.text = append(t.text, p...)
	t.text = t.text[max(0, len(t.text)-t.most):]
	return len(p), nil
}

func (t *tail) String() string { return string(t.text) }

var pythonVersion = regexp.MustCompile(`^python(3\.\d+)$`)

// pip installs packages for this machine and for the version that will run them. If that is not the
// interpreter's own version, it can install only packages that need no compiling.
func (b *Builder) pip(ctx context.Context, dir string, s Step) error {
	resolved := s.Runtime
	if b.Resolve != nil {
		resolved = b.Resolve(s.Runtime)
	}
	m := pythonVersion.FindStringSubmatch(resolved)
	if m == nil {
		return &ToolError{s, fmt.Sprintf("runtime %s: want one such as python3.12", s.Runtime)}
	}
	python, err := b.tool(s, "python"+m[1], "python3")
	if err != nil {
		return err
	}
	args := []string{
		"-m", "pip", "install", "--requirement", "requirements.txt", "--target", s.Into, "--upgrade", "--no-compile", "--no-input",
		"--disable-pip-version-check", "--no-warn-script-location", "--quiet",
	}
	own, err := exec.CommandContext(ctx, python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])").Output()
	if err != nil {
		return &ToolError{s, fmt.Sprintf("%s does not run: %v", python, err)}
	}
	if strings.TrimSpace(string(own)) != m[1] {
		machine := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]
		args = append(args, "--python-version", m[1], "--implementation", "cp", "--only-binary=:all:",
			"--platform", "manylinux2014_"+machine, "--platform", "manylinux_2_17_"+machine, "--platform", "manylinux_2_28_"+machine)
	}
	if err := exec.CommandContext(ctx, python, "-m", "pip", "--version").Run(); err != nil {
		return &ToolError{s, "pip is needed and is not installed here: " + install[Pip]}
	}
	if err := b.run(ctx, s, dir, []string{"PYTHONDONTWRITEBYTECODE=1", "PIP_ROOT_USER_ACTION=ignore"}, python, args...); err != nil {
		return err
	}
	return forgetOrigin(filepath.Join(dir, filepath.FromSlash(s.Into)))
}

// forgetOrigin removes the path of each package's archive on this machine, because it differs between builds.
func forgetOrigin(dir string) error {
	notes, err := filepath.Glob(filepath.Join(dir, "*.dist-info", "direct_url.json"))
	if err != nil {
		return err
	}
	for _, note := range notes {
		text, err := os.ReadFile(note)
		if err != nil {
			return err
		}
		var origin struct{ URL string }
		if json.Unmarshal(text, &origin) != nil || !strings.HasPrefix(origin.URL, "file:") {
			continue
		}
		record := filepath.Join(filepath.Dir(note), "RECORD")
		list, err := os.ReadFile(record)
		if err != nil {
			return err
		}
		kept := slices.DeleteFunc(strings.SplitAfter(string(list), "\n"), func(line string) bool { return strings.Contains(line, "/direct_url.json,") })
		if err := errors.Join(os.Remove(note), os.WriteFile(record, []byte(strings.Join(kept, "")), 0o644)); err != nil {
			return err
		}
	}
	return nil
}

// npm installs what the lock file lists and runs the build script. Then it removes the packages needed only
// for development.
func (b *Builder) npm(ctx context.Context, dir string, s Step) error {
	npm, err := b.tool(s, "npm")
	if err != nil {
		return err
	}
	verb := "install"
	if s.Lock {
		verb = "ci"
	}
	quiet := []string{"--no-audit", "--no-fund", "--no-update-notifier"}
	if !s.Script {
		return b.run(ctx, s, dir, nil, npm, append([]string{verb, "--omit=dev"}, quiet...)...)
	}
	if err := b.run(ctx, s, dir, nil, npm, append([]string{verb}, quiet...)...); err != nil {
		return err
	}
	if err := b.run(ctx, s, dir, nil, npm, append([]string{"run", "build"}, quiet[2:]...)...); err != nil {
		return err
	}
	return b.run(ctx, s, dir, nil, npm, append([]string{"prune", "--omit=dev"}, quiet...)...)
}

// golang builds the program in the folder, statically linked and reproducible.
func (b *Builder) golang(ctx context.Context, dir string, s Step) error {
	tool, err := b.tool(s, "go")
	if err != nil {
		return err
	}
	into, err := b.outside(dir, s)
	if err != nil {
		return err
	}
	env := []string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=" + runtime.GOARCH, "GOFLAGS=-mod=mod", "GOWORK=off"}
	if _, err := os.Stat(filepath.Join(dir, "vendor")); err == nil {
		env[3] = "GOFLAGS=-mod=vendor"
	}
	err = b.run(ctx, s, dir, env, tool, "build", "-trimpath", "-buildvcs=false", "-tags", "lambda.norpc", "-ldflags", "-s -w -buildid=", "-o", into, ".")
	if err != nil {
		return err
	}
	return b.only(dir, s, into)
}

// outside returns a new file beside the folder, because the output must not be among the sources yet.
func (b *Builder) outside(dir string, s Step) (string, error) {
	f, err := os.CreateTemp(b.parent(dir), ".built-")
	if err != nil {
		return "", err
	}
	return f.Name(), errors.Join(f.Close(), os.Remove(f.Name()))
}

func (b *Builder) parent(dir string) string { return filepath.Dir(filepath.Clean(dir)) }

// only puts the built file into the folder. If the whole folder is the package, the file replaces the
// sources.
func (b *Builder) only(dir string, s Step, built string) error {
	if !s.Keep {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	to := filepath.Join(dir, filepath.FromSlash(path.Clean("/"+s.Into)))
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	if err := os.Chmod(built, 0o755); err != nil {
		return err
	}
	return os.Rename(built, to)
}

func (b *Builder) cargo(ctx context.Context, dir string, s Step) error {
	tool, err := b.tool(s, "cargo")
	if err != nil {
		return err
	}
	env := []string{"CARGO_TARGET_DIR=" + filepath.Join(dir, "target"), "RUSTFLAGS=--remap-path-prefix=" + dir + "=."}
	if err := b.run(ctx, s, dir, env, tool, "build", "--release", "--quiet"); err != nil {
		return err
	}
	name, err := b.cargoProgram(ctx, dir, s, tool)
	if err != nil {
		return err
	}
	into, err := b.outside(dir, s)
	if err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(dir, "target", "release", name), into); err != nil {
		return &ToolError{s, "cargo built no program " + name}
	}
	if err := os.RemoveAll(filepath.Join(dir, "target")); err != nil {
		return err
	}
	return b.only(dir, s, into)
}

// cargoProgram returns the only program that Cargo.toml describes, or the one called bootstrap.
func (b *Builder) cargoProgram(ctx context.Context, dir string, s Step, tool string) (string, error) {
	cmd := exec.CommandContext(ctx, tool, "metadata", "--no-deps", "--format-version", "1", "--offline")
	cmd.Dir = dir
	text, err := cmd.Output()
	if err != nil {
		return "", &ToolError{s, fmt.Sprintf("cargo metadata: %v", err)}
	}
	var described struct {
		Packages []struct {
			Targets []struct {
				Name string
				Kind []string
			}
		}
	}
	if err := json.Unmarshal(text, &described); err != nil {
		return "", &ToolError{s, fmt.Sprintf("cargo metadata: %v", err)}
	}
	var programs []string
	for _, p := range described.Packages {
		for _, t := range p.Targets {
			if slices.Contains(t.Kind, "bin") {
				programs = append(programs, t.Name)
			}
		}
	}
	switch {
	case slices.Contains(programs, "bootstrap"):
		return "bootstrap", nil
	case len(programs) == 1:
		return programs[0], nil
	}
	return "", &ToolError{s, fmt.Sprintf("Cargo.toml has %d programs: name one of them bootstrap", len(programs))}
}

// java builds with the project's own wrapper, or with the machine's tool. If the folder is the package, the
// unpacked jar replaces it.
func (b *Builder) java(ctx context.Context, dir string, s Step) error {
	wrapper, verb, made := "mvnw", []string{"--batch-mode", "--quiet", "-DskipTests", "-Dproject.build.outputTimestamp=1980-01-01T00:00:02Z", "package"}, "target"
	if s.Kind == Gradle {
		wrapper, verb, made = "gradlew", []string{"--no-daemon", "--quiet", "assemble"}, "build/libs"
	}
	tool := filepath.Join(dir, wrapper)
	if info, err := os.Stat(tool); err != nil || info.Mode()&0o111 == 0 {
		if tool, err = b.tool(s, string(s.Kind)); err != nil {
			return err
		}
	}
	if err := b.run(ctx, s, dir, nil, tool, verb...); err != nil {
		return err
	}
	if s.Keep {
		return nil
	}
	jars, err := filepath.Glob(filepath.Join(dir, filepath.FromSlash(made), "*.jar"))
	if err != nil {
		return err
	}
	jars = slices.DeleteFunc(jars, func(name string) bool {
		base := filepath.Base(name)
		return strings.HasPrefix(base, "original-") || strings.HasSuffix(base, "-sources.jar") || strings.HasSuffix(base, "-javadoc.jar") || strings.HasSuffix(base, "-plain.jar")
	})
	if len(jars) == 0 {
		return &ToolError{s, "there is no jar in " + made}
	}
	// A fat jar is the largest; the jar without the libraries is beside it.
	largest := slices.MaxFunc(jars, func(a, b string) int { return int(sizeOf(a) - sizeOf(b)) })
	unpacked, err := os.MkdirTemp(b.parent(dir), ".built-")
	if err != nil {
		return err
	}
	if err := errors.Join(unzip(largest, unpacked), os.RemoveAll(dir), os.Chmod(unpacked, 0o755)); err != nil {
		return err
	}
	return os.Rename(unpacked, dir)
}

func sizeOf(name string) int64 {
	info, err := os.Stat(name)
	if err != nil {
		return 0
	}
	return info.Size()
}

// unzip unpacks a jar that the author's own tool has just made.
func unzip(name, to string) error {
	z, err := zip.OpenReader(name)
	if err != nil {
		return err
	}
	defer z.Close()
	return os.CopyFS(to, z)
}

func (b *Builder) dotnet(ctx context.Context, dir string, s Step) error {
	tool, err := b.tool(s, "dotnet")
	if err != nil {
		return err
	}
	into, err := os.MkdirTemp(b.parent(dir), ".built-")
	if err != nil {
		return err
	}
	err = b.run(ctx, s, dir, []string{"DOTNET_CLI_TELEMETRY_OPTOUT=1", "DOTNET_NOLOGO=1"}, tool, "publish", "--configuration", "Release",
		"--self-contained", "false", "-p:ContinuousIntegrationBuild=true", "-p:Deterministic=true", "--output", into)
	if err != nil {
		return errors.Join(err, os.RemoveAll(into))
	}
	if s.Keep { // with sources, the project file must stay
		return errors.Join(os.RemoveAll(filepath.Join(dir, "bin")), os.RemoveAll(filepath.Join(dir, "obj")), os.CopyFS(dir, os.DirFS(into)), os.RemoveAll(into))
	}
	if err := errors.Join(os.RemoveAll(dir), os.Chmod(into, 0o755)); err != nil {
		return err
	}
	return os.Rename(into, dir)
}
