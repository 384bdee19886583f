package erofs

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// TestImagesHoldWhatOthersMayRead: the bytes of an image are open to whoever maps it, so what others may not read on the
// host is not among them, whatever bits of the mode say so.
func TestImagesHoldWhatOthersMayRead(t *testing.T) {
	const secret, open = "the owner's alone", "everyone's"
	for _, c := range []struct {
		directory, file os.FileMode
		content         string // of the file
		held, named     bool   // in the image
	}{
		{0o755, 0o644, open, true, true},
		{0o755, 0o444, open, true, true},
		{0o755, 0o604, open, true, true},
		{0o755, 0o755, open, true, true},
		{0o755, 0o600, secret, false, true},
		{0o755, 0o640, secret, false, true},
		{0o755, 0o660, secret, false, true},
		{0o755, 0o622, secret, false, true},
		{0o755, 0o711, secret, false, false},
		{0o755, 0o710, secret, false, true}, // others may not run it either
		{0o755, 0o4711, secret, false, false},
		{0o711, 0o644, secret, false, false},
		{0o744, 0o644, secret, false, false},
		{0o750, 0o644, secret, false, false},
		{0o700, 0o644, secret, false, false},
		{0o710, 0o755, secret, false, false},
	} {
		dir := t.TempDir()
		in := filepath.Join(dir, "inner")
		file := filepath.Join(in, "some-name")
		mode := c.file & 0o777
		if c.file&0o4000 != 0 {
			mode |= os.ModeSetuid
		}
		for _, err := range []error{os.Mkdir(in, 0o755), os.WriteFile(file, []byte(c.content), 0o600), os.Chmod(file, mode), os.Chmod(in, c.directory)} {
			if err != nil {
				t.Fatal(err)
			}
		}
		root, size, err := Walk(dir)
		if err != nil {
			t.Fatal(err)
		}
		image := written(t, root)
		if held := bytes.Contains(image, []byte(c.content)); held != c.held || held != (size > 0) {
			t.Errorf("a file of mode %o in a directory of mode %o: its content is in the image: %t, of %d bytes", c.file, c.directory, held, size)
		}
		if named := bytes.Contains(image, []byte("some-name")); named != c.named {
			t.Errorf("a file of mode %o in a directory of mode %o: its name is in the image: %t", c.file, c.directory, named)
		}
	}
}

// TestImageWithOneFile puts a file of the host in place of another; one that others may not read is refused.
func TestImageWithOneFile(t *testing.T) {
	dir := t.TempDir()
	other, link := filepath.Join(dir, "other"), filepath.Join(dir, "link")
	for _, err := range []error{
		os.Mkdir(filepath.Join(dir, "bin"), 0o755), os.Symlink("dash", filepath.Join(dir, "bin", "sh")),
		os.WriteFile(other, []byte("another shell"), 0o755), os.Symlink("other", link),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	root, _, err := Walk(filepath.Join(dir, "bin"))
	if err != nil {
		t.Fatal(err)
	}
	file, size, err := Walk(link)
	if err != nil || size != 13 {
		t.Fatalf("%d bytes, %v", size, err)
	}
	if err := root.Put("sh", file); err != nil {
		t.Fatal(err)
	}
	if image := written(t, root); !bytes.Contains(image, []byte("another shell")) || bytes.Contains(image, []byte("dash")) {
		t.Error("the file is not in the place of the other")
	}
	if err := os.Chmod(other, 0o711); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Walk(link); err == nil {
		t.Error("a file others may not read is described")
	}
}

func written(t *testing.T, root *Node) []byte {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "image"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := Write(t.Context(), f, root, ID{}); err != nil {
		t.Fatal(err)
	}
	image, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return image
}
