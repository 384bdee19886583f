package ledger_test

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"she/internal/bundle"
	"she/internal/debit"
	"she/internal/hat"
	"she/internal/plan"
	"she/internal/vault"
	"she/internal/vault/dialect"
	"she/internal/vault/ledger"
	"she/internal/vault/sqlite"
	"she/internal/vault/vaulttest"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// A collector collects the statements that the logic sends to its store.
type collector struct {
	mu  sync.Mutex
	all map[string]bool
}

// prepared is for sqlite.Options.AtPrepare. It leaves out statements that the store or a test prepares for
// itself.
func (c *collector) prepared(statement string) {
	var callers [16]uintptr
	frames := runtime.CallersFrames(callers[:runtime.Callers(2, callers[:])])
	for {
		f, more := frames.Next()
		method := f.Function[strings.LastIndexByte(f.Function, '.')+1:]
		if !strings.HasPrefix(f.Function, "she/internal/vault/sqlite.") || !slices.Contains([]string{"prepare", "Get", "Each", "Exec"}, method) {
			// By file, not by function: the compiler copies closures of the ledger into the functions that call it.
			if strings.Contains(f.File, "internal/vault/ledger/") && !strings.HasSuffix(f.File, "_test.go") {
				c.mu.Lock()
				c.all[statement] = true
				c.mu.Unlock()
			}
			return
		}
		if !more {
			return
		}
	}
}

// shapes returns the statements with normalised white space. Statements that differ only in the number of
// rows or alternatives have one shape; its value is the longest of them.
func (c *collector) shapes() map[string]string {
	shapes := map[string]string{}
	for s := range c.all {
		one := strings.Join(strings.Fields(s), " ")
		shape := once(one)
		if len(one) > len(shapes[shape]) {
			shapes[shape] = one
		}
	}
	return shapes
}

// once removes rows of VALUES, and parts of UNION ALL, that repeat the previous one.
func once(s string) string {
	for i := 0; i < len(s); i++ {
		row := s[i:]
		if row = row[:strings.IndexByte(row, ')')+1]; s[i] == '(' && row != "" {
			for strings.HasPrefix(s[i+len(row):], ", "+row) {
				s = s[:i+len(row)] + s[i+len(row)+len(", "+row):]
			}
		}
		const union = " UNION ALL "
		if part := s[:i]; strings.HasPrefix(s[i:], union) {
			part = part[strings.LastIndex(part, "SELECT "):]
			for strings.HasPrefix(s[i:], union+part) {
				s = s[:i] + s[i+len(union+part):]
			}
		}
	}
	return s
}

const goldenStatements = "testdata/statements.golden"

