// Package config reads she.yaml strictly and reports all its faults at once.
package config

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
	"golang.org/x/sys/unix"

	"she/internal/catalog"
	"she/internal/hat"
	"she/internal/hatapi"
	"she/internal/plan"
)

// Config is the content of she.yaml; docs/configuration.md is its reference. The zero value is the
// configuration without a file. Paths in the file are relative to the file; here they are absolute.
type Config struct {
	// Functions are the registered functions, key `functions`. Each has id, version, package (a directory
	// with serverless.yml or template.yaml, or a .zip or .jar), namespace and endpoint (the only endpoint
	// it may write to). An id may occur again with another version; the last one is current. These keys are
	// optional:
	//   - stage: "dev" if not given;
	//   - output: append (the default), or replace (its newest result replaces the former one);
	//   - equal: drop (the default), or keep (a result that equals one of a former run is stored too);
	//   - inOrder: false (the default), or true (newer data waits while older data fails);
	//   - warmUp: true (the default; it gets an event without data before snapshots of it are taken, so that
	//     it answers sooner), or {event: FILE} (it gets the sample in that file of its package);
	//   - copies: true (the default), or false (each instance starts from the beginning, so that hash
	//     seeds differ too);
	//   - experimental: false (the default), or true.
	Functions []catalog.Registered
	// Listen is the address to listen on, "127.0.0.1:7777", key `listen`; "" if the file does not say.
	Listen string
	// TrustProxy, key `trustProxy`, true or false: every request comes through a proxy that sets
	// X-Forwarded-Host and X-Forwarded-For, so the HAT and the client's address are taken from these
	// headers. Without such a proxy any client could claim any address.
	TrustProxy bool
	// Data is the data directory, key `data`; "" if the file does not say.
	Data string
	// Applications is the file with the catalogue of applications, key `applications`; "" if there is none.
	Applications string
	// Instances bounds how many sandboxes are busy at once, key `instances`, 1 to 1024; 0 is two for each
	// CPU.
	Instances int
	// Runs bounds how many runs are in flight at once, key `limits.runs`, 1 to 1024; 0 is as many as
	// Instances. There are never more runs than instances, and fewer if there is not enough memory for them
	// (docs/limits.md).
	Runs int
	// Vaults bounds how many HATs' files are open at once, key `limits.vaults`, 1 to 65536. 0 is as many as
	// the machine allows, from 64 to 4096: at five descriptors each, half of what the process may open
	// (ulimit -n); at 768 KB each, an eighth of the memory of the machine or its container. It is never
	// less than two for each instance, because a run keeps its vault open. An unused vault is closed after
	// a minute.
	Vaults int
	// Metrics is a second address, key `metrics`, which answers GET /metrics for Prometheus and nothing
	// else: "127.0.0.1:9464". "": only the management socket answers it. No password is needed, so the
	// address must not be public.
	Metrics string
	// OTLP is a collector, key `otlp`, which gets the same figures every 30 seconds over HTTP, in protobuf:
	// "http://127.0.0.1:4318". Without a path, the path is /v1/metrics. "": nothing is sent.
	OTLP string
	// Lambda is a further address, key `lambda`, at which functions can be called like those of AWS Lambda,
	// with access keys (she access-key): "127.0.0.1:9001". "": there is none.
	Lambda string
	// ReserveMB is how many megabytes functions must leave free on the disk of the data directory, key
	// `limits.reserveMB`, 1 to 1048576; 0 is 1024. So the vaults always have room to commit. A function
	// that, with its whole /tmp, would leave less fails with a fault of the operator and is tried again
	// later.
	ReserveMB int
	// MemoryMB is how many megabytes the server itself may use, key `limits.memoryMB`, 128 to 1048576. 0 is
	// half of the machine's memory, or half of the least limit of its cgroups. It sets Go's memory limit,
	// unless the environment has GOMEMLIMIT. Half of it is the budget of what requests and runs hold at
	// once (docs/limits.md). SQLite's pages (see Vaults) and sandboxes use memory beyond it.
	MemoryMB int
	// Connections bounds how many connections clients may have open at once, key `limits.connections`, 16
	// to 1048576. 0 is one for each 512 KB of memory, at most a quarter of the descriptors of the process,
	// from 256 to 16384. At the bound, a new connection replaces the one that has waited longest for a
	// request.
	Connections int
	// ConnectionsPerAddress bounds the connections from one address (of IPv6, one /64), key
	// `limits.connectionsPerAddress`, 4 to 1048576; 0 is a quarter of Connections. With trustProxy all
	// connections come from the proxy, so there is no bound unless it is given.
	ConnectionsPerAddress int
	// Quota bounds what one function may use at one HAT from midnight to midnight UTC: its runs, key
	// `limits.runsPerDay`, 1 to 1000000, and the seconds of its entries and its bundle, key
	// `limits.secondsPerDay`, 1 to 86400. Zero: no bound.
	Quota plan.Quota
	// HATMB is how much one HAT may hold, in megabytes of its vault's file that are in use, key
	// `limits.hatMB`, 1 to 1048576, or 0 for as much as the disk has room for. nil is 1024. Everything
	// stored counts: records, documents, consents, runs with their logs, receipts. A write that would make
	// a HAT hold more is refused with 507, and its functions wait.
	HATMB *int
	// HATRecords is how many records one HAT may have, key `limits.hatRecords`, 1 to 1000000000, or 0 for
	// any number. nil is 5000000.
	HATRecords *int
	// Debits bounds the data debits that partners propose, with keys below `limits`:
	//   - `debits` and `partnerDebits`, 1 to 100000: debits of one HAT, and of one partner there; default 500
	//     and 100;
	//   - `debitsMB` and `partnerDebitsMB`, 1 to 1024: megabytes of all, and of one partner's; default 32
	//     and 4;
	//   - `debitKB`, 1 to 65536: kilobytes of one debit with all its former terms; default 256;
	//   - `debitTerms`, 1 to 10000: terms of one debit, former ones included; default 100.
	//
	// A proposal beyond a bound is refused with 400. Zero means the default.
	Debits hatapi.DebitLimits
	// Log is the least level that is logged, key `log`: debug, info (the default), warn or error.
	Log slog.Level
}

