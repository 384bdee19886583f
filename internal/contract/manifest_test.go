package contract

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"she/internal/access"
	"she/internal/hat"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares with testdata/name.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, append(bytes.Clone(got), '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, bytes.TrimSuffix(want, []byte("\n"))) {
		t.Errorf("%s has changed:\ngot  %s\nwant %s", name, got, want)
	}
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestParseConfiguration(t *testing.T) {
	m, fault := ParseConfiguration(read(t, "full.answer.json"))
	if fault != nil {
		t.Fatal(fault)
	}
	day, _ := hat.ParsePeriod("P1D")
	if m.ID.String() != "busy-time" || m.Version.String() != "1.0.0" || !m.Available ||
		m.Trigger != (hat.Trigger{Kind: hat.Periodic, Period: day}) ||
		m.Bundle.Name != "busy-time" || len(m.Bundle.Endpoints()) != 1 {
		t.Errorf("%+v", m)
	}
	golden(t, "full.configuration.json", Configuration(m, Status{
		Available: true, Enabled: true,
		LastExecution: time.Date(2024, 1, 8, 11, 0, 0, 999_999, time.FixedZone("", 3600)),
	}))
}

// What Configuration writes is a configuration: clients that keep it, and functions that answer with what they were
// given, lose nothing.
func TestConfigurationIsReadBack(t *testing.T) {
	for _, name := range []string{"full.answer.json", "least.answer.json"} {
		m, fault := ParseConfiguration(read(t, name))
		if fault != nil {
			t.Fatal(fault)
		}
		wire := Configuration(m, Status{Available: m.Available})
		again, fault := ParseConfiguration(wire)
		if fault != nil {
			t.Fatal(fault)
		}
		if second := Configuration(again, Status{Available: m.Available}); !bytes.Equal(wire, second) {
			t.Errorf("%s:\nfirst  %s\nsecond %s", name, wire, second)
		}
	}
}

func TestManifestOfGrant(t *testing.T) {
	m, _ := ParseConfiguration(read(t, "full.answer.json"))
	g := access.Grant{
		Function: m.ID, Version: m.Version, Bundle: m.Bundle, Trigger: m.Trigger,
		Given: time.Date(2024, 1, 8, 10, 0, 0, 0, time.UTC),
	}
	wire := Configuration(ManifestOf(g), Status{Enabled: true})
	golden(t, "granted.configuration.json", wire)
	if _, fault := ParseConfiguration(wire); fault != nil {
		t.Errorf("clients can't read it: %s", fault)
	}
}

