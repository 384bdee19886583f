package gvisor

import (
	"syscall"
	"testing"

	"she/internal/sandbox"
	"she/internal/sandbox/gvisor/launch"
)

// TestWhoMustActWhenASandboxEnds: one killed from outside is nobody's bug and nobody's function.
func TestWhoMustActWhenASandboxEnds(t *testing.T) {
	for _, c := range []struct {
		end   launch.End
		seen  bool
		blame sandbox.Blame
		code  string
	}{
		{launch.End{Signal: int(syscall.SIGKILL)}, true, sandbox.Operator, sandbox.Killed},
		{launch.End{}, false, sandbox.Operator, sandbox.Killed}, // with the launcher, which would have seen it
		{launch.End{Signal: int(syscall.SIGSEGV)}, true, sandbox.Engine, sandbox.ProtocolError},
		{launch.End{Signal: int(syscall.SIGSYS)}, true, sandbox.Engine, sandbox.ProtocolError},
		{launch.End{Status: 137}, true, sandbox.Operator, sandbox.Killed}, // its file server was
		{launch.End{Status: 2}, true, sandbox.Engine, sandbox.ProtocolError},
		{launch.End{}, true, sandbox.Engine, sandbox.ProtocolError},
	} {
		if f := endOf(c.end, c.seen); f.Blame != c.blame || f.Code != c.code {
			t.Errorf("%+v, seen: %t: %v", c.end, c.seen, f)
		}
	}
}
