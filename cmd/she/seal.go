package main

import (
	"context"
	"io"

	"she/internal/sandbox/prove"
	"she/internal/verdict"
)

// testSeal proves the walls here and keeps the verdict, durably, before it returns.
func testSeal(ctx context.Context, data string, progressTo io.Writer) (v verdict.Verdict, err error) {
	h, err := findHelpers()
	if err != nil {
		return v, err
	}
	var p *progress
	v, err = prove.Walls(ctx, data, h.programs(), func(done, of int) {
		if p == nil {
			p = newProgress(progressTo, "trying the walls", of)
			return
		}
		p.step()
	})
	if p != nil {
		p.done()
	}
	if err != nil {
		return v, err
	}
	return v, verdict.Keep(data, v)
}

// sealReader reads the verdict of a data directory, which may be none yet.
func sealReader(data string) func() (verdict.Verdict, error) {
	if data == "" {
		return func() (v verdict.Verdict, err error) { return v, verdict.ErrNone }
	}
	return verdict.Reader(data, func() (verdict.Programs, error) {
		h, err := findHelpers()
		return h.programs().Named(), err
	})
}

func (h helpers) programs() prove.Programs {
	return prove.Programs{Runsc: h.runsc, Init: h.init, Probe: h.probe, Wasm: h.wasm}
}
