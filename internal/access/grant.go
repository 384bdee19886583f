package access

import (
	"time"

	"she/internal/bundle"
	"she/internal/hat"
)

// A GrantID numbers all grants that a HAT's owner has given, from 1; 0: none.
type GrantID int64

// A Grant is what the Owner allowed one Function: what it may read, where it may write, its version and
// package, and from when on it sees records. The engine runs a Function only within its Grant. What the
// author's manifest says later changes nothing here.
type Grant struct {
	Function hat.FunctionID
	Version  hat.Version
	Digest   string        // of the package: "sha256:…"
	Bundle   bundle.Bundle // what may be read, normalised
	Output   hat.Endpoint  // the only endpoint it may write to
	Mode     hat.OutputMode
	Equal    hat.EqualMode
	Trigger  hat.Trigger
	InOrder  bool      // failed data delays newer data
	Since    time.Time // records created before are never shown; zero: everything
	Given    time.Time
	// Ahead is the first free position when Since was chosen; 0: not known. Records stored there or later
	// count as new even if the clock was set back since. The vault fills it in.
	Ahead hat.Seq
	// Manifest is what the author said when the grant was given, as the configuration that clients are shown.
	// It allows nothing. Only grants on their way into or out of the vault have it.
	Manifest []byte
}

// Shows reports whether a record with this position and time of creation is new enough for the grant.
func (g Grant) Shows(born hat.Seq, created time.Time) bool {
	return !created.Before(g.Since) || g.Ahead > 0 && born >= g.Ahead
}

// Shows reports whether such a record is new enough for the caller: only a Function has a limit, from its
// Grant. It does not check the endpoint.
func (c Caller) Shows(born hat.Seq, created time.Time) bool {
	return c.kind != function || c.grant.Shows(born, created)
}
