package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"she/internal/catalog"
	"she/internal/hat"
	"she/internal/plan"
)

// Config is what she.yaml says; docs/configuration.md is its reference. The zero value is the configuration without a file. Paths in the file are relative to
// the file; here they are absolute.
type Config struct {
	// Functions are the registered functions, key `functions`. Each has id, version, package (a directory with
	// serverless.yml or template.yaml, or a .zip or .jar), namespace and endpoint (the only place it may write to),
	// and may have stage ("dev" if not given), output (append, or replace: its newest result takes the place of the
	// former), inOrder (false; true: data it fails on holds up what comes after), warmUp (true: the function is tried with
	// an event without data before copies of it are made, so that they answer sooner; {event: FILE}: with the sample in
	// that file of its package), copies (true; false: each of its instances is started anew, so that hash seeds differ too)
	// and experimental (false). An id may come again with another version: the last one is current.
	Functions []catalog.Registered
	// Listen is the address to listen on, "127.0.0.1:7777", key `listen`; "" if the file does not say.
	Listen string
	// TrustProxy, key `trustProxy`, true or false: every request comes through a proxy that sets X-Forwarded-Host and
	// X-Forwarded-For, so the HAT and the client's address are taken from these. Without such a proxy any client could
	// claim to be anywhere.
	TrustProxy bool
	// Data is the data directory, key `data`; "" if the file does not say.
	Data string
	// Applications is the file with the catalogue of applications, key `applications`; "" if there is none.
	Applications string
	// Instances bounds how many sandboxes are busy at once, key `instances`, 1 to 1024; 0 is two
	// for each CPU.
	Instances int
	// Runs bounds how many runs are under way at once, key `limits.runs`, 1 to 1024; 0 is as many as
	// Instances. There are never more runs than instances, and fewer if the memory does not allow for them
	// (docs/limits.md).
	Runs int
	// Vaults bounds how many HATs' files are open at once, key `limits.vaults`, 1 to 65536. 0 is as many as the machine
	// allows: at five descriptors each half of what the process may open (ulimit -n), at 768 KB each an eighth of the
	// memory, of a container's if there is one; 64 at least and 4096 at most. It is never less than two for each instance:
	// a run keeps its vault. A vault nobody uses is closed after a minute.
	Vaults int
	// Metrics is a second address, key `metrics`, that answers GET /metrics for Prometheus and nothing else: "127.0.0.1:9464".
	// "": only the management socket does. Whoever reaches it needs no password, so it is not for the world.
	Metrics string
	// OTLP is a collector, key `otlp`, that is sent the same figures every 30 seconds over HTTP, in protobuf:
	// "http://127.0.0.1:4318". Without a path it is /v1/metrics. "": nothing is sent.
	OTLP string
	// ReserveMB is what functions must leave free on the disk of the data directory, in megabytes, key
	// `limits.reserveMB`, 1 to 1048576; 0 is 1024. A function that would run with less, its whole /tmp counted, fails as
	// the operator's fault and is tried again later, so that the vaults always have room to commit.
	ReserveMB int
	// MemoryMB is how many megabytes the server itself may take, key `limits.memoryMB`, 128 to 1048576; 0 is half of the
	// machine's, or of the least limit of the cgroups it is in. It is what GOMEMLIMIT in the environment would be, which has the
	// last word. Half of it is the budget of what requests and runs hold at once (docs/limits.md). SQLite's pages (see Vaults)
	// and sandboxes come on top.
	MemoryMB int
	// Connections bounds how many connections clients may have open at once, key `limits.connections`, 16 to 1048576; 0 is
	// one for each 512 KB of memory, but no more than a quarter of the descriptors the process may have; 256 at least and
	// 16384 at most. When there are as many, a new one takes the place of the one that has waited longest for a request.
	Connections int
	// ConnectionsPerAddress bounds those from one address (of IPv6, one /64), key `limits.connectionsPerAddress`, 4 to 1048576;
	// 0 is a quarter of Connections. With trustProxy all come from the proxy, and there is no bound unless it is given.
	ConnectionsPerAddress int
	// Quota bounds what one function may do at one HAT from midnight to midnight UTC: its runs, key `limits.runsPerDay`, 1
	// to 1000000, and the seconds its entries and its bundle take, key `limits.secondsPerDay`, 1 to 86400. Zero: no bound.
	Quota plan.Quota
	// HATMB is how much one HAT may hold, in megabytes of its vault's file that are in use, key `limits.hatMB`, 1 to
	// 1048576, or 0 for as much as the disk has room for. nil is 1024. All that is stored counts: records, documents, consents,
	// runs with what they printed, receipts. What would make a HAT hold more is refused with 507; its functions wait.
	HATMB *int
	// HATRecords is how many records one HAT may have, key `limits.hatRecords`, 1 to 1000000000, or 0 for any number. nil is
	// 5000000.
	HATRecords *int
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
	maxMemoryMB   = 1 << 20
	secondsOfDay  = 86400

	defaultHATMB, defaultHATRecords = 1024, 5_000_000
)

