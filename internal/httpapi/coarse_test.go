package httpapi

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"she/internal/access"
	"she/internal/plan"
)

// A service sees when a function ran to the minute, and within a minute always the same: it can't watch a run end. The
// Owner sees it as it is.
func TestServicesSeeTimesOfRunsToTheMinute(t *testing.T) {
	w := newWorld(t, withFunctions(count, functionNamed("counter")))
	w.get("bob", functions+"/counter/enable").want(200)
	w.advance(10*time.Minute + 7*time.Second + 123*time.Millisecond)
	seen := func(who string) string {
		t.Helper()
		at := func(p *string) string {
			if p == nil {
				return ""
			}
			return *p
		}
		s := w.get(who, functions+"/counter").want(200).functionStatus()
		var list []struct{ Status wireStatus }
		w.get(who, functions).want(200).decode(&list)
		if at(list[0].Status.LastExecution) != at(s.LastExecution) || s.ExecutionStarted != nil {
			t.Errorf("%s: the list says otherwise than the function", who)
		}
		return at(s.LastExecution)
	}
	if got := seen("hpp"); got != "" {
		t.Errorf("before any run: %s", got)
	}
	w.get("bob", functions+"/counter/trigger").want(200)
	exact := w.clock().UTC().Format("2006-01-02T15:04:05.000Z")
	if got := seen("bob"); got != exact {
		t.Errorf("the owner sees %s, want %s", got, exact)
	}
	if got := seen("hpp"); got != "" {
		t.Errorf("in the same minute a service sees %s", got)
	}
	w.advance(time.Minute)
	minute := w.clock().Add(-time.Minute).UTC().Truncate(time.Minute).Format("2006-01-02T15:04:05.000Z")
	if got := seen("hpp"); got != minute {
		t.Errorf("a minute later a service sees %s, want %s", got, minute)
	}
	// A run of its own is over when it is told so, and never sooner than the first step.
	began := time.Now()
	w.get("hpp", functions+"/counter/trigger").want(200)
	if time.Since(began) < 100*time.Millisecond {
		t.Error("a service learns how long a run took")
	}
	if got, want := seen("hpp"), w.clock().UTC().Truncate(time.Minute).Format("2006-01-02T15:04:05.000Z"); got != want {
		t.Errorf("after its own run a service sees %s, want %s", got, want)
	}
}

// Over HTTP: the owner's run, which a service tries to see the end of; and the service's own.
func TestAServiceThatTriesWhileARunGoesOn(t *testing.T) {
	started, goOn := make(chan struct{}), make(chan struct{})
	var waits atomic.Bool // the next run does
	w := newWorld(t, withFunctions(func(ctx context.Context, name string, event []byte) ([]byte, error) {
		if name == "counter" && waits.Swap(false) {
			started <- struct{}{}
			<-goOn
		}
		return count(ctx, name, event)
	}, functionNamed("counter")))
	w.get("bob", functions+"/counter/enable").want(200)
	w.advance(time.Minute - w.clock().Sub(w.clock().Truncate(time.Minute)) + 20*time.Second)
	ends := make(chan answer, 1)
	busy := func(who string) {
		t.Helper()
		a := w.get(who, functions+"/counter/trigger").want(500)
		if a.header.Get("Retry-After") != "40" {
			t.Errorf("busy: Retry-After is %s, want the rest of the minute", a.header.Get("Retry-After"))
		}
	}
	trigger := func(who string) {
		waits.Store(true)
		go func() { ends <- w.get(who, functions+"/counter/trigger") }()
		<-started
	}
	w.addUser("hpp2", access.Role{Title: access.TitlePlatform})

	trigger("bob")
	busy("hpp")
	goOn <- struct{}{}
	(<-ends).want(200)
	busy("hpp")
	busy("hpp2") // two services know no more than one
	trigger("bob")
	goOn <- struct{}{} // the owner is not held to it
	(<-ends).want(200)

	w.advance(time.Minute)
	trigger("hpp")
	busy("hpp2")
	goOn <- struct{}{}
	(<-ends).want(200)
	trigger("hpp2") // it has not looked while the run went on
	goOn <- struct{}{}
	(<-ends).want(200)
}

// What a run stores is known to services in steps: to the MB and the thousand, and not when.
func TestServicesSeeWhatAHATHoldsInSteps(t *testing.T) {
	w := newWorld(t)
	w.post("bob", "/api/v2.6/data/a/x", `{"v":1}`).want(201)
	var owner, before, after storageOf
	w.get("hpp", own+"/storage").want(200).decode(&before)
	status := w.get("hpp", "/api/v2.6/system/status").want(200).body
	w.get("bob", own+"/storage").want(200).decode(&owner)
	if owner.Used.Records != 1 || owner.Used.Bytes%(1<<20) == 0 {
		t.Errorf("the owner sees %+v", owner.Used)
	}
	if before.Used != (plan.Held{Bytes: 1 << 20, Records: 1000}) || !strings.Contains(status, `"metric":1,"units":"MB"`) {
		t.Errorf("a service sees %+v and %s", before.Used, status)
	}
	w.post("bob", "/api/v2.6/data/a/x", `{"v":"`+strings.Repeat("x", 2<<20)+`"}`).want(201)
	w.get("hpp", own+"/storage").want(200).decode(&after)
	if after.Used != before.Used || w.get("hpp", "/api/v2.6/system/status").body != status {
		t.Error("a service sees within a minute when something is stored")
	}
	w.advance(time.Minute)
	w.get("hpp", own+"/storage").want(200).decode(&after)
	if after.Used != (plan.Held{Bytes: 3 << 20, Records: 1000}) {
		t.Errorf("a minute later a service sees %+v", after.Used)
	}
}
