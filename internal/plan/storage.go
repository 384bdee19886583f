package plan

import (
	"fmt"
	"time"

	"she/internal/hat"
)

// Storage bounds how much one HAT may hold: the bytes in use in its vault's file, and its records. It
// protects the disk, and so everybody else, from one person and their partners. A zero field is no bound.
type Storage struct {
	Bytes   int64
	Records int64
}

// Held is how much a HAT holds.
type Held struct {
	Bytes   int64 `json:"bytes"`
	Records int64 `json:"records"`
}

// Codes of faults of a HAT that is full.
const (
	CodeBytes     = "Quota.Bytes"
	CodeStored    = "Quota.Records"
	CodeEndpoints = "Quota.Endpoints"
	CodeUsers     = "Quota.Users"
)

// Bounds that keep lists short: endpoints with a record, which any writer to a namespace creates by naming
// them, and users who are not deleted. Existing ones can still be changed at the bound.
const (
	MaxEndpoints = 10_000
	MaxUsers     = 500
)

// OverEndpoints returns why a record is refused that would bring the HAT to this number of endpoints; nil: it
// is not refused.
func OverEndpoints(after int64) *hat.Fault {
	if after <= MaxEndpoints {
		return nil
	}
	return hat.NewFault(hat.Owner, CodeEndpoints, fmt.Sprintf(
		"the HAT would hold records at %d endpoints, and may at %d; write to one of them, or erase what is not needed any more",
		after, MaxEndpoints))
}

// OverUsers returns why a user is refused who would bring the HAT to this number of users; nil: not refused.
func OverUsers(after int) *hat.Fault {
	if after <= MaxUsers {
		return nil
	}
	return hat.NewFault(hat.Owner, CodeUsers, fmt.Sprintf("the HAT would have %d users, and may have %d; delete one first", after, MaxUsers))
}

// StoragePause is how long work of a full HAT waits before the next look. Erasing ends the wait.
const StoragePause = 5 * time.Minute

// beyond is the extra share of the bytes for receipts of reading, such as of data shown to a partner. So a
// full HAT can still share what it holds.
const beyond = 8

// Over returns why a change is refused that would make the HAT hold this much; nil: it is not refused.
func (s Storage) Over(after Held) *hat.Fault {
	const todo = "erase what is not needed any more, or ask the operator to raise %s"
	switch {
	case s.Bytes > 0 && after.Bytes > s.Bytes:
		return hat.NewFault(hat.Owner, CodeBytes, fmt.Sprintf("the HAT would hold %s, and may hold %s; "+todo,
			megabytes(after.Bytes), megabytes(s.Bytes), "limits.hatMB"))
	case s.Records > 0 && after.Records > s.Records:
		return hat.NewFault(hat.Owner, CodeStored, fmt.Sprintf("the HAT would hold %d records, and may hold %d; "+todo,
			after.Records, s.Records, "limits.hatRecords"))
	}
	return nil
}

// Full returns why a HAT that holds this much gets no further run; nil: it may have one.
func (s Storage) Full(held Held) *hat.Fault {
	const todo = "functions wait until something is erased, or the operator raises %s"
	switch {
	case s.Bytes > 0 && held.Bytes >= s.Bytes:
		return hat.NewFault(hat.Owner, CodeBytes, fmt.Sprintf("the HAT holds %s, and may hold %s; "+todo,
			megabytes(held.Bytes), megabytes(s.Bytes), "limits.hatMB"))
	case s.Records > 0 && held.Records >= s.Records:
		return hat.NewFault(hat.Owner, CodeStored, fmt.Sprintf("the HAT holds %d records, and may hold %d; "+todo,
			held.Records, s.Records, "limits.hatRecords"))
	}
	return nil
}

// Beyond is the bound for a full HAT: an eighth more bytes, and no bound of records.
func (s Storage) Beyond() Storage {
	return Storage{Bytes: s.Bytes + s.Bytes/beyond}
}

// OverStorage reports whether f comes from Over, Full or OverEndpoints. Time and erasing end it; no replay is
// needed.
func OverStorage(f *hat.Fault) bool {
	return f != nil && f.Who == hat.Owner && (f.Code == CodeBytes || f.Code == CodeStored || f.Code == CodeEndpoints)
}

// megabytes formats a number of bytes in MB of 1,048,576 bytes, with one decimal.
func megabytes(n int64) string {
	return fmt.Sprintf("%d.%d MB", n>>20, n%(1<<20)*10>>20)
}
