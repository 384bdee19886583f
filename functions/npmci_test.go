package functions_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestPackagesScriptsHaveNoRights installs a package whose script looks at who runs it, from a directory that others may not
// enter: as root it is run as somebody else, without our environment, and what it made is ours and sets no identity.
func TestPackagesScriptsHaveNoRights(t *testing.T) {
	for _, program := range []string{"npm", "setpriv"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip("no " + program)
		}
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	tarball := filepath.Join(dir, "curious.tgz")
	const script = "id -u > who; env > environment; cp /bin/true program; chmod 6755 program; touch " // and a file of ours
	forbidden := filepath.Join(dir, "forbidden")
	packed(t, tarball, map[string]string{
		"package/package.json": `{"name":"curious","version":"1.0.0","scripts":{"install":"sh script.sh"}}`,
		"package/script.sh":    script + forbidden + " || true\n",
	})
	for name, content := range map[string]string{
		"package.json": fmt.Sprintf(`{"name":"f","version":"1.0.0","dependencies":{"curious":"file:%s"}}`, tarball),
		"package-lock.json": fmt.Sprintf(`{"name":"f","version":"1.0.0","lockfileVersion":3,"requires":true,"packages":{"":{"name":"f","version":"1.0.0",`+
			`"dependencies":{"curious":"file:%s"}},"node_modules/curious":{"version":"1.0.0","resolved":"file:%s","hasInstallScript": true}}}`, tarball, tarball),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	self, err := filepath.Abs("npm-ci")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, dir, dir)
	cmd.Env = append(os.Environ(), "NPM_CI_TEST=a secret of the builder", "npm_config_cache="+filepath.Join(dir, "cache"), "npm_config_offline=true")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	in := func(name string) string { return filepath.Join(dir, "node_modules", "curious", name) }
	who, err := os.ReadFile(in("who"))
	if err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		if strings.TrimSpace(string(who)) == "0" {
			t.Error("the script of a package runs as root")
		}
		if _, err := os.Stat(forbidden); err == nil {
			t.Error("the script of a package writes where others may not")
		}
	}
	environment, err := os.ReadFile(in("environment"))
	if err != nil || bytes.Contains(environment, []byte("a secret of the builder")) {
		t.Errorf("the script of a package sees the builder's environment: %v", err)
	}
	info, err := os.Stat(in("program"))
	if err != nil {
		t.Fatal(err)
	}
	if owner := info.Sys().(*syscall.Stat_t).Uid; int(owner) != os.Geteuid() || info.Mode()&(os.ModeSetuid|os.ModeSetgid) != 0 {
		t.Errorf("what it made is of mode %s and belongs to %d", info.Mode(), owner)
	}
}

func packed(t *testing.T, to string, files map[string]string) {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for name, content := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	for _, err := range []error{w.Close(), z.Close(), os.WriteFile(to, b.Bytes(), 0o600)} {
		if err != nil {
			t.Fatal(err)
		}
	}
}
