package access

import (
	"errors"

	"she/internal/hat"
)

// ErrTermsChanged says that somebody agreed to terms that are not the present ones, or that they were never shown.
var ErrTermsChanged = errors.New("the terms are not those that were shown")

// An Agreement is what is known of a call that agrees to terms: which it names, and what the login that makes it has seen.
type Agreement struct {
	// Named are the terms the call carries the digest of. Zero: none.
	Named hat.TermsDigest
	// Shown are the terms this login was shown last. Zero: none that is remembered.
	Shown hat.TermsDigest
	// Changed says that the terms are not the first ones that were proposed.
	Changed bool
}

// To says whether the call agrees to these terms, which are the present ones: those it names; if it names none, those that
// this login was shown last; if it was shown none, only terms that have never changed. ErrTermsChanged.
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
