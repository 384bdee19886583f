// Package internal_test holds the import table of docs/architecture.md. It is policy: a build that breaks it is
// mended by moving code, not by editing the table.
package internal_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Rings, innermost first. A package may import what its line names, and nothing else of ours.
var (
	leaves    = []string{"fuel", "jsonb", "pgtime", "textsearch"}
	words     = concat(leaves, []string{"hat"})
	decisions = []string{"bundle", "access", "receipt", "trigger", "plan", "backlog", "contract", "feed", "debit"}
	state     = []string{"vault", "directory", "catalog"}
)

var table = map[string][]string{
	// Leaves are known semantics of the field, on plain text and numbers: no word of ours.
	"fuel":       {},
	"jsonb":      {"fuel"},
	"pgtime":     {},
	"textsearch": {"fuel"},
	"pgtest":     {}, // for their tests
	"durable":    {}, // files put in place whole

	// Words import leaves alone.
	"hat": leaves,

	// Decisions are pure: leaves, words, and each other downward.
	"bundle":              words,
	"debit":               concat(words, []string{"bundle"}),
	"access":              concat(words, []string{"bundle"}),
	"receipt":             words,
	"trigger":             concat(words, []string{"access", "bundle"}),
	"plan":                concat(words, []string{"access", "bundle"}),
	"backlog":             concat(words, []string{"access", "bundle", "plan", "trigger"}),
	"backlog/backlogtest": concat(words, []string{"access", "bundle", "plan", "trigger", "backlog"}),
	"contract":            concat(words, []string{"bundle", "access", "plan"}),
	"feed":                words,
	"sample":              words,
	"project":             words, // project files of others, as text

	// State: words and decisions; one kind of state never reads another.
	"vault":           concat(words, decisions),
	"vault/ledger":    concat(words, decisions, []string{"vault"}),  // what the rows mean, on any store of rows
	"vault/sqlite":    {"durable", "plan", "vault", "vault/ledger"}, // rows of SQLite: no word of what they mean
	"vault/dialect":   {},                                           // texts of statements alone
	"vault/vaulttest": concat(words, decisions, []string{"vault", "vault/ledger", "backlog/backlogtest"}),
	"directory":       concat(words, []string{"durable"}),
	"accesskey":       concat(words, []string{"durable"}),
	"catalog":         concat(words, []string{"contract", "bundle", "durable", "project"}),

	// The wall: what runs beside function code can't even name a Record. Bytes and an opaque token.
	"sandbox":               {},
	"sandbox/cgroup":        {},
	"sandbox/rootless":      {},
	"sandbox/gvisor":        {"sandbox", "sandbox/cgroup", "runtimeapi", "sandbox/gvisor/launch", "sandbox/gvisor/erofs"},
	"sandbox/gvisor/launch": {},
	"sandbox/gvisor/erofs":  {},
	"sandbox/wasm":          {"sandbox", "sandbox/cgroup", "runtimeapi"},
	"sandbox/wasm/worker":   {"sandbox", "sandbox/wasm", "runtimeapi"},
	"sandbox/seal":          {"sandbox", "verdict"},
	"sandbox/prove":         {"sandbox/seal", "sandbox/gvisor", "sandbox/wasm", "verdict"},
	"sandbox/sandboxtest":   {"sandbox", "sandbox/seal", "runtimeapi"},
	"verdict":               {"durable"}, // what a proof of the walls found, as it is kept and shown
	"runtimeapi":            {},
	"invoke":                {"sandbox", "runtimeapi", "runtimes"},
	"runtimes":              {},
	"../cmd/she-init":       {"runtimeapi"},
	"../cmd/she-wasm":       {"sandbox/wasm/worker"},
	"../cmd/she-probe":      {},

	// Sequence: the promises of state and of the wall, never an implementation.
	"engine": concat(words, decisions, []string{"vault", "catalog", "invoke"}),

	// Metrics stand between the engine and what it uses, and see their plain types.
	"metrics": concat(words, decisions, []string{"vault", "invoke", "engine"}),

	// Edges.
	"gate":      {}, // before them: connections, and the bounds of requests
	"logins":    concat(words, []string{"access", "vault", "directory"}),
	"edge":      concat(words, decisions, state, []string{"engine", "agreement", "logins"}),
	"hatapi":    concat(words, decisions, state, []string{"engine", "agreement", "logins", "edge"}),
	"ownapi":    concat(words, decisions, state, []string{"engine", "verdict", "edge"}),
	"lambdaapi": concat(words, decisions, state, []string{"engine", "accesskey", "durable"}),
	"httpapi":   {"hat", "access", "vault", "directory", "engine", "verdict", "agreement", "logins", "edge", "hatapi", "ownapi"},

	// What people were shown before they agree, while the server runs.
	"agreement": concat(words, []string{"access"}),

	// What the operator has written.
	"config": {"hat", "plan", "catalog", "hatapi"},

	// Beside the server: it looks at the machine.
	"doctor": {"sandbox", "sandbox/cgroup", "sandbox/gvisor", "runtimes"},

	"local": {"hat"},

	// For authors: it runs a project's own tools, which no server does.
	"build": {"project"},

	// Beside the server: what commands are made of.
	"terminal": {"hat", "vault"},
	"client":   {"hat", "local", "config", "directory", "edge", "ownapi", "server"},
	"proof":    {"receipt", "ownapi", "client", "terminal"},
	"demo":     {"hat", "sample", "catalog", "config", "ownapi", "server", "client", "terminal"},

	// What an author has beside the server: the parts of the walk put together for one try.
	"workbench": concat(words, decisions, []string{
		"catalog", "engine", "invoke", "vault", "vault/ledger", "vault/sqlite",
		"sandbox", "sandbox/gvisor", "sandbox/wasm", "sandbox/rootless", "runtimes",
	}),

	// Wiring may import everything.
	"server":     nil,
	"shetest":    nil,
	"../cmd/she": nil,
}

