package bundle

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"she/internal/hat"
	"she/internal/jsonb"
)

func TestReencoding(t *testing.T) {
	for in, want := range map[string]string{
		`{"name":"b","bundle":{}}`: `{"name":"b","bundle":{}}`,
		` { "bundle" : {"z":{"endpoints":[]}, "a":{"limit":1e1,"endpoints":[]}}, "name":"b", "more":1 } `:                                                                                  `{"name":"b","bundle":{"a":{"endpoints":[],"limit":10},"z":{"endpoints":[]}}}`,
		`{"name":"b","bundle":{"p":{"endpoints":[{"endpoint":"a/b","filters":[],"links":[],"mapping":null}],"orderBy":null,"x":[]}}}`:                                                      `{"name":"b","bundle":{"p":{"endpoints":[{"endpoint":"a/b"}]}}}`,
		`{"name":"b","bundle":{"p":{"endpoints":[{"endpoint":"a/b","filters":[{"field":"at","operator":{"operator":"between","lower":12345678901234567890,"upper":null,"z":0}}]}]}}}`:      `{"name":"b","bundle":{"p":{"endpoints":[{"endpoint":"a/b","filters":[{"field":"at","operator":{"operator":"between","lower":12345678901234567890,"upper":null}}]}]}}}`,
		`{"name":"b","bundle":{"p":{"endpoints":[{"endpoint":"a/b","mapping":{"zz":"x","a":"y","zz":"z"}}]}}}`:                                                                             `{"name":"b","bundle":{"p":{"endpoints":[{"endpoint":"a/b","mapping":{"zz":"z","a":"y"}}]}}}`,
		`{"name":"b","bundle":{"p":{"endpoints":[{"endpoint":"a/b","mapping":[1.50,{"b":1,"a":"\u0041\u0000"}]}]}}}`:                                                                       `{"name":"b","bundle":{"p":{"endpoints":[{"endpoint":"a/b","mapping":[1.5,{"b":1,"a":"A"}]}]}}}`,
		`{"name":"b","bundle":{"p":{"endpoints":[{"endpoint":"a/b","filters":[{"field":"at","transformation":{"transformation":"identity"},"operator":{"operator":"in","value":[]}}]}]}}}`: `{"name":"b","bundle":{"p":{"endpoints":[{"endpoint":"a/b","filters":[{"field":"at","transformation":{"transformation":"identity"},"operator":{"operator":"in","value":[]}}]}]}}}`,
		`{"name":"b","bundle":{"she/insights/x \"é\"":{"endpoints":[{"endpoint":"a/b","links":[{"endpoint":"c/d"}]}],"orderBy":"x","ordering":"descending","limit":0}}}`:                   `{"name":"b","bundle":{"she/insights/x \"é\"":{"endpoints":[{"endpoint":"a/b","links":[{"endpoint":"c/d"}]}],"orderBy":"x","ordering":"descending","limit":0}}}`,
	} {
		b, err := Parse([]byte(in))
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		if got := string(b.append(nil)); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func TestFindOfFunctions(t *testing.T) {
	const text = `{"name":"b","bundle":{"p":{"endpoints":[{"endpoint":"a/b","filters":[{"field":"t",%s"operator":{"operator":"find","search":"run"}}]}]}}}`
	plain := []byte(fmt.Sprintf(text, ""))
	if _, err := Parse(plain); err == nil {
		t.Error("Parse accepts find without searchable")
	}
	b, err := ParseFunctionBundle(plain)
	if err != nil {
		t.Fatal(err)
	}
	if kind := b.Properties["p"].Endpoints[0].Filters[0].Transformation.Kind; kind != Searchable {
		t.Errorf("the transformation is %q", kind)
	}
	if again, err := Parse(b.append(nil)); err != nil || !reflect.DeepEqual(again, b) {
		t.Errorf("what was read doesn't come back: %v", err)
	}
	if _, err := ParseFunctionBundle([]byte(fmt.Sprintf(text, `"transformation":{"transformation":"datetimeExtract","part":"hour"},`))); err == nil {
		t.Error("find on an hour is accepted")
	}
}

func TestBounds(t *testing.T) {
	repeat := func(n int, f string) string {
		parts := make([]string, n)
		for i := range parts {
			parts[i] = strings.ReplaceAll(f, "#", fmt.Sprint(i))
		}
		return strings.Join(parts, ",")
	}
	bundle := func(inner string) string { return `{"name":"b","bundle":{` + inner + `}}` }
	one := func(rest string) string { return bundle(`"p":{"endpoints":[{"endpoint":"a/b",` + rest + `}]}`) }
	filter := func(value string) string {
		return one(`"filters":[{"field":"f","operator":{"operator":"in","value":` + value + `}}]`)
	}
	nest := func(n int, open, inner, shut string) string {
		return strings.Repeat(open, n) + inner + strings.Repeat(shut, n)
	}
	property := `"p#":{"endpoints":[]}`
	long := strings.Repeat("x", MaxText)
	for name, c := range map[string]struct{ fits, over, path string }{
		"properties":  {bundle(repeat(MaxProperties, property)), bundle(repeat(10_000, property)), "obj.bundle"},
		"queries":     {bundle(`"p":{"endpoints":[` + repeat(MaxQueries, `{"endpoint":"a/b"}`) + `]}`), bundle(`"p":{"endpoints":[` + repeat(MaxQueries+1, `{"endpoint":"a/b"}`) + `]}`), "obj.bundle.p.endpoints"},
		"filters":     {one(`"filters":[` + repeat(MaxFilters, `{"field":"f","operator":{"operator":"in","value":#}}`) + `]`), one(`"filters":[` + repeat(MaxFilters+1, `{"field":"f","operator":{"operator":"in","value":#}}`) + `]`), "obj.bundle.p.endpoints[0].filters"},
		"mappings":    {one(`"mapping":{` + repeat(MaxMappings, `"k#":"v"`) + `}`), one(`"mapping":{` + repeat(MaxMappings+1, `"k#":"v"`) + `}`), "obj.bundle.p.endpoints[0].mapping"},
		"value":       {filter(`"` + strings.Repeat("x", MaxValue-2) + `"`), filter(`"` + strings.Repeat("x", MaxValue-1) + `"`), "obj.bundle.p.endpoints[0].filters[0].operator.value"},
		"inner":       {filter("[" + repeat(MaxInner, "[#]") + "]"), filter("[" + repeat(MaxInner+1, "[#]") + "]"), "obj.bundle.p.endpoints[0].filters[0].operator.value"},
		"order":       {bundle(`"p":{"endpoints":[],"orderBy":"` + long + `"}`), bundle(`"p":{"endpoints":[],"orderBy":"` + long + `x"}`), "obj.bundle.p.orderBy"},
		"names":       {bundle(`"` + long + `":{"endpoints":[]}`), bundle(`"` + long + `x":{"endpoints":[]}`), "obj.bundle." + long[:60] + "…"},
		"links":       {bundle(`"p":{"endpoints":[` + nest(MaxLinkDepth, `{"endpoint":"a/b","links":[`, "", "]}") + `]}`), bundle(`"p":{"endpoints":[` + nest(MaxLinkDepth+1, `{"endpoint":"a/b","links":[`, "", "]}") + `]}`), "obj.bundle.p.endpoints[0]" + strings.Repeat(".links[0]", MaxLinkDepth) + ".links"},
		"deep":        {one(`"mapping":` + nest(maxMappingDepth, `{"m":{"source":"s","mappings":`, `{}`, "}}")), one(`"mapping":` + nest(maxMappingDepth+1, `{"m":{"source":"s","mappings":`, `{}`, "}}")), "obj.bundle.p.endpoints[0].mapping" + strings.Repeat(".m.mappings", maxMappingDepth+1)},
		"limit":       {bundle(`"p":{"endpoints":[],"limit":2147483647}`), bundle(`"p":{"endpoints":[],"limit":2147483648}`), "obj.bundle.p.limit"},
		"limit whole": {bundle(`"p":{"endpoints":[],"limit":1.0}`), bundle(`"p":{"endpoints":[],"limit":1.5}`), "obj.bundle.p.limit"},
		"document":    {bundle(`"p":{"endpoints":[]}`) + strings.Repeat(" ", MaxDocument-100), bundle(`"p":{"endpoints":[]}`) + strings.Repeat(" ", MaxDocument), "obj"},
		"name":        {`{"name":"Abc-1","bundle":{}}`, `{"name":"a_b","bundle":{}}`, "obj.name"},
	} {
		if _, err := Parse([]byte(c.fits)); err != nil {
			t.Errorf("%s: what fits is refused: %v", name, err)
		}
		var fault *hat.FieldError
		if _, err := Parse([]byte(c.over)); !errors.As(err, &fault) || fault.Path != c.path {
			t.Errorf("%s: got %v, want an error at %s", name, err, c.path)
		}
	}
	// What is no JSON is told apart.
	for _, text := range []string{``, `{`, `{"name":"b","bundle":{}} x`, "{\"name\":\"\xff\"}", `{"a\u0000":1}`} {
		if _, err := Parse([]byte(text)); !errors.Is(err, jsonb.ErrNotJSON) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := Parse([]byte(strings.Repeat("[", 10_000))); !errors.Is(err, jsonb.ErrTooDeep) {
		t.Error(err)
	}
}

// An error shows the name it is about, cut, and nothing else of the document.
func TestErrorsAreBrief(t *testing.T) {
	secret := strings.Repeat("s", 900) + "ecret"
	for _, text := range []string{
		`{"endpoint":"a/b","filters":[{"field":"x","operator":{"operator":"` + secret + `","value":"mine"}}]}`,
		`{"endpoint":"a/b","filters":[{"field":"x","transformation":{"transformation":"datetimeExtract","part":"` + secret + `"},"operator":{"operator":"in","value":"mine"}}]}`,
		`{"endpoint":"mine","` + secret + `":1}`,
		`{"endpoint":"a/b","mapping":{"` + secret + `[1]":"mine"}}`,
	} {
		_, err := ParseCombinator([]byte(`[` + text + `]`))
		if err == nil || strings.Contains(err.Error(), "ecret") || strings.Contains(err.Error(), "mine") || len(err.Error()) > 250 {
			t.Errorf("%v", err)
		}
	}
}

func TestAboutBundles(t *testing.T) {
	parse := func(text string) Bundle {
		b, err := Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	b := parse(`{"name":"b","bundle":{"p":{"orderBy":"when","endpoints":[
		{"endpoint":"z/a","mapping":{"when":"at.start"},"filters":[{"field":"kind","operator":{"operator":"in","value":[1]}},{"field":"at","transformation":{"transformation":"datetimeExtract","part":"hour"},"operator":{"operator":"in","value":[1]}}],
		 "links":[{"endpoint":"l/l","filters":[{"field":"x","operator":{"operator":"between","lower":1,"upper":2}}],"links":[{"endpoint":"never/read"}]}]},
		{"endpoint":"a/a","mapping":{"when":{"source":"x","mappings":{}}}}]},
		"q":{"endpoints":[{"endpoint":"z/a","filters":[{"field":"kind","operator":{"operator":"between","lower":1,"upper":2}}]}]}}}`)
	if got := fmt.Sprint(b.Endpoints()); got != "[a/a l/l z/a]" {
		t.Errorf("endpoints %s", got)
	}
	var fields []string
	for _, f := range b.Fields() {
		fields = append(fields, fmt.Sprintf("%s %s %t %t %t", f.Endpoint, f.Path, f.Ordered, f.Ranged, f.Matched))
	}
	if got, want := strings.Join(fields, "; "), "a/a when true false false; l/l x false true false; z/a at.start true false false; z/a kind false true true"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	// What has no effect doesn't change the digest; what has does.
	base := `{"name":"b","bundle":{"p":{"endpoints":[{"endpoint":"a/b","mapping":{"x":"a","y":"b"},"filters":[{"field":"f","operator":{"operator":"in","value":1}},{"field":"g","operator":{"operator":"in","value":1}}]}]}}}`
	same := []string{
		strings.Replace(base, `"x":"a","y":"b"`, `"y":"b","x":"a"`, 1),
		strings.Replace(base, `{"field":"f",`, `{"field":"f","transformation":{"transformation":"identity"},`, 1),
		strings.Replace(base, `{"field":"f","operator":{"operator":"in","value":1}},{"field":"g","operator":{"operator":"in","value":1}}`, `{"field":"g","operator":{"operator":"in","value":1.0}},{"field":"f","operator":{"operator":"in","value":1}},{"field":"f","operator":{"operator":"in","value":1}}`, 1),
		strings.Replace(base, `"endpoints":`, `"ordering":"up","endpoints":`, 1),
	}
	other := []string{
		strings.Replace(base, `"x":"a"`, `"x":"b"`, 1),
		strings.Replace(base, `"value":1`, `"value":2`, 1),
		strings.Replace(base, `"endpoints":`, `"ordering":"descending","endpoints":`, 1),
		strings.Replace(base, `"endpoints":`, `"limit":1,"endpoints":`, 1),
		strings.Replace(base, `"name":"b"`, `"name":"c"`, 1),
	}
	for _, text := range same {
		if parse(text).Digest() != parse(base).Digest() {
			t.Errorf("another digest: %s", text)
		}
	}
	for _, text := range other {
		if parse(text).Digest() == parse(base).Digest() {
			t.Errorf("the same digest: %s", text)
		}
	}
	// Entries that meet apply in order, so that order stays in the digest.
	meet := `{"name":"b","bundle":{"p":{"endpoints":[{"endpoint":"a/b","mapping":{%s}}]}}}`
	if parse(fmt.Sprintf(meet, `"x":"a","x.y":"b"`)).Digest() == parse(fmt.Sprintf(meet, `"x.y":"b","x":"a"`)).Digest() {
		t.Error("order of entries that meet is lost")
	}
}

func TestMappingOrder(t *testing.T) {
	m := many(t, 1, func(int) string { return `{"id":1,"o":{"p":1,"q":2},"first-name":"Ada","@type":"T","l":[1,2]}` })
	for mapping, want := range map[string]string{
		`{"x.a":"id","x":"id"}`:                       `{"x":1}`,
		`{"x":"id","x.a":"id"}`:                       `{"x":{"a":1}}`,
		`{"x":"o","x.q":"id"}`:                        `{"x":{"p":1,"q":1}}`,
		`{"x.q":"id","x":"o"}`:                        `{"x":{"p":1,"q":2}}`,
		`{"x.q.r":"id","x":"o"}`:                      `{"x":{"p":1,"q":2}}`,
		`{"x":"o","x.p.r":"id"}`:                      `{"x":{"p":{"r":1},"q":2}}`,
		`{"x":"l","x.y":"id"}`:                        `{"x":{"y":1}}`,
		`{"a":"first-name","@t":"@type","zz.y":"no"}`: `{"a":"Ada","@t":"T"}`,
		`{"x":{"source":"id","mappings":{"y":"z"}}}`:  `{"x":{}}`,
		`{"x[]":{"source":"o[]","mappings":{}}}`:      `{}`,
		`{"x[]":{"source":"l","mappings":{"a":"b"}}}`: `{"x":[{},{}]}`,
		`{"x":"l[1]","y":"l[2]","z":"l[]"}`:           `{"x":2,"z":[1,2]}`,
		`{"x":"o.p.q","y":"l.0"}`:                     `{}`,
	} {
		var got string
		q := property(t, `{"endpoints":[{"endpoint":"a/a","mapping":`+mapping+`}]}`)
		if _, err := Evaluate(t.Context(), q, m, Within{}, func(r Row) error { got = r.Data.JSON(); return nil }); err != nil {
			t.Fatal(err)
		}
		if got != data(t, want).JSON() {
			t.Errorf("%s: got %s, want %s", mapping, got, want)
		}
	}
}
