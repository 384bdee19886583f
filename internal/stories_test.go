package internal_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A function that tests is one story: go test -run names it, and a reader sees all of it. Only a table may make it longer.
func TestStoriesAreShort(t *testing.T) {
	const most = 160
	story := regexp.MustCompile(`^[Tt]est[A-Z0-9]`)
	seen := 0
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := d.Name(); d.IsDir() && path != ".." && (strings.HasPrefix(name, ".") || name == "node_modules" || name == "bin") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, "_test.go") && !strings.HasSuffix(filepath.Dir(path), "test") || filepath.Ext(path) != ".go" {
			return nil
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, decl := range file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok || f.Recv != nil || !story.MatchString(f.Name.Name) {
				continue
			}
			seen++
			if lines := set.Position(f.End()).Line - set.Position(f.Pos()).Line; lines > most {
				t.Errorf("%s: %s has %d lines: give each of its subtests a function", path, f.Name.Name, lines)
			}
		}
		return nil
	})
	if err != nil || seen < 500 {
		t.Fatalf("%d stories, %v", seen, err)
	}
}

// CONTRIBUTING.md names each stage of the Makefile, and each path of a stage's list is there.
func TestStagesAreListed(t *testing.T) {
	makefile, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	contributing, err := os.ReadFile("../CONTRIBUTING.md")
	if err != nil {
		t.Fatal(err)
	}
	stages := regexp.MustCompile(`(?m)^((?:check|test|bench)[a-z0-9-]*):.*## `).FindAllSubmatch(makefile, -1)
	if len(stages) < 8 {
		t.Errorf("only %d stages", len(stages))
	}
	for _, m := range stages {
		if !bytes.Contains(contributing, []byte("\n| `make "+string(m[1])+"` | ")) {
			t.Errorf("CONTRIBUTING.md has no row for make %s", m[1])
		}
	}
	// What starts a database is with those that need one.
	all, err := exec.Command("go", "list", "-f", "{{.ImportPath}} {{.TestImports}} {{.XTestImports}}", "she/internal/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(all)) {
		path, imports, _ := strings.Cut(line, " ")
		if strings.Contains(imports, "she/internal/pgtest") && !regexp.MustCompile(`(?m)^DATABASE_TESTS :=.* \.`+strings.TrimPrefix(path, "she")+`( |$)`).Match(makefile) {
			t.Errorf("%s needs PostgreSQL and is not in DATABASE_TESTS", path)
		}
	}
	for _, list := range regexp.MustCompile(`(?m)^[A-Z]+_TESTS := (.*)$`).FindAllSubmatch(makefile, -1) {
		prefix, names := "", string(list[1])
		if m := regexp.MustCompile(`^\$\(addprefix (.*),(.*)\)$`).FindStringSubmatch(names); m != nil {
			prefix, names = m[1], strings.ReplaceAll(m[2], ",", " ")
		}
		for _, name := range strings.Fields(names) {
			if strings.HasPrefix(name, "$") {
				continue // another list
			}
			if _, err := os.Stat(filepath.Join("..", strings.TrimSuffix(prefix+name, "/..."))); err != nil {
				t.Error(err)
			}
		}
	}
}
