package backlog

import (
	"slices"
	"time"

	"she/internal/access"
	"she/internal/bundle"
	"she/internal/hat"
	"she/internal/plan"
	"she/internal/trigger"
)

// CodeWithdrawn is the code of the fault of a run whose grant was withdrawn.
const CodeWithdrawn = "Grant.Revoked"

// withdraw ends the run in flight, if any, because its grant is gone. Its work stays as it is.
func (b Backlog) withdraw() (Backlog, *End) {
	if b.Lease == nil {
		return b.copied(), nil
	}
	return b.ended(b.Lease.Plan, Refused, hat.NewFault(hat.Owner, CodeWithdrawn, "the grant was withdrawn during the run"))
}

// Disable switches the function off.
func (b Backlog) Disable() Step {
	b, end := b.withdraw()
	b.Enabled = false
	return Step{Backlog: b, Ended: end}
}

// Ahead returns the grant with the position from which on records are shown whatever their time of creation:
// all that is written after the grant was given. newest is the newest position in the log.
func (b Backlog) Ahead(g access.Grant, newest hat.Seq) access.Grant {
	if g.Ahead = b.Grant.Ahead; g.Ahead == 0 || g.Since.After(b.Grant.Since) {
		g.Ahead = newest + 1
	}
	return g
}

// Enable switches the function on, for the first time or under another grant. The zero Backlog is a function
// that was never enabled. Failures so far no longer count, because a person has acted. Stored records that
// are granted only now become ranges.
func (b Backlog) Enable(g access.Grant, id access.GrantID, now time.Time) Step {
	before := b
	b, end := b.withdraw()
	b.Grant, b.GrantID, b.Enabled, b.Front = g, id, true, nil
	s := b.stored(0, now)
	if before.GrantID != 0 {
		s = s.then(func(b Backlog) Step { return b.renew(before, now).addGranted(before, now) })
	}
	s.Ended = end
	return s
}

// then appends next to a Step: it runs after the last question is answered.
func (s Step) then(next func(Backlog) Step) Step {
	if s.Ask == nil {
		return next(s.Backlog)
	}
	ask := *s.Ask
	answer := ask.then
	ask.then = func(stored []Stored) Step { return answer(stored).then(next) }
	s.Ask = &ask
	return s
}

// renew adapts the ranges to another grant: records that are granted only now get ranges of their own.
func (b Backlog) renew(before Backlog, now time.Time) Backlog {
	b = b.copied()
	same := sameRecords(b.Grant, before.Grant)
	granted := b.Grant.Bundle.Endpoints()
	b.dropRanges(func(r *Item) bool {
		if !same {
			r.Part = r.Part.Granted(before.GrantID, before.Grant, b.Grant)
			if !slices.ContainsFunc(granted, r.Part.At) {
				return true
			}
		}
		r.again(trigger.NotBefore(b.state(), now), r.Replay)
		return false
	})
	return b
}

// addGranted makes ranges of the records up to the cursor that were not granted before: those at new
// endpoints, those older than the former window, and those that a looser filter now lets pass. Another field
// of records that were shown is no reason to show them again, because the function's results from them exist
// (ADR 0017).
func (b Backlog) addGranted(before Backlog, now time.Time) Step {
	var fresh, known []hat.Endpoint
	had := before.Grant.Bundle.Endpoints()
	for _, e := range b.Grant.Bundle.Endpoints() {
		if slices.Contains(had, e) {
			known = append(known, e)
		} else {
			fresh = append(fresh, e)
		}
	}
	beyond := &plan.FormerGrant{ID: before.GrantID}
	parts := []plan.Part{{Only: fresh}, {Only: bundle.Loosened(before.Grant.Bundle, b.Grant.Bundle), Beyond: beyond}}
	if was := before.Grant.Since; b.Grant.Since.Before(was) {
		parts[1].Since = was // parts[2] has the rest
		parts = append(parts, plan.Part{Only: known, Before: was, Beyond: beyond})
	}
	s := Step{Backlog: b}
	for _, part := range parts {
		s = s.then(func(b Backlog) Step { return b.grow(part, now) })
	}
	return s
}

// grow makes a range of the stored records of a part up to the cursor, if there are any.
func (b Backlog) grow(part plan.Part, now time.Time) Step {
	if len(part.Only) == 0 || b.Cursor == 0 {
		return Step{Backlog: b}
	}
	return b.ask(0, b.Cursor, part, func(b *Backlog, stored []Stored) Step {
		if v, oldest := b.judge(stored, now); v.Raised() {
			b.addRange(Item{Upto: b.Cursor, Part: part, Oldest: oldest, NotBefore: v.NotBefore, Chain: v.Chain})
		}
		return Step{Backlog: *b}
	})
}

// sameRecords reports whether two grants show the same records.
func sameRecords(now, before access.Grant) bool {
	return now.Since.Equal(before.Since) && slices.Equal(now.Bundle.Endpoints(), before.Bundle.Endpoints()) &&
		len(bundle.Loosened(before.Bundle, now.Bundle)) == 0
}
