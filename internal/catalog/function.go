// Package catalog holds the installed functions: the operator's registration, the package, and the author's
// manifest of each. It checks packages, stores them by digest and read-only, and shows their content only to
// sandboxes.
package catalog

import (
	"crypto/sha256"
	"fmt"
	"time"

	"she/internal/contract"
	"she/internal/hat"
	"she/internal/project"
)

// Registered is the operator's registration of one function.
type Registered struct {
	ID           hat.FunctionID
	Version      hat.Version
	Package      string // directory with serverless.yml, template.yaml or a cdk.out, or a .zip or .jar, or one file
	Stage        string
	Params       map[string]string // given to the project file: ${param:…}, Parameters of a template
	Bare         project.Bare      // how a package without a project file is run
	Output       hat.Endpoint      // namespace/endpoint: the only endpoint it may write to
	Mode         hat.OutputMode
	Equal        hat.EqualMode
	InOrder      bool // failed data delays newer data
	Experimental bool
	NoWarmUp     bool // no warm-up before snapshots are taken or instances wait
	NoCopies     bool // every instance is a cold start, with an INIT and hash seeds of its own
	// Sample is the path of the sample event in the package of Process, for the warm-up; "" for none.
	Sample string
}

// An Entry is one of a function's three entry points, ready to run.
type Entry struct {
	Name    string // deployed name: <service>-<stage>-<key>
	Handler string
	Runtime string // as the project writes it
	Memory  int    // MB
	Timeout time.Duration
	Env     map[string]string
	Package Package // the package with Handler: Function.Package too, unless the project packs its functions individually
	Layers  Package // its layers, laid over each other: what a function sees as /opt; zero for none
}

// A Package is an unpacked function package in the catalog's store.
type Package struct {
	Digest string // "sha256:…" over names, modes and content
	Dir    string // absolute and read-only; the function sees it as /var/task
}

// A Function is one registered function as the engine sees it.
type Function struct {
	Registered
	Package       Package // of Process
	Configuration Entry
	Bundle        Entry
	Process       Entry
	Warnings      []string // from reading the project: ignored keys, retired runtimes
	SampleEvent   []byte   // content of Sample: an event as Process gets it, invented by the author; nil if there is none
	// Manifest is the answer of the configuration entry; nil until it has answered. Problem says why there is
	// none.
	Manifest *contract.Manifest
	Problem  *hat.Fault
	// Said is what the function printed and reported when it could not answer the question for its
	// configuration. No data was involved then. It is short, and may be any bytes.
	Said []byte
	// Last is what was known before the last stop; nil: nothing. AsOf, in the result of Seen, is when that
	// was; zero: the function has answered since the start.
	Last *Known
	AsOf time.Time
	Runs Runs
}

// Available reports whether the function can run: its manifest is known and fits its registration.
func (f Function) Available() bool { return f.Manifest != nil && f.Problem == nil }

// code identifies the code of one entry: its package's digest, or one over package and layers.
func (e Entry) code() string {
	if e.Layers == (Package{}) {
		return e.Package.Digest
	}
	return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(e.Package.Digest+"\n"+e.Layers.Digest+"\n")))
}

// Digest identifies all code of the function: the digest of its package, or a digest over those of its
// entries if they have packages of their own.
func (f Function) Digest() string {
	c, b, p := f.Configuration.code(), f.Bundle.code(), f.Process.code()
	if c == p && b == p {
		return p
	}
	return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(c+"\n"+b+"\n"+p+"\n")))
}
