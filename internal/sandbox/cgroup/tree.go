// Package cgroup holds the limits of sandboxes, and knows every process of one.
//
// Limits are held by cgroups of our own making, because the walls need them on every kind of host: version 1, version
// 2, and hybrids where version 1 has the controllers and an empty version 2 tree is mounted beside it (runsc and crun
// both stumble there). Layout, under each hierarchy:
//
//	<base>/<name of the tree>/<sandbox>
//
// On version 1 base is our own cgroup of that controller, so that limits above us keep holding. On version 2 it is
// the root of the tree, or our own cgroup where the service manager delegated it to us; there we step aside into a
// leaf, because a cgroup with processes can't give controllers to its children.
package cgroup

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Tree is the directories in which the groups of one mechanism are made.
type Tree struct {
	name string
	list string            // a file with the directories used in this and earlier lives of the server
	v2   string            // the parent of all sandboxes; empty on version 1
	v1   map[string]string // the same for each controller of version 1
	all  []string          // each parent directory once
	// Without cgroups, see Watch:
	mark   func(name string) string
	firsts *firsts
}

// controllers we use. The freezer is left alone: killing in a loop needs no help.
var controllers = []string{"memory", "cpu", "cpuacct", "pids"}

// Open makes the tree of that name and ends whatever an earlier life of the server left in it. list is a file of our
// own that remembers where the tree was, for a later life may start from another place.
func Open(ctx context.Context, name, list string) (*Tree, error) {
	h, err := find(name)
	if err != nil {
		return nil, err
	}
	h.name, h.list = name, list
	known, err := h.known()
	if err != nil {
		return nil, err
	}
	for _, dir := range h.all {
		if !slices.Contains(known, dir) {
			known = append(known, dir)
		}
	}
	if err := h.remember(known); err != nil {
		return nil, err
	}
	return h, h.end(ctx, known)
}

// Sweep ends every process in the tree, wherever it has been, and leaves it empty.
func (h *Tree) Sweep(ctx context.Context) error {
	if h.mark != nil {
		return nil // what an earlier life started ended with it
	}
	known, err := h.known()
	if err != nil {
		return err
	}
	return h.end(ctx, known)
}

// Forget says that nothing is left where the tree was in earlier lives.
func (h *Tree) Forget() error {
	if h.mark != nil {
		return nil
	}
	return h.remember(h.all)
}

// Close ends every process in the tree and removes it.
func (h *Tree) Close(ctx context.Context) error { return sweepGroups(ctx, h.all) }

func (h *Tree) known() ([]string, error) {
	b, err := os.ReadFile(h.list)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	// A data directory may be a copy of another one, whose server still runs: its groups are not ours.
	return slices.DeleteFunc(strings.Fields(string(b)), func(dir string) bool { return filepath.Base(dir) != h.name }), nil
}

func (h *Tree) remember(dirs []string) error {
	return os.WriteFile(h.list, []byte(strings.Join(dirs, "\n")+"\n"), 0o600)
}

// end ends every process in the directories and leaves ours empty.
func (h *Tree) end(ctx context.Context, dirs []string) error {
	problems := []error{sweepGroups(ctx, dirs)}
	for _, dir := range h.all { // sweepGroups took them along
		problems = append(problems, os.MkdirAll(dir, 0o755))
	}
	if h.v2 != "" {
		problems = append(problems, enable(h.v2))
	}
	return errors.Join(problems...)
}

func find(name string) (*Tree, error) {
	mounts, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer mounts.Close()
	own, err := os.Open("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	defer own.Close()
	v1, v2, err := parseHierarchies(mounts, own)
	if err != nil {
		return nil, err
	}
	h := &Tree{}
	if v1["memory"] != "" {
		h.v1 = map[string]string{}
		seen := map[string]bool{}
		for _, c := range controllers {
			if v1[c] == "" {
				return nil, fmt.Errorf("the cgroup controller %q is not mounted", c)
			}
			dir := filepath.Join(v1[c], name)
			h.v1[c] = dir
			if !seen[dir] {
				seen[dir] = true
				h.all = append(h.all, dir)
			}
		}
	} else if v2 != (place{}) {
		base, err := makeBase(v2)
		if err != nil {
			return nil, err
		}
		h.v2 = filepath.Join(base, name)
		h.all = []string{h.v2}
	} else {
		return nil, errors.New("no cgroup file system is mounted: limits could not be held")
	}
	for _, dir := range h.all {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, fmt.Errorf("make cgroup: %w", err)
		}
	}
	if h.v2 != "" {
		return h, enable(h.v2)
	}
	return h, nil
}

