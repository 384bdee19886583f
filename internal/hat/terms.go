package hat

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// A TermsDigest names terms exactly as they were shown to somebody who is to agree: "sha256:…". Equal digests are equal
// terms. The zero digest names none.
type TermsDigest struct{ s string }

const termsPrefix = "sha256:"

// DigestTerms makes the digest of terms that are written down in these parts, in this order.
func DigestTerms(parts ...[]byte) TermsDigest {
	h := sha256.New()
	for _, p := range parts {
		// The length before each part: parts that are cut elsewhere are other terms.
		_, _ = h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(p))))
		_, _ = h.Write(p)
	}
	return TermsDigest{termsPrefix + hex.EncodeToString(h.Sum(nil))}
}

// ParseTermsDigest reads what String writes.
func ParseTermsDigest(s string) (TermsDigest, error) {
	digits, found := strings.CutPrefix(s, termsPrefix)
	if sum, err := hex.DecodeString(digits); !found || err != nil || len(sum) != sha256.Size || digits != strings.ToLower(digits) {
		return TermsDigest{}, fmt.Errorf("terms %.80q: want the digest that came with the terms, sha256: and 64 digits", s)
	}
	return TermsDigest{s}, nil
}

func (d TermsDigest) IsZero() bool   { return d.s == "" }
func (d TermsDigest) String() string { return orInvalid(d.s, "terms digest") }

// MarshalText makes a TermsDigest a JSON string.
func (d TermsDigest) MarshalText() ([]byte, error) {
	if d.s == "" {
		return nil, errors.New("the zero terms digest has no text")
	}
	return []byte(d.s), nil
}

// UnmarshalText reads what MarshalText wrote.
func (d *TermsDigest) UnmarshalText(text []byte) (err error) {
	*d, err = ParseTermsDigest(string(text))
	return err
}