// loadConfig reads she.yaml strictly: what is not understood is an error with its line, "she.yaml:12: …". No file
// name is no file.
func loadConfig(file string) (Config, error) {
	if file == "" {
		return Config{}, nil
	}
	f, err := os.Open(file)
	if err != nil {
		return Config{}, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err != nil {
		return Config{}, err
	}
	if len(text) > maxConfig {
		return Config{}, fmt.Errorf("%s: larger than %d bytes", file, maxConfig)
	}
	full, err := filepath.Abs(file)
	if err != nil {
		return Config{}, err
	}
	return parseConfig(file, filepath.Dir(full), text)
}

func parseConfig(file, dir string, text []byte) (c Config, err error) {
	r := configReader{file: file, dir: dir}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc, second yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF): // empty, or comments only
		return Config{}, nil
	case err != nil:
		return Config{}, r.syntax(err)
	}
	if err := dec.Decode(&second); err == nil {
		return Config{}, r.errorf(&second, "a second document begins here; want one")
	} else if !errors.Is(err, io.EOF) {
		return Config{}, r.syntax(err)
	}
	root := doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.ShortTag() == "!!null" {
		return Config{}, nil
	}
	err = r.section(root, "the configuration", map[string]func(*yaml.Node) error{
		"functions":    func(n *yaml.Node) error { return r.functions(n, &c.Functions) },
		"listen":       func(n *yaml.Node) error { return r.text(n, &c.Listen) },
		"trustProxy":   func(n *yaml.Node) error { return r.flag(n, &c.TrustProxy) },
		"data":         func(n *yaml.Node) error { return r.path(n, &c.Data) },
		"applications": func(n *yaml.Node) error { return r.path(n, &c.Applications) },
		"instances":    func(n *yaml.Node) error { return r.count(n, &c.Instances, maxConcurrent) },
		"log":          func(n *yaml.Node) error { return r.level(n, &c.Log) },
		"metrics":      func(n *yaml.Node) error { return r.text(n, &c.Metrics) },
		"otlp":         func(n *yaml.Node) error { return r.collector(n, &c.OTLP) },
		"limits": func(n *yaml.Node) error {
			return r.section(n, "limits", map[string]func(*yaml.Node) error{
				"runs":        func(n *yaml.Node) error { return r.count(n, &c.Runs, maxConcurrent) },
				"vaults":      func(n *yaml.Node) error { return r.count(n, &c.Vaults, maxVaults) },
				"reserveMB":   func(n *yaml.Node) error { return r.count(n, &c.ReserveMB, maxReserveMB) },
				"memoryMB":    func(n *yaml.Node) error { return r.from(n, &c.MemoryMB, 128, maxMemoryMB) },
				"connections": func(n *yaml.Node) error { return r.from(n, &c.Connections, 16, maxOpen) },
				"connectionsPerAddress": func(n *yaml.Node) error {
					return r.from(n, &c.ConnectionsPerAddress, 4, maxOpen)
				},
				"runsPerDay": func(n *yaml.Node) error { return r.count(n, &c.Quota.Runs, maxRunsPerDay) },
				"hatMB":      func(n *yaml.Node) error { return r.orNone(n, &c.HATMB, maxReserveMB) },
				"hatRecords": func(n *yaml.Node) error { return r.orNone(n, &c.HATRecords, maxHATRecords) },
				"secondsPerDay": func(n *yaml.Node) error {
					var seconds int
					err := r.count(n, &seconds, secondsOfDay)
					c.Quota.Compute = time.Duration(seconds) * time.Second
					return err
				},
			})
		},
	})
	if err != nil {
		return Config{}, err
	}
	return c, nil
}

