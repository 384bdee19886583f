package catalog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"she/internal/hat"
	"she/internal/project"
)

// A Catalog is the store of packages in a data directory, and the way functions get into it. It is safe for
// concurrent use, by several processes too.
type Catalog struct {
	// Supports asks the wall whether a runtime of a project file can run here. resolved is what runs it, warning what
	// a person should know of that ("python3.7 is run by python3.11"), err why it can't be run. An Entry keeps the
	// runtime as written, because the wall looks it up itself. Where Supports is nil nothing is asked.
	Supports func(runtime string) (resolved, warning string, err error)
	// Gone, if not nil, is told of each package that leaves the catalog, before its files do.
	Gone func(digest string)
	// Patience bounds the reading and copying of one function's packages.
	Patience time.Duration

	store    *store
	releases string // folder of what was published: see release
}

// Codes of the Faults that Publish gives.
const (
	CodeProject     = "Package.Project"     // author: the project file is not understood, or lacks an entry
	CodeRefused     = "Package.Refused"     // author: unsafe, too large, incomplete, changed while read
	CodeHandler     = "Package.Handler"     // author: the package does not hold what a handler names
	CodeSample      = "Package.Sample"      // author: the sample event is none; operator: there is no such file
	CodeMissing     = "Package.Missing"     // operator: there is nothing at the configured path
	CodeSlow        = "Package.Slow"        // operator: not read in time, or the server is stopping
	CodeStore       = "Package.Store"       // operator: the store can't be read or written
	CodeRuntime     = "Runtime.Unsupported" // operator: the runtime is not installed here
	CodeDuplicate   = "Function.Duplicate"  // operator: an id or a deployed name is registered twice
	defaultPatience = 5 * time.Minute
)

// Open opens the catalog of a data directory and makes it if need be. Leftovers of an interrupted publish are
// removed.
func Open(dir string) (*Catalog, error) {
	s, err := openStore(dir)
	if err != nil {
		return nil, fmt.Errorf("open catalog: %w", err)
	}
	releases := filepath.Join(dir, "releases")
	if err := os.MkdirAll(releases, 0o700); err != nil {
		return nil, fmt.Errorf("open catalog: %w", err)
	}
	return &Catalog{Patience: defaultPatience, store: s, releases: releases}, nil
}

// Look is a catalog without a place on the disk: it reads projects, checks them and knows their digests, and stores nothing.
func Look() *Catalog { return &Catalog{Patience: defaultPatience} }

// Publish reads the project of one registered function and stores its packages. When it returns without error the
// packages are durable, verified, and never change again. An error is a *hat.Fault: of the author where the
// project must change, of the operator where the configuration, the machine or the disk must.
func (c *Catalog) Publish(ctx context.Context, r Registered) (Function, error) {
	f := Function{Registered: r}
	ctx, cancel := context.WithTimeout(ctx, c.Patience)
	defer cancel()
	if err := c.publish(ctx, &f); err != nil {
		return f, faultOf(err)
	}
	return f, nil
}

func (c *Catalog) publish(ctx context.Context, f *Function) error {
	p, src, err := readProject(f.Registered.Package, f.Stage, f.ID)
	if err != nil {
		return err
	}
	defer src.Close()
	f.Warnings = p.Warnings
	made := make(map[string]*made)
	defer func() {
		for _, m := range made {
			_ = m.close() // only read
		}
	}()
	for i, e := range p.Entries() {
		if err := c.askRuntime(f, e); err != nil {
			return err
		}
		pkg, err := c.pack(ctx, f, src, e, made)
		if err != nil {
			return err
		}
		*[]*Entry{&f.Configuration, &f.Bundle, &f.Process}[i] = ready(e, pkg)
	}
	f.Package = f.Process.Package
	if f.Sample != "" && c.store != nil {
		f.SampleEvent, err = readSample(f.Package, f.Sample)
	}
	return err
}

// ready is an entry of a project with its package.
func ready(e *project.Entry, pkg Package) Entry {
	return Entry{
		Name: e.Name, Handler: e.Handler, Runtime: e.Runtime, Memory: e.Memory, Timeout: e.Timeout, Env: e.Env, Package: pkg,
	}
}

// made is a package during one publish; entries that pack alike share it.
type made struct {
	contents *contents
	close    func() error
	pkg      Package // zero until stored
}

func (c *Catalog) pack(ctx context.Context, f *Function, src source, e *project.Entry, done map[string]*made) (Package, error) {
	key := fmt.Sprintf("%#v", e.Packing)
	m := done[key]
	if m == nil {
		content, closeSource, err := collect(ctx, src, e.Packing)
		if err != nil {
			return Package{}, err
		}
		m = &made{contents: content, close: closeSource}
		done[key] = m
		if content.dropped > 0 {
			f.Warnings = append(f.Warnings, fmt.Sprintf("links that lead to no file of the package are left out: %d", content.dropped))
		}
	}
	// Before storing: what can't run has no place in the store.
	if err := checkHandler(e, m.contents); err != nil {
		var unsafe *unsafeError
		if errors.As(err, &unsafe) {
			return Package{}, hat.NewFault(hat.Author, CodeHandler, e.Errorf("%s", unsafe.text).Error())
		}
		return Package{}, err
	}
	if m.pkg == (Package{}) {
		put := digestOf
		if c.store != nil {
			put = c.store.put
		}
		pkg, err := put(ctx, m.contents)
		if err != nil {
			return Package{}, err
		}
		m.pkg = pkg
	}
	return m.pkg, nil
}