const (
	maxConfig     = 4 << 20 // bytes of she.yaml
	maxConcurrent = 1024
	maxVaults     = 65536
	maxReserveMB  = 1 << 20
	maxRunsPerDay = 1_000_000
	maxOpen       = 1 << 20 // connections
	maxHATRecords = 1_000_000_000
	maxDebits     = 100_000
	maxDebitsMB   = 1024
	maxDebitKB    = 65536
	maxDebitTerms = 10_000
	maxMemoryMB   = 1 << 20
	secondsOfDay  = 86400

	defaultHATMB, defaultHATRecords = 1024, 5_000_000
)

// Load reads she.yaml strictly. Everything that it does not understand is in one *Error, each fault with its
// line. Without a file name it returns the defaults.
func Load(ctx context.Context, file string) (Config, error) {
	c, r, err := read(ctx, file)
	if err != nil {
		return Config{}, err
	}
	return r.result(c)
}

// LoadServed is Load for a server: it also checks that the files named in she.yaml exist and that the
// catalogue of applications is valid.
func LoadServed(ctx context.Context, file string) (Config, error) {
	c, r, err := read(ctx, file)
	if err != nil {
		return Config{}, err
	}
	for _, p := range r.packages {
		if err := catalog.CheckPath(p.path, p.bare); err != nil {
			r.add(p.line, "package %.200q: %v; want a directory with serverless.yml or template.yaml, or a .zip or .jar", p.path, err)
		}
	}
	if _, err := Applications(c.Applications); err != nil {
		var catalogue *hatapi.CatalogueError
		if errors.As(err, &catalogue) {
			for _, f := range catalogue.Faults {
				r.elsewhere = append(r.elsewhere, fault{c.Applications, f.Line, f.Text})
			}
		} else {
			r.add(r.applications, "%v", err)
		}
	}
	return r.result(c)
}

