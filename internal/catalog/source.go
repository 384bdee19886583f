package catalog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"

	"she/internal/project"
)

// Limits of one package. They bound what a hostile package can cost before it is refused.
const (
	maxPackage   = 250 << 20 // bytes unpacked, and bytes of an archive
	maxFiles     = 60_000
	maxVisited   = 300_000 // directory entries looked at, packed or not
	maxDepth     = 64
	maxName      = 1024 // bytes of a path
	maxComponent = 255
	maxLink      = 1024
	maxRatio     = 100 // unpacked to packed, beyond a first 10 MB
	freeRatio    = 10 << 20
)

// An unsafeError refuses a package; its author must change it. It names files and quotes nothing of their
// content.
type unsafeError struct{ text string }

func (e *unsafeError) Error() string { return e.text }

func refuse(format string, args ...any) error { return &unsafeError{fmt.Sprintf(format, args...)} }

// A source is a folder or an archive with a project. Names are slash paths from its root.
type source interface {
	project.Files
	// files lists everything below folder, with names relative to it. It also returns hostile names and
	// kinds, which check refuses.
	files(ctx context.Context, folder string) ([]file, error)
	// artifact opens an archive that is in the source.
	artifact(ctx context.Context, name string) (source, error)
	Close() error
}

// A file is one entry of a source: a regular file, or a symbolic link.
type file struct {
	name string
	mode fs.FileMode // type and permission bits, as found
	size int64       // as claimed; reading more is an error
	link string      // where a symbolic link points, as written
	open func() (io.ReadCloser, error)
}

// checkName refuses names that another program could understand differently.
func checkName(name string) error {
	switch {
	case name == "":
		return refuse("the package has an entry without a name")
	case !utf8.ValidString(name):
		return refuse("name %.200q is not UTF-8", name)
	case len(name) > maxName:
		return refuse("name %.80q… is longer than %d bytes", name, maxName)
	case strings.ContainsFunc(name, unicode.IsControl):
		return refuse("name %.200q contains a control character", name)
	case strings.Contains(name, `\`):
		return refuse("name %.200q contains a backslash; pack it with / between folders", name)
	case strings.HasPrefix(name, "/"):
		return refuse("name %.200q is absolute", name)
	case len(name) > 1 && name[1] == ':':
		return refuse("name %.200q begins with a drive", name)
	}
	parts := strings.Split(name, "/")
	if len(parts) > maxDepth {
		return refuse("name %.80q… is more than %d folders deep", name, maxDepth)
	}
	for _, part := range parts {
		switch {
		case part == "" || part == ".":
			return refuse("name %.200q has an empty part", name)
		case part == "..":
			return refuse("name %.200q leads out of the package", name)
		case len(part) > maxComponent:
			return refuse("name %.80q… has a part longer than %d bytes", name, maxComponent)
		}
	}
	return nil
}

// A folder is a project directory. os.Root keeps every access inside it, despite links.
type folder struct{ root *os.Root }

func openFolder(name string) (source, error) {
	info, err := os.Stat(name)
	if err == nil && !info.IsDir() {
		err = &fs.PathError{Op: "open", Path: name, Err: syscall.ENOTDIR}
	}
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	return folder{root}, nil
}

func (f folder) Close() error { return f.root.Close() }

func (f folder) Has(name string) bool {
	info, err := f.root.Stat(filepath.FromSlash(name))
	return err == nil && info.Mode().IsRegular()
}

// open opens a regular file. Without O_NONBLOCK it would block on a fifo of that name.
func (f folder) open(name string) (*os.File, int64, error) {
	file, err := f.root.OpenFile(filepath.FromSlash(name), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = refuse("%.200q is not a regular file", name)
	}
	if err != nil {
		return nil, 0, errors.Join(err, file.Close())
	}
	return file, info.Size(), nil
}

func (f folder) Read(name string, max int64) ([]byte, error) {
	file, _, err := f.open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return readBounded(file, max)
}

func readBounded(r io.Reader, max int64) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, max+1))
	if err == nil && int64(len(text)) > max {
		err = fmt.Errorf("the file is larger than %d bytes", max)
	}
	return text, err
}

func (f folder) artifact(_ context.Context, name string) (source, error) {
	file, size, err := f.open(name)
	if err != nil {
		return nil, err
	}
	a, err := readArchive(file, size, strings.EqualFold(path.Ext(name), ".jar"))
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	a.close = file.Close
	return a, nil
}

// Folders that never belong to a package and can be huge.
var skippedFolders = map[string]bool{".git": true, ".serverless": true, ".aws-sam": true, ".she": true, "node_modules/.cache": true}

func (f folder) files(ctx context.Context, under string) ([]file, error) {
	root, err := f.root.OpenRoot(filepath.FromSlash(under))
	if err != nil {
		return nil, err
	}
	defer root.Close()
	var all []file
	visited := 0
	err = fs.WalkDir(root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if visited++; visited > maxVisited {
			return refuse("the project has more than %d files; exclude what the function does not need and move it away", maxVisited)
		}
		if entry.IsDir() {
			if skippedFolders[name] {
				return fs.SkipDir
			}
			if strings.Count(name, "/") >= maxDepth {
				return refuse("name %.80q… is more than %d folders deep", name, maxDepth)
			}
			return ctx.Err()
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		one := file{name: name, mode: info.Mode(), size: info.Size()}
		if one.mode&fs.ModeSymlink != 0 {
			if one.link, err = root.Readlink(filepath.FromSlash(name)); err != nil {
				return err
			}
		}
		full := path.Join(under, name)
		one.open = func() (io.ReadCloser, error) {
			r, _, err := f.open(full)
			return r, err
		}
		all = append(all, one)
		return nil
	})
	return all, err
}
