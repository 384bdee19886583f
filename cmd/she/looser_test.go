package main

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"she/internal/shetest"
)

// A new version asks for records that the filter of the former one left out. Once the owner has agreed it is shown those
// that are there already, and not again those that the former one was shown.
func TestALooserFilterIsAgreedTo(t *testing.T) {
	dir := t.TempDir()
	loose := picky
	loose.version = "2.0.0"
	one, err := install(filepath.Join(dir, "one"), []stamping{picky})
	must(t, err)
	two, err := install(filepath.Join(dir, "two"), []stamping{picky, loose})
	must(t, err)
	s := &shetest.Server{Data: filepath.Join(dir, "data"), Config: one, Program: standIn("steady", "")}
	makePeople(t, s.Data, []string{"alice"})
	start(t, s)
	alice := s.Client("alice")
	must(t, alice.Login())
	until := func(path, want string) {
		t.Helper()
		if answer, err := alice.Until("GET", path, regexp.MustCompile(want)); err != nil {
			t.Fatal(err, string(answer))
		}
	}
	ok := func(method, path, body string) string {
		t.Helper()
		answer, err := alice.Must(method, path, []byte(body))
		must(t, err)
		return string(answer)
	}
	until("/api/v2.6/she/function/picky", `"available":true`)
	ok("GET", "/api/v2.6/she/function/picky/enable", "")
	ok("POST", "/api/v2.6/data/in/a", `[{"n":1,"v":1},{"n":2,"v":2}]`)
	until("/api/v2.6/data/out/picky", `"n":1`)
	until("/api/she/v1/functions/picky/why", `"waiting-for-data"`)
	must(t, s.Stop())

	s.Config = two
	must(t, s.Start())
	alice.Follow(s)
	until("/api/she/v1/functions/picky/consent", `"needed":true`)
	ok("POST", "/api/v2.6/data/in/a", `[{"n":3,"v":1},{"n":4,"v":2}]`) // the granted version goes on
	until("/api/v2.6/data/out/picky", `"n":3`)
	if answer := ok("POST", "/api/she/v1/functions/picky/enable", "{}"); !strings.Contains(answer, `"needed":false`) {
		t.Fatal(answer)
	}
	until("/api/v2.6/data/out/picky", `(?s)"n":2.*"n":4|"n":4.*"n":2`)
	ok("POST", "/api/v2.6/data/in/a", `{"n":5,"v":2}`)
	until("/api/v2.6/data/out/picky", `"n":5`)
	until("/api/she/v1/functions/picky/why", `"waiting-for-data"`)
	written := ok("GET", "/api/v2.6/data/out/picky", "")
	for _, n := range []string{`"n":1,`, `"n":2,`, `"n":3,`, `"n":4,`, `"n":5,`} {
		if strings.Count(written, n) != 1 {
			t.Errorf("%s is there %d times: %s", n, strings.Count(written, n), written)
		}
	}
	must(t, s.Stop())
}
