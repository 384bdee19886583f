package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// This package is commands: each file makes one, but for main.go, which they begin in, and show.go, which they print through.
// Whatever else there is to do has a package whose name tells.
func TestEachFileIsACommand(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") || name == "main.go" || name == "show.go" {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(file.Decls, func(d ast.Decl) bool {
			f, ok := d.(*ast.FuncDecl)
			return ok && strings.HasSuffix(f.Name.Name, "Command")
		}) {
			t.Errorf("%s makes no command", name)
		}
		for _, spec := range file.Imports {
			switch path := strings.Trim(spec.Path.Value, `"`); path {
			case "net", "crypto/rsa", "encoding/json", "text/tabwriter", "math", "sync", "bufio":
				if name != "data.go" { // prints JSON lines
					t.Errorf("%s imports %s: a command parses its flags, asks, and prints", name, path)
				}
			}
		}
	}
}
