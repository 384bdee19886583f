package hatapi

import (
	"net/url"
	"testing"

	"she/internal/hat"
)

func TestAttributes(t *testing.T) {
	data := must(hat.ParseData([]byte(`{"m":{"k":"v","n":7,"list":["a","b"],"mixed":["a",1]},"deep":[{"x":{"k2":"w"}}],"a.b":"dotted","null":null}`)))
	for query, want := range map[string]bool{
		"k=v":              true,
		"k=w":              false,
		"k=w&k=v":          true, // a repeated name means OR
		"k=v&k2=w":         true, // different names mean AND
		"k=v&k2=v":         false,
		"m.k=v":            true,
		"m.k=w":            false,
		"m.n=7":            false, // numbers do not match, without an error
		"n=7":              false,
		"list=a":           true,
		"m.list=a":         false, // the exact path must hold a string
		"m.list.0=a":       true,
		"m.list.9=a":       false,
		"m.list.-1=b":      false,
		"mixed=a":          true,
		"null=null":        false,
		"m=v":              false,
		"deep.0.x.k2=w":    true,
		"deep.x=w":         false,
		"x..=1":            false,
		"":                 true,
		"X-Auth-Token=abc": true, // never an attribute
		"x-auth-token=abc": true,
		"take=5&skip=1":    true,
	} {
		got := true
		for _, a := range must(attributes(must(url.ParseQuery(query)), "take", "skip")) {
			got = got && a.Match(data)
		}
		if got != want {
			t.Errorf("?%s: %v, want %v", query, got, want)
		}
	}
}
