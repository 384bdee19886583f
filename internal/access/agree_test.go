package access

import (
	"errors"
	"testing"

	"she/internal/hat"
)

func TestAgreement(t *testing.T) {
	one, two := hat.DigestTerms([]byte("one")), hat.DigestTerms([]byte("two"))
	var none hat.TermsDigest
	for _, c := range []struct {
		name         string
		named, shown hat.TermsDigest
		changed      bool
		agrees       bool // to two
	}{
		{"named", two, none, true, true},
		{"named, and shown others", two, one, true, true},
		{"others named", one, two, false, false},
		{"shown last", none, two, true, true},
		{"shown others", none, one, true, false},
		{"shown others, of terms that never changed", none, one, false, false},
		{"shown nothing", none, none, true, false},
		{"shown nothing, of terms that never changed", none, none, false, true},
	} {
		err := Agreement{Named: c.named, Shown: c.shown, Changed: c.changed}.To(two)
		if (err == nil) != c.agrees || err != nil && !errors.Is(err, ErrTermsChanged) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if (Agreement{}).To(none) == nil {
		t.Error("terms that could not be written out are agreed to")
	}
}
