// Package receipt records what was done with a person's data as entries in a hash chain, which can't be
// changed later without a trace. An entry names ids, endpoints, counts and digests; it never holds the data.
//
// The package is pure. The vault appends an entry in the transaction that does the thing. Verify checks that
// a chain is unbroken. A chain can't show that its last entries are missing: keep a Head elsewhere for that.
package receipt

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"
	"time"

	"she/internal/hat"
)

// A Kind says what was done.
type Kind string

const (
	Write      Kind = "write"      // records were added, changed or linked
	Erase      Kind = "erase"      // records were removed
	Grant      Kind = "grant"      // a function was switched on or off, or a data debit was accepted or cancelled
	Run        Kind = "run"        // a function ran: it was shown records and may have written some
	Skip       Kind = "skip"       // failed work was given up
	Disclosure Kind = "disclosure" // records were given to somebody other than the Owner
)

// A Digest is a SHA-256 sum; it reads and writes as hex.
type Digest [sha256.Size]byte

func (d Digest) IsZero() bool                 { return d == Digest{} }
func (d Digest) String() string               { return hex.EncodeToString(d[:]) }
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText accepts only 64 lower-case hex digits, so that a digest has one spelling.
func (d *Digest) UnmarshalText(text []byte) error {
	if len(text) != hex.EncodedLen(len(d)) || !bytes.Equal(bytes.ToLower(text), text) {
		return errors.New("want 64 lower-case hex digits")
	}
	_, err := hex.Decode(d[:], text)
	return err
}

// DigestIDs hashes the ids of records in order, 16 bytes each.
func DigestIDs(ids []hat.RecordID) Digest {
	h := sha256.New()
	for _, id := range ids {
		h.Write(id.Bytes())
	}
	return Digest(h.Sum(nil))
}

// Records is the number of records and the digest of their ids in order, see DigestIDs.
type Records struct {
	Count int    `json:"count"`
	IDs   Digest `json:"ids"`
}

// RecordsOf counts and digests ids.
func RecordsOf(ids []hat.RecordID) *Records {
	return &Records{len(ids), DigestIDs(ids)}
}

// A Fact is what an entry says was done. Fields that do not apply are zero.
type Fact struct {
	Kind Kind `json:"kind"`
	// Who did it: a user, an application acting for the Owner, or a Function (then Function is set).
	User        hat.UserID `json:"user,omitzero"`
	Application string     `json:"application,omitempty"`
	Debit       string     `json:"debit,omitempty"` // the data debit that was decided on, or that allowed the disclosure

	Function hat.FunctionID `json:"function,omitzero"`
	Version  string         `json:"version,omitempty"`
	Package  string         `json:"package,omitempty"` // digest of the code, "sha256:…"
	Bundle   Digest         `json:"bundle,omitzero"`   // SHA-256 of the bundle's JSON: as granted, or as the run asked
	Output   hat.Endpoint   `json:"output,omitzero"`   // where the function may write
	Run      hat.RunID      `json:"run,omitzero"`
	Attempt  int            `json:"attempt,omitempty"`
	After    hat.Seq        `json:"after,omitempty"` // the run covered After < seq ≤ Upto
	Upto     hat.Seq        `json:"upto,omitempty"`
	Replaces hat.RunID      `json:"replaces,omitzero"` // the run whose output this run replaced
	// Of a grant: whether a newer result replaces older ones ("replace"; else it is added), whether a result
	// that equals an older one is kept ("keep"; else it is dropped), and since when records are shown (zero:
	// all).
	Mode  string     `json:"mode,omitempty"`
	Equal string     `json:"equal,omitempty"`
	Since *time.Time `json:"since,omitempty"`
	// Of a decision on a data debit: the digest of its terms.
	Terms hat.TermsDigest `json:"terms,omitzero"`

	// Outcome says how it ended: "enabled", "disabled", "linked", or a run's last state. Fault is the code of
	// its fault.
	Outcome string `json:"outcome,omitempty"`
	Fault   string `json:"fault,omitempty"`

	Read      *Records       `json:"read,omitempty"`
	Written   *Records       `json:"written,omitempty"`
	Erased    *Records       `json:"erased,omitempty"`
	Forgotten *Records       `json:"forgotten,omitempty"` // superseded records that are kept no longer
	Endpoints []hat.Endpoint `json:"endpoints,omitempty"` // endpoints concerned, sorted
	First     hat.Seq        `json:"first,omitempty"`     // positions in the log that this took, ends included
	Last      hat.Seq        `json:"last,omitempty"`

	// Contents are commitments to what was written at the positions from First on. Ended are the former
	// positions of records that were erased, changed (their new position is from First on) or, by a run,
	// superseded. Dropped are positions of superseded records that were erased. Entries from before
	// commitments have none of these.
	Contents Contents `json:"contents,omitempty"`
	Ended    Spans    `json:"ended,omitempty"`
	Dropped  Spans    `json:"dropped,omitempty"`

	Bytes   *Bytes  `json:"bytes,omitempty"`
	Timings Timings `json:"timings,omitzero"`
}

