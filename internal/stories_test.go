package internal_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
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
