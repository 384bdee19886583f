package bundle

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"she/internal/jsonb"
)

func TestDiffers(t *testing.T) {
	parse := func(text string) Bundle {
		b, err := Parse([]byte(`{"name":"b","bundle":` + text + `}`))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	granted := parse(`{"p":{"endpoints":[{"endpoint":"a/x","mapping":{"n":"name","t":"text"},
		"filters":[{"field":"kind","operator":{"operator":"contains","value":"note"}}]},{"endpoint":"a/y"}],"limit":20}}`)
	asked := parse(`{"p":{"endpoints":[{"endpoint":"a/x","mapping":{"n":"name","w":"where"}}],"limit":50},"q":{"endpoints":[{"endpoint":"a/z"}]}}`)
	d := Differs(granted, asked)
	if got := fmt.Sprint(d.NewEndpoints, d.DroppedEndpoints); got != "[a/z] [a/y]" {
		t.Errorf("endpoints %s", got)
	}
	texts := func(all []Difference) string {
		var out []string
		for _, d := range all {
			out = append(out, d.Text)
		}
		return strings.Join(out, "; ")
	}
	if got, want := texts(d.Added), "more than 20 records at a time of a/x; other records of a/x than those of the granted list; "+
		"records of a/x that the filter on kind left out; the field where of a/x; all fields of a/z"; got != want {
		t.Errorf("added: %s\nwant: %s", got, want)
	}
	if got, want := texts(d.Removed), "a choice by kind of a/x; other records of a/x than those of the granted list; the field text of a/x; all fields of a/y"; got != want {
		t.Errorf("removed: %s\nwant: %s", got, want)
	}
	for _, b := range []Bundle{granted, asked} {
		if d := Differs(b, b); !d.IsZero() || len(d.NewEndpoints) > 0 {
			t.Errorf("a bundle differs from itself: %+v", d)
		}
	}
}

func TestReadings(t *testing.T) {
	b, err := Parse([]byte(`{"name":"b","bundle":{"p":{"endpoints":[{"endpoint":"a/x","mapping":{"n":"name.first","l[]":{"source":"list[]","mappings":{"i":"id"}}},
		"filters":[{"field":"at","transformation":{"transformation":"datetimeExtract","part":"hour"},"operator":{"operator":"between","lower":5,"upper":9}},
			{"field":"kind","operator":{"operator":"in","value":["a","` + strings.Repeat("b", 5000) + `"]}}],
		"links":[{"endpoint":"b/y"}]}],"orderBy":"n","limit":3},"a":{"endpoints":[{"endpoint":"a/x"}]}}}`))
	if err != nil {
		t.Fatal(err)
	}
	all := b.Readings()
	if len(all) != 3 {
		t.Fatalf("%d readings", len(all))
	}
	if r := all[0]; r.Property != "a" || !r.All || r.Fields != nil || r.Limit != nil {
		t.Errorf("all of it: %+v", r)
	}
	r := all[1]
	if !slices.Equal(r.Fields, []string{"list[].id", "name.first"}) || r.All || r.OrderBy != "name.first" || *r.Limit != 3 || r.Linked ||
		len(r.Filters) != 2 || r.Filters[0] != "datetimeExtract hour of at between 5 and 9" || len(r.Filters[1]) > 500 {
		t.Errorf("some of it: %+v", r)
	}
	if r := all[2]; !r.Linked || !r.All || r.Endpoint.String() != "b/y" || r.Limit != nil {
		t.Errorf("links: %+v", r)
	}
}

// Names that read like words of ours are quoted wherever the owner reads them.
func TestNamesOfAuthorsAreQuoted(t *testing.T) {
	query := func(field, value string) Bundle {
		name := string(jsonb.AppendString(nil, field))
		b, err := Parse([]byte(`{"name":"b","bundle":{"p":{"endpoints":[{"endpoint":"a/b","mapping":{"to":` + name + `},"filters":[{"field":` + name +
			`,"operator":{"operator":"in","value":` + value + `}}]}],"orderBy":"to"}}}`))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for field, want := range map[string]string{
		"plain":                     `plain`,
		"nothing":                   `"nothing"`,
		"x, all fields":             `"x, all fields"`,
		`x" of "y`:                  `"x\" of \"y"`,
		"x\nwas granted":            `"x\nwas granted"`,
		"x\u202eneddih":             `"x\u202eneddih"`,
		strings.Repeat("long", 250): `"` + strings.Repeat("long", 15) + `"…`,
	} {
		asked := query(field, `"one"`)
		r := asked.Readings()[0]
		if !slices.Equal(r.Fields, []string{want}) || !slices.Equal(r.Filters, []string{want + ` in "one"`}) || r.OrderBy != want ||
			r.SinceLastRun != "may ask for those since the last run only, by "+want {
			t.Errorf("%.40q: it reads %+v", field, r)
		}
		// Once without the filter, once beyond the field.
		var texts []string
		for _, d := range append(Differs(asked, query("other", `"one"`)).Removed, Differs(query(field, `"two"`), asked).Added...) {
			texts = append(texts, d.Text)
		}
		all := strings.Join(texts, "\n")
		for _, text := range []string{"the field " + want + " of a/b", "records of a/b that the filter on " + want + " left out (granted: " + want + ` in "two"; asked: ` + want + ` in "one")`} {
			if !strings.Contains(all, text) {
				t.Errorf("%.40q: no %s in\n%s", field, text, all)
			}
		}
		if want[0] == '"' && (strings.Contains(all, " "+field+" ") || strings.ContainsAny(all, "\u202e")) {
			t.Errorf("%.40q stands bare in\n%s", field, all)
		}
	}
}
