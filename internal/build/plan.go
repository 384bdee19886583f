// Package build makes the packages of a project with each language's own tools. It works on a copy of the
// project, so no output gets into the author's files, and the result is a folder that can be read like the
// project. It runs the project's own scripts with the caller's rights. So it is for authors on their own
// machine, never for a server.
package build

import (
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"

	"she/internal/project"
)

// A Step is the use of one tool in one folder of the project.
type Step struct {
	Kind   Kind
	Folder string // slash path, within the project
	// Into is the target of the packages or of the output, "." for the folder itself. For example, a Python
	// layer has its packages in python, and a Go program is called bootstrap.
	Into    string
	Runtime string // as the project writes it
	// Script is true if package.json has a build script. It runs before packages that only development needs
	// are removed.
	Script bool
	Lock   bool   // package-lock.json says what to install
	Keep   bool   // the folder keeps its sources, because the project file chooses among them
	For    string // the function that needs it
}

// Kind is a language's tool.
type Kind string

const (
	Pip    Kind = "pip"
	Npm    Kind = "npm"
	Go     Kind = "go"
	Maven  Kind = "mvn"
	Gradle Kind = "gradle"
	Dotnet Kind = "dotnet"
	Cargo  Kind = "cargo"
)

// install says how to get a missing tool.
var install = map[Kind]string{
	Pip:    "apt-get install python3-pip",
	Npm:    "apt-get install npm",
	Go:     "see https://go.dev/dl, or apt-get install golang",
	Maven:  "apt-get install maven",
	Gradle: "apt-get install gradle, or add the project's own gradlew",
	Dotnet: "install the .NET SDK, see https://dot.net",
	Cargo:  "apt-get install cargo",
}

// Files is the folder of a project.
type Files interface {
	project.Files
	// Match lists the names in a folder that match a pattern of path.Match.
	Match(folder, pattern string) []string
}

const maxList = 1 << 20 // bytes of a package.json

// Plan returns the tools that make the packages of functions, each tool once per folder. A function whose
// folder needs no tool has no step. An error names the file that Plan does not understand.
func Plan(src Files, entries []project.Entry) ([]Step, error) {
	var all []Step
	seen := make(map[string]bool)
	add := func(s Step) {
		if key := string(s.Kind) + " " + s.Folder + " " + s.Into; !seen[key] {
			seen[key] = true
			all = append(all, s)
		}
	}
	for i := range entries {
		e := &entries[i]
		s, ok, err := stepFor(src, e)
		if err != nil {
			return nil, err
		}
		if ok {
			add(s)
		}
		for _, layer := range e.Layers {
			if s, ok, err := stepForLayer(src, e, layer); err != nil {
				return nil, err
			} else if ok {
				add(s)
			}
		}
	}
	return all, nil
}

func stepFor(src Files, e *project.Entry) (s Step, ok bool, err error) {
	s = Step{Folder: e.Packing.Folder, Into: ".", Runtime: e.Runtime, For: e.Name, Keep: e.Packing.Folder == "." || e.Packing.Artifact != ""}
	if e.Packing.Artifact != "" { // what makes it is at the project's root or above the archive
		s.Folder = "."
		for dir := path.Dir(e.Packing.Artifact); dir != "."; dir = path.Dir(dir) {
			if slices.ContainsFunc([]string{"pom.xml", "build.gradle", "build.gradle.kts"}, func(name string) bool { return src.Has(path.Join(dir, name)) }) {
				s.Folder = dir
			}
		}
	}
	has := func(name string) bool { return src.Has(path.Join(s.Folder, name)) }
	switch family := e.Runtime; {
	case strings.HasPrefix(family, "python"):
		s.Kind, ok = Pip, has("requirements.txt") && e.Packing.Artifact == ""
	case strings.HasPrefix(family, "nodejs"):
		s.Kind, ok = Npm, has("package.json") && e.Packing.Artifact == ""
		if ok {
			s, err = npmStep(src, s)
		}
	case strings.HasPrefix(family, "java"):
		switch {
		case has("pom.xml"):
			s.Kind, ok = Maven, true
		case has("build.gradle") || has("build.gradle.kts"):
			s.Kind, ok = Gradle, true
		}
	case strings.HasPrefix(family, "dotnet"):
		s.Kind, ok = Dotnet, len(src.Match(s.Folder, "*.csproj"))+len(src.Match(s.Folder, "*.fsproj")) > 0
	case strings.HasPrefix(family, "provided"), family == "go1.x":
		switch {
		case has("Cargo.toml"):
			s.Kind, ok = Cargo, true
		case has("go.mod") || len(src.Match(s.Folder, "*.go")) > 0:
			s.Kind, ok = Go, true
		}
		s.Into = "bootstrap"
		if family == "go1.x" {
			s.Into = e.Handler
		}
		if ok && e.Packing.Artifact != "" {
			return s, false, e.Errorf("artifact %.200s is made by the project's own tools: run them, or leave artifact out and have bootstrap built", e.Packing.Artifact)
		}
	}
	return s, ok, err
}

func npmStep(src Files, s Step) (Step, error) {
	name := path.Join(s.Folder, "package.json")
	text, err := src.Read(name, maxList)
	if err != nil {
		return s, &project.Error{File: name, Text: err.Error()}
	}
	var list struct {
		Scripts map[string]string `json:"scripts"`
	}
	if err := json.Unmarshal(text, &list); err != nil {
		return s, &project.Error{File: name, Line: lineOf(text, err), Text: "it is no package.json: " + err.Error()}
	}
	s.Script = list.Scripts["build"] != ""
	s.Lock = src.Has(path.Join(s.Folder, "package-lock.json")) || src.Has(path.Join(s.Folder, "npm-shrinkwrap.json"))
	return s, nil
}

// lineOf returns the line of a syntax error.
func lineOf(text []byte, err error) int {
	at, ok := err.(*json.SyntaxError)
	if !ok {
		return 0
	}
	return 1 + strings.Count(string(text[:min(int(at.Offset), len(text))]), "\n")
}

func stepForLayer(src Files, e *project.Entry, layer project.Layer) (s Step, ok bool, err error) {
	folder := layer.Packing.Folder
	if layer.Packing.Artifact != "" {
		return s, false, nil
	}
	s = Step{Folder: folder, Runtime: e.Runtime, Keep: true, For: "layer " + layer.Name}
	switch {
	case strings.HasPrefix(e.Runtime, "python") && src.Has(path.Join(folder, "requirements.txt")):
		s.Kind, s.Into = Pip, "python"
		return s, true, nil
	case strings.HasPrefix(e.Runtime, "nodejs") && src.Has(path.Join(folder, "nodejs", "package.json")):
		s.Kind, s.Folder, s.Into = Npm, path.Join(folder, "nodejs"), "."
		s, err = npmStep(src, s)
		return s, err == nil, err
	}
	return s, false, nil
}

func (s Step) String() string {
	what := map[Kind]string{
		Pip: "install requirements.txt", Npm: "install the production dependencies of package.json", Go: "build the program",
		Maven: "package", Gradle: "build", Dotnet: "publish", Cargo: "build the program",
	}[s.Kind]
	if s.Script {
		what += " and run its build script"
	}
	return fmt.Sprintf("%s: %s (%s)", s.Folder, what, s.Kind)
}
