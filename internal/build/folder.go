package build

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
)

// A Folder is a project's folder as Plan reads it. Links can't lead out of it.
type Folder struct{ root *os.Root }

// OpenFolder opens a project's folder.
func OpenFolder(name string) (Folder, error) {
	root, err := os.OpenRoot(name)
	return Folder{root}, err
}

// Close closes the folder.
func (f Folder) Close() error { return f.root.Close() }

// Read implements project.Files.
func (f Folder) Read(name string, max int64) ([]byte, error) {
	file, err := f.root.Open(filepath.FromSlash(name))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("it is not a regular file")
	}
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(file, max+1))
	if err == nil && int64(len(text)) > max {
		err = fmt.Errorf("the file is larger than %d bytes", max)
	}
	return text, err
}

// Has implements project.Files.
func (f Folder) Has(name string) bool {
	info, err := f.root.Stat(filepath.FromSlash(name))
	return err == nil && info.Mode().IsRegular()
}

// Match implements Files.
func (f Folder) Match(folder, pattern string) (all []string) {
	entries, err := fs.ReadDir(f.root.FS(), path.Clean(folder))
	if err != nil {
		return nil
	}
	for _, e := range entries {
		if ok, err := path.Match(pattern, e.Name()); err == nil && ok {
			all = append(all, e.Name())
		}
	}
	return all
}
