package shetest_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"she/internal/shetest"
)

// Scenarios 77, 85 and 86: projects in Python and Java as their authors deploy them, and projects that try
// to escape.
func TestScenariosInOtherLanguages(t *testing.T) {
	whole(t)
	bin, err := shetest.Bin()
	check(t, err)
	if _, err := os.Stat(filepath.Join(bin, "../functions/testdata/echo-java/function.jar")); err != nil {
		t.Fatalf("run make functions first: %v", err)
	}
	var functions []function
	for id, project := range map[string]string{
		"echo": "python", "raises": "python", "leftover": "python", "network": "python", "echo-java": "echo-java",
	} {
		functions = append(functions, function{id: id, project: project})
	}
	// All of them read test/in. Those that should not run at the same time have a person of their own.
	w := newWorld(t, functions, "alice", "bob", "carol", "dave")
	w.start()

	t.Run("Scenario77 a function finds nothing that an earlier run left, its own or another person's", func(t *testing.T) {
		alice, bob := w.owner("alice").in(t), w.owner("bob").in(t)
		for _, p := range []*person{alice, alice, bob} {
			p.enable("leftover")
			n := len(p.runs("leftover"))
			p.post("test/in", fmt.Sprintf(`{"marker":"%s-%d","ghost":true}`, p.name, n))
			p.ended("leftover", n+1)
		}
		found := append(alice.records("test/out"), bob.records("test/out")...)
		if len(found) != 3 {
			t.Errorf("%d runs", len(found))
		}
		for _, r := range found {
			var o struct {
				Left  []string
				Found struct {
					Files, Memory      []string
					Environment, Ghost *string
				}
			}
			check(t, json.Unmarshal(r.Data, &o))
			if len(o.Left) == 0 {
				t.Errorf("it could leave nothing, so there was nothing to find: %s", r.Data)
			}
			if f := o.Found; len(f.Files)+len(f.Memory) > 0 || f.Environment != nil || f.Ghost != nil {
				t.Errorf("found: %s", r.Data)
			}
		}
	})

	t.Run("Scenario77 a function reaches nobody by TCP, UDP or DNS", func(t *testing.T) {
		p := w.owner("carol").in(t)
		p.enable("network")
		// This listener would notice a connection.
		ear, err := net.Listen("tcp", "127.0.0.1:0")
		check(t, err)
		called := make(chan string, 1)
		go func() {
			conn, err := ear.Accept()
			if err != nil {
				called <- ""
				return
			}
			called <- conn.RemoteAddr().String()
			_ = conn.Close()
		}()
		p.post("test/in", fmt.Sprintf(`{"host":"127.0.0.1","port":%d,"name":"example.com"}`, ear.Addr().(*net.TCPAddr).Port))
		p.ended("network", 1)
		check(t, ear.Close())
		if who := <-called; who != "" {
			t.Errorf("%s called", who)
		}
		var o struct {
			TCP, UDP, DNS any
			Interfaces    []string
		}
		check(t, json.Unmarshal([]byte(p.data("test/out")), &o))
		_, resolved := o.DNS.([]any)
		if o.TCP == nil || o.TCP == "connected" || o.UDP == nil || o.UDP == "answered" || o.DNS == nil || resolved || !slices.Equal(o.Interfaces, []string{"lo"}) {
			t.Errorf("%+v", o)
		}
	})

	dave := w.owner("dave")
	t.Run("Scenario85 a Python and a Java function from an unchanged Serverless project give the right output at their endpoint", func(t *testing.T) {
		p := dave.in(t)
		p.enable("echo", "echo-java")
		id := p.post("test/in", `{"word":"grüezi","n":1.50}`)[0]
		for _, f := range []string{"echo", "echo-java"} {
			runs := p.ended(f, 1)
			var r record
			p.get(api + "/data-record/" + strings.Join(runs[0].Written, "")).want(http.StatusOK).into(&r)
			var o struct {
				Of   string
				Data struct {
					Word string
					N    float64
				}
			}
			check(t, json.Unmarshal(r.Data, &o))
			if r.Endpoint != "test/out" || o.Of != id || o.Data.Word != "grüezi" || o.Data.N != 1.5 {
				t.Errorf("%s wrote %s at %s", f, r.Data, r.Endpoint)
			}
		}
	})

	t.Run("Scenario86 a function that raises fails its run, and disturbs nothing else", func(t *testing.T) {
		p := dave.in(t)
		before := len(p.records("test/out"))
		p.enable("raises")
		p.ended("raises", 1) // data is pending, so it runs at once
		p.trigger("raises").want(http.StatusInternalServerError, p.failed("raises"))
		if said := saids(p.ended("raises", 2)); said != "failed:Unhandled failed:Unhandled" {
			t.Errorf("%s", said)
		}
		var list []struct{ ID string }
		p.get(api + "/she/function").want(http.StatusOK).into(&list)
		if len(list) != len(functions) {
			t.Errorf("listed: %+v", list)
		}
		p.post("test/in", `{"word":"after"}`)
		p.ended("echo", 2)
		p.ended("echo-java", 2)
		if n := len(p.records("test/out")); n != before+2 {
			t.Errorf("%d records were derived", n-before)
		}
		p.disable("raises")
	})
}
