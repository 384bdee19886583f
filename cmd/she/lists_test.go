package main

import (
	"encoding/json"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"she/internal/ownapi"
	"she/internal/shetest"
)

// she runs a command in this process, which must succeed, and returns what it printed.
func sheSays(t *testing.T, args ...string) (stdout, stderr string) {
	t.Helper()
	var out, said strings.Builder
	if code := run(t.Context(), strings.NewReader(""), &out, &said, args); code != exitOK {
		t.Fatalf("%v: exit %d, %s", args, code, said.String())
	}
	return out.String(), said.String()
}

// A list that is empty for a reason says the reason: no server and no she.yaml to read functions from, and a function that
// nobody knows.
func TestEmptyListsSayWhy(t *testing.T) {
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	makePeople(t, data, []string{"alice"})
	out, said := sheSays(t, "function", "list", "--data", data)
	if !strings.HasPrefix(out, "FUNCTION") || !strings.Contains(said, "--config") {
		t.Errorf("printed %q, said %q", out, said)
	}
	if out, said = sheSays(t, "function", "list", "--data", data, "-o", "json"); strings.TrimSpace(out) != "[]" || !strings.Contains(said, "--config") {
		t.Errorf("printed %q, said %q", out, said)
	}
	if out, _ := sheSays(t, "runs", "ls", "--hat", "alice", "--data", data); !strings.HasPrefix(out, "RUN") {
		t.Errorf("no runs at all: %q", out)
	}
	var none, wrong strings.Builder
	code := run(t.Context(), strings.NewReader(""), &none, &wrong, []string{"runs", "ls", "--hat", "alice", "--function", "nope", "--data", data})
	if code != exitFailed || !strings.Contains(wrong.String(), "no function nope") || none.String() != "" {
		t.Errorf("an unknown function: exit %d, printed %q, said %q", code, none.String(), wrong.String())
	}
}

// A list of runs that was cut says how many there are and how to go on; the list of functions shows after a start what the
// server before knew, with the runs of all HATs.
func TestListsAfterWork(t *testing.T) {
	dir := t.TempDir()
	asks := standIns[4]
	if asks.id != "asked" {
		t.Fatal(asks.id)
	}
	config, err := install(filepath.Join(dir, "functions"), []stamping{asks})
	must(t, err)
	s := &shetest.Server{Data: filepath.Join(dir, "data"), Config: config, Program: standIn("steady", "")}
	makePeople(t, s.Data, []string{"alice"})
	list := func() string {
		out, _ := sheSays(t, "function", "list", "--data", s.Data, "--config", config)
		return out
	}
	if out := list(); !strings.Contains(out, "not asked yet") {
		t.Errorf("before the first start: %s", out)
	}
	start(t, s)
	alice := s.Client("alice")
	must(t, alice.Login())
	for _, path := range []string{"", "/enable"} {
		if answer, err := alice.Until("GET", "/api/v2.6/she/function/asked"+path, regexp.MustCompile(`"available":true`)); err != nil {
			t.Fatal(err, string(answer))
		}
	}
	const runs = 5
	for range runs {
		_, err := alice.Must("GET", "/api/v2.6/she/function/asked/trigger?useAll=true", nil)
		must(t, err)
	}
	check := func(when string) {
		t.Helper()
		seen := map[string]bool{}
		before, pages := "", 0
		for more := true; more; pages++ {
			args := []string{"runs", "ls", "--hat", "alice", "--limit", "2", "--data", s.Data}
			if before != "" {
				args = append(args, "--before", before)
			}
			out, _ := sheSays(t, args...)
			lines := strings.Split(strings.TrimSpace(out), "\n")
			last := lines[len(lines)-1]
			_, before, more = strings.Cut(last, " of 5; next page: --before ")
			if more != strings.HasPrefix(last, "2 of 5;") || !more && !strings.HasPrefix(last, "the last 1 of 5") {
				t.Errorf("%s: it ends with %q", when, last)
			}
			for _, line := range lines[1 : len(lines)-1] {
				seen[strings.Fields(line)[0]] = true
			}
		}
		if len(seen) != runs || pages != 3 {
			t.Errorf("%s: %d runs on %d pages", when, len(seen), pages)
		}
		// For programs the array is as it was, and the remark is beside it.
		out, said := sheSays(t, "runs", "ls", "--hat", "alice", "--limit", "2", "--data", s.Data, "-o", "json")
		var all []ownapi.Run
		if err := json.Unmarshal([]byte(out), &all); err != nil || len(all) != 2 || !strings.HasPrefix(said, "2 of 5; next page: --before "+all[1].ID) {
			t.Errorf("%s: %v, %d runs, %q", when, err, len(all), said)
		}
		if out, _ := sheSays(t, "runs", "ls", "--hat", "alice", "--data", s.Data); strings.Contains(out, " of 5") {
			t.Errorf("%s: whole, and it says %s", when, out)
		}
	}
	check("beside a server")
	if out := list(); !regexp.MustCompile(`asked .* 5 +0 +\d{4}-.* committed +yes +yes\n`).MatchString(out) {
		t.Errorf("beside a server: %s", out)
	}
	must(t, s.Stop())
	check("without a server")
	if out := list(); !regexp.MustCompile(`asked .*manual +in/a in/b .* 5 +0 +\d{4}-.* committed +yes +yes, as of \d{4}-`).MatchString(out) {
		t.Errorf("without a server: %s", out)
	}
	must(t, s.Start())
	alice.Follow(s)
	// However soon it is asked for.
	answer, err := alice.Must("GET", "/api/v2.6/she/function", nil)
	if err != nil || !strings.Contains(string(answer), `"id":"asked"`) || !strings.Contains(string(answer), `"available":true`) {
		t.Errorf("right after a start: %v %s", err, answer)
	}
	if _, err := alice.Must("GET", "/api/v2.6/she/function/asked/trigger?useAll=true", nil); err != nil {
		t.Error(err)
	}
	if out := list(); !regexp.MustCompile(`asked .* 6 +0 +\d{4}-`).MatchString(out) {
		t.Errorf("after another start: %s", out)
	}
	must(t, s.Stop())
}
