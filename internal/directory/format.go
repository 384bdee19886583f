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

	"she/internal/durable"
)

const formatFile = "format"

// readFormat returns the version of the layout in the file format. It returns 0 if there is no file, as in a
// new directory or one made before the file existed. ErrNewer.
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
		return 0, fmt.Errorf("the file %s contains %.20q, which is not a version of the layout; if the directory is intact, remove the file", formatFile, text)
	case version > format:
		return 0, fmt.Errorf("%w: format %d, known up to %d", ErrNewer, version, format)
	}
	return version, nil
}

// writeFormat writes the file.
func writeFormat(dir string) error {
	return durable.Write(filepath.Join(dir, formatFile), func(w io.Writer) error { _, err := fmt.Fprintf(w, "%d\n", format); return err })
}
