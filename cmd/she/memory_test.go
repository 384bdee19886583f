package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"she/internal/sandbox"
	"she/internal/shetest"
)

// TestMachineOutOfMemory lets functions that keep to their limits use up the memory of the machine, three at once where
// two have room. Its kernel ends one: that run alone fails, for a reason of the operator's, and is tried again; the server
// lives, somebody else's function runs, and in the end everybody has their one record. For a machine that is there for
// this (make test-cgroup2): what else runs on it may be ended too.
func TestMachineOutOfMemory(t *testing.T) {
	if os.Getenv("SHE_TEST_MEMORY") == "" {
		t.Skip("uses up the machine's memory")
	}
	bin, err := shetest.Bin()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s := &shetest.Server{Data: filepath.Join(dir, "data"), Config: filepath.Join(dir, "she.yaml")}
	var yaml strings.Builder
	yaml.WriteString("limits: {reserveMB: 1}\nfunctions:\n")
	for _, id := range []string{"holds-memory", "echo"} {
		fmt.Fprintf(&yaml, "  - {id: %s, version: 1.0.0, package: %s, namespace: test, endpoint: out, warmUp: false}\n", id, filepath.Join(bin, "../functions/testdata/python"))
	}
	if err := os.WriteFile(s.Config, []byte(yaml.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	each := 35 * availableMB(t) / 100
	held := fmt.Sprintf(`{"mebibytes":%d,"seconds":10}`, each)
	if each > 600 {
		t.Fatalf("a machine for this has at most 1.7 GB available; each run would take %d MB", each)
	}
	uses := map[string]string{"alice": "holds-memory", "bob": "holds-memory", "carol": "holds-memory", "dave": "echo"}
	for name := range uses {
		if out, err := s.CreateHAT(name); err != nil {
			t.Fatal(err, out)
		}
	}
	start(t, s)
	server, before := s.PID(), ended(t)
	const patience = 12 * time.Minute // many attempts, by an emulated machine
	began := time.Now()
	until := func(name string, c *shetest.Client, path, want string) {
		t.Helper()
		for {
			_, err := c.Until("GET", path, regexp.MustCompile(want))
			if err == nil {
				return
			}
			if !s.Running() || time.Since(began) > patience {
				t.Fatalf("%s: %v\n%s", name, err, s.Log.String())
			}
		}
	}
	clients := map[string]*shetest.Client{}
	for name, function := range uses {
		c := s.Client(name)
		if err := c.Login(); err != nil {
			t.Fatal(err)
		}
		until(name, c, "/api/v2.6/she/function/"+function, `"available":true`)
		if _, err := c.Must("GET", "/api/v2.6/she/function/"+function+"/enable", nil); err != nil {
			t.Fatal(err)
		}
		clients[name] = c
	}
	for name, c := range clients {
		if _, err := c.Must("POST", "/api/v2.6/data/test/in", []byte(held)); err != nil {
			t.Fatal(name, err)
		}
	}
	for name, c := range clients {
		until(name, c, "/api/v2.6/data/test/out", `"endpoint":"test/out"`)
	}
	if s.PID() != server {
		t.Error("the server is another process")
	}
	failures := 0
	for name, c := range clients {
		answer, err := c.Must("GET", "/api/v2.6/data/test/out", nil)
		if n := bytes.Count(answer, []byte(`"endpoint":"test/out"`)); err != nil || n != 1 {
			t.Errorf("%s has %d records: %v", name, n, err)
		}
		answer, err = c.Must("GET", "/api/she/v1/runs?limit=1000", nil)
		var runs []struct {
			State string
			Fault *struct{ Who, Code string }
		}
		if err == nil {
			err = json.Unmarshal(answer, &runs)
		}
		if err != nil {
			t.Fatal(err, string(answer))
		}
		for _, r := range runs {
			if r.Fault == nil {
				continue
			}
			failures++
			if r.Fault.Who != string(sandbox.Operator) || r.Fault.Code != sandbox.MachineOutOfMemory {
				t.Errorf("%s has a run with the fault %+v", name, *r.Fault)
			}
		}
	}
	if now := ended(t); now == before || failures == 0 {
		t.Errorf("the kernel ended %d processes and %d runs failed: the test proves nothing", now-before, failures)
	} else {
		t.Logf("the kernel ended %d processes, and %d runs were tried again", now-before, failures)
	}
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
	if err := s.NothingLeft(); err != nil {
		t.Error(err)
	}
}

// figure finds a figure of the kernel's: "name value", or "name: value kB".
func figure(t *testing.T, file, name string) (n int) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == name {
			if _, err := fmt.Sscan(f[1], &n); err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("%s has no %s", file, name)
	return 0
}

func availableMB(t *testing.T) int { return figure(t, "/proc/meminfo", "MemAvailable:") >> 10 }

// ended is how many processes the kernel has ended for want of memory.
func ended(t *testing.T) int { return figure(t, "/proc/vmstat", "oom_kill") }
