// Package catalog holds the installed functions: what the operator registered, the package of each, and what the
// author's manifest says. It checks and stores packages by digest, keeps them read-only, and never shows their
// content to anybody but the sandbox.
package catalog

import (
	"crypto/sha256"
	"fmt"
	"time"

	"she/internal/contract"
	"she/internal/hat"
	"she/internal/project"
)

// Registered is what the operator's configuration says of one function.
type Registered struct {
	ID           hat.FunctionID
	Version      hat.Version
	Package      string // directory with serverless.yml, template.yaml or a cdk.out, or a .zip or .jar, or one file
	Stage        string
	Params       map[string]string // given to the project file: ${param:…}, Parameters of a template
	Bare         project.Bare      // how a package without a project file is run
	Output       hat.Endpoint      // namespace/endpoint: the only place it may write to
	Mode         hat.OutputMode
	Equal        hat.EqualMode
	InOrder      bool // newer data waits for what failed
	Experimental bool
	NoWarmUp     bool // its copies are made without an event having been tried before
	NoCopies     bool // each of its instances is started, with an INIT and hash seeds of its own
	// Sample is the file of the package of Process that holds the event which is tried then: slash path, "" for none.
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
	Package Package // where Handler is: Function.Package too, unless the project packs its functions individually
	Layers  Package // its layers, laid over each other: what a function sees as /opt; zero for none
}

// A Package is an unpacked function package in the catalog's store.
type Package struct {
	Digest string // "sha256:…" over names, modes and content
	Dir    string // absolute, read-only; what a function sees as /var/task
}

// A Function is one registered function as the engine sees it.
type Function struct {
	Registered
	Package       Package // of Process
	Configuration Entry
	Bundle        Entry
	Process       Entry
	Warnings      []string // of reading the project: ignored keys, retired runtimes
	SampleEvent   []byte   // what Sample holds: an event as Process is given, the author's and nobody's data; nil if there is none
	// Manifest is what the configuration entry answered; nil until it has. Problem says why not, for people.
	Manifest *contract.Manifest
	Problem  *hat.Fault
	// Said is what the function printed and reported when it was asked for its configuration and could not answer: no data of
	// anybody is near it then. It is foreign text of any bytes, and short.
	Said []byte
	// Last is what a former life of the server knew last; nil: nothing. AsOf is when that was, in what Seen answers; zero: it
	// has answered in this life.
	Last *Known
	AsOf time.Time
	Runs Runs
}

// Available says whether the function can run: its manifest is known and fits what is registered.
func (f Function) Available() bool { return f.Manifest != nil && f.Problem == nil }

// code identifies the code of one entry: its package's digest, or one over package and layers.
func (e Entry) code() string {
	if e.Layers == (Package{}) {
		return e.Package.Digest
	}
	return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(e.Package.Digest+"\n"+e.Layers.Digest+"\n")))
}

// Digest identifies all code of the function: the package's digest, or one over three where the entries have
// packages of their own.
func (f Function) Digest() string {
	c, b, p := f.Configuration.code(), f.Bundle.code(), f.Process.code()
	if c == p && b == p {
		return p
	}
	return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(c+"\n"+b+"\n"+p+"\n")))
}
