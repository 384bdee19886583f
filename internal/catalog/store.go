package catalog

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// A store keeps unpacked packages by digest:
//
//	DIR/packages/lock             shared: publishing; exclusive: removing
//	DIR/packages/<sha256>/files/  the package; files 0444 or 0555, folders 0555
//	DIR/packages/<sha256>/list    its list, whose SHA-256 is the name of the folder
//	DIR/packages/new-<random>/    being written; garbage unless the lock is held
//
// The list has one line for each file, sorted by name:
//
//	f <sha256> <size> "<name>"    regular file
//	x <sha256> <size> "<name>"    the same, executable
//	l "<target>" "<name>"         symbolic link
//
// So a package's digest is over names, modes and contents, and a damaged package is noticed with what is there.
type store struct {
	dir string

	mu    sync.Mutex
	sound map[string]bool // digests whose content this process has read and found right
}

const listHead = "she package 1\n"

type listed struct {
	kind byte // 'f', 'x', 'l'
	sum  [sha256.Size]byte
	size int64
	link string
	name string
}

func openStore(dir string) (*store, error) {
	dir, err := filepath.Abs(filepath.Join(dir, "packages"))
	if err != nil {
		return nil, err
	}
	// Nobody else on the machine may read an author's code.
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	s := &store{dir: dir, sound: make(map[string]bool)}
	// Left by an interrupted publish. If another process is publishing, the next start removes it.
	unlock, err := s.lock(unix.LOCK_EX | unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	defer unlock()
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "new-") {
			if err := removeTree(filepath.Join(dir, e.Name())); err != nil {
				return nil, err
			}
		}
	}
	return s, nil
}

// lock holds the store's lock until the returned function is called; it does not survive the process.
func (s *store) lock(how int) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(s.dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() { _ = f.Close() }, nil
}

func (s *store) path(digest string) string {
	return filepath.Join(s.dir, strings.TrimPrefix(digest, "sha256:"))
}

func (s *store) pkg(digest string) Package {
	return Package{Digest: digest, Dir: filepath.Join(s.path(digest), "files")}
}

// put makes sure that the store has the package durably, and returns it. A new package is read twice: for its
// digest, and to copy it.
func (s *store) put(ctx context.Context, c *contents) (Package, error) {
	unlock, err := s.lock(unix.LOCK_SH)
	if err != nil {
		return Package{}, err
	}
	defer unlock()
	all, err := sums(ctx, c)
	if err != nil {
		return Package{}, err
	}
	list := formatList(all)
	digest := digestOfList(list)
	if s.verify(ctx, digest) == nil {
		return s.pkg(digest), nil
	}
	if err := ctx.Err(); err != nil {
		return Package{}, err
	}
	fresh := filepath.Join(s.dir, "new-"+rand.Text())
	err = write(ctx, fresh, c, all, list)
	if err == nil {
		err = flush(fresh)
	}
	if err == nil {
		err = s.install(ctx, fresh, digest)
	}
	if err != nil {
		return Package{}, errors.Join(err, removeTree(fresh))
	}
	s.mu.Lock()
	s.sound[digest] = true
	s.mu.Unlock()
	return s.pkg(digest), nil
}

// digestOf returns the package that put would store, without a path.
func digestOf(ctx context.Context, c *contents) (Package, error) {
	all, err := sums(ctx, c)
	return Package{Digest: digestOfList(formatList(all))}, err
}

func digestOfList(list []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(list)) }

// sums reads every file for its digest.
func sums(ctx context.Context, c *contents) ([]listed, error) {
	all := make([]listed, 0, len(c.files))
	for i := range c.files {
		f := &c.files[i]
		if f.mode&fs.ModeSymlink != 0 {
			all = append(all, listed{kind: 'l', link: f.link, name: f.name})
			continue
		}
		l := listed{kind: 'f', size: f.size, name: f.name}
		if f.mode&0o111 != 0 {
			l.kind = 'x'
		}
		h := sha256.New()
		if err := f.copyTo(ctx, h); err != nil {
			return nil, err
		}
		h.Sum(l.sum[:0])
		all = append(all, l)
	}
	return all, nil
}

