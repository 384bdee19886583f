package cgroup

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrReadOnly says that the cgroups are there and can't be used.
var ErrReadOnly = errors.New("cgroups are mounted read-only")

// Kind says what this machine has to hold limits with: "version 1", "version 2" or "hybrid", and which of the
// controllers we need are not there, or not given to the service this process is in. It changes nothing.
func Kind() (kind string, missing []string, err error) {
	mounts, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return "", nil, err
	}
	defer mounts.Close()
	own, err := os.Open("/proc/self/cgroup")
	if err != nil {
		return "", nil, err
	}
	defer own.Close()
	v1, v2, err := parseHierarchies(mounts, own)
	switch {
	case err != nil:
		return "", nil, err
	case v1["memory"] == "" && v2 == place{}:
		return "", nil, errors.New("no cgroup file system is mounted")
	case v1["memory"] == "":
		base := cmp.Or(delegated(v2), v2.mount)
		have, err := os.ReadFile(filepath.Join(base, "cgroup.controllers"))
		if err != nil {
			return "", nil, err
		}
		if unix.Access(base, unix.W_OK) == unix.EROFS {
			return "", nil, ErrReadOnly
		}
		return "version 2", absent(strings.Fields(string(have)), "memory", "cpu", "pids"), nil
	}
	for _, dir := range v1 {
		switch err := unix.Access(dir, unix.W_OK); err {
		case nil, unix.EACCES:
		case unix.EROFS:
			return "", nil, ErrReadOnly
		default: // something else may be mounted above
			return "", nil, fmt.Errorf("%s: %w", dir, err)
		}
	}
	kind = "version 1"
	if v2 != (place{}) {
		kind = "hybrid"
	}
	return kind, absent(slices.Collect(maps.Keys(v1)), controllers...), nil
}

func absent(have []string, want ...string) []string {
	return slices.DeleteFunc(slices.Clone(want), func(w string) bool { return slices.Contains(have, w) })
}
