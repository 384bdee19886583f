package server

import (
	"fmt"
	"log/slog"
	"maps"
	"math"
	"os"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"she/internal/catalog"
	"she/internal/config"
	"she/internal/hat"
	"she/internal/vault/sqlite"
)

// documentedKey is one row of a table in docs/configuration.md.
type documentedKey struct{ kind, initial, example string }

// documentedKeys reads the tables of docs/configuration.md by the heading they stand under.
func documentedKeys(t *testing.T) (tables map[string]map[string]documentedKey, text string) {
	t.Helper()
	raw, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	tables = make(map[string]map[string]documentedKey)
	heading := ""
	for line := range strings.Lines(string(raw)) {
		line = strings.TrimSpace(line)
		if rest, ok := strings.CutPrefix(line, "## "); ok {
			heading = strings.Trim(rest, "`")
		}
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		if len(cells) != 6 {
			t.Fatalf("%d cells, want 6: %s", len(cells), line)
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		key := strings.Trim(cells[0], "`")
		if tables[heading] == nil {
			tables[heading] = make(map[string]documentedKey)
		}
		if _, twice := tables[heading][key]; twice {
			t.Errorf("%s: key %s has two rows", heading, key)
		}
		tables[heading][key] = documentedKey{kind: cells[1], initial: cells[2], example: strings.Trim(cells[4], "`")}
	}
	return tables, string(raw)
}

// readableKeys returns the keys that the reader takes where text has the unknown key "nothing".
func readableKeys(t *testing.T, text string) []string {
	t.Helper()
	_, err := config.Parse("she.yaml", "/", []byte(text))
	if err == nil {
		t.Fatalf("%q was read", text)
	}
	_, keys, ok := strings.Cut(err.Error(), "; there are ")
	if !ok {
		t.Fatalf("%q: %v", text, err)
	}
	keys, _, _ = strings.Cut(keys, "\n") // the next fault
	return strings.Split(keys, ", ")
}

// Each key that the reader takes has a row, and each row is a key that the reader takes.
func TestConfigurationDocumentsEveryKey(t *testing.T) {
	tables, _ := documentedKeys(t)
	for heading, text := range map[string]string{
		"The file":  "nothing: 1",
		"limits":    "limits: {nothing: 1}",
		"functions": "functions: [{nothing: 1}]",
	} {
		got, want := slices.Sorted(maps.Keys(tables[heading])), readableKeys(t, text)
		if !slices.Equal(got, want) {
			t.Errorf("%s: documented %v, read %v", heading, got, want)
		}
	}
	if len(tables) != 3 {
		t.Errorf("tables under %v", slices.Collect(maps.Keys(tables)))
	}
}

// The documented examples are read, and together they set every field of Config and of a registration.
func TestConfigurationExamplesAreRead(t *testing.T) {
	tables, doc := documentedKeys(t)
	_, block, _ := strings.Cut(doc, "```yaml\n")
	block, _, _ = strings.Cut(block, "```")
	if c, err := config.Parse("she.yaml", "/", []byte(block)); err != nil || len(c.Functions) != 1 {
		t.Errorf("the example: %+v, %v", c, err)
	}
	row := func(heading string, skip ...string) (all []string) {
		for key, k := range tables[heading] {
			if !slices.Contains(skip, key) {
				all = append(all, key+": "+k.example)
			}
		}
		return all
	}
	for _, alone := range []string{"limits", "functions"} {
		if _, err := config.Parse("she.yaml", "/", []byte(alone+": "+tables["The file"][alone].example)); err != nil {
			t.Error(err)
		}
	}
	text := strings.Join(row("The file", "limits", "functions"), "\n") +
		"\nlimits: {" + strings.Join(row("limits"), ", ") + "}" +
		"\nfunctions: [{" + strings.Join(row("functions"), ", ") + "}]\n"
	c, err := config.Parse("she.yaml", "/", []byte(text))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	allSet(t, reflect.ValueOf(c))
	allSet(t, reflect.ValueOf(c.Quota))
	allSet(t, reflect.ValueOf(c.Debits))
	// A warm-up with a sample is not a warm-up that is switched off.
	allSet(t, reflect.ValueOf(c.Functions[0]), "NoWarmUp")
}

func allSet(t *testing.T, v reflect.Value, except ...string) {
	t.Helper()
	for i := range v.NumField() {
		if f := v.Type().Field(i); f.IsExported() && v.Field(i).IsZero() && !slices.Contains(except, f.Name) {
			t.Errorf("no documented example sets %s.%s", v.Type().Name(), f.Name)
		}
	}
}

// The documented ranges are those of the reader: the ends are taken, and what is beyond them is refused.
func TestConfigurationDocumentsRanges(t *testing.T) {
	tables, _ := documentedKeys(t)
	span := regexp.MustCompile(`^integer, (\d+) to (\d+)$`)
	tried := 0
	for heading, form := range map[string]string{"The file": "%s: %d", "limits": "limits: {%s: %d}"} {
		for key, k := range tables[heading] {
			m := span.FindStringSubmatch(k.kind)
			if m == nil {
				continue
			}
			tried++
			least, _ := strconv.Atoi(m[1])
			most, _ := strconv.Atoi(m[2])
			for value, taken := range map[int]bool{least - 1: false, least: true, most: true, most + 1: false} {
				if _, err := config.Parse("she.yaml", "/", fmt.Appendf(nil, form, key, value)); (err == nil) != taken {
					t.Errorf("%s: %d: %v; documented as %s", key, value, err, k.kind)
				}
			}
		}
	}
	if want := 1 + len(tables["limits"]); tried != want {
		t.Errorf("%d ranges, want %d", tried, want)
	}
}

// The documented defaults are those of the code.
func TestConfigurationDocumentsDefaults(t *testing.T) {
	tables, _ := documentedKeys(t)
	none := config.Config{}
	least, _ := connectionsFor(none, 0, 0)
	most, quarter := connectionsFor(none, math.MaxInt64, math.MaxInt64)
	if _, ofOne := connectionsFor(config.Config{TrustProxy: true}, 1<<16, 1<<34); ofOne != 0 || quarter != most/4 {
		t.Errorf("connections of one address: %d behind a proxy, %d of %d without", ofOne, quarter, most)
	}
	if none.InstancesAtOnce() != 2*runtime.NumCPU() {
		t.Errorf("instances: %d on %d CPUs", none.InstancesAtOnce(), runtime.NumCPU())
	}
	if n := places(config.Config{Vaults: 1, Instances: 9}); n != 18 {
		t.Errorf("%d vaults for 9 instances", n)
	}
	if n := places(config.Config{Vaults: 1}); n != 2*none.InstancesAtOnce() {
		t.Errorf("%d vaults for %d instances", n, none.InstancesAtOnce())
	}
	if heap := sizesFor(none, 8<<30, 0, 1).heap; heap != 4<<30 {
		t.Errorf("a heap of %d of 8 GB", heap)
	}
	if none.Quota.Runs != 0 || none.Quota.Compute != 0 || none.Log != slog.LevelInfo || none.TrustProxy {
		t.Errorf("%+v", none)
	}
	c, err := config.Parse("she.yaml", "/", []byte("functions: [{id: a, version: 1.0.0, package: p, namespace: n, endpoint: e}]"))
	if err != nil {
		t.Fatal(err)
	}
	f := c.Functions[0]
	if want := (catalog.Registered{ID: f.ID, Version: f.Version, Package: "/p", Output: f.Output, Stage: f.Stage}); !reflect.DeepEqual(f, want) || f.Mode == hat.ReplaceOutput {
		t.Errorf("a function with what is required only: %+v", f)
	}
	for _, key := range []string{"id", "version", "package", "namespace", "endpoint"} {
		if got := tables["functions"][key].initial; got != "required" {
			t.Errorf("%s: documented as %q", key, got)
		}
	}
	debits := none.Debits.OrDefault()
	for _, d := range []struct{ heading, key, want string }{
		{"The file", "listen", "`" + DefaultListen + "`"},
		{"The file", "instances", "two for each CPU"},
		{"The file", "log", "`" + strings.ToLower(none.Log.String()) + "`"},
		{"The file", "trustProxy", fmt.Sprintf("`%t`", none.TrustProxy)},
		{"limits", "runs", "as many as `instances`"},
		{"limits", "vaults", fmt.Sprintf("what descriptors and memory allow, from %d to 4096", sqlite.MaxVaultsIn(0))},
		{"limits", "reserveMB", fmt.Sprintf("`%d`", Reserve(none)>>20)},
		{"limits", "memoryMB", fmt.Sprintf("half of the machine's memory or of the least limit of the cgroups, at least %d", sizesFor(none, 0, 0, 1).heap>>20)},
		{"limits", "connections", fmt.Sprintf("one for each 512 KB of memory, at most a quarter of the descriptors, from %d to %d", least, most)},
		{"limits", "connectionsPerAddress", "a quarter of `connections`; no bound with `trustProxy`"},
		{"limits", "runsPerDay", "no bound"},
		{"limits", "secondsPerDay", "no bound"},
		{"limits", "hatMB", fmt.Sprintf("`%d`", none.Storage().Bytes>>20)},
		{"limits", "hatRecords", fmt.Sprintf("`%d`", none.Storage().Records)},
		{"limits", "debits", fmt.Sprintf("`%d`", debits.Debits)},
		{"limits", "partnerDebits", fmt.Sprintf("`%d`", debits.DebitsOfPartner)},
		{"limits", "debitsMB", fmt.Sprintf("`%d`", debits.Bytes>>20)},
		{"limits", "partnerDebitsMB", fmt.Sprintf("`%d`", debits.BytesOfPartner>>20)},
		{"limits", "debitKB", fmt.Sprintf("`%d`", debits.BytesOfDebit>>10)},
		{"limits", "debitTerms", fmt.Sprintf("`%d`", debits.Terms)},
		{"functions", "stage", "`" + f.Stage + "`"},
		{"functions", "output", "`append`"},
		{"functions", "equal", "`" + f.Equal.String() + "`"},
		{"functions", "inOrder", fmt.Sprintf("`%t`", f.InOrder)},
		{"functions", "warmUp", fmt.Sprintf("`%t`", !f.NoWarmUp)},
		{"functions", "copies", fmt.Sprintf("`%t`", !f.NoCopies)},
		{"functions", "experimental", fmt.Sprintf("`%t`", f.Experimental)},
	} {
		if got := tables[d.heading][d.key].initial; got != d.want {
			t.Errorf("%s: documented %q, the code has %q", d.key, got, d.want)
		}
	}
}
