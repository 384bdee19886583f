// Package project reads project files (of the Serverless Framework, SAM, or CloudFormation as the AWS CDK
// writes it) into descriptions of functions: the program, its limits and environment, and its files. It runs
// nothing of the project, opens no files itself, and bounds what any text can cost. Everything it can't do is
// an error or a warning with file and line.
package project

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"she/internal/hat"
)

// A Project describes one function: its three entries, and the files of their packages.
type Project struct {
	File                           string   // the project file that was read: "serverless.yml"; "" for none
	Service, Stage                 string   // Service is empty for SAM, which names functions one by one
	Keys                           []string // all functions of the file: their keys, or in a template their logical ids
	Configuration, Bundle, Process Entry    // of Options.ID; of Options.Key only Process is set
	Warnings                       []string // one line each, with file and line

	read int // how many entries
}

// An Entry is one of a function's three entry points, as the project file describes it.
type Entry struct {
	Name    string // deployed name: <service>-<stage>-<key>
	Handler string
	Runtime string // as the project writes it
	Memory  int    // MB
	Timeout time.Duration
	Env     map[string]string
	Packing Packing
	Layers  []Layer // shown at /opt, in this order: a later one wins

	at value // where the file describes it
}

// A Layer is files that functions share.
type Layer struct {
	Name    string // in the project file
	Packing Packing

	at value // where the function names it
}

// Errorf is an error at the place where the file names the layer.
func (l *Layer) Errorf(format string, args ...any) error { return l.at.errorf(format, args...) }

// maxLayers is Lambda's limit for one function.
const maxLayers = 5

// Errorf returns an error at the line that describes the entry.
func (e *Entry) Errorf(format string, args ...any) error { return e.at.errorf(format, args...) }

// Files is a folder or an archive that holds a project. Names are slash paths from its root.
type Files interface {
	// Read returns the content of a small file. If the file does not exist, the error wraps fs.ErrNotExist.
	Read(name string, max int64) ([]byte, error)
	// Has reports whether there is a regular file with that name.
	Has(name string) bool
}

// Packing says which files become a package: an archive in the project, or the files below a folder that the
// rules include.
type Packing struct {
	Artifact string // slash path within the project; "" if the package is made from a folder
	Folder   string // slash path, "." for the whole project
	Rules    []Rule // in order: the last one that matches a file decides; without any, it is packed
	// DevDependencies keeps npm packages that the lock file marks as needed for development only.
	DevDependencies bool
}

// A Rule includes or excludes files by their name in the folder.
type Rule struct {
	Include bool
	Pattern string // as in the Serverless Framework: *, **, ?, [a-z], {a,b}; "dir/**" for all in a folder
}

// What a project may ask for. Package invoke has the same bounds.
const (
	MinMemoryMB = 128
	MaxMemoryMB = 3008
	MaxTimeout  = 300 * time.Second

	defaultMemory  = 256 // MB
	defaultTimeout = 60 * time.Second
	maxEnvironment = 4 << 10 // bytes of names and values, as on Lambda
)

// Names are the project files that are read, in order of preference.
var Names = []string{"serverless.yml", "serverless.yaml", "serverless.json", "template.yaml", "template.yml", "template.json"}

// Options are what a project file does not say.
type Options struct {
	ID hat.FunctionID
	// Key names the one function to read if ID is not set: its key, or in a template its logical id or
	// FunctionName. If neither is set, only the Keys of the project are read.
	Key string
	// Params are parameters given beside the file. They are the values of ${param:NAME}, and replace the
	// Default of a template's Parameters.
	Params map[string]string
	// Stage is the value of ${opt:stage}; "": as in the file, else "dev".
	Stage string
	// Env is the environment that ${env:NAME} sees.
	Env map[string]string
	// Archive is the name, within the source, of an archive that is the package of every entry, whatever the
	// project file says. It is usually "".
	Archive string
}

