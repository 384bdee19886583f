package receipt

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"

	"she/internal/hat"
)

// SaltSize is the number of random bytes stored with each record and erased with it. They make sure that
// nobody who holds a receipt can test a guess of an erased record's content.
const SaltSize = 16

// A Commitment fixes one record's content without revealing it.
type Commitment [sha256.Size]byte

// Content is what a commitment fixes. Created is in microseconds since 1970.
type Content struct {
	ID       hat.RecordID
	Author   hat.UserID
	Created  int64
	Digest   [sha256.Size]byte // SHA-256 of the data
	Endpoint hat.Endpoint
}

// Commit returns SHA-256 over a label, the salt and the content. Only the endpoint, which comes last, has a
// variable length.
func (c Content) Commit(salt []byte) Commitment {
	var b [256]byte
	text := append(b[:0], "she content 1\n"...)
	text = append(text, salt...)
	text = append(text, c.ID.Bytes()...)
	text = append(text, c.Author.Bytes()...)
	text = binary.BigEndian.AppendUint64(text, uint64(c.Created))
	text = append(text, c.Digest[:]...)
	return sha256.Sum256(append(text, c.Endpoint.String()...))
}

// Contents are the commitments to the records that one entry wrote, one for each position from Fact.First on.
// Each record has its own, so that the others can be verified after one is erased. In JSON they are one text:
// all of them joined, in base64.
type Contents []Commitment

// MarshalText joins them.
func (c Contents) MarshalText() ([]byte, error) {
	joined := make([]byte, 0, len(c)*sha256.Size)
	for i := range c {
		joined = append(joined, c[i][:]...)
	}
	return base64.RawStdEncoding.AppendEncode(nil, joined), nil
}

// UnmarshalText reads what MarshalText writes.
func (c *Contents) UnmarshalText(text []byte) error {
	joined, err := base64.RawStdEncoding.Strict().AppendDecode(nil, text)
	if err != nil || len(joined) == 0 || len(joined)%sha256.Size != 0 {
		return errors.New("want commitments in base64")
	}
	*c = nil
	for part := range slices.Chunk(joined, sha256.Size) {
		*c = append(*c, Commitment(part))
	}
	return nil
}

// A Span is a range of positions, ends included.
type Span struct{ First, Last hat.Seq }

// Spans are positions in ascending order: "5,9-20".
type Spans []Span

// SpansOf sorts positions and joins adjacent ones.
func SpansOf(all []hat.Seq) (s Spans) {
	all = slices.Clone(all)
	slices.Sort(all)
	for _, seq := range all {
		switch last := len(s) - 1; {
		case last >= 0 && seq <= s[last].Last:
		case last >= 0 && seq == s[last].Last+1:
			s[last].Last = seq
		default:
			s = append(s, Span{seq, seq})
		}
	}
	return s
}

// upTo yields the positions up to last.
func (s Spans) upTo(last hat.Seq) iter.Seq[hat.Seq] {
	return func(yield func(hat.Seq) bool) {
		for _, span := range s {
			for seq := span.First; seq <= min(span.Last, last); seq++ {
				if !yield(seq) {
					return
				}
			}
		}
	}
}

// MarshalText writes "5,9-20".
func (s Spans) MarshalText() (b []byte, err error) {
	for i, span := range s {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(span.First), 10)
		if span.Last > span.First {
			b = strconv.AppendInt(append(b, '-'), int64(span.Last), 10)
		}
	}
	return b, nil
}

// UnmarshalText reads what MarshalText writes. It accepts other spellings of numbers; Parse refuses them.
func (s *Spans) UnmarshalText(text []byte) error {
	*s = nil
	for part := range strings.SplitSeq(string(text), ",") {
		from, to, isRun := strings.Cut(part, "-")
		first, err := strconv.ParseInt(from, 10, 64)
		last := first
		if err == nil && isRun {
			last, err = strconv.ParseInt(to, 10, 64)
		}
		if err != nil || first < 1 || last < first || len(*s) > 0 && hat.Seq(first)-1 <= (*s)[len(*s)-1].Last {
			return errors.New("want positions in ascending order")
		}
		*s = append(*s, Span{hat.Seq(first), hat.Seq(last)})
	}
	return nil
}

// A Stored record is one that the vault holds: its position, and a commitment computed from the stored
// content.
type Stored struct {
	ID         hat.RecordID
	Seq        hat.Seq // position of its last change
	Superseded bool
	Salted     bool // false for records written before commitments existed
	Is         Commitment
}

// A Problem says how a record and the chain disagree.
type Problem string

const (
	Changed   Problem = "changed"    // the content is not what was written
	Missing   Problem = "missing"    // the chain says that the record exists, but it is not stored
	Unwritten Problem = "no-receipt" // stored, but no entry says that it was written
	Ended     Problem = "ended"      // stored, but an entry says that it was erased or changed
	Moved     Problem = "moved"      // stored as superseded and the chain says current, or the other way round
	Doubled   Problem = "doubled"    // another record is stored for the same position
	Miscount  Problem = "miscount"   // the number of records from before commitments differs from the chain
	Positions Problem = "positions"  // the positions of the entries have a gap, or do not end where the log ends
)