// place is a cgroup: where its hierarchy is mounted and the path below.
type place struct{ mount, path string }

// parseHierarchies finds, in the formats of proc_pid_mountinfo(5) and cgroups(7), our own cgroup in each hierarchy.
func parseHierarchies(mountinfo, own io.Reader) (v1 map[string]string, v2 place, err error) {
	paths := map[string]string{} // controller, or "" for version 2 -> path
	for in := bufio.NewScanner(own); in.Scan(); {
		parts := strings.SplitN(in.Text(), ":", 3)
		if len(parts) != 3 {
			return nil, place{}, errors.New("/proc/self/cgroup has a line of unknown form")
		}
		for _, c := range strings.Split(parts[1], ",") {
			paths[c] = parts[2]
		}
	}
	v1 = map[string]string{}
	for in := bufio.NewScanner(mountinfo); in.Scan(); {
		before, after, ok := strings.Cut(in.Text(), " - ")
		f, g := strings.Fields(before), strings.Fields(after)
		if !ok || len(f) < 5 || len(g) < 3 {
			continue
		}
		root, mount := f[3], f[4]
		// In a container the mount shows only a part of the hierarchy, while paths are the host's.
		below := func(path string) string {
			if rel, err := filepath.Rel(root, path); err == nil && !strings.HasPrefix(rel, "..") {
				return filepath.Join("/", rel)
			}
			return "/"
		}
		switch g[0] {
		case "cgroup2":
			if path, ok := paths[""]; ok && v2 == (place{}) {
				v2 = place{mount, below(path)}
			}
		case "cgroup":
			for _, option := range strings.Split(g[2], ",") {
				if path, ok := paths[option]; ok && v1[option] == "" {
					v1[option] = filepath.Join(mount, below(path))
				}
			}
		}
	}
	return v1, v2, nil
}

// leaf is where the server steps aside to below a cgroup that was delegated to it.
const leaf = "server"

// delegated finds the cgroup that the service manager gave us to divide: our own, or the one above it, where we have
// stepped aside already or were started in a leaf (systemd's DelegateSubgroup=). Empty if there is none.
func delegated(own place) string {
	for _, path := range []string{own.path, filepath.Dir(own.path)} {
		if path == "/" {
			break
		}
		var b [1]byte
		for _, attr := range []string{"trusted.delegate", "user.delegate"} { // set by systemd for Delegate=yes
			dir := filepath.Join(own.mount, path)
			if n, err := unix.Getxattr(dir, attr, b[:]); err == nil && n == 1 && b[0] == '1' {
				return dir
			}
		}
	}
	return ""
}

// makeBase decides where on version 2 our groups may be, and makes that a cgroup whose children have controllers.
func makeBase(own place) (string, error) {
	dir := delegated(own)
	if dir != "" {
		return dir, stepAside(dir)
	}
	dir = own.mount
	err := enable(dir)
	if errors.Is(err, unix.EBUSY) { // the root of a container's own tree is no real root
		err = stepAside(dir)
	}
	return dir, err
}

// stepAside moves all processes of a cgroup to a leaf below it, so that it can give controllers to its children.
func stepAside(dir string) error {
	aside := filepath.Join(dir, leaf)
	if err := os.MkdirAll(aside, 0o755); err != nil {
		return err
	}
	for range 100 {
		pids, err := processes(dir)
		if err != nil {
			return err
		}
		for _, pid := range pids {
			if err := write(aside, "cgroup.procs", strconv.Itoa(pid)); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("move to a leaf cgroup: %w", err)
			}
		}
		if err = enable(dir); !errors.Is(err, unix.EBUSY) {
			return err
		}
	}
	return fmt.Errorf("the cgroup %s never came to rest", dir)
}

func enable(dir string) error {
	if err := write(dir, "cgroup.subtree_control", "+memory +cpu +pids"); err != nil {
		return fmt.Errorf("enable cgroup controllers in %s: %w", dir, err)
	}
	return nil
}

// sweepGroups kills and removes every group below the given parents, and the parents.
func sweepGroups(ctx context.Context, parents []string) error {
	var problems []error
	for _, parent := range parents {
		entries, err := os.ReadDir(parent)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		for _, e := range entries {
			if !e.IsDir() {
				continue
			}
			g := &Group{h: &Tree{all: []string{parent}}, name: e.Name()}
			problems = append(problems, g.Kill(ctx), g.Remove(ctx))
		}
		problems = append(problems, removeGroup(ctx, parent))
	}
	return errors.Join(problems...)
}