func read(ctx context.Context, file string) (c Config, r *reader, err error) {
	r = &reader{file: file}
	if file == "" {
		return c, r, nil
	}
	f, err := open(ctx, file)
	if err != nil {
		return c, r, fmt.Errorf("the configuration: %w", err)
	}
	defer f.Close()
	defer context.AfterFunc(ctx, func() { _ = f.SetReadDeadline(time.Now()) })() // works for a pipe only
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return c, r, fmt.Errorf("the configuration %s is a directory; want a YAML file, such as %s", file, filepath.Join(file, "she.yaml"))
	}
	text, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err != nil {
		return c, r, fmt.Errorf("the configuration: %w", cmp.Or(context.Cause(ctx), err))
	}
	if len(text) > maxConfig {
		return c, r, fmt.Errorf("%s: larger than %d bytes; want she.yaml", file, maxConfig)
	}
	full, err := filepath.Abs(file)
	if err != nil {
		return c, r, err
	}
	r.dir = filepath.Dir(full)
	return r.config(text), r, nil
}

// open opens a file for reading. It waits until somebody writes to a pipe, or until ctx ends. The usual
// call to open it would not notice Ctrl-C.
func open(ctx context.Context, file string) (*os.File, error) {
	f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if info.Mode()&fs.ModeNamedPipe == 0 {
		return f, nil
	}
	stop := context.AfterFunc(ctx, func() { _ = f.SetReadDeadline(time.Now()) })
	defer stop()
	pipe, err := f.SyscallConn()
	if err == nil {
		err = pipe.Read(func(fd uintptr) bool {
			ready := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			n, err := unix.Poll(ready, 0)
			return n > 0 || err != nil && !errors.Is(err, unix.EINTR)
		})
	}
	if err != nil {
		err = fmt.Errorf("%s is a pipe that nobody wrote to: %w", file, cmp.Or(context.Cause(ctx), err))
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Parse reads the text of a file of that name; paths in it are relative to dir.
func Parse(file, dir string, text []byte) (Config, error) {
	r := &reader{file: file, dir: dir}
	return r.result(r.config(text))
}

// maxFaults is how many faults an error lists.
const maxFaults = 50

// An Error holds everything that is wrong with a configuration, in the order of the files.
type Error struct{ faults []fault }

// A fault says where it is, what is wrong, and what to write instead. Line 0 means unknown.
type fault struct {
	file string
	line int
	text string
}

// Error lists the first faults, one a line, and then the number of the others.
func (e *Error) Error() string {
	var lines []string
	for _, f := range e.faults[:min(len(e.faults), maxFaults)] {
		at := f.file
		if f.line > 0 {
			at += ":" + strconv.Itoa(f.line)
		}
		lines = append(lines, at+": "+strings.ReplaceAll(f.text, "\n", "; "))
	}
	if more := len(e.faults) - maxFaults; more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(lines, "\n")
}

// A reader reads she.yaml node by node and collects faults. Decoding into structs would be shorter, but then
// errors name Go types, don't list the known keys, and have no line once a value is decoded.
type reader struct {
	file, dir    string
	faults       []fault // of she.yaml
	elsewhere    []fault // faults of the files it names
	packages     []placedPath
	applications int    // the line with key applications
	key          string // the key whose value is being read
}

type placedPath struct {
	path string
	line int
	bare bool // she.yaml says how to run it, so it needs no project file
}

func (r *reader) add(line int, format string, args ...any) {
	r.faults = append(r.faults, fault{r.file, line, fmt.Sprintf(format, args...)})
}

func (r *reader) fault(n *yaml.Node, format string, args ...any) {
	r.add(n.Line, format, args...)
}

// value notes a fault of the value of the current key. A line may have several.
func (r *reader) value(n *yaml.Node, format string, args ...any) {
	r.fault(n, "%s: "+format, append([]any{r.key}, args...)...)
}

// result returns the configuration, or all faults.
func (r *reader) result(c Config) (Config, error) {
	if len(r.faults)+len(r.elsewhere) == 0 {
		return c, nil
	}
	slices.SortStableFunc(r.faults, func(a, b fault) int { return cmp.Compare(a.line, b.line) })
	return Config{}, &Error{append(r.faults, r.elsewhere...)}
}

func (r *reader) config(text []byte) (c Config) {
	if line, wrong, found := unreadable(text); found {
		r.add(line, "%s; want YAML in UTF-8", wrong)
		return c
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc, second yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF): // empty, or comments only
		return c
	case err != nil:
		r.syntax(err)
		return c
	}
	if err := dec.Decode(&second); err == nil {
		r.fault(&second, "a second document begins here; want one")
	} else if !errors.Is(err, io.EOF) {
		r.syntax(err)
	}
	root := doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.ShortTag() == "!!null" {
		return c
	}
	r.section(root, "the configuration", map[string]func(*yaml.Node){
		"functions":    func(n *yaml.Node) { r.functions(n, &c.Functions) },
		"listen":       func(n *yaml.Node) { r.address(n, &c.Listen) },
		"trustProxy":   func(n *yaml.Node) { r.flag(n, &c.TrustProxy) },
		"data":         func(n *yaml.Node) { r.path(n, &c.Data) },
		"applications": func(n *yaml.Node) { r.applications = n.Line; r.path(n, &c.Applications) },
		"instances":    func(n *yaml.Node) { r.count(n, &c.Instances, maxConcurrent) },
		"log":          func(n *yaml.Node) { r.level(n, &c.Log) },
		"metrics":      func(n *yaml.Node) { r.address(n, &c.Metrics) },
		"otlp":         func(n *yaml.Node) { r.collector(n, &c.OTLP) },
		"lambda":       func(n *yaml.Node) { r.address(n, &c.Lambda) },
		"limits": func(n *yaml.Node) {
			r.section(n, "limits", map[string]func(*yaml.Node){
				"runs":                  func(n *yaml.Node) { r.count(n, &c.Runs, maxConcurrent) },
				"vaults":                func(n *yaml.Node) { r.count(n, &c.Vaults, maxVaults) },
				"reserveMB":             func(n *yaml.Node) { r.count(n, &c.ReserveMB, maxReserveMB) },
				"memoryMB":              func(n *yaml.Node) { r.from(n, &c.MemoryMB, 128, maxMemoryMB) },
				"connections":           func(n *yaml.Node) { r.from(n, &c.Connections, 16, maxOpen) },
				"connectionsPerAddress": func(n *yaml.Node) { r.from(n, &c.ConnectionsPerAddress, 4, maxOpen) },
				"runsPerDay":            func(n *yaml.Node) { r.count(n, &c.Quota.Runs, maxRunsPerDay) },
				"hatMB":                 func(n *yaml.Node) { r.orNone(n, &c.HATMB, maxReserveMB) },
				"hatRecords":            func(n *yaml.Node) { r.orNone(n, &c.HATRecords, maxHATRecords) },
				"debits":                func(n *yaml.Node) { r.count(n, &c.Debits.Debits, maxDebits) },
				"partnerDebits":         func(n *yaml.Node) { r.count(n, &c.Debits.DebitsOfPartner, maxDebits) },
				"debitsMB":              func(n *yaml.Node) { r.bytes(n, &c.Debits.Bytes, 1<<20, maxDebitsMB) },
				"partnerDebitsMB":       func(n *yaml.Node) { r.bytes(n, &c.Debits.BytesOfPartner, 1<<20, maxDebitsMB) },
				"debitKB": func(n *yaml.Node) {
					var kb int
					r.count(n, &kb, maxDebitKB)
					c.Debits.BytesOfDebit = kb << 10
				},
				"debitTerms": func(n *yaml.Node) { r.count(n, &c.Debits.Terms, maxDebitTerms) },
				"secondsPerDay": func(n *yaml.Node) {
					var seconds int
					r.count(n, &seconds, secondsOfDay)
					c.Quota.Compute = time.Duration(seconds) * time.Second
				},
			})
		},
	})
	return c
}

// InstancesAtOnce returns how many instances may be busy at once.
func (c Config) InstancesAtOnce() int { return cmp.Or(c.Instances, 2*runtime.NumCPU()) }

// Storage returns what one HAT may hold.
func (c Config) Storage() plan.Storage {
	or := func(v *int, otherwise int64) int64 {
		if v == nil {
			return otherwise
		}
		return int64(*v)
	}
	return plan.Storage{Bytes: or(c.HATMB, defaultHATMB) << 20, Records: or(c.HATRecords, defaultHATRecords)}
}

// unreadable finds the first byte that is not UTF-8, or the first control character that YAML does not allow.
// The parser would refuse both without a line. It reads UTF-16 with a byte order mark itself.
func unreadable(text []byte) (line int, wrong string, found bool) {
	if bytes.HasPrefix(text, []byte("\xff\xfe")) || bytes.HasPrefix(text, []byte("\xfe\xff")) {
		return 0, "", false
	}
	for i := 0; i < len(text); {
		c, size := utf8.DecodeRune(text[i:])
		switch {
		case c == utf8.RuneError && size == 1:
			return 1 + bytes.Count(text[:i], []byte("\n")), fmt.Sprintf("byte 0x%02x is not UTF-8", text[i]), true
		case c < ' ' && c != '\t' && c != '\n' && c != '\r', c == 0x7f:
			return 1 + bytes.Count(text[:i], []byte("\n")), fmt.Sprintf("there is a control character, %U", c), true
		}
		i += size
	}
	return 0, "", false
}

// syntax turns the parser's "yaml: line 3: …" into a fault. The parser gives no line for an error in the
// first one. A syntax error is the only fault: what follows can't be read.
func (r *reader) syntax(err error) {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		if number, message, ok := strings.Cut(rest, ": "); ok {
			if line, err := strconv.Atoi(number); err == nil {
				r.add(line, "%s", message)
				return
			}
		}
	}
	r.add(1, "%s", text)
}

