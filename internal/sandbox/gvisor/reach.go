package gvisor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// reach gives a path of gVisor's program, at runsc, that leads there also for nobody, who sandboxes run as: the companion is
// started as that. Where a directory on the way is closed to others, as /root is, the two files are bound below run, and
// nothing else that is in there is shown.
func reach(runsc, run string) (string, error) {
	if everyones(runsc) && everyones(Companion(runsc)) {
		return runsc, nil
	}
	dir := filepath.Join(run, "bin")
	if err := unmountBelow(dir); err != nil { // of an earlier life
		return "", err
	}
	for _, d := range []string{run, dir, filepath.Dir(Companion(filepath.Join(dir, "runsc")))} {
		if err := errors.Join(os.MkdirAll(d, 0o711), os.Chmod(d, 0o711)); err != nil {
			return "", err
		}
	}
	reached := filepath.Join(dir, "runsc")
	for _, pair := range [][2]string{{runsc, reached}, {Companion(runsc), Companion(reached)}} {
		if _, err := os.Stat(pair[0]); errors.Is(err, os.ErrNotExist) {
			continue // gVisor does without a companion
		}
		if err := os.WriteFile(pair[1], nil, 0o755); err != nil {
			return "", err
		}
		if err := unix.Mount(pair[0], pair[1], "", unix.MS_BIND, ""); err != nil {
			return "", fmt.Errorf("show %s to sandboxes, which its directory is closed to: %w", filepath.Base(pair[0]), err)
		}
	}
	return reached, nil
}

// everyones says whether everyone may run a program where it is.
func everyones(path string) bool {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return errors.Is(err, os.ErrNotExist)
	}
	for {
		if info, err := os.Stat(path); err != nil || info.Mode()&0o001 == 0 {
			return false
		}
		if path == "/" {
			return true
		}
		path = filepath.Dir(path)
	}
}
