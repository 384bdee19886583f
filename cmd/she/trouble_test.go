package main

import (
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"she/internal/shetest"
)

// start starts a server that does not outlive the test.
func start(t *testing.T, s *shetest.Server) {
	t.Helper()
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if s.Running() {
			_ = s.Kill()
		}
	})
}

// troubled is a server without sandboxes whose owner alice is logged in and has switched the function each on.
func troubled(t *testing.T, data, fills string) (*shetest.Server, *shetest.Client) {
	t.Helper()
	config, err := install(t.TempDir(), standIns[:1])
	if err != nil {
		t.Fatal(err)
	}
	s := &shetest.Server{Data: data, Config: config, Program: standIn("steady", fills)}
	makePeople(t, data, []string{"alice"})
	start(t, s)
	alice := s.Client("alice")
	if err := alice.Login(); err != nil {
		t.Fatal(err)
	}
	if answer, err := alice.Until("GET", "/api/v2.6/she/function/each", regexp.MustCompile(`"available":true`)); err != nil {
		t.Fatal(err, answer)
	}
	if _, err := alice.Must("GET", "/api/v2.6/she/function/each/enable", nil); err != nil {
		t.Fatal(err)
	}
	return s, alice
}

// A second server on a data directory says why it won't, and the first one doesn't notice.
func TestTwoServers(t *testing.T) {
	one, alice := troubled(t, filepath.Join(t.TempDir(), "data"), "")
	two := &shetest.Server{Data: one.Data, Config: one.Config, Program: standIn("steady", "")}
	err := two.Start()
	if err == nil {
		_ = two.Kill()
		t.Fatal("two servers use one data directory")
	}
	if !strings.Contains(err.Error(), "exit status 1") || !strings.Contains(two.Log.String(), one.Data) || !strings.Contains(two.Log.String(), "stop it, or use another --data") {
		t.Errorf("the second server said: %v", err)
	}
	if _, err := alice.Must("POST", "/api/v2.6/data/in/a", []byte(`{"n":1,"v":1}`)); err != nil {
		t.Error(err)
	}
	if _, err := alice.Until("GET", "/api/v2.6/data/out/each", regexp.MustCompile(`"n":1`)); err != nil {
		t.Error(err)
	}
	if err := one.Stop(); err != nil {
		t.Error(err)
	}
}

// The disk fills right before T1, T2 or T3 is stored. What was answered is there; what was not is not; when there is room
// again the function has written about each record once. A server goes on by itself, and so does one that is started anew.
func TestDiskFills(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to mount a small disk")
	}
	for name, op := range map[string]string{"T1": "append", "T2": "claim", "T3": "commit"} {
		for how, restarts := range map[string]bool{"and the server goes on": false, "and the server is started anew": true} {
			t.Run(name+" "+how, func(t *testing.T) {
				t.Parallel() // the engine waits a while before it tries again
				diskFills(t, op, restarts)
			})
		}
	}
}

func diskFills(t *testing.T, op string, restarts bool) {
	disk := t.TempDir()
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=24m"); err != nil {
		t.Skip("no small disk can be mounted here:", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(disk, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	filler := filepath.Join(disk, "filler")
	s, alice := troubled(t, filepath.Join(disk, "data"), op+" 1 before "+filler)
	status, answer, err := alice.Do("POST", "/api/v2.6/data/in/a", []byte(`{"n":1,"v":1}`))
	switch {
	case err != nil:
		t.Fatal(err)
	case op == "append" && status != http.StatusInsufficientStorage:
		t.Errorf("a write to a full disk: %d %s", status, answer)
	case op != "append" && status != http.StatusCreated:
		t.Errorf("a write before the disk was full: %d %s", status, answer)
	}
	if op != "append" {
		// It has happened when there is no room any more.
		if _, err := alice.Until("GET", "/api/v2.6/data/in/a", regexp.MustCompile(`"n":1`)); err != nil {
			t.Fatal(err)
		}
		if err := s.UntilLog(regexp.MustCompile(`no room left on the disk|Vault.Full`)); err != nil {
			t.Fatal(err)
		}
	}
	if op == "commit" {
		// That the run failed is stored all the same: there is a reserve for it.
		if _, err := alice.Until("GET", "/api/she/v1/runs", regexp.MustCompile(`"state":"failed".*Vault.Full`)); err != nil {
			t.Fatal(err)
		}
	}
	if body, err := alice.Must("GET", "/api/v2.6/data/out/each", nil); err != nil || strings.Contains(string(body), `"n"`) {
		t.Errorf("derived on a full disk: %s %v", body, err)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if restarts {
		// A new life finds what the last one could not end.
		if err := s.Stop(); err != nil {
			t.Fatal(err)
		}
		s.Program = standIn("steady", "")
		if err := s.Start(); err != nil {
			t.Fatal(err)
		}
		alice.Follow(s)
	}
	if op == "append" {
		if body, err := alice.Must("GET", "/api/v2.6/data/in/a", nil); err != nil || strings.Contains(string(body), `"n"`) {
			t.Errorf("what was refused is there: %s %v", body, err)
		}
		if _, err := alice.Must("POST", "/api/v2.6/data/in/a", []byte(`{"n":1,"v":1}`)); err != nil {
			t.Fatal(err)
		}
	}
	// Of a server that goes on nobody asks anything until its own engine has done it.
	if _, err := alice.Until("GET", "/api/v2.6/data/out/each", regexp.MustCompile(`"n":1`)); err != nil {
		t.Fatal(err)
	}
	if _, err := alice.Until("GET", "/api/she/v1/functions/each/why", regexp.MustCompile(`waiting-for-data`)); err != nil {
		t.Fatal(err)
	}
	if body, err := alice.Must("GET", "/api/v2.6/data/out/each", nil); err != nil || strings.Count(string(body), `"n":1`) != 1 {
		t.Errorf("derived: %s %v", body, err)
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
}
