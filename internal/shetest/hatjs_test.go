package shetest_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"she/internal/shetest"
)

// hatJS are the methods of the published client that use HTTP. A method without a check fails the test.
var hatJS = []string{
	"authenticate", "isDomainRegistered", "onTokenChange", "signOut",
	"create", "getAll", "getAllDefault", "update", "delete",
	"dataDebits.getAll", "dataDebits.getAllDefault", "dataDebits.getById", "dataDebits.getDataDebitValues",
	"applications.getAll", "applications.getAllDefault", "applications.getById", "applications.getAppStatus", "applications.getSetupUrl",
	"files.uploadFile", "files.markFileAsPublic", "files.markFileAsPrivate", "files.updateFileParameters",
	"files.searchFiles", "files.deleteFile", "files.generateFileContentUrl",
}

// Scenarios 83 and 84. TestHatJS runs the client that applications of the original use, unmodified, from
// Node.js against the server. The checks themselves are in testdata/hat-js/checks.js.
func TestHatJS(t *testing.T) {
	if testing.Short() {
		t.Skip("a real server and Node.js: make test")
	}
	client, err := filepath.Abs("testdata/hat-js")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(client, "node_modules/@dataswift/hat-js")); err != nil {
		t.Fatalf("hat-js is missing: run make clients first: %v", err)
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "she.yaml")
	if err := os.WriteFile(config, []byte("applications: "+filepath.Join(client, "applications.json")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &shetest.Server{Data: filepath.Join(dir, "data"), Config: config}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	}()
	// hat-js finds the HAT by the token's issuer, so the HAT's domain contains the port. With a second HAT
	// on the server, only its own name leads to it.
	const alice = "alice"
	port := s.Address[strings.LastIndexByte(s.Address, ':'):]
	for _, name := range []string{alice, "bob"} {
		_, err := shetest.She(shetest.Password(name)+"\n",
			"hat", "create", name, "--domain", name+".localhost"+port, "--data", s.Data, "--password-stdin")
		if err != nil {
			t.Fatal(err)
		}
	}

	var stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), "node", "checks.js", s.Address, alice, shetest.Password(alice))
	cmd.Dir, cmd.Stderr = client, &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Errorf("checks.js: %v\n%s", err, stderr.String())
	}
	checked := map[string]bool{}
	done, announced := 0, -1
	for line := range bytes.Lines(out) {
		var c struct {
			Method, Says, Detail string
			OK                   bool
			Checks               *int
		}
		if err := json.Unmarshal(line, &c); err != nil {
			t.Fatalf("checks.js printed %.200q: %v", line, err)
		}
		if c.Checks != nil {
			announced = *c.Checks
			continue
		}
		done++
		checked[c.Method] = true
		t.Run(c.Method+": "+c.Says, func(t *testing.T) {
			if !c.OK {
				t.Error(errors.New(c.Detail))
			}
		})
	}
	if done != announced {
		t.Errorf("%d checks of %d were made", done, announced)
	}
	for _, method := range hatJS {
		if !checked[method] {
			t.Errorf("nothing checks %s", method)
		}
	}
	if t.Failed() {
		t.Logf("server's log:\n%s", s.Log.String())
	}
}
