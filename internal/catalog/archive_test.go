package catalog

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"she/internal/hat"
)

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

// base returns a whole project as entries.
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
	if g := mustPublish(t, c, tree(t, python(map[string]string{"sub/x*": ""})), "f"); g.Package != f.Package {
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
	refused(t, c, zipFile(t, "f.zip", []byte("no archive")), "f", hat.Author, CodeRefused, "not a zip file")
	refused(t, c, zipFile(t, "f.zip", nil), "f", hat.Author, CodeRefused, "not a zip file")
}

func TestPackageTricks(t *testing.T) {
	c := open(t)
	link := func(name, target string) entry {
		return entry{name: name, content: target, mode: fs.ModeSymlink | 0o777}
	}
	zeros := strings.Repeat("\x00", freeRatio+1<<20)
	large := func(name string) entry { // declares a size but contains nothing
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

// patch changes bytes at an offset from the last central directory entry with this name.
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
	if _, err := readArchive(bytes.NewReader(many), int64(len(many)), false); err == nil || !strings.Contains(err.Error(), "not a zip file") {
		t.Errorf("got %v", err)
	}
}

func TestFolderTricks(t *testing.T) {
	c := open(t)
	try := func(want string, spoil func(dir string) error) {
		t.Helper()
		dir := tree(t, python(map[string]string{"sub/x": ""}))
		if err := spoil(dir); err != nil {
			t.Fatal(err)
		}
		refused(t, c, dir, "f", hat.Author, CodeRefused, want)
	}
	try("leads out", func(dir string) error { return os.Symlink("../../x", filepath.Join(dir, "sub/l")) })
	try("it is absolute", func(dir string) error { return os.Symlink(filepath.Join(dir, "h.py"), filepath.Join(dir, "l")) })
	try("(a fifo)", func(dir string) error { return mkfifo(filepath.Join(dir, "pipe")) })
	try("serverless.yml:6: the package is larger than 250 MB", func(dir string) error { return os.Truncate(filepath.Join(dir, "sub/x"), 1<<40) })
	try("differ only by case", func(dir string) error { return os.WriteFile(filepath.Join(dir, "H.py"), nil, 0o600) })
	try("control character", func(dir string) error { return os.WriteFile(filepath.Join(dir, "a\nb"), nil, 0o600) })
	try("no files", func(dir string) error {
		return os.WriteFile(filepath.Join(dir, "serverless.yml"), []byte(smallest+"package: {exclude: ['**']}"), 0o600)
	})
	if os.Getuid() == 0 {
		try("(a device)", func(dir string) error { return mknod(filepath.Join(dir, "null")) })
	}
	refused(t, c, filepath.Join(t.TempDir(), "none"), "f", hat.Operator, CodeMissing, "nothing at the configured package path")
	refused(t, c, zipFile(t, "code.txt", nil), "f", hat.Operator, CodeBare, "needs a runtime and a handler")
	pipe := filepath.Join(t.TempDir(), "f.zip")
	if err := mkfifo(pipe); err != nil {
		t.Fatal(err)
	}
	refused(t, c, pipe, "f", hat.Author, CodeRefused, "not a regular file")
}

func TestLinksInside(t *testing.T) {
	dir := tree(t, python(map[string]string{"node_modules/x/cli.js": "#!/usr/bin/env node", "lib/a.so.1": "x"}))
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

// No archive writes outside the store, and what is stored is what the archive declared.
func FuzzArchive(f *testing.F) {
	f.Add("a/b", "c", "../d", uint32(0o644))
	f.Add("../x", "A", "a", uint32(fs.ModeSymlink))
	f.Add("l", "x/../y", "x", uint32(fs.ModeNamedPipe))
	f.Add("folder/", "x", "x", uint32(0o755))
	f.Fuzz(func(t *testing.T, one, two, content string, mode uint32) {
		if len(one) > 1<<12 || len(two) > 1<<12 || len(content) > 1<<12 {
			return
		}
		if strings.HasSuffix(one, "/") {
			content = "" // the writer takes it for a folder, which has none
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

// streamed writes a project as an archive to a pipe. So the sizes follow each entry, and all sizes and
// offsets have 64 bits, as in archives beyond 4 GB.
const streamed = `
import sys, zipfile
if sys.argv[1] == "64":
    zipfile.ZIP64_LIMIT = 1
with zipfile.ZipFile(sys.stdout.buffer, "w", zipfile.ZIP_DEFLATED) as z:
    for name, content in zip(sys.argv[2::2], sys.argv[3::2]):
        with z.open(zipfile.ZipInfo(name), "w", force_zip64=sys.argv[1] == "64") as f:
            f.write(content.encode())
`

func TestStreamedArchives(t *testing.T) {
	c := open(t)
	want := mustPublish(t, c, zipFile(t, "f.zip", makeZip(t, base()...)), "f")
	for _, bits := range []string{"32", "64"} {
		archive, err := exec.Command("python3", "-I", "-c", streamed, bits, "serverless.yml", smallest, "h.py", "# code").Output()
		if err != nil {
			t.Skip("no Python: ", err)
		}
		if is64 := bytes.Contains(archive, []byte("PK\x06\x06")); is64 != (bits == "64") {
			t.Fatalf("an archive of %s bits is not", bits)
		}
		if f := mustPublish(t, c, zipFile(t, "f.zip", archive), "f"); f.Package != want.Package {
			t.Errorf("%s bits: %q", bits, stored(t, f.Package))
		}
		if bits == "64" { // what the directory says in 64 bits is checked too
			directory := archive[bytes.Index(archive, []byte("PK\x01\x02")):]
			at := bytes.Index(directory, []byte{1, 0, 24, 0}) // sizes and a place
			if at < 0 {
				t.Fatal("the archive's directory has no sizes of 64 bits")
			}
			binary.LittleEndian.PutUint64(directory[at+4:], 1<<40)
			refused(t, c, zipFile(t, "f.zip", archive), "f", hat.Author, CodeRefused, "larger than")
		}
	}
}