func (c *Catalog) askRuntime(f *Function, e *project.Entry) error {
	if c.Supports == nil {
		return nil
	}
	_, warning, err := c.Supports(e.Runtime)
	if err != nil {
		return hat.NewFault(hat.Operator, CodeRuntime, e.Errorf("%v", err).Error())
	}
	if warning != "" && !slices.Contains(f.Warnings, warning) {
		f.Warnings = append(f.Warnings, warning)
	}
	return nil
}

// Load publishes every registered function, in order. One that fails is in the result with its Problem set and stops
// nobody; so is the second of two that claim one version of an id, or a deployed name that belongs to another id.
// Several versions of one id may be registered: they share their names.
func (c *Catalog) Load(ctx context.Context, registered []Registered) []Function {
	type release struct {
		id      hat.FunctionID
		version hat.Version
	}
	seen := make(map[release]bool)
	owner := make(map[string]hat.FunctionID) // of a deployed name
	all := make([]Function, 0, len(registered))
	for _, r := range registered {
		f := Function{Registered: r}
		if this := (release{r.ID, r.Version}); seen[this] {
			f.Problem = hat.NewFault(hat.Operator, CodeDuplicate, fmt.Sprintf("version %s of function %s is registered twice", r.Version, r.ID))
		} else {
			seen[this] = true
			var err error
			if f, err = c.Publish(ctx, r); err != nil {
				f.Problem = hat.FaultOf(err)
			} else {
				f.Problem = claim(owner, f)
			}
			if f.Problem == nil && c.store != nil {
				if err := c.remember(f, time.Now()); err != nil {
					f.Warnings = append(f.Warnings, "grants of this package end when it is replaced: it can't be remembered: "+err.Error())
				}
			}
		}
		all = append(all, f)
	}
	return all
}

// claim takes the names of a function, or none of them if one belongs to another.
func claim(owner map[string]hat.FunctionID, f Function) *hat.Fault {
	entries := []Entry{f.Configuration, f.Bundle, f.Process}
	for _, e := range entries {
		if other, taken := owner[e.Name]; taken && other != f.ID {
			return hat.NewFault(hat.Operator, CodeDuplicate, fmt.Sprintf("the name %s belongs to function %s; deploy one of them under another service or stage", e.Name, other))
		}
	}
	for _, e := range entries {
		owner[e.Name] = f.ID
	}
	return nil
}

// Prune removes the packages that none of keep uses and returns their digests. The caller sees to it that nothing
// runs from them.
func (c *Catalog) Prune(keep []Function) (removed []string, err error) {
	digests := make(map[string]bool)
	for _, f := range keep {
		for _, p := range []Package{f.Package, f.Configuration.Package, f.Bundle.Package, f.Process.Package} {
			digests[p.Digest] = true
		}
	}
	removed, err = c.store.prune(digests, c.Gone)
	if err != nil {
		return removed, fmt.Errorf("prune packages: %w", err)
	}
	return removed, nil
}

// CheckPath says what is wrong with the path of a package before anything of it is read: nothing is there, or nothing that
// can be opened as a project.
func CheckPath(path string) error {
	info, err := os.Stat(path)
	var at *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errors.New("nothing is there")
	case errors.As(err, &at):
		return at.Err
	case err != nil:
		return err
	case info.IsDir() == isArchive(path):
		return errors.New("it is neither a directory nor an archive")
	}
	return nil
}

// openFault tells a configured path that is wrong from an archive that is.
func openFault(err error) error {
	var unsafe *unsafeError
	var at *fs.PathError
	switch {
	case errors.As(err, &unsafe):
		return err
	case errors.Is(err, fs.ErrNotExist):
		return hat.NewFault(hat.Operator, CodeMissing, "there is nothing at the configured package path")
	case errors.Is(err, syscall.ENOTDIR):
		return hat.NewFault(hat.Operator, CodeMissing, "the configured package path is neither a folder nor a .zip or .jar")
	case errors.As(err, &at):
		return hat.NewFault(hat.Operator, CodeMissing, "the configured package path can't be opened: "+at.Err.Error())
	}
	return err
}

func faultOf(err error) *hat.Fault {
	var fault *hat.Fault
	var wrong *project.Error
	var unsafe *unsafeError
	var at *fs.PathError
	switch {
	case errors.As(err, &fault):
		return fault
	case errors.As(err, &wrong):
		return hat.NewFault(hat.Author, CodeProject, wrong.Error())
	case errors.As(err, &unsafe):
		return hat.NewFault(hat.Author, CodeRefused, unsafe.text)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return hat.NewFault(hat.Operator, CodeSlow, "the package was not read in time, or the server is stopping")
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return hat.NewFault(hat.Operator, CodeStore, "the disk of the data directory is full")
	case errors.As(err, &at):
		return hat.NewFault(hat.Operator, CodeStore, fmt.Sprintf("%.200q can't be read or written: %v", filepath.Base(at.Path), at.Err))
	}
	return hat.NewFault(hat.Operator, CodeStore, "the package or the store can't be read or written: "+err.Error())
}