func concat(lists ...[]string) (all []string) {
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

// A dependency needs a line in docs/dependencies.md: what it saves, who keeps it, how to leave it.
func TestDependenciesAreAgreed(t *testing.T) {
	agreed, err := os.ReadFile("../docs/dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("go", "list", "-m", "-f", "{{if not (or .Indirect .Main)}}{{.Path}}{{end}}", "all").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, module := range strings.Fields(string(out)) {
		if !bytes.Contains(agreed, []byte("`"+module+"`")) {
			t.Errorf("%s is required and not in docs/dependencies.md", module)
		}
	}
}

type listed struct {
	ImportPath string
	Imports    []string
}

func list(t *testing.T, args ...string) (all []listed) {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Imports"}, args...)...)
	cmd.Dir = ".."
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for dec := json.NewDecoder(out); ; {
		var p listed
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	return all
}

func short(importPath string) string {
	if rest, ok := strings.CutPrefix(importPath, "she/internal/"); ok {
		return rest
	}
	return "../" + strings.TrimPrefix(importPath, "she/")
}

func TestImportTable(t *testing.T) {
	for _, p := range list(t, "./internal/...", "./cmd/...") {
		name := short(p.ImportPath)
		if name == "../internal" {
			continue
		}
		allowed, known := table[name]
		if !known {
			t.Errorf("%s is not in the import table: which ring is it in?", name)
			continue
		}
		if wires := []string{"server", "shetest", "../cmd/she"}; allowed == nil && slices.Contains(wires, name) {
			continue
		}
		for _, imported := range p.Imports {
			if strings.HasPrefix(imported, "she/") && !slices.Contains(allowed, short(imported)) {
				t.Errorf("%s imports %s, which its ring may not", name, short(imported))
			}
		}
	}
}

// A decision that can open a file or a socket is no longer a function of its arguments.
func TestDecisionsDoNoIO(t *testing.T) {
	pure := concat(words, decisions, []string{"sample", "project"})
	for _, p := range list(t, "./internal/...") {
		if !slices.Contains(pure, short(p.ImportPath)) {
			continue
		}
		for _, imported := range p.Imports {
			switch imported {
			case "os", "net", "net/http", "database/sql", "os/exec", "io/ioutil", "syscall", "embed":
				t.Errorf("%s imports %s: a decision does no I/O", short(p.ImportPath), imported)
			}
		}
	}
}

// A line of the table for a package that is gone would let one of that name import what it likes.
func TestTableNamesPackagesThatExist(t *testing.T) {
	exists := map[string]bool{}
	for _, p := range list(t, "./...") {
		exists[short(p.ImportPath)] = true
	}
	for name, allowed := range table {
		for _, n := range append(allowed, name) {
			if !exists[n] {
				t.Errorf("the import table names %s, which does not exist", n)
			}
		}
	}
}

// docs/architecture.md has a line for each package, and none for another.
func TestPackagesAreListed(t *testing.T) {
	text, err := os.ReadFile("../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ = bytes.Cut(text, []byte("\n## Packages\n"))
	text, _, _ = bytes.Cut(text, []byte("\n## "))
	lines := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| \\S").FindAllSubmatch(text, -1) {
		lines[string(m[1])] = true
	}
	for _, p := range list(t, "./...") {
		name := strings.TrimPrefix(p.ImportPath, "she/")
		if !lines[name] {
			t.Errorf("%s has no line in docs/architecture.md", name)
		}
		delete(lines, name)
	}
	for name := range lines {
		t.Errorf("docs/architecture.md lists %s, which does not exist", name)
	}
}

// docs/adr/README.md lists each decision by its number, which have no gaps.
func TestDecisionsAreListed(t *testing.T) {
	index, err := os.ReadFile("../docs/adr/README.md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("../docs/adr/[0-9][0-9][0-9][0-9]-*.md")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d decisions, %v", len(files), err)
	}
	seen := map[string]bool{}
	for _, file := range files {
		name := filepath.Base(file)
		if number := name[:4]; seen[number] {
			t.Errorf("there are two decisions %s", number)
		} else if seen[number] = true; !bytes.Contains(index, []byte("| ["+number+"]("+name+") | ")) && !bytes.Contains(index, []byte("| "+number+" | is being written |")) {
			t.Errorf("docs/adr/README.md does not list %s", name)
		}
	}
	last, _ := strconv.Atoi(filepath.Base(files[len(files)-1])[:4])
	for n := range last {
		number := fmt.Sprintf("%04d", n+1)
		if !seen[number] && !bytes.Contains(index, []byte("| "+number+" | is being written |")) {
			t.Errorf("there is no decision %s: numbers have no gaps", number)
		}
	}
	for _, m := range regexp.MustCompile(`\]\(([^)]+)\)`).FindAllSubmatch(index, -1) {
		if _, err := os.Stat(filepath.Join("../docs/adr", string(m[1]))); err != nil {
			t.Error(err)
		}
	}
}
