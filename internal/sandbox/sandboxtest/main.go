package sandboxtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

// Main runs a package's tests after build has put the programs they need into a directory. A goroutine that is left fails
// them.
func Main(m *testing.M, build func(dir string) error) {
	dir, err := os.MkdirTemp("", "she-test-")
	if err == nil {
		err = build(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// GoBuild compiles a static program from what is checked out, for another machine if env says so. A package is found from dir.
func GoBuild(dir, to, pkg string, env ...string) error {
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", to, pkg)
	cmd.Dir = dir
	cmd.Env = append(append(os.Environ(), "CGO_ENABLED=0"), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build %s: %w\n%s", pkg, err, out)
	}
	return nil
}

// Runsc finds gVisor's program in SHE_BIN, or in bin/ of the module.
func Runsc() (string, error) {
	bin, err := os.Getenv("SHE_BIN"), error(nil)
	if bin == "" {
		var mod []byte
		mod, err = exec.Command("go", "env", "GOMOD").Output()
		bin = filepath.Join(filepath.Dir(strings.TrimSpace(string(mod))), "bin")
	}
	runsc := filepath.Join(bin, "runsc")
	if err == nil {
		_, err = os.Stat(runsc)
	}
	if err != nil {
		return "", fmt.Errorf("runsc is missing; build it with: make build (or set SHE_BIN): %w", err)
	}
	return filepath.Abs(runsc)
}
