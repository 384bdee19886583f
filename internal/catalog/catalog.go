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

// A Catalog is the store of packages in a data directory. It is safe for concurrent use, also by several
// processes.
type Catalog struct {
	// Supports asks whether a runtime of a project file can run here. resolved is what runs it; warning is
	// for people ("python3.7 is run by python3.11"); err says why it can't run. An Entry keeps the runtime as
	// written, because the sandbox side resolves it itself. nil: not asked.
	Supports func(runtime string) (resolved, warning string, err error)
	// Gone, if not nil, is called with each package before its files are removed.
	Gone func(digest string)
	// Patience bounds the reading and copying of one function's packages.
	Patience time.Duration

	store    *store
	releases string // folder of published versions: see release
}

// Codes of the Faults that Publish gives.
const (
	CodeProject     = "Package.Project"     // author: the project file is not understood, or lacks an entry
	CodeRefused     = "Package.Refused"     // author: unsafe, too large, incomplete, changed while read
	CodeHandler     = "Package.Handler"     // author: the package does not contain what a handler names
	CodeSample      = "Package.Sample"      // author: the sample event is invalid; operator: the file does not exist
	CodeMissing     = "Package.Missing"     // operator: there is nothing at the configured path
	CodeSlow        = "Package.Slow"        // operator: not read in time, or the server is stopping
	CodeStore       = "Package.Store"       // operator: the store can't be read or written
	CodeRuntime     = "Runtime.Unsupported" // operator: the runtime is not installed here
	CodeDuplicate   = "Function.Duplicate"  // operator: an id or a deployed name is registered twice
	defaultPatience = 5 * time.Minute
)

// Open opens the catalog of a data directory, creates it if needed, and removes what an interrupted publish
// left.
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

// Look returns a catalog without a store: it reads projects, checks them and computes their digests.
func Look() *Catalog { return &Catalog{Patience: defaultPatience} }

// Publish reads the project of one registered function and stores its packages. When it returns without an
// error, the packages are durable and verified, and never change. An error is a *hat.Fault. It is the
// author's if the project must change, and the operator's if the configuration, the machine or the disk must.
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
	p, src, err := f.read(project.Options{ID: f.ID})
	if err != nil {
		return err
	}
	defer src.Close()
	f.Warnings = p.Warnings
	entries, err := c.entries(ctx, &f.Warnings, p, src)
	if err != nil {
		return err
	}
	f.Configuration, f.Bundle, f.Process = entries[0], entries[1], entries[2]
	f.Package = f.Process.Package
	if f.Sample != "" && c.store != nil {
		f.SampleEvent, err = readSample(f.Package, f.Sample)
	}
	return err
}

// PublishEntry reads one function of a project and stores its package, like Publish. o.Key names the
// function; with o.ID it is the process entry. It is for callers that have only one function, without a
// contract yet.
func (c *Catalog) PublishEntry(ctx context.Context, r Registered, key string) (Entry, []string, error) {
	ctx, cancel := context.WithTimeout(ctx, c.Patience)
	defer cancel()
	p, src, err := r.read(project.Options{Key: key})
	if err != nil {
		return Entry{}, nil, faultOf(err)
	}
	defer src.Close()
	warnings := p.Warnings
	entries, err := c.entries(ctx, &warnings, p, src)
	if err != nil {
		return Entry{}, warnings, faultOf(err)
	}
	return entries[0], warnings, nil
}

