package server

import (
	"testing"

	"she/internal/directory"
	"she/internal/hat"
)

// A HAT is found by what people copy from elsewhere: a URL, a name in another case, a name with a final dot.
func TestMeant(t *testing.T) {
	var all []directory.HAT
	for _, text := range []string{"alice.localhost:7777", "bob.test", "bob.localhost:7777"} {
		domain, err := hat.ParseDomain(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, directory.HAT{Domain: domain})
	}
	for asked, want := range map[string]int{
		"alice":                             1,
		"alice.localhost":                   1,
		"ALICE.LocalHost:7777":              1,
		"alice.localhost.":                  1,
		"Alice.localhost.:7777":             1,
		"http://alice.localhost.:7777/data": 1,
		"https://bob.test./":                1,
		"bob.test:443":                      1,
		"bob":                               2,
		"alice.localhost..":                 0,
		"alice.localhost.:7778":             0,
		"[::1]:7777":                        0,
		"::1":                               0,
		".":                                 0,
		"":                                  0,
	} {
		if found := meant(all, asked); len(found) != want {
			t.Errorf("%q means %d HATs, want %d", asked, len(found), want)
		}
	}
}