// Read reads the project file of function o.ID: serverless.yml of the Serverless Framework, template.yaml of
// SAM or CloudFormation, or their forms in JSON. It runs nothing of the project.
//
// Entries are the functions with the keys id, id-bundle and id-configuration, deployed as
// <service>-<stage>-<key> unless the file gives a name. In a SAM template, an entry is the function whose
// FunctionName is that key, alone or after a prefix ending in "-". Otherwise it is the function whose logical
// id is the key, without hyphens, ignoring case, and with or without "Function" at the end. For example,
// BusyHoursBundleFunction is the entry busy-hours-bundle.
//
// Read warns of settings that this engine does not need. What it does not understand is an *Error with file
// and line.
func Read(src Files, o Options) (*Project, error) { return readEach(src, o, nil) }

// readEach does what Read does. If each is set, it reads no entries, and calls each for every function of the
// file.
func readEach(src Files, o Options, each func(key string, e Entry, err error)) (*Project, error) {
	files, err := projectFiles(src)
	if err != nil {
		return nil, err
	}
	var last error
	var all *Project
	for _, name := range files {
		text, err := src.Read(name, maxYAML)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, &Error{name, 0, err.Error()}
		}
		read := readServerless
		if !strings.HasPrefix(name, "serverless") {
			read = readSAM
		}
		p, err := read(reader{Options: o, file: name, text: text, src: src, each: each})
		if lacks := (*missingError)(nil); errors.As(err, &lacks) && len(files) > 1 && files[0] != Names[0] {
			if last == nil || !lacks.empty { // another stack of the CDK program may have it
				last = err
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		if len(o.wanted()) == 0 && len(files) > 1 && files[0] != Names[0] {
			all = cmp.Or(all, p) // the functions of all stacks of a CDK program
			if all != p {
				all.Keys, all.Warnings = append(all.Keys, p.Keys...), append(all.Warnings, p.Warnings...)
			}
			continue
		}
		if o.Archive != "" {
			for _, e := range p.Entries() {
				e.Packing = Packing{Artifact: o.Archive}
			}
		}
		return p, nil
	}
	switch {
	case all != nil:
		return all, nil
	case last != nil:
		return nil, last
	}
	if src.Has("cdk.json") {
		return nil, &Error{"cdk.json", 0, "there is no cdk.out yet: run cdk synth first"}
	}
	for _, name := range []string{"serverless.js", "serverless.ts", "serverless.cjs", "serverless.mjs"} {
		if src.Has(name) {
			return nil, &Error{name, 0, "only YAML is read: programs are not run to read a project; write it as serverless.yml"}
		}
	}
	if o.Archive != "" {
		return nil, &Error{o.Archive, 0, "there is no serverless.yml or template.yaml in the archive or beside it"}
	}
	return nil, &Error{"serverless.yml", 0, "the project has neither serverless.yml nor template.yaml (nor one of them as .json)"}
}

type reader struct {
	Options
	file string
	text []byte
	src  Files
	each func(key string, e Entry, err error) // see readEach
}

// wanted returns the keys of the entries to read.
func (o Options) wanted() []string {
	switch {
	case o.ID != (hat.FunctionID{}):
		return entryKeys(o.ID)
	case o.Key != "":
		return []string{o.Key}
	}
	return nil
}

// stackName stands in for the name of a stack, which a template does not know.
func (o Options) stackName() string {
	if o.ID != (hat.FunctionID{}) {
		return o.ID.String()
	}
	return cmp.Or(o.Key, "project")
}

// project returns what is known before the functions are read.
func (r reader) project() *Project {
	p := &Project{File: r.file, Stage: r.Stage, read: len(r.wanted())}
	if r.each != nil {
		p.read = 3 // of those that Find chooses
	}
	return p
}

// Entries lists the entries that were read: configuration, bundle and process, or only process.
func (p *Project) Entries() []*Entry {
	switch p.read {
	case 0:
		return nil
	case 1:
		return []*Entry{&p.Process}
	}
	return []*Entry{&p.Configuration, &p.Bundle, &p.Process}
}

// keys of the three entries, in the order of entries.
func entryKeys(id hat.FunctionID) []string {
	return []string{id.String() + "-configuration", id.String() + "-bundle", id.String()}
}

var functionNamePattern = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// checkEntry applies the limits to an entry.
func (d *document) checkEntry(e *Entry, name, memory, timeout value) error {
	at := e.at
	if !functionNamePattern.MatchString(e.Name) {
		return name.errorf("function name %.80q: want at most 64 letters, digits, - and _", e.Name)
	}
	if e.Runtime == "" {
		return at.errorf("the function has no runtime")
	}
	if e.Handler == "" {
		if !strings.HasPrefix(e.Runtime, "provided") {
			return at.errorf("the function has no handler")
		}
		e.Handler = "bootstrap"
	}
	if len(e.Handler) > 128 || strings.ContainsFunc(e.Handler, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return at.errorf("the handler must be at most 128 printable characters without spaces")
	}
	e.Memory, e.Timeout = defaultMemory, defaultTimeout
	if memory.node != nil {
		n, err := d.integer(memory)
		switch {
		case err != nil:
			return err
		case n < MinMemoryMB:
			return memory.errorf("a function has at least %d MB of memory", MinMemoryMB)
		case n > MaxMemoryMB:
			d.warnf(memory, "memory is limited to %d MB", MaxMemoryMB)
			n = MaxMemoryMB
		}
		e.Memory = n
	}
	if timeout.node != nil {
		n, err := d.integer(timeout)
		switch {
		case err != nil:
			return err
		case n < 1:
			return timeout.errorf("a timeout is at least 1 second")
		case n > int(MaxTimeout/time.Second):
			d.warnf(timeout, "a run is limited to %d s", int(MaxTimeout/time.Second))
			n = int(MaxTimeout / time.Second)
		}
		e.Timeout = time.Duration(n) * time.Second
	}
	size := 0
	for k, v := range e.Env {
		size += len(k) + len(v)
	}
	if size > maxEnvironment {
		return at.errorf("the environment is larger than %d bytes", maxEnvironment)
	}
	return nil
}

var environmentPattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// Lambda sets these variables and refuses functions that set them.
var reservedEnvironment = []string{
	"_HANDLER", "_X_AMZN_TRACE_ID", "AWS_DEFAULT_REGION", "AWS_REGION", "AWS_EXECUTION_ENV", "AWS_ACCESS_KEY",
	"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "LAMBDA_TASK_ROOT", "LAMBDA_RUNTIME_DIR",
	"AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_FUNCTION_VERSION", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "AWS_LAMBDA_LOG_GROUP_NAME",
	"AWS_LAMBDA_LOG_STREAM_NAME", "AWS_LAMBDA_INITIALIZATION_TYPE", "AWS_LAMBDA_RUNTIME_API",
}

// checkVariable refuses what Lambda would refuse.
func checkVariable(at value, name, text string) error {
	switch {
	case !environmentPattern.MatchString(name):
		return at.errorf("environment variable %.80q: want letters, digits and _", name)
	case slices.Contains(reservedEnvironment, name):
		return at.errorf("environment variable %s is reserved for the runtime", name)
	case name == "AWS_LAMBDA_EXEC_WRAPPER":
		return at.errorf("environment variable %s: scripts that start the runtime are not run here", name)
	case strings.Contains(text, "\x00"):
		return at.errorf("environment variable %s contains the character U+0000", name)
	}
	return nil
}

// environment adds the variables of v to env.
func (d *document) environment(env map[string]string, v value) error {
	fields, err := d.fields(v)
	if err != nil {
		return err
	}
	for _, f := range fields {
		if err := checkVariable(f.at, f.key, ""); err != nil {
			return err
		}
		val, err := d.resolved(f.val)
		s := ""
		if err == nil && !val.isNull() {
			s, err = d.text(val)
		}
		var cloud cloudError
		if errors.As(err, &cloud) {
			d.warnf(f.at, "environment variable %s is not set: %s", f.key, cloud.err.Text)
			delete(env, f.key)
			continue
		}
		if function, _ := call(f.val); err != nil && function == "" && val.node != nil {
			return f.at.errorf("environment variable %s: want text", f.key)
		}
		if err != nil {
			at := (*Error)(nil)
			if function, _ := call(f.val); function != "" && errors.As(err, &at) {
				err = &Error{at.File, at.Line, "environment variable " + f.key + ": " + at.Text}
			}
			return err
		}
		if val.isNull() { // null removes a variable of the provider, as in the framework
			delete(env, f.key)
			continue
		}
		if strings.Contains(s, "{{resolve:") { // a dynamic reference of CloudFormation
			d.warnf(f.at, "environment variable %s is not set: {{resolve:…}} asks for something that is only in a cloud", f.key)
			delete(env, f.key)
			continue
		}
		if err := checkVariable(f.at, f.key, s); err != nil {
			return err
		}
		env[f.key] = s
	}
	return nil
}

// checkKeys sorts the keys of a section: those that are read; those that have a meaning elsewhere, which get
// a warning with the reason ("" for none); all others are errors.
func (d *document) checkKeys(where string, fields []field, read []string, ignored map[string]string) (map[string]value, error) {
	got := make(map[string]value)
	for _, f := range fields {
		if slices.Contains(read, f.key) {
			if name, _ := call(f.val); name != "" { // it may say that there is no value
				v, err := d.resolved(f.val)
				if err != nil {
					return nil, err
				}
				if v.isNoValue() {
					continue
				}
			}
			got[f.key] = f.val
			continue
		}
		why, known := ignored[f.key]
		if meant := similar(f.key, read, ignored); !known && meant != "" {
			return nil, f.at.errorf("%s has no key %.80q that is understood here; did you mean %s?", where, f.key, meant)
		} else if !known && len(d.plugins) == 0 {
			return nil, f.at.errorf("%s has no key %.80q that is understood here", where, f.key)
		} else if !known {
			why = fmt.Sprintf("it is not known here, and no plugin is run (%.200s)", strings.Join(d.plugins, ", "))
		}
		if why != "" {
			d.warnf(f.at, "%s is ignored: %s", f.key, why)
		}
	}
	return got, nil
}

// similar returns the known key that an unknown one probably means; "" if none.
func similar(key string, read []string, ignored map[string]string) string {
	for _, known := range append(slices.Sorted(maps.Keys(ignored)), read...) {
		if strings.EqualFold(key, known) || len(known) >= 5 && len(key) <= len(known)+1 && oneSlip(key, known) {
			return known
		}
	}
	return ""
}

// oneSlip reports whether a becomes b by adding, removing or changing one letter, or by swapping two.
func oneSlip(a, b string) bool {
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		a, b = a[1:], b[1:]
	}
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	return len(a) <= 1 && len(b) <= 1 || len(a) == 2 && len(b) == 2 && a[0] == b[1] && a[1] == b[0]
}