// TestStatements runs everything that the promises of package vault cover, and compares each statement sent
// to the store, in both dialects, with a golden file.
func TestStatements(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the whole conformance suite")
	}
	c := &collector{all: map[string]bool{}}
	vaulttest.Run(t, func(t testing.TB) vaulttest.Opener {
		dir := t.TempDir()
		return func(s vaulttest.Setup) (vaulttest.Store, error) {
			return sqlite.NewStore(dir, sqlite.Options{
				Now: s.Now, AtCommit: s.AtCommit, AtPrepare: c.prepared,
				Storage: func(hat.ID) plan.Storage {
					if s.Storage == nil {
						return plan.Storage{}
					}
					return s.Storage()
				},
			})
		}
	})
	c.variants()
	c.rest(t)
	var known []string
	for s := range c.all {
		known = append(known, strings.Join(strings.Fields(s), " "))
	}
	sourceIsIn(t, known)
	shapes := c.shapes()
	var got strings.Builder
	for _, shape := range slices.Sorted(maps.Keys(shapes)) {
		derived, err := dialect.Postgres(shape)
		if err == nil {
			_, err = dialect.Postgres(shapes[shape])
		}
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		got.WriteString("sqlite:   " + shape + "\npostgres: " + derived + "\n\n")
	}
	if *update {
		if err := os.WriteFile(goldenStatements, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(goldenStatements)
	if err != nil {
		t.Fatal(err)
	}
	is, was := linesOf(got.String()), linesOf(string(want))
	for line := range is {
		if !was[line] {
			t.Errorf("not in %s: %s", goldenStatements, line)
		}
	}
	for line := range was {
		if !is[line] {
			t.Errorf("only in %s: %s", goldenStatements, line)
		}
	}
	if t.Failed() {
		t.Logf("look at what go test -run TestStatements -update changes in the file")
	}
}

// TestGoldenStatements finds, without running the suite, a statement that is new or whose PostgreSQL form
// has changed.
func TestGoldenStatements(t *testing.T) {
	text, err := os.ReadFile(goldenStatements)
	if err != nil {
		t.Fatal(err)
	}
	var statements []string
	for pair := range strings.SplitSeq(strings.TrimSpace(string(text)), "\n\n") {
		statement, derived, ok := strings.Cut(strings.TrimPrefix(pair, "sqlite:   "), "\npostgres: ")
		if got, err := dialect.Postgres(statement); !ok || err != nil || got != derived {
			t.Errorf("%s is derived as\n%s, %v, want\n%s", statement, got, err, derived)
		}
		statements = append(statements, statement)
	}
	sourceIsIn(t, statements)
}

func linesOf(text string) map[string]bool {
	lines := map[string]bool{}
	for line := range strings.Lines(text) {
		if line = strings.TrimSuffix(line, "\n"); line != "" {
			lines[line] = true
		}
	}
	return lines
}

// variants adds all combinations of the statements that are composed from parts. Which of them the suite
// uses depends on the progress of indexes and on chance.
func (c *collector) variants() {
	e := vaulttest.Parsed(hat.ParseEndpoint("rumpel/notes"))
	add := func(query string) { c.all[query] = true }
	key := [2][]byte{ledger.FirstKey, ledger.BeyondKeys}
	for _, order := range []*bundle.Order{nil, {}, {Descending: true}} {
		for _, after := range []hat.Seq{0, 7} {
			for _, upto := range []hat.Seq{0, 9} {
				want := bundle.Want{After: after, Upto: upto, Order: order}
				query, _ := ledger.ScanQuery(e, want)
				add(query)
				query, _ = ledger.PickedQuery(1, [][2][]byte{key, key}, want)
				add(query)
				query, _ = ledger.OrderedQuery(1, key[0], key[1], order != nil && order.Descending, want)
				add(query)
			}
		}
	}
}

// rest does what the suite leaves to other tests: large erasures, long pages and files of earlier versions.
func (c *collector) rest(t *testing.T) {
	v, owner := asked(t, newStore(t, t.TempDir(), sqlite.Options{AtPrepare: c.prepared}))
	ctx, f := t.Context(), vaulttest.Parsed(hat.ParseFunctionID("f"))
	for _, f := range []hat.FunctionID{{}, f} {
		for _, before := range []hat.RunID{{}, hat.NewRunID()} {
			_, err := v.Runs(ctx, owner, f, before, 1)
			vaulttest.Must(t, 0, err)
			_, err = v.RunsPage(ctx, owner, f, before, 1)
			vaulttest.Must(t, 0, err)
		}
	}
	_, err := v.SupersededPage(ctx, owner, hat.NewRunID(), 0, 1)
	vaulttest.Must(t, 0, err)

	// Pages of records sorted by a field.
	var drafts []hat.Draft
	for i := range 3 * ledger.MinSkip {
		drafts = append(drafts, vaulttest.Note(t, fmt.Sprintf(`{"n":%d}`, i)))
	}
	vaulttest.Append(t, v, owner, drafts)
	for _, order := range []bundle.Order{{}, {Field: "n"}, {Field: "n", Descending: true}} {
		for _, skip := range []int{ledger.MinSkip, len(drafts)} {
			vaulttest.Must(t, 0, v.Read(ctx, owner, func(src bundle.Source, _ hat.Seq) error {
				for _, err := range src.Scan(ctx, drafts[0].Endpoint, bundle.Want{Order: &order, Skip: skip}).Records {
					vaulttest.Must(t, 0, err)
				}
				return nil
			}))
		}
	}

	// Documents and data debits.
	at := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
	d := debit.Debit{Key: "d", Created: at}.Propose(debit.Permissions{
		Purpose: "p", Start: at, Period: vaulttest.Parsed(hat.ParsePeriod("P7D")), Bundle: bundle.Bundle{Name: "of-d"},
	}, at)
	vaulttest.Put(t, v, owner, vault.Debits, "d", vaulttest.Parsed(d.Store()))
	vaulttest.Must(t, 0, v.EditDocuments(ctx, owner, func(e vault.Edit) error {
		if _, _, err := e.DebitUse("x"); err != nil {
			return err
		}
		id, err := e.DebitWith("of-d")
		if id != "d" {
			t.Errorf("the bundle is that of %q", id)
		}
		return err
	}))
	vaulttest.Must(t, 0, v.EachDocument(ctx, owner, vault.Debits, func(vault.Document) error { return nil }))

	// A file from before fields existed has this state.
	vaulttest.Must(t, 0, v.Rows().Write(ctx, "before", func(tx ledger.Tx) error {
		for _, kind := range []string{"grant", "bundle"} {
			if _, err := tx.Exec(ctx, "INSERT INTO undeclared (kind, holder) VALUES (?, 'b')", kind); err != nil {
				return err
			}
		}
		tx.Note(ledger.Unending)
		return nil
	}))
	settle(t, v)

	// Erasures in pieces.
	large := func() (ids []hat.RecordID) {
		t.Helper()
		for i := range 3 {
			r, err := v.Append(ctx, owner, []hat.Draft{vaulttest.Note(t, fmt.Sprintf(`"%d%s"`, i, strings.Repeat("x", 700<<10)))}, false)
			vaulttest.Must(t, 0, err)
			ids = append(ids, r[0].ID)
		}
		return ids
	}
	vaulttest.Must(t, 0, v.Erase(ctx, owner, large()))
	linked, err := v.Append(ctx, owner, []hat.Draft{vaulttest.Note(t, `"linked"`)}, false)
	vaulttest.Must(t, 0, err)
	vaulttest.Must(t, 0, v.Rows().Write(ctx, "links", func(tx ledger.Tx) error {
		for range ledger.PieceLinks + 1 {
			var n int64
			if err := tx.Get(ctx, "INSERT INTO groups DEFAULT VALUES RETURNING n", nil, &n); err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, "INSERT INTO members (grp, record) VALUES (?, ?)", n, int64(linked[0].Born)); err != nil {
				return err
			}
		}
		return nil
	}))
	vaulttest.Must(t, 0, v.Erase(ctx, owner, []hat.RecordID{linked[0].ID}))
	large()
	vaulttest.Must(t, 0, v.EraseEndpoint(ctx, owner, drafts[0].Endpoint))
}

// sourceIsIn checks that each SQL text in the source is part of one of the statements.
func sourceIsIn(t *testing.T, statements []string) {
	t.Helper()
	statement := regexp.MustCompile(`\b(SELECT|INSERT|UPDATE|DELETE|REPLACE|FROM|JOIN|WHERE|AND|OR|GROUP BY|ORDER BY|LIMIT|OFFSET|UNION|VALUES|CONFLICT|RETURNING)\b`)
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	looked := 0
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			literal, ok := n.(*ast.BasicLit)
			if !ok || literal.Kind != token.STRING {
				return true
			}
			text := vaulttest.Parsed(strconv.Unquote(literal.Value))
			one := strings.Join(strings.Fields(text), " ")
			if !statement.MatchString(one) {
				return true
			}
			looked++
			one = strings.TrimPrefix(one, "UNION ALL ") // the golden file has such a part only once
			if !slices.ContainsFunc(statements, func(s string) bool { return strings.Contains(s, one) }) {
				t.Errorf("%s: no statement has %q in it", fset.Position(literal.Pos()), one)
			}
			return true
		})
	}
	if looked == 0 {
		t.Error("there is no text of a statement in the source")
	}
}
