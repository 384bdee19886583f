package gvisor

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"she/internal/sandbox"
	"she/internal/sandbox/gvisor/erofs"
)

// lower gives each program two images with all it sees: one is the machine's, the skeleton and what its runtime needs, and
// is shared by all programs of that runtime; the other is /var, where its package and the bootstraps are. It is both or
// none: for one directory that is in no image a sandbox needs a process that opens files anyway. A nil lower has no images.
type lower struct {
	skeleton part
	machine  *files
	packages *files
}

// own is the directory inside that is a program's own.
const own = "/var"

func openLower(state string, c Config) (l *lower, err error) {
	l = &lower{}
	// Apart from the root of sandboxes without images, where mount points appear as they are needed.
	dir := filepath.Join(state, "skeleton")
	if _, err := newRootfs(dir, c.Init); err != nil {
		return nil, err
	}
	if l.skeleton, err = timeless(dir); err != nil {
		return nil, err
	}
	if l.machine, err = openFiles(c.Files, false); err != nil {
		return nil, err
	}
	if l.packages, err = openFiles(filepath.Join(state, "files"), true); err != nil {
		return nil, err
	}
	return l, nil
}

// timeless makes a directory the same whenever and wherever it was made, so that servers share what has it in it, and
// copies made in an earlier life can be restored.
func timeless(dir string) (part, error) {
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return unix.UtimesNanoAt(unix.AT_FDCWD, path, make([]unix.Timespec, 2), unix.AT_SYMLINK_NOFOLLOW)
	})
	if err != nil {
		return part{}, err
	}
	root, _, err := erofs.Walk(dir)
	if err != nil {
		return part{}, err
	}
	digest, err := root.Digest(true)
	return part{Source: dir, At: "/", Content: hex.EncodeToString(digest[:])}, err
}

func (l *lower) close() {
	if l != nil {
		l.machine.close()
		l.packages.close()
	}
}

func (l *lower) forget(dir string) {
	if l != nil {
		l.packages.forget(dir)
	}
}

func (l *lower) stats() (all sandbox.Files) {
	if l == nil {
		return all
	}
	for _, f := range []*files{l.machine, l.packages} {
		bytes, problem := f.stats()
		all.Bytes += bytes
		all.Problem = cmp.Or(all.Problem, problem)
	}
	return all
}

// images are those of a program's two trees; without, its directories are served.
type images struct{ root, own string }

func (im images) there() bool { return im.own != "" }

// trees are what the images of a program are made of. A directory that is to be seen below one that sandboxes have of their
// own, as in a checkout below /tmp, can be in neither.
func (l *lower) trees(p sandbox.Program) (machine, program tree, ok bool) {
	machine = tree{l.skeleton}
	binds := shown(p)
	if !slices.ContainsFunc(binds, func(b sandbox.Bind) bool { return b.Target == sandbox.Layers }) {
		program = append(program, part{Source: filepath.Join(l.skeleton.Source, sandbox.Layers), At: strings.TrimPrefix(sandbox.Layers, own), Content: "empty"})
	}
	for _, b := range binds {
		for _, private := range []string{"/proc/", "/sys/", "/dev/", "/tmp/"} {
			if strings.HasPrefix(b.Target, private) {
				return nil, nil, false
			}
		}
		if at, below := strings.CutPrefix(b.Target, own+"/"); below {
			program = append(program, part{Source: b.Source, At: "/" + at})
		} else {
			machine = append(machine, part{Source: b.Source, At: b.Target})
		}
	}
	return machine.sorted(), program.sorted(), true
}

// shown are the directories of the host a program sees.
func shown(p sandbox.Program) []sandbox.Bind {
	return append([]sandbox.Bind{{Source: p.Dir, Target: "/var/task"}}, p.Binds...)
}

// find gives the images of a program. Its own is made if it is missing: packages are small. The machine's is begun; until
// it is there find gives none.
func (l *lower) find(ctx context.Context, p sandbox.Program) (im images) {
	if l == nil {
		return im
	}
	machine, program, ok := l.trees(p)
	if !ok {
		return im
	}
	root, ok := l.machine.find(machine)
	if !ok {
		l.machine.begin(machine)
		return im
	}
	made, err := l.packages.await(ctx, program)
	if err != nil {
		return im
	}
	return images{root: root, own: made}
}

// await is find that waits for the machine's too.
func (l *lower) await(ctx context.Context, p sandbox.Program) (im images) {
	if l == nil {
		return im
	}
	if machine, _, ok := l.trees(p); ok {
		_, _ = l.machine.await(ctx, machine) // its error is kept, and told by stats
	}
	return l.find(ctx, p)
}

// namesFile is in each image of memory: the names of the images of files it was made on. A copy goes on with open files of
// the original, so it must be given images of the same content.
const namesFile = "files.json"

func (im images) writeNames(dir string) error {
	b, err := json.Marshal(im.names())
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, namesFile), b, 0o600)
}

func (im images) sameNames(dir string) bool {
	var names []string
	b, err := os.ReadFile(filepath.Join(dir, namesFile))
	return err == nil && json.Unmarshal(b, &names) == nil && slices.Equal(names, im.names())
}

// names are the ids, for the same content may be elsewhere in another life.
func (im images) names() []string {
	_, root, _ := strings.Cut(filepath.Base(im.root), "-")
	_, own, _ := strings.Cut(filepath.Base(im.own), "-")
	return []string{root, own}
}
