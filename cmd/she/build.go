package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"she/internal/build"
	"she/internal/catalog"
	"she/internal/project"
	"she/internal/runtimes"
	"she/internal/terminal"
)

func buildCommand() *cobra.Command {
	var out, stage string
	var params map[string]string
	var only []string
	c := &cobra.Command{
		Use:   "build PROJECT",
		Short: "Build a project's packages with each language's own tools",
		Long: "Copies a project with serverless.yml or template.yaml and builds its packages in the copy: requirements.txt by pip, for the " +
			"version that will run it here; production dependencies of package.json, after its build script, by npm; Go, Maven or " +
			"Gradle, .NET and Cargo by themselves. The copy is a project again: register it as a function's package. It runs what the " +
			"project says, as you: build only what you trust.",
		Example: "  she build ./steps\n  she build ./steps --out ./steps-built --function steps",
		Args:    exactArgs(1, "the folder of a project"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if out == "" {
				out = filepath.Join(args[0], ".she", "build")
			}
			return buildProject(cmd, catalog.Registered{Package: args[0], Stage: stage, Params: params}, out, only)
		},
	}
	c.Flags().StringVar(&out, "out", "", "folder to make; PROJECT/.she/build if it is not given")
	c.Flags().StringVar(&stage, "stage", "", "stage of the project file (default: the file's own, else dev)")
	c.Flags().StringToStringVar(&params, "param", nil, "NAME=VALUE of ${param:NAME} or of a template's Parameters")
	c.Flags().StringSliceVar(&only, "function", nil, "keys of the functions to build; all if none is given")
	return c
}

// built is the result of `she build` for one function.
type built struct {
	Function string `json:"function"`
	Runtime  string `json:"runtime"`
	Handler  string `json:"handler"`
	Package  string `json:"package"` // digest
	Layers   string `json:"layers,omitempty"`
}

func buildProject(cmd *cobra.Command, registered catalog.Registered, out string, only []string) error {
	dir := registered.Package
	keys, entries, err := describeAll(registered, only)
	if err != nil {
		return inWords(err)
	}
	src, err := build.OpenFolder(dir)
	if err != nil {
		return err
	}
	defer src.Close()
	steps, err := build.Plan(src, entries)
	if err != nil {
		return err
	}
	finder := runtimes.Finder{}
	b := build.Builder{Project: dir, Out: out, Log: cmd.ErrOrStderr(), Resolve: func(name string) string {
		if r, _, err := finder.Find(name); err == nil {
			return r.Name
		}
		return name // it may run elsewhere
	}}
	if err := b.Run(cmd.Context(), steps); err != nil {
		return err
	}
	var all []built
	told := make(map[string]bool)
	look := catalog.Look()
	registered.Package = out
	for _, key := range keys {
		e, warnings, err := look.PublishEntry(cmd.Context(), registered, key)
		if err != nil {
			return fmt.Errorf("what was built can't be run: %w", inWords(err))
		}
		for _, w := range warnings {
			if told[w] {
				continue
			}
			told[w] = true
			terminal.Printf(cmd.ErrOrStderr(), "%s\n", w)
		}
		all = append(all, built{Function: key, Runtime: e.Runtime, Handler: e.Handler, Package: e.Package.Digest, Layers: e.Layers.Digest})
	}
	return show(cmd, all, func(w io.Writer) {
		t := terminal.NewTable(w, "FUNCTION", "RUNTIME", "HANDLER", "PACKAGE")
		for _, f := range all {
			t.Row(f.Function, f.Runtime, f.Handler, f.Package)
		}
		t.Flush()
		terminal.Printf(w, "built in %s\n", out)
	})
}

// describeAll reads all functions of a project, or only those requested.
func describeAll(r catalog.Registered, only []string) (keys []string, entries []project.Entry, err error) {
	if info, err := os.Stat(r.Package); err != nil || !info.IsDir() {
		return nil, nil, fmt.Errorf("%s is no folder: want that of a project", r.Package)
	}
	keys = only
	if len(keys) == 0 {
		p, err := catalog.Describe(r, project.Options{})
		if err != nil {
			return nil, nil, err
		}
		keys = p.Keys
	}
	for _, key := range keys {
		p, err := catalog.Describe(r, project.Options{Key: key})
		if err != nil {
			return nil, nil, err
		}
		entries = append(entries, p.Process)
	}
	return keys, entries, nil
}
