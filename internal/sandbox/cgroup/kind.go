package cgroup

import (
	"errors"
	"maps"
	"os"
	"slices"
	"strings"
)

// Kind says what this machine has to hold limits with: "version 1", "version 2" or "hybrid", and which of the
// controllers we need are not there. It changes nothing. On version 2 that a controller may be given to our groups is
// known only when that is tried.
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
		have, err := os.ReadFile(v2.mount + "/cgroup.controllers")
		if err != nil {
			return "", nil, err
		}
		return "version 2", absent(strings.Fields(string(have)), "memory", "cpu", "pids"), nil
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
