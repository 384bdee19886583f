package backlog

import (
	"time"

	"she/internal/hat"
	"she/internal/plan"
	"she/internal/trigger"
)

// Arrive adds new records to the pending work. Work in a pause keeps its pause. Parked work stays parked. If
// the function is inOrder, data behind parked work is parked too. The verdict also says which records were
// stopped because their chain of functions is too long.
func (b Backlog) Arrive(events []trigger.Event, now time.Time) (Backlog, trigger.Verdict) {
	v := trigger.Judge(b.state(), events, now)
	if v.Raised() {
		b = b.copied()
		b.add(v, now, now, 0)
	}
	return b, v
}

// NeedsRanges is true if Arrive needs the ranges too. Only a front that was parked before ranges existed
// needs them.
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

// setAside parks the front up to a position as a range of its own, so that newer data does not wait. A range
// that was parked right before it becomes part of the new one. The caller moves the cursor.
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

// leave moves the cursor to a position and builds a new front from what is stored behind it.
func (b Backlog) leave(upto hat.Seq, now time.Time) Step {
	front := b.Front
	b.Cursor, b.Front = max(b.Cursor, upto), nil
	if front == nil || front.Upto <= b.Cursor {
		return Step{Backlog: b}
	}
	return b.stored(front.Most, now)
}

// stored builds the front from what is stored after the cursor.
func (b Backlog) stored(most int, now time.Time) Step {
	return b.ask(b.Cursor, 0, plan.Part{}, func(b *Backlog, stored []Stored) Step {
		if v, oldest := b.judge(stored, now); v.Raised() {
			b.add(v, oldest, now, most)
		}
		return Step{Backlog: *b}
	})
}
