package gvisor

import (
	"cmp"
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

	"she/internal/sandbox"
	"she/internal/sandbox/gvisor/erofs"
)

// files are images of directories that sandboxes see. A sandbox maps an image into its memory, read-only and shared with
// all others, and so needs no process on the host that opens files for it.
//
// An image is <key of its tree>-<id>.erofs, where the id is that of its content. Beside it an index, <key>.json, says what
// it was made of. What is there under its name is whole: an image is renamed after it is durable, and the index after that.
// A crash in between leaves a file that nothing names, which tidy removes. Several servers may share a directory of images.
//
// Directories of the machine may change under us, as when it is upgraded. Before an image is used a few hundred directories
// of its tree are looked at, and now and then the whole tree; if anything is another the image is made again.
type files struct {
	dir    string
	frozen bool // nothing in the trees changes: their content is what they are known by, not the times of their files

	mu      sync.Mutex
	flights map[string]*flight // by key
	known   map[string]known   // by key
	failure string             // the last one; empty after a success
	work    sync.WaitGroup
	ctx     context.Context
	stop    context.CancelFunc
}

// tree is what an image is made of: directories of the host, and where each is in it.
type tree []part

// part is one directory of a tree, or one file. A later part may be inside an earlier one.
type part struct {
	Source string `json:",omitempty"`
	At     string // "/" for the root
	// Content is the hash of what is in there, if the tree is to be known by that, wherever it is and whatever its times.
	Content string `json:",omitempty"`
}

// flight is the making of one image, or the look at its whole tree.
type flight struct {
	done  chan struct{}
	err   error     // after done
	ended time.Time // after done; zero before
}

const (
	lookAfter  = 10 * time.Minute   // a whole tree is looked at again, or after a failure
	keepUnused = 7 * 24 * time.Hour // an image nobody asked for
	orphanAge  = time.Hour          // a file nobody names may be one that is about to be named
	sizeShare  = 4                  // an image may take one of so many parts of the disk's free space
	imageExt   = ".erofs"
)

// index says what image a tree has. It was last compared with the whole tree when its file was changed.
type index struct {
	Tree   tree
	ID     string
	Marked []string // directories of the tree that are looked at each time
	Marks  string   // what was seen there
}

// known is an index that was read.
type known struct {
	index
	file fs.FileInfo
}

// when is when the image was last compared; a known that is none was never.
func (x known) when() time.Time {
	if x.file == nil {
		return time.Time{}
	}
	return x.file.ModTime()
}

func openFiles(dir string, frozen bool) (*files, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f := &files{dir: dir, frozen: frozen, flights: map[string]*flight{}, known: map[string]known{}}
	f.ctx, f.stop = context.WithCancel(context.Background())
	return f, nil
}

// close ends what is being made.
func (f *files) close() {
	f.stop()
	f.work.Wait()
}

