package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	reader "gvisor.dev/gvisor/pkg/erofs"

	"she/internal/sandbox/gvisor/erofs"
)

// TestImagesAsGVisorReadsThem writes images of trees and compares what gVisor finds in them with what is on the host:
// listed, looked up by name, and read. Where fsck.erofs is installed, it must have nothing to say.
func TestImagesAsGVisorReadsThem(t *testing.T) {
	chance := rand.New(rand.NewPCG(3, 4))
	trees := map[string]func(t *testing.T, dir string){
		"empty": func(*testing.T, string) {},
		"all kinds": func(t *testing.T, dir string) {
			put(t, dir, "empty", nil, 0o600)
			put(t, dir, "program", []byte("#!/bin/sh\n"), 0o4755)
			put(t, dir, "a/b/c/page", bytes.Repeat([]byte{7}, 4096), 0o444)
			put(t, dir, "a/b/c/two pages", bytes.Repeat([]byte{8}, 4097), 0o644)
			put(t, dir, "a/"+strings.Repeat("ä", 127)+"x", []byte{1}, 0o644)
			for _, err := range []error{
				os.Symlink("a/b", filepath.Join(dir, "link")),
				os.Symlink("/"+strings.Repeat("far/", 1020)+"away", filepath.Join(dir, "long link")),
				os.Link(filepath.Join(dir, "program"), filepath.Join(dir, "a", "same program")),
				os.Mkdir(filepath.Join(dir, "closed"), 0o700),
				os.Chown(filepath.Join(dir, "closed"), 7, 70000),
				os.Chtimes(filepath.Join(dir, "a/b/c/page"), time.Time{}, time.Unix(499_000_000, 123)),
				syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o644), // is left out
			} {
				if err != nil {
					t.Fatal(err)
				}
			}
		},
		// Directories that fill their blocks to the last byte, or miss it by one.
		"many names": func(t *testing.T, dir string) {
			for i := range 5000 {
				put(t, dir, fmt.Sprintf("large/%d-%s", i, strings.Repeat("n", chance.IntN(240))), nil, 0o644)
			}
			for size := range 40 {
				for i := range 31 {
					put(t, dir, fmt.Sprintf("edge/%d/%02d%s", size, i, strings.Repeat("e", 114)), nil, 0o644)
				}
				put(t, dir, fmt.Sprintf("edge/%d/%s", size, strings.Repeat("f", 1+size)), nil, 0o644)
			}
		},
		"by chance": func(t *testing.T, dir string) {
			for range 800 {
				at := ""
				for range chance.IntN(5) {
					at += fmt.Sprintf("d%d/", chance.IntN(6))
				}
				content := make([]byte, chance.IntN(3)*4096+chance.IntN(3))
				for i := range content {
					content[i] = byte(chance.Uint32())
				}
				put(t, dir, at+fmt.Sprint("f", chance.Uint32()), content, 0o644)
			}
		},
	}
	for name, fill := range trees {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			fill(t, dir)
			file := write(t, dir, 1)
			seen, err := os.Open(file)
			if err != nil {
				t.Fatal(err)
			}
			image, err := reader.OpenImage(seen)
			if err != nil {
				t.Fatal(err)
			}
			defer image.Close()
			if id := image.SuperBlock().UUID; id != (erofs.ID{1}) {
				t.Errorf("the image is named %x", id)
			}
			inodes := map[string]uint64{}
			compare(t, image, image.RootNid(), image.RootNid(), dir, inodes)
			if first := inodes[filepath.Join(dir, "program")]; first != inodes[filepath.Join(dir, "a", "same program")] {
				t.Error("two names of one file are two files")
			}
			again, err := os.ReadFile(write(t, dir, 1))
			if err != nil {
				t.Fatal(err)
			}
			if once, err := os.ReadFile(file); err != nil || !bytes.Equal(once, again) {
				t.Errorf("the same tree has two images: %v", err)
			}
			if fsck, err := exec.LookPath("fsck.erofs"); err == nil {
				if out, err := exec.Command(fsck, "--extract="+filepath.Join(t.TempDir(), "out"), file).CombinedOutput(); err != nil {
					t.Errorf("fsck.erofs: %v: %s", err, out)
				}
			}
		})
	}
}

