// Package plan fixes what one run will cover before any data is read: step 4 of the walk. A Plan is stored
// with the claim, so that a second attempt after a crash covers the same positions.
package plan

import (
	"slices"
	"time"

	"she/internal/access"
	"she/internal/bundle"
	"she/internal/hat"
)

// Cause says why a run was planned.
type Cause string

const (
	ByData    Cause = "data"    // records arrived, or a period was over with records waiting
	ByRequest Cause = "request" // somebody triggered it
	ByReplay  Cause = "replay"  // parked work or a committed run is run again
)

// A Plan says what one run covers. The function is shown the records with After < Seq ≤ Upto, in their form
// at the time of reading, that match the bundle and that it has not written itself.
type Plan struct {
	Run     hat.RunID
	Grant   access.Grant // as of the claim: function, version, bundle, output
	Cause   Cause
	Window  hat.Window // fromDate and untilDate for the bundle entry
	After   hat.Seq    // the cursor; 0: from the beginning
	Upto    hat.Seq    // becomes the cursor when the run commits
	Attempt int        // 1 for the first
	Epoch   int64      // of the lease; a commit needs the latest one
	Expires time.Time  // of the lease
	Due     time.Time  // when the function became due; the queue delay counts from here
	Claimed time.Time
	// LastExecution is shown to the function in its configuration; zero if it never ran.
	LastExecution time.Time
	// Depth and Chain are the deepest provenance among the pending events. The derived records continue it.
	Depth int
	Chain []hat.FunctionID

	// Range is the vault's number of the range that the run covers; 0: the front. The embedded Part narrows
	// which of its records are covered.
	Range int64
	Part
	Replaces hat.RunID // the run whose output this run replaces; zero: none
	Most     int       // about how many records at once; 0: all
}

// A Part narrows which records at the positions of a run are covered, so that records that were granted at
// different times are covered by different runs, each of them once. The zero Part is all records.
type Part struct {
	Only   []hat.Endpoint // records at these endpoints; nil: at all endpoints of the bundle
	Since  time.Time      // created at this time or later; zero: any time
	Before time.Time      // created before this time; zero: any time
	Under  []FormerGrant  // records that each of these grants shows: the former grants under which the positions were done
	Beyond *FormerGrant   // records that this grant does not show, because it has shown the others; nil: no restriction
}

// A FormerGrant is an earlier grant, or the present one. Outside of a Plan its Grant may be missing.
type FormerGrant struct {
	ID    access.GrantID
	Grant access.Grant
}

func (g FormerGrant) shows(matcher Matcher) (func(r hat.Record) bool, error) {
	shows, err := matcher(g.Grant.Bundle)
	return func(r hat.Record) bool { return g.Grant.Shows(r.Born, r.Created) && shows(r) }, err
}

// A Matcher compiles a bundle to a test of records: bundle.Bundle.Matcher, or a question's, which counts
// fuel.
type Matcher func(bundle.Bundle) (func(r hat.Record) bool, error)

// All reports whether the part leaves nothing out.
func (p Part) All() bool {
	return p.Only == nil && p.Since.IsZero() && p.Before.IsZero() && p.Under == nil && p.Beyond == nil
}

// Filter returns a test whether the part covers a record, for use by one goroutine at a time.
func (p Part) Filter(matcher Matcher) (func(r hat.Record) bool, error) {
	var under []func(hat.Record) bool
	for _, g := range p.Under {
		shows, err := g.shows(matcher)
		if err != nil {
			return nil, err
		}
		under = append(under, shows)
	}
	beyond := func(hat.Record) bool { return false }
	if p.Beyond != nil {
		var err error
		if beyond, err = p.Beyond.shows(matcher); err != nil {
			return nil, err
		}
	}
	return func(r hat.Record) bool {
		return p.At(r.Endpoint) && !r.Created.Before(p.Since) && (p.Before.IsZero() || r.Created.Before(p.Before)) &&
			!slices.ContainsFunc(under, func(shows func(hat.Record) bool) bool { return !shows(r) }) && !beyond(r)
	}, nil
}

// At reports whether the part covers records at that endpoint.
func (p Part) At(e hat.Endpoint) bool { return p.Only == nil || slices.Contains(p.Only, e) }

// Granted returns what a former grant covered of the part: no endpoint, time or record that was granted
// later. id is that grant's, now is the present grant.
func (p Part) Granted(id access.GrantID, g, now access.Grant) Part {
	if now.Since.Before(g.Since) || len(bundle.Loosened(g.Bundle, now.Bundle)) > 0 {
		p.Under = append(slices.Clone(p.Under), FormerGrant{ID: id})
	}
	granted := g.Bundle.Endpoints()
	if p.Only == nil {
		p.Only = granted
	} else {
		p.Only = slices.DeleteFunc(slices.Clone(p.Only), func(e hat.Endpoint) bool { return !slices.Contains(granted, e) })
	}
	return p
}

const (
	firstRunMonths = -6 // how far back a first run, or one with useAll, is asked to look
	untilMonths    = 3
)

// Window returns the dates for the bundle entry. It begins at the last execution, or six months ago for a
// first run and for useAll. It ends three months ahead, so that calendars are covered. A last execution ahead
// of the clock is ignored, because the clock was set back.
func Window(now, lastExecution time.Time, useAll bool) hat.Window {
	from := lastExecution
	if useAll || from.IsZero() || from.After(now) {
		from = now.AddDate(0, firstRunMonths, 0)
	}
	return hat.Window{From: from.UTC(), Until: now.AddDate(0, untilMonths, 0).UTC()}
}
