package hat

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestDomain(t *testing.T) {
	for in, want := range map[string]string{
		"Alice.Localhost:7777":                  "alice.localhost:7777",
		"bob.test":                              "bob.test",
		"bob.test:80":                           "bob.test",
		"bob.test:443":                          "bob.test",
		"127.0.0.1:9000":                        "127.0.0.1:9000",
		"bobtheplumber.example.com:9000":        "bobtheplumber.example.com:9000",
		"":                                      "",
		"bob.test:":                             "",
		"bob.test:0":                            "",
		"bob.test:080":                          "",
		"bob.test:70000":                        "",
		"bob..test":                             "",
		"-bob.test":                             "",
		"bob.test/x":                            "",
		"bob.test\r\nX: y":                      "",
		strings.Repeat("a.", 200) + "localhost": "",
	} {
		got, err := ParseDomain(in)
		if want == "" {
			if err == nil {
				t.Errorf("%q became the domain %s", in, got)
			}
			continue
		}
		if err != nil || got.String() != want {
			t.Errorf("%q: %s, %v; want %s", in, got, err, want)
		}
	}
	d, _ := ParseDomain("bobtheplumber.example.com:9000")
	if d.Name().String() != "bobtheplumber" {
		t.Errorf("name %s", d.Name())
	}
}

func TestEndpoint(t *testing.T) {
	for _, good := range []string{"rumpel/notes", "rumpel/locations/ios", "a/b", "0-9/-"} {
		e, err := ParseEndpoint(good)
		if err != nil || e.String() != good || e.Namespace().String()+"/"+e.Path() != good {
			t.Errorf("%q: %v, %v", good, e, err)
		}
	}
	for _, bad := range []string{"", "/", "rumpel", "rumpel/", "/rumpel/a", "a//b", "A/b", "a/b_c", "a/b.c", "a/b/", "a/é", "a/b\n",
		"a/../b", strings.Repeat("a/", 300) + "a"} {
		if e, err := ParseEndpoint(bad); !errors.Is(err, ErrEndpointInvalid) {
			t.Errorf("%q became the endpoint %s (%v)", bad, e, err)
		}
	}
	if got := (Endpoint{}).String(); got != "(invalid endpoint)" {
		t.Errorf("the zero endpoint prints as %q", got)
	}
}

// Whatever way somebody prints it, owner data stays out.
func TestDataRedactsItself(t *testing.T) {
	const canary = "canary-7f3a"
	d, err := ParseData([]byte(`{"secret":"` + canary + `"}`))
	if err != nil {
		t.Fatal(err)
	}
	r := Record{Data: d, Links: []Record{{Data: d}}}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t"} {
		fmt.Fprintf(&out, verb, d)
		fmt.Fprintf(&out, verb, &d)
		fmt.Fprintf(&out, verb, r)
		fmt.Fprintf(&out, verb, []Data{d})
		fmt.Fprintf(&out, verb, Draft{Data: d})
		fmt.Fprintf(&out, verb, map[string]Data{"k": d})
	}
	for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(h).Info("x", "data", d, "group", slog.GroupValue(slog.Any("d", d)), "record", r, "drafts", []Draft{{Data: d}})
	}
	fmt.Fprintln(&out, d, fmt.Errorf("x: %v", d), errors.Join(fmt.Errorf("%s", d)))
	if strings.Contains(out.String(), canary) || strings.Contains(out.String(), fmt.Sprintf("%x", canary)) {
		t.Errorf("data leaked:\n%s", out.String())
	}
	if b, err := json.Marshal(map[string]Data{"k": d}); err == nil {
		t.Errorf("encoded by accident: %s", b)
	}
}

func TestPeriod(t *testing.T) {
	for in, want := range map[string]string{
		`"P1D"`: "P1D", `"P1W"`: "P7D", `"PT1H"`: "PT1H", `86400000`: "PT24H", `"P1M"`: "P1M", `"P1Y2M3DT4H5M6.5S"`: "P1Y2M3DT4H5M6.5S",
		`1500`: "PT1.5S", `"PT90M"`: "PT1H30M",
	} {
		var p Period
		if err := json.Unmarshal([]byte(in), &p); err != nil || p.String() != want {
			t.Errorf("%s: %s, %v; want %s", in, p, err, want)
		}
	}
	for _, bad := range []string{`"P0D"`, `"-P1D"`, `"P-1D"`, `"P"`, `""`, `"x"`, `0`, `-5`, `1.5`, `true`, `{}`, `"P0.5M"`, `"P99999Y"`, `9223372036854775807`} {
		var p Period
		if err := json.Unmarshal([]byte(bad), &p); err == nil {
			t.Errorf("%s became the period %s", bad, p)
		}
	}
	month, _ := ParsePeriod("P1M")
	if got := month.After(time.Date(2024, 2, 10, 12, 0, 0, 0, time.UTC)); !got.Equal(time.Date(2024, 3, 10, 12, 0, 0, 0, time.UTC)) {
		t.Errorf("a month after 10 February: %s", got)
	}
}

