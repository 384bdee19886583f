package receipt

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"time"
)

// A Checkpoint is a Head signed with the HAT's key. Whoever can write the vault's file can write another
// chain with matching hashes, but can't sign its heads without the key.
type Checkpoint struct {
	Head
	At        int64  `json:"at"`        // when it was signed, microseconds since 1970
	Signature []byte `json:"signature"` // RSA PKCS #1 v1.5 over SHA-256 of signedText; base64
}

// signedText begins with a label, so that it can't be mistaken for anything else the key signs: tokens begin
// with "eyJ".
func (c Checkpoint) signedText() []byte {
	return fmt.Appendf(nil, "she receipt checkpoint 1\n%d %s %d", c.Number, c.Hash, c.At)
}

// Sign signs head.
func Sign(key *rsa.PrivateKey, head Head, at time.Time) (Checkpoint, error) {
	c := Checkpoint{Head: head, At: at.UnixMicro()}
	sum := sha256.Sum256(c.signedText())
	var err error
	// This kind of signature needs no randomness, so signing is a pure function.
	if c.Signature, err = rsa.SignPKCS1v15(nil, key, crypto.SHA256, sum[:]); err != nil {
		return Checkpoint{}, fmt.Errorf("sign receipt %d: %w", head.Number, err)
	}
	return c, nil
}

// SignedBy reports whether the key has signed exactly this head and time.
func (c Checkpoint) SignedBy(key *rsa.PublicKey) bool {
	sum := sha256.Sum256(c.signedText())
	return rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], c.Signature) == nil
}

// Prove is Verify for a whole chain of which some heads were signed. It also finds a chain that is consistent
// but differs from the one that was signed. signed may be in any order.
func Prove(texts iter.Seq2[[]byte, error], want *Head, signed []Checkpoint, key *rsa.PublicKey) (Head, error) {
	return prove(Head{}, texts, want, signed, key)
}

func prove(after Head, texts iter.Seq2[[]byte, error], want *Head, signed []Checkpoint, key *rsa.PublicKey) (Head, error) {
	signed = slices.SortedFunc(slices.Values(signed), func(a, b Checkpoint) int { return cmp.Compare(a.Number, b.Number) })
	for _, c := range signed {
		if !c.SignedBy(key) {
			return after, &BrokenError{c.Number, "the checkpoint at it is not signed with the HAT's key"}
		}
	}
	good := after.Number
	compare := func(h Head) error {
		for ; len(signed) > 0 && signed[0].Number <= h.Number; signed = signed[1:] {
			if signed[0].Number == h.Number && signed[0].Hash != h.Hash {
				return &BrokenError{good + 1, fmt.Sprintf("it, or one of those up to number %d, is not the one that was signed", h.Number)}
			}
			good = h.Number
		}
		return nil
	}
	if err := compare(after); err != nil {
		return after, err
	}
	head, err := walk(after, texts, want, compare)
	if err == nil && len(signed) > 0 {
		err = &BrokenError{head.Number + 1, fmt.Sprintf("it is missing at the end; number %d was signed", signed[len(signed)-1].Number)}
	}
	return head, err
}

// A signedLine is the line of a checkpoint in an exported chain.
type signedLine struct {
	Checkpoint *Checkpoint `json:"checkpoint"`
}

// Export writes the canonical texts of the entries after number after, one a line, and then a checkpoint of
// the last one. ReadExport reads it. texts is the whole chain. Export verifies it like Prove and signs only a
// whole chain; else the output ends without a signature.
func Export(w io.Writer, after int64, texts iter.Seq2[[]byte, error], want Head, signed []Checkpoint, key *rsa.PrivateKey, at time.Time) (Checkpoint, error) {
	var n int64
	var failed error
	head, err := Prove(func(yield func([]byte, error) bool) {
		for text, err := range texts {
			if n++; err == nil && n > after {
				_, failed = w.Write(append(text[:len(text):len(text)], '\n'))
			}
			if failed != nil {
				yield(nil, failed)
				return
			}
			if !yield(text, err) {
				return
			}
		}
	}, &want, signed, &key.PublicKey)
	if err != nil {
		return Checkpoint{}, err
	}
	last, err := Sign(key, head, at)
	if err != nil {
		return Checkpoint{}, err
	}
	line, err := json.Marshal(signedLine{&last})
	if err != nil {
		return Checkpoint{}, err
	}
	_, err = w.Write(append(line, '\n'))
	return last, err
}

