package hat

import (
	"bytes"
	"time"
)

// A Draft is data that is not saved yet: its endpoint and its content. Links are further drafts that are
// saved and grouped with it; their own Links are ignored.
type Draft struct {
	Endpoint Endpoint
	Data     Data
	Links    []Draft
}

// A Record is saved data. Seq is its position in the HAT's log: that of its last change, or of its creation
// if it was never changed. Provenance says who wrote it.
type Record struct {
	ID       RecordID
	Endpoint Endpoint
	Data     Data
	Seq      Seq
	Born     Seq // the position of its creation
	Created  time.Time
	Updated  time.Time
	Provenance
	// Links are records that share a group with this one. Only some calls fill them.
	Links []Record
}

// Provenance says who wrote a record: a user or, if Function is set, that Function in that Run for the user.
// Depth counts the functions between this record and what a person or plug wrote (0). Chain names those
// functions, the writer last; each appears once.
type Provenance struct {
	User     UserID
	Function FunctionID
	Run      RunID
	Depth    int
	Chain    []FunctionID
}

// A Window is the half-open time span [From, Until) that a function is asked about: fromDate and untilDate on
// the wire.
type Window struct{ From, Until time.Time }

// WireTime is how SHE functions read and write times: UTC, always with milliseconds.
const WireTime = "2006-01-02T15:04:05.000Z"

// A Time is a time that is WireTime in JSON.
type Time struct{ time.Time }

// MarshalJSON writes WireTime.
func (t Time) MarshalJSON() ([]byte, error) { return []byte(`"` + FormatTime(t.Time) + `"`), nil }

// UnmarshalJSON reads WireTime.
func (t *Time) UnmarshalJSON(text []byte) (err error) {
	t.Time, err = time.Parse(WireTime, string(bytes.Trim(text, `"`)))
	return err
}

// FormatTime writes t in WireTime.
func FormatTime(t time.Time) string { return t.UTC().Format(WireTime) }
