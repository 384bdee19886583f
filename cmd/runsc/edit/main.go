// Command edit makes a copy of the gVisor module with a few lines changed, and a module file with which cmd/runsc is built
// from that copy. The module cache is not touched. What is changed is listed beside it in _gvisor, in the tree of gVisor's files:
// x.go.edit names lines of x.go and what stands for them, and any other file is a new one of ours. So no code of gVisor's lies in
// this repository, and an edit that does not fit the pinned version fails the build.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// module is what is copied.
const module = "gvisor.dev/gvisor"

func main() {
	edits := flag.String("edits", "_gvisor", "the directory of edits")
	to := flag.String("to", "", "the directory of the copy, made anew; beside it come a .mod and a .sum of that name")
	flag.Parse()
	if err := run(*edits, *to); err != nil {
		fmt.Fprintln(os.Stderr, "edit:", err)
		os.Exit(1)
	}
}

func run(edits, to string) error {
	if to == "" {
		return errors.New("say where the copy goes: -to DIRECTORY")
	}
	to, err := filepath.Abs(to)
	if err != nil {
		return err
	}
	pinned, err := pinnedModule()
	if err != nil {
		return err
	}
	list, err := read(edits)
	if err != nil {
		return err
	}
	made, err := list.apply(os.DirFS(pinned))
	if err != nil {
		return err
	}
	half := to + ".half"
	if err := os.RemoveAll(half); err != nil {
		return err
	}
	if err := copyModule(half, pinned, made); err != nil {
		return err
	}
	if err := errors.Join(os.RemoveAll(to), os.Rename(half, to)); err != nil {
		return err
	}
	return writeModFile(to)
}

// pinnedModule is where the version that go.mod names lies.
func pinnedModule() (dir string, err error) {
	out, err := exec.Command("go", "mod", "download", "-json", module).Output()
	if err != nil {
		return "", fmt.Errorf("find %s: %w", module, err)
	}
	var m struct{ Dir, Error string }
	if err := json.Unmarshal(out, &m); err != nil {
		return "", fmt.Errorf("find %s: %w", module, err)
	}
	if m.Error != "" || m.Dir == "" {
		return "", fmt.Errorf("find %s: %s", module, m.Error)
	}
	return m.Dir, nil
}

// copyModule copies a module, with some files as they are in made.
func copyModule(to, from string, made map[string][]byte) error {
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, name), 0o755)
		}
		if _, ok := made[filepath.ToSlash(name)]; ok {
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, name), b, 0o644)
	})
	for name, b := range made {
		file := filepath.Join(to, filepath.FromSlash(name))
		err = errors.Join(err, os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, b, 0o644))
	}
	return err
}

// writeModFile writes the module file of this directory anew, with the copy in place of the module. go build's -modfile takes it;
// a replace in go.mod itself would break every build before the copy is there.
func writeModFile(copied string) error {
	mod, err := os.ReadFile("go.mod")
	if err != nil {
		return err
	}
	sum, err := os.ReadFile("go.sum")
	if err != nil {
		return err
	}
	var b strings.Builder
	b.Write(mod)
	fmt.Fprintf(&b, "\nreplace %s => %s\n", module, strconv.Quote(copied))
	return errors.Join(os.WriteFile(copied+".mod", []byte(b.String()), 0o644), os.WriteFile(copied+".sum", sum, 0o644))
}
