package main

import (
	"io"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"she/internal/terminal"
)

// A version says which program this is.
type version struct {
	Version  string `json:"version"`            // of the module, "(devel)" of a build from a work tree without a tag
	Commit   string `json:"commit,omitempty"`   // none: the build was not told
	Time     string `json:"time,omitempty"`     // of the commit
	Modified bool   `json:"modified,omitempty"` // the work tree had changes that are in no commit
	Go       string `json:"go"`
	Platform string `json:"platform"` // "linux/amd64"
}

// versionOf reads what the Go toolchain has written into the program.
func versionOf(info *debug.BuildInfo) version {
	v := version{Version: info.Main.Version, Go: strings.TrimPrefix(info.GoVersion, "go"), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if v.Version == "" {
		v.Version = "(devel)"
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Commit = s.Value
		case "vcs.time":
			v.Time = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	return v
}

// versionCommand makes she version.
func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Show which version of she this is",
		Example: "  she version -o json",
		Args:    exactArgs(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			info, ok := debug.ReadBuildInfo()
			if !ok { // only a program built without modules has none
				info = &debug.BuildInfo{GoVersion: runtime.Version()}
			}
			v := versionOf(info)
			return show(cmd, v, func(w io.Writer) {
				terminal.Printf(w, "she %s\n", v.Version)
				if v.Commit != "" {
					changed := ""
					if v.Modified {
						changed = ", with changes that are in no commit"
					}
					terminal.Printf(w, "commit %s of %s%s\n", v.Commit, v.Time, changed)
				}
				terminal.Printf(w, "Go %s, %s\n", v.Go, v.Platform)
			})
		},
	}
}
