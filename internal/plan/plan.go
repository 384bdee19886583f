// Package plan fixes what one run will cover, before anything of it is read: step 4 of the walk. A Plan is stored
// with the claim, so that a second attempt after a crash covers the same ground.
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

	// Range is the number, in the vault, of the range that is covered; 0: the front, what has come since the cursor. The
	// rest narrows what of a range's positions is meant.
	Range int64
	Part
	Replaces hat.RunID // the run whose output this one's takes the place of; zero: none
	Most     int       // about so many records at once; 0: all there are
}

// A Part narrows what of the ground of a run is meant, so that records that were granted at different times are covered
// at different times, and each once. The zero Part is all of it.
type Part struct {
	Only   []hat.Endpoint // records at these endpoints; nil: at all the bundle names
	Since  time.Time      // created then or later; zero: whenever
	Before time.Time      // created before; zero: whenever
	Under  []FormerGrant  // that each of these can show too: the ground was passed under other grants
	Beyond *FormerGrant   // that this one can't show: it has been shown what it can; nil: whatever
}

// A FormerGrant is one the owner gave before, or gives now. A Part that is not of a Plan may lack the grant itself.
type FormerGrant struct {
	ID    access.GrantID
	Grant access.Grant
}

func (g FormerGrant) shows(matcher Matcher) (func(r hat.Record) bool, error) {
	shows, err := matcher(g.Grant.Bundle)
	return func(r hat.Record) bool { return g.Grant.Shows(r.Born, r.Created) && shows(r) }, err
}

// A Matcher says what a bundle can show: bundle.Bundle.Matcher, or that of a question, which counts what it takes.
type Matcher func(bundle.Bundle) (func(r hat.Record) bool, error)

// All says that nothing is left out.
func (p Part) All() bool {
	return p.Only == nil && p.Since.IsZero() && p.Before.IsZero() && p.Under == nil && p.Beyond == nil
}

// Filter answers whether a record is meant, to one goroutine at a time.
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

// At says whether any record at that endpoint is.
func (p Part) At(e hat.Endpoint) bool { return p.Only == nil || slices.Contains(p.Only, e) }

// Granted is what of the part a grant covered that was given before: no endpoint, no time and no record that were granted
// later. id is of that grant, now the one that is given.
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
	firstRunMonths = -6 // what a first run, and one with useAll, is asked about
	untilMonths    = 3
)

// Window is what the bundle entry is told: since the last execution, or the last six months if there is none or all
// is wanted; until three months ahead, so that calendars are covered. A last execution ahead of the clock says nothing: the
// clock was set back.
func Window(now, lastExecution time.Time, useAll bool) hat.Window {
	from := lastExecution
	if useAll || from.IsZero() || from.After(now) {
		from = now.AddDate(0, firstRunMonths, 0)
	}
	return hat.Window{From: from.UTC(), Until: now.AddDate(0, untilMonths, 0).UTC()}
}
