package backlogtest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"she/internal/access"
	"she/internal/backlog"
	"she/internal/bundle"
	"she/internal/hat"
	"she/internal/plan"
)

// Where says where a record is, as the function sees it.
type Where string

const (
	Nowhere Where = "data"      // not given to the function: not granted, or not stored yet
	Due     Where = "due"       // waits for time, data or a request
	Planned Where = "planned"   // a run over it is in flight
	Parked  Where = "parked"    // waits for a person
	Done    Where = "committed" // a run over it committed
	Gone    Where = "gone"      // somebody skipped it
)

// An Edge is a change of a record's Where, or of a run's state.
type Edge struct{ From, To string }

const (
	lease = 5 * time.Minute
	most  = 60 // records that a walk writes
)

// A walk is the random history of one function.
type walk struct {
	testing.TB
	r       *rand.Rand
	m       *Machine
	mirror  Mirror // nil: none
	written int
	grant   access.Grant
	strict  bool
	both    bool

	claimed *plan.Plan // of the run in flight, as far as the walk knows; nil: none
	ended   []hat.RunID
	where   []Where
	now     []Where // positions after the last step
	given   []int   // how many committed runs, replays excepted, have shown the record in its present form
	edges   map[Edge]bool
	steps   []string
	again   bool // a run with useAll shows records twice, so its edges are not recorded
	mixed   bool // the step was more than one transition
}

// Walk takes random steps and returns the edges it saw. mirror may be nil; else it must be as new as a new
// machine.
func Walk(t testing.TB, r *rand.Rand, steps int, now time.Time, mirror Mirror) map[Edge]bool {
	w := &walk{TB: t, r: r, mirror: mirror, edges: map[Edge]bool{}}
	w.m = newMachine(now, r.Float64)
	w.m.ended = w.end
	w.strict = r.IntN(2) == 0
	w.write()
	w.move(time.Hour)
	w.grant = access.Grant{
		Function: parsed(hat.ParseFunctionID("f")), Version: parsed(hat.ParseVersion("1.0.0")), Digest: "sha256:00",
		Output: parsed(hat.ParseEndpoint("she/f")), InOrder: r.IntN(4) == 0, Since: w.m.now, Given: now,
		Trigger: []hat.Trigger{{Kind: hat.Individual}, {Kind: hat.Individual}, {Kind: hat.Manual},
			{Kind: hat.Periodic, Period: parsed(hat.ParsePeriod("PT3H"))}}[r.IntN(4)],
	}
	w.enable()
	w.now = w.positions()
	for range steps {
		w.step()
	}
	w.finish()
	return w.edges
}