// copyTo writes a file's content, which must be as long as it was said to be.
func (f *file) copyTo(ctx context.Context, w io.Writer) error {
	r, err := f.open()
	if err != nil {
		return fmt.Errorf("open %.200q: %w", f.name, err)
	}
	defer r.Close()
	n, err := io.Copy(w, &boundedReader{ctx: ctx, r: r, left: f.size, name: f.name})
	if err != nil {
		return fmt.Errorf("read %.200q: %w", f.name, err)
	}
	if n != f.size {
		return refuse("%.200q is shorter than it says, or changed while it was read", f.name)
	}
	return nil
}

func formatList(all []listed) []byte {
	b := []byte(listHead)
	for _, l := range all {
		b = append(b, l.kind, ' ')
		if l.kind == 'l' {
			b = strconv.AppendQuote(b, l.link)
		} else {
			b = hex.AppendEncode(b, l.sum[:])
			b = append(b, ' ')
			b = strconv.AppendInt(b, l.size, 10)
		}
		b = append(b, ' ')
		b = append(strconv.AppendQuote(b, l.name), '\n')
	}
	return b
}

var errDamaged = errors.New("the stored package is damaged")

func parseList(text []byte) ([]listed, error) {
	rest, ok := bytes.CutPrefix(text, []byte(listHead))
	if !ok {
		return nil, errDamaged
	}
	var all []listed
	for line := range strings.Lines(string(rest)) {
		var l listed
		var err error
		if _, after, ok := strings.Cut(line, " "); ok && len(line) > 2 && line[1] == ' ' {
			l.kind = line[0]
			switch l.kind {
			case 'l':
				var quoted string
				if quoted, err = strconv.QuotedPrefix(after); err == nil {
					l.link, err = strconv.Unquote(quoted)
					after = strings.TrimPrefix(after[len(quoted):], " ")
				}
			case 'f', 'x':
				fields := strings.SplitN(after, " ", 3)
				if len(fields) != 3 || len(fields[0]) != 2*sha256.Size {
					return nil, errDamaged
				}
				if _, err = hex.Decode(l.sum[:], []byte(fields[0])); err == nil {
					l.size, err = strconv.ParseInt(fields[1], 10, 64)
				}
				after = fields[2]
			default:
				return nil, errDamaged
			}
			if err == nil {
				l.name, err = strconv.Unquote(strings.TrimSuffix(after, "\n"))
			}
		} else {
			err = errDamaged
		}
		if err != nil || checkName(l.name) != nil {
			return nil, errDamaged
		}
		all = append(all, l)
	}
	return all, nil
}

// write creates a package in folder fresh, not durably. If we stop here, the next openStore removes fresh.
func write(ctx context.Context, fresh string, c *contents, all []listed, list []byte) error {
	files := filepath.Join(fresh, "files")
	if err := os.MkdirAll(files, 0o700); err != nil {
		return err
	}
	root, err := os.OpenRoot(files)
	if err != nil {
		return err
	}
	defer root.Close()
	folders := []string{"."}
	for dir := range c.folders {
		if dir != "." {
			if err := root.MkdirAll(dir, 0o700); err != nil {
				return err
			}
			folders = append(folders, dir)
		}
	}
	for i := range all {
		if err := writeFile(ctx, root, &c.files[i], all[i]); err != nil {
			return err
		}
	}
	for _, dir := range folders {
		if err := root.Chmod(dir, 0o555); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(fresh, "list"), list, 0o444)
}

// flush makes everything written to a folder durable, with one flush of the file system instead of one for
// each of thousands of files.
func flush(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(int(d.Fd())), d.Close())
}

