package engine

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"she/internal/hat"
)

func functionID(s string) hat.FunctionID {
	id, err := hat.ParseFunctionID(s)
	if err != nil {
		panic(err)
	}
	return id
}

var noon = time.Date(2024, 1, 8, 12, 0, 0, 0, time.UTC)

func at(seconds int) time.Time { return noon.Add(time.Duration(seconds) * time.Second) }

func dueTask(id hat.ID, function string, since int) task {
	return task{hat: id, function: functionID(function), since: at(since)}
}

// started takes as many tasks as may start at the given time and returns them as "hat/function".
func started(q *queue, now int) string {
	var all []string
	for {
		t, ok := q.next(at(now))
		if !ok {
			return strings.Join(all, " ")
		}
		all = append(all, string(t.hat)+"/"+t.function.String())
	}
}

func expect(t *testing.T, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestOldestEventFirst(t *testing.T) {
	q := newQueue(4)
	q.add(dueTask("a", "f", 30))
	q.add(dueTask("b", "f", 10))
	q.add(dueTask("c", "f", 20))
	q.add(dueTask("c", "g", 5))
	expect(t, started(q, 100), "c/g b/f a/f c/f")
}

// Scenario 74: one HAT with a backlog of old work takes turns with the others.
func TestHATsTakeTurns(t *testing.T) {
	q := newQueue(4)
	for n := range 20 {
		q.add(dueTask("busy", fmt.Sprint("f", n), -1000+n))
	}
	q.add(dueTask("a", "f", 0))
	first, _ := q.next(at(1))
	second, _ := q.next(at(2))
	expect(t, string(first.hat+" "+second.hat), "busy a")
	q.add(dueTask("b", "f", 1))
	third, _ := q.next(at(3))
	fourth, _ := q.next(at(4))
	expect(t, string(third.hat+" "+fourth.hat), "busy b")
}

// The end of a run and the scan after it must not make the queue forget that the HAT was just served.
func TestServedIsRemembered(t *testing.T) {
	q := newQueue(1)
	q.add(dueTask("busy", "f", -1000))
	q.add(dueTask("a", "f", 0))
	run, _ := q.next(at(1))
	q.add(dueTask("busy", "f", -999)) // the scan before the end
	q.done(run)
	expect(t, started(q, 2), "a/f busy/f")
}

// Defect B-22.
func TestOneRunOfAFunctionAtATime(t *testing.T) {
	q := newQueue(4)
	q.add(dueTask("a", "f", 0))
	expect(t, started(q, 1), "a/f")
	q.add(dueTask("a", "f", 1))
	q.add(dueTask("a", "f", 1))
	q.add(dueTask("a", "g", 2))
	expect(t, started(q, 2), "a/g")
	q.done(dueTask("a", "f", 0))
	expect(t, started(q, 3), "a/f")
}

func TestAtMostSoManyForEachHAT(t *testing.T) {
	q := newQueue(2)
	for _, f := range []string{"f", "g", "h"} {
		q.add(dueTask("a", f, 0))
	}
	q.add(dueTask("b", "f", 5))
	expect(t, started(q, 9), "a/f b/f a/g")
	q.done(dueTask("a", "g", 0))
	expect(t, started(q, 9), "a/h")
}

func TestRequestsComeFirst(t *testing.T) {
	q := newQueue(1)
	q.add(dueTask("a", "f", 0))
	asked := dueTask("a", "g", 5)
	asked.request = &request{}
	q.add(asked)
	if !q.requested("a", functionID("g")) || q.requested("a", functionID("f")) || q.requested("b", functionID("g")) {
		t.Error("who asked for what is wrong")
	}
	run, _ := q.next(at(9))
	expect(t, run.function.String(), "g")
	if !q.requested("a", functionID("g")) {
		t.Error("a request in flight is no request")
	}
	q.add(asked)
	if left := len(q.drain()); left != 1 {
		t.Errorf("%d requests left", left)
	}
}

func TestQueueForgetsIdleHATs(t *testing.T) {
	q := newQueue(4)
	for n := range 100 {
		q.add(dueTask(hat.ID(fmt.Sprint(n)), "f", n))
	}
	for {
		run, ok := q.next(at(1000))
		if !ok {
			break
		}
		q.done(run)
	}
	if len(q.lanes) != 0 || len(q.ready) != 0 {
		t.Errorf("%d lanes, %d ready", len(q.lanes), len(q.ready))
	}
}

func TestBacklogHoldsEachOnce(t *testing.T) {
	var b arrivals
	for _, id := range []string{"a", "b", "a"} {
		b.add(hat.ID(id))
	}
	first, _ := b.take()
	b.add("a")
	var rest []string
	for id, ok := b.take(); ok; id, ok = b.take() {
		rest = append(rest, string(id))
	}
	expect(t, string(first)+" "+strings.Join(rest, " "), "a b a")
}

// joined returns the ids, separated by spaces.
func joined(ids []hat.ID) string {
	var b strings.Builder
	for i, id := range ids {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(string(id))
	}
	return b.String()
}

func TestTimers(t *testing.T) {
	ts := newTimers()
	for n := 100; n > 0; n-- {
		ts.set("a", at(n)) // the earliest one counts
		ts.set("a", at(n+50))
	}
	ts.set("b", at(2))
	ts.set("c", at(50))
	if next, ok := ts.next(); !ok || !next.Equal(at(1)) {
		t.Error(next, ok)
	}
	expect(t, joined(ts.due(at(0))), "")
	expect(t, joined(ts.due(at(2))), "a b")
	expect(t, joined(ts.due(at(49))), "")
	ts.set("a", at(60))
	expect(t, joined(ts.due(at(1000))), "c a")
	if len(ts.at) != 0 || len(ts.heap) != 0 {
		t.Errorf("%d times, %d in the heap", len(ts.at), len(ts.heap))
	}
}

func TestTranscript(t *testing.T) {
	var none transcript
	none.add("bundle", nil)
	if log := none.bytes(); log != nil {
		t.Errorf("%q", log)
	}
	var short transcript
	short.add("bundle", []byte("b\n"))
	short.add("process", []byte("p"))
	expect(t, string(short.bytes()), "--- bundle ---\nb\n--- process ---\np\n")

	var long transcript
	long.add("bundle", slices.Repeat([]byte("b"), MaxLog))
	long.add("process", append(slices.Repeat([]byte("p"), MaxLog), "the end"...))
	log := string(long.bytes())
	if len(log) > MaxLog || len(log) < MaxLog*9/10 {
		t.Errorf("%d bytes", len(log))
	}
	if !strings.HasSuffix(log, "the end\n") || strings.Count(log, "bytes left out") != 2 {
		t.Errorf("tail %q", log[len(log)-40:])
	}
}
