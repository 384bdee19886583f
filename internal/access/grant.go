package access

import (
	"time"

	"she/internal/bundle"
	"she/internal/hat"
)

// A GrantID names a grant among all that a HAT's owner has given, 1 for the first; 0: none.
type GrantID int64

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
	Equal    hat.EqualMode
	Trigger  hat.Trigger
	InOrder  bool      // what fails holds up what came after it
	Since    time.Time // records created before are never shown; zero: everything
	Given    time.Time
	// Ahead is the first position that was not taken when Since was chosen; 0: not known. What is created there or later is
	// new, whatever the clock says: it may have been set back since. The vault fills it in.
	Ahead hat.Seq
	// Manifest is what the author said of it then, as the configuration clients are shown: texts and pictures, nothing
	// that allows anything. Only the way into and out of the vault carries it.
	Manifest []byte
}

// Shows says whether a record created then, at that position, is not too old for the grant.
func (g Grant) Shows(born hat.Seq, created time.Time) bool {
	return !created.Before(g.Since) || g.Ahead > 0 && born >= g.Ahead
}

// Shows says whether such a record may be shown to the caller at all: a Function sees nothing that is too old for its Grant.
// Where a record may be read is another question.
func (c Caller) Shows(born hat.Seq, created time.Time) bool {
	return c.kind != function || c.grant.Shows(born, created)
}
