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

// A release is what a data directory remembers of a function that was published, so that grants of a package that was
// replaced meanwhile go on with that package:
//
//	DIR/releases/<sha256>.json    named after the function's digest, its id, version and output
//
// Files are written whole and never changed. One that can't be read is as if it was not there.
type release struct {
	Registered
	First         time.Time // when it was published first
	Configuration Entry
	Bundle        Entry
	Process       Entry
	SampleEvent   []byte `json:",omitempty"`
}

// maxRelease bounds a release's file: names, an environment for each entry, and a sample.
const maxRelease = 1 << 20

func (r release) function() Function {
	return Function{
		Registered: r.Registered, Package: r.Process.Package, Configuration: r.Configuration, Bundle: r.Bundle,
		Process: r.Process, SampleEvent: r.SampleEvent,
	}
}

// releaseKey tells releases apart: the same code registered for another address is another one, for a grant names both.
func releaseKey(f Function) string {
	return fmt.Sprintf("%s %s %s %s", f.ID, f.Version, f.Output, f.Digest())
}

func (c *Catalog) releaseFile(f Function) string {
	return filepath.Join(c.releases, fmt.Sprintf("%x.json", sha256.Sum256([]byte(releaseKey(f)))))
}

// remember writes the release of a published function, unless that was done before.
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

// Former lists what was published before in place of the functions that are loaded, oldest first. Releases whose packages are
// damaged or gone are left out. What is remembered of ids that are not loaded is forgotten: the operator took these
// functions out.
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
			_ = os.Remove(file) // of a process that was cut short
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

// holds says whether the store has all packages of a release, undamaged, and tells the release where.
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

// Forget removes what is remembered of a former function that nobody needs any more. Its packages go at the next Prune
// without it.
func (c *Catalog) Forget(f Function) error {
	err := os.Remove(c.releaseFile(f))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