// section reads a mapping: each key at most once, each by its own function. Aliases are refused, because they
// let a small file grow large. It reports whether n is a mapping.
func (r *reader) section(n *yaml.Node, what string, keys map[string]func(*yaml.Node)) bool {
	if n.Kind != yaml.MappingNode {
		r.fault(n, "%s: want keys and values", what)
		return false
	}
	seen := make(map[string]bool)
	for i := 0; i < len(n.Content); i += 2 {
		key, val := n.Content[i], n.Content[i+1]
		read, known := keys[key.Value]
		switch {
		case key.Kind != yaml.ScalarNode || !known:
			r.fault(key, "%s has no key %.60q; there are %s", what, key.Value, strings.Join(slices.Sorted(maps.Keys(keys)), ", "))
			continue
		case seen[key.Value]:
			r.fault(key, "%s: key %s is given twice", what, key.Value)
			continue
		}
		seen[key.Value] = true
		if val.Kind == yaml.AliasNode {
			r.fault(val, "%s: aliases are not read", key.Value)
			continue
		}
		r.key = key.Value
		read(val)
	}
	return true
}

// scalar reads a value whose own parser reports what is wrong with it, for example that 1.0 is a number and
// not a version.
func (r *reader) scalar(n *yaml.Node, into *string) bool {
	if n.Kind != yaml.ScalarNode || n.ShortTag() == "!!null" || n.Value == "" {
		r.value(n, "want text")
		return false
	}
	*into = n.Value
	return true
}