// missing returns an error that names the missing entry and the entries of the project.
func missing(at value, key string, have []string) *missingError {
	if len(have) == 0 {
		return &missingError{err: at.problem("there is no function %s", key)}
	}
	slices.Sort(have)
	list := strings.Join(have[:min(len(have), 12)], ", ")
	return &missingError{err: at.problem("there is no function %s; there is %.400s", key, list)}
}

// A missingError means that a file does not describe a function; empty means that it describes none at all.
type missingError struct {
	err   *Error
	empty bool
}

func (e *missingError) Error() string { return e.err.Error() }

func (e *missingError) Unwrap() error { return e.err }

// insideName cleans a path in a project file, and refuses one that leads out of the project.
func insideName(name string) (string, error) {
	clean := path.Clean(name)
	switch {
	case name == "" || strings.ContainsAny(name, "\x00\\"):
		return "", errors.New("want a path within the project")
	case path.IsAbs(name) || strings.HasPrefix(name, "~") || clean == ".." || strings.HasPrefix(clean, "../"):
		return "", fmt.Errorf("%.200q leads out of the project", name)
	}
	return clean, nil
}

// checkNames refuses two entries with the same name, because a call could reach either.
func (p *Project) checkNames() error {
	seen := make(map[string]bool)
	for _, e := range p.Entries() {
		if seen[e.Name] {
			return e.Errorf("two functions are named %.80q", e.Name)
		}
		seen[e.Name] = true
	}
	return nil
}

func mergedEnv(base map[string]string) map[string]string {
	if base == nil {
		return make(map[string]string)
	}
	return maps.Clone(base)
}
