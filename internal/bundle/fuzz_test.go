package bundle

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"she/internal/hat"
	"she/internal/jsonb"
	"she/internal/pgtime"
)

const seedBundle = `{"name":"b","bundle":{"p":{"endpoints":[{"endpoint":"demo/a","mapping":{"x.a":"kind","x":"author","l[]":{"source":"items[]","mappings":{"n":"n"}}},
	"filters":[{"field":"at","transformation":{"transformation":"datetimeExtract","part":"hour"},"operator":{"operator":"between","lower":0,"upper":null}},
	{"field":"text","transformation":{"transformation":"searchable"},"operator":{"operator":"find","search":"run"}}],
	"links":[{"endpoint":"demo/n"}]}],"orderBy":"x.a","ordering":"descending","limit":3}}}`

// What is accepted comes back the same from its own encoding, covers itself, and can be evaluated.
func FuzzParse(f *testing.F) {
	f.Add([]byte(seedBundle))
	f.Add([]byte(`{"name":"b","bundle":{"":{"endpoints":[{"endpoint":"demo/a","mapping":{"a":true},"filters":[{"field":"","operator":{"operator":"contains","value":{"a":[1,[2]]}}}]}],"limit":0}}}`))
	f.Add([]byte(`{"name":"b","bundle":{"p":{"endpoints":[{"endpoint":"demo/a","mapping":[1e99,{"é":"\u0000"}]}],"orderBy":"0.-1"}}}`))
	src := demo(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		b, err := Parse(text)
		if lenient, lenientErr := ParseFunctionBundle(text); err == nil && (lenientErr != nil || !reflect.DeepEqual(b, lenient)) {
			t.Fatalf("strictly accepted, leniently: %v", lenientErr)
		}
		if err != nil {
			return
		}
		encoded := b.append(nil)
		again, err := Parse(encoded)
		if err != nil || !reflect.DeepEqual(b, again) {
			t.Fatalf("%s doesn't come back: %v", encoded, err)
		}
		if ok, beyond := Covers(b, b, hat.Window{}); !ok {
			t.Fatalf("%s doesn't cover itself: %v", encoded, beyond)
		}
		n := b.Normalised()
		if n.Digest() != b.Digest() || string(n.Normalised().append(nil)) != string(n.append(nil)) {
			t.Fatalf("%s has no one normal form", encoded)
		}
		for _, src.ordered = range []bool{false, true} {
			if answer, normal := evaluated(t, b, src), evaluated(t, n, src); answer != normal {
				t.Fatalf("%s answers %s, its normal form %s", encoded, answer, normal)
			}
		}
	})
}

func evaluated(t *testing.T, b Bundle, src Source) string {
	var out []byte
	_, err := EvaluateBundle(t.Context(), b, src, Within{}, func(property string, r Row) error {
		row := r.AppendJSON(nil)
		if canonical, err := hat.ParseData([]byte(r.Data.JSON())); err != nil || canonical != r.Data || !json.Valid(row) {
			t.Fatalf("%s isn't canonical", row)
		}
		out = append(append(out, property...), row...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// A filter answers for any value, and the relations between operators hold.
func FuzzFilter(f *testing.F) {
	f.Add(`{"a":[1,{"b":null}]}`, `[1]`, "a", "2024-03-01T09:15:00Z")
	f.Add(`["x",[],{}]`, `"x"`, "0", "Fri, 01 Mar 2024 09:15 EST")
	f.Fuzz(func(t *testing.T, text, constant, field, date string) {
		d, err := hat.ParseData([]byte(text))
		if err != nil {
			return
		}
		c, err := hat.ParseData([]byte(constant))
		if err != nil {
			return
		}
		match := func(d hat.Data, transformation Transformation, o Operator) bool {
			ok, err := Filter{Field: "v", Transformation: transformation, Operator: o}.Match(d)
			if err != nil {
				t.Fatal(err)
			}
			return ok
		}
		in := func(d hat.Data) hat.Data { return hat.DataFromStore([]byte(`{"v":` + d.JSON() + `}`)) }
		for _, o := range []Operator{{Kind: Contains, Value: d}, {Kind: In, Value: d}, {Kind: Between, Lower: d, Upper: d}} {
			if !match(in(d), Transformation{}, o) {
				t.Errorf("%s is not %s itself", d.JSON(), o.Kind)
			}
		}
		if match(in(d), Transformation{}, Operator{Kind: Contains, Value: c}) != match(in(c), Transformation{}, Operator{Kind: In, Value: d}) {
			t.Errorf("contains and in disagree on %s and %s", d.JSON(), c.JSON())
		}
		if found, ok := Lookup(d, field); ok {
			if canonical, err := hat.ParseData(found.Bytes()); err != nil || canonical != found {
				t.Errorf("%q of %s is %s", field, d.JSON(), found.JSON())
			}
		}
		dated := data(t, string(jsonb.AppendString(nil, strings.ToValidUTF8(date, ""))))
		for _, part := range pgtime.Parts {
			for _, kind := range []TransformationKind{DatetimeExtract, TimestampExtract} {
				match(in(d), Transformation{kind, part}, Operator{Kind: In, Value: c})
				match(in(dated), Transformation{kind, part}, Operator{Kind: In, Value: c})
			}
		}
		match(in(d), Transformation{Kind: Searchable}, Operator{Kind: Find, Search: c})
		Attribute{field, []string{constant}}.Match(d)
	})
}

// A mapping that is accepted makes canonical JSON of anything.
func FuzzMapping(f *testing.F) {
	f.Add(`{"a.b":"c[0].d","a":"e","l[]":{"source":"c[]","mappings":{"x":"d"}}}`, `{"c":[{"d":1},2],"e":{"b":{"x":1},"z":[]}}`)
	f.Add(`{"é-1":"@x","y.z":"y","y":"y"}`, `{"@x":"\\\"","y":{"z":null}}`)
	f.Fuzz(func(t *testing.T, mapping, text string) {
		m, err := ParseMapping([]byte(mapping))
		if err != nil {
			return
		}
		if again, err := ParseMapping([]byte(m.JSON())); err != nil || again != m {
			t.Fatalf("%s doesn't come back: %v", m.JSON(), err)
		}
		d, err := hat.ParseData([]byte(text))
		if err != nil {
			return
		}
		compiled, err := m.compile()
		if err != nil || compiled == nil {
			return
		}
		got := string(compiled.apply(nil, d.JSON()))
		if canonical, err := hat.ParseData([]byte(got)); err != nil || canonical.JSON() != got {
			t.Fatalf("%s makes %s of %s", m.JSON(), got, d.JSON())
		}
		// The quick way and the one for destinations that meet agree.
		compiled.shape = nil
		if slow := string(compiled.apply(nil, d.JSON())); slow != got {
			t.Fatalf("%s makes %s or %s of %s", m.JSON(), got, slow, d.JSON())
		}
	})
}

// What reads data in a store survives what is no JSON.
func FuzzDamagedData(f *testing.F) {
	f.Add(`{"a":[1,{"b":"\"`)
	f.Fuzz(func(t *testing.T, text string) {
		damaged := hat.DataFromStore([]byte(text))
		Lookup(damaged, "a.0.b.-1")
		Attribute{"a", nil}.Match(damaged)
		if m, err := ParseMapping([]byte(`{"a":"a.b[0]","a.c":"a","l[]":{"source":"a","mappings":{"x":"b"}}}`)); err == nil {
			c, _ := m.compile()
			c.apply(nil, text)
		}
	})
}
