// Package prove tests the walls of every mechanism on this machine, with hostile functions in real sandboxes.
package prove

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"she/internal/sandbox/gvisor"
	"she/internal/sandbox/seal"
	"she/internal/verdict"
)

// Programs are those a test needs, as paths.
type Programs struct {
	Runsc, Init string
	Probe       string // the hostile one
	Wasm        string // "": no mechanism for modules is tested
}

// Named are the programs a verdict is about.
func (p Programs) Named() verdict.Programs {
	return verdict.Programs{"runsc": {p.Runsc, gvisor.Companion(p.Runsc)}, "she-init": {p.Init}, "she-probe": {p.Probe}, "she-wasm": {p.Wasm}}
}

// Walls tests the walls as root, with state in the folder run of a data directory, which is emptied again. step is told before
// each trial, and at the end.
func Walls(ctx context.Context, data string, p Programs, step func(done, of int)) (v verdict.Verdict, err error) {
	if os.Geteuid() != 0 {
		return v, errors.New("the walls can be tested only as root: the test makes real sandboxes")
	}
	if _, err := os.Stat(p.Probe); err != nil {
		return v, errors.New("she-probe, the hostile program, is not beside she: run make build")
	}
	versions, err := verdict.Versions(p.Named())
	if err != nil {
		return v, err
	}
	if err := os.MkdirAll(data, 0o700); err != nil {
		return v, err
	}
	// Where anyone may walk, as one observer is a user without rights. The sandboxes' own state is where the server's is.
	dir, err := os.MkdirTemp("", "she-seal-")
	if err != nil {
		return v, err
	}
	state := filepath.Join(data, "run", "seal")
	walls, err := gvisor.New(gvisor.Config{Runsc: p.Runsc, Init: p.Init, State: state, Files: gvisor.Files})
	if err != nil {
		return v, errors.Join(err, os.RemoveAll(dir))
	}
	defer func() { err = errors.Join(err, walls.Close(), os.RemoveAll(state), os.RemoveAll(dir)) }()
	if err := walls.Sweep(ctx); err != nil {
		return v, err
	}
	findings, err := seal.Run(ctx, seal.Config{Walls: walls, Program: p.Probe, Dir: dir, Search: []string{state, "/run"}, Step: step})
	if err != nil {
		return v, err
	}
	mechanisms := "gvisor"
	if p.Wasm != "" {
		of, err := workers(ctx, p.Wasm, filepath.Join(data, "run", "seal-wasm"))
		if err != nil {
			return v, err
		}
		findings, mechanisms = append(findings, of...), "gvisor, wasm"
	}
	v = verdict.On(findings, time.Now())
	v.Mechanism, v.Versions = mechanisms, versions
	return v, nil
}
