package internal_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var (
	// Scenario 12, Scenarios 63 to 66, 71 and 82.
	scenarioText = regexp.MustCompile(`\b[Ss]cenarios? ?(\d+(?:(?:, | and | to )\d+)*)`)
	defectText   = regexp.MustCompile(`\bB-(\d\d)\b`)
	// TestScenario15To17Duplicates, Test57TriggerReturns, TestB28DeletingKeepsOtherGroups.
	scenarioName = regexp.MustCompile(`^Test(?:Scenario)?(\d+)(?:(To|And)(\d+))?[A-Z]`)
	defectName   = regexp.MustCompile(`^TestB(\d\d)[A-Z]`)
	// The name of a subtest, or of an entry in a list of scenarios.
	exampleText = regexp.MustCompile(`"(E\d+b?)[ "/]`)
)

// between returns the numbers from one to the other.
func between(from, to string) (all []string) {
	last, _ := strconv.Atoi(to)
	for n, _ := strconv.Atoi(from); n <= last; n++ {
		all = append(all, strconv.Itoa(n))
	}
	return all
}

// numbersIn returns the numbers of scenarios, defects and examples that a text names: 57, B-02, E16.
func numbersIn(text string) (all []string) {
	for _, m := range scenarioText.FindAllStringSubmatch(text, -1) {
		for _, part := range regexp.MustCompile(`, | and `).Split(m[1], -1) {
			from, to, several := strings.Cut(part, " to ")
			if !several {
				to = from
			}
			all = append(all, between(from, to)...)
		}
	}
	return append(all, defectText.FindAllString(text, -1)...)
}

// numbersOf returns the numbers that the name of a test has.
func numbersOf(name string) (all []string) {
	if m := scenarioName.FindStringSubmatch(name); m != nil {
		switch m[2] {
		case "To":
			return between(m[1], m[3])
		case "And":
			return []string{m[1], m[3]}
		}
		return m[1:2]
	}
	if m := defectName.FindStringSubmatch(name); m != nil {
		return []string{"B-" + m[1]}
	}
	return nil
}

// namedNumbers reads the repository. holders has the tests that name a number, everywhere each place that does.
func namedNumbers(t *testing.T) (holders map[string][]string, everywhere map[string]string) {
	holders, everywhere = map[string][]string{}, map[string]string{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch name := d.Name(); {
		case d.IsDir() && path != ".." && (strings.HasPrefix(name, ".") || name == "node_modules" || name == "bin"):
			return filepath.SkipDir
		case d.IsDir(), name == "scenarios.md", name == "scenarios_test.go":
			return nil
		case !slices.Contains([]string{".go", ".md", ".js", ".py", ".txtar"}, filepath.Ext(name)):
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, n := range numbersIn(string(text)) {
			everywhere[n] = path
		}
		if filepath.Ext(path) != ".go" {
			return nil
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, decl := range file.Decls {
			from, name := decl.Pos(), ""
			switch decl := decl.(type) {
			case *ast.FuncDecl:
				if name = decl.Name.Name; decl.Doc != nil {
					from = decl.Doc.Pos()
				}
				if !strings.HasPrefix(name, "Test") && !strings.HasPrefix(name, "test") {
					continue
				}
			case *ast.GenDecl: // what TestScenarios goes through
				if v, ok := decl.Specs[0].(*ast.ValueSpec); !ok || len(v.Names) == 0 || !strings.HasSuffix(v.Names[0].Name, "Scenarios") {
					continue
				}
				name = "TestScenarios"
			}
			body := string(text[set.Position(from).Offset:set.Position(decl.End()).Offset])
			all := append(numbersOf(name), numbersIn(body)...)
			for _, m := range exampleText.FindAllStringSubmatch(body, -1) {
				all = append(all, m[1])
			}
			for _, n := range all {
				if everywhere[n] = path; !slices.Contains(holders[n], name) {
					holders[n] = append(holders[n], name)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return holders, everywhere
}

// docs/scenarios.md has a row for each number that the project names, with the tests that name it, and no row for another.
// A row without tests says why there are none.
func TestScenariosAreListed(t *testing.T) {
	holders, everywhere := namedNumbers(t)
	if len(everywhere) < 100 {
		t.Fatalf("only %d numbers are named", len(everywhere))
	}
	text, err := os.ReadFile("../docs/scenarios.md")
	if err != nil {
		t.Fatal(err)
	}
	name := regexp.MustCompile("`([Tt]est[^`]+)`")
	for _, row := range regexp.MustCompile(`(?m)^\| ((?:B-|E)?\d+b?) \| ([^|]+) \| ([^|]*) \|$`).FindAllStringSubmatch(string(text), -1) {
		number, tests := row[1], row[3]
		if _, named := everywhere[number]; !named && !strings.HasPrefix(tests, "none: ") {
			t.Errorf("no test names %s, and its row does not say why", number)
		}
		delete(everywhere, number)
		var listed []string
		for _, m := range name.FindAllStringSubmatch(tests, -1) {
			listed = append(listed, m[1])
		}
		want := slices.Sorted(slices.Values(holders[number]))
		if slices.Sort(listed); !slices.Equal(listed, want) {
			t.Errorf("%s is named by %v, its row says %v", number, want, listed)
		}
		if len(want) == 0 && !strings.HasPrefix(tests, "none: ") {
			t.Errorf("the row of %s does not say why no test names it", number)
		}
	}
	for _, number := range slices.Sorted(maps.Keys(everywhere)) {
		t.Errorf("%s, which %s names, has no row in docs/scenarios.md", number, everywhere[number])
	}
}

func TestNumbersOfScenariosAreRead(t *testing.T) {
	for text, want := range map[string]string{
		"Scenarios 63 to 66, 71 and 82: runs": "63 64 65 66 71 82",
		`"Scenario77 a function"`:             "77",
		"scenario 9 (B-01, B-20)":             "9 B-01 B-20",
		"a scenario, B-1, AB-12":              "",
	} {
		if got := strings.Join(numbersIn(text), " "); got != want {
			t.Errorf("%s: %s", text, got)
		}
	}
	for name, want := range map[string]string{
		"TestScenario15To17Duplicates": "15 16 17", "TestScenario1And2PublicKey": "1 2", "Test57Trigger": "57",
		"TestB28Deleting": "B-28", "TestScenariosOverDays": "", "TestBudgets": "",
	} {
		if got := strings.Join(numbersOf(name), " "); got != want {
			t.Errorf("%s: %s", name, got)
		}
	}
}
