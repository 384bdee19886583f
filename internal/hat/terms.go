package hat

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// A TermsDigest identifies terms exactly as they were shown to a person: "sha256:…". The zero digest
// identifies none.
type TermsDigest struct{ s string }

const termsPrefix = "sha256:"

// DigestTerms returns the digest of terms that consist of these parts, in this order.
func DigestTerms(parts ...[]byte) TermsDigest {
	h := sha256.New()
	for _, p := range parts {
		// The length comes before each part, so that the same bytes split differently have another digest.
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
		return nil, errors.New("an empty terms digest can't be encoded")
	}
	return []byte(d.s), nil
}

// UnmarshalText reads what MarshalText wrote.
func (d *TermsDigest) UnmarshalText(text []byte) (err error) {
	*d, err = ParseTermsDigest(string(text))
	return err
}
