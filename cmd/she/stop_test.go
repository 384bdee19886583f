package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"she/internal/access"
	"she/internal/bundle"
	"she/internal/engine"
	"she/internal/hat"
	"she/internal/shetest"
)

// stuck are vaults whose evaluations never return, whatever becomes of their context.
type stuck struct{ engine.Vaults }

func (s stuck) Open(ctx context.Context, id hat.ID) (engine.Vault, func(), error) {
	v, release, err := s.Vaults.Open(ctx, id)
	return stuckVault{v}, release, err
}

type stuckVault struct{ engine.Vault }

func (v stuckVault) Read(ctx context.Context, c access.Caller, _ func(bundle.Source, hat.Seq) error) error {
	return v.Vault.Read(ctx, c, func(bundle.Source, hat.Seq) error {
		fmt.Println("an evaluation never returns")
		select {}
	})
}

// A server ends although an evaluation does not return; what was stored is there, and the next life does the work.
func TestStopWhileAnEvaluationDoesNotReturn(t *testing.T) {
	dir := t.TempDir()
	config, err := install(dir, standIns[:1])
	if err != nil {
		t.Fatal(err)
	}
	s := &shetest.Server{Data: filepath.Join(dir, "data"), Config: config, Program: standIn("stuck", "")}
	makePeople(t, s.Data, []string{"alice"})
	start(t, s)
	alice := s.Client("alice")
	ok := func(_ []byte, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ok(nil, alice.Login())
	const f = "/api/v2.6/she/function/each"
	ok(alice.Until("GET", f, regexp.MustCompile(`"available":true`)))
	ok(alice.Must("GET", f+"/enable", nil))
	ok(alice.Must("POST", "/api/v2.6/data/in/a", []byte(`{"n":1,"v":1}`)))
	ok(nil, s.UntilLog(regexp.MustCompile("an evaluation never returns")))
	var exit *exec.ExitError
	if err := s.Stop(); !errors.As(err, &exit) || exit.ExitCode() != exitFailed {
		t.Errorf("it ended with %v", err)
	}
	if log := s.Log.String(); strings.Count(log, "stopping takes longer than 9s") != 1 {
		t.Errorf("it printed %s", log)
	}
	s.Program = standIn("steady", "")
	ok(nil, s.Start())
	alice.Follow(s)
	ok(alice.Until("GET", "/api/v2.6/data/out/each", regexp.MustCompile(`"n":1`)))
	ok(nil, s.Stop())
}

// SIGHUP does not end a server that is still starting either. Its configuration is a pipe, so it waits for as long as we like.
func TestHangUpDuringTheStart(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "she.yaml")
	must(t, syscall.Mkfifo(pipe, 0o600))
	cmd := exec.Command(os.Args[0], "serve", "--data", filepath.Join(t.TempDir(), "data"), "--config", pipe)
	cmd.Env = append(os.Environ(), standInRuns+"=yes")
	var said strings.Builder
	cmd.Stderr = &said
	must(t, cmd.Start())
	w, err := os.OpenFile(pipe, os.O_WRONLY, 0) // it has opened it to read
	must(t, err)
	must(t, cmd.Process.Signal(syscall.SIGHUP))
	_, err = w.WriteString("lisen: x\n")
	must(t, errors.Join(err, w.Close()))
	err = cmd.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != exitFailed || !strings.Contains(said.String(), `she.yaml:1: the configuration has no key "lisen"`) {
		t.Errorf("%v, %s", err, said.String())
	}
}
