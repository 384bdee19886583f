package wasm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// Bounds of a proof.
const (
	proveTime   = 2 * time.Minute
	proveMemory = 256 << 20
	maxProof    = 1 << 20 // bytes said of all attempts
)

// Prove has a worker, started as all are, make every Attempt at its own walls. The error is of the proof itself, not of
// what it finds.
func (m *Mechanism) Prove(ctx context.Context) (all []Attempt, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, proveTime, fmt.Errorf("it was not over within %s", proveTime))
	defer cancel()
	own, err := os.Open(m.worker) // in the place of an image
	if err != nil {
		return nil, err
	}
	defer own.Close()
	w, err := m.start(Prove, own, proveMemory)
	defer func() { err = errors.Join(err, w.end()) }()
	if err != nil {
		return nil, err
	}
	stop := w.killOn(ctx)
	defer stop()
	in := json.NewDecoder(io.LimitReader(w.stdout, maxProof))
	for err == nil {
		var a Attempt
		if err = in.Decode(&a); err == nil {
			all = append(all, a)
		}
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read what was tried: %w", err)
	}
	<-w.exited
	if w.status != 0 || len(all) == 0 {
		return nil, w.complaint()
	}
	return all, nil
}