// A Difference is one disagreement with the chain. It names ids and positions and contains no data.
type Difference struct {
	Problem Problem      `json:"problem"`
	Record  hat.RecordID `json:"record,omitzero"`    // zero if the id is not known, as receipts hold none
	Seq     hat.Seq      `json:"position,omitempty"` // of the log
	Entry   int64        `json:"entry,omitempty"`    // the receipt that took the position
	Detail  string       `json:"detail,omitempty"`
}

var problemTexts = map[Problem]string{
	Changed:   "its content is not the one that was written",
	Missing:   "the record that was written is not stored, and no receipt says that it was erased",
	Unwritten: "it is stored, and no receipt says that it was written",
	Ended:     "it is stored, and a receipt says that it was erased or replaced",
	Moved:     "it is stored as current or superseded, and the receipts say the opposite",
	Doubled:   "a second record is stored for the same position",
	Miscount:  "records from before commitments",
	Positions: "positions of the log",
}

func (d Difference) String() string {
	var where []string
	if d.Record != (hat.RecordID{}) {
		where = append(where, "record "+d.Record.String())
	}
	if d.Seq != 0 {
		where = append(where, fmt.Sprintf("position %d", d.Seq))
	}
	if d.Entry != 0 {
		where = append(where, fmt.Sprintf("receipt %d", d.Entry))
	}
	text := problemTexts[d.Problem]
	if d.Detail != "" {
		text += ": " + d.Detail
	}
	if len(where) == 0 {
		return text
	}
	return strings.Join(where, ", ") + ": " + text
}

// A Comparison is the result of CompareContents.
type Comparison struct {
	From    int64        `json:"from"`              // the first entry that commits to content; 0 if none does
	Proved  int          `json:"proved"`            // records whose content is as written
	Before  int          `json:"before"`            // records from before commitments, which can only be counted
	Differs []Difference `json:"differs,omitempty"` // at most mostDifferences
	More    int          `json:"more,omitempty"`    // how many others there are
}

// Whole reports whether nothing differs.
func (c Comparison) Whole() bool { return len(c.Differs) == 0 }

const mostDifferences = 20

func (c *Comparison) add(d Difference) {
	if len(c.Differs) == mostDifferences {
		c.More++
		return
	}
	c.Differs = append(c.Differs, d)
}

// A place is the state of one position of the log.
type place byte

const (
	empty      place = iota // an erasure, or a position without a commitment
	current                 // a record
	superseded              // a record that a later run replaced
	ended                   // a record that was erased, or changed at a later position
	seen       place = 8    // added when the record was found
)

// CompareContents keeps half a commitment for each position. Half is enough: nobody can find other content
// that matches it.
type half [sha256.Size / 2]byte

const bytesForPosition = 1 + len(half{})

// mostPositions bounds the memory that a manipulated file can make CompareContents use.
const mostPositions = 1 << 32

// CompareContents compares a chain that Verify has accepted with all records stored at the same moment,
// current and superseded. upto is the last position of the log. texts must yield the same sequence each time.
// room is asked for memory before it is used; its error is returned.
func CompareContents(texts iter.Seq2[[]byte, error], stored iter.Seq2[Stored, error], upto hat.Seq, room func(bytes int64) error) (Comparison, error) {
	c := comparer{upto: upto, room: room}
	if err := entries(texts, c.read); err != nil {
		return Comparison{}, err
	}
	if c.last != upto {
		c.result.add(Difference{
			Problem: Positions,
			Seq:     c.last + 1,
			Detail:  fmt.Sprintf("the receipts end at %d, the log at %d", c.last, upto),
		})
	}
	for s, err := range stored {
		if err != nil {
			return Comparison{}, err
		}
		c.found(s)
	}
	c.finish()
	if !slices.ContainsFunc(c.result.Differs, func(d Difference) bool { return d.Seq > 0 && d.Entry == 0 }) {
		return c.result, nil
	}
	// A second pass finds the entry of each position. Keeping it for each would take more memory than all the
	// rest.
	err := entries(texts, func(e Entry) error {
		for i := range c.result.Differs {
			if d := &c.result.Differs[i]; d.Seq > 0 && e.First <= d.Seq && d.Seq <= e.Last {
				d.Entry = e.Number
			}
		}
		return nil
	})
	return c.result, err
}

func entries(texts iter.Seq2[[]byte, error], f func(Entry) error) error {
	for text, err := range texts {
		if err != nil {
			return err
		}
		e, err := Parse(text)
		if err != nil {
			return err
		}
		if err := f(e); err != nil {
			return err
		}
	}
	return nil
}

