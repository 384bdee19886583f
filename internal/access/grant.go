package access

import (
	"time"

	"she/internal/bundle"
	"she/internal/hat"
)

// A Grant is what the Owner allowed one Function when they switched it on: what it was shown to read, where it may
// write, at which version and package, and from when on. The engine runs a Function only within its Grant; what the
// author's manifest says later changes nothing here.
type Grant struct {
	Function hat.FunctionID
	Version  hat.Version
	Digest   string        // of the package: "sha256:…"
	Bundle   bundle.Bundle // normalised; what may be read
	Output   hat.Endpoint  // the only place it may write to
	Mode     hat.OutputMode
	Trigger  hat.Trigger
	InOrder  bool      // what fails holds up what came after it
	Since    time.Time // records created before are never shown; zero: everything
	Given    time.Time
	// Manifest is what the author said of it then, as the configuration clients are shown: texts and pictures, nothing
	// that allows anything. Only the way into and out of the vault carries it.
	Manifest []byte
}

// Shows says whether a record created then may be shown to the caller at all: a Function sees nothing older than its
// Grant's Since. Where a record may be read is another question.
func (c Caller) Shows(created time.Time) bool {
	return c.kind != function || !created.Before(c.grant.Since)
}
