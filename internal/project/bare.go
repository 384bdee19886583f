package project

import (
	"path"
	"strings"
	"time"
)

// A Bare project has no project file. It is an archive, a folder or a single file, and its owner says how to
// run it.
type Bare struct {
	Runtime string
	Handler string // of the process entry, and the default of the others
	Memory  int    // MB; 0 means the default
	Timeout time.Duration
	Env     map[string]string

	Configuration, Bundle string // handlers
}

// There reports whether a project is bare: whether any field says how to run it.
func (b Bare) There() bool {
	return b.Runtime != "" || b.Handler != "" || b.Configuration != "" || b.Bundle != "" || b.Memory != 0 || b.Timeout != 0 || len(b.Env) > 0
}

// Read describes the entries of o.ID, or else only the one of o.Key. Their files are those of the packing.
func (b Bare) Read(packing Packing, o Options) (*Project, error) {
	var v value
	d := document{}
	p := reader{Options: o}.project()
	p.Keys = o.wanted()
	if b.Runtime == "" {
		return nil, v.errorf("a package without a project file needs a runtime: python3.12, nodejs22.x, provided.al2023, …")
	}
	for i, e := range p.Entries() {
		handler := b.Handler
		if len(p.Entries()) == 3 {
			handler = []string{orElse(b.Configuration, b.Handler), orElse(b.Bundle, b.Handler), b.Handler}[i]
		}
		*e = Entry{
			Name: tidyName(o.wanted()[i]), Handler: handler, Runtime: b.Runtime, Env: mergedEnv(nil), Packing: packing, at: v,
		}
		for name, text := range b.Env {
			if err := checkVariable(v, name, text); err != nil {
				return nil, err
			}
			e.Env[name] = text
		}
		if err := d.checkEntry(e, v, value{}, value{}); err != nil {
			return nil, err
		}
		if b.Memory != 0 {
			if b.Memory < MinMemoryMB || b.Memory > MaxMemoryMB {
				return nil, v.errorf("memory must be %d to %d MB", MinMemoryMB, MaxMemoryMB)
			}
			e.Memory = b.Memory
		}
		if b.Timeout != 0 {
			if b.Timeout < time.Second || b.Timeout > MaxTimeout {
				return nil, v.errorf("a timeout is 1 to %d seconds", int(MaxTimeout/time.Second))
			}
			e.Timeout = b.Timeout
		}
	}
	return p, nil
}

func orElse(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// Whole packs a folder without what tools leave behind, or one file of it.
func Whole(folder, single string) Packing {
	p := Packing{Folder: folder, DevDependencies: true}
	if single != "" {
		p.Rules = []Rule{{Pattern: "**"}, {Include: true, Pattern: quoteGlob(single)}}
		return p
	}
	for _, pattern := range defaultExcludes {
		p.Rules = append(p.Rules, Rule{Pattern: pattern})
	}
	return p
}

// IsArchive reports whether a name is that of an archive.
func IsArchive(name string) bool {
	ext := strings.ToLower(path.Ext(name))
	return ext == ".zip" || ext == ".jar"
}
