package shetest_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
)

// within is how soon a function must start after what makes it due, as scenarios 63 and 74 ask.
const within = 5 * time.Second

// Scenarios 63 to 66, 71 to 74, 81, 82 and 87: what makes a function run, and over which data. Tests in
// which days have to pass are in cmd/she.
var triggerScenarios = []scenario{
	{name: "Scenario63 an individual function runs within seconds over what it reads, and over nothing else", alone: true,
		functions: []function{individual("f63")},
		do: func(p, _ *person) {
			p.enable("f63")
			p.post("f63/other", `{}`)
			if r := p.why("f63"); r.Code != "waiting-for-data" {
				p.Errorf("data it does not read: %+v", r)
			}
			ids := p.post("f63/in", `{}`)
			runs := p.ended("f63", 1)
			sameIDs(p, p.copied("f63"), ids)
			if r := runs[0]; len(runs) != 1 || r.Stats.Read != 1 || r.Cause != "data" || r.Claimed.Sub(r.Due) > within {
				p.Errorf("%+v", runs)
			}
		}},

	{name: "Scenario64 a periodic function runs over early data when its period is over, without further data, and never without data",
		functions: []function{{id: "f64", trigger: `{"triggerType":"periodic","period":"PT15S"}`}},
		do: func(p, _ *person) {
			p.enable("f64")
			if r := p.why("f64"); r.Code != "waiting-for-data" {
				p.Errorf("never run, and no data: %+v", r)
			}
			p.post("f64/in", `{"n":1}`)
			first := p.ended("f64", 1)[0]
			ids := p.post("f64/in", `{"n":2}`)
			over := first.Claimed.Add(15 * time.Second)
			if r := p.why("f64"); r.Code != "waiting-for-period" || !r.Until.Equal(over) {
				p.Fatalf("data within the period: %+v, want until %s", r, over)
			}
			runs := p.ended("f64", 2)
			if second := runs[1]; second.Claimed.Before(over) || second.Stats.Read != 1 {
				p.Errorf("the period is over at %s: %+v", over, second)
			}
			sameIDs(p, p.copied("f64")[1:], ids)
			// No work is pending, not even for a later time.
			if r := p.why("f64"); r.Code != "waiting-for-data" {
				p.Errorf("no new data: %+v", r)
			}
		}},

	{name: "Scenario65 a manual function is never run by data",
		functions: []function{manual("f65")},
		do: func(p, _ *person) {
			p.enable("f65")
			ids := p.post("f65/in", `{"n":1}`, `{"n":2}`)
			if r := p.why("f65"); r.Code != "waiting-for-request" || !r.Until.IsZero() {
				p.Errorf("%+v", r)
			}
			p.trigger("f65").want(http.StatusOK, executed)
			if runs := p.runs("f65"); len(runs) != 1 || runs[0].Cause != "request" {
				p.Errorf("%+v", runs)
			}
			sameIDs(p, p.copied("f65"), ids)
		}},

	{name: "Scenario66 what is posted during a run is given to the next one, and to no other",
		functions: []function{individual("f66")},
		do: func(p, _ *person) {
			p.enable("f66")
			first := p.post("f66/in", `{"seconds":3}`)
			p.begun("f66")
			second := p.post("f66/in", `{"n":2}`)
			stored := time.Now()
			runs := p.ended("f66", 2)
			if !runs[0].Ended.After(stored) {
				p.Fatal("the run was over before the second record was there: nothing is shown")
			}
			for i, r := range runs {
				if len(runs) != 2 || r.Stats.Read != 1 || r.State != "committed" {
					p.Errorf("run %d: %+v", i, r)
				}
			}
			sameIDs(p, p.copied("f66"), append(first, second...))
		}},

	{name: "Scenario66 of a thousand records that come at any moment of a run none is missed, and none is given twice",
		functions: []function{individual("random66")},
		do: func(p, _ *person) {
			p.enable("random66")
			// In each round one record starts a run. While it is in flight, a hundred writers post one
			// record each.
			const rounds, writers = 10, 100
			begun := 0
			for n := range rounds {
				p.post("random66/in", fmt.Sprintf(`{"round":%d}`, n))
				begun = len(p.saw("random66", "another run has begun", func(runs []run) bool { return len(runs) > begun }))
				var all sync.WaitGroup
				for w := range writers - 1 {
					all.Go(func() {
						client := p.client
						if _, err := client.Must("POST", api+"/data/random66/in", fmt.Appendf(nil, `{"round":%d,"writer":%d}`, n, w)); err != nil {
							p.Error(err)
						}
					})
				}
				all.Wait()
			}
			runs := p.saw("random66", "a thousand records are derived", func(runs []run) bool { return written(runs) >= rounds*writers })
			var want []string
			for _, r := range p.records("random66/in") {
				want = append(want, r.RecordID)
			}
			sameIDs(p, p.copied("random66"), want)
			read := 0
			for _, r := range runs {
				read += r.Stats.Read
			}
			if read != rounds*writers || len(want) != rounds*writers {
				p.Errorf("%d records were given, of %d", read, len(want))
			}
			p.Logf("%d runs", len(runs))
		}},

	{name: "Scenario71 a chain of functions runs to its end without other data",
		functions: []function{individual("notes71"), {id: "emotions71", reads: []string{"notes71/out"}}, {id: "history71", reads: []string{"emotions71/out"}}},
		do: func(p, _ *person) {
			p.enable("notes71", "emotions71", "history71")
			p.post("notes71/in", `{"word":"fine"}`)
			p.ended("history71", 1)
			if d := p.data("history71/out"); strings.Count(d, `"word":"fine"`) != 1 || strings.Count(d, `"of"`) != 3 {
				p.Errorf("%s", d)
			}
		}},

	{name: "Scenario72 what a function writes never comes back to it, although it reads that endpoint",
		functions: []function{{id: "f72", reads: []string{"f72/in", "f72/out"}}},
		do: func(p, _ *person) {
			p.enable("f72")
			for n := range 3 {
				p.post("f72/in", fmt.Sprintf(`{"n":%d}`, n))
				runs := p.ended("f72", n+1)
				if r := p.why("f72"); r.Code != "waiting-for-data" || len(runs) != n+1 || runs[n].Stats.Read != 1 {
					p.Errorf("after record %d: %+v, %+v", n, r, runs)
				}
			}
		}},

	{name: "Scenario72 two functions that read each other's output stop, and it is seen why",
		functions: []function{{id: "ping72", reads: []string{"ping72/in", "pong72/out"}}, {id: "pong72", reads: []string{"ping72/out"}}},
		do: func(p, _ *person) {
			p.enable("ping72", "pong72")
			p.post("ping72/in", `{}`)
			said := saids(p.ended("ping72", 2))
			if said != "committed refused:Chain.Visited" || saids(p.ended("pong72", 1)) != "committed" {
				p.Errorf("ping: %s, pong: %s", said, saids(p.runs("pong72")))
			}
			for _, f := range []string{"ping72", "pong72"} {
				if r := p.why(f); r.Code != "waiting-for-data" {
					p.Errorf("%s: %+v", f, r)
				}
			}
		}},

	{name: "Scenario72 a chain ends behind eight functions, and it is seen why",
		functions: row72(),
		do: func(p, _ *person) {
			for _, f := range row72() {
				p.enable(f.id)
			}
			p.post("row72-0/in", `{}`)
			if said := saids(p.ended("row72-8", 1)); said != "refused:Chain.TooLong" {
				p.Errorf("the ninth: %s", said)
			}
			for _, f := range row72()[:8] {
				if said := saids(p.runs(f.id)); said != "committed" {
					p.Errorf("%s: %s", f.id, said)
				}
			}
		}},

	// It would take too long to wait until it succeeds; cmd/she tests that.
	{name: "Scenario73 a run that failed is tried again without new data, after pauses that grow",
		functions: []function{individual("f73")},
		do: func(p, _ *person) {
			p.enable("f73")
			p.post("f73/in", `{"fails":"not today"}`)
			for n, pause := range []time.Duration{10 * time.Second, time.Minute} {
				runs := p.ended("f73", n+1)
				last, r := runs[n], p.why("f73")
				waits := r.Until.Sub(last.Ended)
				if r.Code != "waiting-for-retry" || r.Fault == nil || r.Fault.Who != "author" || last.Attempt != n+1 || last.Stats.Read != 1 ||
					waits < pause*7/10 || waits > pause*13/10 {
					p.Errorf("%s after attempt %d: %+v, %+v", waits, n+1, r, last)
				}
			}
			p.disable("f73")
		}},

	{name: "Scenario74 of ten thousand events none is lost, and another person's function starts in time", alone: true,
		functions: []function{individual("f74")},
		do: func(p, bob *person) {
			p.enable("f74")
			bob.enable("f74")
			const posts, each = 20, 500
			for n := range posts {
				var records []string
				for i := range each {
					records = append(records, fmt.Sprintf(`{"n":%d}`, n*each+i))
				}
				p.post("f74/in", records...)
				if n == posts/2 {
					bob.post("f74/in", `{}`)
				}
			}
			if r := bob.ended("f74", 1)[0]; r.Claimed.Sub(r.Due) > within {
				p.Errorf("the other person waited for %s", r.Claimed.Sub(r.Due))
			}
			p.saw("f74", "all are derived", func(runs []run) bool { return written(runs) >= posts*each })
			var want []string
			for _, r := range p.records("f74/in") {
				want = append(want, r.RecordID)
			}
			if len(want) != posts*each {
				p.Errorf("%d records", len(want))
			}
			sameIDs(p, p.copied("f74"), want)
		}},

	{name: "Scenario81 useAll gives a function everything, and is no step of its place",
		functions: []function{individual("f81")},
		do: func(p, _ *person) {
			p.enable("f81")
			for n := range 2 {
				p.post("f81/in", fmt.Sprintf(`{"n":%d}`, n))
				p.ended("f81", n+1)
			}
			p.get(functionPath("f81")+"/trigger?useAll=true").want(http.StatusOK, executed)
			p.trigger("f81").want(http.StatusOK, executed)
			runs := p.runs("f81")
			if all, then := runs[2], runs[3]; all.Stats.Read != 2 || then.Stats.Read != 0 {
				p.Errorf("%d were given with useAll, %d after it", all.Stats.Read, then.Stats.Read)
			}
			// The bundle entry gets the dates of a first run.
			if w := dates.FindStringSubmatch(p.run(runs[2].ID).Log); w == nil {
				p.Error("the bundle entry printed nothing")
			} else {
				about(p, w[1], runs[2].Claimed.AddDate(0, -6, 0))
			}
		}},

	// Contract data, the other half of the scenario, is out of scope.
	{name: "Scenario82 a record that is changed is new data",
		functions: []function{individual("f82")},
		do: func(p, _ *person) {
			p.enable("f82")
			id := p.post("f82/in", `{"n":1}`)[0]
			p.ended("f82", 1)
			p.call("PUT", api+"/data", fmt.Sprintf(`[{"endpoint":"f82/in","recordId":%q,"data":{"n":2}}]`, id)).want(http.StatusCreated)
			if runs := p.ended("f82", 2); runs[1].Stats.Read != 1 {
				p.Errorf("%+v", runs)
			}
			sameIDs(p, p.copied("f82"), []string{id, id})
			if d := p.data("f82/out"); !strings.Contains(d, `"n":2`) {
				p.Errorf("%s", d)
			}
		}},

	{name: "Scenario87 a function that fails on thin data keeps its place and sees all of it when there is more",
		functions: []function{individual("f87")},
		do: func(p, _ *person) {
			p.enable("f87")
			ids := p.post("f87/in", `{"n":1,"thin":3}`)
			if said := saids(p.ended("f87", 1)); said != "failed:Unhandled" || p.status("f87").LastExecution != nil {
				p.Errorf("%s, %+v", said, p.status("f87"))
			}
			ids = append(ids, p.post("f87/in", `{"n":2}`, `{"n":3}`)...)
			p.saw("f87", "it has succeeded", func(runs []run) bool { return written(runs) > 0 })
			sameIDs(p, p.copied("f87"), ids)
			if p.status("f87").LastExecution == nil {
				p.Error("no last execution")
			}
		}},
}

// row72 returns nine functions in a row. Each reads the output of the one before it.
func row72() []function {
	row := []function{individual("row72-0")}
	for n := 1; n < 9; n++ {
		row = append(row, function{id: fmt.Sprintf("row72-%d", n), reads: []string{fmt.Sprintf("row72-%d/out", n-1)}})
	}
	return row
}

func written(runs []run) (n int) {
	for _, r := range runs {
		n += len(r.Written)
	}
	return n
}

func saids(runs []run) string {
	var all []string
	for _, r := range runs {
		all = append(all, r.said())
	}
	return strings.Join(all, " ")
}
