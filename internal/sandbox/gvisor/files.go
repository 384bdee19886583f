package gvisor

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"she/internal/sandbox/gvisor/erofs"
)

// files are images of the directories sandboxes see. A sandbox maps an image into its memory, read-only and shared with
// all others, and so needs no process on the host that opens files for it.
//
// An image is <hash of the directory's path>-<id>.erofs, where the id is that of its content. Beside it an index,
// <hash>.json, says of which directory it is. What is
// there under its name is whole: an image is renamed after it is durable, and the index after that. A crash in between
// leaves a file that nothing names, which tidy removes. Several servers may share a directory of images.
//
// Directories may change under us, as when the machine is upgraded. Before an image is used a few hundred directories of
// its tree are looked at, and now and then the whole tree; if anything is another the image is made again.
type files struct {
	dir string

	mu      sync.Mutex
	flights map[string]*flight // by directory
	work    sync.WaitGroup
	ctx     context.Context
	stop    context.CancelFunc
}

// flight is the making of one image, or the look at its whole tree.
type flight struct {
	done  chan struct{}
	err   error     // after done
	ended time.Time // after done; zero before
}

const (
	lookAfter  = 10 * time.Minute    // a whole tree is looked at again, or after a failure
	keepUnused = 30 * 24 * time.Hour // an image nobody asked for
	orphanAge  = time.Hour           // a file nobody names may be one that is about to be named
	byContent  = 4 << 20             // bytes of a tree up to which its content says whether it is another, not its times
	sizeShare  = 4                   // an image may take one of so many parts of the disk's free space
	imageExt   = ".erofs"
)

// index says what image a directory has. It was last compared with the whole tree when its file was changed.
type index struct {
	Directory string
	ID        string
	Marks     string // of the directory and those in it, as marksOf finds them
}

func openFiles(dir string) (*files, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f := &files{dir: dir, flights: map[string]*flight{}}
	f.ctx, f.stop = context.WithCancel(context.Background())
	return f, nil
}

// close ends what is being made.
func (f *files) close() {
	f.stop()
	f.work.Wait()
}

func (f *files) image(directory, id string) string {
	return strings.TrimSuffix(f.indexOf(directory), ".json") + "-" + id + imageExt
}

func (f *files) indexOf(directory string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %s", erofs.Form, directory)) // beside those of another version of ours
	return filepath.Join(f.dir, hex.EncodeToString(sum[:16])+".json")
}

// find gives a directory's image, if it has one that is as the directory is now.
func (f *files) find(directory string) (image string, ok bool) {
	at := f.indexOf(directory)
	info, err := os.Stat(at)
	if err != nil {
		return "", false
	}
	b, err := os.ReadFile(at)
	if err != nil {
		return "", false
	}
	var x index
	if json.Unmarshal(b, &x) != nil || x.Directory != directory {
		return "", false
	}
	if marks, err := marksOf(directory); err != nil || marks != x.Marks {
		return "", false
	}
	image = f.image(directory, x.ID)
	if !erofs.Whole(image, x.ID) {
		return "", false
	}
	if time.Since(info.ModTime()) > lookAfter {
		f.begin(directory)
	}
	return image, true
}

// begin has the image of a directory made in the background, or the whole directory compared with it. After a failure
// that is not tried again for a while.
func (f *files) begin(directory string) *flight {
	f.mu.Lock()
	defer f.mu.Unlock()
	last := f.flights[directory]
	if last != nil && (last.ended.IsZero() || last.err != nil && time.Since(last.ended) < lookAfter) {
		return last
	}
	now := &flight{done: make(chan struct{})}
	f.flights[directory] = now
	if f.ctx.Err() != nil {
		now.err, now.ended = context.Cause(f.ctx), time.Now()
		close(now.done)
		return now
	}
	f.work.Go(func() {
		err := f.make(f.ctx, directory)
		f.mu.Lock()
		now.err, now.ended = err, time.Now()
		f.mu.Unlock()
		close(now.done)
		f.tidy(time.Now())
	})
	return now
}

