package gvisor

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

func filesOf(t *testing.T) *files {
	t.Helper()
	f, err := openFiles(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.close)
	return f
}

func tree(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "lib", "deep"), 0o755); err != nil {
		t.Fatal(err)
	}
	change(t, filepath.Join(dir, "lib", "deep", "file"), "one")
	return dir
}

func change(t *testing.T, file, content string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func await(t *testing.T, f *files, dir string) (id string) {
	t.Helper()
	id, err := f.await(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(id)
	if err != nil || len(b)%4096 != 0 {
		t.Errorf("an image of %d bytes, %v", len(b), err)
	}
	if found, ok := f.find(dir); !ok || found != id {
		t.Errorf("made %s, found %s, %t", id, found, ok)
	}
	return id
}

func kept(t *testing.T, f *files) (images []string) {
	t.Helper()
	images, err := filepath.Glob(filepath.Join(f.dir, "*"+imageExt))
	if err != nil {
		t.Fatal(err)
	}
	if half, _ := filepath.Glob(filepath.Join(f.dir, "*.making")); len(half) > 0 {
		t.Errorf("left behind: %s", half)
	}
	return images
}

// TestImagesAreMadeOnce asks for an image many times at once, through two servers.
func TestImagesAreMadeOnce(t *testing.T) {
	f, dir := filesOf(t), tree(t)
	other, err := openFiles(f.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer other.close()
	if _, ok := f.find(dir); ok {
		t.Error("an image is there before it is made")
	}
	var all sync.WaitGroup
	ids := make([]string, 16)
	for i := range ids {
		all.Go(func() { ids[i], _ = []*files{f, other}[i%2].await(t.Context(), dir) })
	}
	all.Wait()
	for _, id := range ids {
		if id == "" || id != ids[0] {
			t.Errorf("the same directory has images %q", ids)
		}
	}
	if len(kept(t, f)) != 1 {
		t.Errorf("kept: %s", kept(t, f))
	}
	if again, err := openFiles(f.dir); err != nil || await(t, again, dir) != ids[0] {
		t.Errorf("in another life the image is another: %v", err)
	}
}

// TestImagesFollowTheirDirectory changes a directory near its top, which is seen at once, and deep inside, which is seen
// when its whole tree is looked at.
func TestImagesFollowTheirDirectory(t *testing.T) {
	f, dir := filesOf(t), tree(t)
	first := await(t, f, dir)
	change(t, filepath.Join(dir, "lib", "new"), "")
	if _, ok := f.find(dir); ok {
		t.Error("an image without a new file is used")
	}
	second := await(t, f, dir)
	if second == first {
		t.Error("a new file makes no new image")
	}
	change(t, filepath.Join(dir, "lib", "deep", "file"), "two")
	if id, ok := f.find(dir); !ok || id != second {
		t.Fatal("the test proves nothing: a change so deep is seen")
	}
	long := time.Now().Add(-2 * lookAfter)
	if err := os.Chtimes(f.indexOf(dir), long, long); err != nil {
		t.Fatal(err)
	}
	if id, ok := f.find(dir); !ok || id != second {
		t.Error("an image that is due to be compared is not used meanwhile")
	}
	<-f.begin(dir).done
	third := await(t, f, dir)
	if third == second {
		t.Error("a change deep inside is never seen")
	}
	f.tidy(time.Now())
	if len(kept(t, f)) != 3 {
		t.Errorf("an image another server may be about to use is removed: %s", kept(t, f))
	}
	f.tidy(time.Now().Add(2 * orphanAge))
	if left := kept(t, f); len(left) != 1 || left[0] != third {
		t.Errorf("kept of three: %s", left)
	}
}

func TestDamagedImagesAreMadeAgain(t *testing.T) {
	for name, damage := range map[string]func(b []byte) []byte{
		"cut off":    func(b []byte) []byte { return b[:len(b)-4096] },
		"empty":      func([]byte) []byte { return nil },
		"superblock": func(b []byte) []byte { b[1024+40]++; return b },
		"beside it":  func(b []byte) []byte { b[1024+200]++; return b },
		"another's":  func(b []byte) []byte { b[1024+50]++; return b },
	} {
		t.Run(name, func(t *testing.T) {
			f, dir := filesOf(t), tree(t)
			id := await(t, f, dir)
			was, err := os.ReadFile(id)
			if err != nil {
				t.Fatal(err)
			}
			change(t, id, string(damage(bytes.Clone(was))))
			if _, ok := f.find(dir); ok {
				t.Error("a damaged image is used")
			}
			if await(t, f, dir) != id {
				t.Error("the image is another now")
			}
			if b, err := os.ReadFile(id); err != nil || !bytes.Equal(b, was) {
				t.Errorf("the image was not made again: %v", err)
			}
		})
	}
	t.Run("index", func(t *testing.T) {
		f, dir := filesOf(t), tree(t)
		id := await(t, f, dir)
		change(t, f.indexOf(dir), `{"Directory":`)
		if await(t, f, dir) != id {
			t.Error("the image is another now")
		}
	})
}

func TestImagesGoWithTheirDirectory(t *testing.T) {
	f := filesOf(t)
	gone, forgotten, unused, stays := tree(t), tree(t), tree(t), tree(t)
	for _, dir := range []string{gone, forgotten, unused, stays} {
		await(t, f, dir)
	}
	if err := os.RemoveAll(gone); err != nil {
		t.Fatal(err)
	}
	f.forget(forgotten)
	long := time.Now().Add(-2 * keepUnused)
	if err := os.Chtimes(f.indexOf(unused), long, long); err != nil {
		t.Fatal(err)
	}
	f.tidy(time.Now())
	id, _ := f.find(stays)
	if left := kept(t, f); len(left) != 1 || left[0] != id {
		t.Errorf("kept: %s", left)
	}
	if info, err := os.Stat(id); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("an image others may read: %v", err)
	}
}

// TestNoRoomForAnImage has a file in the tree that is larger than any disk. It is not tried again and again.
func TestNoRoomForAnImage(t *testing.T) {
	f, dir := filesOf(t), tree(t)
	if err := os.Truncate(filepath.Join(dir, "lib", "deep", "file"), 15<<40); err != nil {
		t.Skip(err)
	}
	_, first := f.await(t.Context(), dir)
	_, second := f.await(t.Context(), dir)
	if first == nil || second != first {
		t.Errorf("%v, then %v", first, second)
	}
	if left := kept(t, f); len(left) > 0 {
		t.Errorf("kept: %s", left)
	}
	if _, err := f.await(t.Context(), filepath.Join(dir, "absent")); err == nil {
		t.Error("what is not there has an image")
	}
}

func TestNobodyWaitsForeverForAnImage(t *testing.T) {
	f, dir := filesOf(t), tree(t)
	unlock, err := f.lock(t.Context(), f.indexOf(dir)[:len(f.indexOf(dir))-len(".json")]+".lock")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.await(ctx, dir); err == nil {
		t.Error("an image another server makes is there")
	}
	f.close()
	unlock()
	if _, err := f.await(t.Context(), dir); err == nil {
		t.Error("an image is made after the end")
	}
}
