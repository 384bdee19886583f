package workbench

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestReadRecords(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"lines":               {`{"endpoint":"a/b","data":{"x":1}}` + "\n\n" + `{"endpoint":"a/c","data":2,"recordId":"whatever"}`, `a/b {"x":1}; a/c 2`},
		"Windows":             {"{\"endpoint\":\"a/b\",\"data\":1}\r\n", `a/b 1`},
		"slashes around it":   {`{"endpoint":"/a/b/","data":1}`, `a/b 1`},
		"an array":            {"[\n {\"endpoint\":\"a/b\",\"data\":1},\n {\"endpoint\":\"a/c\",\"data\":2}\n]\n", `a/b 1; a/c 2`},
		"large numbers":       {`{"endpoint":"a/b","data":12345678901234567890.1}`, `a/b 12345678901234567890.1`},
		"no JSON":             {`{"endpoint":"a/b","data":1}` + "\n" + `{"endpoint":"a/b","data"}`, `f:2: not JSON at byte 25`},
		"no endpoint":         {`{"data":1}`, `f:1: want {"endpoint":"namespace/name","data":…}`},
		"no data":             {"\n" + `{"endpoint":"a/b"}`, `f:2: want {"endpoint":`},
		"a bad endpoint":      {`{"endpoint":"nowhere","data":1}`, `f:1: endpoint "nowhere"`},
		"endpoint a number":   {`{"endpoint":7,"data":1}`, `f:1: endpoint is not text`},
		"data of NUL":         {`{"endpoint":"a/b","data":{"\u0000":1}}`, `f:1: its data can't be kept`},
		"a bad element":       {"[\n{\"endpoint\":\"a/b\",\"data\":1},\n7\n]", `f:3: want {"endpoint":`},
		"an open array":       {"[\n{\"endpoint\":\"a/b\",\"data\":1}\n", `f:3: not JSON: the array does not end`},
		"an array of no JSON": {"[\n{\"endpoint\":\"a/b\",\"data\":1},\n{]", `f:3: not JSON`},
		"two arrays":          {"[{\"endpoint\":\"a/b\",\"data\":1}]\n[]", `f:2: something follows the array`},
		"nothing":             {"\n", `f: there are no records`},
		"an empty array":      {"[]", `f: there are no records`},
	} {
		drafts, err := ReadRecords(strings.NewReader(c.text), "f")
		var got []string
		for _, d := range drafts {
			got = append(got, fmt.Sprintf("%s %s", d.Endpoint, d.Data.JSON()))
		}
		text := strings.Join(got, "; ")
		if err != nil {
			text = err.Error()
		}
		if err == nil && text != c.want || !strings.HasPrefix(text, c.want) {
			t.Errorf("%s: got %q, want %q", name, text, c.want)
		}
	}
	long := `{"endpoint":"a/b","data":"` + strings.Repeat("x", maxLine) + `"}`
	if _, err := ReadRecords(strings.NewReader(long), "f"); err == nil || err.Error() != "f:1: a record has at most 10 MB" {
		t.Errorf("a long line: %v", err)
	}
}

func TestReadDirectory(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"rumpel/notes.jsonl":    "{\"text\":1}\n{\"text\":2}\n",
		"a/b/c.json":            "[true]",
		"anything.jsonl":        `{"endpoint":"x/y","data":0}`,
		"README.md":             "no data",
		"rumpel/places.geojson": "no data",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	drafts, err := ReadData(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, d := range drafts {
		got = append(got, fmt.Sprintf("%s %s", d.Endpoint, d.Data.JSON()))
	}
	if text := strings.Join(got, "; "); text != `a/b/c true; x/y 0; rumpel/notes {"text":1}; rumpel/notes {"text":2}` {
		t.Error(text)
	}
	if err := os.WriteFile(filepath.Join(dir, "other.jsonl"), []byte("7\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadData(dir); err == nil || !strings.Contains(err.Error(), "other.jsonl:1: want") {
		t.Errorf("data that belongs nowhere: %v", err)
	}
	if _, err := ReadData(filepath.Join(dir, "gone")); !os.IsNotExist(err) {
		t.Errorf("nothing there: %v", err)
	}
}

func FuzzReadRecords(f *testing.F) {
	f.Add(`{"endpoint":"a/b","data":{"x":1}}`)
	f.Add("[\n{\"endpoint\":\"a/b\",\"data\":1},\n7\n]")
	f.Add("[")
	f.Fuzz(func(t *testing.T, text string) {
		drafts, err := ReadRecords(strings.NewReader(text), "f")
		if err == nil && len(drafts) == 0 {
			t.Error("nothing was read, and that is no error")
		}
		for _, d := range drafts {
			if err == nil && (d.Endpoint.IsZero() || d.Data.IsZero()) {
				t.Error("a record is not whole")
			}
		}
	})
}

func TestCheckEvent(t *testing.T) {
	for text, want := range map[string]string{
		`{"a":1}`: "", `""`: "", "  ": "e: the event is empty; want JSON", "{\n\"a\": x\n}": "e:2: not JSON: invalid character 'x' looking for beginning of value",
		"{\n": "e:2: not JSON: unexpected end of JSON input", "1 2": "e:1: not JSON: invalid character '2' after top-level value",
	} {
		got := ""
		if err := CheckEvent("e", []byte(text)); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}