// await gives a directory's image and makes it first if need be.
func (f *files) await(ctx context.Context, directory string) (image string, err error) {
	for range 3 { // it may change again meanwhile
		if image, ok := f.find(directory); ok {
			return image, nil
		}
		flight := f.begin(directory)
		select {
		case <-flight.done:
			if flight.err != nil {
				return "", flight.err
			}
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}
	return "", fmt.Errorf("%s changes all the time", directory)
}

// make makes the image of a directory, unless the one it has is still right.
func (f *files) make(ctx context.Context, directory string) (err error) {
	at := f.indexOf(directory)
	unlock, err := f.lock(ctx, strings.TrimSuffix(at, ".json")+".lock")
	if err != nil {
		return err
	}
	defer unlock()
	making := at + ".making"
	defer os.Remove(making) // also that of one who was killed
	marks, err := marksOf(directory)
	if err != nil {
		return err
	}
	root, bytes, err := erofs.Walk(directory)
	if err != nil {
		return err
	}
	digest, err := root.Digest(bytes <= byContent)
	if err != nil {
		return err
	}
	id := erofs.ID(digest[:])
	x := index{Directory: directory, ID: hex.EncodeToString(id[:]), Marks: marks}
	image := f.image(directory, x.ID)
	if !erofs.Whole(image, x.ID) {
		if err := f.room(bytes); err != nil {
			return err
		}
		if err := writeDurably(making, func(file *os.File) error { return erofs.Write(ctx, file, root, id) }); err != nil {
			return fmt.Errorf("make an image of %s: %w", directory, err)
		}
		if err := os.Rename(making, image); err != nil {
			return err
		}
	}
	b, err := json.Marshal(x)
	if err != nil {
		return err
	}
	if err := writeDurably(making, func(file *os.File) error { _, err := file.Write(b); return err }); err != nil {
		return err
	}
	return os.Rename(making, at)
}

// lock keeps other servers from making the same image at the same time.
func (f *files) lock(ctx context.Context, path string) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { _ = file.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return nil, errors.Join(err, file.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(context.Cause(ctx), file.Close())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// room says whether there is place for an image of so many bytes.
func (f *files) room(bytes int64) error {
	var st unix.Statfs_t
	if err := unix.Statfs(f.dir, &st); err != nil {
		return err
	}
	if free := int64(st.Bavail) * st.Bsize; bytes > free/sizeShare {
		return fmt.Errorf("an image of %d MB is too large for a disk with %d MB free", bytes>>20, free>>20)
	}
	return nil
}

// forget removes the image of a directory.
func (f *files) forget(directory string) {
	at := f.indexOf(directory)
	var x index
	if b, err := os.ReadFile(at); err == nil && json.Unmarshal(b, &x) == nil && x.Directory == directory {
		_ = os.Remove(at)
		_ = os.Remove(f.image(directory, x.ID))
		_ = os.Remove(strings.TrimSuffix(at, ".json") + ".lock")
	}
}

// tidy removes images of directories that are gone, that nobody wanted for long, or that have a newer one. Sandboxes keep
// what they have open.
func (f *files) tidy(now time.Time) {
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return
	}
	named := map[string]bool{}
	for _, e := range entries {
		if filepath.Ext(e.Name()) != ".json" {
			continue
		}
		var x index
		b, err := os.ReadFile(filepath.Join(f.dir, e.Name()))
		if err != nil || json.Unmarshal(b, &x) != nil {
			continue
		}
		info, err := e.Info()
		if err != nil {
			continue
		}
		if _, gone := os.Lstat(x.Directory); errors.Is(gone, fs.ErrNotExist) || now.Sub(info.ModTime()) > keepUnused {
			f.forget(x.Directory)
			continue
		}
		named[filepath.Base(f.image(x.Directory, x.ID))] = true
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && filepath.Ext(e.Name()) == imageExt && !named[e.Name()] && now.Sub(info.ModTime()) > orphanAge {
			_ = os.Remove(filepath.Join(f.dir, e.Name()))
		}
	}
}

// marksOf looks at a directory and the directories in it, when they were changed: a package that is installed, upgraded
// or removed leaves a mark there nearly always.
func marksOf(directory string) (string, error) {
	h := sha256.New()
	mark := func(path string) error {
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		fmt.Fprintf(h, "%q %d %d %d.%d ", path, st.Dev, st.Ino, st.Mtim.Sec, st.Mtim.Nsec)
		return nil
	}
	if err := mark(directory); err != nil {
		return "", err
	}
	entries, err := os.ReadDir(directory)
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := mark(filepath.Join(directory, e.Name())); err != nil {
				return "", err
			}
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:16]), nil
}

func writeDurably(path string, write func(*os.File) error) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if err = write(f); err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// rootImages are images of the skeleton with the places a program's directories are mounted on, by these places. They
// are made anew in each life.
type rootImages struct {
	skeleton, dir string
	mu            sync.Mutex
	made          map[string]string // images
}

func (r *rootImages) find(ctx context.Context, targets []string) (image string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	targets = slices.Sorted(slices.Values(targets))
	key := strings.Join(targets, "\x00")
	if image := r.made[key]; image != "" {
		return image, nil
	}
	root, _, err := erofs.Walk(r.skeleton)
	if err != nil {
		return "", err
	}
	for _, t := range targets {
		if err := root.PutDir(t); err != nil {
			return "", err
		}
	}
	// The same in each life, so that copies made of an earlier one's can be restored.
	digest, err := root.Digest(true)
	if err != nil {
		return "", err
	}
	id := erofs.ID(digest[:])
	image = filepath.Join(r.dir, hex.EncodeToString(id[:])+imageExt)
	making := image + ".making"
	defer os.Remove(making)
	if err := writeDurably(making, func(f *os.File) error { return erofs.Write(ctx, f, root, id) }); err != nil {
		return "", err
	}
	if err := os.Rename(making, image); err != nil {
		return "", err
	}
	r.made[key] = image
	return image, nil
}
