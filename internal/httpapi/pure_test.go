package httpapi

import (
	"crypto/rand"
	"crypto/rsa"
	"maps"
	"strings"
	"testing"
	"time"

	"she/internal/directory"
	"she/internal/hat"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Two keys serve all tests: making one takes longer than most tests do.
var (
	key      = must(rsa.GenerateKey(rand.Reader, 2048))
	otherKey = must(rsa.GenerateKey(rand.Reader, 2048))
	morning  = time.Date(2026, 3, 4, 9, 0, 0, 0, time.UTC)
)

func bob() directory.HAT {
	return directory.HAT{ID: "bob-id", Domain: must(hat.ParseDomain("bob.test:9000")), Key: key}
}

func TestRoutes(t *testing.T) {
	rs := nothing()
	for _, c := range []struct {
		method, path string
		pattern      string // "": no such route
		params       string
	}{
		{"GET", "/publickey", "/publickey", ""},
		{"POST", "/publickey", "", ""},
		{"GET", "/publickey/", "", ""},
		{"GET", "/api/v2.6/publickey", "", ""},
		{"GET", "/api/v2.6/data/rumpel/notes", "/data/{namespace}/{endpoint...}", "endpoint=notes namespace=rumpel"},
		{"GET", "/api/v2/data/rumpel/a/b", "/data/{namespace}/{endpoint...}", "endpoint=a/b namespace=rumpel"},
		{"POST", "/api/v2.0/data/rumpel/a/b", "/data/{namespace}/{endpoint...}", "endpoint=a/b namespace=rumpel"},
		{"GET", "/api/v2.7/data/rumpel/a", "", ""},
		{"GET", "/data/rumpel/a", "", ""},
		{"GET", "/api/v2.6/data/UPPER/x", "", ""},
		{"GET", "/api/v2.6/data/rumpel/X", "", ""},
		{"GET", "/api/v2.6/data/rumpel", "", ""},
		{"GET", "/api/v2.6/data/rumpel/", "", ""},
		{"GET", "/api/v2.6/data/rumpel/a_b", "", ""},
		{"GET", "/api/v2.6/data/rumpel/%2e%2e", "", ""},
		{"GET", "/api/v2.6/data/rumpel/a%2Fb", "", ""},
		// Slashes in the wrong place are the endpoint's problem, not the route's: it answers 400.
		{"GET", "/api/v2.6/data/rumpel//a", "/data/{namespace}/{endpoint...}", "endpoint=/a namespace=rumpel"},
		{"GET", "/api/v2.6/data/rumpel/a/", "/data/{namespace}/{endpoint...}", "endpoint=a/ namespace=rumpel"},
		{"GET", "/api/v2.6/she/function/f-1/enable", "/she/function/{function}/enable", "function=f-1"},
		{"GET", "/api/v2.6/she/function/f-1/enable/x", "", ""},
		{"GET", "", "", ""},
	} {
		r, params := rs.Find(c.method, c.path)
		got := ""
		if r != nil {
			got = r.Pattern
		}
		var said []string
		for _, name := range []string{"endpoint", "function", "namespace"} {
			if v, ok := params[name]; ok {
				said = append(said, name+"="+v)
			}
		}
		if got != c.pattern || strings.Join(said, " ") != c.params {
			t.Errorf("%s %s: %q %v, want %q %s", c.method, c.path, got, said, c.pattern, c.params)
		}
	}
}

func FuzzRoutes(f *testing.F) {
	f.Add("GET", "/api/v2.6/data/a/b/c")
	f.Add("POST", "/api/v2.6/she/function/../x")
	rs := nothing()
	f.Fuzz(func(t *testing.T, method, path string) {
		r, params := rs.Find(method, path)
		if r == nil {
			return
		}
		// What was matched, put back into the pattern, is the path.
		back := r.Pattern
		for name, value := range maps.All(params) {
			if value == "" {
				t.Fatalf("%q: empty %s", path, name)
			}
			back = strings.Replace(back, "{"+name+"}", value, 1)
			back = strings.Replace(back, "{"+name+"...}", value, 1)
		}
		if !strings.HasSuffix(path, back) {
			t.Fatalf("%q matched %q as %q", path, r.Pattern, back)
		}
	})
}