// ErrNotSigned says that an export does not end with a checkpoint, so nobody has signed it.
var ErrNotSigned = errors.New("the export does not end with a checkpoint")

// mostEntries bounds the numbers of entries, so that adding one can't overflow.
const mostEntries = 1 << 53

// maxLine bounds a line of an export. An entry names each endpoint that it concerns, and a batch may have
// thousands.
const maxLine = 64 << 20

// An Exported chain is the result of reading an export: the hash of each entry.
type Exported struct {
	After  Head // the entries follow it
	hashes []Digest
	End    Checkpoint // zero if the export is not whole
}

// Hash returns the hash of an entry; false if the export does not have it.
func (x Exported) Hash(number int64) (Digest, bool) {
	i := number - x.After.Number
	switch {
	case i < 0 || i > int64(len(x.hashes)):
		return Digest{}, false
	case i == 0:
		return x.After.Hash, true
	}
	return x.hashes[i-1], true
}

// Last returns the head at the last entry whose hash is known.
func (x Exported) Last() Head {
	h, _ := x.Hash(x.last())
	return Head{x.last(), h}
}

// last returns the number of that entry.
func (x Exported) last() int64 { return x.After.Number + int64(len(x.hashes)) }

// whole reports whether a checkpoint covers the end.
func (x Exported) whole() bool { return x.End.Number == x.last() && x.End.Signature != nil }

// ReadExport verifies an export and keeps 32 bytes of each entry. Without a key it checks that the chain is
// unbroken and ends with a checkpoint, but not who signed it. Errors are *BrokenError, ErrNotSigned, or the
// reader's own. It also returns what it could read up to the error; that part is an unbroken chain.
func ReadExport(r io.Reader, key *rsa.PublicKey) (x Exported, err error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	var last *Checkpoint
	more := lines.Scan()
	if e, err := Parse(lines.Bytes()); err == nil && 0 < e.Number && e.Number <= mostEntries {
		// The signature of the last entry covers what comes before, because its hash is in the chain.
		x.After = Head{e.Number - 1, e.Previous}
	}
	head, err := walk(x.After, func(yield func([]byte, error) bool) {
		for ; more; more = lines.Scan() {
			line := lines.Bytes()
			if last != nil {
				yield(nil, &BrokenError{last.Number + 1, "it was put behind the checkpoint"})
				return
			}
			if !bytes.HasPrefix(line, []byte(`{"checkpoint":`)) {
				if !yield(line, nil) {
					return
				}
				continue
			}
			if last, err = parseSigned(line); err != nil {
				yield(nil, err)
				return
			}
		}
	}, nil, func(h Head) error {
		x.hashes = append(x.hashes, h.Hash)
		return nil
	})
	switch {
	case err != nil:
		return x, err
	case lines.Err() != nil:
		return x, lines.Err()
	case last == nil:
		return x, ErrNotSigned
	case len(x.hashes) == 0:
		x.After, head = last.Head, last.Head
	}
	switch {
	case key != nil && !last.SignedBy(key):
		return x, &BrokenError{last.Number, "the checkpoint at it is not signed with the HAT's key"}
	case head.Number < last.Number:
		return x, &BrokenError{head.Number + 1, "it is missing at the end"}
	case head.Number > last.Number:
		return x, &BrokenError{last.Number + 1, "it was never signed"}
	case head != last.Head:
		return x, &BrokenError{x.After.Number + 1, fmt.Sprintf("it, or one of those up to number %d, is not the one that was signed", last.Number)}
	}
	x.End = *last
	return x, nil
}