// writeFile copies one file. With O_EXCL a file system that ignores case fails instead of overwriting.
func writeFile(ctx context.Context, root *os.Root, f *file, l listed) error {
	if l.kind == 'l' {
		return root.Symlink(l.link, f.name)
	}
	out, err := root.OpenFile(f.name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	h := sha256.New()
	err = f.copyTo(ctx, io.MultiWriter(out, h))
	if err == nil && [sha256.Size]byte(h.Sum(nil)) != l.sum {
		err = refuse("%.200q changed while it was read", f.name)
	}
	if err == nil {
		err = out.Chmod(l.mode()) // after the content, past the umask; other bits such as setuid are not taken over
	}
	return errors.Join(err, out.Close())
}

func (l listed) mode() fs.FileMode {
	if l.kind == 'x' {
		return 0o555
	}
	return 0o444
}

// install gives the finished package its name. Nothing is visible before the rename, everything after it.
// Flushing the parent makes the name durable.
func (s *store) install(ctx context.Context, fresh, digest string) error {
	final := s.path(digest)
	err := os.Rename(fresh, final)
	if errors.Is(err, fs.ErrExist) || errors.Is(err, unix.ENOTEMPTY) {
		if s.verify(ctx, digest) == nil { // another process has installed it meanwhile
			return removeTree(fresh)
		}
		// It is damaged. Rename it first: a sandbox that has it mounted keeps its files until they are
		// removed.
		old := filepath.Join(s.dir, "new-"+rand.Text())
		if err := os.Rename(final, old); err != nil {
			return err
		}
		if err := os.Rename(fresh, final); err != nil {
			return err
		}
		err = removeTree(old)
	}
	if err != nil {
		return err
	}
	d, err := os.Open(s.dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// verify compares a stored package with its list. The first time in this process it reads every byte, later
// only names, kinds, modes and sizes.
func (s *store) verify(ctx context.Context, digest string) error {
	s.mu.Lock()
	quick := s.sound[digest]
	s.mu.Unlock()
	err := verifyPackage(ctx, s.path(digest), digest, quick)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.sound[digest] = true
	} else {
		delete(s.sound, digest)
	}
	return err
}

func verifyPackage(ctx context.Context, dir, digest string, quick bool) error {
	text, err := os.ReadFile(filepath.Join(dir, "list"))
	if err != nil {
		return err
	}
	if fmt.Sprintf("sha256:%x", sha256.Sum256(text)) != digest {
		return errDamaged
	}
	all, err := parseList(text)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(filepath.Join(dir, "files"))
	if err != nil {
		return err
	}
	defer root.Close()
	want := make(map[string]listed, len(all))
	for _, l := range all {
		want[l.name] = l
	}
	seen := 0
	err = fs.WalkDir(root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if info.Mode().Perm() != 0o555 {
				return errDamaged
			}
			return ctx.Err()
		}
		l, ok := want[name]
		if !ok {
			return errDamaged
		}
		seen++
		return l.verify(ctx, root, name, info, quick)
	})
	if err == nil && seen != len(all) {
		err = errDamaged
	}
	return err
}

func (l listed) verify(ctx context.Context, root *os.Root, name string, info fs.FileInfo, quick bool) error {
	if l.kind == 'l' {
		if info.Mode().Type() != fs.ModeSymlink {
			return errDamaged
		}
		if target, err := root.Readlink(name); err != nil || target != l.link {
			return errDamaged
		}
		return nil
	}
	if info.Mode() != l.mode() || info.Size() != l.size {
		return errDamaged
	}
	if quick {
		return nil
	}
	f, err := root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, &boundedReader{ctx: ctx, r: f, left: l.size, name: name}); err != nil {
		return err
	}
	if [sha256.Size]byte(h.Sum(nil)) != l.sum {
		return errDamaged
	}
	return nil
}

// prune removes every package whose digest is not in keep.
func (s *store) prune(keep map[string]bool, gone func(string)) (removed []string, err error) {
	unlock, err := s.lock(unix.LOCK_EX)
	if err != nil {
		return nil, err
	}
	defer unlock()
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		digest := "sha256:" + e.Name()
		if !e.IsDir() || len(e.Name()) != 2*sha256.Size || keep[digest] {
			continue
		}
		s.mu.Lock()
		delete(s.sound, digest)
		s.mu.Unlock()
		if gone != nil {
			gone(digest)
		}
		// Rename first: if we stop half-way, the rest is garbage and not a damaged package.
		old := filepath.Join(s.dir, "new-"+rand.Text())
		if err := os.Rename(filepath.Join(s.dir, e.Name()), old); err != nil {
			return removed, err
		}
		if err := removeTree(old); err != nil {
			return removed, err
		}
		removed = append(removed, digest)
	}
	return removed, nil
}

// removeTree removes a folder of read-only folders, following no links.
func removeTree(dir string) error {
	err := filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return os.Chmod(name, 0o700)
		}
		return nil
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.RemoveAll(dir)
}
