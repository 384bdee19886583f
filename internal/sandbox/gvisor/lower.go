package gvisor

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"she/internal/sandbox"
)

// lower gives each program the images of all it sees: the skeleton, its package, and what its runtime needs. It is all or
// nothing: where one image is missing, a sandbox needs a process that opens files anyway. A nil lower has no images.
type lower struct {
	roots    rootImages
	packages *files
	runtimes *files
}

// impatience is how long a copy waits for images of an earlier life to be looked at.
const impatience = 5 * time.Second

func openLower(state string, c Config) (l *lower, err error) {
	l = &lower{roots: rootImages{skeleton: filepath.Join(state, "skeleton"), dir: filepath.Join(state, "roots"), made: map[string]string{}}}
	// Apart from the root of sandboxes without images, where mount points appear as they are needed.
	if _, err := newRootfs(l.roots.skeleton, c.Init); err != nil {
		return nil, err
	}
	if err := os.RemoveAll(l.roots.dir); err != nil {
		return nil, err
	}
	if err := os.Mkdir(l.roots.dir, 0o700); err != nil {
		return nil, err
	}
	if l.packages, err = openFiles(filepath.Join(state, "files")); err != nil {
		return nil, err
	}
	l.runtimes, err = openFiles(c.Files)
	return l, err
}

func (l *lower) close() {
	if l != nil {
		l.packages.close()
		l.runtimes.close()
	}
}

// shown are the directories of the host a program sees, its package first.
func shown(p sandbox.Program) []sandbox.Bind {
	return append([]sandbox.Bind{{Source: p.Dir, Target: "/var/task"}}, p.Binds...)
}

// find gives the images for a program, the root's first and then those of shown. A package's is made if it is missing:
// packages are small. Those of its runtime are begun; until they are all there it gives none.
func (l *lower) find(ctx context.Context, p sandbox.Program) (images []string) {
	return l.images(ctx, p, func(f *files, directory string) (string, error) {
		if f == l.packages {
			return f.await(ctx, directory)
		}
		if image, ok := f.find(directory); ok {
			return image, nil
		}
		f.begin(directory)
		return "", nil
	})
}

// await is find that waits for all that have to be made.
func (l *lower) await(ctx context.Context, p sandbox.Program) (images []string) {
	return l.images(ctx, p, func(f *files, directory string) (string, error) { return f.await(ctx, directory) })
}

// soon is await that does not wait long.
func (l *lower) soon(ctx context.Context, p sandbox.Program) (images []string) {
	ctx, cancel := context.WithTimeout(ctx, impatience)
	defer cancel()
	return l.images(ctx, p, func(f *files, directory string) (string, error) { return f.await(ctx, directory) })
}

// images asks for each image; an error is as good as none.
func (l *lower) images(ctx context.Context, p sandbox.Program, ask func(*files, string) (image string, err error)) (images []string) {
	if l == nil {
		return nil
	}
	var targets []string
	for i, b := range shown(p) {
		f := l.runtimes
		if i == 0 {
			f = l.packages
		}
		if image, err := ask(f, b.Source); err == nil && image != "" {
			images = append(images, image)
		}
		targets = append(targets, b.Target)
	}
	if len(images) < len(targets) {
		return nil
	}
	root, err := l.roots.find(ctx, targets)
	if err != nil {
		return nil
	}
	return slices.Insert(images, 0, root)
}

// namesFile is in each image of memory: the ids of the images of files it was made on, as a list in JSON. A copy goes on
// with open files of the original, so it must be given images of the same content.
const namesFile = "files.json"

func writeNames(dir string, images []string) error {
	b, err := json.Marshal(namesOf(images))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, namesFile), b, 0o600)
}

func sameNames(dir string, images []string) bool {
	var names []string
	b, err := os.ReadFile(filepath.Join(dir, namesFile))
	return err == nil && json.Unmarshal(b, &names) == nil && slices.Equal(names, namesOf(images))
}

func namesOf(images []string) []string {
	names := make([]string, 0, len(images))
	for _, path := range images {
		name := filepath.Base(path)
		names = append(names, name[strings.LastIndex(name, "-")+1:])
	}
	return names
}