// Bytes of a function's process event and of its answer.
type Bytes struct {
	In  int `json:"in"`
	Out int `json:"out"`
}

// Timings of a run in microseconds.
type Timings struct {
	Queue   int64 `json:"queue"`
	Sandbox int64 `json:"sandbox"`
	Bundle  int64 `json:"bundle"`
	Query   int64 `json:"query"`
	Process int64 `json:"process"`
	Save    int64 `json:"save"`
}

// An Entry is a Fact with its place in a HAT's chain. Its canonical text is one line of JSON, with fields in
// the order of the structs and no white space:
//
//	{"number":2,"at":1700000000000000,"previous":"9f86…","kind":"write",…}
type Entry struct {
	Number   int64  `json:"number"`   // from 1, no gaps
	At       int64  `json:"at"`       // microseconds since 1970
	Previous Digest `json:"previous"` // hash of the entry before; zero for the first
	Fact
}

// Time is At as a time.
func (e Entry) Time() time.Time { return time.UnixMicro(e.At).UTC() }

// A Head is the end of a chain: the number of entries and the hash of the last. The zero Head is that of the
// empty chain. Whoever keeps a head can check later that nothing up to it was changed or removed.
type Head struct {
	Number int64  `json:"number"`
	Hash   Digest `json:"hash"`
}

// String writes "12:9f86…", the number and the hash.
func (h Head) String() string { return strconv.FormatInt(h.Number, 10) + ":" + h.Hash.String() }

// ParseHead reads what String writes. It accepts no other spelling.
func ParseHead(text string) (h Head, err error) {
	number, hash, _ := strings.Cut(text, ":")
	if h.Number, err = strconv.ParseInt(number, 10, 64); err == nil {
		err = h.Hash.UnmarshalText([]byte(hash))
	}
	if err != nil || h.Number < 0 || h.String() != text || (h.Number == 0) != h.Hash.IsZero() {
		return Head{}, errors.New("want a head of receipts: the number of an entry, a colon, and the 64 lower-case hex digits of its hash")
	}
	return h, nil
}

const keptOther = "it is not the one whose hash was kept"

// Holds returns nil if a head that was kept lies in a chain, else a *BrokenError or the error of the
// sequence. texts are the entries from number kept.Number on, up to the chain's own head.
func Holds(kept Head, texts iter.Seq2[[]byte, error], head Head) error {
	if kept.Number > head.Number {
		return &BrokenError{head.Number + 1, "it is missing at the end"}
	}
	first := kept.Number > 0
	var other error
	_, err := Verify(kept, func(yield func([]byte, error) bool) {
		for text, err := range texts {
			if first && err == nil {
				if first = false; hash(text) != kept.Hash {
					other = &BrokenError{kept.Number, keptOther}
					return
				}
				continue
			}
			if !yield(text, err) {
				return
			}
		}
	}, &head)
	if other == nil && first && err == nil {
		other = &BrokenError{kept.Number, "it is missing"}
	}
	return cmp.Or(other, err)
}

