package rootless_test

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"she/internal/sandbox"
	"she/internal/sandbox/gvisor"
	"she/internal/sandbox/rootless"
	"she/internal/sandbox/sandboxtest"
)

const (
	nobody = 65534
	// dirEnv names the directory with what the tests need, for the test program that runs without root.
	dirEnv = "SHE_TEST_ROOTLESS"
)

// The tests run in the namespaces of somebody without root: this program starts itself as nobody, and that one itself again.
func TestMain(m *testing.M) {
	flag.Parse()
	switch {
	case testing.Short():
		os.Exit(m.Run())
	case rootless.Inside():
		sandboxtest.Main(m, func(string) error { return rootless.Settle() })
	case rootless.Needed():
		status, err := rootless.Again()
		if errors.Is(err, rootless.ErrNoNamespaces) {
			fmt.Println("left out:", err)
			os.Exit(0)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			status = 1
		}
		os.Exit(status)
	}
	status, err := asNobody()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		status = 1
	}
	os.Exit(status)
}

// asNobody makes what the tests need, where everybody reaches it, and runs them as nobody.
func asNobody() (status int, err error) {
	dir, err := os.MkdirTemp("", "she-rootless-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	hostile, state := filepath.Join(dir, "hostile"), filepath.Join(dir, "state")
	for _, d := range []string{dir, hostile, state, filepath.Join(dir, "gvisor-bin")} {
		if err := errors.Join(os.MkdirAll(d, 0o755), os.Chmod(d, 0o755)); err != nil {
			return 0, err
		}
	}
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	runsc, err := sandboxtest.Runsc()
	if err != nil {
		return 0, err
	}
	err = errors.Join(
		os.Chown(state, nobody, nobody),
		sandboxtest.BuildHostile(hostile),
		sandboxtest.GoBuild("", filepath.Join(dir, "she-init"), "she/cmd/she-init"),
		program(self, filepath.Join(dir, "tests")),
		program(runsc, filepath.Join(dir, "runsc")),
		program(gvisor.Companion(runsc), gvisor.Companion(filepath.Join(dir, "runsc"))))
	if err != nil {
		return 0, err
	}
	args := slices.DeleteFunc(os.Args[1:], func(arg string) bool { return strings.HasPrefix(arg, "-test.testlogfile") })
	cmd := exec.Command(filepath.Join(dir, "tests"), args...)
	cmd.Dir = dir
	cmd.Env = []string{dirEnv + "=" + dir, "PATH=" + os.Getenv("PATH")}
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	if err := cmd.Run(); cmd.ProcessState == nil {
		return 0, err
	}
	return cmd.ProcessState.ExitCode(), nil
}

// program copies a program.
func program(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// Whatever a mechanism must do with root, it does without: answers, limits, endings, walls.
func TestMechanismWithoutRoot(t *testing.T) {
	if testing.Short() {
		t.Skip("half a minute of sandboxes")
	}
	if !rootless.Inside() {
		t.Skip("it is run without root")
	}
	dir := os.Getenv(dirEnv)
	sandboxtest.WithoutCgroups(t, filepath.Join(dir, "hostile"), func(t *testing.T) sandbox.Mechanism {
		m, err := gvisor.New(gvisor.Config{
			Runsc: filepath.Join(dir, "runsc"), Init: filepath.Join(dir, "she-init"), Files: filepath.Join(dir, "state", "files"),
			State: filepath.Join(dir, "state", strings.ReplaceAll(t.Name(), "/", "-")), Rootless: true, Run: rootless.RunDir,
		})
		if err != nil {
			t.Fatal(err)
		}
		return m
	})
}