// instances returns how many sandboxes may be busy at once.
func (c Config) instances() int { return cmp.Or(c.Instances, 2*runtime.NumCPU()) }

// storage is what one HAT may hold.
func (c Config) storage() plan.Storage {
	or := func(v *int, otherwise int64) int64 {
		if v == nil {
			return otherwise
		}
		return int64(*v)
	}
	return plan.Storage{Bytes: or(c.HATMB, defaultHATMB) << 20, Records: or(c.HATRecords, defaultHATRecords)}
}

type configReader struct{ file, dir string }

func (r configReader) errorf(n *yaml.Node, format string, args ...any) error {
	return fmt.Errorf("%s:%d: %s", r.file, n.Line, fmt.Sprintf(format, args...))
}

// syntax brings the parser's "yaml: line 3: …" into our form; where it names no line, neither can we.
func (r configReader) syntax(err error) error {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		if line, message, ok := strings.Cut(rest, ": "); ok {
			return fmt.Errorf("%s:%s: %s", r.file, line, message)
		}
	}
	return fmt.Errorf("%s: %s", r.file, text)
}

// section reads a mapping, each key at most once and each by its own function. Aliases are refused: nobody needs
// them here, and they are how small files become large.
func (r configReader) section(n *yaml.Node, what string, keys map[string]func(*yaml.Node) error) error {
	if n.Kind != yaml.MappingNode {
		return r.errorf(n, "%s: want keys and values", what)
	}
	seen := make(map[string]bool)
	for i := 0; i < len(n.Content); i += 2 {
		key, val := n.Content[i], n.Content[i+1]
		read, known := keys[key.Value]
		switch {
		case key.Kind != yaml.ScalarNode || !known:
			var all []string
			for k := range keys {
				all = append(all, k)
			}
			slices.Sort(all)
			return r.errorf(key, "%s has no key %.60q; there are %s", what, key.Value, strings.Join(all, ", "))
		case seen[key.Value]:
			return r.errorf(key, "%s: key %s is given twice", what, key.Value)
		case val.Kind == yaml.AliasNode:
			return r.errorf(val, "%s: aliases are not read", key.Value)
		}
		seen[key.Value] = true
		if err := read(val); err != nil {
			return err
		}
	}
	return nil
}

func (r configReader) text(n *yaml.Node, into *string) error {
	if n.Kind != yaml.ScalarNode || n.ShortTag() == "!!null" || n.Value == "" {
		return r.errorf(n, "want text")
	}
	*into = n.Value
	return nil
}

func (r configReader) path(n *yaml.Node, into *string) error {
	if err := r.text(n, into); err != nil {
		return err
	}
	if !filepath.IsAbs(*into) {
		*into = filepath.Join(r.dir, *into)
	}
	return nil
}

// collector reads the URL of an OTLP collector.
func (r configReader) collector(n *yaml.Node, into *string) error {
	if err := r.text(n, into); err != nil {
		return err
	}
	u, err := url.Parse(*into)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return r.errorf(n, "want the address of a collector, http://host:4318")
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/v1/metrics"
	}
	*into = u.String()
	return nil
}

func (r configReader) count(n *yaml.Node, into *int, most int) error { return r.from(n, into, 1, most) }

func (r configReader) from(n *yaml.Node, into *int, least, most int) error {
	v, err := strconv.Atoi(n.Value)
	if n.Kind != yaml.ScalarNode || err != nil || v < least || v > most {
		return r.errorf(n, "want a whole number from %d to %d", least, most)
	}
	*into = v
	return nil
}

// orNone reads a bound, or 0 for none.
func (r configReader) orNone(n *yaml.Node, into **int, most int) error {
	v, err := strconv.Atoi(n.Value)
	if n.Kind != yaml.ScalarNode || err != nil || v < 0 || v > most {
		return r.errorf(n, "want a whole number from 1 to %d, or 0 for no limit", most)
	}
	*into = &v
	return nil
}

func (r configReader) flag(n *yaml.Node, into *bool) error {
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!bool" {
		return r.errorf(n, "want true or false")
	}
	return n.Decode(into)
}

