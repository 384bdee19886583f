package backlog

import (
	"time"

	"she/internal/hat"
	"she/internal/plan"
)

// CodeInterrupted is the code of the fault of a run whose lease lapsed.
const CodeInterrupted = "Run.Interrupted"

// clockSlack is how far ahead of the clock a claim may lie, for clocks that are set by some milliseconds all the time.
const clockSlack = time.Minute

// ClaimedBefore is the latest that a run can have been claimed by a clock that says now.
func ClaimedBefore(now time.Time) time.Time { return now.Add(clockSlack) }

// Lapsed says that the lease holds no more: its time is over, or the server that took it is gone.
func (l *Lease) Lapsed(life string, now time.Time) bool {
	return l.Life != life || !l.Plan.Expires.After(now)
}

// Ahead says that the clock was set back since the lease was taken. Its end then says nothing. To take the work anew is
// safe: a commit goes by the epoch, and the engine has one run of a function at a time.
func (l *Lease) Ahead(now time.Time) bool { return l.Plan.Claimed.After(ClaimedBefore(now)) }

// A Claim asks for the right to run the function once.
type Claim struct {
	Run     hat.RunID
	Cause   plan.Cause
	Now     time.Time
	Expires time.Time // of the lease
	UseAll  bool      // read from the beginning
	Newest  hat.Seq   // the newest position there is
	Life    string    // of the server
}

// Settled ends the run in flight if its lease has lapsed: its worker may wake, and must not commit what somebody has
// skipped meanwhile. random in [0, 1) is for the pause.
func (b Backlog) Settled(life string, now time.Time, random float64) Step {
	if b.Lease == nil || !b.Lease.Lapsed(life, now) {
		return Step{Backlog: b}
	}
	return b.Lapse(now, random)
}

// Ready is what each claim begins with: a lease that holds no more is ended, and times that lie ahead are cut. ErrBusy.
func (b Backlog) Ready(life string, now time.Time, random float64) (Step, error) {
	s := Step{Backlog: b}
	if l := b.Lease; l != nil {
		if !l.Lapsed(life, now) && !l.Ahead(now) {
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

// Next is the item that is due longest; nil: none is. Of two the older data goes first.
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

// Claim takes one item: by data the one that is due longest; on request the front, and what is parked right before it.
// Other ranges that waited for a request are due then. ErrBusy: a run is in flight; ErrNothingDue, by data only.
func (b Backlog) Claim(c Claim) (Backlog, plan.Plan, error) {
	if b.Lease != nil {
		return b, plan.Plan{}, ErrBusy
	}
	asked := c.Cause != plan.ByData
	b = b.copied()
	item := b.Next(c.Now)
	switch {
	case asked:
		item = b.Front // whoever asks gets what is new
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
	b.Lease = &Lease{Plan: p, GrantID: b.GrantID, Life: c.Life}
	return b, p, nil
}

// Holds answers nil if the plan's run still has its lease, in that life of the server; else ErrStale.
func (b Backlog) Holds(p plan.Plan, life string) error {
	l := b.Lease
	if l == nil || l.Plan.Run != p.Run || l.Plan.Epoch != p.Epoch || l.Life != life || !b.Enabled || b.GrantID != l.GrantID {
		return ErrStale
	}
	return nil
}

// ended gives the lease back.
func (b Backlog) ended(p plan.Plan, s State, f *hat.Fault) (Backlog, *End) {
	b = b.copied()
	b.Lease = nil
	return b, &End{Plan: p, State: s, Fault: f}
}

// Abandon gives the work back untouched, for a clean stop. ran is the plan as it ran.
func (b Backlog) Abandon(ran plan.Plan) Step {
	b, end := b.ended(ran, Abandoned, nil)
	return Step{Backlog: b, Ended: end}
}

// Lapse ends the run in flight, whose lease holds no more, and counts the attempt: a function that takes the server down
// with it must not do so for ever. random in [0, 1) is for the pause.
func (b Backlog) Lapse(now time.Time, random float64) Step {
	fault := hat.NewFault(hat.Engine, CodeInterrupted, "the run was interrupted")
	planned := b.Lease.Plan
	b, end := b.ended(planned, Abandoned, fault)
	s := b.failed(planned, planned, fault, now, random)
	s.Ended = end
	return s
}
