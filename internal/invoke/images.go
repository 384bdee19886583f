package invoke

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"she/internal/sandbox"
)

// images are the memory of instances after INIT, one directory for each function under its key. They hold no data of
// anyone. They are hints: what is missing or broken is made again, so a crash in between costs nothing.
//
// gVisor notices an image that is cut off, not one whose pages are others: after a loss of power they may be zeros. A
// function would run on with that memory. So each image has the digest of its files, and is read once in a life of the
// server before it is used.
type images struct {
	copier sandbox.Copier
	dir    string
	budget int64         // bytes of all
	age    time.Duration // since the last use

	mu       sync.Mutex
	users    map[string]int // by key: restores under way
	gone     map[string]bool
	sound    map[string]bool // made or read in this life
	building map[string]chan struct{}
}

func openImages(c sandbox.Copier, dir string, budget int64, age time.Duration) (*images, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return &images{copier: c, dir: dir, budget: budget, age: age, users: map[string]int{}, gone: map[string]bool{}, sound: map[string]bool{}, building: map[string]chan struct{}{}}, nil
}

// use keeps an image from being removed until release is called. One that is not what was written is removed.
func (im *images) use(key string) (dir string, release func(), ok bool) {
	im.mu.Lock()
	dir = filepath.Join(im.dir, key)
	now := time.Now()
	if im.gone[key] || os.Chtimes(dir, now, now) != nil { // its time is the time of its last use
		im.mu.Unlock()
		return "", nil, false
	}
	im.users[key]++
	sound := im.sound[key]
	im.mu.Unlock()
	if !sound && !isSound(dir) {
		im.release(key)
		im.remove(key)
		return "", nil, false
	}
	im.mu.Lock()
	im.sound[key] = true
	im.mu.Unlock()
	return dir, func() { im.release(key) }, true
}

func (im *images) release(key string) {
	im.mu.Lock()
	defer im.mu.Unlock()
	if im.users[key]--; im.users[key] == 0 {
		delete(im.users, key)
		if im.gone[key] {
			im.drop(key)
		}
	}
}

// drop deletes an image. The lock is held.
func (im *images) drop(key string) {
	delete(im.gone, key)
	delete(im.sound, key)
	_ = os.RemoveAll(filepath.Join(im.dir, key))
}

// digestFile is in each image: the SHA-256 of its other files, as digestOf computes it.
const digestFile = "sha256"

func isSound(dir string) bool {
	want, err := os.ReadFile(filepath.Join(dir, digestFile))
	if err != nil {
		return false
	}
	got, err := digestOf(dir)
	return err == nil && got == string(want)
}

// digestOf reads an image.
func digestOf(dir string) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	for _, e := range entries {
		if e.Name() == digestFile {
			continue
		}
		f, err := os.Open(filepath.Join(dir, e.Name()))
		if err != nil {
			return "", err
		}
		n, err := io.Copy(sum, f)
		fmt.Fprintf(sum, "%q %d", e.Name(), n)
		if err := errors.Join(err, f.Close()); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// remove removes an image, after the last that uses it.
func (im *images) remove(key string) {
	im.mu.Lock()
	defer im.mu.Unlock()
	if im.users[key] > 0 {
		im.gone[key] = true
		return
	}
	im.drop(key)
}

// build makes the image of a function, once however many ask. A function that fails its rehearsal by dying is tried
// without. The reason is for people.
func (im *images) build(ctx context.Context, f *function) (reason string, err error) {
	im.mu.Lock()
	if running := im.building[f.key]; running != nil {
		im.mu.Unlock()
		select {
		case <-running:
			return "its image could not be made", im.exists(f.key)
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}
	done := make(chan struct{})
	im.building[f.key] = done
	im.mu.Unlock()
	defer func() {
		im.mu.Lock()
		delete(im.building, f.key)
		im.mu.Unlock()
		close(done)
	}()
	if im.exists(f.key) == nil {
		return "", nil
	}
	making := filepath.Join(im.dir, ".making-"+uuid.NewString())
	defer os.RemoveAll(making)
	if err := os.Mkdir(making, 0o700); err != nil {
		return "there is no place for its image", err
	}
	dir := filepath.Join(making, "image")
	rehearsals := f.rehearsals(f.program.Limits.Init)
	_, err = im.copier.Checkpoint(ctx, f.program, rehearsals, dir)
	if err != nil && rehearsals != nil && ctx.Err() == nil {
		rehearsals = nil
		_, err = im.copier.Checkpoint(ctx, f.program, nil, dir)
	}
	if err == nil && rehearsals != nil {
		err = os.WriteFile(filepath.Join(dir, rehearsedFile), nil, 0o600)
	}
	if err != nil {
		var failure *Failure
		if errors.As(err, &failure) && failure.Blame == Author {
			return "its INIT fails", err
		}
		return "its image could not be made", err
	}
	digest, err := digestOf(dir)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, digestFile), []byte(digest), 0o600)
	}
	if err == nil {
		err = os.Rename(dir, filepath.Join(im.dir, f.key))
	}
	if err != nil {
		return "its image could not be kept", err
	}
	im.evict(time.Now())
	return "its image was evicted at once", im.exists(f.key)
}

// rehearsedFile is beside the memory of an instance that has rehearsed.
const rehearsedFile = "rehearsed"

func (im *images) rehearsed(key string) bool {
	_, err := os.Stat(filepath.Join(im.dir, key, rehearsedFile))
	return err == nil
}

func (im *images) exists(key string) error {
	_, err := os.Stat(filepath.Join(im.dir, key))
	return err
}

// evict removes what was not used for long, and of the rest the least recently used until the budget holds.
func (im *images) evict(now time.Time) {
	entries, err := os.ReadDir(im.dir)
	if err != nil {
		return
	}
	type image struct {
		key  string
		used time.Time
		size int64
	}
	var all []image
	var total int64
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || e.Name()[0] == '.' {
			continue
		}
		i := image{e.Name(), info.ModTime(), im.size(e.Name())}
		if now.Sub(i.used) > im.age {
			im.remove(i.key)
			continue
		}
		total += i.size
		all = append(all, i)
	}
	slices.SortFunc(all, func(a, b image) int { return a.used.Compare(b.used) })
	for _, i := range all {
		if total <= im.budget {
			return
		}
		im.remove(i.key)
		total -= i.size
	}
}

// size is what an image takes on disk, zero if there is none.
func (im *images) size(key string) (bytes int64) {
	_ = filepath.WalkDir(filepath.Join(im.dir, key), func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if info, err := d.Info(); err == nil && !d.IsDir() {
			bytes += info.Size()
		}
		return nil
	})
	return bytes
}

// sweep removes images an earlier life began and did not finish.
func (im *images) sweep() error {
	half, err := filepath.Glob(filepath.Join(im.dir, ".making-*"))
	for _, dir := range half {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	if err != nil {
		return fmt.Errorf("sweep images: %w", err)
	}
	return nil
}
