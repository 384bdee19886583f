// Package durable puts files in place whole: whenever the machine stops, either the old file is there or the new.
package durable

import (
	"bufio"
	"errors"
	"io"
	"os"
	"path/filepath"
)

// Unfinished is what is in the name of a file that is not in place yet. What a crash leaves may be removed.
const Unfinished = ".unfinished-"

// Write replaces the file at path by what write writes, readable by its owner alone. The new file is durable, under its
// name, when Write returns. After any error the old one is as it was.
func Write(path string, write func(io.Writer) error) error {
	return replace(path, write, true)
}

// Replace is Write for what may be lost: after a power cut the old file may be back, or none.
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

// Sync makes a file's content durable, or the names in a directory.
func Sync(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