func (r *reader) text(n *yaml.Node, into *string) bool {
	if n.Kind == yaml.ScalarNode && n.ShortTag() != "!!str" && n.ShortTag() != "!!null" { // 5, 1.5, true, 2024-03-01
		r.value(n, "want text; put it in quotes if it is meant as text")
		return false
	}
	return r.scalar(n, into)
}

func (r *reader) path(n *yaml.Node, into *string) bool {
	if !r.text(n, into) {
		return false
	}
	if !filepath.IsAbs(*into) {
		*into = filepath.Join(r.dir, *into)
	}
	return true
}

// address reads where to listen.
func (r *reader) address(n *yaml.Node, into *string) {
	if !r.scalar(n, into) {
		return
	}
	_, port, err := net.SplitHostPort(*into)
	if err == nil {
		_, err = net.LookupPort("tcp", port)
	}
	if err != nil {
		r.value(n, "address %.80q: want host:port, such as 127.0.0.1:7777", *into)
	}
}

// collector reads the URL of an OTLP collector.
func (r *reader) collector(n *yaml.Node, into *string) {
	if !r.text(n, into) {
		return
	}
	u, err := url.Parse(*into)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		r.value(n, "want the address of a collector, http://host:4318")
		return
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/v1/metrics"
	}
	*into = u.String()
}

// bytes reads a number of units, up to most, as bytes.
func (r *reader) bytes(n *yaml.Node, into *int64, unit int64, most int) {
	var count int
	r.count(n, &count, most)
	*into = int64(count) * unit
}

func (r *reader) count(n *yaml.Node, into *int, most int) { r.from(n, into, 1, most) }

func (r *reader) from(n *yaml.Node, into *int, least, most int) {
	v, err := strconv.Atoi(n.Value)
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!int" || err != nil || v < least || v > most {
		r.value(n, "want a whole number from %d to %d", least, most)
		return
	}
	*into = v
}

