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
	f, err := openFiles(t.TempDir(), false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.close)
	return f
}

func directory(t *testing.T) string {
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

// alone is the tree of one directory.
func alone(dir string) tree { return tree{{Source: dir, At: "/"}} }

func await(t *testing.T, f *files, dir string) (id string) {
	t.Helper()
	id, err := f.await(t.Context(), alone(dir))
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(id)
	if err != nil || len(b)%4096 != 0 {
		t.Errorf("an image of %d bytes, %v", len(b), err)
	}
	if found, ok := f.find(alone(dir)); !ok || found != id {
		t.Errorf("made %s, found %s, %t", id, found, ok)
	}
	return id
}

func kept(t *testing.T, f *files) (images []string) {
	t.Helper()
	f.work.Wait()
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
	f, dir := filesOf(t), directory(t)
	other, err := openFiles(f.dir, false)
	if err != nil {
		t.Fatal(err)
	}
	defer other.close()
	if _, ok := f.find(alone(dir)); ok {
		t.Error("an image is there before it is made")
	}
	var all sync.WaitGroup
	ids := make([]string, 16)
	for i := range ids {
		all.Go(func() { ids[i], _ = []*files{f, other}[i%2].await(t.Context(), alone(dir)) })
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
	if again, err := openFiles(f.dir, false); err != nil || await(t, again, dir) != ids[0] {
		t.Errorf("in another life the image is another: %v", err)
	}
}

// TestImagesFollowTheirDirectory changes a directory near its top, which is seen at once, and deep inside, which is seen
// when its whole tree is looked at.
func TestImagesFollowTheirDirectory(t *testing.T) {
	f, dir := filesOf(t), directory(t)
	first := await(t, f, dir)
	change(t, filepath.Join(dir, "lib", "new"), "")
	if _, ok := f.find(alone(dir)); ok {
		t.Error("an image without a new file is used")
	}
	second := await(t, f, dir)
	if second == first {
		t.Error("a new file makes no new image")
	}
	change(t, filepath.Join(dir, "lib", "deep", "file"), "two")
	if id, ok := f.find(alone(dir)); !ok || id != second {
		t.Fatal("the test proves nothing: a change so deep is seen")
	}
	long := time.Now().Add(-2 * lookAfter)
	if err := os.Chtimes(f.indexOf(alone(dir).key()), long, long); err != nil {
		t.Fatal(err)
	}
	if id, ok := f.find(alone(dir)); !ok || id != second {
		t.Error("an image that is due to be compared is not used meanwhile")
	}
	<-f.begin(alone(dir)).done
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
			f, dir := filesOf(t), directory(t)
			id := await(t, f, dir)
			was, err := os.ReadFile(id)
			if err != nil {
				t.Fatal(err)
			}
			change(t, id, string(damage(bytes.Clone(was))))
			if _, ok := f.find(alone(dir)); ok {
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
		f, dir := filesOf(t), directory(t)
		id := await(t, f, dir)
		change(t, f.indexOf(alone(dir).key()), `{"Tree":`)
		if await(t, f, dir) != id {
			t.Error("the image is another now")
		}
	})
}

func TestImagesGoWithTheirDirectory(t *testing.T) {
	f := filesOf(t)
	gone, forgotten, unused, stays := directory(t), directory(t), directory(t), directory(t)
	for _, dir := range []string{gone, forgotten, unused, stays} {
		await(t, f, dir)
	}
	if err := os.RemoveAll(gone); err != nil {
		t.Fatal(err)
	}
	f.forget(forgotten)
	long := time.Now().Add(-2 * keepUnused)
	if err := os.Chtimes(f.indexOf(alone(unused).key()), long, long); err != nil {
		t.Fatal(err)
	}
	f.tidy(time.Now())
	id, _ := f.find(alone(stays))
	if left := kept(t, f); len(left) != 1 || left[0] != id {
		t.Errorf("kept: %s", left)
	}
	if info, err := os.Stat(id); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("an image others may read: %v", err)
	}
}

// TestNoRoomForAnImage has a file in the tree that is larger than any disk. It is not tried again and again.
func TestNoRoomForAnImage(t *testing.T) {
	f, dir := filesOf(t), directory(t)
	if err := os.Truncate(filepath.Join(dir, "lib", "deep", "file"), 15<<40); err != nil {
		t.Skip(err)
	}
	_, first := f.await(t.Context(), alone(dir))
	_, second := f.await(t.Context(), alone(dir))
	if first == nil || second != first {
		t.Errorf("%v, then %v", first, second)
	}
	if left := kept(t, f); len(left) > 0 {
		t.Errorf("kept: %s", left)
	}
	if _, err := f.await(t.Context(), alone(filepath.Join(dir, "absent"))); err == nil {
		t.Error("what is not there has an image")
	}
}

func TestNobodyWaitsForeverForAnImage(t *testing.T) {
	f, dir := filesOf(t), directory(t)
	unlock, err := f.lock(t.Context(), filepath.Join(f.dir, alone(dir).key()+".lock"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.await(ctx, alone(dir)); err == nil {
		t.Error("an image another server makes is there")
	}
	f.close()
	unlock()
	if _, err := f.await(t.Context(), alone(dir)); err == nil {
		t.Error("an image is made after the end")
	}
}

// TestImagesOfSeveralDirectories has one directory inside another's place, and one that is known by its content: found in
// another place with other times, the image is the same; with other content the former one goes.
func TestImagesOfSeveralDirectories(t *testing.T) {
	f, a, b := filesOf(t), directory(t), directory(t)
	made := func(dir, content string) (image string, parts tree) {
		t.Helper()
		change(t, filepath.Join(dir, "she-init"), content)
		base, err := timeless(dir)
		if err != nil {
			t.Fatal(err)
		}
		parts = append(tree{{Source: b, At: "/usr/lib/inside"}, {Source: a, At: "/usr/lib"}}, base).sorted()
		if image, err = f.await(t.Context(), parts); err != nil {
			t.Fatal(err)
		}
		return image, parts
	}
	here, there := directory(t), directory(t)
	first, parts := made(here, "one")
	root, _, err := parts.compose()
	if err != nil {
		t.Fatal(err)
	}
	if err := root.Put("/usr/lib/inside/lib/deep/file/x", root); err == nil {
		t.Error("what is inside another directory is not in its image")
	}
	if same, _ := made(there, "one"); same != first {
		t.Error("the same content elsewhere has another image")
	}
	long := time.Now().Add(-time.Minute)
	if err := os.Chtimes(f.indexOf(parts.key()), long, long); err != nil {
		t.Fatal(err)
	}
	second, _ := made(here, "two")
	if second == first {
		t.Error("other content has the same image")
	}
	f.tidy(time.Now())
	if left := kept(t, f); len(left) != 1 || left[0] != second {
		t.Errorf("kept: %s", left)
	}
}
