package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"she/internal/access"
	"she/internal/backlog"
	"she/internal/doctor"
	"she/internal/hat"
	"she/internal/ownapi"
	"she/internal/server"
	"she/internal/terminal"
)

// hostile is what an author may write anywhere: a title, a colour by ESC and by C1, a bell, reversed text, a line of its
// own, DEL, and a byte that is C1 to a terminal without UTF-8.
const hostile = "a\x1b]0;owned\x07b\u009b31mc\u202ed\ne\u2028f\x7fg\x9b2Jh\r\ti"

// steered is the first character in text that a terminal obeys, beside line breaks.
func steered(text string) (rune, bool) {
	for _, r := range text {
		if r != '\n' && hat.Steers(r) {
			return r, true
		}
	}
	return 0, strings.Contains(text, "\x9b2J")
}

func TestWordsOfOthersSteerNoTerminal(t *testing.T) {
	fault := hat.NewFault(hat.Author, hostile, hostile)
	if r, bad := steered(fault.Error()); bad || strings.Contains(fault.Error(), "\n") {
		t.Errorf("a fault has %q: %q", r, fault.Error())
	}
	raw := &hat.Fault{Who: hat.Author, Code: hostile, Text: hostile} // as an older version stored it
	for name, print := range map[string]func(io.Writer){
		"functions": func(w io.Writer) {
			printFunctions(w, []server.Function{{
				ID: hostile, Version: hostile, Runtime: hostile, Trigger: hostile, Reads: []string{hostile}, Output: hostile,
				Problem: hostile, Warnings: []string{hostile}, Said: hostile, NoCopies: hostile, Sample: hostile,
			}})
		},
		"reasons": func(w io.Writer) {
			printReasons(w, []ownapi.Reason{{Function: hostile, Code: backlog.Code(hostile), Text: hostile, Fault: raw, Run: hostile}})
		},
		"runs": func(w io.Writer) {
			printRuns(w, []ownapi.Run{{ID: hostile, Function: hostile, State: hostile, Fault: raw}})
		},
		"run": func(w io.Writer) {
			log := hostile
			printRun(w, ownapi.Run{ID: hostile, Function: hostile, Fault: raw, Log: &log}, true)
		},
		"terms": func(w io.Writer) { printTerms(w, access.Terms{Version: hostile, Package: hostile, Output: hostile}) },
		"changes": func(w io.Writer) {
			printConsent(w, access.Consent{Difference: &access.Comparison{Added: []access.Change{{Text: hostile}}, Removed: []access.Change{{Text: hostile}}}})
		},
		"doctor": func(w io.Writer) {
			report{Findings: []doctor.Finding{{What: hostile, Found: hostile, Fix: hostile}}}.text(w)
		},
		"error": func(w io.Writer) { terminal.Printf(w, "she: %s, %v and %q\n", hostile, errors.New(hostile), hostile) },
		"log": func(w io.Writer) {
			slog.New(slog.NewTextHandler(terminal.Lines{To: w}, nil)).Warn(hostile, "text", hostile, "short", "x\x7f", "fault", raw)
		},
	} {
		var out bytes.Buffer
		print(&out)
		if r, bad := steered(out.String()); bad || out.Len() == 0 {
			t.Errorf("%s: %q in %q", name, r, out.String())
		}
		for line := range strings.Lines(out.String()) {
			if strings.HasPrefix(line, "e·") || strings.HasPrefix(line, "e ") {
				t.Errorf("%s: a line of the author's own: %q", name, line)
			}
		}
	}
}

func TestJSONForPeopleStaysEqual(t *testing.T) {
	var out bytes.Buffer
	cmd := &cobra.Command{}
	cmd.SetOut(&out)
	cmd.Flags().String("output", "json", "")
	want := map[string]string{"text": strings.ToValidUTF8(hostile, "\ufffd")}
	if err := show(cmd, want, nil); err != nil {
		t.Fatal(err)
	}
	if r, bad := steered(out.String()); bad {
		t.Errorf("%q in %q", r, out.String())
	}
	var got map[string]string
	if err := json.Unmarshal(out.Bytes(), &got); err != nil || got["text"] != want["text"] {
		t.Errorf("got %q, %v", got, err)
	}
}

// Everything that a command prints for people goes through terminal.Printf or a table. What prints by itself is listed here.
func TestCommandsPrintThroughPrintf(t *testing.T) {
	own := map[string]string{
		"data.go": "records that she invented, as JSON",
		"main.go": "the prompt for a password",
	}
	var files []string
	for _, folder := range []string{"", "../../internal/demo/", "../../internal/client/", "../../internal/proof/"} {
		some, err := filepath.Glob(folder + "*.go")
		if err != nil || len(some) == 0 {
			t.Fatal(folder, err)
		}
		files = append(files, some...)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") || own[name] != "" {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				if pkg, ok := s.X.(*ast.Ident); ok && pkg.Name == "fmt" && (strings.HasPrefix(s.Sel.Name, "Fprint") || strings.HasPrefix(s.Sel.Name, "Print")) {
					t.Errorf("%s uses fmt.%s: terminal.Printf makes other people's words plain", name, s.Sel.Name)
				}
			}
			return true
		})
	}
}

// Whoever reads consent in a terminal reads who says to have made the function, what for, and its version, in quotes, or that
// nothing is said.
func TestConsentInWords(t *testing.T) {
	var out bytes.Buffer
	printConsent(&out, access.Consent{Asks: &access.Terms{
		Version: "1.2.3", Name: "Busy", Maker: &access.Maker{Name: "Acme", URL: "https://acme.test"}, Purpose: strings.Repeat("long ", 100),
	}})
	for _, want := range []string{"  version  1.2.3,", `  name     "Busy"`, `  maker    "Acme, https://acme.test"`, `  purpose  "long long`} {
		if !strings.Contains(out.String(), "\n"+want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), strings.Repeat("long ", 61)) {
		t.Error("the author's words are not bounded")
	}
	out.Reset()
	printConsent(&out, access.Consent{Asks: &access.Terms{Version: "1.2.3"}})
	for _, want := range []string{"name     not said", "maker    not said", "purpose  not said"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}
