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

// CodeWithdrawn is the code of the fault of a run whose grant went away.
const CodeWithdrawn = "Grant.Revoked"

// withdraw ends the run in flight, if any, because the grant it ran under is gone. Its work stays as it is.
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

// Ahead is the grant with the position from which on it shows records whatever their age: what is written after it was
// first given. newest is the newest position there is.
func (b Backlog) Ahead(g access.Grant, newest hat.Seq) access.Grant {
	if g.Ahead = b.Grant.Ahead; g.Ahead == 0 || g.Since.After(b.Grant.Since) {
		g.Ahead = newest + 1
	}
	return g
}

// Enable switches the function on, for the first time or under another grant; the zero Backlog is a function that never
// was. A person has acted: failures of before count no more, and what is granted only now becomes ranges.
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

// then goes on after the last question of a step.
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

// renew adapts the ranges to another grant: what is granted only now has ranges of its own.
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

// addGranted makes ranges of what is stored up to the cursor and was not granted before: records at endpoints that are
// new, those that are older than the window was, and those that filters left out which are looser now. A field more of
// records that were shown is no reason to show them again: what the function made of them is there (ADR 0017).
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
		parts[1].Since = was // the rest of it is in the third
		parts = append(parts, plan.Part{Only: known, Before: was, Beyond: beyond})
	}
	s := Step{Backlog: b}
	for _, part := range parts {
		s = s.then(func(b Backlog) Step { return b.grow(part, now) })
	}
	return s
}

// grow makes a range of what is stored of a part up to the cursor, if anything is.
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

// sameRecords says that a grant shows no other records than the one before.
func sameRecords(now, before access.Grant) bool {
	return now.Since.Equal(before.Since) && slices.Equal(now.Bundle.Endpoints(), before.Bundle.Endpoints()) &&
		len(bundle.Loosened(before.Bundle, now.Bundle)) == 0
}
