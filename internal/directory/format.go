package directory

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const formatFile = "format"

// readFormat is the version of the layout that the file says; 0 if there is no file, as in a new directory and in one
// from before the file was written. ErrNewer.
func readFormat(dir string) (int, error) {
	f, err := os.Open(filepath.Join(dir, formatFile))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	} else if err != nil {
		return 0, fmt.Errorf("read the format of the data directory: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 64))
	if err != nil {
		return 0, fmt.Errorf("read the format of the data directory: %w", err)
	}
	version, err := strconv.Atoi(strings.TrimSpace(string(text)))
	switch {
	case err != nil || version < 1:
		return 0, fmt.Errorf("the file %s says %.20q, which is no version of the layout; if the directory is intact, remove the file", formatFile, text)
	case version > format:
		return 0, fmt.Errorf("%w: format %d, known up to %d", ErrNewer, version, format)
	}
	return version, nil
}

// writeFormat puts the file in place whole, or not at all, whenever the machine stops.
func writeFormat(dir string) error {
	f, err := os.CreateTemp(dir, formatFile+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // it is gone once it was renamed
	_, err = fmt.Fprintf(f, "%d\n", format)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), filepath.Join(dir, formatFile)); err != nil {
		return err
	}
	return syncDir(dir)
}