// orNone reads a bound; 0 means none.
func (r *reader) orNone(n *yaml.Node, into **int, most int) {
	v, err := strconv.Atoi(n.Value)
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!int" || err != nil || v < 0 || v > most {
		r.value(n, "want a whole number from 1 to %d, or 0 for no limit", most)
		return
	}
	*into = &v
}

func (r *reader) flag(n *yaml.Node, into *bool) {
	if isFlag(n, into) {
		return
	}
	r.value(n, "want true or false")
}

func isFlag(n *yaml.Node, into *bool) bool {
	return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!bool" && n.Decode(into) == nil
}

func (r *reader) level(n *yaml.Node, into *slog.Level) {
	levels := map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}
	level, ok := levels[n.Value]
	if n.Kind != yaml.ScalarNode || !ok {
		r.value(n, "want debug, info, warn or error")
		return
	}
	*into = level
}

func (r *reader) functions(n *yaml.Node, into *[]catalog.Registered) {
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" {
		return
	}
	if n.Kind != yaml.SequenceNode {
		r.fault(n, "functions: want a list")
		return
	}
	lines := make(map[string]int)
	for _, item := range n.Content {
		if item.Kind == yaml.AliasNode {
			r.fault(item, "a function: want keys and values; aliases are not read")
			continue
		}
		f := r.function(item)
		if !f.ID.IsZero() && f.Version != (hat.Version{}) {
			release := f.ID.String() + " " + f.Version.String()
			if line, twice := lines[release]; twice {
				r.fault(item, "version %s of function %s is registered in line %d already; remove one of them, or give it another version", f.Version, f.ID, line)
			} else {
				lines[release] = item.Line
			}
		}
		*into = append(*into, f)
	}
}

// function reads one registration. Faulty fields stay zero.
func (r *reader) function(n *yaml.Node) (f catalog.Registered) {
	f.Stage = "dev"
	var namespace, endpoint string
	at := make(map[string]*yaml.Node) // keys that are present
	// parsed reads text and checks it with parse.
	parsed := func(key string, parse func(string) error) func(*yaml.Node) {
		return func(n *yaml.Node) {
			at[key] = n
			var s string
			read := r.text
			if key == "version" {
				read = r.scalar
			}
			if read(n, &s) {
				if err := parse(s); err != nil {
					r.fault(n, "%v", err)
				}
			}
		}
	}
	if !r.section(n, "a function", map[string]func(*yaml.Node){
		"id":      parsed("id", func(s string) (err error) { f.ID, err = hat.ParseFunctionID(s); return err }),
		"version": parsed("version", func(s string) (err error) { f.Version, err = hat.ParseVersion(s); return err }),
		"package": func(n *yaml.Node) {
			at["package"] = n
			if r.path(n, &f.Package) {
				r.packages = append(r.packages, placedPath{path: f.Package, line: n.Line})
			}
		},
		"runtime":    func(n *yaml.Node) { r.text(n, &f.Bare.Runtime) },
		"handler":    func(n *yaml.Node) { r.handlers(n, &f) },
		"memorySize": func(n *yaml.Node) { r.from(n, &f.Bare.Memory, 128, 3008) },
		"timeout": func(n *yaml.Node) {
			var seconds int
			r.from(n, &seconds, 1, 300)
			f.Bare.Timeout = time.Duration(seconds) * time.Second
		},
		"environment": func(n *yaml.Node) { f.Bare.Env = r.texts(n) },
		"params":      func(n *yaml.Node) { f.Params = r.texts(n) },
		"stage": parsed("stage", func(s string) error {
			if len(s) > 40 || strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" {
				return fmt.Errorf("stage %.60q: want letters, digits, - and _", s)
			}
			f.Stage = s
			return nil
		}),
		"namespace": parsed("namespace", func(s string) error {
			if _, err := hat.ParseNamespace(s); err != nil {
				return fmt.Errorf("namespace %.80q: want lower-case letters, digits and hyphens", s)
			}
			namespace = s
			return nil
		}),
		"endpoint":     parsed("endpoint", func(s string) error { endpoint = s; return nil }),
		"output":       parsed("output", func(s string) (err error) { f.Mode, err = hat.ParseOutputMode(s); return err }),
		"equal":        parsed("equal", func(s string) (err error) { f.Equal, err = hat.ParseEqualMode(s); return err }),
		"inOrder":      func(n *yaml.Node) { r.flag(n, &f.InOrder) },
		"experimental": func(n *yaml.Node) { r.flag(n, &f.Experimental) },
		"warmUp":       func(n *yaml.Node) { r.warmUp(n, &f) },
		"copies": func(n *yaml.Node) {
			copies := true
			r.flag(n, &copies)
			f.NoCopies = !copies
		},
	}) {
		return f
	}
	if f.Bare.There() {
		if at["package"] != nil && len(r.packages) > 0 {
			r.packages[len(r.packages)-1].bare = true
		}
		if f.Bare.Runtime == "" {
			r.fault(n, "the function has no runtime; want one beside handler, memorySize, timeout or environment, such as python3.12, "+
				"or leave these to the project file")
		}
	}
	for _, key := range []string{"id", "version", "package", "namespace", "endpoint"} {
		if at[key] == nil {
			r.fault(n, "the function has no %s; want %s", key, wanted[key])
		}
	}
	if endpoint != "" {
		// A missing or wrong namespace is reported already, so check the endpoint in a valid one.
		var err error
		if f.Output, err = hat.ParseEndpoint(cmp.Or(namespace, "namespace") + "/" + endpoint); err != nil {
			r.fault(at["endpoint"], "endpoint %.80q: want lower-case letters, digits and hyphens between single slashes", endpoint)
		}
	}
	return f
}

