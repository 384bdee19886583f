package runtimes

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

// Lang is the directory inside a sandbox with bootstraps that were compiled on this host and with the links
// to a runtime's program.
const Lang = "/var/lang"

// compiled binds the directory with the compiled bootstrap of a language. It compiles the bootstrap if that
// was not done yet with these sources and this compiler. build gets the directory with the sources, their
// names, and the directory to fill. A directory appears as a whole, so concurrent calls, in this process or
// another, do no harm.
func (f Finder) compiled(language, ext, compiler string, build func(src string, names []string, out string) error) (string, error) {
	var names []string
	sum := sha256.New()
	fmt.Fprintf(sum, "%s\x00", compiler)
	err := fs.WalkDir(bootstraps, language, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := bootstraps.ReadFile(p)
		fmt.Fprintf(sum, "%s\x00%d\x00%s", p, len(text), text)
		if path.Ext(p) == ext {
			names = append(names, p)
		}
		return err
	})
	if err != nil {
		return "", err
	}
	cache, err := f.cache()
	if err != nil {
		return "", fmt.Errorf("compile the %s bootstrap: %w", language, err)
	}
	dir := filepath.Join(cache, language+"-"+hex.EncodeToString(sum.Sum(nil)[:12]))
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	work, err := os.MkdirTemp(cache, ".compile-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	src, out := filepath.Join(work, "src"), filepath.Join(work, "out")
	if err := errors.Join(os.CopyFS(src, bootstraps), os.Mkdir(out, 0o755)); err != nil {
		return "", err
	}
	for i := range names {
		names[i] = filepath.Join(src, filepath.FromSlash(names[i]))
	}
	if err := build(filepath.Join(src, language), names, out); err != nil {
		return "", fmt.Errorf("compile the %s bootstrap with %s: %w", language, compiler, complaint(err))
	}
	if err := readable(out); err != nil {
		return "", err
	}
	if err := os.Rename(out, dir); err != nil {
		if _, there := os.Stat(dir); there != nil {
			return "", err
		}
	}
	return dir, nil
}

// cache returns the directory of compiled results.
func (f Finder) cache() (string, error) {
	if f.Compiled != "" {
		return f.Compiled, nil
	}
	user, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no directory for the result: %w", err)
	}
	return filepath.Join(user, "she", "runtimes"), nil
}

// complaint adds to an error the first line that the failed program wrote.
func complaint(err error) error {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(exit.Stderr)), "\n")
	return fmt.Errorf("%w: %.300s", err, line)
}

// readable makes everything in dir readable for everybody, because a function inside a sandbox owns no
// files.
func readable(dir string) error {
	return filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		mode := fs.FileMode(0o644)
		if d.IsDir() {
			mode = 0o755
		}
		return os.Chmod(p, mode)
	})
}

// resolve returns a program's path without symbolic links. Its installation is around that path.
func resolve(program string) (string, error) {
	program, err := filepath.Abs(program)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(program)
}
