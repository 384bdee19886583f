// Package contract is the three questions to a function and the checks on its answers: steps 5 and 8 of the walk.
// It turns values into request bytes and hostile bytes into values; it runs nothing and stores nothing.
package contract

import (
	"encoding/json"

	"she/internal/bundle"
	"she/internal/hat"
)

// A Manifest is what a function's author claims about it: the answer of its configuration entry. It grants nothing.
type Manifest struct {
	ID        hat.FunctionID
	Version   hat.Version
	Info      json.RawMessage // as answered, canonical, known fields checked
	Developer json.RawMessage
	Trigger   hat.Trigger
	Bundle    bundle.Bundle // the default bundle: its endpoints say which data matters
}
