package catalog

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"she/internal/hat"
	"she/internal/project"
)

const sampleEvent = `{
  "functionConfiguration": {"id": "f"},
  "request": {
    "data": {
      "notes": [{"endpoint": "rumpel/notes", "data": {"text": "a sample"}}],
      "places": []
    },
    "linkRecords": true
  }
}
`

// publishSample publishes a project with this file as its sample event.
func publishSample(t *testing.T, c *Catalog, dir, name string) (Function, error) {
	t.Helper()
	r := registered(t, dir, "f")
	r.Sample = name
	return c.Publish(t.Context(), r)
}

func TestSample(t *testing.T) {
	c := open(t)
	dir := tree(t, python(map[string]string{"events/sample.json": sampleEvent}))
	if err := os.Symlink("events/sample.json", filepath.Join(dir, "link.json")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"events/sample.json", "link.json"} {
		f, err := publishSample(t, c, dir, name)
		if err != nil || string(f.SampleEvent) != sampleEvent {
			t.Errorf("%s: %v, got %s", name, err, f.SampleEvent)
		}
	}
	before := mustPublish(t, c, dir, "f")
	if before.SampleEvent != nil {
		t.Error("a sample nobody named was read")
	}
	if err := os.WriteFile(filepath.Join(dir, "events/sample.json"), []byte(strings.Replace(sampleEvent, "a sample", "another", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if after, err := publishSample(t, c, dir, "link.json"); err != nil || after.Digest() == before.Digest() || !strings.Contains(string(after.SampleEvent), "another") {
		t.Errorf("the sample was changed: %v, digest %s, was %s", err, after.Digest(), before.Digest())
	}
}

func TestSampleThatIsWrong(t *testing.T) {
	c := open(t)
	dir := tree(t, python(map[string]string{
		"s.json": sampleEvent, "lib/x.py": "", "large.json": sampleEvent + strings.Repeat(" ", maxSample), "syntax.json": strings.Replace(sampleEvent, "[]", "[", 1), "empty.json": "",
		"data.json": "{\n\"notes\": []}", "kind.json": strings.Replace(sampleEvent, "[]", `"secret"`, 1), "latin.json": "{\"\xe4\": 1}",
	}))
	for name, want := range map[string]struct {
		who  hat.Who
		text string
	}{
		"missing.json":           {hat.Operator, `warmUp: the function's package has no file "missing.json"`},
		"serverless.yml":         {hat.Operator, `no file "serverless.yml"`}, // not packed
		"lib":                    {hat.Operator, `no file "lib"`},
		".":                      {hat.Operator, `no file "."`},
		"s.json/x":               {hat.Operator, `no file "s.json/x"`},
		"../list":                {hat.Operator, `no file "../list"`},
		"/etc/hostname":          {hat.Operator, `no file "/etc/hostname"`},
		"large.json":             {hat.Author, "large.json: a sample event has at most 65536 bytes"},
		"syntax.json":            {hat.Author, "syntax.json:7: not JSON: "},
		"empty.json":             {hat.Author, "empty.json:1: not JSON: "},
		"data.json":              {hat.Author, "data.json: want what the function is given"},
		"kind.json":              {hat.Author, "kind.json:6: want what the function is given"},
		"latin.json":             {hat.Author, "latin.json: not UTF-8"},
		strings.Repeat("x", 300): {hat.Operator, "no file"},
	} {
		_, err := publishSample(t, c, dir, name)
		if fault := hat.FaultOf(err); err == nil || fault.Who != want.who || fault.Code != CodeSample || !strings.Contains(fault.Text, want.text) || strings.Contains(fault.Text, "secret") {
			t.Errorf("%.40s: got %v, want %s", name, err, want.text)
		}
	}
}

func TestSampleShape(t *testing.T) {
	for text, line := range map[string]int{
		"[]": 1, "1": 1, "null": 0, "{}": 0, `{"request":1}`: 1, `{"request":null}`: 0, `{"request":{}}`: 0, `{"request":{"data":null}}`: 0,
		"{\"request\":\n{\"data\":\n[]}}": 3, "{\"request\":{\"data\":{\n\"a\":{}}}}": 2, `{"request":{"data":{"a":null}}}`: 0,
		"{\"request\":{\"data\":{\"a\":[\n\n1]}}}": 3, `{"request":{"data":{"a":[null]}}}`: 0, `{"Request":{"data":{}}}`: 0, `{"request":{"Data":{}}}`: 0,
	} {
		err, _ := checkSample("s.json", []byte(text)).(*project.Error)
		if err == nil || err.Line != line || !strings.HasPrefix(err.Text, "want what") {
			t.Errorf("%s: got %v, want line %d", text, err, line)
		}
	}
}

func FuzzSample(f *testing.F) {
	f.Add([]byte(sampleEvent))
	f.Add([]byte(`{"request":{"data":{"a":[null]}}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		err := checkSample("s.json", text)
		if err != nil {
			if at, ok := err.(*project.Error); !ok || at.Line > 1+strings.Count(string(text), "\n") {
				t.Errorf("%#v", err)
			}
			return
		}
		var event struct {
			Request struct{ Data map[string][]map[string]any }
		}
		if json.Unmarshal(text, &event) != nil || event.Request.Data == nil {
			t.Errorf("%s was taken for an event", text)
		}
	})
}
