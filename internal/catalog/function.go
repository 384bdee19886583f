// Package catalog holds the installed functions: what the operator registered, the package of each, and what the
// author's manifest says. It checks and stores packages by digest, keeps them read-only, and never shows their
// content to anybody but the sandbox.
package catalog

import (
	"time"

	"she/internal/contract"
	"she/internal/hat"
)

// Registered is what the operator's configuration says of one function.
type Registered struct {
	ID           hat.FunctionID
	Version      hat.Version
	Package      string // directory with serverless.yml or template.yaml, or a .zip or .jar
	Stage        string
	Output       hat.Endpoint // namespace/endpoint: the only place it may write to
	Experimental bool
}

// An Entry is one of a function's three entry points, ready to run.
type Entry struct {
	Name    string // deployed name: <service>-<stage>-<key>
	Handler string
	Runtime string
	Memory  int // MB
	Timeout time.Duration
	Env     map[string]string
}

// A Package is an unpacked function package in the catalog's store.
type Package struct {
	Digest string // "sha256:…" over names, modes and content
	Dir    string // read-only
}

// A Function is one registered function as the engine sees it.
type Function struct {
	Registered
	Package       Package
	Configuration Entry
	Bundle        Entry
	Process       Entry
	Warnings      []string // of reading the project: ignored keys, retired runtimes
	// Manifest is what the configuration entry answered; nil until it has. Problem says why not, for people.
	Manifest *contract.Manifest
	Problem  *hat.Fault
}

// Available says whether the function can run: its manifest is known and fits what is registered.
func (f Function) Available() bool { return f.Manifest != nil && f.Problem == nil }
