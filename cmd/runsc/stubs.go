package main

import (
	"gvisor.dev/gvisor/pkg/abi/linux"
	"gvisor.dev/gvisor/pkg/context"
	"gvisor.dev/gvisor/pkg/hostarch"
	"gvisor.dev/gvisor/pkg/log"
	"gvisor.dev/gvisor/pkg/sentry/arch"
	"gvisor.dev/gvisor/pkg/sentry/platform"
	"gvisor.dev/gvisor/pkg/sighandling"
)

// watched is a platform whose processes of the host, in which a function's code runs, can't be lost unnoticed. gVisor ends
// the function's process with signal 9 when one of these was killed, by somebody on the machine or for want of memory;
// process 1 then reports that the function ended itself, and its author is blamed. So the sandbox's kernel ends with
// them, by the signal that the server takes for what it is. gVisor does that too where it notices the loss elsewhere.
type watched struct{ platform.Platform }

func (w watched) NewContext(ctx context.Context) platform.Context {
	return &watchedContext{w.Platform.NewContext(ctx)}
}

type watchedContext struct{ platform.Context }

// Switch runs the function until it needs its kernel.
func (c *watchedContext) Switch(ctx context.Context, mm platform.MemoryManager, ac *arch.Context64, cpu int32) (*linux.SignalInfo, hostarch.AccessType, error) {
	if !early.over.Load() {
		soon(ctx)
	}
	info, at, err := c.Context.Switch(ctx, mm, ac, cpu)
	if err != nil && lost(err) {
		log.Warningf("a process of the sandbox is lost: %v", err)
		_ = sighandling.KillItself()
	}
	return info, at, err
}

// lost says whether an error is none that a kernel goes on after. It is asked at each switch, and gVisor wraps none.
func lost(err error) bool {
	return err != platform.ErrContextSignal && err != platform.ErrContextInterrupt && err != platform.ErrContextCPUPreempted
}