// wanted describes the required keys of a function.
var wanted = map[string]string{
	"id":        "the id that it answers itself",
	"version":   "the version that it answers itself, such as 1.0.0",
	"package":   "the path of its project, a directory or a .zip or .jar",
	"namespace": "the namespace that it may write to",
	"endpoint":  "the endpoint in its namespace that it may write to",
}

// handlers reads one handler for all entries, or one for each.
func (r *reader) handlers(n *yaml.Node, f *catalog.Registered) {
	if n.Kind != yaml.MappingNode {
		r.text(n, &f.Bare.Handler)
		return
	}
	r.section(n, "handler", map[string]func(*yaml.Node){
		"process":       func(n *yaml.Node) { r.text(n, &f.Bare.Handler) },
		"bundle":        func(n *yaml.Node) { r.text(n, &f.Bare.Bundle) },
		"configuration": func(n *yaml.Node) { r.text(n, &f.Bare.Configuration) },
	})
}

// texts reads names and their text.
func (r *reader) texts(n *yaml.Node) map[string]string {
	all := make(map[string]string)
	if n.Kind != yaml.MappingNode {
		r.value(n, "want names and text")
		return nil
	}
	for i := 0; i < len(n.Content); i += 2 {
		key, val := n.Content[i], n.Content[i+1]
		if _, twice := all[key.Value]; twice || key.Kind != yaml.ScalarNode || val.Kind != yaml.ScalarNode {
			r.value(key, "want each name once, with text")
			continue
		}
		all[key.Value] = val.Value
	}
	return all
}

// warmUp reads whether a function has a warm-up, and with which event.
func (r *reader) warmUp(n *yaml.Node, f *catalog.Registered) {
	if n.Kind != yaml.MappingNode {
		warmUp := true
		if !isFlag(n, &warmUp) {
			r.value(n, "want true, false or {event: FILE}")
		}
		f.NoWarmUp = !warmUp
		return
	}
	told := len(r.faults)
	r.section(n, "warmUp", map[string]func(*yaml.Node){"event": func(n *yaml.Node) { r.text(n, &f.Sample) }})
	switch {
	case len(r.faults) > told:
	case f.Sample == "":
		r.fault(n, "warmUp has no event; want {event: FILE}, or true or false")
	case !fs.ValidPath(f.Sample):
		r.fault(n, "event %.80q: want a file of the package by its name there, such as events/sample.json", f.Sample)
	}
}

// Applications reads the catalogue of applications; without a file name it is empty.
func Applications(file string) ([]hatapi.Application, error) {
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("applications: %w", err)
	}
	applications, err := hatapi.ParseApplications(text)
	if err != nil {
		return nil, fmt.Errorf("applications: %s: %w", file, err)
	}
	return applications, nil
}
