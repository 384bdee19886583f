// Package proof verifies a chain of receipts, of a HAT or of an export: its signatures, the stored records, a
// former export, and a head that somebody kept.
package proof

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"time"

	"she/internal/client"
	"she/internal/ownapi"
	"she/internal/receipt"
	"she/internal/terminal"
)

// A Proof is the result of verifying a chain of receipts.
type Proof struct {
	From   int64          `json:"from"`
	To     int64          `json:"to"`
	Hash   receipt.Digest `json:"hash"`
	Signed time.Time      `json:"signed,omitzero"`

	Records *receipt.Comparison `json:"records,omitempty"` // the comparison with the stored records; nil for an export
	Against *receipt.Against    `json:"against,omitempty"` // the comparison with a former export
	Head    *Head               `json:"head,omitempty"`    // whether the chain contains a kept head

	// Broken is why the chain or the former export can't be verified. The readable part is compared all the
	// same.
	Broken       string `json:"broken,omitempty"`
	FormerBroken string `json:"formerBroken,omitempty"`
}

// A Head is whether a kept head is in a chain.
type Head struct {
	Kept  string `json:"kept"`
	Now   string `json:"now,omitempty"` // the head of the chain
	Holds bool   `json:"holds"`
	// Broken is the first entry that does not lead to the kept head, or does not follow from it.
	Broken *receipt.BrokenError `json:"broken,omitempty"`
}

func (h Head) String() string {
	if h.Holds {
		return "it lies in the chain: what was done up to it is as it was"
	}
	return h.Broken.Error()
}

// means explains what it means that a head is not in the chain.
func (h Head) means(kept, now receipt.Head) string {
	switch {
	case now.Number < kept.Number:
		return "entries from there on were cut off, or an older copy of the vault was put in its place"
	case h.Broken.Number > kept.Number:
		return "entries behind the head were changed"
	}
	return "what was done up to the head was written anew since it was kept, or the head is another HAT's"
}

// Err returns the error for the exit code of a failed verification.
func (p Proof) Err() error {
	if p.Broken != "" {
		return errors.New(p.Broken)
	}
	if p.Head != nil && !p.Head.Holds {
		kept, err := receipt.ParseHead(p.Head.Kept)
		now, errNow := receipt.ParseHead(p.Head.Now)
		if err = errors.Join(err, errNow); err != nil {
			return err
		}
		return fmt.Errorf("the chain does not hold the head that was kept: %s; %s", p.Head, p.Head.means(kept, now))
	}
	if p.FormerBroken != "" && (p.Against == nil || p.Against.Relation != receipt.Contradicts) {
		return fmt.Errorf("the former export can't be compared to its end: %s", p.FormerBroken)
	}
	if p.Against != nil && p.Against.Relation == receipt.Contradicts {
		return fmt.Errorf("the chain is not the one that was exported before: %s", p.Against)
	}
	if p.Records == nil || p.Records.Whole() {
		return nil
	}
	return fmt.Errorf("what is stored is not what the receipts say: %s", terminal.Count(len(p.Records.Differs)+p.Records.More, "difference"))
}

// OfHAT verifies the chain of a HAT.
func OfHAT(ctx context.Context, m *client.Management, hatName, against string, kept *receipt.Head) (proof Proof, err error) {
	var found ownapi.Proof
	if err := m.Call(ctx, http.MethodPost, client.OwnPath(hatName)+"/receipts/verify", nil, &found); err != nil {
		return proof, err
	}
	if b := found.Broken; b != nil {
		proof.Broken = (&receipt.BrokenError{Number: b.Number, What: b.What}).Error()
	} else {
		last := found.Checkpoint
		proof = Proof{From: 1, To: last.Number, Hash: last.Hash, Signed: time.UnixMicro(last.At).UTC(), Records: found.Records}
	}
	if kept != nil {
		var held ownapi.HeldHead
		if err := m.Call(ctx, http.MethodGet, client.OwnPath(hatName)+"/receipts?head="+url.QueryEscape(kept.String()), nil, &held); err != nil {
			return proof, err
		}
		proof.Head = &Head{Kept: kept.String(), Now: held.Head, Holds: held.Holds}
		if b := held.Broken; b != nil {
			proof.Head.Broken = &receipt.BrokenError{Number: b.Number, What: b.What}
		}
	}
	if against == "" {
		return proof, nil
	}
	// Compare what the HAT exports now. Its faults have been reported already.
	r, w := io.Pipe()
	go func() { w.CloseWithError(m.Lines(ctx, client.OwnPath(hatName)+"/receipts?after=0&broken=true", w)) }()
	now, err := receipt.ReadExport(r, nil)
	_ = r.CloseWithError(err)
	if err != nil && proof.Broken == "" {
		return proof, err
	}
	return proof, proof.compare(now, against, nil)
}

// OfFile verifies an exported chain with the public key of its HAT.
func OfFile(file, keyFile, against string, kept *receipt.Head) (proof Proof, err error) {
	text, err := os.ReadFile(keyFile)
	if err != nil {
		return proof, err
	}
	key, err := parsePublicKey(text)
	if err != nil {
		return proof, fmt.Errorf("%s: %w", keyFile, err)
	}
	x, broken, err := readExport(file, key)
	if err != nil {
		return proof, err
	}
	proof = Proof{From: x.After.Number + 1, To: x.End.Number, Hash: x.End.Hash}
	if broken != nil {
		proof = Proof{Broken: fmt.Sprintf("%s: %s", file, broken)}
	}
	if kept != nil {
		proof.Head = &Head{Kept: kept.String(), Now: x.Last().String(), Holds: true}
		if err := x.Holds(*kept); err != nil {
			if proof.Head.Holds = false; !errors.As(err, &proof.Head.Broken) {
				return proof, fmt.Errorf("%s: %w", file, err)
			}
		}
	}
	if against != "" {
		err = proof.compare(x, against, key)
	}
	return proof, err
}

// readExport reads as much of an export as possible. broken says why that is not all; err, that nothing could
// be read.
func readExport(file string, key *rsa.PublicKey) (x receipt.Exported, broken, err error) {
	f, err := os.Open(file)
	if err != nil {
		return x, nil, err
	}
	defer f.Close()
	x, err = receipt.ReadExport(f, key)
	if wrong := new(receipt.BrokenError); errors.As(err, &wrong) || errors.Is(err, receipt.ErrNotSigned) {
		return x, err, nil
	}
	if err != nil {
		return x, nil, fmt.Errorf("%s: %w", file, err)
	}
	return x, nil, nil
}

// compare compares the chain with a former export.
func (p *Proof) compare(now receipt.Exported, former string, key *rsa.PublicKey) error {
	before, broken, err := readExport(former, key)
	if err != nil {
		return err
	}
	if broken != nil {
		p.FormerBroken = fmt.Sprintf("%s: %s", former, broken)
	}
	a, err := now.Against(before)
	if err != nil {
		return fmt.Errorf("%s: %w", former, err)
	}
	p.Against = &a
	return nil
}

func parsePublicKey(text []byte) (*rsa.PublicKey, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("no key in PEM")
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	key, isRSA := parsed.(*rsa.PublicKey)
	if !isRSA {
		return nil, errors.New("not an RSA key, as those of HATs are")
	}
	return key, nil
}