func parsed[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

var (
	first  = parsed(hat.ParseEndpoint("a/x"))
	second = parsed(hat.ParseEndpoint("b/x"))
	faults = []*hat.Fault{
		hat.NewFault(hat.Author, "Runtime.Exit", "x"), hat.NewFault(hat.Author, "Runtime.Exit", "x"),
		hat.NewFault(hat.Author, plan.CodeRequestTooLarge, "x"), hat.NewFault(hat.Operator, "X", "x"),
		hat.NewFault(hat.Author, plan.CodeTooMuchWork, "x"), hat.NewFault(hat.Owner, "X", "x"), hat.NewFault(hat.Engine, "X", "x"),
	}
)

func (w *walk) step() {
	switch w.r.IntN(12) {
	case 0, 1:
		w.write()
	case 2:
		w.move(time.Duration(w.r.IntN(200)) * time.Minute)
		if w.r.IntN(8) == 0 {
			w.move(-24 * time.Hour)
		}
		w.do(func(m Mirror) { m.Due() })
	case 3:
		w.steer()
	case 4:
		w.consent()
	case 5:
		if w.r.IntN(6) == 0 {
			w.claimed = nil
			w.says("restart")
			w.do(func(m Mirror) { m.Restart() })
			if w.r.IntN(2) == 0 {
				w.says("new code")
				w.do(func(m Mirror) { m.NewCode() })
			}
			w.mixed = false
		}
	default:
		if w.claimed == nil {
			w.claim()
		} else {
			w.settle()
		}
	}
	w.check()
}

// fail ends the test and prints the last steps.
func (w *walk) fail(format string, args ...any) {
	w.Helper()
	w.Fatalf("after\n  %s\n"+format, append([]any{strings.Join(w.steps[max(0, len(w.steps)-12):], "\n  ")}, args...)...)
}

func (w *walk) says(format string, args ...any) {
	w.steps = append(w.steps, fmt.Sprintf(format, args...))
}

// do takes a step on the machine and on the mirror.
func (w *walk) do(f func(Mirror)) {
	f(w.m)
	if w.mirror != nil {
		f(w.mirror)
	}
}

// try is do for a step that may be refused. Both must give the same error.
func (w *walk) try(f func(Mirror) error) error {
	w.Helper()
	err := f(w.m)
	if w.mirror != nil {
		if real := f(w.mirror); (err == nil) != (real == nil) {
			w.fail("the machine says %v, the store %v\n%s", err, real, describe(w.m.b))
		}
	}
	return err
}

func (w *walk) write() {
	if len(w.m.records) >= most {
		return
	}
	if n := len(w.m.records); n > 0 && w.r.IntN(6) == 0 {
		i, text := w.r.IntN(n), w.text()
		w.where[i], w.given[i], w.mixed = Nowhere, 0, true
		w.says("rewrite %d", i)
		w.do(func(m Mirror) { m.Rewrite(i, text) })
		return
	}
	at := first
	if w.r.IntN(3) == 0 {
		at = second
	}
	var texts []string
	for range 1 + w.r.IntN(3) {
		texts = append(texts, w.text())
		w.where, w.given = append(w.where, Nowhere), append(w.given, 0)
	}
	w.says("write %d at %s, up to %d", len(texts), at, int(w.m.seq)+len(texts))
	w.do(func(m Mirror) { m.Write(at, texts) })
}

// text returns a record's data: its name, and a value to filter by.
func (w *walk) text() string {
	w.written++
	return fmt.Sprintf(`["%d","%s"]`, w.written, []string{"odd", "even"}[w.r.IntN(2)])
}

func (w *walk) move(d time.Duration) { w.do(func(m Mirror) { m.Move(d) }) }

func (w *walk) enable() {
	w.grant.Bundle = bundle.Bundle{Name: "f", Properties: map[string]bundle.PropertyQuery{"a": {Endpoints: []bundle.EndpointQuery{{Endpoint: first}}}}}
	if w.both {
		w.grant.Bundle.Properties["b"] = bundle.PropertyQuery{Endpoints: []bundle.EndpointQuery{{Endpoint: second}}}
	}
	if w.strict {
		w.grant.Bundle.Properties["a"].Endpoints[0].Filters = []bundle.Filter{{Field: "1", Operator: bundle.Operator{Kind: bundle.In, Value: data(`["odd"]`)}}}
	}
	w.grant.Bundle = w.grant.Bundle.Normalised()
	w.claimed = nil
	w.says("enable both %t strict %t since %v", w.both, w.strict, w.grant.Since)
	w.do(func(m Mirror) { m.Enable(w.grant) })
}

// consent widens the grant, or withdraws it and gives it again.
func (w *walk) consent() {
	before := w.grant
	switch w.r.IntN(12) {
	case 0:
		w.both = true
	case 1:
		w.strict = false
	case 2:
		w.grant.Since = time.Time{}
	case 3:
		w.both, w.strict, w.grant.Since = true, false, time.Time{}
	case 4:
		w.says("disable")
		w.do(func(m Mirror) { m.Disable() })
		w.claimed = nil
		w.write()
	default:
		return
	}
	if w.grant.Since.Equal(before.Since) && w.m.b.Enabled && w.both == (len(before.Bundle.Properties) == 2) &&
		w.strict == (before.Bundle.Properties["a"].Endpoints[0].Filters != nil) {
		return // agreeing to the same terms changes nothing
	}
	w.enable()
}

func (w *walk) claim() {
	cause := plan.ByData
	useAll := false
	if w.r.IntN(4) == 0 || w.grant.Trigger.Kind == hat.Manual {
		cause = plan.ByRequest
		useAll = w.r.IntN(8) == 0
	}
	id := hat.NewRunID()
	var plans []plan.Plan
	err := w.try(func(m Mirror) error {
		p, err := m.Claim(id, cause, w.m.now.Add(lease), useAll)
		plans = append(plans, p)
		return err
	})
	if err != nil {
		if !errors.Is(err, backlog.ErrNothingDue) && !errors.Is(err, backlog.ErrBusy) {
			w.fail("%v", err)
		}
		return
	}
	p := plans[0]
	w.again = w.again || useAll
	w.claimed = &p
	w.says("claim %s (%d,%d] range %d most %d all %t: %v", cause, p.After, p.Upto, p.Range, p.Most, useAll, w.m.shown(p))
	if len(plans) > 1 && !reflect.DeepEqual(comparable(p), comparable(plans[1])) {
		w.fail("the machine plans\n%+v\nthe store\n%+v", comparable(p), comparable(plans[1]))
	}
}

// comparable returns a plan without the ids that a store chooses.
func comparable(p plan.Plan) plan.Plan {
	p.Grant = access.Grant{Function: p.Grant.Function}
	if p.Beyond != nil {
		p.Beyond = &plan.FormerGrant{ID: p.Beyond.ID}
	}
	under := p.Under
	p.Under = nil
	for _, s := range under {
		p.Under = append(p.Under, plan.FormerGrant{ID: s.ID})
	}
	if len(p.Chain) == 0 {
		p.Chain = nil
	}
	return p
}

func (w *walk) settle() {
	p := *w.claimed
	w.claimed = nil
	if n := int(p.Upto - p.After); n > 1 && w.r.IntN(3) == 0 {
		p.Upto = p.After + hat.Seq(1+w.r.IntN(n))
	}
	var err error
	switch w.r.IntN(10) {
	case 0:
		err = w.try(func(m Mirror) error { return m.Abandon(p) })
	case 1:
		err = w.try(func(m Mirror) error { return m.Cancel(p.Run) })
	case 2:
		w.move(2 * lease) // the lease lapses, and its worker comes back too late or just in time
		w.claimed = &p
		return
	case 3:
		p.Most = 1 + w.r.IntN(3)
		err = w.try(func(m Mirror) error { return m.Fail(p, faults[2]) })
	case 4, 5, 6:
		f := faults[w.r.IntN(len(faults))]
		err = w.try(func(m Mirror) error { return m.Fail(p, f) })
	default:
		err = w.try(func(m Mirror) error { return m.Commit(p) })
	}
	if err != nil && !errors.Is(err, backlog.ErrStale) && !errors.Is(err, errEnded) {
		w.fail("%v", err)
	}
}

// end receives each run that ends.
func (w *walk) end(e backlog.End) {
	w.edges[Edge{"planned", string(e.State)}] = true
	w.says("run over (%d,%d] range %d: %s %v", e.Plan.After, e.Plan.Upto, e.Plan.Range, e.State, e.Fault)
	w.ended = append(w.ended, e.Plan.Run)
	if e.State != backlog.Committed {
		w.mixed = w.mixed || e.Fault != nil && e.Fault.Code == backlog.CodeInterrupted
		return
	}
	for _, i := range w.m.shown(e.Plan) {
		w.where[i] = Done
		if e.Plan.Replaces.IsZero() {
			w.given[i]++
		}
	}
}

func (w *walk) steer() {
	switch n := len(w.ended); {
	case n == 0:
	case w.r.IntN(10) == 0:
		w.says("replay what failed")
		w.do(func(m Mirror) { m.ReplayFailed() })
	case w.r.IntN(6) == 0:
		id := w.ended[w.r.IntN(n)]
		if w.try(func(m Mirror) error { return m.Skip(id) }) == nil {
			p := w.m.runs[id].plan
			w.says("skip (%d,%d] range %d", p.After, p.Upto, p.Range)
			for i, at := range w.positions() {
				if at == Nowhere && w.now[i] != Nowhere && w.where[i] != Done {
					w.where[i] = Gone
				}
			}
		}
	default:
		id := w.ended[w.r.IntN(n)]
		p := w.m.runs[id].plan
		w.says("replay (%d,%d] range %d of %s: %v", p.After, p.Upto, p.Range, w.m.runs[id].state, w.try(func(m Mirror) error { return m.Replay(id) }))
	}
}

// positions returns, for each record, where it waits.
func (w *walk) positions() []Where {
	all := make([]Where, len(w.m.records))
	for i := range all {
		all[i] = Nowhere
	}
	if !w.m.b.Enabled {
		return all
	}
	sees := seen(w.m.b.Grant)
	var flight []int
	if l := w.m.b.Lease; l != nil {
		p := l.Plan
		p.Part = w.m.whole(p.Part)
		flight = w.m.shown(p)
	}
	put := func(item *backlog.Item) {
		meant := filter(w.m.whole(item.Part))
		for i, r := range w.m.records {
			if r.Seq <= item.After || r.Seq > item.Upto || !sees(r) || !meant(r) {
				continue
			}
			if all[i] != Nowhere && item.Replaces.IsZero() {
				w.fail("record %d at %d waits twice\n%s", i, r.Seq, describe(w.m.b))
			}
			if all[i] == Nowhere {
				all[i] = Due
				if item.Parked {
					all[i] = Parked
				}
			}
		}
	}
	for i := range w.m.b.Ranges {
		if r := &w.m.b.Ranges[i]; r.Replaces.IsZero() {
			put(r)
		}
	}
	if f := w.m.b.Front; f != nil {
		put(f)
	}
	for i := range w.m.b.Ranges {
		if r := &w.m.b.Ranges[i]; !r.Replaces.IsZero() {
			put(r)
		}
	}
	for _, i := range flight {
		all[i] = Planned
	}
	return all
}

// check compares the state with the promises and with the mirror.
func (w *walk) check() {
	w.Helper()
	before, now := w.now, w.positions()
	w.now = now
	b := w.m.b
	if b.Front != nil && (b.Front.After != b.Cursor || b.Front.Upto <= b.Cursor) {
		w.fail("the front does not begin at the cursor\n%s", describe(b))
	}
	for i, r := range b.Ranges {
		// Only a replay of a run that was requested when nothing was new covers no positions.
		if r.After > r.Upto || r.After == r.Upto && r.Replaces.IsZero() || r.Upto > b.Cursor || i > 0 && b.Ranges[i-1].After > r.After || r.Parked && r.Fault == nil {
			w.fail("a range is wrong\n%s", describe(b))
		}
	}
	if w.mirror != nil {
		w.same(b, w.mirror.State())
	}
	if !b.Enabled {
		return
	}
	sees := seen(b.Grant)
	for i, r := range w.m.records {
		at := now[i]
		if at == Nowhere {
			if at = w.where[i]; at == Nowhere && sees(r) {
				w.fail("record %d at %d is lost\n%s", i, r.Seq, describe(b))
			}
		} else if w.given[i] > 0 && !w.again && at != Planned && !w.replayed(r) {
			w.fail("record %d at %d was given, and waits\n%s", i, r.Seq, describe(b))
		}
		was := Nowhere
		if i < len(before) {
			if was = before[i]; was == Nowhere {
				was = w.where[i]
			}
		}
		if was != at && !w.again && !w.mixed {
			w.edges[Edge{string(was), string(at)}] = true
		}
		if w.given[i] > 1 && !w.again {
			w.fail("record %d at %d was given %d times\n%s", i, r.Seq, w.given[i], describe(b))
		}
	}
	for i, at := range now {
		if w.where[i] == Gone && (at == Due || at == Parked) {
			w.where[i] = Nowhere // a person replayed it
		}
	}
	w.mixed = false
}

// replayed reports whether a replay covers the record.
func (w *walk) replayed(r hat.Record) bool {
	return slices.ContainsFunc(w.m.b.Ranges, func(i backlog.Item) bool { return !i.Replaces.IsZero() && r.Seq > i.After && r.Seq <= i.Upto })
}

// same compares the machine with its mirror. The store draws the length of a pause at random; the machine
// takes it over if it is within the allowed bounds.
func (w *walk) same(b, real backlog.Backlog) {
	w.Helper()
	b.Grant, real.Grant, b.Lease, real.Lease, b.Epoch, real.Epoch, b.GrantID, real.GrantID = access.Grant{}, access.Grant{}, nil, nil, 0, 0, 0, 0
	items := func(b backlog.Backlog) (all []*backlog.Item) {
		if b.Front != nil {
			all = append(all, b.Front)
		}
		for i := range b.Ranges {
			all = append(all, &b.Ranges[i])
		}
		return all
	}
	mine, theirs := items(b), items(real)
	for i, m := range mine {
		if i >= len(theirs) {
			break
		}
		t := theirs[i]
		if d := m.NotBefore.Sub(t.NotBefore); d != 0 && m.Attempt > 0 && !m.NotBefore.IsZero() && !t.NotBefore.IsZero() {
			if pause := m.NotBefore.Sub(w.m.now).Abs(); d.Abs() > pause {
				w.fail("a pause of %v in the machine is %v in the store", pause, t.NotBefore.Sub(w.m.now))
			}
			m.NotBefore = t.NotBefore
		}
		if len(m.Chain) == 0 {
			m.Chain = nil
		}
	}
	for i := range b.Ranges {
		w.m.b.Ranges[i].NotBefore = b.Ranges[i].NotBefore
	}
	if b.Front != nil {
		w.m.b.Front.NotBefore = b.Front.NotBefore
	}
	b.Ranges, real.Ranges = slices.Clone(b.Ranges), slices.Clone(real.Ranges)
	for i := range b.Ranges {
		b.Ranges[i].Part = numbers(b.Ranges[i].Part)
	}
	for i := range real.Ranges {
		real.Ranges[i].Part = numbers(real.Ranges[i].Part)
	}
	if len(b.Ranges) == 0 {
		b.Ranges = nil
	}
	if !b.LastExecution.Equal(real.LastExecution) || b.Cursor != real.Cursor || b.Enabled != real.Enabled ||
		!reflect.DeepEqual(b.Front, real.Front) || !reflect.DeepEqual(b.Ranges, real.Ranges) {
		w.fail("the machine has\n%+v\n%+v\nthe store\n%+v\n%+v", describe(b), dump(b), describe(real), dump(real))
	}
}

func numbers(p plan.Part) plan.Part {
	q := plan.Plan{Part: p}
	return comparable(q).Part
}

func dump(b backlog.Backlog) (text string) {
	if b.Front != nil {
		text = fmt.Sprintf("%+v\n", *b.Front)
	}
	return text + fmt.Sprintf("%+v %v", b.Ranges, b.LastExecution)
}

// finish lets all work succeed in the end. Then nothing waits, and each granted record was given once.
func (w *walk) finish() {
	if !w.m.b.Enabled {
		w.enable()
	}
	w.claimed = nil
	for n := 0; w.m.b.Front != nil || len(w.m.b.Ranges) > 0; n++ {
		if n > 500 {
			w.fail("it does not end\n%s", describe(w.m.b))
		}
		w.do(func(m Mirror) { m.ReplayFailed() })
		w.now = w.positions()
		w.move(24 * time.Hour)
		cause := []plan.Cause{plan.ByData, plan.ByRequest}[n%2] // work that waits for a request gets one
		id := hat.NewRunID()
		var p plan.Plan
		err := w.try(func(m Mirror) (err error) {
			p, err = m.Claim(id, cause, w.m.now.Add(lease), false)
			return err
		})
		if errors.Is(err, backlog.ErrNothingDue) || errors.Is(err, backlog.ErrBusy) {
			continue // a lease from before the clock was set back lapses in the end
		}
		if err == nil {
			w.check()

			err = w.try(func(m Mirror) error { return m.Commit(p) })
		}
		if err != nil {
			w.fail("%v", err)
		}
		w.check()
	}
	sees := seen(w.m.b.Grant)
	for i, r := range w.m.records {
		if sees(r) && w.given[i] != 1 && w.where[i] != Gone && !w.again {
			w.fail("record %d at %d was given %d times", i, r.Seq, w.given[i])
		}
	}
}
