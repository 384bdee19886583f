package catalog

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestLocalHeadersDoNotCount: an archive names each entry twice. What its directory says is checked and used; what the
// entry itself says, for readers that go from front to back, can't put anything elsewhere.
func TestLocalHeadersDoNotCount(t *testing.T) {
	c := open(t)
	sound := makeZip(t, base(entry{name: "sub/xx", content: "content"})...)
	at := bytes.Index(sound, []byte("sub/xx")) // the first is the entry's own
	for name, change := range map[string]func(b []byte){
		"another name":     func(b []byte) { copy(b[at:], "../xyz") },
		"an absolute name": func(b []byte) { copy(b[at:], "/etc/x") },
		"another method":   func(b []byte) { binary.LittleEndian.PutUint16(b[at-22:], 12) },
		"encrypted":        func(b []byte) { b[at-24] |= 1 },
		"other sizes":      func(b []byte) { copy(b[at-12:], "\xff\xff\xff\x7f\xff\xff\xff\x7f") },
	} {
		archive := bytes.Clone(sound)
		change(archive)
		if bytes.Equal(archive, sound) {
			t.Fatalf("%s: nothing was changed", name)
		}
		f := mustPublish(t, c, zipFile(t, "f.zip", archive), "f")
		same(t, stored(t, f.Package), []string{"h.py -r--r--r--", "sub/xx -r--r--r--"})
	}
	// A name that is said to be longer moves the content; its checksum tells.
	longer := bytes.Clone(sound)
	binary.LittleEndian.PutUint16(longer[at-4:], uint16(len("sub/xx")+1))
	if err := unpack(t, t.TempDir(), longer, false); err == nil {
		t.Error("content from another place was taken")
	}
}

// unpack writes what the bytes of an archive hold to dir/files, as publishing would without a project file, but not
// durably: a flush takes longer than all else.
func unpack(t *testing.T, dir string, archive []byte, jar bool) error {
	t.Helper()
	a, err := readArchive(bytes.NewReader(archive), int64(len(archive)), jar)
	if err != nil {
		return err
	}
	all, err := a.files(t.Context(), ".")
	if err != nil {
		return err
	}
	c, err := check(all, jar)
	if err != nil {
		return err
	}
	listed, err := sums(t.Context(), c)
	if err != nil {
		return err
	}
	list := formatList(listed)
	if err := write(t.Context(), dir, c, listed, list); err != nil {
		return err
	}
	if err := verifyPackage(t.Context(), dir, fmt.Sprintf("sha256:%x", sha256.Sum256(list)), false); err != nil {
		t.Errorf("what was just written is not what is listed: %v", err)
	}
	return nil
}

// FuzzUnpack reads arbitrary bytes as an archive. Whatever they are, nothing is written beside the package, what is in it
// are files, folders and links that stay within the package, with plain modes, and no more bytes than were allowed.
func FuzzUnpack(f *testing.F) {
	link := func(name, target string) entry {
		return entry{name: name, content: target, mode: fs.ModeSymlink | 0o777}
	}
	for _, archive := range [][]byte{
		makeZip(f, base(entry{name: "sub/", mode: fs.ModeDir | 0o777}, entry{name: "sub/x", content: strings.Repeat("x", 300), mode: 0o755 | fs.ModeSetuid})...),
		makeZip(f, entry{name: "a", content: "1"}, link("l", "a"), link("sub/up", "../a")),
		makeZip(f, entry{name: "../evil"}), makeZip(f, entry{name: "/etc/evil"}), makeZip(f, link("l", "../../evil"), entry{name: "l/x", content: "1"}),
		makeZip(f, entry{name: "META-INF/MANIFEST.MF"}, entry{name: "a"}, entry{name: "A"}, entry{name: "dev", mode: fs.ModeDevice | 0o666}),
		makeZip(f, entry{name: "claims", content: "x", header: func(h *zip.FileHeader) { h.UncompressedSize64 = 1 << 30 }}),
		[]byte("PK\x05\x06" + strings.Repeat("\x00", 18)), nil,
	} {
		f.Add(archive, false)
		f.Add(archive, true)
	}
	work := f.TempDir()
	f.Fuzz(func(t *testing.T, archive []byte, jar bool) {
		if len(archive) > 1<<16 {
			return
		}
		around, err := os.MkdirTemp(work, "")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = removeTree(around) }()
		dir := filepath.Join(around, "one", "two", "package")
		if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
			t.Fatal(err)
		}
		err = unpack(t, dir, archive, jar)
		files := filepath.Join(dir, "files")
		var refused *unsafeError
		if err != nil && !errors.As(err, &refused) {
			t.Errorf("an archive is refused with %v", err)
		}
		var total int64
		walk := filepath.WalkDir(around, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			if !strings.HasPrefix(path, dir) && !d.IsDir() {
				t.Errorf("%q was written beside the package", path)
			}
			if refused != nil || !strings.HasPrefix(path, files+"/") {
				return nil
			}
			switch mode := info.Mode(); {
			case mode&fs.ModeSymlink != 0:
				to, err := filepath.EvalSymlinks(path)
				if err != nil || !strings.HasPrefix(to, files+"/") && to != files {
					t.Errorf("link %q leads to %q, %v", path, to, err)
				}
			case mode != 0o444 && mode != 0o555 && mode != fs.ModeDir|0o555 && mode != fs.ModeDir|0o755:
				t.Errorf("%q has the mode %v", path, mode)
			case mode.IsRegular():
				total += info.Size()
			}
			return nil
		})
		if walk != nil {
			t.Error(walk)
		}
		if bound := int64(max(freeRatio, maxRatio*len(archive))); total > bound {
			t.Errorf("%d bytes of archive became %d", len(archive), total)
		}
	})
}