// edit is the least configuration with the value at a dotted path replaced, or removed if it is "".
func edit(t *testing.T, path, value string) []byte {
	t.Helper()
	var tree map[string]any
	if err := json.Unmarshal(read(t, "least.answer.json"), &tree); err != nil {
		t.Fatal(err)
	}
	keys := strings.Split(path, ".")
	at := tree
	for _, k := range keys[:len(keys)-1] {
		at = at[k].(map[string]any)
	}
	if last := keys[len(keys)-1]; value == "" {
		if _, ok := at[last]; !ok {
			t.Fatalf("the test removes %s, which is not there", path)
		}
		delete(at, last)
	} else {
		at[last] = json.RawMessage(value)
	}
	text, err := json.Marshal(tree)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestEveryRequiredFieldIsChecked(t *testing.T) {
	for _, path := range []string{
		"id", "info", "developer", "trigger", "dataBundle", "status",
		"info.version", "info.versionReleaseDate", "info.name", "info.headline", "info.termsUrl", "info.supportContact",
		"info.description", "info.description.text",
		"info.graphics", "info.graphics.banner", "info.graphics.banner.normal", "info.graphics.logo",
		"info.graphics.logo.normal", "info.graphics.screenshots",
		"developer.id", "developer.name", "developer.url",
		"trigger.triggerType", "trigger.period", "dataBundle.name", "dataBundle.bundle",
		"status.available", "status.enabled",
	} {
		for _, value := range []string{"", "null", `[7]`} {
			if path == "info.graphics.screenshots" && value == `[7]` {
				value = `{}`
			}
			_, fault := ParseConfiguration(edit(t, path, value))
			if fault == nil || fault.Code != CodeConfigurationInvalid || fault.Who != hat.Author {
				t.Errorf("%s = %q: %v", path, value, fault)
			} else if last := path[strings.LastIndexByte(path, '.')+1:]; !strings.Contains(fault.Text, last) {
				t.Errorf("%s = %q: %q does not say where", path, value, fault.Text)
			}
		}
	}
}

func TestParseConfigurationTable(t *testing.T) {
	for _, c := range []struct {
		path, value string
		ok          bool
	}{
		{"id", `"busy-time"`, true},
		{"id", `"Busy_Time"`, false},
		{"id", `""`, false},
		{"info.version", `"1.0"`, false},
		{"info.version", `"1.0.0-beta"`, false},
		{"info.versionReleaseDate", `"2019-09-03T12:00:00Z"`, true},
		{"info.versionReleaseDate", `"2019-09-03T12:00:00.000+0100"`, true},
		{"info.versionReleaseDate", `"2019-09-03T12:00:00.123456"`, true},
		{"info.versionReleaseDate", `"yesterday"`, false},
		{"info.versionReleaseDate", `"0000-01-01T00:00:00+23:00"`, false},
		{"info.updateNotes", `{"header":"h","notes":["n"]}`, true},
		{"info.updateNotes", `{"notes":["n"]}`, false},
		{"info.updateNotes", `{"header":"h","notes":[1]}`, false},
		{"info.dataPreviewEndpoint", `7`, false},
		{"info.dataPreview", `[{"source":"she"}]`, true},
		{"info.dataPreview", `[7]`, false},
		{"info.graphics.screenshots", `[{"normal":""},{"large":""}]`, false},
		{"info.somethingNew", `{"a":[null]}`, true},
		{"somethingNew", `{"a":[null]}`, true},
		{"developer.country", `7`, false},
		{"developer.logo", `{"small":""}`, false},
		{"trigger.triggerType", `"individual"`, true},
		{"trigger.triggerType", `"manual"`, true},
		{"trigger.triggerType", `"Manual"`, false},
		{"trigger.triggerType", `"hourly"`, false},
		{"trigger.period", `"P1W"`, true},
		{"trigger.period", `86400000`, true},
		{"trigger.period", `8.64e7`, true},
		{"trigger.period", `0`, false},
		{"trigger.period", `-1`, false},
		{"trigger.period", `"1 day"`, false},
		{"trigger.period", `99999999999999999999`, false},
		{"dataBundle.bundle", `{"a":{"endpoints":[{"endpoint":"Not/An/Endpoint"}]}}`, false},
		{"dataBundle.bundle", `{"a":{"endpoints":[{"endpoint":"a/b","filters":[{"field":"x","operator":{"operator":"between","lower":1,"upper":null}}]}]}}`, true},
		{"status.available", `"true"`, false},
		{"status.lastExecution", `7`, true},
	} {
		_, fault := ParseConfiguration(edit(t, c.path, c.value))
		if (fault == nil) != c.ok {
			t.Errorf("%s = %s: %v", c.path, c.value, fault)
		}
	}
}

// Scenario 62: both forms of a period load, and come back as ISO text.
func TestPeriodInBothForms(t *testing.T) {
	for value, want := range map[string]string{`"P1D"`: `"period":"P1D"`, `86400000`: `"period":"PT24H"`} {
		m, fault := ParseConfiguration(edit(t, "trigger.period", value))
		if fault != nil {
			t.Fatal(fault)
		}
		if wire := Configuration(m, Status{}); !bytes.Contains(wire, []byte(want)) {
			t.Errorf("%s: want %s in %s", value, want, wire)
		}
	}
}

func TestHostileConfigurations(t *testing.T) {
	for name, answer := range map[string]string{
		"too large":       `"` + strings.Repeat("x", maxConfiguration) + `"`,
		"too deep":        strings.Repeat("[", 100_000),
		"a list":          `[]`,
		"text":            `"configuration"`,
		"an error":        `{"errorMessage":"x","errorType":"y"}`,
		"nothing":         ``,
		"invalid UTF-8":   "{\"id\":\"\xff\"}",
		"U+0000 in a key": `{"id\u0000":1}`,
	} {
		if _, fault := ParseConfiguration([]byte(answer)); fault == nil || fault.Who != hat.Author {
			t.Errorf("%s: %v", name, fault)
		}
	}
}

func FuzzParseConfiguration(f *testing.F) {
	for _, name := range []string{"full.answer.json", "least.answer.json"} {
		text, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		m, fault := ParseConfiguration(answer)
		if fault != nil {
			if fault.Who != hat.Author || fault.Code == "" {
				t.Fatal(fault)
			}
			return
		}
		wire := Configuration(m, Status{Available: m.Available})
		again, fault := ParseConfiguration(wire)
		if fault != nil {
			t.Fatalf("%s can't be read back: %s", wire, fault)
		}
		if second := Configuration(again, Status{Available: again.Available}); !bytes.Equal(wire, second) {
			t.Fatalf("first  %s\nsecond %s", wire, second)
		}
	})
}