func (r configReader) level(n *yaml.Node, into *slog.Level) error {
	levels := map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}
	level, ok := levels[n.Value]
	if n.Kind != yaml.ScalarNode || !ok {
		return r.errorf(n, "want debug, info, warn or error")
	}
	*into = level
	return nil
}

func (r configReader) functions(n *yaml.Node, into *[]catalog.Registered) error {
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" {
		return nil
	}
	if n.Kind != yaml.SequenceNode {
		return r.errorf(n, "functions: want a list")
	}
	lines := make(map[string]int)
	for _, item := range n.Content {
		f, err := r.function(item)
		if err != nil {
			return err
		}
		release := f.ID.String() + " " + f.Version.String()
		if line, twice := lines[release]; twice {
			return r.errorf(item, "version %s of function %s is registered in line %d already", f.Version, f.ID, line)
		}
		lines[release] = item.Line
		*into = append(*into, f)
	}
	return nil
}

func (r configReader) function(n *yaml.Node) (f catalog.Registered, err error) {
	f.Stage = "dev"
	var namespace, endpoint string
	at := make(map[string]*yaml.Node)
	// parsed reads text and has it checked.
	parsed := func(key string, parse func(string) error) func(*yaml.Node) error {
		return func(n *yaml.Node) error {
			var s string
			err := r.text(n, &s)
			if err == nil {
				if err = parse(s); err != nil {
					err = r.errorf(n, "%v", err)
				}
			}
			at[key] = n
			return err
		}
	}
	err = r.section(n, "a function", map[string]func(*yaml.Node) error{
		"id":      parsed("id", func(s string) (err error) { f.ID, err = hat.ParseFunctionID(s); return err }),
		"version": parsed("version", func(s string) (err error) { f.Version, err = hat.ParseVersion(s); return err }),
		"package": func(n *yaml.Node) error { at["package"] = n; return r.path(n, &f.Package) },
		"stage": parsed("stage", func(s string) error {
			if len(s) > 40 || strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" {
				return fmt.Errorf("stage %.60q: want letters, digits, - and _", s)
			}
			f.Stage = s
			return nil
		}),
		"namespace":    parsed("namespace", func(s string) error { namespace = s; _, err := hat.ParseNamespace(s); return err }),
		"endpoint":     parsed("endpoint", func(s string) error { endpoint = s; return nil }),
		"output":       parsed("output", func(s string) (err error) { f.Mode, err = hat.ParseOutputMode(s); return err }),
		"inOrder":      func(n *yaml.Node) error { return r.flag(n, &f.InOrder) },
		"experimental": func(n *yaml.Node) error { return r.flag(n, &f.Experimental) },
		"warmUp":       func(n *yaml.Node) error { return r.warmUp(n, &f) },
		"copies": func(n *yaml.Node) error {
			copies := true
			err := r.flag(n, &copies)
			f.NoCopies = !copies
			return err
		},
	})
	if err != nil {
		return f, err
	}
	for _, key := range []string{"id", "version", "package", "namespace", "endpoint"} {
		if at[key] == nil {
			return f, r.errorf(n, "the function has no %s", key)
		}
	}
	if f.Output, err = hat.ParseEndpoint(namespace + "/" + endpoint); err != nil {
		return f, r.errorf(at["endpoint"], "endpoint %.80q: want lower-case letters, digits and hyphens between single slashes", endpoint)
	}
	return f, nil
}

// warmUp reads whether a function is tried before copies of it are made, and with what.
func (r configReader) warmUp(n *yaml.Node, f *catalog.Registered) error {
	if n.Kind != yaml.MappingNode {
		warmUp := true
		if r.flag(n, &warmUp) != nil {
			return r.errorf(n, "want true, false or {event: FILE}")
		}
		f.NoWarmUp = !warmUp
		return nil
	}
	err := r.section(n, "warmUp", map[string]func(*yaml.Node) error{"event": func(n *yaml.Node) error { return r.text(n, &f.Sample) }})
	switch {
	case err != nil:
		return err
	case f.Sample == "":
		return r.errorf(n, "warmUp has no event")
	case !fs.ValidPath(f.Sample):
		return r.errorf(n, "event %.80q: want a file of the package by its name there, such as events/sample.json", f.Sample)
	}
	return nil
}
