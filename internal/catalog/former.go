package catalog

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"she/internal/durable"
	"she/internal/hat"
)

// A release is what a data directory stores about a published function, so that grants of a package keep
// working after it was replaced:
//
//	DIR/releases/<sha256>.json    named after the function's digest, id, version and output
//
// Files are written as a whole and never changed. An unreadable file is ignored.
type release struct {
	Registered
	First         time.Time // when it was first published
	Configuration Entry
	Bundle        Entry
	Process       Entry
	SampleEvent   []byte `json:",omitempty"`
}

// maxRelease bounds a release's file: names, the environment of each entry, and a sample.
const maxRelease = 1 << 20

func (r release) function() Function {
	return Function{
		Registered: r.Registered, Package: r.Process.Package, Configuration: r.Configuration, Bundle: r.Bundle,
		Process: r.Process, SampleEvent: r.SampleEvent,
	}
}

// releaseKey identifies a release. The same code registered for another endpoint is another release, because
// a grant names both.
func releaseKey(f Function) string {
	return fmt.Sprintf("%s %s %s %s", f.ID, f.Version, f.Output, f.Digest())
}

func (c *Catalog) releaseFile(f Function) string {
	return filepath.Join(c.releases, fmt.Sprintf("%x.json", sha256.Sum256([]byte(releaseKey(f)))))
}

// remember stores the release of a published function, unless it is stored already.
func (c *Catalog) remember(f Function, now time.Time) error {
	file := c.releaseFile(f)
	if _, err := os.Stat(file); err == nil {
		return nil
	}
	text, err := json.Marshal(release{
		Registered: f.Registered, First: now.UTC(), Configuration: f.Configuration, Bundle: f.Bundle, Process: f.Process,
		SampleEvent: f.SampleEvent,
	})
	if err != nil {
		return err
	}
	if len(text) > maxRelease {
		return fmt.Errorf("what is remembered of it is larger than %d bytes", maxRelease)
	}
	// Readable by the operator alone: an environment may hold secrets.
	return durable.Write(file, func(w io.Writer) error { _, err := w.Write(text); return err })
}

// Former lists what was published before, apart from the loaded functions, oldest first. Releases with
// damaged or missing packages are left out. Releases of ids that are not loaded are removed, because the
// operator has removed these functions.
func (c *Catalog) Former(ctx context.Context, loaded []Function) ([]Function, error) {
	current := make(map[string]bool)
	ids := make(map[hat.FunctionID]bool)
	for _, f := range loaded {
		ids[f.ID] = true
		current[releaseKey(f)] = true
	}
	entries, err := os.ReadDir(c.releases)
	if err != nil {
		return nil, err
	}
	var former []release
	for _, e := range entries {
		file := filepath.Join(c.releases, e.Name())
		if strings.HasPrefix(e.Name(), "new-") || strings.Contains(e.Name(), durable.Unfinished) {
			_ = os.Remove(file) // left by a process that was killed
			continue
		}
		r, err := readRelease(file)
		switch f := r.function(); {
		case err != nil:
		case !ids[r.ID]:
			_ = os.Remove(file) // if that fails, the next start tries again
		case current[releaseKey(f)]:
		case c.holds(ctx, &r):
			former = append(former, r)
		}
	}
	slices.SortFunc(former, func(a, b release) int {
		return cmp.Or(a.First.Compare(b.First), cmp.Compare(a.Version.String(), b.Version.String()))
	})
	all := make([]Function, 0, len(former))
	for _, r := range former {
		all = append(all, r.function())
	}
	return all, nil
}

func readRelease(file string) (r release, err error) {
	f, err := os.Open(file)
	if err != nil {
		return r, err
	}
	defer f.Close()
	text, err := readBounded(f, maxRelease)
	if err != nil {
		return r, err
	}
	return r, json.Unmarshal(text, &r)
}

// holds reports whether the store has all packages of a release, undamaged, and sets their paths.
func (c *Catalog) holds(ctx context.Context, r *release) bool {
	for _, e := range []*Entry{&r.Configuration, &r.Bundle, &r.Process} {
		for _, p := range []*Package{&e.Package, &e.Layers} {
			if p == &e.Layers && p.Digest == "" {
				continue
			}
			if c.store.verify(ctx, p.Digest) != nil {
				return false
			}
			*p = c.store.pkg(p.Digest)
		}
	}
	return true
}

// Forget removes the release of a former function that nobody needs any more. The next Prune without it
// removes its packages.
func (c *Catalog) Forget(f Function) error {
	err := os.Remove(c.releaseFile(f))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
