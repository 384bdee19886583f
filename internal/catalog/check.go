package catalog

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"path"
	"runtime"
	"slices"
	"strings"

	"she/internal/project"
)

// checkHandler checks that the package has what an entry names, so that a missing file shows at publishing
// and not in a run. It looks only at names, and at the first bytes of a bootstrap.
func checkHandler(e *project.Entry, c *contents) error {
	switch family := e.Runtime; {
	case strings.HasPrefix(family, "python"):
		return checkPython(e.Handler, c)
	case strings.HasPrefix(family, "nodejs"):
		return checkNode(e.Handler, c)
	case strings.HasPrefix(family, "java"):
		return checkJava(e.Handler, c)
	case strings.HasPrefix(family, "dotnet"):
		return checkDotnet(e.Handler, c)
	case strings.HasPrefix(family, "provided"):
		return checkNative("bootstrap", c)
	case family == "go1.x":
		return checkNative(e.Handler, c)
	}
	return nil
}

// checkPython checks module.function; the module may be a file, a folder, or compiled.
func checkPython(handler string, c *contents) error {
	dot := strings.LastIndexByte(handler, '.')
	if dot <= 0 || dot == len(handler)-1 {
		return refuse("handler %q: want module.function", handler)
	}
	module := strings.ReplaceAll(handler[:dot], ".", "/")
	for _, name := range []string{module + ".py", module + ".pyc", module + "/__init__.py", module + "/__init__.pyc", module + ".so"} {
		if c.isFile(name) {
			return nil
		}
	}
	for i := range c.files { // handler.cpython-311-x86_64-linux-gnu.so
		if name := c.files[i].name; strings.HasPrefix(name, module+".") && strings.HasSuffix(name, ".so") {
			return nil
		}
	}
	return refuse("handler %q: the package has no file %s.py", handler, module)
}

// checkNode checks file.export; the file may be a folder with an index, as for require. If it is not there,
// Lambda lets require look for its last part: in node_modules there and above, and at the root.
func checkNode(handler string, c *contents) error {
	dir, base := path.Split(handler)
	stem, export, ok := strings.Cut(base, ".")
	if !ok || stem == "" || export == "" {
		return refuse("handler %q: want file.export", handler)
	}
	module := path.Join(dir, stem)
	for _, name := range []string{module, module + ".js", module + ".mjs", module + ".cjs", module + "/index.js", module + "/package.json"} {
		if c.isFile(name) {
			return nil
		}
	}
	var places []string
	for at := path.Clean(dir); ; at = path.Dir(at) {
		places = append(places, path.Join(at, "node_modules", stem))
		if at == "." || at == "/" {
			break
		}
	}
	for _, place := range append(places, stem) {
		for _, suffix := range []string{".js", "/index.js", "/package.json"} {
			if c.isFile(place + suffix) {
				return nil
			}
		}
	}
	hint := ""
	if c.isFile(module+".ts") || c.isFile(module+".mts") {
		hint = "; it has the TypeScript, which must be compiled first"
	}
	return refuse("handler %q: the package has no file %s.js, .mjs or .cjs%s", handler, module, hint)
}

const maxInnerJar = 64 << 20

// checkJava looks for the class where Lambda does: at the root, in classes/, and in lib/*.jar.
func checkJava(handler string, c *contents) error {
	class, _, _ := strings.Cut(handler, "::")
	file := strings.ReplaceAll(class, ".", "/") + ".class"
	if c.isFile(file) || c.isFile("classes/"+file) {
		return nil
	}
	elsewhere := ""
	for i := range c.files {
		f := &c.files[i]
		dir := path.Dir(f.name)
		if path.Ext(f.name) != ".jar" || dir != "." && dir != "lib" || !f.mode.IsRegular() {
			continue
		}
		has, err := f.jarHas(file)
		if err != nil {
			return err
		}
		if has && dir == "lib" {
			return nil
		}
		if has {
			elsewhere = f.name
		}
	}
	if elsewhere != "" {
		return refuse("handler %q: the class is in %.200s at the package's root, where it is not loaded; move the jar to lib/ or publish the jar itself", handler, elsewhere)
	}
	return refuse("handler %q: the package has no class %.200s", handler, class)
}

