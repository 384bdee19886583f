package backlog

import (
	"time"

	"she/internal/hat"
	"she/internal/plan"
	"she/internal/trigger"
)

// Arrive puts new records to what waits. Work that pauses after a failure keeps its pause; what is parked stays so, and so
// does what comes behind it if the function wants its data in order. The verdict says besides which records were stopped
// because of the chain of functions behind them.
func (b Backlog) Arrive(events []trigger.Event, now time.Time) (Backlog, trigger.Verdict) {
	v := trigger.Judge(b.state(), events, now)
	if v.Raised() {
		b = b.copied()
		b.add(v, now, now, 0)
	}
	return b, v
}

// NeedsRanges says that Arrive looks at the ranges too. Only a front that was parked before there were ranges does.
func (b Backlog) NeedsRanges() bool { return b.Front != nil && b.Front.Parked && !b.Grant.InOrder }

func (b *Backlog) add(v trigger.Verdict, oldest, now time.Time, most int) {
	if b.NeedsRanges() {
		b.setAside(b.Front.Upto, plan.Plan{LastExecution: b.LastExecution, Window: plan.Window(now, b.LastExecution, false)})
		b.Cursor, b.Front = max(b.Cursor, b.Front.Upto), nil
	}
	if b.Front == nil {
		b.Front = &Item{Oldest: oldest, NotBefore: v.NotBefore, Most: most}
	}
	b.Front.After = b.Cursor
	b.Front.Upto = max(b.Front.Upto, v.Upto)
	b.Front.Chain = longer(b.Front.Chain, v.Chain)
}

// setAside parks the front up to a position as a range of its own, so that newer data does not wait. What was parked right
// before it becomes part of it. The cursor is still to be moved.
func (b *Backlog) setAside(upto hat.Seq, told plan.Plan) {
	front := *b.Front
	front.Parked, front.Replay, front.Tried, front.Upto = true, false, 0, upto
	front.After, front.Aside, front.From, front.Executed = b.Cursor, true, told.Window.From, told.LastExecution
	former := b.parkedBefore(b.Cursor)
	if former == nil {
		b.addRange(front)
		return
	}
	front.Number, front.After, front.Oldest, front.From, front.Executed = former.Number, former.After, former.Oldest, former.From, former.Executed
	front.Chain = longer(former.Chain, front.Chain)
	*former = front
}

// leave moves the cursor to a position, and makes the front anew of what is stored behind it.
func (b Backlog) leave(upto hat.Seq, now time.Time) Step {
	front := b.Front
	b.Cursor, b.Front = max(b.Cursor, upto), nil
	if front == nil || front.Upto <= b.Cursor {
		return Step{Backlog: b}
	}
	return b.stored(front.Most, now)
}

// stored makes the front of what is stored behind the cursor.
func (b Backlog) stored(most int, now time.Time) Step {
	return b.ask(b.Cursor, 0, plan.Part{}, func(b *Backlog, stored []Stored) Step {
		if v, oldest := b.judge(stored, now); v.Raised() {
			b.add(v, oldest, now, most)
		}
		return Step{Backlog: *b}
	})
}