// TestImagesOfChangingFiles changes a file between being described and being written.
func TestImagesOfChangingFiles(t *testing.T) {
	for name, change := range map[string]func(file string) error{
		"shorter": func(file string) error { return os.Truncate(file, 1) },
		"newer":   func(file string) error { return os.Chtimes(file, time.Time{}, time.Now().Add(time.Hour)) },
		"gone":    os.Remove,
		"a link": func(file string) error {
			return os.Rename(filepath.Join(filepath.Dir(file), "link"), file)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			put(t, dir, "file", []byte("four"), 0o644)
			if err := os.Symlink("/etc/passwd", filepath.Join(dir, "link")); err != nil {
				t.Fatal(err)
			}
			root, bytes, err := erofs.Walk(dir)
			if err != nil || bytes != 4 {
				t.Fatalf("%d bytes, %v", bytes, err)
			}
			if err := change(filepath.Join(dir, "file")); err != nil {
				t.Fatal(err)
			}
			f, err := os.Create(filepath.Join(t.TempDir(), "image"))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if err := erofs.Write(t.Context(), f, root, erofs.ID{}); err == nil {
				t.Error("an image of a file that changed was written")
			}
		})
	}
}

func put(t *testing.T, dir, name string, content []byte, mode fs.FileMode) {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if mode >= 0o4000 {
		mode = mode&0o777 | fs.ModeSetuid
	}
	if err := os.Chmod(file, mode); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, dir string, id byte) string {
	t.Helper()
	root, _, err := erofs.Walk(dir)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "image"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := erofs.Write(t.Context(), f, root, erofs.ID{id}); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

// compare compares one file of an image, and all below it, with the host's.
func compare(t *testing.T, image *reader.Image, nid, parent uint64, path string, inodes map[string]uint64) {
	t.Helper()
	inodes[path] = nid
	inode, err := image.Inode(nid)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	st := info.Sys().(*syscall.Stat_t)
	if inode.Mode() != uint16(st.Mode) || inode.UID() != st.Uid || inode.GID() != st.Gid || uint64(inode.Nlink()) != st.Nlink ||
		int64(inode.Mtime()) != st.Mtim.Sec || int64(inode.MtimeNsec()) != st.Mtim.Nsec {
		t.Errorf("%s has mode %o, owner %d.%d, %d links, changed at %d.%d; on the host %+v", path,
			inode.Mode(), inode.UID(), inode.GID(), inode.Nlink(), inode.Mtime(), inode.MtimeNsec(), st)
	}
	switch {
	case inode.IsRegular():
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		at, err := inode.DataOffset()
		if err != nil || at%4096 != 0 {
			t.Errorf("%s can't be mapped: its content is at %d, %v", path, at, err)
		}
		ranges, err := inode.DataRanges()
		if err != nil || inode.Size() != uint64(len(want)) || !bytes.Equal(ranges[0].Bytes, want) {
			t.Errorf("%s has another content, or %v", path, err)
		}
	case inode.IsSymlink():
		want, err := os.Readlink(path)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := inode.Readlink(); err != nil || got != want {
			t.Errorf("%s leads to %q, %v", path, got, err)
		}
	case inode.IsDir():
		var names []string
		children := map[string]uint64{}
		if err := inode.IterDirents(func(name string, _ uint8, nid uint64) error {
			names = append(names, name)
			children[name] = nid
			return nil
		}); err != nil {
			t.Fatalf("list %s: %v", path, err)
		}
		if children["."] != nid || children[".."] != parent || !slices.IsSorted(names) {
			t.Errorf("%s has . %d, .. %d, sorted: %t", path, children["."], children[".."], slices.IsSorted(names))
		}
		entries, err := os.ReadDir(path)
		if err != nil {
			t.Fatal(err)
		}
		entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return e.Type() == fs.ModeNamedPipe })
		if len(entries)+2 != len(names) {
			t.Errorf("%s has %d names, on the host %d", path, len(names)-2, len(entries))
		}
		for _, e := range entries {
			found, err := inode.Lookup(e.Name())
			if err != nil || found != children[e.Name()] {
				t.Errorf("%q is not found in %s: %v", e.Name(), path, err)
				continue
			}
			compare(t, image, found, nid, filepath.Join(path, e.Name()), inodes)
		}
		for _, absent := range []string{"", "0", "edge of", "zzz", strings.Repeat("z", 255)} {
			if _, err := inode.Lookup(absent); err == nil && !slices.Contains(names, absent) {
				t.Errorf("%q is found in %s", absent, path)
			}
		}
	default:
		t.Errorf("%s is of an odd kind", path)
	}
}