func (f *file) jarHas(name string) (bool, error) {
	if f.size > maxInnerJar {
		return true, nil // too large to check here; the run will show it
	}
	r, err := f.open()
	if err != nil {
		return false, err
	}
	defer r.Close()
	text, err := readBounded(r, maxInnerJar)
	if err != nil {
		return false, err
	}
	z, err := zip.NewReader(&meteredReaderAt{r: bytes.NewReader(text), left: maxDirectory}, int64(len(text)))
	if err != nil {
		return false, nil // not a jar, or a damaged one, so the class is not in it
	}
	return slices.ContainsFunc(z.File, func(e *zip.File) bool { return e.Name == name }), nil
}

func checkDotnet(handler string, c *contents) error {
	assembly, _, _ := strings.Cut(handler, "::")
	if !c.isFile(assembly + ".dll") {
		return refuse("handler %q: the package has no file %.200s.dll", handler, assembly)
	}
	return nil
}

// checkNative checks that the bootstrap is an executable for this machine, or a script whose first line names
// what runs it.
func checkNative(name string, c *contents) error {
	f := c.byName[name]
	if f != nil && f.mode&fs.ModeSymlink != 0 {
		f = c.byName[path.Join(path.Dir(name), f.link)]
	}
	if f == nil || !f.mode.IsRegular() {
		return refuse("the package has no program %.200q at its root", name)
	}
	if f.mode&0o111 == 0 {
		return refuse("%s is not executable: chmod +x before packing", name)
	}
	r, err := f.open()
	if err != nil {
		return err
	}
	defer r.Close()
	head := make([]byte, 20)
	n, err := io.ReadFull(r, head)
	if n == 0 && err != nil {
		return refuse("%s is empty", name)
	}
	head = head[:n]
	switch {
	case bytes.HasPrefix(head, []byte("#!")):
		return checkScript(name, io.MultiReader(bytes.NewReader(head), r))
	case n < 20 || !bytes.HasPrefix(head, []byte("\x7fELF")):
		return refuse("%s is neither a Linux executable nor a script that begins with #!", name)
	}
	// ELF header: class at 4 (2 is 64 bit), byte order at 5 (1 is little endian), machine at 18.
	machine := binary.LittleEndian.Uint16(head[18:])
	if head[4] != 2 || head[5] != 1 || machine != elfMachines[runtime.GOARCH] {
		return refuse("%s is built for %s, this machine is %s", name, machineName(head[4], machine), runtime.GOARCH)
	}
	return nil
}

// checkScript checks the first line, as far as kernels read it. With Windows line ends it would name a
// program that ends in a carriage return.
func checkScript(name string, r io.Reader) error {
	first := make([]byte, 256)
	n, err := io.ReadFull(r, first)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	line, _, whole := bytes.Cut(first[:n], []byte("\n"))
	if whole && bytes.HasSuffix(line, []byte("\r")) {
		return refuse("the lines of %s end as on Windows: save it with LF, not CR LF", name)
	}
	return nil
}

// Machine numbers of ELF for the architectures of Lambda.
var elfMachines = map[string]uint16{"amd64": 62, "arm64": 183}

func machineName(class byte, machine uint16) string {
	for name, m := range elfMachines {
		if m == machine && class == 2 {
			return name
		}
	}
	return "another one"
}

// isFile reports whether the package has a file with that name, directly or by a link. Links in contents are
// known to have a target in the package.
func (c *contents) isFile(name string) bool {
	if _, ok := c.byName[name]; ok {
		return true
	}
	// A folder in the path may be a link.
	if !c.hasLinks() {
		return false
	}
	there, err := c.resolves(name)
	return err == nil && there && !c.folders[name]
}

func (c *contents) hasLinks() bool {
	return slices.ContainsFunc(c.files, func(f file) bool { return f.mode&fs.ModeSymlink != 0 })
}