// comparer holds the state of one comparison.
type comparer struct {
	result Comparison
	upto   hat.Seq
	room   func(int64) error

	last  hat.Seq // the last position of the entries read so far
	first hat.Seq // the first position with a commitment; 0: none yet
	// Position first+i is at index i.
	is       []place
	contents []half

	// Numbers of records from before commitments: according to the chain, and as found.
	before, beforeSuperseded           int
	foundBefore, foundBeforeSuperseded int
}

// at returns the index of a position, if commitments existed when it was taken.
func (c *comparer) at(seq hat.Seq) (int, bool) {
	i := seq - c.first
	return int(i), c.first > 0 && i >= 0 && i < hat.Seq(len(c.is))
}

// read records what an entry says.
func (c *comparer) read(e Entry) error {
	span := 0
	if e.First > 0 {
		if e.First != c.last+1 || e.Last < e.First || e.Last > c.upto {
			c.result.add(Difference{Problem: Positions, Seq: c.last + 1, Entry: e.Number,
				Detail: fmt.Sprintf("the receipt took %d to %d, after %d", e.First, e.Last, c.last)})
			if e.First <= c.last || e.Last < e.First || e.Last > c.upto {
				return nil // not a form that is known
			}
		}
		span, c.last = int(e.Last-e.First+1), e.Last
	}
	if c.first == 0 && len(e.Contents) > 0 && span > 0 {
		c.first, c.result.From = e.First, e.Number
		n := int64(c.upto - c.first + 1)
		if n > mostPositions {
			return fmt.Errorf("the log has %d positions, more than can be compared", n)
		}
		if err := c.room(n * int64(bytesForPosition)); err != nil {
			return err
		}
		c.is, c.contents = make([]place, 0, n), make([]half, 0, n)
	}
	if c.first > 0 && span > 0 {
		c.is, c.contents = c.is[:c.last-c.first+1], c.contents[:c.last-c.first+1]
		for i, content := range e.Contents[:min(len(e.Contents), span)] {
			at, _ := c.at(e.First + hat.Seq(i))
			c.is[at], c.contents[at] = current, half(content[:len(half{})])
		}
	} else if c.first == 0 {
		c.count(e, span)
	}
	becomes := ended
	if e.Kind == Run {
		becomes = superseded
	}
	for seq := range e.Ended.upTo(c.last) {
		if i, ok := c.at(seq); ok {
			c.is[i] = becomes
			continue
		}
		c.before--
		if becomes == superseded {
			c.beforeSuperseded++
		}
	}
	for seq := range e.Dropped.upTo(c.last) {
		if i, ok := c.at(seq); ok {
			c.is[i] = ended
		} else {
			c.beforeSuperseded--
		}
	}
	return nil
}

// count updates the number of records that entries without commitments wrote and removed. Later entries name
// them in Ended.
func (c *comparer) count(e Entry, span int) {
	if e.Ended != nil || e.Dropped != nil {
		return
	}
	erased, forgotten := 0, 0
	if e.Erased != nil {
		erased = e.Erased.Count
	}
	if e.Forgotten != nil {
		forgotten = e.Forgotten.Count
	}
	switch {
	case e.Kind == Write && e.Outcome != "changed":
		c.before += span
	case e.Kind == Run: // each record that it superseded took a position
		c.before += span - 2*erased
		c.beforeSuperseded += erased - forgotten
	case e.Kind == Erase: // superseded records took none
		c.before -= span
		c.beforeSuperseded -= erased - span
	}
}

// found compares one stored record.
func (c *comparer) found(s Stored) {
	d := Difference{Seq: s.Seq, Record: s.ID}
	i, ok := c.at(s.Seq)
	switch {
	case !ok && (s.Salted || c.first > 0 && s.Seq >= c.first):
		d.Problem = Unwritten
	case !ok && s.Superseded:
		c.foundBeforeSuperseded++
		return
	case !ok:
		c.foundBefore++
		return
	case c.is[i]&seen != 0:
		d.Problem = Doubled
	case c.is[i] == empty:
		d.Problem = Unwritten
	case !s.Salted || half(s.Is[:len(half{})]) != c.contents[i]:
		d.Problem = Changed
	case c.is[i] == ended:
		d.Problem = Ended
	case s.Superseded != (c.is[i] == superseded):
		d.Problem = Moved
	}
	if ok && c.is[i] != empty {
		c.is[i] |= seen
	}
	if d.Problem != "" {
		c.result.add(d)
		return
	}
	c.result.Proved++
}

// finish reports what is not stored.
func (c *comparer) finish() {
	for i, is := range c.is {
		if is == current || is == superseded {
			c.result.add(Difference{Problem: Missing, Seq: c.first + hat.Seq(i)})
		}
	}
	c.result.Before = c.foundBefore + c.foundBeforeSuperseded
	if c.foundBefore != c.before || c.foundBeforeSuperseded != c.beforeSuperseded {
		c.result.add(Difference{Problem: Miscount, Detail: fmt.Sprintf("%d current and %d superseded are stored, the receipts say %d and %d",
			c.foundBefore, c.foundBeforeSuperseded, c.before, c.beforeSuperseded)})
	}
}
