package catalog

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"she/internal/project"
)

// The layers of a function become one package, shown at /opt. They are laid over each other in their order,
// as on Lambda.

// layered is the layers of one entry during a publish.
type layered struct {
	contents *contents
	from     map[string]string // the layer of each file
	close    []func() error
	size     int64
}

func (l *layered) Close() error {
	var err error
	for _, c := range l.close {
		err = errors.Join(err, c())
	}
	return err
}

// collectLayers lays the files of an entry's layers over each other.
func collectLayers(ctx context.Context, src source, layers []project.Layer) (l *layered, err error) {
	l = &layered{from: make(map[string]string)}
	defer func() {
		if err != nil {
			_ = l.Close() // only read
		}
	}()
	at := make(map[string]int)
	var all []file
	for i := range layers {
		layer := &layers[i]
		c, done, err := collect(ctx, src, layer.Packing)
		if err != nil {
			var unsafe *unsafeError
			if errors.As(err, &unsafe) {
				return l, layer.Errorf("layer %.80s: %s", layer.Name, unsafe.text)
			}
			return l, err
		}
		l.close = append(l.close, done)
		for _, f := range c.files {
			l.from[f.name] = layer.Name
			if i, twice := at[f.name]; twice {
				all[i] = f
				continue
			}
			at[f.name] = len(all)
			all = append(all, f)
		}
	}
	if l.contents, err = check(all, true); err != nil { // two layers may have names that differ only by case
		return l, err
	}
	for _, f := range l.contents.files {
		l.size += f.size
	}
	return l, nil
}

// size returns the total size of a package's files.
func (c *contents) size() (total int64) {
	for i := range c.files {
		total += c.files[i].size
	}
	return total
}

// refuseTogether applies the limit that a package and its layers share.
func refuseTogether(c *contents, l *layered) error {
	if l != nil && c.size()+l.size > maxPackage {
		return refuse("the package and its layers are larger than %d MB unpacked, together", maxPackage>>20)
	}
	return nil
}

// layerPlaces returns the folders below /opt in which a runtime looks for code.
func layerPlaces(runtime string) []string {
	switch {
	case strings.HasPrefix(runtime, "python"):
		return []string{"python/lib/" + runtime + "/site-packages", "python"}
	case strings.HasPrefix(runtime, "nodejs"):
		major, _, _ := strings.Cut(strings.TrimPrefix(runtime, "nodejs"), ".")
		return []string{"nodejs/node" + major + "/node_modules", "nodejs/node_modules"}
	case strings.HasPrefix(runtime, "java"):
		return []string{"java/lib"}
	}
	return []string{"bin", "lib"}
}

// below returns the part of a layer that is in one of its folders.
func (c *contents) below(folder string) *contents {
	part := &contents{byName: make(map[string]*file), folders: map[string]bool{".": true}}
	for i := range c.files {
		if name, ok := strings.CutPrefix(c.files[i].name, folder+"/"); ok {
			f := c.files[i]
			f.name = name
			part.files = append(part.files, f)
			for dir := path.Dir(name); !part.folders[dir]; dir = path.Dir(dir) {
				part.folders[dir] = true
			}
		}
	}
	for i := range part.files {
		part.byName[part.files[i].name] = &part.files[i]
	}
	return part
}

// checkWithLayers does what checkHandler does, for a function with layers. A layer may contain what the
// handler names, and may hide a file of the package. warning says which of two files is used.
func checkWithLayers(e *project.Entry, c *contents, l *layered) (warning string, err error) {
	missing := checkHandler(e, c)
	if l == nil {
		return "", missing
	}
	if e.Runtime == "wasm" {
		return "a module has no files: its layers are not seen", missing
	}
	for name := range l.contents.byName {
		if strings.HasPrefix(name, "extensions/") && path.Dir(name) == "extensions" {
			warning = fmt.Sprintf("layer %s: %s is not started: there are no extensions here", l.from[name], name)
		}
	}
	places := layerPlaces(e.Runtime)
	switch {
	case strings.HasPrefix(e.Runtime, "python"):
		for _, place := range places {
			inside := l.contents.below(place)
			if missing == nil {
				if hidden := hiddenPackage(e.Handler, c, inside); hidden != "" {
					return "", refuse("handler %q: layer %.80s hides it: its %s/%s/__init__.py is imported before the package's folder %s; add %s/__init__.py to the package",
						e.Handler, l.from[place+"/"+hidden+"/__init__.py"], place, hidden, hidden, hidden)
				}
			}
			if checkPython(e.Handler, inside) == nil {
				if missing == nil {
					return "a layer holds the handler's module too: the package's is used", nil
				}
				return warning, nil
			}
		}
	case strings.HasPrefix(e.Runtime, "nodejs"):
		module := nodeModule(e.Handler)
		for _, place := range places {
			for _, name := range []string{module + ".js", module + "/index.js", module + "/package.json"} {
				if !l.contents.isFile(place + "/" + name) {
					continue
				}
				if missing != nil {
					return warning, nil
				}
				if nodeFallsBack(e.Handler, c) {
					return "", refuse("handler %q: layer %.80s hides it: its %s/%s is loaded before the package's %s.js; name the file where it is",
						e.Handler, l.from[place+"/"+name], place, name, module)
				}
			}
		}
	case strings.HasPrefix(e.Runtime, "java"):
		inside := &contents{byName: make(map[string]*file), folders: map[string]bool{".": true, "lib": true}}
		for _, f := range l.contents.below("java/lib").files {
			f.name = "lib/" + f.name
			inside.files = append(inside.files, f)
		}
		if checkJava(e.Handler, inside) == nil {
			if missing == nil {
				return "a layer holds the handler's class too: the package's is used", nil
			}
			return warning, nil
		}
	case strings.HasPrefix(e.Runtime, "provided"):
		has := l.contents.isFile("bootstrap")
		switch {
		case has && c.isFile("bootstrap"):
			return "a layer holds a bootstrap too: the package's is used", missing
		case has:
			return warning, checkNative("bootstrap", l.contents)
		}
	}
	return warning, missing
}

// hiddenPackage returns the first folder of a Python handler's module that has no __init__.py in the package
// but has one in a layer. Python then uses only the layer's folder.
func hiddenPackage(handler string, c, layer *contents) string {
	module, _, _ := strings.Cut(strings.ReplaceAll(handler[:max(0, strings.LastIndexByte(handler, '.'))], ".", "/"), "/")
	if module == "" || !c.folders[module] || c.isFile(module+"/__init__.py") || c.isFile(module+".py") || !layer.isFile(module+"/__init__.py") {
		return ""
	}
	return module
}

// nodeModule returns the last part of a handler, without its export.
func nodeModule(handler string) string {
	stem, _, _ := strings.Cut(path.Base(handler), ".")
	return stem
}

// nodeFallsBack reports whether a handler's file is not at the handler's path but only at the package's root,
// which comes after all layers.
func nodeFallsBack(handler string, c *contents) bool {
	dir := path.Dir(handler)
	module := path.Join(dir, nodeModule(handler))
	for _, suffix := range []string{"", ".js", ".mjs", ".cjs", "/index.js", "/package.json"} {
		if c.isFile(module + suffix) {
			return false
		}
	}
	for at := path.Clean(dir); ; at = path.Dir(at) {
		if inside := path.Join(at, "node_modules", nodeModule(handler)); c.isFile(inside+".js") || c.isFile(inside+"/index.js") || c.isFile(inside+"/package.json") {
			return false
		}
		if at == "." || at == "/" {
			return true
		}
	}
}
