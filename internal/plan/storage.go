package plan

import (
	"fmt"
	"time"

	"she/internal/hat"
)

// Storage is how much one HAT may hold: bytes of its vault's file that are in use, and records as the log has them now.
// It protects the disk, and with it everybody else, from one person and their partners. A zero field is no bound.
type Storage struct {
	Bytes   int64
	Records int64
}

// Held is what a HAT holds.
type Held struct {
	Bytes   int64 `json:"bytes"`
	Records int64 `json:"records"`
}

// Codes of what is over a HAT's Storage.
const (
	CodeBytes     = "Quota.Bytes"
	CodeStored    = "Quota.Records"
	CodeEndpoints = "Quota.Endpoints"
	CodeUsers     = "Quota.Users"
)

// Bounds of what else a HAT holds: endpoints with a record, which whoever may write to a namespace makes by naming them, and
// users who are not deleted. They keep lists of them short; what is there is changed as before.
const (
	MaxEndpoints = 10_000
	MaxUsers     = 500
)

// OverEndpoints says why a record is refused that would leave the HAT with records at so many endpoints; nil: it is not.
func OverEndpoints(after int64) *hat.Fault {
	if after <= MaxEndpoints {
		return nil
	}
	return hat.NewFault(hat.Owner, CodeEndpoints, fmt.Sprintf(
		"the HAT would hold records at %d endpoints, and may at %d; write to one of them, or erase what is not needed any more",
		after, MaxEndpoints))
}

// OverUsers says why a user is refused who would be one of so many; nil: they are not.
func OverUsers(after int) *hat.Fault {
	if after <= MaxUsers {
		return nil
	}
	return hat.NewFault(hat.Owner, CodeUsers, fmt.Sprintf("the HAT would have %d users, and may have %d; delete one first", after, MaxUsers))
}

// StoragePause is how long work waits that a HAT has no room for, before it is looked at again. Erasing ends the wait.
const StoragePause = 5 * time.Minute

// beyond is the share of the bytes that traces of reading may take besides, such as receipts of what was shown to a
// partner: a HAT that is full still shares what it holds.
const beyond = 8

// Over says why a change that would leave the HAT with so much is refused; nil: it is not.
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

// Full says why a HAT that holds so much gets no further run; nil: it may have one.
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

// Beyond is the bound for what a HAT that is full may still be asked for: an eighth of the bytes more, and no bound of
// records.
func (s Storage) Beyond() Storage {
	return Storage{Bytes: s.Bytes + s.Bytes/beyond}
}

// OverStorage says that f is a fault of Over, Full or OverEndpoints: time and erasing end it, no replay is needed.
func OverStorage(f *hat.Fault) bool {
	return f != nil && f.Who == hat.Owner && (f.Code == CodeBytes || f.Code == CodeStored || f.Code == CodeEndpoints)
}

// megabytes writes a number of bytes in MB of 1,048,576 bytes, as she.yaml has them, with a tenth.
func megabytes(n int64) string {
	return fmt.Sprintf("%d.%d MB", n>>20, n%(1<<20)*10>>20)
}