// Append returns the canonical text of the entry that follows head, which is to be stored, and the new head.
func Append(head Head, at time.Time, f Fact) ([]byte, Head, error) {
	text, err := encode(Entry{Number: head.Number + 1, At: at.UnixMicro(), Previous: head.Hash, Fact: f})
	if err != nil {
		return nil, head, err
	}
	return text, Head{head.Number + 1, hash(text)}, nil
}

// hash is SHA-256 over a label and the canonical text, which contains the hash of the entry before. The label
// makes sure that the sum can't be that of other data.
func hash(text []byte) Digest {
	h := sha256.New()
	h.Write([]byte("she receipt 1\n"))
	h.Write(text)
	return Digest(h.Sum(nil))
}

func encode(e Entry) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(e); err != nil {
		return nil, fmt.Errorf("receipt %d: %w", e.Number, err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

var errNotCanonical = errors.New("not the canonical text of a receipt")

// Parse reads an entry's canonical text. It refuses any other text, even one with the same meaning.
func Parse(text []byte) (Entry, error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	var e Entry
	if err := dec.Decode(&e); err != nil {
		return Entry{}, errNotCanonical // the decoder's error would quote the text
	}
	if _, err := dec.Token(); err != io.EOF {
		return Entry{}, errNotCanonical
	}
	if again, err := encode(e); err != nil || !bytes.Equal(again, text) {
		return Entry{}, errNotCanonical
	}
	return e, nil
}

// A BrokenError names the first entry at which a chain is not as it was written.
type BrokenError struct {
	Number int64  `json:"number"` // the number that the entry should have
	What   string `json:"what"`
}

func (e *BrokenError) Error() string { return fmt.Sprintf("receipt %d: %s", e.Number, e.What) }

// Verify reads the stored texts that follow after, in order, and returns the head they lead to. It returns a
// *BrokenError for the first entry that was changed, removed, inserted or moved, and an error of the sequence
// unchanged. A changed entry shows because its text is not canonical, or because the hash in the next entry
// does not match. For the last entry the caller passes want, the head that the chain must have; nil: unknown.
func Verify(after Head, texts iter.Seq2[[]byte, error], want *Head) (Head, error) {
	return walk(after, texts, want, func(Head) error { return nil })
}

// walk is Verify. It also calls at with each head on the way.
func walk(after Head, texts iter.Seq2[[]byte, error], want *Head, at func(Head) error) (Head, error) {
	head := after
	for text, err := range texts {
		if err != nil {
			return head, err
		}
		n := head.Number + 1
		e, err := Parse(text)
		switch {
		case err != nil:
			return head, &BrokenError{n, "its text was changed"}
		case e.Number > n:
			return head, &BrokenError{n, fmt.Sprintf("it is missing; number %d follows", e.Number)}
		case e.Number < n:
			return head, &BrokenError{n, fmt.Sprintf("number %d stands in its place", e.Number)}
		case e.Previous != head.Hash && n == after.Number+1:
			return head, &BrokenError{n, "it does not follow the head it should"}
		case e.Previous != head.Hash:
			// The hash in this entry does not match the entry before, so that one was changed.
			return head, &BrokenError{n - 1, "it was changed"}
		}
		head = Head{n, hash(text)}
		if err := at(head); err != nil {
			return head, err
		}
	}
	if want != nil && head != *want {
		if head.Number < want.Number {
			return head, &BrokenError{head.Number + 1, "it is missing at the end"}
		}
		if head.Number > want.Number {
			return head, &BrokenError{want.Number + 1, "it was never written"}
		}
		return head, &BrokenError{head.Number, "it was changed"}
	}
	return head, nil
}
