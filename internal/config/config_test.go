package config

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"she/internal/catalog"
	"she/internal/hat"
	"she/internal/hatapi"
	"she/internal/plan"
)

const wholeConfig = `# every key there is
listen: 0.0.0.0:80
data: ../data
applications: apps.json
instances: 12
log: warn
limits: {runs: 3, memoryMB: 700, vaults: 2000, reserveMB: 500, hatMB: 256, hatRecords: 0, runsPerDay: 500, secondsPerDay: 3600, connections: 900, connectionsPerAddress: 90, debits: 50, partnerDebits: 10, debitsMB: 8, partnerDebitsMB: 2, debitKB: 64, debitTerms: 20}
functions:
  - id: busy-hours
    version: 1.0.0
    package: ./busy-hours
    stage: prod
    namespace: drops
    endpoint: insights/busy-hours
    experimental: true
    warmUp: {event: events/sample.json}
  - {id: busy-hours, version: 1.1.0, package: /opt/busy-hours.zip, namespace: drops, endpoint: insights, output: replace, equal: keep, inOrder: true, warmUp: false, copies: false}
trustProxy: true
metrics: 127.0.0.1:9464
otlp: http://127.0.0.1:4318
`

func TestConfig(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "she.yaml")
	if err := os.WriteFile(file, []byte(wholeConfig), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := Load(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	first := catalog.Registered{Package: filepath.Join(dir, "busy-hours"), Stage: "prod", Experimental: true, Sample: "events/sample.json"}
	first.ID, _ = hat.ParseFunctionID("busy-hours")
	first.Version, _ = hat.ParseVersion("1.0.0")
	first.Output, _ = hat.ParseEndpoint("drops/insights/busy-hours")
	second := catalog.Registered{ID: first.ID, Package: "/opt/busy-hours.zip", Stage: "dev", Mode: hat.ReplaceOutput, Equal: hat.KeepEqual, InOrder: true, NoWarmUp: true, NoCopies: true}
	second.Version, _ = hat.ParseVersion("1.1.0")
	second.Output, _ = hat.ParseEndpoint("drops/insights")
	want := Config{
		Functions: []catalog.Registered{first, second}, Listen: "0.0.0.0:80", Data: filepath.Join(filepath.Dir(dir), "data"),
		Applications: filepath.Join(dir, "apps.json"), Instances: 12, Runs: 3, Vaults: 2000, ReserveMB: 500, HATMB: new(256), HATRecords: new(0), MemoryMB: 700, Connections: 900, ConnectionsPerAddress: 90, Log: slog.LevelWarn, TrustProxy: true,
		Quota: plan.Quota{Runs: 500, Compute: time.Hour}, Metrics: "127.0.0.1:9464", OTLP: "http://127.0.0.1:4318/v1/metrics",
		Debits: hatapi.DebitLimits{Debits: 50, DebitsOfPartner: 10, Bytes: 8 << 20, BytesOfPartner: 2 << 20, BytesOfDebit: 64 << 10, Terms: 20},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestConfigOfNothing(t *testing.T) {
	if c, err := Load(t.Context(), ""); err != nil || !reflect.DeepEqual(c, Config{}) {
		t.Errorf("no file: %+v, %v", c, err)
	}
	if _, err := Load(t.Context(), filepath.Join(t.TempDir(), "missing.yaml")); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "missing.yaml") {
		t.Errorf("a missing file: %v", err)
	}
	for _, text := range []string{"", "# comment\n", "functions:\n", "functions: []\n", "{}", "---\n"} {
		if c, err := Parse("she.yaml", "/", []byte(text)); err != nil || !reflect.DeepEqual(c, Config{}) {
			t.Errorf("%q: %+v, %v", text, c, err)
		}
	}
}

// A HAT has a limit unless she.yaml says that it has none.
func TestConfigOfWhatAHATMayHold(t *testing.T) {
	for text, want := range map[string]plan.Storage{
		"":                                        {Bytes: 1 << 30, Records: 5_000_000},
		"limits: {runs: 1}":                       {Bytes: 1 << 30, Records: 5_000_000},
		"limits: {hatMB: 0}":                      {Records: 5_000_000},
		"limits: {hatRecords: 0}":                 {Bytes: 1 << 30},
		"limits: {hatMB: 20, hatRecords: 100}":    {Bytes: 20 << 20, Records: 100},
		"limits: {hatMB: 0, hatRecords: 0}":       {},
		"limits: {hatMB: 1048576, hatRecords: 1}": {Bytes: 1 << 40, Records: 1},
	} {
		if c, err := Parse("she.yaml", "/", []byte(text)); err != nil || c.Storage() != want {
			t.Errorf("%q: %+v, %v", text, c.Storage(), err)
		}
	}
}

func TestConfigThatIsWrong(t *testing.T) {
	change := func(old, new string) string { return strings.Replace(wholeConfig, old, new, 1) }
	for _, c := range []struct{ text, want string }{
		{"a: b: c\n", "she.yaml:1: mapping values"},
		{"listen: \"\xff\"\n", "she.yaml:1: byte 0xff is not UTF-8; want YAML in UTF-8"},
		{"# \u00fc\nlog: info\ndata: \"\xc3\x28\"\n", "she.yaml:3: byte 0xc3 is not UTF-8"},
		{"log: info\ndata: \"a\x00b\"\n", "she.yaml:2: there is a control character, U+0000"},
		{"listen: x\ndata: [\n", "she.yaml:"},
		{"- a\n", "she.yaml:1: the configuration: want keys and values"},
		{"listen: a\n---\nlisten: b\n", "a second document"},
		{wholeConfig + "lisen: x\n", `she.yaml:21: the configuration has no key "lisen"; there are applications, data, functions, instances, lambda, limits, listen, log, metrics, otlp, trustProxy`},
		{wholeConfig + "listen: x\n", "she.yaml:21: the configuration: key listen is given twice"},
		{change("    version: 1.0.0", "    verion: 1.0.0"), `she.yaml:10: a function has no key "verion"`},
		{change("runs: 3", "run: 3"), `she.yaml:7: limits has no key "run"; there are connections, connectionsPerAddress, debitKB, debitTerms, debits, debitsMB, hatMB, hatRecords, memoryMB, partnerDebits, partnerDebitsMB, reserveMB, runs, runsPerDay, secondsPerDay, vaults`},
		{change("runs: 3", "runs: 0"), "she.yaml:7: runs: want a whole number from 1 to 1024"},
		{change("runsPerDay: 500", "runsPerDay: -1"), "she.yaml:7: runsPerDay: want a whole number from 1 to 1000000"},
		{change("secondsPerDay: 3600", "secondsPerDay: 86401"), "she.yaml:7: secondsPerDay: want a whole number from 1 to 86400"},
		{change("hatMB: 256", "hatMB: -1"), "she.yaml:7: hatMB: want a whole number from 1 to 1048576, or 0 for no limit"},
		{change("hatMB: 256", "hatMB: none"), "she.yaml:7: hatMB: want a whole number from 1 to 1048576, or 0 for no limit"},
		{change("hatRecords: 0", "hatRecords: 1000000001"), "she.yaml:7: hatRecords: want a whole number from 1 to 1000000000, or 0 for no limit"},
		{change("vaults: 2000", "vaults: 70000"), "she.yaml:7: vaults: want a whole number from 1 to 65536"},
		{change("debitsMB: 8", "debitsMB: 1025"), "she.yaml:7: debitsMB: want a whole number from 1 to 1024"},
		{change("debitKB: 64", "debitKB: 0"), "she.yaml:7: debitKB: want a whole number from 1 to 65536"},
		{change("12", "many"), "she.yaml:5: instances: want a whole number"},
		{change("12", "100000"), "she.yaml:5: instances: want a whole number"},
		{change("trustProxy: true", "trustProxy: 1"), "she.yaml:18: trustProxy: want true or false"},
		{change("trustProxy: true", `trustProxy: "true"`), "she.yaml:18: trustProxy: want true or false"},
		{change("http://127.0.0.1:4318", "127.0.0.1:4318"), "she.yaml:20: otlp: want the address of a collector"},
		{change("http://127.0.0.1:4318", "http://user:secret@host"), "she.yaml:20: otlp: want the address of a collector"},
		{change("http://127.0.0.1:4318", "ftp://host"), "she.yaml:20: otlp: want the address of a collector"},
		{change("warn", "loud"), "she.yaml:6: log: want debug, info, warn or error"},
		{change("listen: 0.0.0.0:80", "listen: [a]"), "she.yaml:2: listen: want text"},
		{change("listen: 0.0.0.0:80", "listen: localhost"), "she.yaml:2: listen: address \"localhost\": want host:port"},
		{change("listen: 0.0.0.0:80", "listen: localhost:65536"), "she.yaml:2: listen: address \"localhost:65536\": want host:port"},
		{change("127.0.0.1:9464", "127.0.0.1:-1"), "she.yaml:19: metrics: address \"127.0.0.1:-1\": want host:port"},
		{change("data: ../data", "data:"), "she.yaml:3: data: want text"},
		{change("apps.json", `""`), "she.yaml:4: applications: want text"},
		{change("id: busy-hours", "id: Busy_Hours"), "she.yaml:9: function id"},
		{change("version: 1.0.0", "version: 1.0"), "she.yaml:10: version"},
		{change("stage: prod", "stage: a b/c"), "she.yaml:12: stage"},
		{change("namespace: drops", "namespace: Drops"), "she.yaml:13: namespace"},
		{change("insights/busy-hours", "/insights"), "she.yaml:14: endpoint"},
		{change("experimental: true", "experimental: maybe"), "she.yaml:15: experimental: want true or false"},
		{change("output: replace", "output: overwrite"), "she.yaml:17: output \"overwrite\": want append or replace"},
		{change("equal: keep", "equal: merge"), "she.yaml:17: equal \"merge\": want drop or keep"},
		{change("equal: keep", "equal: true"), "she.yaml:17: "},
		{change("equal: keep", "equal:"), "she.yaml:17: "},
		{change("inOrder: true", "inOrder: 1"), "she.yaml:17: inOrder: want true or false"},
		{change("warmUp: false", "warmUp: 1"), "she.yaml:17: warmUp: want true, false or {event: FILE}"},
		{change("warmUp: false", "warmUp: [x]"), "she.yaml:17: warmUp: want true, false or {event: FILE}"},
		{change("copies: false", "copies: never"), "she.yaml:17: copies: want true or false"},
		{change("{event: events/sample.json}", "{}"), "she.yaml:16: warmUp has no event"},
		{change("{event: events/sample.json}", "{events: x}"), `she.yaml:16: warmUp has no key "events"; there are event`},
		{change("{event: events/sample.json}", "{event: [x]}"), "she.yaml:16: event: want text"},
		{change("events/sample.json", "../sample.json"), `she.yaml:16: event "../sample.json": want a file of the package`},
		{change("events/sample.json", "/etc/passwd"), `she.yaml:16: event "/etc/passwd": want a file of the package`},
		{change("    package: ./busy-hours\n", ""), "she.yaml:9: the function has no package"},
		{change("    version: 1.0.0\n", ""), "the function has no version"},
		{change("    namespace: drops\n", ""), "the function has no namespace"},
		{change("    endpoint: insights/busy-hours\n", ""), "the function has no endpoint"},
		{change("  - id: busy-hours\n    version", "  - version"), "the function has no id"},
		{change("1.1.0", "1.0.0"), "she.yaml:17: version 1.0.0 of function busy-hours is registered in line 9 already"},
		{"functions: x\n", "she.yaml:1: functions: want a list"},
		{"functions: [x]\n", "she.yaml:1: a function: want keys and values"},
		{"listen: &a x\ndata: *a\n", "she.yaml:2: data: aliases are not read"},
		{"functions: &a [*a]\n", "she.yaml:1: a function: want keys and values; aliases are not read"},
		{"{instances: many, log: 3}\n", "she.yaml:1: instances: want a whole number from 1 to 1024\nshe.yaml:1: log: want debug, info, warn or error"},
		{"instances: \"12\"\n", "she.yaml:1: instances: want a whole number"},
		{change("hatMB: 256", "hatMB: '256'"), "she.yaml:7: hatMB: want a whole number"},
		{change("namespace: drops", "namespace: a/b"), `she.yaml:13: namespace "a/b": want lower-case letters, digits and hyphens`},
	} {
		_, err := Parse("she.yaml", "/", []byte(c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
			continue
		}
		for line := range strings.SplitSeq(err.Error(), "\n") {
			if !strings.HasPrefix(line, "she.yaml:") {
				t.Errorf("%q does not say where", line)
			}
		}
	}
}

// A faulty configuration is reported as a whole, in the order of the file.
func TestConfigTellsEveryFault(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string) string {
		t.Helper()
		file := filepath.Join(dir, name)
		must(t, os.WriteFile(file, []byte(text), 0o600))
		return file
	}
	put("code.txt", "no archive")
	must(t, os.Mkdir(filepath.Join(dir, "there"), 0o700))
	applications := put("apps.json", `[
  {"id": "a"},
  {"id": "a b"},
  {"id": "a"},
  {"id": "c",
   "status": {"recentDataCheckEndpoint": "No"}},
  7
]`)
	file := put("she.yaml", `listen: 7777
lisen: x
instances: many
limits:
  hatMB: -1
  runs: 0
  rums: 1
trustProxy: perhaps
functions:
  - id: One
    version: 1.0
    package: ./none
    namespace: drops
    endpoint: /x
    output: overwrite
  - id: two
    version: 1.0.0
    package: ./code.txt
    copies: 7
    warmUp: {event: ../x}
  - {id: two, version: 1.0.0, package: ./there, namespace: drops, endpoint: two}
  - nothing
applications: apps.json
`)
	_, err := LoadServed(t.Context(), file)
	var told *Error
	if !errors.As(err, &told) {
		t.Fatal(err)
	}
	want := []string{
		file + ":1: listen: address \"7777\": want host:port",
		file + ":2: the configuration has no key \"lisen\"",
		file + ":3: instances: want a whole number from 1 to 1024",
		file + ":5: hatMB: want a whole number from 1 to",
		file + ":6: runs: want a whole number from 1 to 1024",
		file + ":7: limits has no key \"rums\"",
		file + ":8: trustProxy: want true or false",
		file + ":10: function id \"One\"",
		file + ":11: version \"1.0\"",
		file + ":12: package \"" + filepath.Join(dir, "none") + "\": nothing is there; want a directory",
		file + ":14: endpoint \"/x\"",
		file + ":15: output \"overwrite\"",
		file + ":16: the function has no namespace; want the namespace",
		file + ":16: the function has no endpoint; want the endpoint",
		file + ":18: package \"" + filepath.Join(dir, "code.txt") + "\": it is neither",
		file + ":19: copies: want true or false",
		file + ":20: event \"../x\"",
		file + ":21: version 1.0.0 of function two is registered in line 16 already",
		file + ":22: a function: want keys and values",
		applications + ":3: application 2 of the catalogue",
		applications + ":4: application a is in the catalogue twice, first as number 1",
		applications + ":5: application c of the catalogue: status.recentDataCheckEndpoint",
		applications + ":7: application 5 of the catalogue",
	}
	got := strings.Split(err.Error(), "\n")
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || !strings.HasPrefix(got[i], want[i]) {
			t.Errorf("line %d of\n%s\nwant\n%s", i+1, err, strings.Join(want, "\n"))
			break
		}
	}
	// A function that is listed without a server may have lost its package; it is still shown.
	whole := put("whole.yaml", "functions: [{id: two, version: 1.0.0, package: ./none, namespace: drops, endpoint: two}]\n")
	if _, err := Load(t.Context(), whole); err != nil {
		t.Error(err)
	}
	missing := put("missing.yaml", "listen: localhost:http\napplications: none.json\n")
	if _, err := LoadServed(t.Context(), missing); err == nil || !strings.HasPrefix(err.Error(), missing+":2: applications: ") {
		t.Error(err)
	}
}

// However many faults there are, the message is bounded and gives the number of those left out.
func TestConfigTellsABoundedNumberOfFaults(t *testing.T) {
	_, err := Parse("she.yaml", "/", []byte(strings.Repeat("- nothing: 1\n", 1000)))
	if err == nil || !strings.Contains(err.Error(), "she.yaml:1: the configuration: want keys and values") {
		t.Fatal(err)
	}
	_, err = Parse("she.yaml", "/", []byte("functions:\n"+strings.Repeat("- nothing: 1\n", 1000)))
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != maxFaults+1 || lines[maxFaults] != "and 5950 more" || !strings.HasPrefix(lines[0], "she.yaml:2: ") || !strings.HasPrefix(lines[maxFaults-1], "she.yaml:10: ") {
		t.Errorf("%d lines, the last %q", len(lines), lines[len(lines)-1])
	}
}

// A value that YAML reads as a number, a date or a boolean is refused wherever text is expected.
func TestTextIsText(t *testing.T) {
	function := "functions: [{id: a, version: 1.0.0, package: p, namespace: n, endpoint: e, %s}]"
	for _, value := range []string{"5", "1.5", "true", "2024-03-01", "0x1f", "1_000"} {
		for _, text := range []string{
			"data: %s", "applications: %s", fmt.Sprintf(function, "stage: %s"),
			"functions: [{id: a, version: 1.0.0, package: %s, namespace: n, endpoint: e}]",
			"functions: [{id: a, version: 1.0.0, package: p, namespace: %s, endpoint: e}]",
			"functions: [{id: %s, version: 1.0.0, package: p, namespace: n, endpoint: e}]",
		} {
			if _, err := Parse("she.yaml", "/", fmt.Appendf(nil, text, value)); err == nil || !strings.Contains(err.Error(), "want text") {
				t.Errorf(text+": %v", value, err)
			}
		}
	}
	c, err := Parse("she.yaml", "/", []byte(`data: "5"`))
	if err != nil || c.Data != "/5" {
		t.Errorf("in quotes: %q, %v", c.Data, err)
	}
}

// A pipe is read when somebody writes to it. Until then the end of the context ends the wait.
func TestAPipeIsWaitedFor(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "she.yaml")
	must(t, syscall.Mkfifo(pipe, 0o600))
	why := errors.New("Ctrl-C")
	ctx, stop := context.WithCancelCause(t.Context())
	loaded := make(chan error, 1)
	go func() {
		_, err := Load(ctx, pipe)
		loaded <- err
	}()
	stop(why)
	if err := <-loaded; !errors.Is(err, why) || !strings.Contains(err.Error(), "pipe") {
		t.Errorf("nobody writes: %v", err)
	}

	ctx, stop = context.WithCancelCause(t.Context())
	go func() {
		_, err := Load(ctx, pipe)
		loaded <- err
	}()
	w, err := os.OpenFile(pipe, os.O_WRONLY, 0)
	must(t, err)
	_, err = w.WriteString("data: /srv")
	must(t, err)
	stop(why)
	if err := <-loaded; !errors.Is(err, why) {
		t.Errorf("the writer does not end: %v", err)
	}
	must(t, w.Close())

	got := make(chan Config, 1)
	go func() {
		c, err := Load(t.Context(), pipe)
		loaded <- err
		got <- c
	}()
	w, err = os.OpenFile(pipe, os.O_WRONLY, 0)
	must(t, err)
	_, err = w.WriteString("data: /srv\n")
	must(t, errors.Join(err, w.Close()))
	if err := <-loaded; err != nil {
		t.Errorf("written: %v", err)
	}
	if c := <-got; c.Data != "/srv" {
		t.Errorf("read %q", c.Data)
	}
}

func FuzzConfig(f *testing.F) {
	f.Add(wholeConfig)
	f.Add("functions: &a [*a]")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := Parse("she.yaml", "/", []byte(text))
		if err != nil && !reflect.DeepEqual(c, Config{}) {
			t.Error("an error and half a configuration")
		}
		for _, r := range c.Functions {
			if r.ID.IsZero() || r.Output.IsZero() || r.Package == "" || r.Stage == "" {
				t.Errorf("half a function: %+v", r)
			}
		}
	})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
