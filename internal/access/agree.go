package access

import (
	"errors"

	"she/internal/hat"
)

// ErrTermsChanged says that somebody agreed to terms that are not the present ones, or that they were never
// shown.
var ErrTermsChanged = errors.New("the terms have changed since they were shown")

// An Agreement is a call that agrees to terms: which terms it names, and which ones its login was shown.
type Agreement struct {
	// Named is the digest that the call carries. Zero: none.
	Named hat.TermsDigest
	// Shown is the digest of the terms that this login was shown last. Zero: none remembered.
	Shown hat.TermsDigest
	// Changed is true if the terms differ from the first proposal.
	Changed bool
}

// To returns nil if the call agrees to the present terms, else ErrTermsChanged. The call must name them. If
// it names none, this login must have been shown them last. If it was shown none, the terms must never have
// changed.
func (a Agreement) To(present hat.TermsDigest) error {
	agreed := a.Named
	if agreed.IsZero() {
		agreed = a.Shown
	}
	switch {
	case present.IsZero():
		return ErrTermsChanged
	case agreed.IsZero() && !a.Changed, agreed == present:
		return nil
	}
	return ErrTermsChanged
}
