package backlog

import (
	"time"

	"she/internal/hat"
	"she/internal/plan"
)

// CodeInterrupted is the code of the fault of a run whose lease lapsed.
const CodeInterrupted = "Run.Interrupted"

// clockSlack is how far a claim may lie ahead of the clock. Clocks are corrected by milliseconds all the
// time.
const clockSlack = time.Minute

// ClaimedBefore returns the latest time at which a run can have been claimed if the clock is right and shows
// now.
func ClaimedBefore(now time.Time) time.Time { return now.Add(clockSlack) }

// Lapsed reports whether the lease is over: it has expired, or the server that took it has stopped.
func (l *Lease) Lapsed(boot string, now time.Time) bool {
	return l.Boot != boot || !l.Plan.Expires.After(now)
}

// Ahead reports whether the clock was set back since the lease was taken. The expiry is meaningless then. It
// is safe to claim the work again: a commit compares the epoch, and the engine has one run of a function at a
// time.
func (l *Lease) Ahead(now time.Time) bool { return l.Plan.Claimed.After(ClaimedBefore(now)) }

// A Claim asks for the right to run the function once.
type Claim struct {
	Run     hat.RunID
	Cause   plan.Cause
	Now     time.Time
	Expires time.Time // of the lease
	UseAll  bool      // run over all records from the beginning
	Newest  hat.Seq   // the newest position in the log
	Boot    string    // the start of the server that claims
}

// Settled ends the run in flight if its lease has lapsed. Otherwise its worker could continue and commit work
// that a person has skipped meanwhile. random in [0, 1) spreads the pause.
func (b Backlog) Settled(boot string, now time.Time, random float64) Step {
	if b.Lease == nil || !b.Lease.Lapsed(boot, now) {
		return Step{Backlog: b}
	}
	return b.Lapse(now, random)
}

// Ready comes before each claim. It ends a run whose lease has lapsed and cuts times that lie too far ahead.
// It returns ErrBusy if a run is in flight.
func (b Backlog) Ready(boot string, now time.Time, random float64) (Step, error) {
	s := Step{Backlog: b}
	if l := b.Lease; l != nil {
		if !l.Lapsed(boot, now) && !l.Ahead(now) {
			return s, ErrBusy
		}
		s = b.Lapse(now, random)
	}
	ended := s.Ended
	s = s.then(func(b Backlog) Step {
		if b.LastExecution.After(now) {
			b, _ = b.SetBack(now)
		}
		return Step{Backlog: b}
	})
	s.Ended = ended
	return s, nil
}

// Next returns the item that is due longest, or nil if none is due. Of two that are due since the same time
// the older data comes first.
func (b Backlog) Next(now time.Time) (first *Item) {
	for i := range b.Ranges {
		if r := &b.Ranges[i]; r.due(now) && (first == nil || r.NotBefore.Before(first.NotBefore)) {
			first = r
		}
	}
	if f := b.Front; f != nil && f.due(now) && (first == nil || f.NotBefore.Before(first.NotBefore)) {
		first = f
	}
	return first
}

// Claim takes one item. A claim by data takes the item that is due longest. A claim on request takes the
// front, with the range that is parked right before it, and makes other ranges due that waited for a request.
// It returns ErrBusy if a run is in flight, and ErrNothingDue only to a claim by data.
func (b Backlog) Claim(c Claim) (Backlog, plan.Plan, error) {
	if b.Lease != nil {
		return b, plan.Plan{}, ErrBusy
	}
	asked := c.Cause != plan.ByData
	b = b.copied()
	item := b.Next(c.Now)
	switch {
	case asked:
		item = b.Front // a request gets the newest data
		for i := range b.Ranges {
			if r := &b.Ranges[i]; !r.Parked && r.NotBefore.IsZero() {
				r.NotBefore = c.Now
			}
		}
	case item == nil:
		return b, plan.Plan{}, ErrNothingDue
	}
	b.Epoch++
	p := plan.Plan{
		Run: c.Run, Grant: b.Grant, Cause: c.Cause, Attempt: 1, Epoch: b.Epoch, Due: c.Now, Claimed: c.Now, Expires: c.Expires,
	}
	if item != nil {
		p.Attempt, p.Chain, p.Most = item.Attempt+1, item.Chain, item.Most
		if !asked {
			p.Due = item.NotBefore
			if item.Replay {
				p.Cause = plan.ByReplay
			}
		}
	}
	if item != nil && item.Number != 0 {
		p.After, p.Upto, p.Window, p.LastExecution = item.After, item.Upto, plan.Window(c.Now, item.From, false), item.Executed
		p.Range, p.Replaces, p.Part = item.Number, item.Replaces, item.Part
	} else {
		p.After, p.Upto, p.Window, p.LastExecution = b.Cursor, c.Newest, plan.Window(c.Now, b.LastExecution, c.UseAll), b.LastExecution
		if c.UseAll {
			p.After, p.Most = 0, 0
		} else if r := b.parkedBefore(b.Cursor); r != nil && plan.Together(r.Fault, asked, p.Attempt-1) {
			p.After, p.Chain = r.After, longer(p.Chain, r.Chain)
		}
	}
	p.Depth = len(p.Chain)
	b.Lease = &Lease{Plan: p, GrantID: b.GrantID, Boot: c.Boot}
	return b, p, nil
}

// Holds returns nil if the plan's run still has its lease and the server has not restarted since, else
// ErrStale.
func (b Backlog) Holds(p plan.Plan, boot string) error {
	l := b.Lease
	if l == nil || l.Plan.Run != p.Run || l.Plan.Epoch != p.Epoch || l.Boot != boot || !b.Enabled || b.GrantID != l.GrantID {
		return ErrStale
	}
	return nil
}

// ended removes the lease.
func (b Backlog) ended(p plan.Plan, s State, f *hat.Fault) (Backlog, *End) {
	b = b.copied()
	b.Lease = nil
	return b, &End{Plan: p, State: s, Fault: f}
}

// Abandon gives the work back unchanged when the server stops cleanly. ran is the plan as it ran.
func (b Backlog) Abandon(ran plan.Plan) Step {
	b, end := b.ended(ran, Abandoned, nil)
	return Step{Backlog: b, Ended: end}
}

// Lapse ends a run whose lease has lapsed. Its work is due at once, and the attempt counts: a function that
// crashes the server must not be retried without end. random in [0, 1) spreads the pause.
func (b Backlog) Lapse(now time.Time, random float64) Step {
	fault := hat.NewFault(hat.Engine, CodeInterrupted, "the run was interrupted")
	planned := b.Lease.Plan
	b, end := b.ended(planned, Abandoned, fault)
	s := b.failed(planned, planned, fault, now, random)
	s.Ended = end
	return s
}
