package catalog

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"she/internal/project"
)

// contents are the chosen files of one package, checked and sorted by name. Only regular files and relative
// links within the package are left. Of the permission bits only "executable" is kept.
type contents struct {
	files   []file
	byName  map[string]*file
	folders map[string]bool
	dropped int // links without a target in the package
	steps   int // taken while following links
}

// collect lists the files of a packing in src and checks them. They can be read until the returned function
// is called.
func collect(ctx context.Context, src source, p project.Packing) (*contents, func() error, error) {
	if p.Artifact != "" {
		a, err := src.artifact(ctx, p.Artifact)
		if err != nil {
			return nil, nil, artifactError(p.Artifact, err)
		}
		all, err := a.files(ctx, ".")
		if err != nil {
			return nil, nil, errors.Join(err, a.Close())
		}
		jar := strings.EqualFold(path.Ext(p.Artifact), ".jar")
		c, err := check(all, jar)
		if err != nil {
			return nil, nil, errors.Join(err, a.Close())
		}
		return c, a.Close, nil
	}
	all, err := src.files(ctx, p.Folder)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil, refuse("folder %.200q is not in the project", p.Folder)
		}
		return nil, nil, err
	}
	if all, err = choose(all, p.Rules); err != nil {
		return nil, nil, err
	}
	if !p.DevDependencies {
		if all, err = withoutDevelopment(src, p.Folder, all); err != nil {
			return nil, nil, err
		}
	}
	c, err := check(all, false)
	if err != nil {
		return nil, nil, err
	}
	return c, func() error { return nil }, nil
}

func artifactError(name string, err error) error {
	var unsafe *unsafeError
	switch {
	case errors.As(err, &unsafe):
		return refuse("%.200s: %s", name, unsafe.text)
	case errors.Is(err, fs.ErrNotExist):
		return refuse("artifact %.200q is not there: build it first", name)
	}
	return err
}

// choose returns the files that the rules include.
func choose(all []file, rules []project.Rule) ([]file, error) {
	compiled := make([]*regexp.Regexp, len(rules))
	for i, r := range rules {
		re, err := project.CompileGlob(r.Pattern)
		if err != nil {
			return nil, refuse("%v", err)
		}
		compiled[i] = re
	}
	var kept []file
	for _, f := range all {
		in := true
		for i := len(rules) - 1; i >= 0; i-- {
			if compiled[i].MatchString(f.name) {
				in = rules[i].Include
				break
			}
		}
		if in {
			kept = append(kept, f)
		}
	}
	return kept, nil
}

// maxLinkSteps bounds the steps taken while following all links of a package.
const maxLinkSteps = 1_000_000

const maxLockFile = 32 << 20

// withoutDevelopment leaves out packages that npm's lock file marks as needed for development only, as the
// framework does. Form: package-lock.json of npm 7 and later, {"packages":{"node_modules/x":{"dev":true}}}.
func withoutDevelopment(src source, folder string, all []file) ([]file, error) {
	text, err := src.Read(path.Join(folder, "package-lock.json"), maxLockFile)
	if errors.Is(err, fs.ErrNotExist) {
		return all, nil
	}
	if err != nil {
		return nil, fmt.Errorf("package-lock.json: %w", err)
	}
	var lock struct {
		Packages map[string]struct{ Dev bool }
	}
	if err := json.Unmarshal(text, &lock); err != nil {
		return nil, refuse("package-lock.json is not a lock file of npm")
	}
	return slices.DeleteFunc(all, func(f file) bool {
		for dir := path.Dir(f.name); dir != "."; dir = path.Dir(dir) {
			if p, ok := lock.Packages[dir]; ok {
				return p.Dev
			}
		}
		return false
	}), nil
}

// developmentIn names packages in a package that npm's lock file marks as needed for development only.
func developmentIn(src source, folder string, c *contents) string {
	name := path.Join(folder, "package-lock.json")
	text, err := src.Read(name, maxLockFile)
	var lock struct {
		Packages map[string]struct{ Dev bool }
	}
	if err != nil || json.Unmarshal(text, &lock) != nil {
		return ""
	}
	first, count := "", 0
	for dir, p := range lock.Packages {
		if p.Dev && c.folders[dir] {
			if count++; first == "" || dir < first {
				first = dir
			}
		}
	}
	if count == 0 {
		return ""
	}
	line := 1 + bytes.Count(text[:max(0, bytes.Index(text, []byte(`"`+first+`"`)))], []byte("\n"))
	return (&project.Error{File: name, Line: line, Text: fmt.Sprintf(
		"%.200s is packed, and %d packages in all that only development needs: run npm ci --omit=dev", first, count)}).Error()
}

