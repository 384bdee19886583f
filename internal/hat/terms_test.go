package hat

import (
	"strings"
	"testing"
)

func TestTermsDigest(t *testing.T) {
	parts := func(texts ...string) TermsDigest {
		var all [][]byte
		for _, text := range texts {
			all = append(all, []byte(text))
		}
		return DigestTerms(all...)
	}
	seen := map[TermsDigest]bool{}
	for _, d := range []TermsDigest{parts(), parts(""), parts("", ""), parts("ab"), parts("a", "b"), parts("", "ab"), parts("ab", "")} {
		if seen[d] || d.IsZero() {
			t.Errorf("%s twice", d)
		}
		seen[d] = true
		back, err := ParseTermsDigest(d.String())
		if err != nil || back != d {
			t.Errorf("%v %v", back, err)
		}
	}
	good := parts("x").String()
	for _, bad := range []string{"", good[7:], good + "0", good[:70], strings.ToUpper(good), "sha512:" + good[7:], good[:70] + "g"} {
		if _, err := ParseTermsDigest(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
	if _, err := (TermsDigest{}).MarshalText(); err == nil {
		t.Error("the zero digest has a text")
	}
}
