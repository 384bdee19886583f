package engine

import (
	"encoding/json"
	"strings"
	"testing"

	"she/internal/access"
	"she/internal/bundle"
	"she/internal/catalog"
	"she/internal/contract"
	"she/internal/hat"
)

func TestWarmUp(t *testing.T) {
	id, err := hat.ParseFunctionID("f")
	if err != nil {
		t.Fatal(err)
	}
	question, err := bundle.Parse([]byte(`{"name":"q","bundle":{"notes":{"endpoints":[{"endpoint":"rumpel/notes"}]},"places":{"endpoints":[{"endpoint":"rumpel/places"}]}}}`))
	if err != nil {
		t.Fatal(err)
	}
	manifest := contract.ManifestOf(access.Grant{Function: id, Bundle: question})
	f := catalog.Function{Configuration: catalog.Entry{Name: "c"}, Bundle: catalog.Entry{Name: "b"}, Process: catalog.Entry{Name: "p"}}
	if got := warmUp(f, f.Process); got != nil {
		t.Errorf("a function that has not said what it reads is tried with %s", got)
	}
	f.Manifest = &manifest

	if got := warmUp(f, f.Configuration); string(got) != `""` {
		t.Errorf("the configuration entry is tried with %s", got)
	}
	var window struct{ FromDate, UntilDate string }
	if got := warmUp(f, f.Bundle); json.Unmarshal(got, &window) != nil || !strings.HasPrefix(window.FromDate, "2000-01-01T") {
		t.Errorf("the bundle entry is tried with %s", got)
	}
	var event struct {
		FunctionConfiguration struct{ ID string }
		Request               struct{ Data map[string][]json.RawMessage }
	}
	got := warmUp(f, f.Process)
	if err := json.Unmarshal(got, &event); err != nil || event.FunctionConfiguration.ID != "f" || len(event.Request.Data) != 2 {
		t.Errorf("the process entry is tried with %s", got)
	}
	for property, rows := range event.Request.Data {
		if len(rows) != 0 {
			t.Errorf("there are rows of %s in %s", property, got)
		}
	}
	f.SampleEvent = []byte(`{"request":{"data":{"notes":[{}]}}}`)
	if got := warmUp(f, f.Process); string(got) != string(f.SampleEvent) {
		t.Errorf("the author's sample is not used, but %s", got)
	}
	if got := warmUp(f, f.Configuration); string(got) != `""` {
		t.Errorf("with a sample the configuration entry is tried with %s", got)
	}
	f.NoWarmUp = true
	for _, entry := range []catalog.Entry{f.Configuration, f.Bundle, f.Process} {
		if got := warmUp(f, entry); got != nil {
			t.Errorf("switched off, and tried with %s", got)
		}
	}
}
