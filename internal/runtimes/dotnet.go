package runtimes

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// dotnetRuntime matches one installed version: "Microsoft.NETCore.App 8.0.11
// [/usr/lib/dotnet/shared/Microsoft.NETCore.App]".
var dotnetRuntime = regexp.MustCompile(`(?m)^(Microsoft\.(?:NETCore|AspNetCore)\.App) (([0-9]+)\.([0-9]+)\.\S+) \[(.+)\]\r?$`)

// framework is one installed version of .NET.
type framework struct {
	version      string
	major, minor int
	dir          string // directory of its assemblies
	web          string // the version of ASP.NET Core that belongs to it; "": none
}

func (w framework) name() string {
	if w.major < 5 {
		return fmt.Sprintf("dotnetcore%d.%d", w.major, w.minor)
	}
	return fmt.Sprintf("dotnet%d", w.major)
}

// dotnet finds a .NET, the version asked for if it is installed, else the newest. It also returns the
// bootstrap for it, which is compiled at the first call, because an assembly can't be kept in the source.
func (f Finder) dotnet(asked string) (Runtime, error) {
	var crowded error
	for _, candidate := range []string{
		filepath.Join(f.Dotnet, "dotnet"), filepath.Join(os.Getenv("DOTNET_ROOT"), "dotnet"),
		"dotnet", "/usr/lib/dotnet/dotnet", "/usr/share/dotnet/dotnet",
	} {
		program, err := f.Look(candidate)
		if err != nil {
			continue
		}
		if program, err = resolve(program); err != nil {
			continue
		}
		out, err := f.Run(program, "--list-runtimes")
		if err != nil {
			continue
		}
		w, ok := choose(frameworks(out), asked)
		if !ok {
			continue
		}
		root := filepath.Dir(program)
		paths, err := f.with(root)
		if err != nil {
			crowded = err
			continue
		}
		assembly, err := f.assembly(root, program, w)
		if err != nil {
			return Runtime{}, err
		}
		links, err := f.linked(program, "dotnet")
		if err != nil {
			return Runtime{}, err
		}
		return Runtime{
			Name: w.name(),
			// The shell computes the size of the heap and then executes the runtime.
			Command: []string{f.sh(), Dir + "/dotnet/start", program},
			Paths:   append(append(paths, links...), [2]string{assembly, Lang + "/dotnet"}),
			Env:     []string{"DOTNET_ROOT=" + root},
			Version: stamp(w.version, program) + " " + filepath.Base(assembly),
			Copies:  true,
			Entries: true,
			Tries:   Always,
		}, nil
	}
	if crowded != nil {
		return Runtime{}, crowded
	}
	return Runtime{}, fmt.Errorf("%w: .NET Core 3.1, or .NET 6 or newer, with dotnet on PATH or in DOTNET_ROOT", ErrMissing)
}

// frameworks parses the output of dotnet --list-runtimes.
func frameworks(list string) (all []framework) {
	web := map[string]string{}
	for _, m := range dotnetRuntime.FindAllStringSubmatch(list, -1) {
		if m[1] == "Microsoft.AspNetCore.App" {
			web[m[3]+"."+m[4]] = m[2]
			continue
		}
		w := framework{version: m[2], dir: filepath.Join(m[5], m[2])}
		w.major, _ = strconv.Atoi(m[3])
		w.minor, _ = strconv.Atoi(m[4])
		if w.major > 3 || w.major == 3 && w.minor >= 1 {
			all = append(all, w)
		}
	}
	for i := range all {
		all[i].web = web[fmt.Sprintf("%d.%d", all[i].major, all[i].minor)]
	}
	return all
}

// choose returns the version asked for, else the newest. Of several with the same version it returns the
// last, which is the newest of them.
func choose(all []framework, asked string) (best framework, ok bool) {
	for _, w := range all {
		if strings.TrimPrefix(strings.TrimPrefix(w.name(), "dotnet"), "core") == asked {
			best, ok = w, true
		}
	}
	if ok {
		return best, true
	}
	for _, w := range all {
		if !ok || w.major > best.major || w.major == best.major && w.minor >= best.minor {
			best, ok = w, true
		}
	}
	return best, ok
}

// assembly compiles the bootstrap against an installed framework, with the compiler of the SDK or with
// Mono's.
func (f Finder) assembly(root, program string, w framework) (string, error) {
	type compiler struct {
		name    string
		command []string
	}
	var compilers []compiler
	// The last one by name is good enough: any of them can compile the bootstrap.
	if found, _ := filepath.Glob(filepath.Join(root, "sdk", "*", "Roslyn", "bincore", "csc.dll")); len(found) > 0 {
		csc := found[len(found)-1]
		// Without this, a machine that lacks ICU can't even compile.
		compilers = append(compilers, compiler{stamp("csc", csc), []string{"/usr/bin/env", "DOTNET_SYSTEM_GLOBALIZATION_INVARIANT=1", program, "exec", csc}})
	}
	if mcs, err := f.Look("mcs"); err == nil {
		compilers = append(compilers, compiler{stamp("mcs", mcs), []string{mcs}})
	}
	if len(compilers) == 0 {
		return "", fmt.Errorf("%w: .NET %s is here, a C# compiler is not: install its SDK, or Mono's (apt-get install mono-mcs)", ErrMissing, w.version)
	}
	config, err := runtimeConfig(w)
	if err != nil {
		return "", err
	}
	// Compilers are made for reference assemblies. Without an SDK the framework's own assemblies are used.
	references, _ := filepath.Glob(filepath.Join(root, fmt.Sprintf("packs/Microsoft.NETCore.App.Ref/%d.%d.*/ref/*/*.dll", w.major, w.minor)))
	if len(references) == 0 {
		if references, _ = filepath.Glob(filepath.Join(w.dir, "*.dll")); len(references) == 0 {
			return "", fmt.Errorf("%w: %s has no assemblies", ErrMissing, w.dir)
		}
	}
	var problems []error
	for _, c := range compilers {
		dir, err := f.compiled("dotnet", ".cs", c.name+" for "+w.version, func(src string, names []string, out string) error {
			args := append(c.command[1:], "-nologo", "-nostdlib", "-noconfig", "-target:exe", "-out:"+filepath.Join(out, "bootstrap.dll"))
			for _, r := range references {
				args = append(args, "-r:"+r)
			}
			if _, err := f.Run(c.command[0], append(args, names...)...); err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(out, "bootstrap.runtimeconfig.json"), config, 0o644)
		})
		if err == nil {
			return dir, nil
		}
		problems = append(problems, err)
	}
	return "", errors.Join(problems...)
}

// runtimeConfig returns the configuration for running the bootstrap: few threads, no ICU, and the version
// that it was compiled for or a later one of the same kind. Format:
// https://learn.microsoft.com/dotnet/core/runtime-config/
func runtimeConfig(w framework) ([]byte, error) {
	type named struct {
		Name    string `json:"name"`
		Version string `json:"version"`
	}
	use := []named{{"Microsoft.NETCore.App", w.version}}
	if w.web != "" {
		use = append(use, named{"Microsoft.AspNetCore.App", w.web})
	}
	return json.Marshal(map[string]any{"runtimeOptions": map[string]any{
		"frameworks": use,
		"configProperties": map[string]bool{
			"System.GC.Server": false, "System.GC.Concurrent": false,
			"System.Runtime.TieredCompilation": false,
			"System.Globalization.Invariant":   true, "System.Globalization.PredefinedCulturesOnly": false,
		},
	}})
}
