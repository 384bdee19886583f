package engine

import (
	"context"
	"errors"
	"time"

	"she/internal/catalog"
	"she/internal/hat"
	"she/internal/invoke"
)

// What callers are told of the wall: the code of a fault of a function that exceeded its time limit, and the
// size of /tmp in MB.
const (
	Timedout = invoke.Timedout
	TmpMB    = invoke.DefaultTmpMB
)

// A Direct is one call of an entry that belongs to no HAT: a program gives the event and gets the answer.
type Direct struct {
	Function catalog.Function
	Entry    catalog.Entry
	Caller   string // who calls; slots are divided fairly among callers and HATs
	ID       string // id of the request, a UUID
	Event    []byte
}

// A Reply is the result of a Direct. What the function printed is for the caller only.
type Reply struct {
	Payload []byte // the answer, or the error document that the function left; nil: neither
	Log     []byte
	Fault   *hat.Fault // nil: it answered
	Ran     time.Duration
	Init    time.Duration // 0: the instance was started before this call
	Memory  int64         // peak, in bytes
}

// Direct calls an entry in an instance of its own, with the isolation and limits of a run. Nothing of it is
// stored. The error is ctx's.
func (e *Engine) Direct(ctx context.Context, d Direct) (Reply, error) {
	answer, err := e.invoker.Invoke(ctx, invocation(d.Function, d.Entry, e.token("caller\x00"+d.Caller), d.ID, d.Event))
	if ctx.Err() != nil {
		return Reply{}, context.Cause(ctx)
	}
	r := Reply{
		Payload: answer.Payload, Log: answer.Log, Ran: answer.Timing.Run, Init: answer.Timing.Init, Memory: answer.Usage.MaxMemory,
	}
	if err != nil {
		var failure *invoke.Failure
		if r.Fault = faultOf(err); !errors.As(err, &failure) {
			e.log.ErrorContext(ctx, "a call of a function failed", "function", d.Entry.Name, "error", err)
		}
	}
	return r, nil
}