// Holds returns nil if a head that was kept lies in the exported chain, and *BrokenError if another entry is
// in its place. Any other error means that the export can't decide it.
func (x Exported) Holds(kept Head) error {
	if kept.Number == 0 {
		return nil // the head of the empty chain
	}
	switch is, known := x.Hash(kept.Number); {
	case known && is == kept.Hash:
		return nil
	case known:
		return &BrokenError{kept.Number, keptOther}
	case kept.Number <= x.After.Number:
		return fmt.Errorf("the export can't answer this: it begins with entry %d, and the head is of entry %d", x.After.Number+1, kept.Number)
	case !x.whole():
		return fmt.Errorf("the export can't answer this: it can be read up to entry %d, and the head is of entry %d", x.last(), kept.Number)
	}
	return fmt.Errorf("the export can't answer this: it ends with entry %d, and the head is of entry %d. If it was made after "+
		"the head was kept, entries were cut off", x.last(), kept.Number)
}

// A Relation says how a chain compares with a former export of it.
type Relation string

const (
	Same        Relation = "same"        // the same entries
	Grew        Relation = "grew"        // all entries of the former export, and more
	Contradicts Relation = "contradicts" // some entry of the former export is missing or different
	Partly      Relation = "partly"      // the same as far as both can be read; one of them is broken after that
)

// Against is the result of comparing a chain with a former export.
type Against struct {
	Relation Relation `json:"relation"`
	// Entry is the first new entry, the first different one, or the first that can't be compared; 0: none.
	Entry   int64 `json:"entry,omitempty"`
	Missing bool  `json:"missing,omitempty"`
	// UpTo is true if an earlier entry may be the first different one, because one export lacks those
	// entries.
	UpTo bool `json:"upTo,omitempty"`
}

// Against compares the chain with a former export. The chain must have all of its entries. A broken export is
// compared as far as it can be read: the hash of an entry covers all entries before it, so a result stands
// whatever follows. An error says that the two have no entry in common.
func (x Exported) Against(former Exported) (Against, error) {
	from, to := max(x.After.Number, former.After.Number), min(x.last(), former.last())
	if from > to {
		return Against{}, fmt.Errorf("the exports have no entry in common: one ends with entry %d, the other begins with entry %d", to, from+1)
	}
	for n := from; n <= to; n++ { // at most as many entries as the files have lines
		is, _ := x.Hash(n)
		if was, _ := former.Hash(n); is != was {
			return Against{Relation: Contradicts, Entry: n, UpTo: n == from}, nil
		}
	}
	switch {
	case former.last() > to && x.whole():
		return Against{Relation: Contradicts, Entry: to + 1, Missing: true}, nil
	case !x.whole() || !former.whole():
		return Against{Relation: Partly, Entry: to + 1}, nil
	case x.last() > to:
		return Against{Relation: Grew, Entry: to + 1}, nil
	}
	return Against{Relation: Same}, nil
}

// String describes the result.
func (a Against) String() string {
	switch {
	case a.Relation == Same:
		return "the same entries"
	case a.Relation == Grew:
		return fmt.Sprintf("all of its entries, and more from %d on", a.Entry)
	case a.Relation == Partly && a.Entry == 1:
		return "no entry can be compared"
	case a.Relation == Partly:
		return fmt.Sprintf("the same entries up to %d; from then on one of the two can't be read", a.Entry-1)
	case a.Missing:
		return fmt.Sprintf("entry %d is missing", a.Entry)
	case a.UpTo:
		return fmt.Sprintf("entry %d, or one before it, is another one", a.Entry)
	}
	return fmt.Sprintf("entry %d is another one", a.Entry)
}

// parseSigned accepts only the spelling that Export writes.
func parseSigned(line []byte) (*Checkpoint, error) {
	var s signedLine
	if err := json.Unmarshal(line, &s); err != nil || s.Checkpoint == nil {
		return nil, ErrNotSigned
	}
	if again, err := json.Marshal(s); err != nil || !bytes.Equal(again, line) || s.Checkpoint.Number < 0 || s.Checkpoint.Number > mostEntries {
		return nil, ErrNotSigned
	}
	return s.Checkpoint, nil
}