// check refuses packages that must not be stored; see the limits in source.go.
func check(all []file, jar bool) (*contents, error) {
	c := &contents{byName: make(map[string]*file), folders: map[string]bool{".": true}}
	if len(all) == 0 {
		return nil, refuse("the package has no files")
	}
	if len(all) > maxFiles {
		return nil, refuse("the package has more than %d files", maxFiles)
	}
	total := int64(0)
	for i := range all {
		f := &all[i]
		if err := checkName(f.name); err != nil {
			return nil, err
		}
		switch kind := f.mode.Type(); kind {
		case 0:
			if total += f.size; f.size < 0 || f.size > maxPackage || total > maxPackage {
				return nil, refuse("the package is larger than %d MB unpacked", maxPackage>>20)
			}
		case fs.ModeSymlink:
			f.size = 0
		default:
			return nil, refuse("%.200q is neither a file nor a link (%s)", f.name, kindName(kind))
		}
		if c.byName[f.name] != nil {
			return nil, refuse("%.200q is in the package twice", f.name)
		}
		c.byName[f.name] = f
		for dir := path.Dir(f.name); !c.folders[dir]; dir = path.Dir(dir) {
			c.folders[dir] = true
		}
	}
	for dir := range c.folders {
		if c.byName[dir] != nil {
			return nil, refuse("%.200q is both a file and a folder", dir)
		}
	}
	if err := c.refuseCaseTwins(jar); err != nil {
		return nil, err
	}
	if err := c.keepLinksInside(all); err != nil {
		return nil, err
	}
	return c, nil
}

func kindName(kind fs.FileMode) string {
	switch {
	case kind&fs.ModeDevice != 0:
		return "a device"
	case kind&fs.ModeNamedPipe != 0:
		return "a fifo"
	case kind&fs.ModeSocket != 0:
		return "a socket"
	}
	return "something else"
}

// refuseCaseTwins refuses names that differ only by case. Jars are excepted: there such names are common
// (META-INF/LICENSE beside META-INF/license/, classes a and A), and the JVM distinguishes them. If the
// store's file system does not, creating the second one fails.
func (c *contents) refuseCaseTwins(jar bool) error {
	if jar {
		return nil
	}
	folded := make(map[string]string)
	add := func(name string) error {
		key := strings.ToLower(strings.ToUpper(name))
		if other, ok := folded[key]; ok && other != name {
			a, b := min(other, name), max(other, name)
			return refuse("%.200q and %.200q differ only by case", a, b)
		}
		folded[key] = name
		return nil
	}
	for name := range c.byName {
		if err := add(name); err != nil {
			return err
		}
	}
	for name := range c.folders {
		if err := add(name); err != nil {
			return err
		}
	}
	return nil
}

// keepLinksInside refuses links that lead out of the package, drops links without a target in it (a project's
// node_modules/.bin after excludes), and sorts the rest.
func (c *contents) keepLinksInside(all []file) error {
	for i := range all {
		f := &all[i]
		if f.mode&fs.ModeSymlink != 0 {
			if err := checkLink(f); err != nil {
				return err
			}
			there, err := c.resolves(f.name)
			if err != nil {
				return err
			}
			if !there {
				c.dropped++
				continue
			}
		}
		c.files = append(c.files, *f)
	}
	slices.SortFunc(c.files, func(a, b file) int { return cmp.Compare(a.name, b.name) })
	clear(c.byName)
	for i := range c.files {
		c.byName[c.files[i].name] = &c.files[i]
	}
	if len(c.files) == 0 {
		return refuse("the package has no files")
	}
	return nil
}

func checkLink(f *file) error {
	switch {
	case f.link == "" || len(f.link) > maxLink || strings.ContainsAny(f.link, "\x00\n\\"):
		return refuse("link %.200q has no usable target", f.name)
	case path.IsAbs(f.link):
		return refuse("link %.200q leads out of the package: it is absolute", f.name)
	}
	return nil
}

// resolves follows name through the links of the package, as the kernel would: each ".." starts from where a
// link really is. It refuses to leave the root at any step.
func (c *contents) resolves(name string) (bool, error) {
	at := "."                        // the resolved part
	todo := strings.Split(name, "/") // the rest
	for hops := 0; len(todo) > 0; {
		if c.steps++; c.steps > maxLinkSteps {
			return false, refuse("the package's links are too complicated")
		}
		step := todo[0]
		todo = todo[1:]
		switch step {
		case "", ".":
			continue
		case "..":
			if at == "." {
				return false, refuse("link %.200q leads out of the package", name)
			}
			at = path.Dir(at)
			continue
		}
		next := path.Join(at, step)
		f := c.byName[next]
		switch {
		case f != nil && f.mode&fs.ModeSymlink != 0:
			if hops++; hops > 40 {
				return false, refuse("link %.200q goes in circles", name)
			}
			if err := checkLink(f); err != nil {
				return false, err
			}
			todo = append(strings.Split(f.link, "/"), todo...)
		case f != nil:
			if len(todo) > 0 {
				// A path through a file has no target, but a ".." in the rest must not lead out.
				return false, nil
			}
			return true, nil
		case c.folders[next]:
			at = next
		default:
			// Nothing is there. Check the rest as text, because it could lead out if the target existed.
			if escapes(at, step, todo) {
				return false, refuse("link %.200q leads out of the package", name)
			}
			return false, nil
		}
	}
	return true, nil
}

// escapes reports whether the rest of a path, read as text, climbs above the root.
func escapes(at, step string, rest []string) bool {
	depth := 0
	if at != "." {
		depth = strings.Count(at, "/") + 1
	}
	for _, s := range append([]string{step}, rest...) {
		switch s {
		case "", ".":
		case "..":
			if depth--; depth < 0 {
				return true
			}
		default:
			depth++
		}
	}
	return false
}
