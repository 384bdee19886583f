package catalog

import (
	"archive/zip"
	"cmp"
	"compress/flate"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// An archive is a .zip or .jar whose directory has been checked: safe names, no duplicates, no overlapping
// entries, sizes within the limits. The content of entries is checked when it is read.
type archive struct {
	byName map[string]*zip.File
	order  []string // files and links, not folders
	jar    bool
	close  func() error
}

func openArchive(name string) (*archive, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = refuse("%.200q is not a regular file", filepath.Base(name))
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	a, err := readArchive(f, info.Size(), strings.EqualFold(filepath.Ext(name), ".jar"))
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	a.close = f.Close
	return a, nil
}

// readArchive checks the directory of an archive and keeps r for reading.
func readArchive(r io.ReaderAt, size int64, jar bool) (*archive, error) {
	if size > maxPackage {
		return nil, refuse("the archive is larger than %d MB", maxPackage>>20)
	}
	metered := &meteredReaderAt{r: r, left: maxDirectory}
	z, err := zip.NewReader(metered, size)
	metered.left = math.MaxInt64
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) { // checkName reports such names in more detail
		return nil, refuse("the archive can't be read: it is not a zip file, or it is damaged")
	}
	if len(z.File) > maxVisited {
		return nil, refuse("the archive has more than %d entries", maxVisited)
	}
	a := &archive{byName: make(map[string]*zip.File), jar: jar, close: func() error { return nil }}
	type span struct {
		from, to int64
		name     string
	}
	var spans []span
	total := uint64(0)
	for _, f := range z.File {
		name := strings.TrimSuffix(f.Name, "/")
		if err := checkName(name); err != nil {
			return nil, err
		}
		if f.Flags&1 != 0 {
			return nil, refuse("%.200q is encrypted", name)
		}
		if f.Method != zip.Store && f.Method != zip.Deflate {
			return nil, refuse("%.200q is packed with method %d; only stored and deflated entries are read", name, f.Method)
		}
		if name != f.Name || f.Mode().IsDir() {
			if f.UncompressedSize64 != 0 {
				return nil, refuse("folder %.200q has content", name)
			}
			continue
		}
		if a.byName[name] != nil {
			return nil, refuse("%.200q is in the archive twice", name)
		}
		if total += f.UncompressedSize64; f.UncompressedSize64 > maxPackage || total > maxPackage {
			return nil, refuse("the package is larger than %d MB unpacked", maxPackage>>20)
		}
		offset, err := f.DataOffset()
		if err != nil || f.CompressedSize64 > uint64(size) || offset+int64(f.CompressedSize64) > size {
			return nil, refuse("%.200q lies outside the archive: it is damaged", name)
		}
		spans = append(spans, span{offset, offset + int64(f.CompressedSize64), name})
		a.byName[name] = f
		a.order = append(a.order, name)
	}
	if total > freeRatio && total/maxRatio > uint64(size) {
		return nil, refuse("the archive unpacks to more than %d times its size", maxRatio)
	}
	// Overlapping entries let a small file unpack to a huge tree.
	slices.SortFunc(spans, func(x, y span) int { return cmp.Compare(x.from, y.from) })
	for i := 1; i < len(spans); i++ {
		if spans[i].from < spans[i-1].to {
			return nil, refuse("%.200q and %.200q overlap in the archive", spans[i-1].name, spans[i].name)
		}
	}
	return a, nil
}

// maxDirectory bounds an archive's directory in bytes: package zip reads all of it into memory at once.
const maxDirectory = 24 << 20

type meteredReaderAt struct {
	r    io.ReaderAt
	left int64
}

func (m *meteredReaderAt) ReadAt(p []byte, off int64) (int, error) {
	if m.left < math.MaxInt64 {
		if m.left -= int64(len(p)); m.left < 0 {
			return 0, errors.New("the archive's directory is too large")
		}
	}
	return m.r.ReadAt(p, off)
}

func (a *archive) Close() error { return a.close() }

func (a *archive) Has(name string) bool { return a.byName[name] != nil }

func (a *archive) Read(name string, max int64) ([]byte, error) {
	f := a.byName[name]
	if f == nil {
		return nil, fmt.Errorf("%.200q: %w", name, fs.ErrNotExist)
	}
	if !f.Mode().IsRegular() {
		return nil, refuse("%.200q is not a regular file", name)
	}
	r, err := f.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return readBounded(r, max)
}

// artifact unpacks an archive within the archive to a temporary file without a name.
func (a *archive) artifact(ctx context.Context, name string) (source, error) {
	f := a.byName[name]
	if f == nil {
		return nil, fmt.Errorf("%.200q: %w", name, fs.ErrNotExist)
	}
	in, err := f.Open()
	if err != nil {
		return nil, err
	}
	defer in.Close()
	out, err := os.CreateTemp("", "she-artifact-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(out.Name()); err != nil {
		return nil, errors.Join(err, out.Close())
	}
	size, err := io.Copy(out, &boundedReader{ctx: ctx, r: in, left: int64(f.UncompressedSize64), name: name})
	if err != nil {
		return nil, errors.Join(err, out.Close())
	}
	inner, err := readArchive(out, size, strings.EqualFold(path.Ext(name), ".jar"))
	if err != nil {
		return nil, errors.Join(err, out.Close())
	}
	inner.close = out.Close
	return inner, nil
}

func (a *archive) files(_ context.Context, folder string) ([]file, error) {
	prefix := folder + "/"
	if folder == "." {
		prefix = ""
	}
	var all []file
	for _, full := range a.order {
		name, below := strings.CutPrefix(full, prefix)
		if !below {
			continue
		}
		f := a.byName[full]
		one := file{name: name, mode: f.Mode(), size: int64(f.UncompressedSize64), open: f.Open}
		if one.mode&fs.ModeSymlink != 0 {
			target, err := a.readLink(f)
			if err != nil {
				return nil, err
			}
			one.link = target
		}
		all = append(all, one)
	}
	if prefix != "" && len(all) == 0 {
		return nil, fmt.Errorf("%.200q: %w", folder, fs.ErrNotExist)
	}
	return all, nil
}

// readLink reads a symbolic link, whose target is its content.
func (a *archive) readLink(f *zip.File) (string, error) {
	if f.UncompressedSize64 > maxLink {
		return "", refuse("link %.200q is longer than %d bytes", f.Name, maxLink)
	}
	r, err := f.Open()
	if err != nil {
		return "", err
	}
	defer r.Close()
	target, err := readBounded(r, maxLink)
	if err != nil {
		return "", refuse("link %.200q can't be read: the archive is damaged", f.Name)
	}
	return string(target), nil
}

// A boundedReader stops when ctx ends, and refuses more content than the entry claims.
type boundedReader struct {
	ctx  context.Context
	r    io.Reader
	left int64
	name string
}

func (b *boundedReader) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, refuse("%.200q is larger than it says", b.name)
	}
	var corrupt flate.CorruptInputError
	if errors.As(err, &corrupt) || errors.Is(err, zip.ErrChecksum) || errors.Is(err, zip.ErrFormat) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = refuse("%.200q can't be read: the archive is damaged", b.name)
	}
	return n, err
}
