package contract

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"she/internal/bundle"
	"she/internal/hat"
)

// Scenario 60: what the three entries receive.
func TestEvents(t *testing.T) {
	golden(t, "configuration.event.json", ConfigurationEvent())
	golden(t, "bundle.event.json", BundleEvent(hat.Window{
		From:  time.Date(2024, 1, 8, 10, 0, 0, 0, time.UTC),
		Until: time.Date(2024, 4, 8, 12, 0, 0, 5_999_999, time.FixedZone("", 7200)),
	}))

	m, fault := ParseConfiguration(read(t, "full.answer.json"))
	if fault != nil {
		t.Fatal(fault)
	}
	configuration := Configuration(m, Status{Available: true, Enabled: true})
	event := NewEvent(configuration, []string{"a", "b", "she/insights \"x\"", "z"})
	event.Add("b", row(1, `{"x":1.5}`))
	event.Add("b", row(2, `null`, row(1, `"linked"`)))
	event.Add("z", row(3, `"<&>ü"`))
	text, size := event.Bytes()
	if size != len(text) {
		t.Errorf("size %d of %d bytes", size, len(text))
	}
	golden(t, "process.event.json", text)

	text, _ = NewEvent(configuration, []string{"a", "b"}).Bytes()
	golden(t, "process-empty.event.json", text)
	text, _ = NewEvent(configuration, nil).Bytes()
	golden(t, "process-none.event.json", text)
}

func row(n int, data string, links ...bundle.Row) bundle.Row {
	return bundle.Row{
		Endpoint: mustEndpoint("demo/a"), ID: mustRecordID(fmt.Sprintf("00000000-0000-4000-8000-%012d", n)),
		Data: hat.DataFromStore([]byte(data)), Links: links,
	}
}

func TestEventSizeIsExact(t *testing.T) {
	empty, _ := NewEvent(json.RawMessage(`{}`), []string{"p"}).Bytes()
	bare := len(row(1, `""`).AppendJSON(nil))
	for _, more := range []int{-1, 0, 1, 5 << 20} {
		event := NewEvent(json.RawMessage(`{}`), []string{"p"})
		added := event.Add("p", row(1, `"`+strings.Repeat("x", MaxPayload+more-len(empty)-bare)+`"`))
		text, size := event.Bytes()
		if size != MaxPayload+more || added != MaxPayload+more-len(empty)+1 {
			t.Errorf("limit%+d: size %d, row %d", more, size, added)
		}
		if fits := more <= 0; fits != (text != nil) || fits && (len(text) != size || !json.Valid(text)) {
			t.Errorf("limit%+d: %d bytes of text", more, len(text))
		}
	}
}

func TestParseBundle(t *testing.T) {
	b, fault := ParseBundle([]byte(`{"name":"n","bundle":{"p":{"endpoints":[{"endpoint":"a/x"}],"limit":5}},"more":1}`))
	if fault != nil || b.Name != "n" || len(b.Properties) != 1 {
		t.Fatal(b, fault)
	}
	for _, c := range []struct{ answer, code string }{
		{``, CodeAnswerEmpty},
		{`{"errorMessage":"x"}`, CodeAnswerError},
		{strings.Repeat(" ", maxBundle) + `{}`, CodeAnswerTooLarge},
		{"\"\xff\"", CodeAnswerNotJSON},
		{`[]`, CodeBundleInvalid},
		{`{"name":"n"}`, CodeBundleInvalid},
		{`{"name":"n","bundle":{"p":{"endpoints":[{"endpoint":"A/X"}]}}}`, CodeBundleInvalid},
		{`{"name":"n","bundle":{"p":{"endpoints":[{"endpoint":"a/x"}],"limit":-1}}}`, CodeBundleInvalid},
		{strings.Repeat(`[`, 100_000), CodeBundleInvalid},
	} {
		_, fault := ParseBundle([]byte(c.answer))
		if fault == nil || fault.Code != c.code || fault.Who != hat.Author || len(fault.Text) > 400 {
			t.Errorf("%.60s: %v, want %s", c.answer, fault, c.code)
		}
	}
}

func TestFaultsOfBundlesAreInWords(t *testing.T) {
	for answer, want := range map[string]string{
		`[]`:                        "the answer is not an object",
		`{"name":"n"}`:              "bundle is missing",
		`{"name":"n","bundle":[]}`:  "bundle is not an object",
		`{"name":1,"bundle":{}}`:    "name is not text",
		strings.Repeat(`[`, 10_000): "the bundle can't be read: JSON nests deeper than 256 levels",
		`{"name":"n","bundle":{"p":{"endpoints":[{"endpoint":"A/X"}]}}}`:               `bundle.p.endpoints[0].endpoint`,
		`{"name":"n","bundle":{"p":{"endpoints":[{"endpoint":"a/x"}],"limit":"one"}}}`: "bundle.p.limit is not a",
	} {
		_, fault := ParseBundle([]byte(answer))
		if fault == nil || !strings.HasPrefix(fault.Text, want) {
			t.Errorf("%.60s: %v, want %s", answer, fault, want)
		}
	}
}

func FuzzParseBundle(f *testing.F) {
	f.Add([]byte(`{"name":"n","bundle":{"p":{"endpoints":[{"endpoint":"a/x","mapping":{"a":"b"}}],"limit":5}}}`))
	f.Fuzz(func(t *testing.T, answer []byte) {
		b, fault := ParseBundle(answer)
		if fault != nil {
			return
		}
		text, err := b.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		again, fault := ParseBundle(text)
		if len(text) <= maxBundle && (fault != nil || again.Digest() != b.Digest()) {
			t.Fatalf("%s: %v", text, fault)
		}
	})
}
