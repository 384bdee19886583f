package catalog

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"she/internal/hat"
)

func open(t testing.TB) *Catalog {
	t.Helper()
	c, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // the packages are read-only folders, which RemoveAll can't empty for everybody
		if err := removeTree(c.store.dir); err != nil {
			t.Error(err)
		}
	})
	return c
}

func registered(t testing.TB, path, function string) Registered {
	t.Helper()
	output, err := hat.ParseEndpoint("she/insights/test")
	if err != nil {
		t.Fatal(err)
	}
	return Registered{ID: id(t, function), Package: path, Output: output}
}

func mustPublish(t testing.TB, c *Catalog, path, function string) Function {
	t.Helper()
	f, err := c.Publish(t.Context(), registered(t, path, function))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// refused publishes and wants a fault with that code and text.
func refused(t testing.TB, c *Catalog, path, function string, who hat.Who, code, want string) {
	t.Helper()
	_, err := c.Publish(t.Context(), registered(t, path, function))
	var fault *hat.Fault
	if !errors.As(err, &fault) || fault.Who != who || fault.Code != code || !strings.Contains(fault.Text, want) {
		t.Errorf("got %v, want %s %s %q", err, who, code, want)
	}
}

// stored lists a package as "name mode" or "name -> target".
func stored(t testing.TB, p Package) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(p.Dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(p.Dir, name)
		switch {
		case e.IsDir():
			if info.Mode() != fs.ModeDir|0o555 {
				t.Errorf("folder %s has mode %v", rel, info.Mode())
			}
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(name)
			all = append(all, rel+" -> "+target)
			return err
		default:
			all = append(all, rel+" "+info.Mode().String())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func same(t testing.TB, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// project is the smallest Python project with more files.
func project(more map[string]string) map[string]string {
	all := map[string]string{"serverless.yml": smallest, "h.py": "# code"}
	for k, v := range more {
		all[k] = v
	}
	return all
}

func TestPublishIsReadOnlyAndStable(t *testing.T) {
	c := open(t)
	dir := tree(t, project(map[string]string{"lib/x.py": "1", "tool.sh*": "#!/bin/sh", ".git/config": "x", "node_modules/.cache/y": "y", ".gitignore": ""}))
	if err := os.Chmod(filepath.Join(dir, "tool.sh"), 0o755|fs.ModeSetuid|fs.ModeSetgid); err != nil {
		t.Fatal(err)
	}
	f := mustPublish(t, c, dir, "f")
	same(t, stored(t, f.Package), []string{"h.py -r--r--r--", "lib/x.py -r--r--r--", "tool.sh -r-xr-xr-x"})
	if f.Digest() != f.Package.Digest || f.Bundle.Package != f.Package || f.Manifest != nil || f.Available() {
		t.Errorf("%+v", f)
	}
	// The digest is of names, modes and content, not of where, when or who.
	again := mustPublish(t, open(t), tree(t, project(map[string]string{"lib/x.py": "1", "tool.sh*": "#!/bin/sh"})), "f")
	if again.Package.Digest != f.Package.Digest {
		t.Error("the same files have two digests")
	}
	for name, files := range map[string]map[string]string{
		"content": {"lib/x.py": "2", "tool.sh*": "#!/bin/sh"}, "mode": {"lib/x.py": "1", "tool.sh": "#!/bin/sh"}, "name": {"lib/y.py": "1", "tool.sh*": "#!/bin/sh"},
	} {
		if other := mustPublish(t, c, tree(t, project(files)), "f"); other.Package.Digest == f.Package.Digest {
			t.Errorf("another %s has the same digest", name)
		}
	}
}

func TestPatterns(t *testing.T) {
	files := map[string]string{
		"a.js": "", "a.test.js": "", "src/a.js": "", "src/deep/b.js": "", "src/deep/b.spec.js": "", "src/.hidden/c.js": "",
		"docs/x.md": "", "docs/keep.md": "", "venv/lib/x.py": "", "file1": "", "file2": "", "file9": "", "[odd]": "", "ü.txt": "",
	}
	all := func(rules ...string) []string {
		t.Helper()
		list := "package: {patterns: ['" + strings.Join(rules, "', '") + "']}\n"
		p := mustPublish(t, open(t), tree(t, project(mapsWith(files, "serverless.yml", smallest+list))), "f").Package
		var names []string
		for _, s := range stored(t, p) {
			if name := strings.Fields(s)[0]; name != "h.py" {
				names = append(names, name)
			}
		}
		return names
	}
	only := func(rules ...string) []string { t.Helper(); return all(append([]string{"!**", "h.py"}, rules...)...) }
	same(t, only("src/**"), []string{"src/.hidden/c.js", "src/a.js", "src/deep/b.js", "src/deep/b.spec.js"})
	same(t, only("src/*"), []string{"src/a.js"})
	same(t, only("src/*/*.js"), []string{"src/.hidden/c.js", "src/deep/b.js", "src/deep/b.spec.js"})
	same(t, only("**/*.js", "!**/*.{test,spec}.js"), []string{"a.js", "src/.hidden/c.js", "src/a.js", "src/deep/b.js"})
	same(t, only("**/deep/**"), []string{"src/deep/b.js", "src/deep/b.spec.js"})
	same(t, only("./docs/**", "!docs/x.md"), []string{"docs/keep.md"})
	same(t, only("file{1..2}"), []string{"file1", "file2"})
	same(t, only("file[2-9]"), []string{"file2", "file9"})
	same(t, only("file[!29]"), []string{"file1"})
	same(t, only("file?"), []string{"file1", "file2", "file9"})
	same(t, only("@(a|ü).{js,txt}"), []string{"a.js", "ü.txt"})
	same(t, only(`\[odd\]`), []string{"[odd]"})
	same(t, only("docs", "docs/", "SRC/**", "*/b.js"), nil)
	same(t, all("!src/**", "!docs/**", "src/a.js", "!file*", "!venv/**", "!a*", "!*odd*"), []string{"src/a.js", "ü.txt"})

	// exclude comes first, include brings back; and what the framework leaves out can be asked for.
	list := "package: {include: [src/a.js, .DS_Store], exclude: ['**', '!h.py']}\n"
	f := mustPublish(t, open(t), tree(t, project(mapsWith(files, "serverless.yml", smallest+list, ".DS_Store", ""))), "f")
	same(t, stored(t, f.Package), []string{".DS_Store -r--r--r--", "h.py -r--r--r--", "src/a.js -r--r--r--"})
}

func mapsWith(m map[string]string, more ...string) map[string]string {
	all := make(map[string]string)
	for k, v := range m {
		all[k] = v
	}
	for i := 0; i < len(more); i += 2 {
		all[more[i]] = more[i+1]
	}
	return all
}

func TestIndividually(t *testing.T) {
	text := strings.Replace(smallest, "{handler: h.b}", "{handler: h.b, package: {patterns: ['!big.bin']}}", 1)
	files := project(map[string]string{"serverless.yml": text, "big.bin": "x"})
	f := mustPublish(t, open(t), tree(t, files), "f")
	if f.Bundle.Package != f.Process.Package {
		t.Error("patterns of one function count without individually")
	}
	hasWarning(t, f.Warnings, "patterns of one function count only with package.individually")
	files["serverless.yml"] = text + "package: {individually: true}\n"
	f = mustPublish(t, open(t), tree(t, files), "f")
	same(t, stored(t, f.Bundle.Package), []string{"h.py -r--r--r--"})
	same(t, stored(t, f.Process.Package), []string{"big.bin -r--r--r--", "h.py -r--r--r--"})
	if f.Digest() == f.Package.Digest || f.Package != f.Process.Package {
		t.Error("three packages need a digest of their own")
	}
}

func TestRealLookingProjects(t *testing.T) {
	copied := func(name string) string {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS(name)); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	write := func(dir, name string, content []byte) {
		full := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	python := copied("testdata/python-history")
	write(python, "node_modules/serverless/index.js", nil)
	f := mustPublish(t, open(t), python, "mood-history")
	same(t, stored(t, f.Package), []string{"history.py -r--r--r--", "history_bundle.py -r--r--r--", "history_config.py -r--r--r--", "requirements.txt -r--r--r--"})

	node := copied("testdata/node-stages")
	for _, name := range []string{"left", "left/node_modules/inner", "dev-only"} {
		write(node, "node_modules/"+name+"/index.js", []byte("module.exports = 1"))
	}
	f = mustPublish(t, open(t), node, "step-counter")
	same(t, stored(t, f.Package), []string{
		"node_modules/left/index.js -r--r--r--", "node_modules/left/node_modules/inner/index.js -r--r--r--",
		"src/bundle.js -r--r--r--", "src/configuration.js -r--r--r--", "src/count.js -r--r--r--", "src/deep/help.js -r--r--r--",
	})

	scala := copied("testdata/scala-jar")
	refused(t, open(t), scala, "feed-counter", hat.Author, CodeRefused, "artifacts/functions.jar\" is not there: build it first")
	write(scala, "artifacts/functions.jar", makeZip(t,
		entry{name: "META-INF/MANIFEST.MF"}, entry{name: "META-INF/LICENSE"}, entry{name: "META-INF/license/apache"},
		entry{name: "example/FeedCounterHandler.class"}, entry{name: "example/FeedCounterConfigurationHandler.class"},
		entry{name: "example/FeedCounterBundleHandler.class"}))
	f = mustPublish(t, open(t), scala, "feed-counter")
	if got := stored(t, f.Package); len(got) != 6 || got[3] != "example/FeedCounterBundleHandler.class -r--r--r--" {
		t.Errorf("%q", got)
	}

	f = mustPublish(t, open(t), "testdata/sam-go", "daily-walk")
	if f.Process.Package == f.Bundle.Package || f.Package != f.Process.Package {
		t.Error("folders of a template are packages of their own")
	}
	same(t, stored(t, f.Configuration.Package), []string{"bootstrap -r-xr-xr-x"})
}

func TestExampleFunctionsLoad(t *testing.T) {
	dirs, err := filepath.Glob("../../functions/*/serverless.yml")
	if err != nil || len(dirs) == 0 {
		t.Fatalf("no example functions: %v", err)
	}
	c := open(t)
	for _, file := range dirs {
		dir := filepath.Dir(file)
		name := filepath.Base(dir)
		p, err := ReadProject(dir, "dev", id(t, name), nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		// What has to be compiled first may not be there; everything that is must publish.
		if p.Process.Packing.Artifact != "" || strings.HasPrefix(p.Process.Runtime, "provided") || strings.HasPrefix(p.Process.Runtime, "dotnet") || strings.HasPrefix(p.Process.Runtime, "java") {
			continue
		}
		mustPublish(t, c, dir, name)
	}
}

// An entry of a crafted archive.
type entry struct {
	name    string
	content string
	mode    fs.FileMode // 0: a plain file
	header  func(*zip.FileHeader)
}

func makeZip(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, e := range entries {
		h := &zip.FileHeader{Name: e.name, Method: zip.Deflate}
		if e.mode == 0 {
			e.mode = 0o644
		}
		h.SetMode(e.mode)
		if e.header != nil {
			e.header(h)
		}
		create := w.CreateHeader
		if h.UncompressedSize64 != 0 { // a claim
			create, h.Method, h.CompressedSize64 = w.CreateRaw, zip.Store, uint64(len(e.content))
		}
		out, err := create(h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := out.Write([]byte(e.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zipFile(t testing.TB, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// base is a whole project as entries.
func base(more ...entry) []entry {
	return append([]entry{{name: "serverless.yml", content: smallest}, {name: "h.py", content: "# code"}}, more...)
}

func TestArchives(t *testing.T) {
	c := open(t)
	want := []string{"h.py -r--r--r--", "sub/x -r-xr-xr-x"}
	// A project in an archive.
	f := mustPublish(t, c, zipFile(t, "f.zip", makeZip(t, base(entry{name: "sub/", mode: fs.ModeDir | 0o777}, entry{name: "sub/x", mode: 0o755 | fs.ModeSetuid | fs.ModeSticky})...)), "f")
	same(t, stored(t, f.Package), want)
	// The same files in a folder are the same package.
	if g := mustPublish(t, c, tree(t, project(map[string]string{"sub/x*": ""})), "f"); g.Package != f.Package {
		t.Error("a folder and an archive of the same files differ")
	}
	// An archive beside its project file.
	dir := tree(t, map[string]string{"serverless.yml": smallest, "other.py": ""})
	code := makeZip(t, entry{name: "h.py", content: "# code"}, entry{name: "sub/x", mode: 0o755})
	if err := os.WriteFile(filepath.Join(dir, "code.zip"), code, 0o600); err != nil {
		t.Fatal(err)
	}
	if g := mustPublish(t, c, filepath.Join(dir, "code.zip"), "f"); g.Package != f.Package {
		t.Errorf("an archive beside its project: %q", stored(t, g.Package))
	}
	// An artifact of a project in an archive.
	text := smallest + "package: {artifact: build/code.zip}\n"
	g := mustPublish(t, c, zipFile(t, "f.zip", makeZip(t, entry{name: "serverless.yml", content: text}, entry{name: "build/code.zip", content: string(code)})), "f")
	if g.Package != f.Package {
		t.Errorf("an archive in an archive: %q", stored(t, g.Package))
	}
	refused(t, c, zipFile(t, "f.zip", makeZip(t, entry{name: "h.py"})), "f", hat.Author, CodeProject, "in the archive or beside it")
	refused(t, c, zipFile(t, "f.zip", []byte("no archive")), "f", hat.Author, CodeRefused, "no zip file")
	refused(t, c, zipFile(t, "f.zip", nil), "f", hat.Author, CodeRefused, "no zip file")
}

func TestPackageTricks(t *testing.T) {
	c := open(t)
	link := func(name, target string) entry {
		return entry{name: name, content: target, mode: fs.ModeSymlink | 0o777}
	}
	zeros := strings.Repeat("\x00", freeRatio+1<<20)
	large := func(name string) entry { // says so, and holds nothing
		return entry{name: name, content: "x", header: func(h *zip.FileHeader) { h.UncompressedSize64 = 60 << 20 }}
	}
	for _, trick := range []struct {
		name string
		more []entry
		want string
	}{
		{"zip slip", []entry{{name: "../evil"}}, "\"../evil\" leads out of the package"},
		{"zip slip inside", []entry{{name: "a/../../evil"}}, "leads out"},
		{"absolute", []entry{{name: "/etc/passwd"}}, "is absolute"},
		{"drive", []entry{{name: "c:evil"}}, "drive"},
		{"backslash", []entry{{name: `..\evil`}}, "backslash"},
		{"empty part", []entry{{name: "a//b"}}, "empty part"},
		{"dot part", []entry{{name: "a/./b"}}, "empty part"},
		{"no name", []entry{{name: "/", mode: fs.ModeDir}}, "without a name"},
		{"control character", []entry{{name: "a\x1b[2Jb"}}, "control character"},
		{"U+0000", []entry{{name: "a\x00b"}}, "control character"},
		{"not UTF-8", []entry{{name: "a\xffb"}}, "not UTF-8"},
		{"long part", []entry{{name: strings.Repeat("x", 256)}}, "longer than 255"},
		{"long name", []entry{{name: strings.Repeat("x/", 600) + "y"}}, "longer than 1024"},
		{"deep", []entry{{name: strings.Repeat("x/", 64) + "y"}}, "folders deep"},
		{"twice", []entry{{name: "a"}, {name: "a"}}, "\"a\" is in the archive twice"},
		{"case", []entry{{name: "Readme"}, {name: "README"}}, "\"README\" and \"Readme\" differ only by case"},
		{"case of folders", []entry{{name: "Lib/a"}, {name: "lib/b"}}, "differ only by case"},
		{"case beyond ASCII", []entry{{name: "straße"}, {name: "STRASSE"}, {name: "ſ"}, {name: "S"}}, "differ only by case"},
		{"file and folder", []entry{{name: "a"}, {name: "a/b"}}, "both a file and a folder"},
		{"link as folder", []entry{link("a", "sub"), {name: "a/b"}, {name: "sub/c"}}, "both a file and a folder"},
		{"device", []entry{{name: "dev", mode: fs.ModeDevice | 0o666}}, "(a device)"},
		{"character device", []entry{{name: "dev", mode: fs.ModeDevice | fs.ModeCharDevice | 0o666}}, "(a device)"},
		{"fifo", []entry{{name: "pipe", mode: fs.ModeNamedPipe | 0o666}}, "(a fifo)"},
		{"socket", []entry{{name: "sock", mode: fs.ModeSocket | 0o666}}, "(a socket)"},
		{"link out", []entry{link("a", "../x")}, "link \"a\" leads out"},
		{"link to the root", []entry{link("a", "/etc/passwd")}, "it is absolute"},
		{"link out by a folder link", []entry{link("sub/up", ".."), link("a", "sub/up/../../etc/passwd")}, "leads out"},
		{"link out behind nothing", []entry{link("a", "none/../../x")}, "leads out"},
		{"link in circles", []entry{link("a", "b"), link("b", "a")}, "in circles"},
		{"link to itself", []entry{link("a", "a/x")}, "in circles"},
		{"empty link", []entry{link("a", "")}, "no usable target"},
		{"long link", []entry{link("a", strings.Repeat("x", 2000))}, "longer than 1024"},
		{"bomb", []entry{{name: "zeros", content: zeros}}, "more than 100 times its size"},
		{"too large", []entry{large("z1"), large("z2"), large("z3"), large("z4"), large("z5")}, "larger than 250 MB"},
		{"encrypted", []entry{{name: "a", content: "x", header: func(h *zip.FileHeader) { h.Flags |= 1 }}}, "encrypted"},
		{"folder with content", []entry{{name: "a", content: "x", mode: fs.ModeDir | 0o755}}, "has content"},
	} {
		t.Run(trick.name, func(t *testing.T) {
			refused(t, c, zipFile(t, "f.zip", makeZip(t, base(trick.more...)...)), "f", hat.Author, CodeRefused, trick.want)
		})
	}
	names, err := os.ReadDir(c.store.dir)
	if err != nil || len(names) != 1 { // the lock
		t.Errorf("refused packages left %v in the store, %v", names, err)
	}
}

// patch changes bytes behind the last mark in an archive: fields of a central directory entry.
func patch(t *testing.T, archive []byte, name string, offset int, value []byte) []byte {
	t.Helper()
	at := bytes.LastIndex(archive, []byte(name)) - 46 // central directory header
	if at < 0 || !bytes.HasPrefix(archive[at:], []byte("PK\x01\x02")) {
		t.Fatal("no directory entry")
	}
	changed := bytes.Clone(archive)
	copy(changed[at+offset:], value)
	return changed
}

func TestDamagedAndLyingArchives(t *testing.T) {
	c := open(t)
	sound := makeZip(t, base(entry{name: "first", content: strings.Repeat("abc", 100)}, entry{name: "zlast", content: strings.Repeat("xyz", 100)})...)
	four := func(n uint32) []byte { return binary.LittleEndian.AppendUint32(nil, n) }
	for name, archive := range map[string][]byte{
		"larger than it says":        patch(t, sound, "zlast", 24, four(10)),
		"smaller than it says":       patch(t, sound, "zlast", 24, four(10_000)),
		"wrong checksum":             patch(t, sound, "zlast", 16, four(1)),
		"overlap":                    patch(t, sound, "zlast", 42, sound[bytes.LastIndex(sound, []byte("first"))-4:][:4]),
		"outside":                    patch(t, sound, "zlast", 42, four(1<<30)),
		"packed size beyond the end": patch(t, sound, "zlast", 20, four(1<<30)),
		"unknown method":             patch(t, sound, "zlast", 10, []byte{12, 0}),
		"cut":                        sound[:len(sound)-30],
		"damaged content":            bytes.Replace(sound, sound[bytes.Index(sound, []byte("zlast"))+5:][:8], []byte("\xff\xff\xff\xff\xff\xff\xff\xff"), 1),
	} {
		t.Run(name, func(t *testing.T) {
			if bytes.Equal(archive, sound) {
				t.Fatal("nothing was changed")
			}
			refused(t, c, zipFile(t, "f.zip", archive), "f", hat.Author, CodeRefused, "")
		})
	}
	mustPublish(t, c, zipFile(t, "f.zip", sound), "f")
}

func TestArchiveDirectoryIsBounded(t *testing.T) {
	one := makeZip(t, entry{name: strings.Repeat("n", 200)})
	at := bytes.LastIndex(one, []byte("PK\x01\x02"))
	end := bytes.LastIndex(one, []byte("PK\x05\x06"))
	header := one[at:end]
	many := bytes.Clone(one[:at])
	count := (maxDirectory / len(header)) + 100
	for range count {
		many = append(many, header...)
	}
	tail := bytes.Clone(one[end:])
	binary.LittleEndian.PutUint16(tail[8:], uint16(count))
	binary.LittleEndian.PutUint16(tail[10:], uint16(count))
	binary.LittleEndian.PutUint32(tail[12:], uint32(count*len(header)))
	many = append(many, tail...)
	if _, err := readArchive(bytes.NewReader(many), int64(len(many)), false); err == nil || !strings.Contains(err.Error(), "no zip file") {
		t.Errorf("got %v", err)
	}
}

func TestFolderTricks(t *testing.T) {
	c := open(t)
	try := func(want string, spoil func(dir string) error) {
		t.Helper()
		dir := tree(t, project(map[string]string{"sub/x": ""}))
		if err := spoil(dir); err != nil {
			t.Fatal(err)
		}
		refused(t, c, dir, "f", hat.Author, CodeRefused, want)
	}
	try("leads out", func(dir string) error { return os.Symlink("../../x", filepath.Join(dir, "sub/l")) })
	try("it is absolute", func(dir string) error { return os.Symlink(filepath.Join(dir, "h.py"), filepath.Join(dir, "l")) })
	try("(a fifo)", func(dir string) error { return mkfifo(filepath.Join(dir, "pipe")) })
	try("larger than 250 MB", func(dir string) error { return os.Truncate(filepath.Join(dir, "sub/x"), 1<<40) })
	try("differ only by case", func(dir string) error { return os.WriteFile(filepath.Join(dir, "H.py"), nil, 0o600) })
	try("control character", func(dir string) error { return os.WriteFile(filepath.Join(dir, "a\nb"), nil, 0o600) })
	try("no files", func(dir string) error {
		return os.WriteFile(filepath.Join(dir, "serverless.yml"), []byte(smallest+"package: {exclude: ['**']}"), 0o600)
	})
	if os.Getuid() == 0 {
		try("(a device)", func(dir string) error { return mknod(filepath.Join(dir, "null")) })
	}
	refused(t, c, filepath.Join(t.TempDir(), "none"), "f", hat.Operator, CodeMissing, "nothing at the configured package path")
	refused(t, c, zipFile(t, "code.txt", nil), "f", hat.Operator, CodeMissing, "neither a folder nor")
	pipe := filepath.Join(t.TempDir(), "f.zip")
	if err := mkfifo(pipe); err != nil {
		t.Fatal(err)
	}
	refused(t, c, pipe, "f", hat.Author, CodeRefused, "not a regular file")
}

func TestLinksInside(t *testing.T) {
	dir := tree(t, project(map[string]string{"node_modules/x/cli.js": "#!/usr/bin/env node", "lib/a.so.1": "x"}))
	for name, target := range map[string]string{
		"node_modules/.bin/x": "../x/cli.js", "lib/a.so": "a.so.1", "folder": "node_modules/x", "folder2": "folder/../../lib",
		"node_modules/.bin/gone": "../gone/cli.js", "lib/chain": "gone", "lib/gone": "nothing",
	} {
		full := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, full); err != nil {
			t.Fatal(err)
		}
	}
	c := open(t)
	f := mustPublish(t, c, dir, "f")
	same(t, stored(t, f.Package), []string{"folder -> node_modules/x", "folder2 -> folder/../../lib", "h.py -r--r--r--", "lib/a.so -> a.so.1",
		"lib/a.so.1 -r--r--r--", "node_modules/.bin/x -> ../x/cli.js", "node_modules/x/cli.js -r--r--r--"})
	hasWarning(t, f.Warnings, "links that lead to no file of the package are left out: 3")
	if again := mustPublish(t, c, dir, "f"); again.Package != f.Package {
		t.Error("published twice")
	}
}

func TestHandlers(t *testing.T) {
	elf := func(class byte, machine uint16) string {
		b := make([]byte, 64)
		copy(b, "\x7fELF")
		b[4], b[5] = class, 1
		binary.LittleEndian.PutUint16(b[18:], machine)
		return string(b)
	}
	here, there := elfMachines[runtime.GOARCH], uint16(183)
	if runtime.GOARCH == "arm64" {
		there = 62
	}
	jar := string(makeZip(t, entry{name: "org/Main.class"}))
	for _, c := range []struct {
		runtime, handler string
		files            map[string]string
		want             string // "" is well
	}{
		{"python3.11", "h.f", map[string]string{"h.py": ""}, ""},
		{"python3.11", "pkg/mod.f", map[string]string{"pkg/mod.py": ""}, ""},
		{"python3.11", "pkg.mod.f", map[string]string{"pkg/mod/__init__.py": ""}, ""},
		{"python3.11", "h.f", map[string]string{"h.cpython-311-x86_64-linux-gnu.so": ""}, ""},
		{"python3.11", "h.f", map[string]string{"x.py": ""}, "serverless.yml:5: handler \"h.f\": the package has no file h.py"},
		{"python3.11", "h", map[string]string{"h.py": ""}, "want module.function"},
		{"nodejs20.x", "src/h.f", map[string]string{"src/h.mjs": ""}, ""},
		{"nodejs20.x", "h.f", map[string]string{"h/index.js": ""}, ""},
		{"nodejs20.x", "h.f", map[string]string{"h.ts": ""}, "must be compiled first"},
		{"nodejs20.x", "h", map[string]string{"h.js": ""}, "want file.export"},
		{"java17", "org.Main::run", map[string]string{"org/Main.class": ""}, ""},
		{"java17", "org.Main", map[string]string{"classes/org/Main.class": ""}, ""},
		{"java17", "org.Main::run", map[string]string{"lib/all.jar": jar}, ""},
		{"java17", "org.Main::run", map[string]string{"all.jar": jar}, "move the jar to lib/"},
		{"java17", "org.Other::run", map[string]string{"lib/all.jar": jar, "lib/bad.jar": "x"}, "no class org.Other"},
		{"dotnet8", "F::Ns.F::Run", map[string]string{"F.dll": ""}, ""},
		{"dotnet8", "F::Ns.F::Run", map[string]string{"G.dll": ""}, "no file F.dll"},
		{"provided.al2023", "x", map[string]string{"bootstrap*": "#!/bin/sh"}, ""},
		{"provided.al2023", "x", map[string]string{"bootstrap*": elf(2, here)}, ""},
		{"provided.al2023", "x", map[string]string{"bootstrap": elf(2, here)}, "not executable"},
		{"provided.al2023", "x", map[string]string{"main*": elf(2, here)}, "no program \"bootstrap\" at its root"},
		{"go1.x", "main", map[string]string{"main*": elf(2, here)}, ""},
		{"provided.al2023", "x", map[string]string{"bootstrap*": elf(2, there)}, "is built for"},
		{"provided.al2023", "x", map[string]string{"bootstrap*": elf(1, here)}, "is built for another one"},
		{"provided.al2023", "x", map[string]string{"bootstrap*": "MZ"}, "neither a Linux executable nor a script"},
		{"provided.al2023", "x", map[string]string{"bootstrap*": ""}, "is empty"},
	} {
		text := "service: s\nprovider: {name: aws, runtime: " + c.runtime + ", timeout: 5}\nfunctions:\n  f-bundle: {handler: '" + c.handler +
			"'}\n  f-configuration: {handler: '" + c.handler + "'}\n  f: {handler: '" + c.handler + "'}\n"
		dir := tree(t, mapsWith(c.files, "serverless.yml", text))
		if c.want == "" {
			mustPublish(t, open(t), dir, "f")
			continue
		}
		refused(t, open(t), dir, "f", hat.Author, CodeHandler, c.want)
	}
}

func TestSupports(t *testing.T) {
	c := open(t)
	c.Supports = func(runtime string) (string, string, error) {
		if runtime == "python3.11" {
			return "python3.12", "python3.11 runs as python3.12", nil
		}
		return "", "", errors.New("runtime " + runtime + " is not installed here")
	}
	f := mustPublish(t, c, tree(t, project(nil)), "f")
	if f.Process.Runtime != "python3.11" || !slices.Equal(f.Warnings, []string{"python3.11 runs as python3.12"}) {
		t.Errorf("%s, %q", f.Process.Runtime, f.Warnings)
	}
	other := strings.Replace(smallest, "python3.11", "ruby3.2", 1)
	refused(t, c, tree(t, project(map[string]string{"serverless.yml": other})), "f", hat.Operator, CodeRuntime, "serverless.yml:6: runtime ruby3.2 is not installed here")
}

func TestLoadStopsForNobody(t *testing.T) {
	c := open(t)
	good := registered(t, tree(t, project(nil)), "f")
	twin := good // the same deployed names under another id
	twin.ID = id(t, "g")
	twin.Package = tree(t, map[string]string{"h.py": "", "serverless.yml": strings.NewReplacer("f:", "g:", "f-", "g-", "h.c}", "h.c, name: s-dev-f}").Replace(smallest)})
	newer := good
	var err error
	if newer.Version, err = hat.ParseVersion("2.0.0"); err != nil {
		t.Fatal(err)
	}
	all := c.Load(t.Context(), []Registered{registered(t, "/none/such", "a"), good, good, newer, twin, registered(t, tree(t, map[string]string{"serverless.yml": "x"}), "b")})
	want := []string{CodeMissing, "", CodeDuplicate, "", CodeDuplicate, CodeProject}
	for i, f := range all {
		code := ""
		if f.Problem != nil {
			code = f.Problem.Code
		}
		if code != want[i] {
			t.Errorf("%s: %v, want %q", f.ID, f.Problem, want[i])
		}
	}
}

func TestStoreMendsItself(t *testing.T) {
	dir := t.TempDir()
	t.Cleanup(func() { _ = removeTree(dir) })
	reopen := func() *Catalog {
		c, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	source := tree(t, project(map[string]string{"lib/x.py": "original"}))
	c := reopen()
	f := mustPublish(t, c, source, "f")
	x := filepath.Join(f.Package.Dir, "lib/x.py")
	for name, damage := range map[string]func() error{
		"one bit": func() error {
			return errors.Join(os.Chmod(x, 0o600), os.WriteFile(x, []byte("originaL"), 0o600), os.Chmod(x, 0o444))
		},
		"one mode": func() error { return os.Chmod(x, 0o555) },
		"one file": func() error { return errors.Join(os.Chmod(filepath.Dir(x), 0o700), os.Remove(x)) },
		"one more": func() error {
			return errors.Join(os.Chmod(f.Package.Dir, 0o700), os.WriteFile(filepath.Join(f.Package.Dir, "y"), nil, 0o444), os.Chmod(f.Package.Dir, 0o555))
		},
		"the list": func() error {
			return errors.Join(os.Chmod(filepath.Join(f.Package.Dir, "../list"), 0o600), os.Truncate(filepath.Join(f.Package.Dir, "../list"), 20))
		},
		"no list": func() error { return os.Remove(filepath.Join(f.Package.Dir, "../list")) },
		"a link": func() error {
			return errors.Join(os.Chmod(filepath.Dir(x), 0o700), os.Remove(x), os.Symlink("/etc/passwd", x), os.Chmod(filepath.Dir(x), 0o555))
		},
		"all of it": func() error { return removeTree(filepath.Dir(f.Package.Dir)) },
	} {
		if err := damage(); err != nil {
			t.Fatal(err)
		}
		c = reopen() // a new process looks at every byte
		again := mustPublish(t, c, source, "f")
		text, err := os.ReadFile(x)
		if again.Package != f.Package || err != nil || string(text) != "original" {
			t.Errorf("%s: not mended: %v", name, err)
		}
		if err := c.store.verify(t.Context(), f.Package.Digest); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	// In one process the quick check is enough to notice what is missing.
	if err := errors.Join(os.Chmod(filepath.Dir(x), 0o700), os.Remove(x)); err != nil {
		t.Fatal(err)
	}
	mustPublish(t, c, source, "f")
	if _, err := os.Stat(x); err != nil {
		t.Error("a missing file was not noticed")
	}
}

func TestGarbageAndPrune(t *testing.T) {
	dir := t.TempDir()
	t.Cleanup(func() { _ = removeTree(dir) })
	left := filepath.Join(dir, "packages", "new-LEFT", "files", "sub")
	if err := os.MkdirAll(left, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(left, 0o555); err != nil {
		t.Fatal(err)
	}
	c, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "packages", "new-LEFT")); !errors.Is(err, fs.ErrNotExist) {
		t.Error("garbage of an interrupted publish is still there")
	}
	old := mustPublish(t, c, tree(t, project(nil)), "f")
	kept := mustPublish(t, c, tree(t, project(map[string]string{"more": "x"})), "f")
	removed, err := c.Prune([]Function{kept})
	if err != nil || !slices.Equal(removed, []string{old.Package.Digest}) {
		t.Errorf("removed %v, %v", removed, err)
	}
	if _, err := os.Stat(old.Package.Dir); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the old package is still there")
	}
	if err := c.store.verify(t.Context(), kept.Package.Digest); err != nil {
		t.Error(err)
	}
	// While somebody publishes, another process leaves the unfinished alone.
	unlock, err := c.store.lock(0x1) // shared
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(left, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(left); err != nil {
		t.Error("the work of another process was removed")
	}
	unlock()
}

func TestManyAtOnce(t *testing.T) {
	c := open(t)
	dir := tree(t, project(map[string]string{"a": "1", "b/c": "2"}))
	done := make(chan Package)
	for range 8 {
		go func() {
			f, err := c.Publish(t.Context(), registered(t, dir, "f"))
			if err != nil {
				t.Error(err)
			}
			done <- f.Package
		}()
	}
	first := <-done
	for range 7 {
		if p := <-done; p != first {
			t.Errorf("%v and %v", p, first)
		}
	}
	names, err := os.ReadDir(c.store.dir)
	if err != nil || len(names) != 2 {
		t.Errorf("%v, %v", names, err)
	}
}

func TestPatience(t *testing.T) {
	c := open(t)
	c.Patience = -time.Second
	refused(t, c, tree(t, project(nil)), "f", hat.Operator, CodeSlow, "not read in time")
	c.Patience = time.Minute
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Publish(ctx, registered(t, tree(t, project(nil)), "f")); hat.FaultOf(err).Code != CodeSlow {
		t.Error(err)
	}
}

func TestListRoundTrip(t *testing.T) {
	all := []listed{
		{kind: 'f', sum: sha256.Sum256([]byte("x")), size: 1, name: `with "quotes" and spaces`},
		{kind: 'l', link: "../ü x", name: "link"}, {kind: 'x', name: "ü/run"},
	}
	got, err := parseList(formatList(all))
	if err != nil || !slices.Equal(got, all) {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"", "she package 2\n", listHead + "f", listHead + "f \n", listHead + "f 00 1 \"a\"\n", listHead + "q x\n",
		listHead + "l \"a\n", listHead + "f " + hex.EncodeToString(make([]byte, 32)) + " 1 \"../a\"\n"} {
		if _, err := parseList([]byte(bad)); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

// FuzzArchive: whatever an archive holds, what is stored stays in the store and is what the archive said.
func FuzzArchive(f *testing.F) {
	f.Add("a/b", "c", "../d", uint32(0o644))
	f.Add("../x", "A", "a", uint32(fs.ModeSymlink))
	f.Add("l", "x/../y", "x", uint32(fs.ModeNamedPipe))
	f.Fuzz(func(t *testing.T, one, two, content string, mode uint32) {
		if len(one) > 1<<12 || len(two) > 1<<12 || len(content) > 1<<12 {
			return
		}
		archive := makeZip(t, entry{name: "h.py"}, entry{name: one, content: content, mode: fs.FileMode(mode) &^ fs.ModeDir}, entry{name: two + "x", content: one})
		a, err := readArchive(bytes.NewReader(archive), int64(len(archive)), false)
		if err != nil {
			return
		}
		all, err := a.files(t.Context(), ".")
		if err != nil {
			return
		}
		c, err := check(all, false)
		if err != nil {
			return
		}
		for _, file := range c.files {
			if !fs.ValidPath(file.name) || !filepath.IsLocal(file.name) {
				t.Errorf("name %q came through", file.name)
			}
			if file.mode&fs.ModeSymlink != 0 && filepath.IsAbs(file.link) {
				t.Errorf("link %q came through", file.link)
			}
		}
		s, err := openStore(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		p, err := s.put(t.Context(), c)
		if err != nil {
			return
		}
		defer removeTree(s.dir)
		for _, file := range c.files {
			real, err := filepath.EvalSymlinks(filepath.Join(p.Dir, file.name))
			if err != nil || !strings.HasPrefix(real, p.Dir) {
				t.Errorf("%q leads to %q, %v", file.name, real, err)
			}
		}
	})
}

// FuzzGlob: what compiles never crashes and never lets a star cross a folder.
func FuzzGlob(f *testing.F) {
	for _, p := range []string{"**/*.{js,ts}", "a/**", "[!a-z]?", "@(a|b)+(c)", "{1..3}", `\[x\]`, "{a,{b,c}}"} {
		f.Add(p, "a/b.js")
	}
	f.Fuzz(func(t *testing.T, pattern, name string) {
		re, err := compileGlob(pattern)
		if err != nil {
			return
		}
		if re.MatchString("aa/bb") && !strings.ContainsAny(pattern, "/") && !strings.Contains(pattern, "**") {
			t.Errorf("pattern %q crossed a folder", pattern)
		}
		re.MatchString(name)
	})
}
