package main

import (
	"testing"

	"gvisor.dev/gvisor/pkg/context"
)

// TestWaitingOnTheProcessorComesLate: only a program that keeps calling its kernel may make gVisor wait on the processor.
func TestWaitingOnTheProcessorComesLate(t *testing.T) {
	neverSpin = true
	early.switches.Store(0)
	for n := range spinAfter {
		if !neverSpin {
			t.Fatalf("after %d switches", n)
		}
		soon(context.Background())
	}
	if neverSpin {
		t.Errorf("after %d switches it still may not", spinAfter)
	}
}