// key names a tree. Parts that are known by their content are the same wherever they are.
func (t tree) key() string {
	named := slices.Clone(t)
	for i := range named {
		if named[i].Content != "" {
			named[i].Source = ""
		}
	}
	b, err := json.Marshal(named)
	if err != nil {
		panic(err) // strings
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %s", erofs.Form, b)) // beside those of another version of ours
	return hex.EncodeToString(sum[:16])
}

// compose describes the tree as it is now; bytes is the content of all files.
func (t tree) compose() (root *erofs.Node, bytes int64, err error) {
	root = erofs.Directory()
	for _, p := range t {
		node, size, err := erofs.Walk(p.Source)
		if err != nil {
			return nil, 0, err
		}
		bytes += size
		if p.At == "/" {
			root = node
		} else if err := root.Put(p.At, node); err != nil {
			return nil, 0, err
		}
	}
	return root, bytes, nil
}

func (f *files) image(key, id string) string { return filepath.Join(f.dir, key+"-"+id+imageExt) }
func (f *files) indexOf(key string) string   { return filepath.Join(f.dir, key+".json") }

// find gives a tree's image, if it has one that is as the tree is now.
func (f *files) find(t tree) (image string, ok bool) {
	key := t.key()
	x, ok := f.read(key)
	if !ok {
		return "", false
	}
	if marks, err := marksOf(x.Marked); err != nil || marks != x.Marks {
		return "", false
	}
	image = f.image(key, x.ID)
	if !erofs.Whole(image, x.ID) {
		return "", false
	}
	if !f.frozen && time.Since(x.when()) > lookAfter {
		f.begin(t)
	}
	return image, true
}

// read gives the index of a tree.
func (f *files) read(key string) (x known, ok bool) {
	path := f.indexOf(key)
	info, err := os.Stat(path)
	if err != nil {
		return x, false
	}
	f.mu.Lock()
	x, ok = f.known[key]
	f.mu.Unlock()
	if ok && os.SameFile(info, x.file) && info.ModTime().Equal(x.file.ModTime()) {
		return x, true
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return x, false
	}
	x = known{file: info}
	if json.Unmarshal(b, &x.index) != nil || x.Tree.key() != key {
		return x, false
	}
	f.mu.Lock()
	f.known[key] = x
	f.mu.Unlock()
	return x, true
}

// begin has the image of a tree made in the background, or the whole tree compared with it. After a failure that is not
// tried again for a while.
func (f *files) begin(t tree) *flight {
	key := t.key()
	f.mu.Lock()
	defer f.mu.Unlock()
	last := f.flights[key]
	if last != nil && (last.ended.IsZero() || last.err != nil && time.Since(last.ended) < lookAfter) {
		return last
	}
	now := &flight{done: make(chan struct{})}
	f.flights[key] = now
	if f.ctx.Err() != nil {
		now.err, now.ended = context.Cause(f.ctx), time.Now()
		close(now.done)
		return now
	}
	f.work.Go(func() {
		err := f.make(f.ctx, t)
		f.mu.Lock()
		now.err, now.ended, f.failure = err, time.Now(), ""
		if err != nil && f.ctx.Err() == nil {
			f.failure = err.Error()
		}
		f.mu.Unlock()
		close(now.done)
		f.tidy(time.Now())
	})
	return now
}

// await gives a tree's image and makes it first if need be.
func (f *files) await(ctx context.Context, t tree) (image string, err error) {
	for range 3 { // it may change again meanwhile
		if image, ok := f.find(t); ok {
			return image, nil
		}
		flight := f.begin(t)
		select {
		case <-flight.done:
			if flight.err != nil {
				return "", flight.err
			}
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}
	return "", errors.New("the files of a runtime change all the time")
}

// make makes the image of a tree, unless the one it has is still right.
func (f *files) make(ctx context.Context, t tree) (err error) {
	key := t.key()
	unlock, err := f.lock(ctx, filepath.Join(f.dir, key+".lock"))
	if err != nil {
		return err
	}
	defer unlock()
	making := f.indexOf(key) + ".making"
	defer os.Remove(making) // also that of one who was killed
	x := index{Tree: t}
	if x.Marked, err = t.marked(); err != nil {
		return err
	}
	if x.Marks, err = marksOf(x.Marked); err != nil {
		return err
	}
	root, bytes, err := t.compose()
	if err != nil {
		return err
	}
	id, err := f.id(t, root)
	if err != nil {
		return err
	}
	x.ID = hex.EncodeToString(id[:])
	image := f.image(key, x.ID)
	if !erofs.Whole(image, x.ID) {
		if err := f.room(bytes); err != nil {
			return err
		}
		if err := writeDurably(making, func(file *os.File) error { return erofs.Write(ctx, file, root, id) }); err != nil {
			return fmt.Errorf("make an image of a runtime's files: %w", err)
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
	return os.Rename(making, f.indexOf(key))
}

// id is what a tree's image is known by.
func (f *files) id(t tree, root *erofs.Node) (erofs.ID, error) {
	digest, err := root.Digest(f.frozen)
	h := sha256.New()
	h.Write(digest[:])
	for _, p := range t {
		fmt.Fprintf(h, "%q", p.Content)
	}
	return erofs.ID(h.Sum(nil)[:16]), err
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
	if free, err := freeIn(f.dir); err != nil || bytes > free/sizeShare {
		return errors.Join(err, fmt.Errorf("an image of %d MB is too large for a disk with %d MB free", bytes>>20, free>>20))
	}
	return nil
}

func freeIn(dir string) (int64, error) {
	var st unix.Statfs_t
	err := unix.Statfs(dir, &st)
	return int64(st.Bavail) * st.Bsize, err
}

// Room tells how many bytes the images below dir take, how many one with these directories would, how many are free, and
// whether it would be made: it may take a quarter of that. dir may be missing.
func Room(dir string, binds []sandbox.Bind) (taken, wanted, free int64, enough bool, err error) {
	f := files{dir: dir}
	taken, _ = f.stats()
	for _, b := range binds {
		_, bytes, err := erofs.Walk(b.Source)
		if err != nil {
			return 0, 0, 0, false, err
		}
		wanted += bytes
	}
	for free, err = freeIn(dir); errors.Is(err, fs.ErrNotExist) && dir != "/"; free, err = freeIn(dir) {
		dir = filepath.Dir(dir)
	}
	return taken, wanted, free, wanted <= free/sizeShare, err
}

// forget removes the images that have something of a directory.
func (f *files) forget(directory string) {
	for key, x := range f.indexes() {
		if slices.ContainsFunc(x.Tree, func(p part) bool { return p.Source == directory }) {
			f.remove(key, x.index)
		}
	}
}

func (f *files) remove(key string, x index) {
	_ = os.Remove(f.indexOf(key))
	_ = os.Remove(f.image(key, x.ID))
	_ = os.Remove(filepath.Join(f.dir, key+".lock"))
	f.mu.Lock()
	delete(f.known, key)
	f.mu.Unlock()
}

// indexes are those of all images that are there.
func (f *files) indexes() map[string]known {
	all := map[string]known{}
	paths, _ := filepath.Glob(f.indexOf("*"))
	for _, path := range paths {
		key := strings.TrimSuffix(filepath.Base(path), ".json")
		if x, ok := f.read(key); ok {
			all[key] = x
		}
	}
	return all
}

// tidy removes images of trees of which something is gone or was replaced, that nobody wanted for long, or that have a newer
// one. Sandboxes keep what they have open.
func (f *files) tidy(now time.Time) {
	all := f.indexes()
	latest := map[string]known{} // by the place of what is known by its content
	for _, x := range all {
		for _, p := range x.Tree {
			if p.Content != "" && !x.when().Before(latest[p.Source].when()) {
				latest[p.Source] = x
			}
		}
	}
	named := map[string]bool{}
	for key, x := range all {
		over := slices.ContainsFunc(x.Tree, func(p part) bool {
			if p.Content != "" {
				return !slices.Contains(latest[p.Source].Tree, p)
			}
			_, err := os.Lstat(p.Source)
			return errors.Is(err, fs.ErrNotExist)
		})
		if over || now.Sub(x.when()) > keepUnused {
			f.remove(key, x.index)
			continue
		}
		named[filepath.Base(f.image(key, x.ID))] = true
	}
	entries, _ := os.ReadDir(f.dir)
	for _, e := range entries {
		if info, err := e.Info(); err == nil && filepath.Ext(e.Name()) == imageExt && !named[e.Name()] && now.Sub(info.ModTime()) > orphanAge {
			_ = os.Remove(filepath.Join(f.dir, e.Name()))
		}
	}
}

// marked are the directories in which a package that is installed, upgraded or removed leaves a mark nearly always: those
// of a tree's parts, and those directly in them; and parts that are files.
func (t tree) marked() (directories []string, err error) {
	for _, p := range t {
		if p.Content != "" {
			continue
		}
		directories = append(directories, p.Source)
		entries, err := os.ReadDir(p.Source)
		if errors.Is(err, unix.ENOTDIR) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if e.IsDir() {
				directories = append(directories, filepath.Join(p.Source, e.Name()))
			}
		}
	}
	return directories, nil
}

// marksOf says when directories were changed.
func marksOf(directories []string) (string, error) {
	h := sha256.New()
	for _, path := range directories {
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%q %d %d %d.%d ", path, st.Dev, st.Ino, st.Mtim.Sec, st.Mtim.Nsec)
	}
	return hex.EncodeToString(h.Sum(nil)[:16]), nil
}

// writeDurably writes a file and makes it durable; the caller renames it. Package durable does both, but the wall imports
// nothing of ours that is not about sandboxes, and an image is written through the file itself, not a stream.
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

// stats are what all images take on disk, and why the last one that was tried could not be made.
func (f *files) stats() (bytes int64, failure string) {
	entries, _ := os.ReadDir(f.dir)
	for _, e := range entries {
		if info, err := e.Info(); err == nil && filepath.Ext(e.Name()) == imageExt {
			bytes += info.Size()
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return bytes, f.failure
}

// sorted is a tree with what is inside another part behind it.
func (t tree) sorted() tree {
	slices.SortFunc(t, func(a, b part) int { return cmp.Compare(a.At, b.At) })
	return t
}
