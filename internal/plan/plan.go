// Package plan fixes what one run will cover, before anything of it is read: step 4 of the walk. A Plan is stored
// with the claim, so that a second attempt after a crash covers the same ground.
package plan

import (
	"time"

	"she/internal/access"
	"she/internal/hat"
)

// Cause says why a run was planned.
type Cause string

const (
	ByData    Cause = "data"    // records arrived, or a period was over with records waiting
	ByRequest Cause = "request" // somebody triggered it
	ByReplay  Cause = "replay"  // a parked or former run is repeated
)

// A Plan is what one run covers. Records the function is shown have After < Seq ≤ Upto, exist at Upto or later as
// they are when read, match the bundle and are not the function's own.
type Plan struct {
	Run     hat.RunID
	Grant   access.Grant // as it was when claimed: function, version, bundle, output
	Cause   Cause
	Window  hat.Window // fromDate and untilDate for the bundle entry
	After   hat.Seq    // the cursor; 0: from the beginning
	Upto    hat.Seq    // becomes the cursor when the run commits
	Attempt int        // 1 for the first
	Epoch   int64      // of the lease; commit succeeds only while it is the latest
	Expires time.Time  // of the lease
	Due     time.Time  // when the function became due: queue delay counts from here
	Claimed time.Time
	// LastExecution is shown to the function in its configuration; zero if it never ran.
	LastExecution time.Time
	// Depth and Chain are the deepest provenance among the pending events, for the derived records' own.
	Depth int
	Chain []hat.FunctionID
}

const (
	firstRunMonths = -6 // what a first run, and one with useAll, is asked about
	untilMonths    = 3
)

// Window is what the bundle entry is told: since the last execution, or the last six months if there is none or all
// is wanted; until three months ahead, so that calendars are covered.
func Window(now, lastExecution time.Time, useAll bool) hat.Window {
	from := lastExecution
	if useAll || from.IsZero() {
		from = now.AddDate(0, firstRunMonths, 0)
	}
	return hat.Window{From: from.UTC(), Until: now.AddDate(0, untilMonths, 0).UTC()}
}