func TestIDs(t *testing.T) {
	id := NewRecordID()
	if again, err := ParseRecordID(id.String()); err != nil || again != id {
		t.Errorf("%s: %v", again, err)
	}
	for _, bad := range []string{"", "x", "{" + id.String()[1:], "urn:uuid:" + id.String(), id.String() + "0"} {
		if _, err := ParseRecordID(bad); err == nil {
			t.Errorf("%q is no id", bad)
		}
	}
	a, b := NewRunID(), NewRunID()
	if a.String() >= b.String() {
		t.Errorf("run ids sort by age: %s, %s", a, b)
	}
}

// Names and values of other people stand in our sentences and can't be taken for ours.
func TestForeign(t *testing.T) {
	for name, want := range map[string]string{
		"start.dateTime": "start.dateTime", "items[0]": "items[0]", "items[].id": "items[].id", "größe": "größe", "@type": "@type",
		"":                             `""`,
		"everything. Nothing else":     `"everything. Nothing else"`,
		"Everything":                   `"Everything"`,
		"nothing":                      `"nothing"`,
		"a, all fields":                `"a, all fields"`,
		"end.":                         `"end."`,
		`a"; only "b`:                  `"a\"; only \"b"`,
		"a\nwas granted":               `"a\nwas granted"`,
		"a\u202egnihton":               `"a\u202egnihton"`,
		"a\u200bb":                     `"a\u200bb"`,
		"\x1b[2J":                      `"\x1b[2J"`,
		"a\xffb":                       `"a\xffb"`,
		"it’s":                         `"it’s"`,
		strings.Repeat("x", 60):        strings.Repeat("x", 60),
		strings.Repeat("x", 10_000):    `"` + strings.Repeat("x", 60) + `"…`,
		strings.Repeat("x", 59) + "éé": `"` + strings.Repeat("x", 59) + `"…`,
		strings.Repeat(`"`, 61):        `"` + strings.Repeat(`\"`, 60) + `"…`,
	} {
		if got := Foreign(name); got != want {
			t.Errorf("%.80q: got %s, want %s", name, got, want)
		}
	}
	for text, want := range map[string]string{
		`"confirmed"`: `"confirmed"`, `["a","b"]`: `["a","b"]`, `12`: `12`, `{"a":1}`: `{"a":1}`, `""`: `""`,
		"\"a\u202eb\"": `"a\u202eb"`, "\"a\U000e0001b\"": `"a\udb40\udc01b"`,
		`"` + strings.Repeat("x", 10_000) + `"`: `"\"` + strings.Repeat("x", 59) + `"…`,
	} {
		if got := ForeignJSON(text); got != want {
			t.Errorf("%.80q: got %s, want %s", text, got, want)
		}
	}
}

// What clients send is read without regular expressions; these say the same.
var (
	hostPattern     = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$`)
	segmentPattern  = regexp.MustCompile(`^[0-9a-z-]+$`)
	endpointPattern = regexp.MustCompile(`^[0-9a-z-]+(/[0-9a-z-]+)+$`)
)

func FuzzNamesAreWhatThePatternsSay(f *testing.F) {
	for _, s := range []string{"", "a", "-", "a/b", "a//b", "/a", "a/", "a.b", "a..b", "a-.b", "-a", "a\n", "é", "A", "a/b\n", "a.b.", "0-9/-", "a\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got, want := isHost(s), hostPattern.MatchString(s); got != want {
			t.Errorf("%q is a host: %v, want %v", s, got, want)
		}
		if got, want := isSegment(s), segmentPattern.MatchString(s); got != want {
			t.Errorf("%q is a segment: %v, want %v", s, got, want)
		}
		_, err := ParseEndpoint(s)
		if want := len(s) <= maxEndpoint && endpointPattern.MatchString(s); (err == nil) != want {
			t.Errorf("%q as an endpoint: %v, want %v", s, err, want)
		}
	})
}
