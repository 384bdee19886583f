// Package durable replaces files as a whole: after a crash at any moment either the old file is there or the
// new one.
package durable

import (
	"bufio"
	"errors"
	"io"
	"os"
	"path/filepath"
)

// Unfinished is a part of the name of every file that is still being written. Such files can be removed after
// a crash.
const Unfinished = ".unfinished-"

// Write replaces the file at path by what write writes, with mode 0600. When Write returns, the new file is
// durable under its name. After an error the old file is unchanged.
func Write(path string, write func(io.Writer) error) error {
	return replace(path, write, true)
}

// Replace is Write without durability: after a power cut the old file may be there, or none.
func Replace(path string, write func(io.Writer) error) error {
	return replace(path, write, false)
}

func replace(path string, write func(io.Writer) error, sync bool) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, filepath.Base(path)+Unfinished+"*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	w := bufio.NewWriter(f)
	if err = write(w); err == nil {
		err = w.Flush()
	}
	if err == nil && sync {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	// If we stop here, an unfinished file is left beside the old one.
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	if sync {
		return Sync(dir)
	}
	return nil
}

// Sync makes a file's content durable or, for a directory, the names in it.
func Sync(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
