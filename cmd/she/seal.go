package main

import (
	"context"
	"io"

	"she/internal/sandbox/prove"
	"she/internal/server"
	"she/internal/verdict"
)

// testSeal proves the walls here and keeps the verdict, durably, before it returns.
func testSeal(ctx context.Context, data string, progressTo io.Writer) (v verdict.Verdict, err error) {
	h, err := server.FindHelpers()
	if err != nil {
		return v, err
	}
	var p *progress
	v, err = prove.Walls(ctx, data, h.Programs(), func(done, of int) {
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
