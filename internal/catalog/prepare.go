package catalog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"she/internal/hat"
	"she/internal/project"
)

// Wanted says which function of a project to try, before anything of it is registered.
type Wanted struct {
	// Path is a project. With Handler it is a directory, an archive or a single file without a project file.
	Path     string
	Stage    string
	Function string // its key in the project file, or the end of the key; "": the only function
	Env      map[string]string
	Params   map[string]string // see Registered

	Handler, Runtime string // for a Path without a project file
}

// Prepare reads a project, finds the wanted function and stores its packages, like Publish. Unlike a
// registered function, it may have only the process entry; the names of the others are then empty. Its ID is
// the key in the project file, or zero if the key is not an id. An error is a *project.Choice or a
// *hat.Fault.
func (c *Catalog) Prepare(ctx context.Context, w Wanted) (Function, error) {
	f := Function{Registered: Registered{Package: w.Path, Stage: w.Stage}}
	ctx, cancel := context.WithTimeout(ctx, c.Patience)
	defer cancel()
	err := c.prepare(ctx, &f, w)
	var choice *project.Choice
	if err != nil && !errors.As(err, &choice) {
		err = faultOf(err)
	}
	return f, err
}

func (c *Catalog) prepare(ctx context.Context, f *Function, w Wanted) error {
	src, p, err := openWanted(f, w)
	if err != nil {
		return err
	}
	defer src.Close()
	f.Warnings = p.Warnings
	pack := packer{c: c, src: src, warnings: &f.Warnings, done: make(map[string]*made)}
	defer pack.close()
	into := []*Entry{&f.Configuration, &f.Bundle, &f.Process}
	if len(p.Entries()) == 1 { // without a project file
		into = into[2:]
	}
	for i, e := range p.Entries() {
		if e.Name == "" {
			continue
		}
		if w.Handler != "" && w.Runtime == "" && c.Supports != nil { // a guess: any installed version
			if resolved, _, err := c.Supports(e.Runtime); err == nil {
				e.Runtime = resolved
			}
		}
		if err := c.askRuntime(&f.Warnings, e); err != nil {
			return err
		}
		if *into[i], err = pack.entry(ctx, e); err != nil {
			return toBuild(src, e, err)
		}
	}
	f.Package = f.Process.Package
	return nil
}

// openWanted reads the project, or makes one for a path without a project file.
func openWanted(f *Function, w Wanted) (src source, p *project.Project, err error) {
	if w.Handler != "" {
		return openBare(f, w)
	}
	info, err := os.Stat(w.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nothingAt(w.Path)
	}
	if err == nil && info.Mode().IsRegular() && !project.IsArchive(w.Path) {
		return nil, nil, hat.NewFault(hat.Author, CodeProject,
			fmt.Sprintf("%.200q is no project: name its handler with --handler, such as --handler handler.main", filepath.Base(w.Path)))
	}
	found, err := openProject(w.Path, false)
	if err != nil {
		return nil, nil, openFault(err)
	}
	if p, f.ID, err = project.Find(found, project.Options{
		Stage:   w.Stage,
		Env:     w.Env,
		Params:  w.Params,
		Archive: found.archive,
	}, w.Function); err != nil {
		return nil, nil, errors.Join(err, found.Close())
	}
	return found, p, nil
}

// openBare makes a project for a path without a project file.
func openBare(f *Function, w Wanted) (source, *project.Project, error) {
	path, err := filepath.Abs(w.Path)
	if err != nil {
		return nil, nil, err
	}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nothingAt(w.Path)
	}
	if err != nil {
		return nil, nil, openFault(err)
	}
	runtime := w.Runtime
	if runtime == "" {
		if runtime = runtimeOf(path, info, w.Handler); runtime == "" {
			return nil, nil, hat.NewFault(hat.Author, CodeProject, "what runs it can't be told from its name: give --runtime, such as python3.13, nodejs22.x or provided.al2023")
		}
	}
	file := filepath.Base(path)
	r := Registered{Package: path, Bare: project.Bare{Runtime: runtime, Handler: w.Handler, Env: w.Env}}
	p, src, err := r.read(project.Options{Key: strings.TrimSuffix(file, filepath.Ext(file))})
	if err != nil {
		return nil, nil, err
	}
	if id, err := hat.ParseFunctionID(p.Process.Name); err == nil {
		f.ID = id
	}
	return src, p, nil
}

func nothingAt(path string) error {
	return hat.NewFault(hat.Operator, CodeMissing, fmt.Sprintf("there is nothing at %.200q", path))
}

// runtimeOf guesses the runtime of a path from the files there; "" if they don't say.
func runtimeOf(name string, info fs.FileInfo, handler string) string {
	has := func(file string) bool {
		_, err := os.Stat(filepath.Join(name, filepath.FromSlash(file)))
		return info.IsDir() && err == nil
	}
	dot := strings.LastIndexByte(handler, '.')
	stem := handler[:max(dot, 0)]
	switch ext := strings.ToLower(filepath.Ext(name)); {
	case ext == ".py" || has(strings.ReplaceAll(stem, ".", "/")+".py"):
		return "python3.13"
	case ext == ".js" || ext == ".mjs" || ext == ".cjs" || has(stem+".js") || has(stem+".mjs") || has(stem+".cjs"):
		return "nodejs22.x"
	case ext == ".jar":
		return "java21"
	case ext == ".wasm" || has(handler) && strings.HasSuffix(handler, ".wasm"):
		return "wasm"
	case has("bootstrap"):
		return "provided.al2023"
	}
	return ""
}

// toBuild adds to the error of a package without its handler which command would build it, as far as the
// project shows.
func toBuild(src source, e *project.Entry, err error) error {
	fault := faultOf(err)
	if fault.Code != CodeHandler {
		return err
	}
	hint := ""
	switch {
	case strings.HasPrefix(e.Runtime, "nodejs") && buildsWithNPM(src):
		hint = "npm run build"
	case strings.HasPrefix(e.Runtime, "nodejs") && src.Has("tsconfig.json"):
		hint = "npx tsc"
	case strings.HasPrefix(e.Runtime, "java") && src.Has("pom.xml"):
		hint = "mvn package"
	case strings.HasPrefix(e.Runtime, "java") && (src.Has("build.gradle") || src.Has("build.gradle.kts")):
		hint = "gradle build"
	case strings.HasPrefix(e.Runtime, "provided") && src.Has("Cargo.toml"):
		hint = "cargo lambda build --release, then copy bootstrap here"
	case (strings.HasPrefix(e.Runtime, "provided") || e.Runtime == "go1.x") && src.Has("go.mod"):
		name := "bootstrap"
		if e.Runtime == "go1.x" {
			name = path.Base(e.Handler)
		}
		hint = "CGO_ENABLED=0 GOOS=linux go build -o " + name + " ."
	case strings.HasPrefix(e.Runtime, "dotnet"):
		hint = "dotnet publish -c Release -o ."
	default:
		return err
	}
	return hat.NewFault(fault.Who, fault.Code, fault.Text+"; build it first: "+hint)
}

// buildsWithNPM reports whether package.json has a build script.
func buildsWithNPM(src source) bool {
	text, err := src.Read("package.json", 1<<20)
	return err == nil && strings.Contains(string(text), `"build"`)
}
