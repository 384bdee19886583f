package prove

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"

	"she/internal/sandbox/seal"
	"she/internal/sandbox/wasm"
)

// workerChannel is that of what a module tries that has broken out of its engine.
const workerChannel = "worker"

// workers proves the walls around the processes of WebAssembly modules, with a state directory of its own.
func workers(ctx context.Context, worker, state string) (findings []seal.Finding, err error) {
	m, err := wasm.New(wasm.Config{Worker: worker, State: state})
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(state))
	}
	defer func() { err = errors.Join(err, m.Close(), os.RemoveAll(state)) }()
	tried, err := m.Prove(ctx)
	if err != nil {
		return nil, fmt.Errorf("the walls of WebAssembly modules could not be tested: %w", err)
	}
	for _, a := range tried {
		findings = append(findings, judgeWorker(a)...)
	}
	return findings, nil
}

// judgeWorker makes findings of an attempt: one where a module runs, and one of what stands behind the filter of
// system calls, so that neither can hide that the other is gone.
func judgeWorker(a wasm.Attempt) []seal.Finding {
	probe := seal.Probe{
		Name: "worker-" + a.Name, Channel: workerChannel, Tries: a.Tries + ", from native code in a WebAssembly worker",
		Observer: "the kernel, which ends the worker for the system call",
	}
	want := wasm.Ended
	if a.Passes {
		probe.Observer, want = "the kernel, which has nothing to give", wasm.Refused
	}
	all := []seal.Finding{judgeTried(probe, a.Bare, a.Walled, want)}
	if a.Others {
		probe.Name, probe.Tries, probe.Observer = probe.Name+"-unfiltered", probe.Tries+" whose filter of system calls is left out", "the kernel, which refuses it"
		all = append(all, judgeTried(probe, a.Bare, a.Unfiltered, wasm.Refused))
	}
	return all
}

func judgeTried(p seal.Probe, bare, walled wasm.Tried, want wasm.Outcome) seal.Finding {
	f := seal.Finding{Probe: p, Outcome: seal.Blocked}
	switch {
	case walled.Outcome == wasm.Succeeded:
		f.Outcome, f.Evidence = seal.Open, "the kernel did it"
	case walled.Outcome != wasm.Ended && walled.Outcome != wasm.Refused:
		f.Outcome, f.Evidence = seal.Broken, cmp.Or(walled.Detail, "it was not tried")
	case walled.Outcome != want && want == wasm.Ended:
		f.Outcome, f.Evidence = seal.Open, "the filter let it through: "+walled.Detail
	case walled.Outcome != want: // something else ended it first
		f.Outcome, f.Evidence = seal.Broken, "the kernel ended the worker"
	case bare.Outcome != wasm.Succeeded:
		f.Outcome, f.Evidence = seal.Unprovable, "it gets nowhere on this machine even without walls: "+cmp.Or(bare.Detail, string(bare.Outcome))
	}
	return f
}