// entries packs and stores the entries that a project describes.
func (c *Catalog) entries(ctx context.Context, warnings *[]string, p *project.Project, src source) ([]Entry, error) {
	pack := packer{c: c, src: src, warnings: warnings, done: make(map[string]*made)}
	defer pack.close()
	var all []Entry
	for _, e := range p.Entries() {
		if err := c.askRuntime(warnings, e); err != nil {
			return nil, err
		}
		one, err := pack.entry(ctx, e)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, nil
}

// A packer makes the packages of one publish. Entries with the same packing share a package.
type packer struct {
	c        *Catalog
	src      source
	warnings *[]string
	done     map[string]*made
}

// made is a package during one publish.
type made struct {
	contents *contents
	layers   *layered // the files shown at /opt
	close    func() error
	pkg      Package // zero until stored
}

func (k *packer) close() {
	for _, m := range k.done {
		_ = m.close() // nothing was written
	}
}

func (k *packer) warn(text string) {
	if text != "" && !slices.Contains(*k.warnings, text) {
		*k.warnings = append(*k.warnings, text)
	}
}

// entry packs one entry. A refusal names the line at which the project file describes the entry.
func (k *packer) entry(ctx context.Context, e *project.Entry) (Entry, error) {
	one, err := k.pack(ctx, e)
	var unsafe *unsafeError
	if errors.As(err, &unsafe) {
		err = hat.NewFault(hat.Author, CodeRefused, e.Errorf("%s", unsafe.text).Error())
	}
	return one, err
}

func (k *packer) pack(ctx context.Context, e *project.Entry) (Entry, error) {
	m, err := k.packing(ctx, e.Packing)
	if err != nil {
		return Entry{}, err
	}
	var opt *made
	var layers *layered
	if len(e.Layers) > 0 {
		if opt, err = k.layers(ctx, e); err != nil {
			return Entry{}, err
		}
		layers = opt.layers
	}
	// Check before storing, so that the store has no package that can't run.
	warning, err := checkWithLayers(e, m.contents, layers)
	if err != nil {
		var unsafe *unsafeError
		if errors.As(err, &unsafe) {
			return Entry{}, hat.NewFault(hat.Author, CodeHandler, e.Errorf("%s", unsafe.text).Error())
		}
		return Entry{}, err
	}
	if err := refuseTogether(m.contents, layers); err != nil {
		return Entry{}, err
	}
	if warning != "" {
		k.warn(e.Errorf("%s", warning).Error())
	}
	one := Entry{Name: e.Name, Handler: e.Handler, Runtime: e.Runtime, Memory: e.Memory, Timeout: e.Timeout, Env: e.Env}
	if one.Package, err = k.store(ctx, m); err == nil && opt != nil {
		one.Layers, err = k.store(ctx, opt)
	}
	return one, err
}

func (k *packer) packing(ctx context.Context, p project.Packing) (*made, error) {
	key := fmt.Sprintf("%#v", p)
	if m := k.done[key]; m != nil {
		return m, nil
	}
	content, closeSource, err := collect(ctx, k.src, p)
	if err != nil {
		return nil, err
	}
	m := &made{contents: content, close: closeSource}
	k.done[key] = m
	if content.dropped > 0 {
		k.warn(fmt.Sprintf("links that lead to no file of the package are left out: %d", content.dropped))
	}
	if p.DevDependencies && p.Artifact == "" {
		k.warn(developmentIn(k.src, p.Folder, content))
	}
	return m, nil
}

func (k *packer) layers(ctx context.Context, e *project.Entry) (*made, error) {
	key := "layers"
	for _, l := range e.Layers {
		key += fmt.Sprintf(" %#v", l.Packing)
	}
	if m := k.done[key]; m != nil {
		return m, nil
	}
	l, err := collectLayers(ctx, k.src, e.Layers)
	if err != nil {
		return nil, err
	}
	m := &made{contents: l.contents, layers: l, close: l.Close}
	k.done[key] = m
	return m, nil
}

func (k *packer) store(ctx context.Context, m *made) (Package, error) {
	if m.pkg != (Package{}) {
		return m.pkg, nil
	}
	put := digestOf
	if k.c.store != nil {
		put = k.c.store.put
	}
	pkg, err := put(ctx, m.contents)
	m.pkg = pkg
	return pkg, err
}

func (c *Catalog) askRuntime(warnings *[]string, e *project.Entry) error {
	if c.Supports == nil {
		return nil
	}
	_, warning, err := c.Supports(e.Runtime)
	if err != nil {
		return hat.NewFault(hat.Operator, CodeRuntime, e.Errorf("%v", err).Error())
	}
	if warning != "" && !slices.Contains(*warnings, warning) {
		*warnings = append(*warnings, warning)
	}
	return nil
}

// Load publishes every registered function, in order. A function that fails is in the result with its
// Problem, and the others go on. A second registration of the same version fails, and so does a deployed name
// that belongs to another id. Several versions of one id share their names.
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

// claim takes the names of a function, or none of them if one belongs to another function.
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

// Prune removes the packages that no function in keep uses and returns their digests. The caller makes sure
// that nothing runs from them.
func (c *Catalog) Prune(keep []Function) (removed []string, err error) {
	digests := make(map[string]bool)
	for _, f := range keep {
		for _, p := range []Package{
			f.Package, f.Configuration.Package, f.Bundle.Package, f.Process.Package,
			f.Configuration.Layers, f.Bundle.Layers, f.Process.Layers,
		} {
			digests[p.Digest] = true
		}
	}
	removed, err = c.store.prune(digests, c.Gone)
	if err != nil {
		return removed, fmt.Errorf("prune packages: %w", err)
	}
	return removed, nil
}

// openFault distinguishes a wrong path in the configuration from a faulty archive.
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
